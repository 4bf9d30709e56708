// SPDX-License-Identifier: MIT
// Signing of access tokens.
#include "services/users/token.h"

#include "common/base64url.h"
#include "common/jwk.h"
#include "common/uuid.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

struct token_issuer {
    struct jwk key;
    struct buf head;      // encoded header and its dot: the same in all tokens
    struct buf constants; // claims that are the same in all: the beginning of a JSON object
    int64_t ttl_s;
};

static void append_base64url(struct buf *b, const void *bytes, size_t n)
{
    char *to = buf_reserve(b, BASE64URL_SIZE(n));
    if (to) {
        b->len += base64url_encode(bytes, n, to).n;
    }
}

static void write_head(struct token_issuer *t)
{
    char json[64 + JWK_MAX_KID];
    int n = snprintf(json, sizeof json, "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}",
                     t->key.kid);
    assert(n > 0 && (size_t)n < sizeof json);
    append_base64url(&t->head, json, (size_t)n);
    buf_append_char(&t->head, '.');
}

static void write_constants(struct token_issuer *t, const char *issuer, const char *audience)
{
    buf_append_z(&t->constants, "{\"iss\":\"");
    buf_append_json(&t->constants, str_of(issuer));
    buf_append_z(&t->constants, "\",\"aud\":\"");
    buf_append_json(&t->constants, str_of(audience));
    buf_append_z(&t->constants, "\",\"client_id\":\"sluice\"");
}

int token_issuer_open(struct str key, const char *issuer, const char *audience, int64_t ttl_ms,
                      struct token_issuer **ret_issuer)
{
    assert(ttl_ms >= 1000);
    struct token_issuer *t = calloc(1, sizeof *t);
    if (!t) {
        return -ENOMEM;
    }
    buf_init(&t->head, TOKEN_MAX_BYTES);
    buf_init(&t->constants, TOKEN_MAX_BYTES);
    t->ttl_s = ttl_ms / 1000;
    int r = jwk_read(key, &t->key);
    if (r == 0) {
        write_head(t);
        write_constants(t, issuer, audience);
        r = buf_ok(&t->head) ? buf_error(&t->constants) : buf_error(&t->head);
    }
    if (r < 0) {
        token_issuer_close(&t);
        return r;
    }
    *ret_issuer = t;
    return 0;
}

void token_issuer_close(struct token_issuer **t)
{
    if (*t) {
        buf_fini(&(*t)->head);
        buf_fini(&(*t)->constants);
        sodium_memzero(&(*t)->key, sizeof(*t)->key);
        free(*t);
        *t = NULL;
    }
}

const char *token_issuer_kid(const struct token_issuer *t)
{
    return t->key.kid;
}

static void write_claims(const struct token_issuer *t, const struct token_claims *c,
                         struct buf *json)
{
    char jti[UUID_TEXT + 1];
    int64_t now_s = c->now_ms / 1000;
    uuid_v7(c->now_ms, jti);
    buf_append_str(json, buf_str(&t->constants));
    buf_append_z(json, ",\"sub\":\"");
    buf_append_json(json, c->user_id);
    buf_append_z(json, "\",\"role\":\"");
    buf_append_json(json, c->role);
    buf_append_z(json, "\",\"sid\":\"");
    buf_append_json(json, c->session_id);
    buf_printf(json, "\",\"iat\":%" PRId64 ",\"exp\":%" PRId64 ",\"jti\":\"%s\"}", now_s,
               now_s + t->ttl_s, jti);
}

int token_sign(const struct token_issuer *t, const struct token_claims *c, struct buf *out)
{
    size_t start = out->len;
    struct buf json;
    buf_init(&json, TOKEN_MAX_BYTES);
    write_claims(t, c, &json);
    int r = buf_error(&json);
    if (r == 0) {
        buf_append_str(out, buf_str(&t->head));
        append_base64url(out, json.data, json.len);
        r = buf_error(out);
    }
    buf_fini(&json);
    if (r < 0) {
        return r;
    }

    uint8_t signature[crypto_sign_BYTES];
    crypto_sign_detached(signature, NULL, (const uint8_t *)out->data + start, out->len - start,
                         t->key.secret_key);
    buf_append_char(out, '.');
    append_base64url(out, signature, sizeof signature);
    return buf_error(out);
}

int64_t token_ttl_s(const struct token_issuer *t)
{
    return t->ttl_s;
}

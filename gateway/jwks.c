// SPDX-License-Identifier: MIT
#include "gateway/jwks.h"

#include "common/json_error.h"
#include "common/json_text.h"

#include <errno.h>

static struct str member(yyjson_val *object, const char *name)
{
    return json_text(yyjson_obj_get(object, name));
}

// Which algorithm the key is for, by what it is; its own `alg` and `use` must agree.
static bool algorithm_of(yyjson_val *object, enum jws_algorithm *ret)
{
    static const struct {
        const char *kty, *crv;
        enum jws_algorithm algorithm;
    } kinds[] = { { "OKP", "Ed25519", JWS_EDDSA },
                  { "EC", "P-256", JWS_ES256 },
                  { "RSA", "", JWS_RS256 } };
    yyjson_val *use = yyjson_obj_get(object, "use"), *alg = yyjson_obj_get(object, "alg");
    enum jws_algorithm named;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (str_eq(member(object, "kty"), str_of(kinds[i].kty)) &&
            (!kinds[i].crv[0] || str_eq(member(object, "crv"), str_of(kinds[i].crv)))) {
            *ret = kinds[i].algorithm;
            return (!use || yyjson_equals_str(use, "sig")) &&
                   (!alg || (jws_algorithm_named(member(object, "alg"), &named) && named == *ret));
        }
    }
    return false;
}

static int read_public_key(yyjson_val *object, struct jwks_key *key)
{
    struct str x = member(object, "x");
    size_t n;
    switch (key->algorithm) {
    case JWS_EDDSA:
        return x.p && base64url_decode(x, key->public_key, sizeof key->public_key, &n) == 0 &&
                       n == JWK_PUBLIC_BYTES
                   ? 0
                   : -EBADMSG;
    case JWS_ES256:
        return jws_ec_key(x, member(object, "y"), &key->evp);
    case JWS_RS256:
        return jws_rsa_key(member(object, "n"), member(object, "e"), &key->evp);
    }
    return -EBADMSG;
}

// Adds a key that can be used. Returns 0 (also for one that is ignored), or an error.
static int add_key(struct jwks *set, yyjson_val *object, unsigned algorithms)
{
    struct jwks_key key = { .exp_s = INT64_MAX };
    struct str kid = member(object, "kid");
    yyjson_val *exp = yyjson_obj_get(object, "exp");
    if (!algorithm_of(object, &key.algorithm) || !(algorithms & 1u << key.algorithm)) {
        return 0;
    }
    if (kid.n == 0 || kid.n > JWK_MAX_KID || memchr(kid.p, '\0', kid.n) || jwks_find(set, kid) ||
        (exp && (!yyjson_is_uint(exp) || yyjson_get_uint(exp) > INT64_MAX))) {
        return -EBADMSG;
    }
    if (set->n == JWKS_MAX_KEYS) {
        return -ENOSPC;
    }
    key.exp_s = exp ? (int64_t)yyjson_get_uint(exp) : INT64_MAX;
    memcpy(key.kid, kid.p, kid.n);
    int rc = read_public_key(object, &key);
    if (rc == 0) {
        set->keys[set->n++] = key;
    }
    return rc;
}

int jwks_add(struct jwks *set, struct str json, unsigned algorithms, size_t *ret_key)
{
    // Without YYJSON_READ_INSITU the text is only read, whatever the parameter's type says.
    char *text = (char *)(uintptr_t)json.p;
    yyjson_read_err why;
    yyjson_doc *doc = yyjson_read_opts(text, json.n, YYJSON_READ_NOFLAG, NULL, &why);
    yyjson_val *keys = yyjson_obj_get(yyjson_doc_get_root(doc), "keys");
    int rc = !doc ? json_errno(&why) : yyjson_is_arr(keys) ? 0 : -EBADMSG;
    size_t at = 0;
    yyjson_arr_iter iterator = yyjson_arr_iter_with(keys);
    for (yyjson_val *key; rc == 0 && (key = yyjson_arr_iter_next(&iterator)); at++) {
        rc = add_key(set, key, algorithms);
    }
    yyjson_doc_free(doc);
    *ret_key = rc && at ? at - 1 : SIZE_MAX;
    return rc;
}

void jwks_fini(struct jwks *set)
{
    for (size_t i = 0; i < set->n; i++) {
        jws_key_free(&set->keys[i].evp);
    }
    set->n = 0;
}

int jwks_parse(struct str json, struct jwks *ret_set)
{
    struct jwks set = { 0 };
    size_t at;
    int rc = jwks_add(&set, json, 1u << JWS_EDDSA, &at);
    if (rc || set.n == 0) {
        return rc == -ENOMEM ? rc : -EBADMSG;
    }
    *ret_set = set;
    return 0;
}

const struct jwks_key *jwks_find(const struct jwks *set, struct str kid)
{
    for (size_t i = 0; i < set->n; i++) {
        if (str_eq(kid, str_of(set->keys[i].kid))) {
            return &set->keys[i];
        }
    }
    return NULL;
}

bool jwks_includes(const struct jwks *b, const struct jwks *a)
{
    for (size_t i = 0; i < a->n; i++) {
        const struct jwks_key *same = jwks_find(b, str_of(a->keys[i].kid));
        if (!same || memcmp(same->public_key, a->keys[i].public_key, JWK_PUBLIC_BYTES) != 0) {
            return false;
        }
    }
    return true;
}

void jwks_render(const struct jwks *set, struct buf *json)
{
    buf_append_z(json, "{\"keys\":[");
    for (size_t i = 0; i < set->n; i++) {
        char x[BASE64URL_SIZE(JWK_PUBLIC_BYTES)];
        base64url_encode(set->keys[i].public_key, JWK_PUBLIC_BYTES, x);
        buf_printf(json, "%s{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\",\"kid\":\"",
                   i ? "," : "", x);
        buf_append_json(json, str_of(set->keys[i].kid));
        buf_append_z(json, "\",\"use\":\"sig\",\"alg\":\"EdDSA\"}");
    }
    buf_append_z(json, "]}");
}

// SPDX-License-Identifier: MIT
#include "gateway/jwks.h"

#include <errno.h>
#include <yyjson.h>

static struct str member(yyjson_val *object, const char *name)
{
    yyjson_val *v = yyjson_obj_get(object, name);
    return (struct str){ yyjson_get_str(v), yyjson_get_len(v) };
}

static bool absent_or(yyjson_val *object, const char *name, const char *a, const char *b)
{
    yyjson_val *v = yyjson_obj_get(object, name);
    return !v || yyjson_equals_str(v, a) || yyjson_equals_str(v, b);
}

// Adds a key that can be used. Returns 0 (also for one that cannot), or -EBADMSG for a
// contradiction.
static int add_key(struct jwks *set, yyjson_val *object)
{
    struct jwks_key key = { .exp_s = INT64_MAX };
    size_t n = 0;
    struct str kid = member(object, "kid"), x = member(object, "x");
    bool ours = str_eq(member(object, "kty"), STR("OKP")) &&
                str_eq(member(object, "crv"), STR("Ed25519")) &&
                absent_or(object, "use", "sig", "sig") &&
                absent_or(object, "alg", "EdDSA", "Ed25519");
    if (!ours) {
        return 0;
    }
    if (!x.p || base64url_decode(x, key.public_key, sizeof key.public_key, &n) ||
        n != JWK_PUBLIC_BYTES || kid.n == 0 || kid.n > JWK_MAX_KID || memchr(kid.p, '\0', kid.n) ||
        jwks_find(set, kid)) {
        return -EBADMSG;
    }
    yyjson_val *exp = yyjson_obj_get(object, "exp");
    if (exp && (!yyjson_is_uint(exp) || yyjson_get_uint(exp) > INT64_MAX)) {
        return -EBADMSG;
    }
    key.exp_s = exp ? (int64_t)yyjson_get_uint(exp) : INT64_MAX;
    memcpy(key.kid, kid.p, kid.n);
    if (set->n == JWKS_MAX_KEYS) {
        return -EBADMSG;
    }
    set->keys[set->n++] = key;
    return 0;
}

int jwks_parse(struct str json, struct jwks *ret_set)
{
    struct jwks set = { 0 };
    yyjson_doc *doc = yyjson_read(json.p, json.n, YYJSON_READ_NOFLAG);
    yyjson_val *keys = yyjson_obj_get(yyjson_doc_get_root(doc), "keys");
    int rc = yyjson_is_arr(keys) ? 0 : -EBADMSG;
    yyjson_arr_iter iterator = yyjson_arr_iter_with(keys);
    for (yyjson_val *key; rc == 0 && (key = yyjson_arr_iter_next(&iterator));) {
        rc = add_key(&set, key);
    }
    yyjson_doc_free(doc);
    if (rc || set.n == 0) {
        return -EBADMSG;
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

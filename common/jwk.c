// SPDX-License-Identifier: MIT
// Ed25519 keys in and out of JSON.
#include "common/jwk.h"

#include "common/json_error.h"
#include "common/json_memory.h"
#include "common/json_text.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

static_assert(JWK_PUBLIC_BYTES == crypto_sign_PUBLICKEYBYTES, "Ed25519");
static_assert(JWK_SECRET_BYTES == crypto_sign_SECRETKEYBYTES, "Ed25519");
static_assert(JWK_THUMBPRINT_TEXT <= JWK_MAX_KID, "a thumbprint is a kid");

void jwk_make(struct jwk *ret_key)
{
    crypto_sign_keypair(ret_key->public_key, ret_key->secret_key);
    jwk_thumbprint(ret_key->public_key, ret_key->kid);
}

void jwk_thumbprint(const uint8_t public_key[JWK_PUBLIC_BYTES], char out[JWK_THUMBPRINT_TEXT + 1])
{
    // The required members in the order of their names, without white space: RFC 8037 appendix A.3.
    char x[BASE64URL_SIZE(JWK_PUBLIC_BYTES)];
    char json[128];
    base64url_encode(public_key, JWK_PUBLIC_BYTES, x);
    (void)snprintf(json, sizeof json, "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"%s\"}", x);
    size_t n = strlen(json);
    assert(n < sizeof json - 1); // not cut

    uint8_t hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(hash, (const uint8_t *)json, n);
    base64url_encode(hash, sizeof hash, out);
}

static struct str member(yyjson_val *object, const char *name)
{
    return json_text(yyjson_obj_get(object, name));
}

static bool kid_valid(struct str kid)
{
    if (kid.n == 0 || kid.n > JWK_MAX_KID) {
        return false;
    }
    for (size_t i = 0; i < kid.n; i++) {
        char c = kid.p[i];
        bool alphanumeric =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alphanumeric && c != '.' && c != '_' && c != '-') {
            return false;
        }
    }
    return true;
}

// Decodes text into exactly n bytes.
static bool decode_exactly(struct str text, uint8_t *out, size_t n)
{
    size_t got;
    return text.p && base64url_decode(text, out, n, &got) == 0 && got == n;
}

static int read_key(yyjson_val *root, struct jwk *ret_key)
{
    uint8_t seed[crypto_sign_SEEDBYTES];
    uint8_t x[JWK_PUBLIC_BYTES];
    struct jwk key = { 0 };
    struct str kid = member(root, "kid");
    int r = -EBADMSG;
    if (!str_eq(member(root, "kty"), STR("OKP")) || !str_eq(member(root, "crv"), STR("Ed25519")) ||
        !decode_exactly(member(root, "d"), seed, sizeof seed) ||
        !decode_exactly(member(root, "x"), x, sizeof x)) {
        goto out;
    }
    crypto_sign_seed_keypair(key.public_key, key.secret_key, seed);
    if (sodium_memcmp(key.public_key, x, sizeof x) != 0) {
        goto out;
    }
    if (!yyjson_obj_get(root, "kid")) {
        jwk_thumbprint(key.public_key, key.kid);
    } else if (kid_valid(kid)) {
        memcpy(key.kid, kid.p, kid.n);
    } else {
        goto out;
    }
    *ret_key = key;
    r = 0;
out:
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(&key, sizeof key);
    return r;
}

int jwk_read(struct str json, struct jwk *ret_key)
{
    // Without YYJSON_READ_INSITU the text is only read, whatever the parameter's type says.
    char *text = (char *)(uintptr_t)json.p;
    yyjson_read_err why;
    yyjson_doc *doc = yyjson_read_opts(text, json.n, YYJSON_READ_NOFLAG, &json_wiping_memory, &why);
    if (!doc) {
        return json_errno(&why);
    }
    int r = read_key(yyjson_doc_get_root(doc), ret_key);
    yyjson_doc_free(doc);
    return r;
}

void jwk_write(const struct jwk *key, struct buf *json)
{
    char x[BASE64URL_SIZE(JWK_PUBLIC_BYTES)];
    char d[BASE64URL_SIZE(crypto_sign_SEEDBYTES)];
    assert(kid_valid(str_of(key->kid)));
    base64url_encode(key->public_key, JWK_PUBLIC_BYTES, x);
    base64url_encode(key->secret_key, crypto_sign_SEEDBYTES, d);
    buf_printf(json, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\",\"d\":\"", x);
    buf_append_z(json, d); // printf leaves pieces of what it writes on the stack
    buf_printf(json, "\",\"kid\":\"%s\"}\n", key->kid);
    sodium_memzero(d, sizeof d);
}

// The array `keys` of a set; NULL when there is none.
static yyjson_mut_val *set_keys(yyjson_mut_doc *doc)
{
    yyjson_mut_val *keys = yyjson_mut_obj_get(yyjson_mut_doc_get_root(doc), "keys");
    return yyjson_mut_is_arr(keys) ? keys : NULL;
}

static bool set_has(yyjson_mut_val *keys, const char *kid)
{
    size_t i, n;
    yyjson_mut_val *key;
    yyjson_mut_arr_foreach(keys, i, n, key)
    {
        if (yyjson_mut_equals_str(yyjson_mut_obj_get(key, "kid"), kid)) {
            return true;
        }
    }
    return false;
}

static yyjson_mut_val *public_member(yyjson_mut_doc *doc, const struct jwk *key)
{
    char x[BASE64URL_SIZE(JWK_PUBLIC_BYTES)];
    base64url_encode(key->public_key, JWK_PUBLIC_BYTES, x);
    yyjson_mut_val *object = yyjson_mut_obj(doc);
    bool ok = yyjson_mut_obj_add_str(doc, object, "kty", "OKP") &&
              yyjson_mut_obj_add_str(doc, object, "crv", "Ed25519") &&
              yyjson_mut_obj_add_strcpy(doc, object, "x", x) &&
              yyjson_mut_obj_add_strcpy(doc, object, "kid", key->kid) &&
              yyjson_mut_obj_add_str(doc, object, "use", "sig") &&
              yyjson_mut_obj_add_str(doc, object, "alg", "EdDSA");
    return ok ? object : NULL;
}

static int set_write(yyjson_mut_doc *doc, struct buf *json)
{
    size_t n;
    char *text = yyjson_mut_write(doc, YYJSON_WRITE_PRETTY, &n);
    if (!text) {
        return -ENOMEM;
    }
    buf_append(json, text, n);
    buf_append_char(json, '\n');
    free(text);
    return buf_error(json);
}

// The set to be changed; the caller frees it. -EBADMSG when it is none.
static int set_read(struct str json_set, yyjson_mut_doc **ret_doc)
{
    struct str text = json_set.n > 0 ? json_set : STR("{\"keys\":[]}");
    yyjson_read_err why;
    // Only read, as above.
    yyjson_doc *read =
        yyjson_read_opts((char *)(uintptr_t)text.p, text.n, YYJSON_READ_NOFLAG, NULL, &why);
    if (!read) {
        return json_errno(&why);
    }
    yyjson_mut_doc *doc = yyjson_doc_mut_copy(read, NULL);
    yyjson_doc_free(read);
    if (!doc) {
        return -ENOMEM;
    }
    if (!set_keys(doc)) {
        yyjson_mut_doc_free(doc);
        return -EBADMSG;
    }
    *ret_doc = doc;
    return 0;
}

int jwk_set_add(struct str json_set, const struct jwk *key, struct buf *json)
{
    yyjson_mut_doc *doc;
    int r = set_read(json_set, &doc);
    if (r < 0) {
        return r;
    }
    yyjson_mut_val *keys = set_keys(doc);
    if (!set_has(keys, key->kid)) {
        r = yyjson_mut_arr_size(keys) >= JWK_SET_MAX_KEYS           ? -ENOSPC
            : yyjson_mut_arr_prepend(keys, public_member(doc, key)) ? set_write(doc, json)
                                                                    : -ENOMEM;
        r = r < 0 ? r : 1;
    }
    yyjson_mut_doc_free(doc);
    return r;
}

// Whether the key has ended at now_s.
static bool has_ended(yyjson_mut_val *key, int64_t now_s)
{
    yyjson_mut_val *exp = yyjson_mut_obj_get(key, "exp");
    return yyjson_mut_is_int(exp) && yyjson_mut_get_sint(exp) <= now_s;
}

int jwk_set_retire(struct str json_set, const char *kid, int64_t exp_s, int64_t now_s,
                   int *ret_removed, struct buf *json)
{
    yyjson_mut_doc *doc;
    int r = set_read(json_set, &doc), removed = 0;
    if (r < 0) {
        return r;
    }
    bool changed = false;
    yyjson_mut_arr_iter iterator = yyjson_mut_arr_iter_with(set_keys(doc));
    for (yyjson_mut_val *key; r == 0 && (key = yyjson_mut_arr_iter_next(&iterator));) {
        if (has_ended(key, now_s)) {
            (void)yyjson_mut_arr_iter_remove(&iterator);
            removed++;
        } else if (kid && yyjson_mut_equals_str(yyjson_mut_obj_get(key, "kid"), kid)) {
            (void)yyjson_mut_obj_remove_key(key, "exp");
            r = yyjson_mut_obj_add_int(doc, key, "exp", exp_s) ? 0 : -ENOMEM;
            changed = true;
        }
    }
    if (r == 0 && (changed || removed)) {
        r = set_write(doc, json);
        r = r < 0 ? r : 1;
    }
    yyjson_mut_doc_free(doc);
    if (r > 0) {
        *ret_removed = removed;
    }
    return r;
}

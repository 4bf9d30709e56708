// SPDX-License-Identifier: MIT
#include "gateway/jwt.h"

#include "common/json_text.h"
#include "common/uuid.h"
#include "gateway/externals.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdio.h>
#include <strings.h>
#include <yyjson.h>

#define SIGNATURE_MAX_BYTES (JWS_RSA_MAX_BITS / 8)
#define MEMBERS_MAX 32 // of header and claims: ten are usual
#define SID_BYTES 16   // of the hash that is an external token's session
#define PART_MAX_BYTES (TOKEN_MAX_BYTES / 4 * 3)
// Twice what yyjson says that it takes at most.
#define PARSE_BYTES (2 * (13 * PART_MAX_BYTES + 256))

struct parts {
    struct str header, claims, signature; // base64url
    struct str signed_bytes;              // "header.claims"
};

static bool split(struct str token, struct parts *ret)
{
    const char *first = token.n <= TOKEN_MAX_BYTES ? memchr(token.p, '.', token.n) : NULL;
    const char *end = token.p + token.n;
    const char *second = first ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;
    if (!second) {
        return false;
    }
    *ret = (struct parts){ { token.p, (size_t)(first - token.p) },
                           { first + 1, (size_t)(second - first - 1) },
                           { second + 1, (size_t)(end - second - 1) },
                           { token.p, (size_t)(second - token.p) } };
    return true; // a further dot does not decode
}

// Whether v is an object without duplicate members.
static bool is_object(yyjson_val *v)
{
    yyjson_val *names[MEMBERS_MAX];
    size_t n = 0;
    if (!yyjson_is_obj(v) || yyjson_obj_size(v) > MEMBERS_MAX) {
        return false;
    }
    yyjson_obj_iter iterator = yyjson_obj_iter_with(v);
    for (yyjson_val *name; (name = yyjson_obj_iter_next(&iterator)); names[n++] = name) {
        for (size_t i = 0; i < n; i++) {
            if (yyjson_equals(names[i], name)) {
                return false;
            }
        }
    }
    return true;
}

// What one part is parsed in. It comes from no heap, so that no want of memory makes a valid token
// look like one that is not.
struct part_memory {
    alignas(max_align_t) char bytes[PARSE_BYTES];
};

// Decodes and parses one part; NULL when it is not an object. Lives as long as the memory.
static yyjson_val *parse(struct str text, struct part_memory *memory)
{
    char json[PART_MAX_BYTES];
    size_t n;
    yyjson_alc allocator;
    if (base64url_decode(text, json, sizeof json, &n)) {
        return NULL;
    }
    assert(2 * yyjson_read_max_memory_usage(n, YYJSON_READ_NOFLAG) <= sizeof memory->bytes);
    yyjson_alc_pool_init(&allocator, memory->bytes, sizeof memory->bytes);
    yyjson_val *root =
        yyjson_doc_get_root(yyjson_read_opts(json, n, YYJSON_READ_NOFLAG, &allocator, NULL));
    return is_object(root) ? root : NULL;
}

// Whether typ is the media type "application/<name>", which may be left out and is written in any
// case (RFC 7515 section 4.1.9).
static bool type_is(struct str typ, struct str name)
{
    static const char prefix[] = "application/";
    if (typ.n > sizeof prefix - 1 && strncasecmp(typ.p, prefix, sizeof prefix - 1) == 0) {
        typ = (struct str){ typ.p + sizeof prefix - 1, typ.n - (sizeof prefix - 1) };
    }
    return typ.n == name.n && strncasecmp(typ.p, name.p, name.n) == 0;
}

// The key that the header names. -EACCES when the header is not one of ours, -ENOKEY when there is
// no such key, or it has ended.
static int choose_key(yyjson_val *header, const struct jwt_rules *rules,
                      const struct external_issuer *external, const struct jwks_key **ret_key)
{
    static const char *const refused[] = { "crit", "jwk", "jku", "x5u", "x5c", "b64", "zip" };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (yyjson_obj_get(header, refused[i])) {
            return -EACCES;
        }
    }
    struct str typ = json_text(yyjson_obj_get(header, "typ")),
               kid = json_text(yyjson_obj_get(header, "kid"));
    enum jws_algorithm algorithm;
    if (!jws_algorithm_named(json_text(yyjson_obj_get(header, "alg")), &algorithm) || kid.n == 0 ||
        !(type_is(typ, STR("at+jwt")) ||
          (external && external->plain_jwt && type_is(typ, STR("JWT"))))) {
        return -EACCES;
    }
    const struct jwks_key *key = jwks_find(external ? &external->keys : rules->keys, kid);
    if (!key || key->exp_s <= rules->now_s) {
        return external || algorithm == JWS_EDDSA ? -ENOKEY : -EACCES;
    }
    *ret_key = key;
    return key->algorithm == algorithm ? 0 : -EACCES;
}

static bool signature_valid(const struct parts *parts, const struct jwks_key *key)
{
    char bytes[SIGNATURE_MAX_BYTES];
    struct str signature = { bytes, 0 };
    if (base64url_decode(parts->signature, bytes, sizeof bytes, &signature.n)) {
        return false;
    }
    return key->algorithm == JWS_EDDSA
               ? jws_eddsa_valid(key->public_key, parts->signed_bytes, signature)
               : jws_evp_valid(key->algorithm, key->evp, parts->signed_bytes, signature);
}

static bool audience_has(yyjson_val *aud, const char *audience)
{
    if (yyjson_is_str(aud)) {
        return yyjson_equals_str(aud, audience);
    }
    yyjson_arr_iter iterator = yyjson_arr_iter_with(aud); // of no array: has no values
    for (yyjson_val *v; (v = yyjson_arr_iter_next(&iterator));) {
        if (yyjson_equals_str(v, audience)) {
            return true;
        }
    }
    return false;
}

// Copies a text claim: 1 to JWT_TEXT_MAX bytes without control characters.
static bool copy_text(yyjson_val *v, char out[JWT_TEXT_MAX + 1])
{
    struct str s = json_text(v);
    bool ok = s.n > 0 && s.n <= JWT_TEXT_MAX;
    for (size_t i = 0; ok && i < s.n; i++) {
        ok = (unsigned char)s.p[i] > 0x20 && s.p[i] != 0x7F;
    }
    if (ok) {
        memcpy(out, s.p, s.n);
        out[s.n] = '\0';
    }
    return ok;
}

// A NumericDate in whole seconds, positive and far from overflow when made milliseconds.
static bool get_time(yyjson_val *v, int64_t *ret)
{
    bool ok = yyjson_is_uint(v) && yyjson_get_uint(v) < INT64_MAX / 1000;
    *ret = ok ? (int64_t)yyjson_get_uint(v) : 0;
    return ok;
}

// Milliseconds since the epoch inside a UUIDv7, if they lie in the second iat_s; else that second's
// beginning.
static int64_t issued_ms(struct str jti, int64_t iat_s)
{
    if (!uuid_valid(jti) || jti.p[14] != '7') {
        return iat_s * 1000;
    }
    int64_t ms = 0;
    for (size_t i = 0; i < 13; i++) {
        char c = jti.p[i];
        ms = c == '-' ? ms : ms * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return ms / 1000 == iat_s ? ms : iat_s * 1000;
}

// Who the token is of, when we signed it.
static bool copy_own_claims(yyjson_val *claims, struct jwt_claims *ret)
{
    return json_text(yyjson_obj_get(claims, "jti")).n > 0 &&
           copy_text(yyjson_obj_get(claims, "sub"), ret->sub) &&
           copy_text(yyjson_obj_get(claims, "role"), ret->role) &&
           copy_text(yyjson_obj_get(claims, "sid"), ret->sid);
}

// The session of an external token is this token alone: those of its provider are not ours to end,
// and one that goes on there must be able to come back with another token. The signature is left
// out: who has an ECDSA signature can make another one of the same bytes.
static void name_external_session(const char *issuer, struct str signed_bytes,
                                  char sid[JWT_TEXT_MAX + 1])
{
    uint8_t hash[SID_BYTES];
    char text[BASE64URL_SIZE(SID_BYTES)];
    static_assert(EXTERNALS_MAX_NAME + 1 + BASE64URL_TEXT(SID_BYTES) <= JWT_TEXT_MAX, "it fits");
    crypto_generichash(hash, sizeof hash, (const uint8_t *)signed_bytes.p, signed_bytes.n, NULL, 0);
    base64url_encode(hash, sizeof hash, text);
    (void)snprintf(sid, JWT_TEXT_MAX + 1, "%s:%s", issuer, text);
}

static bool copy_external_claims(yyjson_val *claims, const struct external_issuer *external,
                                 struct jwt_claims *ret)
{
    char sub[JWT_TEXT_MAX + 1];
    const char *role = externals_role(external, claims);
    if (!role || !copy_text(yyjson_obj_get(claims, "sub"), sub)) {
        return false;
    }
    int n = snprintf(ret->sub, sizeof ret->sub, "%s:%s", external->name, sub);
    (void)snprintf(ret->role, sizeof ret->role, "%s", role); // both are shorter: read_roles()
    return n > 0 && (size_t)n < sizeof ret->sub;             // cut off it might be somebody else
}

static int check_claims(yyjson_val *claims, const struct jwt_rules *rules,
                        const struct external_issuer *external, struct jwt_claims *ret)
{
    int64_t iat, nbf;
    int64_t latest = rules->now_s + (external ? JWT_LEEWAY_S : JWT_OWN_LEEWAY_S);
    yyjson_val *not_before = yyjson_obj_get(claims, "nbf");
    if (!yyjson_equals_str(yyjson_obj_get(claims, "iss"),
                           external ? external->issuer : rules->issuer) ||
        !audience_has(yyjson_obj_get(claims, "aud"),
                      external ? external->audience : rules->audience) ||
        !(external ? copy_external_claims(claims, external, ret) : copy_own_claims(claims, ret))) {
        return -EACCES;
    }
    if (!get_time(yyjson_obj_get(claims, "exp"), &ret->exp_s) ||
        !get_time(yyjson_obj_get(claims, "iat"), &iat) || iat > latest ||
        (not_before && (!get_time(not_before, &nbf) || nbf > latest))) {
        return -EACCES;
    }
    ret->issued_ms = issued_ms(json_text(yyjson_obj_get(claims, "jti")), iat);
    return ret->exp_s > rules->now_s ? 0 : -EKEYEXPIRED;
}

static int verify_parts(const struct parts *parts, const struct jwt_rules *rules,
                        yyjson_val *header, struct jwt_claims *ret)
{
    // Read before anything is verified, but only to learn whose keys are to be used.
    struct part_memory memory;
    yyjson_val *claims = parse(parts->claims, &memory);
    const struct external_issuer *external =
        rules->externals && claims
            ? externals_find(rules->externals, json_text(yyjson_obj_get(claims, "iss")))
            : NULL;
    const struct jwks_key *key = NULL;
    int rc = claims ? choose_key(header, rules, external, &key) : -EACCES;
    if (rc == 0) {
        rc = signature_valid(parts, key) ? check_claims(claims, rules, external, ret) : -EACCES;
    }
    if (rc == 0 && external) {
        name_external_session(external->name, parts->signed_bytes, ret->sid);
    }
    return rc;
}

int jwt_verify(struct str token, const struct jwt_rules *rules, struct jwt_claims *ret_claims)
{
    struct parts parts;
    struct jwt_claims result;
    if (!split(token, &parts)) {
        return -EACCES;
    }
    struct part_memory memory;
    yyjson_val *header = parse(parts.header, &memory);
    int rc = header ? verify_parts(&parts, rules, header, &result) : -EACCES;
    if (rc == 0) {
        *ret_claims = result;
    }
    return rc;
}

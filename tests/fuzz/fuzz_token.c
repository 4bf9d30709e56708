// SPDX-License-Identifier: MIT
// The verifier of access tokens. The first byte chooses what the rest is:
//
//     0   a token as it is
//     1   which of the good tokens, then edits of it: position (two bytes) and new character
//     2   header, NUL, claims: they are signed with the right key, so that the claims are looked at
//     3   a JWK set
//
// The oracle: a token that is taken is, byte for byte, one that was signed. Ed25519 signs each text in
// one way only, so that is all tokens there are; of the other algorithms there are keys, but no tokens.
#include "tests/fuzz/fuzz.h"

#include "common/base64url.h"
#include "gateway/externals.h"
#include "gateway/jwt.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <yyjson.h>

#define NOW 1800000000
#define GOOD 4 // tokens
#define TOKEN_SIZE (2 * TOKEN_MAX_BYTES)
#define OWN "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"k\"}"
#define OWN_CLAIMS                                                                                 \
    "{\"iss\":\"sluice\",\"aud\":\"sluice\",\"sub\":\"u\",\"role\":\"user\",\"sid\":\"s\","        \
    "\"iat\":1799999990,\"exp\":1800000900,\"jti\":\"j\"}"
#define THEIR_CLAIMS                                                                               \
    "{\"iss\":\"https://id\",\"aud\":[\"a\",\"shop\"],\"sub\":\"x|7\",\"iat\":1799999990,"         \
    "\"exp\":1800000900,\"r\":{\"roles\":[\"buyer\",\"boss\"]}}"
#define KEYS                                                                                       \
    ",{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"e\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus"  \
    "9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},{\"kty\":\"RSA\",\"kid\":" \
    "\"r\",\"e\":\"AQAB\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmf"   \
    "HQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9w"    \
    "Gzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4u"    \
    "DZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9g"    \
    "b54h4FRWyuXpoQ\"}"
#define ALL_ALGORITHMS (1u << JWS_EDDSA | 1u << JWS_ES256 | 1u << JWS_RS256)

static struct jwks keys;
static struct externals externals;
static uint8_t secret_key[crypto_sign_SECRETKEYBYTES];
static char good[GOOD][TOKEN_SIZE];

// Returns the length of the token.
static size_t sign(struct str header, struct str claims, char token[TOKEN_SIZE])
{
    uint8_t signature[crypto_sign_BYTES];
    size_t n = base64url_encode(header.p, header.n, token).n;
    token[n++] = '.';
    n += base64url_encode(claims.p, claims.n, token + n).n;
    REQUIRE(crypto_sign_detached(signature, NULL, (const uint8_t *)token, n, secret_key) == 0);
    token[n++] = '.';
    return n + base64url_encode(signature, sizeof signature, token + n).n;
}

static void start(void)
{
    static const uint8_t seed[crypto_sign_SEEDBYTES] = "sluice fuzz";
    static const char *const headers[GOOD] = {
        OWN, "{\"typ\":\"application/AT+JWT\",\"kid\":\"k\",\"alg\":\"Ed25519\"}", OWN,
        "{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"k\"}"
    };
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    char x[BASE64URL_SIZE(sizeof public_key)], json[2048];
    size_t at;
    REQUIRE(sodium_init() >= 0);
    crypto_sign_seed_keypair(public_key, secret_key, seed);
    base64url_encode(public_key, sizeof public_key, x);
    (void)snprintf(
        json, sizeof json,
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":\"k\",\"x\":\"%s\"}%s]}", x, KEYS);
    struct external_issuer *them = &externals.issuers[0];
    *them = (struct external_issuer){ .name = "them",
                                      .issuer = "https://id",
                                      .audience = "shop",
                                      .plain_jwt = true,
                                      .n_claim = 2,
                                      .claim = { "r", "roles" },
                                      .n_roles = 2,
                                      .roles = { { "boss", "admin" }, { "buyer", "user" } } };
    externals.n = 1;
    REQUIRE(jwks_parse(str_of(json), &keys) == 0 && keys.n == 1);
    REQUIRE(jwks_add(&them->keys, str_of(json), ALL_ALGORITHMS, &at) == 0 && them->keys.n == 3);
    for (size_t i = 0; i < GOOD; i++) {
        size_t n = sign(str_of(headers[i]), str_of(i < 2 ? OWN_CLAIMS : THEIR_CLAIMS), good[i]);
        good[i][n] = '\0';
    }
}

static int verify(struct str token, struct jwt_claims *ret)
{
    struct jwt_rules rules = { &keys, "sluice", "sluice", NOW, &externals };
    struct str copy = exact(token);
    int rc = jwt_verify(copy, &rules, ret);
    drop(copy);
    REQUIRE(rc == 0 || rc == -EACCES || rc == -ENOKEY || rc == -EKEYEXPIRED);
    return rc;
}

static bool is_text(const char text[JWT_TEXT_MAX + 1])
{
    size_t n = strnlen(text, JWT_TEXT_MAX + 1);
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] <= ' ' || text[i] == 0x7F) {
            return false;
        }
    }
    return n > 0 && n <= JWT_TEXT_MAX;
}

// What must hold for the claims of every token that is taken.
static void check_claims(const struct jwt_claims *c)
{
    REQUIRE(is_text(c->sub) && is_text(c->role) && is_text(c->sid));
    REQUIRE(c->exp_s > NOW);
    REQUIRE(c->issued_ms >= 0 && c->issued_ms / 1000 <= NOW + JWT_LEEWAY_S);
}

// An external issuer gives nobody one of our ids, and only the roles that are mapped.
static void check_whose(const struct jwt_claims *c, struct str body)
{
    yyjson_doc *doc = yyjson_read(body.p, body.n, YYJSON_READ_NOFLAG);
    REQUIRE(doc);
    if (yyjson_equals_str(yyjson_obj_get(yyjson_doc_get_root(doc), "iss"), "https://id")) {
        REQUIRE(strncmp(c->sub, "them:", 5) == 0 && c->sub[5] && strncmp(c->sid, "them:", 5) == 0 &&
                strlen(c->sid) == 5 + 22);
        REQUIRE(strcmp(c->role, "admin") == 0 || strcmp(c->role, "user") == 0);
    }
    yyjson_doc_free(doc);
}

static bool is_good(struct str token)
{
    for (size_t i = 0; i < GOOD; i++) {
        if (str_eq(token, str_of(good[i]))) {
            return true;
        }
    }
    return false;
}

static void check_unsigned(struct str token)
{
    struct jwt_claims claims;
    bool taken = verify(token, &claims) == 0;
    REQUIRE(taken == is_good(token));
    if (taken) {
        check_claims(&claims);
    }
}

static void check_edited(struct str in)
{
    char token[TOKEN_SIZE];
    const char *from = good[take_byte(&in) % GOOD];
    size_t n = strlen(from);
    memcpy(token, from, n);
    while (in.n >= 3) {
        size_t at = (size_t)take_byte(&in) << 8;
        at |= take_byte(&in);
        char c = (char)take_byte(&in);
        if (at < n) {
            token[at] = c;
        } else if (at < 2 * n) {
            n = at - n; // cut off
        } else if (n < TOKEN_SIZE) {
            token[n++] = c;
        }
    }
    check_unsigned((struct str){ token, n });
}

static void check_signed(struct str in)
{
    char token[TOKEN_SIZE];
    struct jwt_claims claims, again;
    const char *end = in.n ? memchr(in.p, '\0', in.n) : NULL;
    struct str header = { in.p, end ? (size_t)(end - in.p) : in.n };
    struct str body = end ? (struct str){ end + 1, in.n - header.n - 1 } : STR("");
    if (BASE64URL_TEXT(header.n) + BASE64URL_TEXT(body.n) > TOKEN_MAX_BYTES) {
        return;
    }
    size_t n = sign(header.n ? header : STR(OWN), body, token);
    if (verify((struct str){ token, n }, &claims)) {
        return;
    }
    check_claims(&claims);
    check_whose(&claims, body);
    // Whatever is changed of it, it is not taken any more.
    for (size_t i = 0; i < n; i += 1 + n / 8) {
        token[i] ^= 1;
        REQUIRE(verify((struct str){ token, n }, &again) != 0);
        token[i] ^= 1;
    }
    token[n - 1] ^= 1; // perhaps only in its unused bits
    REQUIRE(verify((struct str){ token, n }, &again) != 0);
    REQUIRE(verify((struct str){ token, n - 1 }, &again) != 0);
}

static void check_set(struct str in)
{
    struct jwks set = { 0 };
    struct buf json;
    size_t at;
    struct str copy = exact(in);
    (void)jwks_add(&set, copy, ALL_ALGORITHMS, &at);
    drop(copy);
    for (size_t i = 0; i < set.n; i++) {
        REQUIRE((set.keys[i].algorithm == JWS_EDDSA) == (set.keys[i].evp == NULL));
        REQUIRE(jwks_find(&set, str_of(set.keys[i].kid)) == &set.keys[i]);
    }
    jwks_fini(&set);
    if (jwks_parse(in, &set) == 0) { // what is shown to others is read again
        struct jwks same;
        buf_init(&json, JWK_SET_MAX_BYTES);
        jwks_render(&set, &json);
        REQUIRE(buf_ok(&json) && jwks_parse(buf_str(&json), &same) == 0);
        REQUIRE(same.n == set.n && jwks_includes(&same, &set));
        buf_fini(&json);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str in = { (const char *)data, size };
    if (keys.n == 0) {
        start();
    }
    switch (take_byte(&in) % 4) {
    case 0:
        check_unsigned(in);
        break;
    case 1:
        check_edited(in);
        break;
    case 2:
        check_signed(in);
        break;
    case 3:
        check_set(in);
        break;
    }
    return 0;
}

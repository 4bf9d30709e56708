// SPDX-License-Identifier: MIT
#include "gateway/jws.h"

#include "common/base64url.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <sodium.h>

#define P256_BYTES 32
#define RSA_MAX_BYTES (JWS_RSA_MAX_BITS / 8)
#define RSA_EXPONENT_MAX_BYTES 8
#define DER_MAX_BYTES 80 // of two integers of 33 bytes

bool jws_algorithm_named(struct str alg, enum jws_algorithm *ret_algorithm)
{
    static const struct {
        const char *name;
        enum jws_algorithm algorithm;
    } names[] = { { "EdDSA", JWS_EDDSA },
                  { "Ed25519", JWS_EDDSA },
                  { "ES256", JWS_ES256 },
                  { "RS256", JWS_RS256 } };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (str_eq(alg, str_of(names[i].name))) {
            *ret_algorithm = names[i].algorithm;
            return true;
        }
    }
    return false;
}

// --- Keys

// Takes build, which may be NULL.
static int make_key(const char *type, OSSL_PARAM_BLD *build, EVP_PKEY **ret_key)
{
    OSSL_PARAM *params = build ? OSSL_PARAM_BLD_to_param(build) : NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *key = NULL;
    int rc = -ENOMEM;
    if (params && context) {
        rc = EVP_PKEY_fromdata_init(context) == 1 &&
                     EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) == 1
                 ? 0
                 : -EBADMSG;
    }
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    ERR_clear_error();
    if (rc == 0) {
        *ret_key = key;
    }
    return rc;
}

int jws_ec_key(struct str x, struct str y, EVP_PKEY **ret_key)
{
    uint8_t point[1 + 2 * P256_BYTES] = {
        0x04
    }; // uncompressed; fromdata checks it is on the curve
    size_t nx, ny;
    if (!x.p || !y.p || base64url_decode(x, point + 1, P256_BYTES, &nx) || nx != P256_BYTES ||
        base64url_decode(y, point + 1 + P256_BYTES, P256_BYTES, &ny) || ny != P256_BYTES) {
        return -EBADMSG;
    }
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (build &&
        (OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) != 1 ||
         OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point) !=
             1)) {
        OSSL_PARAM_BLD_free(build);
        build = NULL;
    }
    return make_key("EC", build, ret_key);
}

static bool rsa_numbers_good(const BIGNUM *n, const BIGNUM *e)
{
    int bits = BN_num_bits(n);
    return bits >= JWS_RSA_MIN_BITS && bits <= JWS_RSA_MAX_BITS && BN_is_odd(n) && BN_is_odd(e) &&
           !BN_is_one(e);
}

int jws_rsa_key(struct str n, struct str e, EVP_PKEY **ret_key)
{
    uint8_t n_bytes[RSA_MAX_BYTES], e_bytes[RSA_EXPONENT_MAX_BYTES];
    size_t n_size, e_size;
    if (!n.p || !e.p || base64url_decode(n, n_bytes, sizeof n_bytes, &n_size) ||
        base64url_decode(e, e_bytes, sizeof e_bytes, &e_size)) {
        return -EBADMSG;
    }
    BIGNUM *modulus = BN_bin2bn(n_bytes, (int)n_size, NULL);
    BIGNUM *exponent = BN_bin2bn(e_bytes, (int)e_size, NULL);
    int rc = !modulus || !exponent ? -ENOMEM : rsa_numbers_good(modulus, exponent) ? 0 : -EBADMSG;
    if (rc == 0) {
        OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
        if (build && (OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) != 1 ||
                      OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent) != 1)) {
            OSSL_PARAM_BLD_free(build);
            build = NULL;
        }
        rc = make_key("RSA", build, ret_key);
    }
    BN_free(modulus);
    BN_free(exponent);
    return rc;
}

void jws_key_free(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
    *key = NULL;
}

// --- Signatures

bool jws_eddsa_valid(const uint8_t public_key[JWS_ED25519_BYTES], struct str bytes,
                     struct str signature)
{
    return signature.n == crypto_sign_BYTES &&
           crypto_sign_verify_detached((const uint8_t *)signature.p, (const uint8_t *)bytes.p,
                                       bytes.n, public_key) == 0;
}

// r||s, each of 32 bytes, in the form that OpenSSL wants. Returns its length, 0 when it is not that.
static size_t ecdsa_der(struct str raw, uint8_t out[DER_MAX_BYTES])
{
    if (raw.n != 2 * P256_BYTES) {
        return 0;
    }
    ECDSA_SIG *signature = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn((const uint8_t *)raw.p, P256_BYTES, NULL);
    BIGNUM *s = BN_bin2bn((const uint8_t *)raw.p + P256_BYTES, P256_BYTES, NULL);
    int n = 0;
    if (signature && r && s && ECDSA_SIG_set0(signature, r, s) == 1) {
        r = s = NULL; // they are the signature's now
        uint8_t *to = out;
        n = i2d_ECDSA_SIG(signature, NULL) <= DER_MAX_BYTES ? i2d_ECDSA_SIG(signature, &to) : 0;
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(signature);
    return n > 0 ? (size_t)n : 0;
}

bool jws_evp_valid(enum jws_algorithm algorithm, EVP_PKEY *key, struct str bytes,
                   struct str signature)
{
    uint8_t der[DER_MAX_BYTES];
    if (EVP_PKEY_is_a(key, algorithm == JWS_RS256 ? "RSA" : "EC") != 1) {
        return false;
    }
    if (algorithm == JWS_ES256) {
        signature = (struct str){ (const char *)der, ecdsa_der(signature, der) };
    } else if (signature.n != (size_t)EVP_PKEY_get_size(key)) {
        return false; // RFC 8017 section 8.2.2: exactly as long as the modulus
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    // An RSA key verifies with PKCS #1 v1.5 padding unless told otherwise.
    bool valid = context && signature.n > 0 &&
                 EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
                 EVP_DigestVerify(context, (const uint8_t *)signature.p, signature.n,
                                  (const uint8_t *)bytes.p, bytes.n) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error(); // a wrong signature is nothing that anybody asks OpenSSL about
    return valid;
}

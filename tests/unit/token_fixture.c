#include "token_fixture.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const char *const token_algorithms[12] = {"HS256", "HS384", "HS512", "RS256", "RS384", "RS512",
                                          "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"};

static const char secret[65] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";

static const EVP_MD *hash_of(const char *algorithm)
{
    return algorithm[2] == '2' ? EVP_sha256() : algorithm[2] == '3' ? EVP_sha384() : EVP_sha512();
}

static size_t coordinate_of(const char *algorithm)
{
    return algorithm[2] == '2' ? 32 : algorithm[2] == '3' ? 48 : 66;
}

static EVP_PKEY *key_of(const char *algorithm)
{
    static EVP_PKEY *rsa, *ec[3];
    if (algorithm[0] != 'E')
        return rsa ? rsa : (rsa = EVP_RSA_gen(2048));
    size_t which = algorithm[2] == '2' ? 0 : algorithm[2] == '3' ? 1 : 2;
    static const char *const curves[] = {"P-256", "P-384", "P-521"};
    return ec[which] ? ec[which] : (ec[which] = EVP_EC_gen(curves[which]));
}

struct eg_bytes token_fixture_secret(const char *algorithm)
{
    return (struct eg_bytes){secret, (size_t)EVP_MD_get_size(hash_of(algorithm))};
}

char *token_fixture_base64url(const void *bytes, size_t length)
{
    char *text = malloc(length / 3 * 4 + 5);
    int end = EVP_EncodeBlock((unsigned char *)text, bytes, (int)length);
    while (end > 0 && text[end - 1] == '=')
        end--;
    text[end] = '\0';
    for (int i = 0; i < end; i++)
        text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
    return text;
}

static char *pem(const char *algorithm, bool private)
{
    char *bytes;
    if (algorithm[0] == 'H')
        return NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    assert_true(private ? PEM_write_bio_PrivateKey(bio, key_of(algorithm), NULL, NULL, 0, NULL, NULL)
                        : PEM_write_bio_PUBKEY(bio, key_of(algorithm)));
    long length = BIO_get_mem_data(bio, &bytes);
    char *text = strndup(bytes, (size_t)length);
    BIO_free(bio);
    return text;
}

char *token_fixture_pem(const char *algorithm)
{
    return pem(algorithm, false);
}

char *token_fixture_private_pem(const char *algorithm)
{
    return pem(algorithm, true);
}

static char *number_of(const char *algorithm, const char *name, size_t size)
{
    BIGNUM *number = NULL;
    unsigned char bytes[512];
    assert_true(EVP_PKEY_get_bn_param(key_of(algorithm), name, &number));
    int length = BN_bn2binpad(number, bytes, size ? (int)size : BN_num_bytes(number));
    BN_free(number);
    return token_fixture_base64url(bytes, (size_t)length);
}

char *token_fixture_jwk(const char *algorithm, const char *members)
{
    char *jwk, *one = NULL, *other = NULL;
    if (algorithm[0] == 'H') {
        struct eg_bytes k = token_fixture_secret(algorithm);
        one = token_fixture_base64url(k.data, k.length);
        assert_true(asprintf(&jwk, "{%s\"kty\":\"oct\",\"k\":\"%s\"}", members, one) > 0);
    } else if (algorithm[0] == 'E') {
        one = number_of(algorithm, OSSL_PKEY_PARAM_EC_PUB_X, coordinate_of(algorithm));
        other = number_of(algorithm, OSSL_PKEY_PARAM_EC_PUB_Y, coordinate_of(algorithm));
        assert_true(asprintf(&jwk, "{%s\"kty\":\"EC\",\"crv\":\"P-%s\",\"x\":\"%s\",\"y\":\"%s\"}", members,
                             algorithm[2] == '5' ? "521" : algorithm + 2, one, other) > 0);
    } else {
        one = number_of(algorithm, OSSL_PKEY_PARAM_RSA_N, 0);
        other = number_of(algorithm, OSSL_PKEY_PARAM_RSA_E, 0);
        assert_true(asprintf(&jwk, "{%s\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}", members, one, other) > 0);
    }
    free(one);
    free(other);
    return jwk;
}

static char *hmac(const EVP_MD *hash, struct eg_bytes key, const char *signed_part)
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    assert_non_null(
        HMAC(hash, key.data, (int)key.length, (const unsigned char *)signed_part, strlen(signed_part), bytes, &length));
    return token_fixture_base64url(bytes, length);
}

char *token_fixture_hs256(struct eg_bytes key, const char *signed_part)
{
    return hmac(EVP_sha256(), key, signed_part);
}

static size_t sign(const char *algorithm, const char *signed_part, unsigned char *bytes, size_t size)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key_context;
    assert_true(EVP_DigestSignInit(context, &key_context, hash_of(algorithm), NULL, key_of(algorithm)));
    if (algorithm[0] == 'P') {
        assert_true(EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PSS_PADDING));
        assert_true(EVP_PKEY_CTX_set_rsa_pss_saltlen(key_context, RSA_PSS_SALTLEN_DIGEST));
    }
    assert_true(EVP_DigestSign(context, bytes, &size, (const unsigned char *)signed_part, strlen(signed_part)));
    EVP_MD_CTX_free(context);
    return size;
}

char *token_fixture_raw_signature(const char *algorithm, const char *signed_part)
{
    unsigned char bytes[1024];
    return token_fixture_base64url(bytes, sign(algorithm, signed_part, bytes, sizeof(bytes)));
}

static char *signature_of(const char *algorithm, const char *signed_part)
{
    unsigned char der[1024], both[132];
    const unsigned char *at = der;
    if (algorithm[0] == 'H')
        return hmac(hash_of(algorithm), token_fixture_secret(algorithm), signed_part);
    if (algorithm[0] != 'E')
        return token_fixture_raw_signature(algorithm, signed_part);
    size_t half = coordinate_of(algorithm);
    ECDSA_SIG *numbers = d2i_ECDSA_SIG(NULL, &at, (long)sign(algorithm, signed_part, der, sizeof(der)));
    assert_non_null(numbers);
    BN_bn2binpad(ECDSA_SIG_get0_r(numbers), both, (int)half);
    BN_bn2binpad(ECDSA_SIG_get0_s(numbers), both + half, (int)half);
    ECDSA_SIG_free(numbers);
    return token_fixture_base64url(both, 2 * half);
}

char *token_fixture_compact(struct eg_bytes header, struct eg_bytes claims, const char *signature)
{
    char *head = token_fixture_base64url(header.data, header.length), *token;
    char *body = token_fixture_base64url(claims.data, claims.length);
    assert_true(asprintf(&token, "%s.%s%s%s", head, body, signature ? "." : "", signature ? signature : "") > 0);
    free(head);
    free(body);
    return token;
}

char *token_fixture_sign(const char *algorithm, const char *header, const char *claims)
{
    struct eg_bytes head = {header, strlen(header)}, body = {claims, strlen(claims)};
    char *signed_part = token_fixture_compact(head, body, NULL), *token;
    char *signature = signature_of(algorithm, signed_part);
    assert_true(asprintf(&token, "%s.%s", signed_part, signature) > 0);
    free(signed_part);
    free(signature);
    return token;
}

char *token_fixture_token(const char *algorithm, const char *claims)
{
    char header[60];
    snprintf(header, sizeof(header), "{\"typ\":\"JWT\",\"alg\":\"%s\"}", algorithm);
    return token_fixture_sign(algorithm, header, claims);
}

struct eg_keyring *token_fixture_ring(const char *text, const char *algorithm)
{
    struct eg_keyring *ring = eg_keyring_new();
    struct eg_error error = {.sentence = ""};
    assert_non_null(ring);
    if (eg_keyring_add(ring, "keys", text, strlen(text), algorithm, &error))
        fail_msg("%s", error.sentence);
    return ring;
}

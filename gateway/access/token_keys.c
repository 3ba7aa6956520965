/*
 * The keyring, and reading keys: what a file is, and those that are written in JSON.
 *
 * A key knows its one algorithm, so a token can't choose another (an RSA key taken for a shared secret).
 */
#include "eventgate/token_internal.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RSA_MIN_BITS 2048

static const struct eg_token_algorithm algorithms[] = {
    {.name = "HS256", .family = EG_TOKEN_HMAC, .hash = EVP_sha256, .signature_bytes = 32},
    {.name = "HS384", .family = EG_TOKEN_HMAC, .hash = EVP_sha384, .signature_bytes = 48},
    {.name = "HS512", .family = EG_TOKEN_HMAC, .hash = EVP_sha512, .signature_bytes = 64},
    {.name = "RS256", .family = EG_TOKEN_RSA, .hash = EVP_sha256},
    {.name = "RS384", .family = EG_TOKEN_RSA, .hash = EVP_sha384},
    {.name = "RS512", .family = EG_TOKEN_RSA, .hash = EVP_sha512},
    {.name = "PS256", .family = EG_TOKEN_RSA_PSS, .hash = EVP_sha256},
    {.name = "PS384", .family = EG_TOKEN_RSA_PSS, .hash = EVP_sha384},
    {.name = "PS512", .family = EG_TOKEN_RSA_PSS, .hash = EVP_sha512},
    {"ES256", EG_TOKEN_EC, EVP_sha256, 64, "P-256", "prime256v1", 32},
    {"ES384", EG_TOKEN_EC, EVP_sha384, 96, "P-384", "secp384r1", 48},
    {"ES512", EG_TOKEN_EC, EVP_sha512, 132, "P-521", "secp521r1", 66},
};

const struct eg_token_algorithm *eg_token_algorithm(const char *name)
{
    for (size_t i = 0; i < EG_ARRAY_LENGTH(algorithms); i++)
        if (strcmp(algorithms[i].name, name) == 0)
            return &algorithms[i];
    return NULL;
}

const struct eg_token_algorithm *eg_token_algorithm_of_curve(const char *curve)
{
    for (size_t i = 0; i < EG_ARRAY_LENGTH(algorithms); i++)
        if (algorithms[i].curve && (strcmp(algorithms[i].curve, curve) == 0 || strcmp(algorithms[i].group, curve) == 0))
            return &algorithms[i];
    return NULL;
}

/* --- the ring --- */

struct eg_keyring *eg_keyring_new(void)
{
    struct eg_keyring *keyring = calloc(1, sizeof(*keyring));
    if (keyring)
        keyring->references = 1;
    return keyring;
}

size_t eg_keyring_count(const struct eg_keyring *keyring)
{
    return keyring->count;
}

struct eg_keyring *eg_keyring_ref(struct eg_keyring *keyring)
{
    atomic_fetch_add_explicit(&keyring->references, 1, memory_order_relaxed);
    return keyring;
}

void eg_keyring_unref(struct eg_keyring *keyring)
{
    if (!keyring || atomic_fetch_sub_explicit(&keyring->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < keyring->count; i++) {
        free(keyring->keys[i].kid);
        cjose_jwk_release(keyring->keys[i].jwk);
        EVP_PKEY_free(keyring->keys[i].ec);
    }
    free(keyring);
}

int eg_token_key_refused(const struct eg_token_key_source *source, const char *format, ...)
{
    char *sentence = source->error->sentence;
    size_t size = sizeof(source->error->sentence);
    int length = snprintf(sentence, size, "%s: ", source->where);
    if (length >= 0 && (size_t)length < size) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(sentence + length, size - (size_t)length, format, arguments);
        va_end(arguments);
    }
    return -EINVAL;
}

/* Takes the key's own part, also when it fails. */
static int add_key(const struct eg_token_key_source *source, const struct eg_token_algorithm *algorithm,
                   size_t signature_bytes, cjose_jwk_t *jwk, EVP_PKEY *ec)
{
    struct eg_keyring *keyring = source->keyring;
    struct eg_token_key key = {.algorithm = algorithm, .signature_bytes = signature_bytes, .jwk = jwk, .ec = ec};
    int error = jwk || ec ? 0 : -ENOMEM;
    if (!error && keyring->count == EG_ARRAY_LENGTH(keyring->keys))
        error =
            eg_token_key_refused(source, "there are more than %d keys in all; take out old ones", EG_KEYRING_MAX_KEYS);
    for (size_t i = 0; !error && source->kid && i < keyring->count; i++)
        if (keyring->keys[i].kid && strcmp(keyring->keys[i].kid, source->kid) == 0)
            error = eg_token_key_refused(source, "the key id \"%s\" is there twice; give each key an id of its own",
                                         source->kid);
    if (!error && source->kid && !(key.kid = strdup(source->kid)))
        error = -ENOMEM;
    if (!error) {
        keyring->keys[keyring->count++] = key;
        return 0;
    }
    cjose_jwk_release(jwk);
    EVP_PKEY_free(ec);
    return error;
}

int eg_token_add_secret(const struct eg_token_key_source *source, struct eg_bytes secret)
{
    const struct eg_token_algorithm *algorithm = source->algorithm ? source->algorithm : &algorithms[0];
    if (algorithm->family != EG_TOKEN_HMAC)
        return eg_token_key_refused(source, "%s doesn't go with a shared secret; that is for HS256, HS384 or HS512",
                                    algorithm->name);
    if (secret.length < algorithm->signature_bytes)
        return eg_token_key_refused(source, "the secret has %zu bytes, and %s needs %zu: openssl rand -hex %zu",
                                    secret.length, algorithm->name, algorithm->signature_bytes,
                                    algorithm->signature_bytes);
    cjose_jwk_t *jwk = cjose_jwk_create_oct_spec((const uint8_t *)secret.data, secret.length, NULL);
    return add_key(source, algorithm, algorithm->signature_bytes, jwk, NULL);
}

/* Bits of the modulus; 0: the exponent is none that a signature can have. */
static int rsa_bits(struct eg_bytes modulus, struct eg_bytes exponent)
{
    BIGNUM *n = BN_bin2bn((const unsigned char *)modulus.data, (int)modulus.length, NULL);
    BIGNUM *e = BN_bin2bn((const unsigned char *)exponent.data, (int)exponent.length, NULL);
    int bits = n && e && BN_is_odd(n) && BN_is_odd(e) && !BN_is_one(e) ? BN_num_bits(n) : 0;
    BN_free(n);
    BN_free(e);
    return bits;
}

int eg_token_add_rsa(const struct eg_token_key_source *source, struct eg_bytes modulus, struct eg_bytes exponent)
{
    const struct eg_token_algorithm *algorithm = source->algorithm ? source->algorithm : eg_token_algorithm("RS256");
    if (algorithm->family != EG_TOKEN_RSA && algorithm->family != EG_TOKEN_RSA_PSS)
        return eg_token_key_refused(source, "%s doesn't go with an RSA key; take one of RS256 to PS512",
                                    algorithm->name);
    int bits = rsa_bits(modulus, exponent);
    if (bits < RSA_MIN_BITS)
        return eg_token_key_refused(source, "the RSA key has %d good bits; make one of at least %d", bits,
                                    RSA_MIN_BITS);
    cjose_jwk_rsa_keyspec spec = {.n = (uint8_t *)(uintptr_t)modulus.data,
                                  .nlen = modulus.length,
                                  .e = (uint8_t *)(uintptr_t)exponent.data,
                                  .elen = exponent.length};
    return add_key(source, algorithm, ((size_t)bits + 7) / 8, cjose_jwk_create_RSA_spec(&spec, NULL), NULL);
}

static EVP_PKEY *ec_key(const struct eg_token_algorithm *algorithm, struct eg_bytes x, struct eg_bytes y)
{
    unsigned char point[1 + 2 * 66] = {4}; /* not compressed: SEC 1, 2.3.3 */
    EVP_PKEY *key = NULL;
    memcpy(point + 1, x.data, x.length);
    memcpy(point + 1 + x.length, y.data, y.length);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)algorithm->group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, 1 + x.length + y.length),
        OSSL_PARAM_construct_end()};
    EVP_PKEY_CTX *making = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL), *checking = NULL;
    if (!making || EVP_PKEY_fromdata_init(making) != 1 ||
        EVP_PKEY_fromdata(making, &key, EVP_PKEY_PUBLIC_KEY, params) != 1 ||
        !(checking = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL)) || EVP_PKEY_public_check(checking) != 1) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    EVP_PKEY_CTX_free(making);
    EVP_PKEY_CTX_free(checking);
    ERR_clear_error();
    return key;
}

int eg_token_add_ec(const struct eg_token_key_source *source, const struct eg_token_algorithm *of_curve,
                    struct eg_bytes x, struct eg_bytes y)
{
    if (source->algorithm && source->algorithm != of_curve)
        return eg_token_key_refused(source, "%s doesn't go with a key on %s; that is for %s", source->algorithm->name,
                                    of_curve->curve, of_curve->name);
    if (x.length != of_curve->coordinate_bytes || y.length != of_curve->coordinate_bytes)
        return eg_token_key_refused(source, "the coordinates of a key on %s have %zu bytes each", of_curve->curve,
                                    of_curve->coordinate_bytes);
    EVP_PKEY *key = ec_key(of_curve, x, y);
    if (!key)
        return eg_token_key_refused(source, "that is no point of %s; export the key anew", of_curve->curve);
    return add_key(source, of_curve, of_curve->signature_bytes, NULL, key);
}

/* --- JSON Web Keys (RFC 7517, RFC 7518 chapter 6) --- */

static bool is_member(const json_t *jwk, const char *name, const char *expected)
{
    const char *value = json_string_value(json_object_get(jwk, name));
    return value && strcmp(value, expected) == 0;
}

/* A member in base64url; freed by cjose's function. Nothing: it isn't there, or isn't that. */
static struct eg_bytes number_of(const json_t *jwk, const char *name)
{
    const json_t *text = json_object_get(jwk, name);
    uint8_t *bytes;
    size_t length;
    if (!json_is_string(text) || !eg_token_decode(json_string_value(text), json_string_length(text), &bytes, &length))
        return (struct eg_bytes){NULL, 0};
    return (struct eg_bytes){(const char *)bytes, length};
}

static void forget(struct eg_bytes number)
{
    if (number.data)
        OPENSSL_cleanse((void *)(uintptr_t)number.data, number.length);
    cjose_get_dealloc()((void *)(uintptr_t)number.data);
}

static int add_jwk_numbers(const struct eg_token_key_source *source, const json_t *jwk)
{
    bool rsa = is_member(jwk, "kty", "RSA"), ec = is_member(jwk, "kty", "EC");
    const char *first_name = rsa ? "n" : ec ? "x" : "k", *second_name = rsa ? "e" : "y";
    struct eg_bytes first = number_of(jwk, first_name), second = {NULL, 0};
    int result;
    if (rsa || ec)
        second = number_of(jwk, second_name);
    if (!first.data || ((rsa || ec) && !second.data))
        result = eg_token_key_refused(source, "the key's \"%s\" is not there, or no base64url",
                                      first.data ? second_name : first_name);
    else if (rsa)
        result = eg_token_add_rsa(source, first, second);
    else if (ec)
        result = eg_token_add_ec(source, eg_token_algorithm_of_curve(json_string_value(json_object_get(jwk, "crv"))),
                                 first, second);
    else
        result = eg_token_add_secret(source, first);
    forget(first);
    forget(second);
    return result;
}

/* Why a key can't verify tokens here, as the end of a sentence; NULL: it can. */
static const char *jwk_unfit(const json_t *jwk)
{
    const char *curve = json_string_value(json_object_get(jwk, "crv"));
    const char *algorithm = json_string_value(json_object_get(jwk, "alg"));
    const json_t *uses = json_object_get(jwk, "key_ops"), *one;
    bool verifies = !uses;
    size_t i;
    json_array_foreach(uses, i, one) verifies =
        verifies || (json_is_string(one) && strcmp(json_string_value(one), "verify") == 0);
    if (!is_member(jwk, "kty", "oct") && !is_member(jwk, "kty", "RSA") && !is_member(jwk, "kty", "EC"))
        return "is of a type (kty) other than oct, RSA and EC";
    if (is_member(jwk, "kty", "EC") && (!curve || !eg_token_algorithm_of_curve(curve)))
        return "is on a curve other than P-256, P-384 and P-521";
    if (json_object_get(jwk, "alg") && (!algorithm || !eg_token_algorithm(algorithm)))
        return "has an algorithm (alg) that signs no tokens here";
    if ((json_object_get(jwk, "use") && !is_member(jwk, "use", "sig")) || !verifies)
        return "is not for verifying signatures (use, key_ops)";
    return NULL;
}

static int add_jwk(const struct eg_token_key_source *file, const json_t *jwk)
{
    struct eg_token_key_source source = *file;
    const char *algorithm = json_string_value(json_object_get(jwk, "alg"));
    if (json_object_get(jwk, "kid") && !(source.kid = json_string_value(json_object_get(jwk, "kid"))))
        return eg_token_key_refused(file, "a key's id (kid) is no string");
    if (json_object_get(jwk, "d"))
        return eg_token_key_refused(file, "there is a private key in it; give the gateway the public half alone");
    if (!source.algorithm && algorithm)
        source.algorithm = eg_token_algorithm(algorithm);
    else if (algorithm && strcmp(algorithm, source.algorithm->name) != 0)
        return eg_token_key_refused(file, "the key is for %s, and the configuration says %s", algorithm,
                                    source.algorithm->name);
    return add_jwk_numbers(&source, jwk);
}

static int add_jwks(const struct eg_token_key_source *file, const json_t *keys)
{
    size_t i, before = file->keyring->count;
    const json_t *jwk;
    json_array_foreach(keys, i, jwk)
    {
        int result = json_is_object(jwk) && !jwk_unfit(jwk) ? add_jwk(file, jwk) : 0;
        if (result)
            return result;
    }
    if (file->keyring->count == before)
        return eg_token_key_refused(file, "the set has no key that could verify a token");
    return 0;
}

static int add_json(const struct eg_token_key_source *file, const char *text, size_t length)
{
    json_t *json = eg_token_object(text, length);
    const json_t *keys = json_object_get(json, "keys");
    int result;
    if (json_is_array(keys))
        result = add_jwks(file, keys);
    else if (json && json_object_get(json, "kty"))
        result = jwk_unfit(json) ? eg_token_key_refused(file, "the key %s", jwk_unfit(json)) : add_jwk(file, json);
    else
        result = eg_token_key_refused(file, "that begins like a JWK, but is neither one nor a JWKS (RFC 7517)");
    json_decref(json);
    return result;
}

/* --- files --- */

static bool is_printable(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!isprint((unsigned char)text[i]))
            return false;
    return true;
}

/* Without the end of its line, if it is a line. */
static struct eg_bytes raw_secret(const char *text, size_t length)
{
    size_t line = length;
    if (line > 0 && text[line - 1] == '\n')
        line--;
    if (line > 0 && text[line - 1] == '\r')
        line--;
    return (struct eg_bytes){text, is_printable(text, line) ? line : length};
}

int eg_keyring_add(struct eg_keyring *keyring, const char *where, const char *text, size_t length,
                   const char *algorithm, struct eg_error *ret_error)
{
    struct eg_token_key_source source = {.keyring = keyring, .where = where, .error = ret_error};
    size_t blank = 0;
    while (blank < length && isspace((unsigned char)text[blank]))
        blank++;
    if (algorithm && !(source.algorithm = eg_token_algorithm(algorithm)))
        return eg_token_key_refused(&source,
                                    "there is no algorithm \"%s\"; there are HS, RS, PS and ES, each with "
                                    "256, 384 and 512",
                                    algorithm);
    if (blank == length)
        return eg_token_key_refused(&source, "there is nothing in it; a key file is PEM, JWK or JWKS");
    if (text[blank] == '{')
        return add_json(&source, text, length);
    if (memmem(text, length, "-----BEGIN ", strlen("-----BEGIN ")))
        return eg_token_add_pem(&source, text, length);
    if (source.algorithm && source.algorithm->family == EG_TOKEN_HMAC)
        return eg_token_add_secret(&source, raw_secret(text, length));
    return eg_token_key_refused(&source, "that is neither PEM nor JWK nor JWKS; a shared secret is written as "
                                         "HS256:PATH");
}

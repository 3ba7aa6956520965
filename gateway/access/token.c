/*
 * Verifying a token: its form, its header, the key, the signature, and only then what it claims.
 *
 * cjose checks the signatures, on these conditions (0.6.2, as Debian has it): a signature has the length that its
 * algorithm prescribes, since cjose compares an HMAC beyond the end of a shorter one and halves an ECDSA signature of
 * any length; and everything happens in a scratch pad, since neither cjose nor jansson bears a failed allocation.
 * ECDSA is left to OpenSSL itself, since cjose passes on what OpenSSL couldn't allocate. Nothing that the header says
 * of keys (jwk, jku, x5c, x5u) is ever looked at.
 */
#include "eventgate/token_internal.h"

#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <string.h>

#include "eventgate/scratch.h"

/* 6 KiB of JSON in arrays of nothing, twice over. */
#define SCRATCH_BYTES 2000000
/* What anybody may have parsed before a signature says that it is worth it. */
#define HEADER_MAX_VALUES 64

struct parts {
    struct eg_bytes header, payload, signature;
    struct eg_bytes signed_part; /* header.payload */
};

struct decoded {
    struct eg_bytes header, payload, signature;
};

struct verification {
    const struct eg_token_rules *rules;
    struct eg_bytes token;
    struct parts parts;
    int64_t now_s;
    struct eg_grants *grants; /* owned */
    enum eg_token_fault fault;
};

/* What the header says, borrowed from it. */
struct header {
    const struct eg_token_algorithm *algorithm;
    const char *kid; /* NULL: none */
};

static bool split(struct eg_bytes token, struct parts *ret)
{
    const char *end = token.data + token.length;
    const char *first = memchr(token.data, '.', token.length);
    const char *second = first ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;
    if (!second || memchr(second + 1, '.', (size_t)(end - second - 1)))
        return false;
    ret->header = (struct eg_bytes){token.data, (size_t)(first - token.data)};
    ret->payload = (struct eg_bytes){first + 1, (size_t)(second - first - 1)};
    ret->signature = (struct eg_bytes){second + 1, (size_t)(end - second - 1)};
    ret->signed_part = (struct eg_bytes){token.data, (size_t)(second - token.data)};
    return true;
}

static bool decode(struct eg_bytes part, struct eg_bytes *ret)
{
    uint8_t *bytes;
    if (!eg_token_decode(part.data, part.length, &bytes, &ret->length))
        return false;
    ret->data = (const char *)bytes;
    return true;
}

/* Each value of a JSON text but the first follows one of these, also in a string. */
static bool is_small(struct eg_bytes text)
{
    size_t values = 0;
    for (size_t i = 0; i < text.length; i++)
        values += text.data[i] == ',' || text.data[i] == '[' || text.data[i] == '{';
    return values <= HEADER_MAX_VALUES;
}

static json_t *object_of(struct eg_bytes text)
{
    return eg_token_object(text.data, text.length);
}

/* `b64` (RFC 7797) has to stand in `crit`, but must not be passed over where it doesn't. */
static enum eg_token_fault read_header(const json_t *json, struct header *ret)
{
    const json_t *kid = json_object_get(json, "kid"), *b64 = json_object_get(json, "b64");
    const char *algorithm = json_string_value(json_object_get(json, "alg"));
    if (json_object_get(json, "crit") || (b64 && !json_is_true(b64)))
        return EG_TOKEN_CRITICAL;
    if (!algorithm || !(ret->algorithm = eg_token_algorithm(algorithm)))
        return EG_TOKEN_ALGORITHM;
    if (kid && !json_is_string(kid))
        return EG_TOKEN_MALFORMED;
    ret->kid = json_string_value(kid);
    return EG_TOKEN_GOOD;
}

static bool has_kid(const struct eg_keyring *keyring, const char *kid)
{
    for (size_t i = 0; i < keyring->count; i++)
        if (keyring->keys[i].kid && strcmp(keyring->keys[i].kid, kid) == 0)
            return true;
    return false;
}

/* May this key be the one that the header means? `exact`: there is one of that id. */
static bool is_meant(const struct eg_token_key *key, const struct header *header, bool exact)
{
    if (!header->kid)
        return key->algorithm == header->algorithm;
    return exact ? key->kid && strcmp(key->kid, header->kid) == 0 : !key->kid;
}

/* The two numbers of a JWS (RFC 7518, 3.4) as DER, which is what OpenSSL takes; its length, or -1. */
static int ecdsa_der(struct eg_bytes signature, unsigned char **ret_der)
{
    const unsigned char *bytes = (const unsigned char *)signature.data;
    int half = (int)(signature.length / 2), der_length = -1;
    ECDSA_SIG *both = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(bytes, half, NULL), *s = BN_bin2bn(bytes + half, half, NULL);
    *ret_der = NULL;
    if (both && r && s && ECDSA_SIG_set0(both, r, s) == 1) {
        r = s = NULL;
        der_length = i2d_ECDSA_SIG(both, ret_der);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(both);
    return der_length;
}

static bool verify_ecdsa(const struct eg_token_key *key, struct eg_bytes text, struct eg_bytes signature)
{
    unsigned char *der;
    int der_length = ecdsa_der(signature, &der);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = der_length > 0 && context &&
                EVP_DigestVerifyInit(context, NULL, key->algorithm->hash(), NULL, key->ec) == 1 &&
                EVP_DigestVerify(context, der, (size_t)der_length, (const unsigned char *)text.data, text.length) == 1;
    EVP_MD_CTX_free(context);
    OPENSSL_free(der);
    return good;
}

static enum eg_token_fault check_signature(struct verification *verification, const struct header *header,
                                           cjose_jws_t *jws, struct eg_bytes signature)
{
    const struct eg_keyring *keyring = verification->rules->keyring;
    bool exact = header->kid && has_kid(keyring, header->kid);
    enum eg_token_fault fault = EG_TOKEN_UNKNOWN_KEY;
    eg_token_memory_begin();
    for (size_t i = 0; i < keyring->count; i++) {
        const struct eg_token_key *key = &keyring->keys[i];
        if (!is_meant(key, header, exact))
            continue;
        if (key->algorithm != header->algorithm) {
            fault = fault == EG_TOKEN_UNKNOWN_KEY ? EG_TOKEN_ALGORITHM : fault;
            continue;
        }
        fault = EG_TOKEN_SIGNATURE;
        if (signature.length != key->signature_bytes)
            continue;
        if (key->ec ? verify_ecdsa(key, verification->parts.signed_part, signature)
                    : cjose_jws_verify(jws, key->jwk, NULL))
            return EG_TOKEN_GOOD;
    }
    return eg_token_memory_failed() ? EG_TOKEN_OUT_OF_MEMORY : fault;
}

/* In a run of the scratch pad: nothing of cjose's or jansson's is given back one by one. */
static void verify(void *context)
{
    struct verification *verification = context;
    const struct parts *parts = &verification->parts;
    struct header header;
    struct decoded decoded;
    const json_t *json;
    cjose_jws_t *jws;
    verification->fault = EG_TOKEN_MALFORMED;
    if (!decode(parts->header, &decoded.header) || !decode(parts->payload, &decoded.payload) ||
        !decode(parts->signature, &decoded.signature) || !is_small(decoded.header) ||
        !(json = object_of(decoded.header)))
        return;
    verification->fault = read_header(json, &header);
    if (verification->fault)
        return;
    jws = cjose_jws_import(verification->token.data, verification->token.length, NULL);
    verification->fault = jws ? check_signature(verification, &header, jws, decoded.signature) : EG_TOKEN_MALFORMED;
    if (verification->fault)
        return;
    json = object_of(decoded.payload);
    verification->fault = json ? eg_token_judge(verification->rules, json, verification->now_s, &verification->grants)
                               : EG_TOKEN_MALFORMED;
}

enum eg_token_fault eg_token_verify(const struct eg_token_rules *rules, const char *token, size_t length, int64_t now_s,
                                    struct eg_grants **ret_grants)
{
    struct verification verification = {.rules = rules, .token = {token, length}, .now_s = now_s};
    if (length > EG_TOKEN_MAX_BYTES || !split(verification.token, &verification.parts))
        return EG_TOKEN_MALFORMED;
    bool whole = eg_scratch_run(SCRATCH_BYTES, verify, &verification);
    ERR_clear_error();
    if (!whole)
        return EG_TOKEN_OUT_OF_MEMORY;
    if (verification.fault == EG_TOKEN_GOOD)
        *ret_grants = verification.grants;
    return verification.fault;
}

const char *eg_token_fault_name(enum eg_token_fault fault)
{
    static const char *const names[EG_TOKEN_FAULT_COUNT] = {
        [EG_TOKEN_GOOD] = "good",
        [EG_TOKEN_MALFORMED] = "malformed",
        [EG_TOKEN_ALGORITHM] = "algorithm",
        [EG_TOKEN_CRITICAL] = "critical header",
        [EG_TOKEN_UNKNOWN_KEY] = "unknown key",
        [EG_TOKEN_SIGNATURE] = "signature",
        [EG_TOKEN_EXPIRED] = "expired",
        [EG_TOKEN_NOT_YET] = "not yet valid",
        [EG_TOKEN_ISSUER] = "issuer",
        [EG_TOKEN_AUDIENCE] = "audience",
        [EG_TOKEN_MISSING_CLAIM] = "missing claim",
        [EG_TOKEN_BAD_CLAIM] = "bad claim",
        [EG_TOKEN_NO_GRANTS] = "no grants",
        [EG_TOKEN_OUT_OF_MEMORY] = "out of memory",
    };
    return names[fault];
}

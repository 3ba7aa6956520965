/*
 * What the files of the token module share: token.c (verifying), token_claims.c (claims to grants), token_keys.c (the
 * ring, and keys in JSON), token_pem.c (keys in PEM), token_text.c (base64url and JSON, strictly), token_memory.c
 * (whose memory the libraries use). For nobody else.
 */
#ifndef EG_TOKEN_INTERNAL_H
#define EG_TOKEN_INTERNAL_H

#include <cjose/cjose.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdatomic.h>

#include "eventgate/token.h"

/* --- algorithms (RFC 7518, 3.1) --- */

enum eg_token_family { EG_TOKEN_HMAC, EG_TOKEN_RSA, EG_TOKEN_RSA_PSS, EG_TOKEN_EC };

struct eg_token_algorithm {
    const char *name; /* "ES256" */
    enum eg_token_family family;
    const EVP_MD *(*hash)(void);
    size_t signature_bytes; /* 0: as many as the key has */
    const char *curve;      /* EC alone, as a JWK names it */
    const char *group;      /* the same, as OpenSSL does */
    size_t coordinate_bytes;
};

/* NULL: none of these, such as `none`. */
const struct eg_token_algorithm *eg_token_algorithm(const char *name);
/* The one of a curve, by either of its names; NULL. */
const struct eg_token_algorithm *eg_token_algorithm_of_curve(const char *curve);

/* --- keys --- */

struct eg_token_key {
    const struct eg_token_algorithm *algorithm;
    char *kid; /* owned; NULL without one */
    size_t signature_bytes;
    cjose_jwk_t *jwk; /* owned; HMAC and RSA */
    EVP_PKEY *ec;     /* owned; EC */
};

struct eg_keyring {
    atomic_uint references;
    size_t count;
    struct eg_token_key keys[EG_KEYRING_MAX_KEYS];
};

/* What is known of a key before its own bytes are looked at. */
struct eg_token_key_source {
    struct eg_keyring *keyring;
    const char *where;
    const struct eg_token_algorithm *algorithm; /* NULL: the key's own */
    const char *kid;                            /* NULL: none */
    struct eg_error *error;
};

/* Each adds a key, or puts a sentence into the source's error: 0, -EINVAL, -ENOMEM. */
int eg_token_add_secret(const struct eg_token_key_source *source, struct eg_bytes secret) EG_MUST_CHECK;
int eg_token_add_rsa(const struct eg_token_key_source *source, struct eg_bytes modulus,
                     struct eg_bytes exponent) EG_MUST_CHECK;
int eg_token_add_ec(const struct eg_token_key_source *source, const struct eg_token_algorithm *of_curve,
                    struct eg_bytes x, struct eg_bytes y) EG_MUST_CHECK;
int eg_token_add_pem(const struct eg_token_key_source *source, const char *text, size_t length) EG_MUST_CHECK;
/* Makes the sentence "WHERE: ...", and is -EINVAL. */
int eg_token_key_refused(const struct eg_token_key_source *source, const char *format, ...) EG_PRINTF(2, 3);

/* --- texts --- */

/* Decodes base64url as RFC 7515 has it: no padding, no other byte, no bits left over. Owned by the caller, to be freed
 * by cjose's own function. false: it is something else, or memory is out (outside of an eg_scratch_run()). */
bool eg_token_decode(const char *text, size_t length, uint8_t **ret_bytes, size_t *ret_length) EG_MUST_CHECK;

/* One JSON object (owned by the caller), at most EG_TOKEN_MAX_DEPTH levels deep, no member twice, numbers as doubles.
 * NULL: it is something else, or memory is out. */
#define EG_TOKEN_MAX_DEPTH 16
json_t *eg_token_object(const char *text, size_t length);

/* --- memory --- */

/* Has an allocation of OpenSSL's failed in this thread since eg_token_memory_begin()? What OpenSSL says was wrong with
 * a signature then counts for nothing. */
void eg_token_memory_begin(void);
bool eg_token_memory_failed(void);

/* --- claims --- */

/* Decides about the claims of a token whose signature is right. Allocates nothing but the grants. */
enum eg_token_fault eg_token_judge(const struct eg_token_rules *rules, const json_t *claims, int64_t now_s,
                                   struct eg_grants **ret_grants) EG_MUST_CHECK;

#endif

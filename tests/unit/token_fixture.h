/*
 * What the tests of tokens share: keys of each algorithm, and an issuer of tokens by OpenSSL alone.
 */
#ifndef TOKEN_FIXTURE_H
#define TOKEN_FIXTURE_H

#include "eventgate/token.h"

#define TOKEN_NOW 1700000000

/* The twelve algorithms, HS256 first. */
extern const char *const token_algorithms[12];

/* A key of the algorithm (the same at each call); the results are NUL-terminated, for free(). */
char *token_fixture_pem(const char *algorithm);         /* its public half; NULL for a secret */
char *token_fixture_private_pem(const char *algorithm); /* NULL for a secret */
/* Its public half, or the secret, as a JWK with `members` ("\"kid\":\"a\"," or "") in front. */
char *token_fixture_jwk(const char *algorithm, const char *members);
struct eg_bytes token_fixture_secret(const char *algorithm);

/* A token with this header and these claims, any text, signed by the key of the algorithm. */
char *token_fixture_sign(const char *algorithm, const char *header, const char *claims);
/* The same with the header of the algorithm. */
char *token_fixture_token(const char *algorithm, const char *claims);
/* The same with bytes of any kind, and the signature of another's making (base64url). */
char *token_fixture_compact(struct eg_bytes header, struct eg_bytes claims, const char *signature);
char *token_fixture_base64url(const void *bytes, size_t length);
/* HMAC-SHA256 with a secret of one's own, as base64url: of "header.claims". */
char *token_fixture_hs256(struct eg_bytes secret, const char *signed_part);
/* An ECDSA or RSA signature in whatever form OpenSSL gives it, as base64url. */
char *token_fixture_raw_signature(const char *algorithm, const char *signed_part);

/* A keyring with the text as its only file; asserts that it is good. */
struct eg_keyring *token_fixture_ring(const char *text, const char *algorithm);

#endif

/*
 * The only module that knows cjose, and OpenSSL beside it (for PEM and ECDSA): JSON Web Tokens to grants (RFC 7515,
 * 7519, 8725).
 */
#ifndef EG_TOKEN_H
#define EG_TOKEN_H

#include <stdbool.h>

#include "eventgate/common.h"
#include "eventgate/grants.h"

/* --- keys: immutable once shared, counted; any thread may verify with them at the same time --- */

struct eg_keyring;

/* A token without `kid` is tried with all keys of its algorithm. */
#define EG_KEYRING_MAX_KEYS 32
/* A longer token is refused unread. */
#define EG_TOKEN_MAX_BYTES 8192
/* Of `sub`: a longer one could not be revoked (eventgate.revoke()). */
#define EG_SUBJECT_MAX_BYTES 1024

/* NULL: out of memory. */
struct eg_keyring *eg_keyring_new(void);

/*
 * Before it is shared: adds the keys of one file's text: PEM public keys (or certificates, whose dates don't matter), a
 * JWK, a JWKS (RFC 7517), or a raw shared secret when `algorithm` is HS256, HS384 or HS512 (a line feed at the end of a
 * printable one is not part of it). One algorithm a key (RFC 8725, 3.1): `algorithm`, else the JWK's `alg`, else the
 * plainest that the key can have (RSA: RS256; P-256, P-384, P-521: ES256, ES384, ES512; a secret: HS256). Keys of a set
 * that can't verify tokens (`use`: enc, other types and algorithms) are passed over. Refused with a sentence that names
 * `where` and says what is right (-EINVAL): nothing in it, a private key, an HMAC secret shorter than its hash, an RSA
 * key under 2,048 bits, an algorithm that doesn't fit the key, a `kid` twice in the ring, more than
 * EG_KEYRING_MAX_KEYS. -ENOMEM. After a failure the ring is good for eg_keyring_unref() alone. Main thread.
 */
int eg_keyring_add(struct eg_keyring *keyring, const char *where, const char *text, size_t length,
                   const char *algorithm, struct eg_error *ret_error) EG_MUST_CHECK;
size_t eg_keyring_count(const struct eg_keyring *keyring);
struct eg_keyring *eg_keyring_ref(struct eg_keyring *keyring);
void eg_keyring_unref(struct eg_keyring *keyring);

/* --- tokens --- */

/* Which claims say what a token grants. */
enum eg_claims_dialect {
    EG_CLAIMS_EVENTGATE,           /* CLAIM: {"subscribe": [...], "publish": [...], "admin": true} */
    EG_CLAIMS_MERCURE,             /* mercure: {"subscribe": [...], "publish": [...]}: names; `*` is everything, a
                                      whole level in braces any one level (`order/{id}`) */
    EG_CLAIMS_POSTGRES_WEBSOCKETS, /* mode: "r", "w" or "rw", and channels: [...] or channel: "...", names */
};

/* What a token has to be. Borrowed for the call. */
struct eg_token_rules {
    const struct eg_keyring *keyring;
    const char *const *issuers; /* allowed values of `iss`; none: any, or none at all */
    size_t issuer_count;
    const char *const *audiences; /* `aud` must have one of them; none: any, or none at all */
    size_t audience_count;
    const char *claim; /* of the EVENTGATE dialect: "eventgate" */
    bool dialects[3];  /* indexed by enum eg_claims_dialect: which are understood; the first that is there counts */
    uint32_t leeway_s; /* for clocks that differ: `exp`, `nbf`, `iat` */
    bool needs_expiry; /* a token without `exp` is refused */
};

/* Why a token is refused: for the log, never for the wire, which says the same for each. */
enum eg_token_fault {
    EG_TOKEN_GOOD,
    EG_TOKEN_MALFORMED,   /* not a compact JWS of JSON objects, or longer than EG_TOKEN_MAX_BYTES */
    EG_TOKEN_ALGORITHM,   /* `none`, unknown, or not the key's */
    EG_TOKEN_CRITICAL,    /* `crit`: nothing there is understood */
    EG_TOKEN_UNKNOWN_KEY, /* no key of that `kid`, or without one none of that algorithm (a key that has no
                             `kid` itself, as in PEM, serves any) */
    EG_TOKEN_SIGNATURE,
    EG_TOKEN_EXPIRED,
    EG_TOKEN_NOT_YET, /* `nbf`, or `iat`, in the future */
    EG_TOKEN_ISSUER,
    EG_TOKEN_AUDIENCE,
    EG_TOKEN_MISSING_CLAIM, /* `exp`, `iss` or `aud`, where one is needed */
    EG_TOKEN_BAD_CLAIM,     /* a claim of the wrong type, or a grant that is no pattern */
    EG_TOKEN_NO_GRANTS,     /* good, but without the claim that grants: the only one that is no 401 but a 403 */
    EG_TOKEN_OUT_OF_MEMORY,
    EG_TOKEN_FAULT_COUNT
};

/*
 * Verifies a compact JWS (not NUL-terminated), and makes its grants (owned by the caller, held once), with
 * EG_TOKEN_GOOD alone. Cost: one signature, tens of microseconds for RSA and EC. Any thread. `now_s`: seconds since
 * 1970. The grants expire at `exp` rounded down; those of a token that is past it already, when its leeway ends.
 */
enum eg_token_fault eg_token_verify(const struct eg_token_rules *rules, const char *token, size_t length, int64_t now_s,
                                    struct eg_grants **ret_grants) EG_MUST_CHECK;

/* For the log: "expired". Static text. */
const char *eg_token_fault_name(enum eg_token_fault fault);

#endif

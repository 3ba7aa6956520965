/* Idempotency keys of those who have a subject. Pure; any thread. */
#ifndef EG_TOKEN_SCOPE_H
#define EG_TOKEN_SCOPE_H

#include <stdbool.h>

#include "eventgate/common.h"

/* What a key has at most when it has been scoped, if it had EG_EVENT_KEY_MAX_BYTES before; without NUL. */
#define EG_SCOPED_KEY_MAX_BYTES 255

/*
 * Makes the key that is stored for a publisher's key: "for " and the SHA-256 of subject and key, so that nobody can
 * hit, or guess, another subject's. Without a subject ("") a key stays as it is, unless it looks like one of these.
 * Returns its length, 0 if the digest can't be made.
 */
size_t eg_token_scope_key(const char *subject, struct eg_bytes key, char ret_key[EG_SCOPED_KEY_MAX_BYTES]);

#endif

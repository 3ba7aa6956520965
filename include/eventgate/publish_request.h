/*
 * What a POST says of an event beside its data: type and idempotency key. Pure functions; any thread.
 */
#ifndef EG_PUBLISH_REQUEST_H
#define EG_PUBLISH_REQUEST_H

#include <stdbool.h>

#include "eventgate/request.h"

#define EG_EVENT_TYPE_MAX_BYTES 100
#define EG_EVENT_KEY_MAX_BYTES 255

/* Can it be a type, or a key? 1 to so many bytes of UTF-8 without control characters; else -EINVAL with a refusal. */
int eg_event_type_check(struct eg_bytes type, struct eg_refusal *ret_refusal) EG_MUST_CHECK;
int eg_event_key_check(struct eg_bytes key, struct eg_refusal *ret_refusal) EG_MUST_CHECK;

/*
 * Reads the header Idempotency-Key: a quoted string (RFC 8941 section 3.3.3, as
 * draft-ietf-httpapi-idempotency-key-header has it) stands for what is in it, anything else for itself. The key is
 * NUL-terminated. -EINVAL with a refusal.
 */
int eg_idempotency_key_read(const char *header, char ret_key[EG_EVENT_KEY_MAX_BYTES + 1],
                            struct eg_refusal *ret_refusal) EG_MUST_CHECK;

#endif

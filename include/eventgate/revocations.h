/*
 * Which subjects' tokens have been revoked, and up to which time of issue; shared by all threads (takes a lock).
 */
#ifndef EG_REVOCATIONS_H
#define EG_REVOCATIONS_H

#include <stdbool.h>

#include "eventgate/common.h"
#include "eventgate/grants.h"

struct eg_revocations;

/* Knows of no source: everything is known from the start. NULL: out of memory. */
struct eg_revocations *eg_revocations_new(void);
void eg_revocations_free(struct eg_revocations *revocations);

/* Before the threads start: one more database will be read, and until it has been, nothing is known for certain. */
void eg_revocations_expect(struct eg_revocations *revocations);
/* One of them has been read whole for the first time. */
void eg_revocations_arrived(struct eg_revocations *revocations);
/* Have all been? */
bool eg_revocations_known(const struct eg_revocations *revocations);

/* Tokens of `subject` issued up to `before_us` (microseconds since 1970, rounded up to `iat`'s whole second) are
 * revoked; an earlier time for the same subject changes nothing. 0 or -ENOMEM. */
int eg_revocations_add(struct eg_revocations *revocations, const char *subject, size_t length,
                       int64_t before_us) EG_MUST_CHECK;

/* Are these grants of a token that has been revoked? One without `iat` is, as soon as its subject is named. */
bool eg_revocations_has(struct eg_revocations *revocations, const struct eg_grants *grants);

#endif

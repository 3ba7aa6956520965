/*
 * Which subjects' tokens have been revoked, and up to which time of issue, by each of the databases that say so; shared
 * by all threads (takes a lock).
 */
#ifndef EG_REVOCATIONS_H
#define EG_REVOCATIONS_H

#include <stdbool.h>

#include "eventgate/common.h"
#include "eventgate/grants.h"

/* Of all databases; a table in the database is a DBA's, so this is no more than a seat belt. */
#define EG_REVOCATIONS_MAX 1000000u
/* As `before_us`: taken back. */
#define EG_REVOCATIONS_NOT INT64_MIN

struct eg_revocations;

/* Knows of no database: nothing is revoked, for certain. NULL: out of memory. */
struct eg_revocations *eg_revocations_new(void);
void eg_revocations_free(struct eg_revocations *revocations);

/* One more database will be read; if it is `awaited`, nothing is known for certain until it has been. Its number, from
 * 0; -ENOMEM. */
int eg_revocations_expect(struct eg_revocations *revocations, bool awaited) EG_MUST_CHECK;
/* It is read no more, and what it has revoked no longer is. */
void eg_revocations_forget(struct eg_revocations *revocations, int database);
/* Has each been read whole at least once, and is there none that should be read and isn't? */
bool eg_revocations_known(const struct eg_revocations *revocations);
/* Says whether there is one: for lack of memory. */
void eg_revocations_miss(struct eg_revocations *revocations, bool unread);

/*
 * Reading a database whole: what is set between the two takes the place of all that was known of it, at the end and at
 * once. A begin without an end is forgotten by the next one. Outside of that, what is set counts at once. One thread
 * for each database.
 */
void eg_revocations_begin(struct eg_revocations *revocations, int database);
void eg_revocations_end(struct eg_revocations *revocations, int database);
/* Tokens of `subject` that were issued in a second before `before_us` (microseconds since 1970; INT64_MAX: ever) are
 * revoked: `iat` has whole seconds, so one that was issued in the same second, but after it, is too. 0, -ENOMEM, or
 * -ENOSPC: EG_REVOCATIONS_MAX. */
int eg_revocations_set(struct eg_revocations *revocations, int database, struct eg_bytes subject,
                       int64_t before_us) EG_MUST_CHECK;

/* Are these grants of a token that has been revoked? One without `iat` is, as soon as its subject is named. */
bool eg_revocations_has(struct eg_revocations *revocations, const struct eg_grants *grants);

#endif

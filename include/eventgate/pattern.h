/*
 * Channel names and patterns (pure functions on byte strings; any thread).
 *
 * A name is 1 to 200 bytes of UTF-8 in levels separated by `/`; no level is empty, `.` or `..`; no `*`, no `,`, no
 * control byte (0x00 to 0x1f, 0x7f). A pattern is the same with `*` as a whole level standing for exactly one level,
 * and two stars as the whole last level for any number of levels, at least one (`order` itself is not matched).
 */
#ifndef EG_PATTERN_H
#define EG_PATTERN_H

#include <stdbool.h>

#include "eventgate/common.h"

#define EG_CHANNEL_MAX_BYTES 200
/* PostgreSQL's NAMEDATALEN - 1: https://www.postgresql.org/docs/15/sql-notify.html */
#define EG_LIVE_CHANNEL_MAX_BYTES 63

/* NULL if `name` is a channel name, else what is wrong, as the end of a sentence ("has an empty level"). Static text.
 */
const char *eg_channel_name_problem(const char *name, size_t length);

/* The same for a pattern; a plain name is a pattern too. */
const char *eg_pattern_problem(const char *pattern, size_t length);

/* Does the (valid) pattern have a `*` level? */
bool eg_pattern_is_wild(const char *pattern, size_t length);

/* Does the (valid) pattern match the (valid) name? */
bool eg_pattern_matches(const char *pattern, size_t pattern_length, const char *name, size_t name_length);

/* Is there any name that both (valid) patterns match? */
bool eg_pattern_overlaps(const char *a, size_t a_length, const char *b, size_t b_length);

/* Does the (valid) pattern `wide` match every name that the (valid) pattern or name `narrow` matches? */
bool eg_pattern_covers(const char *wide, size_t wide_length, const char *narrow, size_t narrow_length);

#endif

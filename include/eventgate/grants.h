/*
 * What one client may do, decided once from its token (or its lack of one). Immutable and counted: any thread.
 */
#ifndef EG_GRANTS_H
#define EG_GRANTS_H

#include <stdbool.h>

#include "eventgate/common.h"

enum eg_right { EG_RIGHT_SUBSCRIBE, EG_RIGHT_PUBLISH, EG_RIGHT_COUNT };

/* No `exp`. */
#define EG_GRANTS_NEVER INT64_MAX
/* No `iat`. */
#define EG_GRANTS_UNDATED INT64_MIN

struct eg_grants;

/* Grants of nothing, held once. `subject` (the token's `sub`; "" without one) is copied. Times in seconds since 1970:
 * `issued_s` may be EG_GRANTS_UNDATED, `expires_s` EG_GRANTS_NEVER. NULL: out of memory. */
struct eg_grants *eg_grants_new(struct eg_bytes subject, int64_t issued_s, int64_t expires_s);

/* Before the grants are shared: adds a valid pattern (copied; see eg_pattern_problem()), or the right to ask what
 * operators ask. 0 or -ENOMEM. */
int eg_grants_add(struct eg_grants *grants, enum eg_right right, const char *pattern, size_t length) EG_MUST_CHECK;
void eg_grants_set_admin(struct eg_grants *grants);

struct eg_grants *eg_grants_ref(struct eg_grants *grants);
void eg_grants_unref(struct eg_grants *grants); /* NULL is let be */

/* May it do this with every channel that the valid name or pattern names? NULL grants: everything is allowed. */
bool eg_grants_allow(const struct eg_grants *grants, enum eg_right right, const char *pattern, size_t length);
bool eg_grants_allow_any(const struct eg_grants *grants, enum eg_right right);
bool eg_grants_allow_admin(const struct eg_grants *grants);

/* "" without one, and for NULL. NUL-terminated; as long as the grants. */
const char *eg_grants_subject(const struct eg_grants *grants);
int64_t eg_grants_issued_s(const struct eg_grants *grants);
int64_t eg_grants_expires_s(const struct eg_grants *grants);

#endif

/*
 * Where the log's positions jumped: after a restart, a failover, or a restore. Immutable and shared.
 *
 * Both ends of a jump are the same place. A cursor strictly between them is of a tail that the log lost.
 */
#ifndef EG_LOG_JUMPS_H
#define EG_LOG_JUMPS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "eventgate/common.h"

struct eg_log_jump {
    uint64_t from, to;
};

struct eg_log_jumps {
    _Atomic uint32_t references;
    size_t count;
    struct eg_log_jump jumps[]; /* ascending */
};

/* With one reference, zeroed. NULL: out of memory. */
struct eg_log_jumps *eg_log_jumps_new(size_t count);
struct eg_log_jumps *eg_log_jumps_ref(struct eg_log_jumps *jumps);
void eg_log_jumps_unref(struct eg_log_jumps *jumps); /* takes NULL */

/* The jump that has the position strictly inside, or NULL. `jumps` may be NULL. */
const struct eg_log_jump *eg_log_jumps_inside(const struct eg_log_jumps *jumps, uint64_t position);

/* The position at which a reader at `position` goes on: the end of a jump that begins there, else itself. */
uint64_t eg_log_jumps_follow(const struct eg_log_jumps *jumps, uint64_t position);

#endif

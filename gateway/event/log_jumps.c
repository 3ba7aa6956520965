/*
 * Jumps of the log's positions.
 */
#include "eventgate/log_jumps.h"

#include <stdlib.h>

struct eg_log_jumps *eg_log_jumps_new(size_t count)
{
    struct eg_log_jumps *jumps = calloc(1, sizeof(*jumps) + count * sizeof(jumps->jumps[0]));
    if (!jumps)
        return NULL;
    jumps->references = 1;
    jumps->count = count;
    return jumps;
}

struct eg_log_jumps *eg_log_jumps_ref(struct eg_log_jumps *jumps)
{
    atomic_fetch_add_explicit(&jumps->references, 1, memory_order_relaxed);
    return jumps;
}

void eg_log_jumps_unref(struct eg_log_jumps *jumps)
{
    if (jumps && atomic_fetch_sub_explicit(&jumps->references, 1, memory_order_acq_rel) == 1)
        free(jumps);
}

const struct eg_log_jump *eg_log_jumps_inside(const struct eg_log_jumps *jumps, uint64_t position)
{
    for (size_t i = 0; jumps && i < jumps->count; i++)
        if (jumps->jumps[i].from < position && position < jumps->jumps[i].to)
            return &jumps->jumps[i];
    return NULL;
}

uint64_t eg_log_jumps_follow(const struct eg_log_jumps *jumps, uint64_t position)
{
    for (size_t i = 0; jumps && i < jumps->count; i++)
        if (jumps->jumps[i].from == position)
            position = jumps->jumps[i].to;
    return position;
}

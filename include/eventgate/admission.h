/*
 * The bounded queue in front of a connection that publishes: who may put how much into it. All functions: any thread.
 */
#ifndef EG_ADMISSION_H
#define EG_ADMISSION_H

#include <stdatomic.h>
#include <stdbool.h>

#include "eventgate/config.h"

struct eg_admission {
    _Atomic bool up; /* the connection's */
    _Atomic uint64_t items, bytes;
    _Atomic uint64_t most_items, most_bytes;
};

/* What the set allows: at the start, and when it changes. */
void eg_admission_bound(struct eg_admission *admission, const struct eg_config_set *set);

/* Takes room. 0; -EAGAIN: as much as the set allows is waiting or under way (publish_queue, publish_queue_bytes);
 * -E2BIG: more than the set ever allows; -ENOTCONN: the database is away. */
int eg_admission_take(struct eg_admission *admission, size_t items, size_t bytes) EG_MUST_CHECK;
void eg_admission_give_back(struct eg_admission *admission, size_t items, size_t bytes);

#endif

/*
 * A set's publishing connection: pipelined pg_notify(), several items in one transaction where that can't change what
 * any of them means. Postgres thread, but for eg_publisher_admit().
 */
#ifndef EG_PUBLISHER_H
#define EG_PUBLISHER_H

#include "eventgate/config.h"
#include "eventgate/loop.h"
#include "eventgate/metrics.h"
#include "eventgate/publication.h"
#include "eventgate/set_status.h"

struct eg_publisher;

struct eg_publisher *eg_publisher_new(struct eg_loop *loop, const struct eg_config_set *set,
                                      struct eg_set_status *status, struct eg_metrics *metrics);
/* Everything still queued ends as UNAVAILABLE, what was sent as UNKNOWN. */
/* Its queue is as long as the set says now. */
void eg_publisher_bound(struct eg_publisher *publisher, const struct eg_config_set *set);
void eg_publisher_free(struct eg_publisher *publisher);

/*
 * Reserves room in the bounded queue; must be followed by eg_publisher_submit() of exactly that. 0; -EAGAIN: the queue
 * is full; -ENOTCONN: the database is away. Any thread.
 */
int eg_publisher_admit(struct eg_publisher *publisher, size_t items, size_t bytes) EG_MUST_CHECK;

/* Gives back what was admitted and is not going to be submitted. Any thread. */
void eg_publisher_release(struct eg_publisher *publisher, size_t items, size_t bytes);

/* Publishes the items in order (against each other and against earlier submits). Takes the publication until `done`. */
void eg_publisher_submit(struct eg_publisher *publisher, struct eg_publication *publication);

#endif

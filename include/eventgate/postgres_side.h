/*
 * The PostgreSQL side of the gateway: one thread, with all that each set needs of the database (listener, publisher,
 * for durable channels the log's reader, pager, appender and keeper, and the reader of revocations), and the mailbox
 * through which the workers ask it.
 */
#ifndef EG_POSTGRES_SIDE_H
#define EG_POSTGRES_SIDE_H

#include "eventgate/worker.h"

struct eg_postgres_side;

/* `shared` and the workers, whose feeds it fills, are borrowed, and outlive it. Starts nothing yet. NULL: out of memory
 * or descriptors. Main thread. */
struct eg_postgres_side *eg_postgres_side_new(const struct eg_worker_shared *shared, struct eg_worker *const *workers);
/* Answers what is still under way. The thread must have stopped, and so must the workers'. Takes NULL. */
void eg_postgres_side_free(struct eg_postgres_side *side);

/* Its thread's loop, which lives as long as it. */
struct eg_loop *eg_postgres_side_loop(const struct eg_postgres_side *side);

/* 0 or a negative errno. */
int eg_postgres_side_start(struct eg_postgres_side *side) EG_MUST_CHECK;
/* Stops the thread if it was started; -ETIMEDOUT: it doesn't stop. */
int eg_postgres_side_stop(struct eg_postgres_side *side) EG_MUST_CHECK;

/* Begins to read the revocations of each set that has some, unless that has begun: from now on they are awaited. 0 or
 * -ENOMEM. Main thread. */
int eg_postgres_side_read_revocations(struct eg_postgres_side *side) EG_MUST_CHECK;

/* The functions of the workers' port, see there. Any thread. */
int eg_postgres_side_want(struct eg_postgres_side *side, uint32_t set, uint32_t worker, const char *name, size_t length,
                          uint64_t want, void **ret_unwant) EG_MUST_CHECK;
void eg_postgres_side_unwant(struct eg_postgres_side *side, void *unwant);
int eg_postgres_side_admit(struct eg_postgres_side *side, uint32_t set, bool durable, size_t items,
                           size_t bytes) EG_MUST_CHECK;
void eg_postgres_side_release(struct eg_postgres_side *side, uint32_t set, bool durable, size_t items, size_t bytes);
void eg_postgres_side_publish(struct eg_postgres_side *side, struct eg_publication *publication);
int eg_postgres_side_look(struct eg_postgres_side *side, uint32_t set, uint32_t worker, uint64_t number) EG_MUST_CHECK;
void eg_postgres_side_read_log(struct eg_postgres_side *side, uint32_t set, struct eg_log_request *request);

#endif

/*
 * The PostgreSQL side of the gateway: one thread, with all that each set needs of the database (listener, publisher,
 * for durable channels the log's reader, pager, appender and keeper, and the reader of revocations), and the mailbox
 * through which the workers ask it.
 */
#ifndef EG_POSTGRES_SIDE_H
#define EG_POSTGRES_SIDE_H

#include "eventgate/worker.h"

struct eg_postgres_side;

/* Who is told, on the Postgres thread, that a set has been opened (or that there was no memory for it, and nothing is
 * left of it), and that one is closed. */
struct eg_postgres_side_hooks {
    void *context;
    void (*opened)(void *context, uint32_t place, bool made);
    void (*closed)(void *context, uint32_t place);
};

/* `shared` and the workers, whose feeds it fills, are borrowed, and outlive it. Starts nothing yet. NULL: out of memory
 * or descriptors. Main thread. */
struct eg_postgres_side *eg_postgres_side_new(const struct eg_worker_shared *shared, struct eg_worker *const *workers,
                                              struct eg_postgres_side_hooks hooks);
/* Answers what is still under way. The thread must have stopped, and so must the workers'. Takes NULL. */
void eg_postgres_side_free(struct eg_postgres_side *side);

/* Its thread's loop, which lives as long as it. */
struct eg_loop *eg_postgres_side_loop(const struct eg_postgres_side *side);

/* 0 or a negative errno. */
int eg_postgres_side_start(struct eg_postgres_side *side) EG_MUST_CHECK;
/* Stops the thread if it was started; -ETIMEDOUT: it doesn't stop. */
int eg_postgres_side_stop(struct eg_postgres_side *side) EG_MUST_CHECK;

/* Does the configuration say that the set's database revokes tokens? */
bool eg_postgres_side_revokes(const struct eg_config_set *set);
/* The set at this place begins to read the revocations of its database. Its number among the revocations, or -ENOMEM.
 * `supersedes`: the number of another set of this database, which is going: what that one has read counts until this
 * one has read it all; -1: there is none, and from now on they are awaited. Main thread. */
int eg_postgres_side_read_revocations(struct eg_postgres_side *side, uint32_t place, int supersedes) EG_MUST_CHECK;

/*
 * Sets that come: prepared first, so that nothing is left that can fail but for want of memory; then opened, of which
 * the hook tells. `fed`: the feed of each worker, which outlives the set. Nobody may wish anything of the set before.
 */
struct eg_postgres_opening;
struct eg_postgres_opening *eg_postgres_opening_new(const struct eg_postgres_side *side, struct eg_config *config,
                                                    uint32_t place);
void eg_postgres_opening_feed(struct eg_postgres_opening *opening, uint32_t worker, struct eg_feed *fed);
void eg_postgres_opening_free(struct eg_postgres_opening *opening);
/* Takes it over. */
void eg_postgres_side_open(struct eg_postgres_side *side, struct eg_postgres_opening *opening);

/* Sets that change their bounds and live channels: prepared in the same way. */
struct eg_postgres_configuring;
struct eg_postgres_configuring *eg_postgres_configuring_new(struct eg_config *config, uint32_t place);
void eg_postgres_configuring_free(struct eg_postgres_configuring *configuring);
void eg_postgres_side_configure(struct eg_postgres_side *side, struct eg_postgres_configuring *configuring);

/* Sets that go: prepared in the same way; when nobody wishes anything of it any more, closed, of which the hook tells.
 */
struct eg_postgres_closing;
struct eg_postgres_closing *eg_postgres_closing_new(uint32_t place);
void eg_postgres_closing_free(struct eg_postgres_closing *closing);
void eg_postgres_side_close(struct eg_postgres_side *side, struct eg_postgres_closing *closing);

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

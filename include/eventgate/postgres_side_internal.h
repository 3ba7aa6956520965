/*
 * What the files of the Postgres side share: postgres_side.c (the thread, and what the workers wish), postgres_set.c
 * (what a set has there, and how sets come and go), postgres_revocations.c. For nobody else.
 */
#ifndef EG_POSTGRES_SIDE_INTERNAL_H
#define EG_POSTGRES_SIDE_INTERNAL_H

#include <pthread.h>

#include "eventgate/appender.h"
#include "eventgate/listener.h"
#include "eventgate/log_keeper.h"
#include "eventgate/log_pager.h"
#include "eventgate/log_reader.h"
#include "eventgate/order.h"
#include "eventgate/postgres_side.h"
#include "eventgate/publisher.h"
#include "eventgate/revocation_reader.h"

/* One channel set; what it has no channels for is NULL. All of it is 0 while its place has none. */
struct eg_postgres_set {
    struct eg_postgres_side *side;
    uint32_t index;
    struct eg_config *whole; /* a reference to what `config` stands in */
    const struct eg_config_set *config;
    struct eg_config *latest; /* a reference to what its bounds and live channels stand in, once they have changed */
    struct eg_feed **feeds;   /* one for each worker, who owns it; the array is ours */
    struct eg_metrics *metrics;
    struct eg_order order;
    struct eg_listener *listener;
    struct eg_publisher *publisher;
    struct eg_log_reader *reader;
    struct eg_log_pager *pager;
    struct eg_appender *appender;
    bool appending; /* and so its next publications needn't wake the thread; guarded by the mailbox's lock */
    struct eg_log_keeper *keeper;
    struct eg_revocation_reader *revocations;
    int revoking;   /* its database's number among the revocations; -1: they aren't read */
    int supersedes; /* that of another set of the database, which is going; -1: none */
    bool has_read;  /* all of them, once */
    bool inherited; /* the other set has gone, and its number is to be forgotten when this one has read */
};

struct eg_postgres_side {
    const struct eg_worker_shared *shared;
    struct eg_worker *const *workers; /* shared->worker_count of them */
    struct eg_postgres_side_hooks hooks;
    struct eg_loop *loop;
    struct eg_metrics *metrics; /* of the thread */
    struct eg_mailbox mailbox;
    struct eg_postgres_set *sets; /* by their places, shared->place_count of them */
    uint32_t set_count;           /* behind the last place that has ever had one; the thread's own */
    pthread_t thread;
    bool started;
};

/* What somebody wants of a set. */
struct eg_postgres_wish {
    struct eg_message message;
    void (*grant)(struct eg_postgres_set *set, const struct eg_postgres_wish *wish);
    uint32_t set, worker;
    uint64_t number;
    union {
        struct eg_publication *publication;
        struct eg_log_request *request;
        struct {
            int number, supersedes;
        } revocations;
        size_t name_length;
    };
    char name[]; /* NUL-terminated */
};

/* NULL: out of memory. */
struct eg_postgres_wish *eg_postgres_wish_new(uint32_t set, uint32_t worker,
                                              void (*grant)(struct eg_postgres_set *set,
                                                            const struct eg_postgres_wish *wish),
                                              const char *name, size_t length);

/* Makes what the set at this place of the configuration has, and takes both references and the array. False: out of
 * memory; what there is of it is for eg_postgres_set_done(). The Postgres thread, or before that runs. */
bool eg_postgres_set_make(struct eg_postgres_side *side, uint32_t place, struct eg_config *config,
                          struct eg_feed **feeds);
/* Answers what is under way, and frees. */
void eg_postgres_set_done(struct eg_postgres_set *set);

/* The set's place is about to be nobody's: what its database has revoked counts no more, unless another set reads it.
 */
void eg_postgres_forget_revocations(struct eg_postgres_set *set);

#endif

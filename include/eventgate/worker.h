/*
 * A worker: a thread with a loop, a libmicrohttpd daemon, its copy of each set's journal, and the subscribers that came
 * in through it. Workers share no state: what the Postgres thread has to say comes through the feeds and the mailbox.
 */
#ifndef EG_WORKER_H
#define EG_WORKER_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "eventgate/config.h"
#include "eventgate/delivery_times.h"
#include "eventgate/feed.h"
#include "eventgate/journal.h"
#include "eventgate/log_page.h"
#include "eventgate/loop.h"
#include "eventgate/mailbox.h"
#include "eventgate/metrics.h"
#include "eventgate/publication.h"
#include "eventgate/rate_limits.h"
#include "eventgate/revocations.h"
#include "eventgate/server.h"
#include "eventgate/set_status.h"
#include "eventgate/subscribers.h"

struct eg_worker;
struct eg_stream;
struct eg_stream_run;
struct eg_own_run;
struct eg_poll;
struct eg_subscription;

/* What the HTTP layer asks of those that it doesn't know. Called on workers' threads; must not block. */
struct eg_worker_port {
    void *context;
    /* This worker has its first subscriber of a channel that the set gives by a pattern. -ENOMEM, or 0 with what
     * unwant() is to be given when it has no more, so that this needs no memory. */
    int (*want)(void *context, uint32_t set, uint32_t worker, const char *name, size_t length, uint64_t want,
                void **ret_unwant);
    void (*unwant)(void *context, void *unwant);
    /* Room in the queue of the publisher, or (`durable`) of the appender: 0, -EAGAIN, -E2BIG, -ENOTCONN. */
    int (*admit)(void *context, uint32_t set, bool durable, size_t items, size_t bytes);
    void (*release)(void *context, uint32_t set, bool durable, size_t items, size_t bytes);
    /* Takes the publication; its `done` is called on another thread. */
    void (*publish)(void *context, struct eg_publication *publication);
    /* Read the log now: answered by EG_FEED_LOOKED with this number once it has been read from its end anew. -ENOMEM.
     */
    int (*look)(void *context, uint32_t set, uint32_t worker, uint64_t number);
    /* Takes the request until its `done` is called on another thread; while the database is away it waits. */
    void (*read_log)(void *context, uint32_t set, struct eg_log_request *request);
    /* This worker has drained. Called once. */
    void (*drained)(void *context);
    /* Nobody on this worker uses the set any more, which has left the configuration; and: it is gone. Once each. */
    void (*let_go)(void *context, uint32_t set);
    void (*dropped)(void *context, uint32_t set);
};

/* What all workers share. Read-only but for the atomics. */
struct eg_worker_shared {
    struct eg_config *config;       /* at the start; the threads' own is theirs */
    struct eg_policy *policy;       /* the same */
    struct eg_set_status *statuses; /* one for each place that a set may have; made while it has one */
    uint32_t place_count;           /* so many sets there may be at the same time, with those that are still going */
    struct eg_tls *tls;             /* what TLS begins with at first; NULL: none */
    struct eg_intake_counts *counts;
    struct eg_revocations *revocations;
    struct eg_budget bodies;
    struct eg_rate_limits *rates[2]; /* by enum eg_rate_kind */
    struct eg_worker_port port;
    uint32_t worker_count;
    int64_t started_us;
    _Atomic bool draining;
    _Atomic bool handed_over; /* set before it drains: another process accepts connections now */
    _Atomic bool kept;    /* the same, or one will: the sockets are a service manager's, and new ones wait in them */
    _Atomic bool drained; /* all workers have: each ends as soon as it has nothing to do */
};

/* One channel set on one worker. Its number is the place of its set in the configuration, on all threads. */
struct eg_worker_set {
    struct eg_worker *worker;
    uint32_t index;
    const struct eg_config_set *config;
    struct eg_set_status *status;
    struct eg_metrics *metrics;
    struct eg_feed *feed;
    struct eg_journal *journal;
    struct eg_subscribers *subscribers;
    bool up;      /* between a break and the loss of the connection: what is LISTENed is being delivered */
    bool changed; /* something happened that pending subscriptions wait for */
    uint64_t next_want, next_look;
    uint64_t looked;                   /* the last look at the log that was answered */
    uint64_t appended_bytes;           /* to the journal, since the start */
    int64_t shown_events, shown_bytes; /* what the journal's gauges have been told */
    int64_t shown_events_fill, shown_bytes_fill;
    struct eg_delivery_times delivery_times;
    uint32_t users;         /* subscriptions, streams, and publications that are under way */
    bool leaving;           /* it isn't in the configuration any more: no new users */
    bool moved;             /* it has other live channels than before: to be dealt with in this turn */
    bool left;              /* the port knows that it has none */
    struct eg_config *kept; /* a reference to the configuration that it was in, then */
    struct eg_message message;
    TAILQ_HEAD(, eg_subscription) pending;
    LIST_HEAD(, eg_poll) polls;
};

struct eg_worker {
    uint32_t index;
    char name[16]; /* of its thread */
    struct eg_loop *loop;
    struct eg_mailbox mailbox;
    struct eg_server *server;
    struct eg_metrics *metrics;
    struct eg_settings settings;
    struct eg_policy *policy; /* a reference */
    struct eg_worker_shared *shared;
    struct eg_config *config;    /* a reference: in which all that is new is looked up */
    struct eg_worker_set **sets; /* by their places; NULL where there is none */
    uint32_t set_count;          /* behind the last one */
    size_t stream_count;
    struct eg_publication *published, **last_published; /* in this turn */
    struct eg_stream_run *run;                          /* what its streams send next */
    struct eg_own_run *own_run;                         /* the same for one of them alone */
    size_t page_bytes;                                  /* made of pages of the log in this turn */
    TAILQ_HEAD(eg_stream_list, eg_stream) streams;      /* by the time of their next heartbeat */
    struct eg_timer heartbeat;
    struct eg_message drain_message, revocations_message, listen_message;
    const struct eg_listening *listening; /* what the last one is about */
    _Atomic bool heeding;                 /* the second one is under way */
    struct eg_timer drain_deadline;
    struct eg_timer idle_deadline; /* then connections that wait for a request are closed; */
    bool idle_over;                /* it has been */
    bool draining;                 /* streams end */
    bool refusing;                 /* requests are refused: those of who connects now, too */
    bool drained;                  /* the port has been told */
};

/* NULL: out of memory or descriptors; logged. `index` is its slot in every channel. Main thread. */
struct eg_worker *eg_worker_new(uint32_t index, struct eg_worker_shared *shared);
void eg_worker_free(struct eg_worker *worker);
/* Lets go of what is left of its clients, which may still have wishes for the port. When its thread has ended. */
void eg_worker_close(struct eg_worker *worker);

/* What it has of the set at that place of a configuration, for whose as long as it runs the configuration is held by
 * others. Not yet its own. NULL: out of memory. Any thread. */
struct eg_worker_set *eg_worker_set_new(struct eg_worker *worker, const struct eg_config *config, uint32_t place);
void eg_worker_set_free(struct eg_worker_set *set);
/* The first one, or that behind `set`; NULL: no more. Its thread. */
struct eg_worker_set *eg_worker_next_set(const struct eg_worker *worker, const struct eg_worker_set *set);

/* Runs the loop until all workers have drained, or it is stopped. The worker's thread. */
void eg_worker_run(struct eg_worker *worker);

/* Accepts from those of the sockets that are its own; `listening` outlives it. 0, or a negative errno: -EINVAL without
 * a certificate for TLS. Its own thread, or before that runs. */
int eg_worker_listen(struct eg_worker *worker, const struct eg_listening *listening) EG_MUST_CHECK;
/* The same for another thread, once; what fails is logged. */
void eg_worker_listen_soon(struct eg_worker *worker, const struct eg_listening *listening);

/* Any thread. Drain: no new work, streams end, requests are finished; the loop ends when no worker has
 * anything left, or at the deadline. Until then it answers the new connections that the kernel gives it. If another
 * process has taken over, or a service manager keeps the sockets for the next one (kept), it accepts none, but answers
 * every request that still comes over those that there are, and closes each behind its answer; the loop ends when there
 * are none left. */
void eg_worker_drain(struct eg_worker *worker);

/*
 * Another configuration (of which it takes references): settings, policy, and sets. Those whose place has another set,
 * or none, end as soon as nobody uses them; the port hears of it. Prepared first, by the main thread, so that applying
 * can't fail; NULL: out of memory.
 */
struct eg_worker_change;
struct eg_worker_change *eg_worker_change_new(struct eg_worker *worker, struct eg_config *config,
                                              struct eg_policy *policy);
/* Prepares what is new at this place; borrowed. NULL: out of memory. */
struct eg_worker_set *eg_worker_change_add(struct eg_worker_change *change, uint32_t place);
void eg_worker_change_free(struct eg_worker_change *change);
/* Takes the change over. Any thread. */
void eg_worker_apply(struct eg_worker_change *change);
/* Frees a set that the port has been told of, and that nobody feeds any more: the port hears of it. Any thread. */
void eg_worker_drop_set(struct eg_worker *worker, struct eg_worker_set *set);

/* Tokens may have been revoked: ends what such ones opened. Any thread. */
void eg_worker_heed_revocations(struct eg_worker *worker);

/* What connections of TLS begin with from now on (a reference is taken). 0 or -ENOMEM. */
int eg_worker_use_tls(struct eg_worker *worker, struct eg_tls *tls) EG_MUST_CHECK;

/* Answers /channels, /sets, /livez, /readyz, /healthz and /metrics. */
void eg_admin_handle(struct eg_worker *worker, struct eg_exchange *exchange);

/* Hands the publication to the port at the end of the turn, with all others of it, so that they arrive together. */
void eg_worker_publish(struct eg_worker *worker, struct eg_publication *publication);

/* Answers POST /channels/NAME and POST /events. */
void eg_publish_handle(struct eg_worker *worker, struct eg_exchange *exchange);

#endif

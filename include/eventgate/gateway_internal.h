/*
 * What the files of the gateway share: gateway.c (threads, signals, drain), gateway_check.c (what a configuration may
 * be), gateway_descriptors.c (how many descriptors there are), reload.c (SIGHUP), upgrade.c (SIGUSR2), takeover.c (what
 * the process that is started then does). For nobody else.
 */
#ifndef EG_GATEWAY_INTERNAL_H
#define EG_GATEWAY_INTERNAL_H

#include <pthread.h>

#include "eventgate/certificate.h"
#include "eventgate/listening.h"
#include "eventgate/postgres_side.h"
#include "eventgate/supervision.h"
#include "eventgate/predecessor.h"
#include "eventgate/successor.h"
#include "eventgate/worker.h"

#define EG_EXPOSED                                                                                                     \
    "without keys everybody may do everything, so only addresses of this machine (127.0.0.1, [::1]) are listened on. " \
    "Give it keys (--keys FILE), or say --insecure."

/* An upgrade, while it waits for the new process. */
struct eg_upgrade {
    char *program; /* what is started; NULL: it isn't known */
    struct eg_successor successor;
    struct eg_timer deadline;
    bool started;            /* the new process could serve */
    bool tells;              /* it says what it reaches; older programs don't */
    uint64_t moment_ms;      /* in which it says something, and reaches what this one does, if it can */
    uint64_t heard_ms;       /* when it last said anything */
    uint64_t lacks_since_ms; /* since when it has lacked what this one has; 0: it doesn't */
    bool to_reload;          /* SIGHUP came meanwhile: for whoever serves in the end */
    struct eg_loop *loop;
};

/* The other side of it: until it is told to serve, this process accepts nothing. */
struct eg_takeover {
    struct eg_predecessor predecessor;
    struct eg_timer look; /* for what it needs to be ready */
    uint64_t tell_ms;     /* when to say again what is reached */
    bool waiting;
};

/*
 * A place that a set may have, by the same number on all threads and in the configuration:
 *
 *     FREE --prepared--> OPENING --made--> RUNNING --left the configuration--> LEAVING --nobody uses it--> CLOSING
 *          <--dropped by all workers-- DROPPING <--closed by the Postgres thread--
 *
 * Every step but the first waits for answers of other threads; a place whose opening is given up goes from CLOSING (or
 * OPENING, if it wasn't made) to FREE, as the workers have never had it.
 */
enum eg_place_state {
    EG_PLACE_FREE,
    EG_PLACE_OPENING,
    EG_PLACE_RUNNING,
    EG_PLACE_LEAVING,
    EG_PLACE_CLOSING,
    EG_PLACE_DROPPING,
};

struct eg_place {
    enum eg_place_state state;
    _Atomic uint32_t waiting;                    /* answers that are to come */
    _Atomic bool failed;                         /* it couldn't be made */
    bool given_up;                               /* workers don't have it, and won't */
    const struct eg_config_set *row;             /* in `config`; */
    struct eg_config *config;                    /* a reference to the last one that it was in */
    struct eg_worker_set **sets;                 /* of each worker; the workers own them */
    struct eg_postgres_opening *opening;         /* until it is posted */
    struct eg_postgres_closing *closing;         /* the same */
    struct eg_postgres_configuring *configuring; /* the same, while there is a change */
    int revoking;                                /* its number among the revocations; -1: it doesn't read them */
};

/* Another configuration, on its way to the threads. */
struct eg_change {
    struct eg_config *config; /* NULL: none is on its way */
    struct eg_policy *policy;
    struct eg_tls *tls;
    struct eg_worker_change **workers; /* one for each */
    struct eg_buffer noted;            /* what differs, for the log */
    bool given_up;                     /* and won't come to them */
    bool again;                        /* SIGHUP came meanwhile */
};

struct eg_gateway {
    struct eg_config *config; /* a reference */
    int argc;
    char *const *argv;
    char *const *environment;
    struct eg_listening listening;
    struct eg_certificate certificate;

    struct eg_worker_shared shared;
    struct eg_worker **workers; /* shared.worker_count of them */
    pthread_t *worker_threads;
    uint32_t workers_started;
    _Atomic uint32_t workers_running;
    _Atomic uint32_t workers_drained;

    struct eg_postgres_side *postgres;
    struct eg_place *places; /* shared.place_count of them */

    /* The main thread's. */
    struct eg_loop *loop;
    struct eg_watch signals;
    int signal_fd;
    struct eg_supervision *supervision;
    bool terminated; /* handed over, and then told to end */
    struct eg_upgrade upgrade;
    struct eg_takeover takeover;
    struct eg_change change;
};

/* So many there are at least. */
#define EG_LEAST_CONNECTIONS UINT64_C(16)

/* Main thread, all of them. */

/* No more connections than there are descriptors for, beside those that PostgreSQL's connections need at any time.
 * -EMFILE: there are none for clients; logged. */
int eg_gateway_fit_connections(struct eg_config *config) EG_MUST_CHECK;
/* The limit of open files becomes as high as it may be. */
void eg_gateway_raise_descriptor_limit(void);
/* Has the kernel's table of descriptors as large as all connections need. It would grow by doubling, and each time hold
 * up all threads of a process that has several until they have all been in the kernel (synchronize_rcu()): 10 ms and
 * more, whenever there are more clients than ever before. Best before the workers are started. */
void eg_gateway_widen_descriptors(const struct eg_config *config);

/* Without keys everybody may do everything: is there anybody beside those on this machine? */
bool eg_gateway_is_exposed(const struct eg_gateway *gateway, const struct eg_policy *policy);

/* Is every set ready, and are revoked tokens known? */
bool eg_gateway_is_ready(const struct eg_gateway *gateway);
/* Accepts connections, and says so: the start is over. */
void eg_gateway_serve(struct eg_gateway *gateway);
/* No more connections are accepted where `handed_over`, or where a service manager keeps the sockets; what is under way
 * is finished, then the workers end. */
void eg_gateway_drain(struct eg_gateway *gateway, bool handed_over);

/* Remembers by what path the program was started. */
void eg_upgrade_init(struct eg_upgrade *upgrade, const char *name);
void eg_upgrade_done(struct eg_upgrade *upgrade);
/* SIGUSR2: starts the program anew. As soon as that is ready, it serves, and this process drains. */
void eg_gateway_upgrade(struct eg_gateway *gateway);
/* Is the new process being waited for? Then whoever serves in the end will load its configuration anew. */
bool eg_upgrade_defers_reload(struct eg_upgrade *upgrade);
/* There will be no new process, since this one is told to end. */
void eg_upgrade_cancel(struct eg_upgrade *upgrade);

/* Begins to wait for the process that hands over; eg_gateway_serve() follows. 0 or a negative errno. */
int eg_takeover_begin(struct eg_gateway *gateway) EG_MUST_CHECK;
void eg_takeover_done(struct eg_takeover *takeover);

/* SIGHUP: loads the configuration anew. A bad one changes nothing, and the log says why. */
void eg_gateway_reload(struct eg_gateway *gateway);
/* The sets that are new have been opened, or there was no memory for one of them: the configuration takes its effect,
 * or doesn't. */
void eg_gateway_reloaded(struct eg_gateway *gateway, bool opened);

/* Frees what there is of a change. */
void eg_change_done(struct eg_gateway *gateway);
/* Does libpq understand the connection strings of all sets? 0, or -EINVAL with a sentence. */
int eg_gateway_check_sets(const struct eg_config *config, struct eg_error *ret_error) EG_MUST_CHECK;

/* The places of the first configuration's sets. 0 or -ENOMEM. */
int eg_places_make(struct eg_gateway *gateway) EG_MUST_CHECK;
/* Their sets run. */
void eg_places_run(struct eg_gateway *gateway);
/* When all threads have ended, and the sets with them. */
void eg_places_free(struct eg_gateway *gateway);
/* Begins to read revocations wherever that has to be done and isn't yet. 0 or -ENOMEM. */
int eg_places_read_revocations(struct eg_gateway *gateway) EG_MUST_CHECK;

/* Gives the sets of a loaded configuration their places: one that is the same goes on where it is. 0, -ENOMEM, or
 * -EINVAL with a sentence. */
int eg_places_arrange(struct eg_gateway *gateway, struct eg_config *loaded, struct eg_error *ret_error) EG_MUST_CHECK;
/* Prepares the change, which has configuration and policy, for all threads. 0 or -ENOMEM. */
int eg_places_prepare(struct eg_gateway *gateway) EG_MUST_CHECK;
/* Opens what is new; eg_gateway_reloaded() follows, at once if that is nothing. */
void eg_places_open(struct eg_gateway *gateway);
/* The workers get the change; what isn't in it any more begins to leave. */
void eg_places_apply(struct eg_gateway *gateway);
/* There will be no change: what was opened for it is closed. */
void eg_places_give_up(struct eg_gateway *gateway);
/* In each turn: takes the answers of other threads, and goes a step further. */
void eg_places_turn(struct eg_gateway *gateway);
/* Answers of other threads: `context` is the gateway. */
void eg_places_opened(void *context, uint32_t place, bool made);
void eg_places_answered(void *context, uint32_t place);

#endif

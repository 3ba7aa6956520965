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
    bool started;   /* the new process could serve */
    bool to_reload; /* SIGHUP came meanwhile: for whoever serves in the end */
    struct eg_loop *loop;
};

/* The other side of it: until it is told to serve, this process accepts nothing. */
struct eg_takeover {
    struct eg_predecessor predecessor;
    struct eg_timer look; /* for what it needs to be ready */
    bool waiting;
};

struct eg_gateway {
    struct eg_config *config;
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

    /* The main thread's. */
    struct eg_loop *loop;
    struct eg_watch signals;
    int signal_fd;
    struct eg_supervision *supervision;
    bool terminated; /* handed over, and then told to end */
    struct eg_upgrade upgrade;
    struct eg_takeover takeover;
};

/* So many there are at least. */
#define EG_LEAST_CONNECTIONS UINT64_C(16)

/* Main thread, all of them. */

/* No more connections than there are descriptors for, beside those that PostgreSQL's connections need at any time.
 * -EMFILE: there are none for clients; logged. */
int eg_gateway_fit_connections(struct eg_config *config) EG_MUST_CHECK;
/* The limit of open files becomes as high as it may be. */
void eg_gateway_raise_descriptor_limit(void);

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

#endif

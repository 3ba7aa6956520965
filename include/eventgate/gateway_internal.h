/*
 * What the files of the gateway share: gateway.c (threads, signals, drain), gateway_check.c (what a configuration may
 * be), gateway_descriptors.c (how many descriptors there are), reload.c (SIGHUP). For nobody else.
 */
#ifndef EG_GATEWAY_INTERNAL_H
#define EG_GATEWAY_INTERNAL_H

#include <pthread.h>

#include "eventgate/certificate.h"
#include "eventgate/listening.h"
#include "eventgate/postgres_side.h"
#include "eventgate/supervision.h"
#include "eventgate/worker.h"

#define EG_EXPOSED                                                                                                     \
    "without keys everybody may do everything, so only addresses of this machine (127.0.0.1, [::1]) are listened on. " \
    "Give it keys (--keys FILE), or say --insecure."

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

/* SIGHUP: loads the configuration anew. A bad one changes nothing, and the log says why. */
void eg_gateway_reload(struct eg_gateway *gateway);

#endif

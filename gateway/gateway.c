/*
 * The wiring: which threads there are, and how the HTTP and PostgreSQL sides, which do not know each other, meet.
 *
 * Threads: main (signals), one for PostgreSQL (every libpq connection), one for each worker, one that writes the log.
 * The second one is postgres_side.c's. Start: listening sockets, workers, then PostgreSQL and the threads. End: the
 * workers drain and stop, then PostgreSQL (which answers what is left), then everything is freed by the main thread.
 */
#include "eventgate/gateway.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "eventgate/gateway_internal.h"
#include "eventgate/log.h"
#include "eventgate/policy.h"

enum { EXIT_CONFIGURATION = 2 };

/* So many sets may come while as many as there were at the start, or their like, are still going. */
#define SPARE_PLACES 64u

/* --- the workers' port ------------------------------------------------------------------------------------------- */

static struct eg_postgres_side *postgres_of(void *context)
{
    return ((struct eg_gateway *)context)->postgres;
}

static int want(void *context, uint32_t set, uint32_t worker, const char *name, size_t length, uint64_t number,
                void **ret_unwant)
{
    return eg_postgres_side_want(postgres_of(context), set, worker, name, length, number, ret_unwant);
}

static void unwant(void *context, void *unwant)
{
    eg_postgres_side_unwant(postgres_of(context), unwant);
}

static int admit(void *context, uint32_t set, bool durable, size_t items, size_t bytes)
{
    return eg_postgres_side_admit(postgres_of(context), set, durable, items, bytes);
}

static void release(void *context, uint32_t set, bool durable, size_t items, size_t bytes)
{
    eg_postgres_side_release(postgres_of(context), set, durable, items, bytes);
}

static void publish(void *context, struct eg_publication *publication)
{
    eg_postgres_side_publish(postgres_of(context), publication);
}

static int look(void *context, uint32_t set, uint32_t worker, uint64_t number)
{
    return eg_postgres_side_look(postgres_of(context), set, worker, number);
}

static void read_log(void *context, uint32_t set, struct eg_log_request *request)
{
    eg_postgres_side_read_log(postgres_of(context), set, request);
}

static void worker_drained(void *context)
{
    struct eg_gateway *gateway = context;
    atomic_fetch_add(&gateway->workers_drained, 1);
    eg_loop_wake(gateway->loop);
}

/* --- threads ----------------------------------------------------------------------------------------------------- */

struct worker_start {
    struct eg_gateway *gateway;
    struct eg_worker *worker;
};

static void *run_worker(void *context)
{
    struct worker_start start = *(struct worker_start *)context;
    free(context);
    pthread_setname_np(pthread_self(), start.worker->name);
    eg_worker_run(start.worker);
    atomic_fetch_sub(&start.gateway->workers_running, 1);
    eg_loop_wake(start.gateway->loop);
    return NULL;
}

/* What the service manager is told (STATUS=). */
static void describe(void *context, struct eg_buffer *text)
{
    const struct eg_gateway *gateway = context;
    if (atomic_load(&gateway->shared.draining))
        eg_buffer_add_string(text, "Draining: streams end, requests that are under way are answered");
    else
        eg_set_status_describe(gateway->shared.statuses, gateway->config, text);
}

static int supervise(struct eg_gateway *gateway)
{
    gateway->supervision = eg_supervision_new(gateway->loop, describe, gateway);
    if (!gateway->supervision)
        return -ENOMEM;
    int error = eg_supervision_watch(gateway->supervision, eg_postgres_side_loop(gateway->postgres), "postgres");
    for (uint32_t i = 0; !error && i < gateway->shared.worker_count; i++)
        error = eg_supervision_watch(gateway->supervision, gateway->workers[i]->loop, gateway->workers[i]->name);
    return error;
}

static int start_threads(struct eg_gateway *gateway)
{
    int error = supervise(gateway);
    if (!error)
        error = eg_postgres_side_start(gateway->postgres);
    if (error)
        return error;
    for (uint32_t i = 0; i < gateway->shared.worker_count; i++) {
        struct worker_start *start = malloc(sizeof(*start));
        if (!start)
            return -ENOMEM;
        *start = (struct worker_start){gateway, gateway->workers[i]};
        atomic_fetch_add(&gateway->workers_running, 1);
        error = pthread_create(&gateway->worker_threads[i], NULL, run_worker, start);
        if (error) {
            atomic_fetch_sub(&gateway->workers_running, 1);
            free(start);
            return -error;
        }
        gateway->workers_started++;
    }
    return 0;
}

static void stop_threads(struct eg_gateway *gateway)
{
    for (uint32_t i = 0; i < gateway->workers_started; i++)
        eg_loop_stop(gateway->workers[i]->loop);
    for (uint32_t i = 0; i < gateway->workers_started; i++)
        pthread_join(gateway->worker_threads[i], NULL);
    if (eg_postgres_side_stop(gateway->postgres) == 0)
        return;
    eg_log(EG_LOG_ERROR, "the Postgres thread does not stop: exiting without it");
    eg_log_stop();
    _exit(EXIT_FAILURE);
}

/* --- signals ----------------------------------------------------------------------------------------------------- */

void eg_gateway_drain(struct eg_gateway *gateway, bool handed_over)
{
    bool kept = handed_over;
    for (size_t i = 0; i < gateway->listening.count; i++)
        kept = kept || gateway->listening.sockets[i].given;
    atomic_store(&gateway->shared.handed_over, handed_over);
    atomic_store(&gateway->shared.kept, kept);
    atomic_store(&gateway->shared.draining, true);
    for (uint32_t i = 0; i < gateway->shared.worker_count; i++)
        eg_worker_drain(gateway->workers[i]);
}

static void terminate(struct eg_gateway *gateway, unsigned number)
{
    const char *name = strsignal((int)number);
    if (atomic_load(&gateway->shared.handed_over) && !gateway->terminated) {
        gateway->terminated = true;
        eg_log(EG_LOG_INFO, "already draining: another process serves", EG_LOG_STR("signal", name));
        return;
    }
    if (atomic_load(&gateway->shared.draining)) {
        eg_log(EG_LOG_WARN, "second signal: exiting at once", EG_LOG_STR("signal", name));
        eg_log_stop();
        _exit(128 + (int)number);
    }
    eg_upgrade_cancel(&gateway->upgrade);
    eg_log(EG_LOG_INFO, "draining", EG_LOG_STR("signal", name),
           EG_LOG_INT("timeout_ms", gateway->config->settings.drain_timeout_ms));
    eg_gateway_drain(gateway, false);
    if (!gateway->takeover.waiting) /* else it is another process that the service manager looks after */
        eg_supervision_stopping(gateway->supervision, gateway->config->settings.drain_timeout_ms);
}

static void signal_ready(struct eg_watch *watch, uint32_t epoll_events)
{
    struct eg_gateway *gateway = EG_CONTAINER_OF(watch, struct eg_gateway, signals);
    struct signalfd_siginfo info;
    (void)epoll_events;
    while (read(gateway->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGUSR2)
            eg_gateway_upgrade(gateway);
        else if (info.ssi_signo != SIGHUP)
            terminate(gateway, info.ssi_signo);
        else if (!eg_upgrade_defers_reload(&gateway->upgrade))
            eg_gateway_reload(gateway);
    }
}

static void main_turn(void *context)
{
    struct eg_gateway *gateway = context;
    eg_places_turn(gateway);
    uint32_t running = atomic_load(&gateway->workers_running);
    if (running == 0)
        eg_loop_stop(gateway->loop);
    if (atomic_load(&gateway->workers_drained) < running)
        return;
    atomic_store(&gateway->shared.drained, true);
    for (uint32_t i = 0; i < gateway->shared.worker_count; i++)
        eg_loop_wake(gateway->workers[i]->loop);
}

/* Signals are blocked before any thread starts, so that they arrive by the descriptor and nowhere else. */
static int open_signals(struct eg_gateway *gateway)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR2);
    int error = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (error)
        return -error;
    signal(SIGPIPE, SIG_IGN);
    gateway->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    gateway->loop = eg_loop_new();
    if (gateway->signal_fd < 0 || !gateway->loop)
        return -errno;
    gateway->signals.ready = signal_ready;
    eg_loop_on_turn(gateway->loop, main_turn, gateway);
    return eg_loop_add(gateway->loop, gateway->signal_fd, EPOLLIN, &gateway->signals);
}

/* --- making and freeing ------------------------------------------------------------------------------------------ */

bool eg_gateway_is_ready(const struct eg_gateway *gateway)
{
    bool ready = eg_revocations_known(gateway->shared.revocations);
    for (size_t i = 0; ready && i < gateway->config->set_count; i++) {
        if (!gateway->config->sets[i].name)
            continue;
        struct eg_set_facts facts = eg_set_status_read(&gateway->shared.statuses[i]);
        ready = eg_set_facts_ready(&facts, &gateway->config->sets[i]);
    }
    return ready;
}

static int make_shared(struct eg_gateway *gateway)
{
    struct eg_worker_shared *shared = &gateway->shared;
    struct eg_config *config = gateway->config;
    shared->config = config;
    shared->place_count = (uint32_t)(2 * config->set_count + SPARE_PLACES);
    shared->tls = gateway->certificate.tls;
    shared->worker_count = config->workers;
    shared->started_us = eg_wall_us();
    shared->port = (struct eg_worker_port){gateway,           want, unwant,   admit,          release,
                                           publish,           look, read_log, worker_drained, eg_places_answered,
                                           eg_places_answered};
    shared->counts = eg_intake_counts_new();
    shared->revocations = eg_revocations_new();
    for (size_t i = 0; i < EG_ARRAY_LENGTH(shared->rates); i++)
        if (!(shared->rates[i] = eg_rate_limits_new()))
            return -ENOMEM;
    if (!shared->counts || !shared->revocations)
        return -ENOMEM;
    shared->policy->revocations = shared->revocations;
    return eg_places_make(gateway);
}

static int make_workers(struct eg_gateway *gateway)
{
    uint32_t count = gateway->shared.worker_count;
    gateway->workers = calloc(count, sizeof(struct eg_worker *));
    gateway->worker_threads = calloc(count, sizeof(*gateway->worker_threads));
    if (!gateway->workers || !gateway->worker_threads)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++) {
        gateway->workers[i] = eg_worker_new(i, &gateway->shared);
        if (!gateway->workers[i])
            return -ENOMEM;
        int error = gateway->takeover.waiting ? 0 : eg_worker_listen(gateway->workers[i], &gateway->listening);
        if (error)
            return error;
    }
    return 0;
}

static int make_postgres(struct eg_gateway *gateway)
{
    const struct eg_postgres_side_hooks hooks = {gateway, eg_places_opened, eg_places_answered};
    gateway->postgres = eg_postgres_side_new(&gateway->shared, gateway->workers, hooks);
    if (!gateway->postgres)
        return -ENOMEM;
    gateway->shared.config = NULL; /* what others follow it */
    eg_places_run(gateway);
    return gateway->shared.policy->has_keys ? eg_places_read_revocations(gateway) : 0;
}

static void gateway_done(struct eg_gateway *gateway)
{
    for (uint32_t i = 0; gateway->workers && i < gateway->shared.worker_count; i++)
        if (gateway->workers[i])
            eg_worker_close(gateway->workers[i]);
    eg_postgres_side_free(gateway->postgres); /* grants the last wishes, and answers what is left */
    for (uint32_t i = 0; gateway->workers && i < gateway->shared.worker_count; i++)
        eg_worker_free(gateway->workers[i]);
    free(gateway->workers);
    free(gateway->worker_threads);
    eg_places_free(gateway);
    eg_intake_counts_free(gateway->shared.counts);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(gateway->shared.rates); i++)
        eg_rate_limits_free(gateway->shared.rates[i]);
    eg_takeover_done(&gateway->takeover);
    eg_upgrade_done(&gateway->upgrade);
    eg_listening_close(&gateway->listening);
    eg_policy_unref(gateway->shared.policy);
    eg_revocations_free(gateway->shared.revocations);
    eg_certificate_done(&gateway->certificate);
    eg_supervision_free(gateway->supervision);
    eg_loop_free(gateway->loop);
    if (gateway->signal_fd >= 0)
        close(gateway->signal_fd);
    eg_config_free(gateway->config);
}

static void log_start(const struct eg_gateway *gateway)
{
    const struct eg_config *config = gateway->config;
    eg_log(EG_LOG_INFO, "pg_eventgate " EG_VERSION " started", EG_LOG_INT("workers", config->workers),
           EG_LOG_INT("sets", config->set_count), EG_LOG_STR("config", config->file),
           EG_LOG_STR("libmicrohttpd", eg_server_library_version()));
    if (config->tls_certificate[0] && !gateway->certificate.tls)
        eg_log(EG_LOG_WARN, "tls_certificate is given, but nothing listens with TLS (listen = tls:ADDRESS:PORT)");
}

/* The workers accept already, or, having taken over, begin to. */
void eg_gateway_serve(struct eg_gateway *gateway)
{
    for (uint32_t i = 0; gateway->takeover.waiting && i < gateway->shared.worker_count; i++)
        eg_worker_listen_soon(gateway->workers[i], &gateway->listening);
    gateway->takeover.waiting = false;
    eg_supervision_ready(gateway->supervision);
    for (size_t i = 0; i < gateway->listening.count; i++)
        if (gateway->listening.sockets[i].worker <= 0) /* once for each address */
            eg_log(EG_LOG_INFO, gateway->listening.sockets[i].admin ? "listening for operators" : "listening",
                   EG_LOG_STR("address", gateway->listening.sockets[i].address),
                   EG_LOG_STR("tls", gateway->listening.sockets[i].tls ? "yes" : NULL));
}

/* Opens the listening sockets and makes the policy. */
static int open_to_the_world(struct eg_gateway *gateway)
{
    struct eg_error error;
    const struct eg_config *config = gateway->config;
    const struct eg_config_list *listen = &config->listen, *admin = &config->admin_listen;
    struct eg_listening *listening = &gateway->listening;
    struct eg_tls *tls = NULL;
    if (eg_certificate_load(config, eg_certificate_is_needed(config), &tls, &error) != 0 ||
        eg_server_self_check(tls, &error) != 0 ||
        eg_policy_load(config, config, &gateway->shared.policy, &error) != 0 ||
        eg_listening_open(listen->items, listen->count, config->workers, listening, &error) != 0 ||
        eg_listening_open_admin(admin->items, admin->count, config->workers, listening, &error) != 0) {
        eg_log(EG_LOG_ERROR, "cannot start", EG_LOG_STR("error", error.sentence));
        eg_tls_unref(tls);
        return -1;
    }
    if (tls)
        eg_certificate_use(&gateway->certificate, tls, gateway->loop);
    if (eg_gateway_is_exposed(gateway, gateway->shared.policy)) {
        eg_log(EG_LOG_ERROR, "cannot start", EG_LOG_STR("error", EG_EXPOSED));
        return -EACCES;
    }
    if (config->insecure && !gateway->shared.policy->has_keys)
        eg_log(EG_LOG_WARN, "insecure: there are no keys, so everybody may do everything");
    return 0;
}

static int start(struct eg_gateway *gateway)
{
    int result = open_to_the_world(gateway);
    if (result)
        return result;
    gateway->takeover.waiting = gateway->listening.predecessor > 0;
    result = make_shared(gateway);
    if (!result)
        result = make_workers(gateway);
    if (!result)
        result = make_postgres(gateway);
    if (!result)
        result = start_threads(gateway);
    if (!result && gateway->takeover.waiting)
        result = eg_takeover_begin(gateway);
    if (result) {
        eg_log(EG_LOG_ERROR, "cannot start", EG_LOG_STR("error", strerror(-result)));
        return result;
    }
    log_start(gateway);
    if (!gateway->takeover.waiting)
        eg_gateway_serve(gateway);
    return 0;
}

int eg_gateway_run(struct eg_config *config, int argc, char *const *argv, char *const *environment)
{
    struct eg_gateway gateway = {
        .config = config, .argc = argc, .argv = argv, .environment = environment, .signal_fd = -1};
    eg_log_configure(config->settings.log_level, config->log_format);
    eg_upgrade_init(&gateway.upgrade, argv[0]);
    int error = open_signals(&gateway);
    if (!error)
        error = eg_log_start();
    if (error) {
        eg_log(EG_LOG_ERROR, "cannot start", EG_LOG_STR("error", strerror(-error)));
    } else {
        eg_gateway_raise_descriptor_limit();
        error = eg_gateway_fit_connections(config);
        if (!error) {
            eg_gateway_widen_descriptors(config);
            error = start(&gateway);
        }
        if (!error)
            eg_loop_run(gateway.loop);
        stop_threads(&gateway);
        if (!error)
            eg_log(EG_LOG_INFO, "stopped");
    }
    gateway_done(&gateway);
    eg_log_stop();
    return error == -EACCES ? EXIT_CONFIGURATION : error ? EXIT_FAILURE : EXIT_SUCCESS;
}

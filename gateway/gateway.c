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
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "eventgate/certificate.h"
#include "eventgate/connection.h"
#include "eventgate/listening.h"
#include "eventgate/log.h"
#include "eventgate/policy.h"
#include "eventgate/postgres_side.h"
#include "eventgate/worker.h"

/* Descriptors beside the clients' connections: of the process, of a set (its connections to PostgreSQL, each with
 * another while it is being made), and of a worker (its loop, libmicrohttpd's) beside its listening sockets. */
#define OWN_DESCRIPTORS UINT64_C(32)
#define SET_DESCRIPTORS UINT64_C(16)
#define WORKER_DESCRIPTORS UINT64_C(8)
/* A stream has two while it is being taken: so many, or a quarter, may be at the same time. */
#define TAKING_DESCRIPTORS UINT64_C(512)
#define LEAST_CONNECTIONS UINT64_C(16)

enum { EXIT_CONFIGURATION = 2 };

#define EXPOSED                                                                                                        \
    "without keys everybody may do everything, so only addresses of this machine (127.0.0.1, [::1]) are listened on. " \
    "Give it keys (--keys FILE), or say --insecure."

struct gateway {
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
};

/* --- the workers' port ------------------------------------------------------------------------------------------- */

static struct eg_postgres_side *postgres_of(void *context)
{
    return ((struct gateway *)context)->postgres;
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
    struct gateway *gateway = context;
    atomic_fetch_add(&gateway->workers_drained, 1);
    eg_loop_wake(gateway->loop);
}

/* --- threads ----------------------------------------------------------------------------------------------------- */

struct worker_start {
    struct gateway *gateway;
    struct eg_worker *worker;
};

static void *run_worker(void *context)
{
    struct worker_start start = *(struct worker_start *)context;
    char name[16];
    free(context);
    snprintf(name, sizeof(name), "worker %u", start.worker->index);
    pthread_setname_np(pthread_self(), name);
    eg_worker_run(start.worker);
    atomic_fetch_sub(&start.gateway->workers_running, 1);
    eg_loop_wake(start.gateway->loop);
    return NULL;
}

static int start_threads(struct gateway *gateway)
{
    int error = eg_postgres_side_start(gateway->postgres);
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

static void stop_threads(struct gateway *gateway)
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

static void drain(struct gateway *gateway, unsigned number)
{
    if (atomic_exchange(&gateway->shared.draining, true)) {
        eg_log(EG_LOG_WARN, "second signal: exiting at once", EG_LOG_STR("signal", strsignal((int)number)));
        eg_log_stop();
        _exit(128 + (int)number);
    }
    eg_log(EG_LOG_INFO, "draining", EG_LOG_STR("signal", strsignal((int)number)),
           EG_LOG_INT("timeout_ms", gateway->config->settings.drain_timeout_ms));
    for (uint32_t i = 0; i < gateway->shared.worker_count; i++)
        eg_worker_drain(gateway->workers[i]);
}

static void log_change(void *context, const char *option, bool now)
{
    (void)context;
    if (now)
        eg_log(EG_LOG_INFO, "reloaded", EG_LOG_STR("option", option));
    else
        eg_log(EG_LOG_WARN, "changed in the configuration, takes effect after a restart", EG_LOG_STR("option", option));
}

static uint64_t reserved_descriptors(const struct eg_config *config)
{
    return OWN_DESCRIPTORS + config->set_count * SET_DESCRIPTORS +
           config->workers * (WORKER_DESCRIPTORS + config->listen.count + config->admin_listen.count);
}

/* No more connections than there are descriptors for, beside those that PostgreSQL's connections need at any time.
 * -EMFILE: there are none for clients. */
static int fit_connections(struct eg_config *config)
{
    struct rlimit limit;
    uint64_t reserved = reserved_descriptors(config);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_cur < reserved + LEAST_CONNECTIONS) {
        eg_log(EG_LOG_ERROR, "the limit of open files is too low (ulimit -n)", EG_LOG_INT("open_files", limit.rlim_cur),
               EG_LOG_INT("needed", reserved + LEAST_CONNECTIONS));
        return -EMFILE;
    }
    uint64_t room = limit.rlim_cur - reserved;
    room -= room / 4 < TAKING_DESCRIPTORS ? room / 4 : TAKING_DESCRIPTORS;
    if (config->settings.max_connections <= room)
        return 0;
    eg_log(EG_LOG_WARN, "max_connections lowered to what the limit of open files allows (ulimit -n)",
           EG_LOG_INT("max_connections", room), EG_LOG_INT("open_files", limit.rlim_cur));
    config->settings.max_connections = (uint32_t)room;
    return 0;
}

/* Without keys everybody may do everything: is there anybody beside those on this machine? */
static bool is_exposed(const struct gateway *gateway, const struct eg_policy *policy)
{
    bool exposed = false;
    for (size_t i = 0; i < gateway->listening.count; i++)
        exposed = exposed || !gateway->listening.sockets[i].local;
    return exposed && !policy->has_keys && !gateway->config->insecure;
}

static void not_reloaded(const char *sentence)
{
    eg_log(EG_LOG_ERROR, "configuration not reloaded, nothing has changed", EG_LOG_STR("error", sentence));
}

/* Connections that there are keep the certificate that they began with. */
static void use_certificate(struct gateway *gateway, struct eg_tls *tls)
{
    for (uint32_t i = 0; i < gateway->shared.worker_count; i++)
        if (eg_worker_use_tls(gateway->workers[i], tls) != 0)
            eg_log(EG_LOG_ERROR, "no memory for the new certificate", EG_LOG_INT("worker", i));
    eg_certificate_use(&gateway->certificate, tls, gateway->loop);
}

/* Takes over what may change, the policy, and the certificate if there is TLS. */
static void use(struct gateway *gateway, struct eg_config *loaded, struct eg_policy *policy, struct eg_tls *tls)
{
    struct eg_config *config = gateway->config;
    policy->revocations = gateway->shared.revocations;
    if (policy->has_keys && eg_postgres_side_read_revocations(gateway->postgres) != 0)
        eg_log(EG_LOG_ERROR, "no memory for reading revocations");
    eg_config_reload(config, loaded, &config->settings, log_change, NULL);
    eg_config_adopt(config, loaded);
    if (fit_connections(config) != 0)
        config->settings.max_connections = LEAST_CONNECTIONS;
    eg_log_configure(config->settings.log_level, config->log_format);
    for (uint32_t i = 0; i < gateway->shared.worker_count; i++)
        if (eg_worker_configure(gateway->workers[i], &config->settings, policy) != 0)
            eg_log(EG_LOG_ERROR, "no memory for new settings", EG_LOG_INT("worker", i));
    if (tls)
        use_certificate(gateway, tls);
    eg_log(EG_LOG_INFO, "configuration reloaded", EG_LOG_INT("keys", eg_keyring_count(policy->keyring)));
}

static void reload(struct gateway *gateway)
{
    struct eg_config *loaded;
    struct eg_policy *policy = NULL;
    struct eg_tls *tls = NULL;
    struct eg_error error;
    enum eg_config_action action;
    if (eg_config_load(gateway->argc, gateway->argv, gateway->environment, &loaded, &action, &error) != 0) {
        not_reloaded(error.sentence);
        return;
    }
    if (eg_policy_load(loaded, gateway->config, &policy, &error) != 0 ||
        eg_certificate_load(loaded, gateway->certificate.tls != NULL, &tls, &error) != 0) {
        not_reloaded(error.sentence);
    } else if (is_exposed(gateway, policy)) {
        not_reloaded(EXPOSED);
        eg_tls_unref(tls);
    } else {
        use(gateway, loaded, policy, tls);
    }
    eg_policy_unref(policy);
    eg_config_free(loaded);
}

static void signal_ready(struct eg_watch *watch, uint32_t epoll_events)
{
    struct gateway *gateway = EG_CONTAINER_OF(watch, struct gateway, signals);
    struct signalfd_siginfo info;
    (void)epoll_events;
    while (read(gateway->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP)
            reload(gateway);
        else
            drain(gateway, info.ssi_signo);
    }
}

static void main_turn(void *context)
{
    struct gateway *gateway = context;
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
static int open_signals(struct gateway *gateway)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
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

static int make_shared(struct gateway *gateway)
{
    struct eg_worker_shared *shared = &gateway->shared;
    const struct eg_config *config = gateway->config;
    shared->config = config;
    shared->tls = gateway->certificate.tls;
    shared->worker_count = config->workers;
    shared->started_us = eg_wall_us();
    shared->port =
        (struct eg_worker_port){gateway, want, unwant, admit, release, publish, look, read_log, worker_drained};
    shared->counts = eg_intake_counts_new();
    shared->revocations = eg_revocations_new();
    shared->statuses = calloc(config->set_count, sizeof(*shared->statuses));
    for (size_t i = 0; i < EG_ARRAY_LENGTH(shared->rates); i++)
        if (!(shared->rates[i] = eg_rate_limits_new()))
            return -ENOMEM;
    if (!shared->counts || !shared->revocations || !shared->statuses)
        return -ENOMEM;
    shared->policy->revocations = shared->revocations;
    for (size_t i = 0; i < config->set_count; i++) {
        int error = eg_set_status_init(&shared->statuses[i]);
        if (error)
            return error;
    }
    return 0;
}

static int make_workers(struct gateway *gateway)
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
        for (size_t s = 0; s < gateway->listening.count; s++) {
            const struct eg_listening_socket *socket = &gateway->listening.sockets[s];
            if (socket->worker >= 0 && socket->worker != (int)i)
                continue;
            int error = eg_server_listen(gateway->workers[i]->server, socket);
            if (error)
                return error;
        }
    }
    return 0;
}

static void gateway_done(struct gateway *gateway)
{
    for (uint32_t i = 0; gateway->workers && i < gateway->shared.worker_count; i++)
        if (gateway->workers[i])
            eg_worker_close(gateway->workers[i]);
    eg_postgres_side_free(gateway->postgres); /* grants the last wishes, and answers what is left */
    for (uint32_t i = 0; gateway->workers && i < gateway->shared.worker_count; i++)
        eg_worker_free(gateway->workers[i]);
    free(gateway->workers);
    free(gateway->worker_threads);
    for (size_t i = 0; gateway->shared.statuses && i < gateway->config->set_count; i++)
        eg_set_status_done(&gateway->shared.statuses[i]);
    free(gateway->shared.statuses);
    eg_intake_counts_free(gateway->shared.counts);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(gateway->shared.rates); i++)
        eg_rate_limits_free(gateway->shared.rates[i]);
    eg_listening_close(&gateway->listening);
    eg_policy_unref(gateway->shared.policy);
    eg_revocations_free(gateway->shared.revocations);
    eg_certificate_done(&gateway->certificate);
    eg_loop_free(gateway->loop);
    if (gateway->signal_fd >= 0)
        close(gateway->signal_fd);
    eg_config_free(gateway->config);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        eg_log(EG_LOG_WARN, "the limit of open files cannot be raised", EG_LOG_STR("error", strerror(errno)));
}

static void log_start(const struct gateway *gateway)
{
    const struct eg_config *config = gateway->config;
    eg_log(EG_LOG_INFO, "pg_eventgate " EG_VERSION " started", EG_LOG_INT("workers", config->workers),
           EG_LOG_INT("sets", config->set_count), EG_LOG_STR("config", config->file),
           EG_LOG_STR("libmicrohttpd", eg_server_library_version()));
    for (size_t i = 0; i < gateway->listening.count; i++)
        if (gateway->listening.sockets[i].worker <= 0) /* once for each address */
            eg_log(EG_LOG_INFO, gateway->listening.sockets[i].admin ? "listening for operators" : "listening",
                   EG_LOG_STR("address", gateway->listening.sockets[i].address),
                   EG_LOG_STR("tls", gateway->listening.sockets[i].tls ? "yes" : NULL));
    if (config->tls_certificate[0] && !gateway->certificate.tls)
        eg_log(EG_LOG_WARN, "tls_certificate is given, but nothing listens with TLS (listen = tls:ADDRESS:PORT)");
}

/* Opens the listening sockets and makes the policy. */
static int open_to_the_world(struct gateway *gateway)
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
    if (is_exposed(gateway, gateway->shared.policy)) {
        eg_log(EG_LOG_ERROR, "cannot start", EG_LOG_STR("error", EXPOSED));
        return -EACCES;
    }
    if (config->insecure && !gateway->shared.policy->has_keys)
        eg_log(EG_LOG_WARN, "insecure: there are no keys, so everybody may do everything");
    return 0;
}

static int start(struct gateway *gateway)
{
    int result = open_to_the_world(gateway);
    if (result)
        return result;
    result = make_shared(gateway);
    if (!result)
        result = make_workers(gateway);
    if (!result && !(gateway->postgres = eg_postgres_side_new(&gateway->shared, gateway->workers)))
        result = -ENOMEM;
    if (!result && gateway->shared.policy->has_keys)
        result = eg_postgres_side_read_revocations(gateway->postgres);
    if (!result)
        result = start_threads(gateway);
    if (result)
        eg_log(EG_LOG_ERROR, "cannot start", EG_LOG_STR("error", strerror(-result)));
    else
        log_start(gateway);
    return result;
}

int eg_gateway_run(struct eg_config *config, int argc, char *const *argv, char *const *environment)
{
    struct gateway gateway = {
        .config = config, .argc = argc, .argv = argv, .environment = environment, .signal_fd = -1};
    eg_log_configure(config->settings.log_level, config->log_format);
    int error = open_signals(&gateway);
    if (!error)
        error = eg_log_start();
    if (error) {
        eg_log(EG_LOG_ERROR, "cannot start", EG_LOG_STR("error", strerror(-error)));
    } else {
        raise_descriptor_limit();
        error = fit_connections(config);
        if (!error)
            error = start(&gateway);
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

static int check_conninfo(const struct eg_config *config, const struct eg_config_set *set, struct eg_error *ret_error)
{
    struct eg_error inner;
    if (eg_connection_check_conninfo(set->postgres, &inner) == 0)
        return 0;
    ret_error->sqlstate[0] = '\0';
    snprintf(ret_error->sentence, sizeof(ret_error->sentence), "%.200s%s[set %s] postgres: %.200s",
             config->file ? config->file : "", config->file ? ": " : "", set->name, inner.sentence);
    return -EINVAL;
}

static int check_exposure(const struct eg_config *config, struct eg_error *ret_error)
{
    const struct eg_config_list *lists[] = {eg_listening_inherits() ? NULL : &config->listen, &config->admin_listen};
    if (config->access.keys.count > 0 || config->insecure)
        return 0;
    for (size_t l = 0; l < EG_ARRAY_LENGTH(lists); l++)
        for (size_t i = 0; lists[l] && i < lists[l]->count; i++) {
            if (eg_listening_is_local(lists[l]->items[i]))
                continue;
            ret_error->sqlstate[0] = '\0';
            snprintf(ret_error->sentence, sizeof(ret_error->sentence), "%.60s: %s", lists[l]->items[i], EXPOSED);
            return -EINVAL;
        }
    return 0;
}

int eg_gateway_check(const struct eg_config *config, struct eg_error *ret_error)
{
    struct eg_policy *policy;
    struct eg_tls *tls;
    int result = 0;
    for (size_t i = 0; !result && i < config->set_count; i++)
        result = check_conninfo(config, &config->sets[i], ret_error);
    if (!result)
        result = check_exposure(config, ret_error);
    if (!result && !(result = eg_policy_load(config, config, &policy, ret_error)))
        eg_policy_unref(policy);
    if (!result && !(result = eg_certificate_load(config, eg_certificate_is_needed(config), &tls, ret_error)))
        eg_tls_unref(tls);
    return result;
}

/*
 * The wiring: which threads there are, and how the HTTP and PostgreSQL sides, which do not know each other, meet.
 *
 * Threads: main (signals), one for PostgreSQL (every libpq connection), one for each worker, one that writes the log.
 * From PostgreSQL to the workers: feeds, one for each worker and set. From the workers to PostgreSQL: its mailbox, with
 * wants and publications, whose outcomes return through the worker's mailbox.
 * Start: listening sockets, workers, then PostgreSQL and the threads. End: the workers drain and stop, then PostgreSQL
 * (which answers what is left), then everything is freed by the main thread.
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
#include <time.h>
#include <unistd.h>

#include "eventgate/connection.h"
#include "eventgate/listener.h"
#include "eventgate/listening.h"
#include "eventgate/log.h"
#include "eventgate/publisher.h"
#include "eventgate/worker.h"

/* The Postgres thread never blocks; should it all the same, it must not keep the process from ending. */
#define POSTGRES_STOP_S 5
/* Descriptors beside the clients' connections: listening sockets, loops, PostgreSQL, and streams being taken. */
#define RESERVED_DESCRIPTORS UINT64_C(512)

struct gateway {
    struct eg_config *config;
    int argc;
    char *const *argv;
    char *const *environment;
    struct eg_listening listening;

    struct eg_worker_shared shared;
    struct eg_worker **workers; /* shared.worker_count of them */
    pthread_t *worker_threads;
    uint32_t workers_started;
    _Atomic uint32_t workers_running;
    _Atomic uint32_t workers_drained;

    /* The Postgres thread's. */
    struct eg_loop *postgres_loop;
    struct eg_mailbox postgres_mailbox;
    struct eg_listener **listeners; /* one a set */
    struct eg_publisher **publishers;
    struct eg_metrics **set_metrics;
    struct sink *sinks;
    pthread_t postgres_thread;
    bool postgres_started;

    /* The main thread's. */
    struct eg_loop *loop;
    struct eg_watch signals;
    int signal_fd;
};

/* What a listener's feed function needs to know. */
struct sink {
    struct gateway *gateway;
    uint32_t set;
};

/* --- from PostgreSQL to the workers ------------------------------------------------------------------------------ */

static void feed(void *context, int worker, const struct eg_feed_item *items, size_t count)
{
    const struct sink *sink = context;
    const struct gateway *gateway = sink->gateway;
    for (uint32_t i = 0; i < gateway->shared.worker_count; i++)
        if ((worker < 0 || worker == (int)i) &&
            eg_feed_push(eg_worker_feed(gateway->workers[i], sink->set), items, count))
            eg_loop_wake(gateway->workers[i]->loop);
}

/* --- from the workers to PostgreSQL ------------------------------------------------------------------------------ */

struct want {
    struct eg_message message;
    uint32_t set, worker;
    uint64_t number; /* 0: an unwant */
    size_t length;
    char name[]; /* NUL-terminated */
};

static void deliver_want(struct eg_message *message, void *context)
{
    struct want *want = EG_CONTAINER_OF(message, struct want, message);
    const struct gateway *gateway = context;
    struct eg_listener *listener = gateway->listeners[want->set];
    if (want->number)
        eg_listener_want(listener, want->worker, want->name, want->length, want->number);
    else
        eg_listener_unwant(listener, want->worker, want->name, want->length);
    free(want);
}

static void post_want(void *context, uint32_t set, uint32_t worker, const char *name, size_t length, uint64_t number)
{
    struct gateway *gateway = context;
    struct want *want = calloc(1, sizeof(*want) + length + 1);
    if (!want) { /* a want ends in the subscription's timeout, an unwant leaves the channel LISTENed */
        eg_log(EG_LOG_ERROR, "no memory for a message to the listener", EG_LOG_INT("worker", worker));
        return;
    }
    want->message.deliver = deliver_want;
    want->set = set;
    want->worker = worker;
    want->number = number;
    want->length = length;
    memcpy(want->name, name, length);
    eg_mailbox_post(&gateway->postgres_mailbox, &want->message);
}

static void post_unwant(void *context, uint32_t set, uint32_t worker, const char *name, size_t length)
{
    post_want(context, set, worker, name, length, 0);
}

struct submission {
    struct eg_message message;
    struct eg_publication *publication;
};

static void deliver_submission(struct eg_message *message, void *context)
{
    struct submission *submission = EG_CONTAINER_OF(message, struct submission, message);
    const struct gateway *gateway = context;
    eg_publisher_submit(gateway->publishers[submission->publication->set], submission->publication);
    free(submission);
}

static int admit(void *context, uint32_t set, bool durable, size_t items, size_t bytes)
{
    const struct gateway *gateway = context;
    (void)durable;
    return eg_publisher_admit(gateway->publishers[set], items, bytes);
}

static void release(void *context, uint32_t set, bool durable, size_t items, size_t bytes)
{
    const struct gateway *gateway = context;
    (void)durable;
    eg_publisher_release(gateway->publishers[set], items, bytes);
}

static void publish(void *context, struct eg_publication *publication)
{
    struct gateway *gateway = context;
    struct submission *submission = malloc(sizeof(*submission));
    if (!submission) {
        release(context, publication->set, publication->durable, publication->count, publication->bytes);
        for (size_t i = 0; i < publication->count; i++)
            publication->items[i].outcome = EG_OUTCOME_UNAVAILABLE;
        publication->done(publication);
        return;
    }
    submission->message.deliver = deliver_submission;
    submission->publication = publication;
    eg_mailbox_post(&gateway->postgres_mailbox, &submission->message);
}

static void look(void *context, uint32_t set, uint32_t worker, uint64_t number)
{
    (void)context, (void)set, (void)worker, (void)number;
}

static void read_log(void *context, uint32_t set, struct eg_log_request *request)
{
    (void)context, (void)set;
    request->done(request);
}

static void worker_drained(void *context)
{
    struct gateway *gateway = context;
    atomic_fetch_add(&gateway->workers_drained, 1);
    eg_loop_wake(gateway->loop);
}

/* --- threads ----------------------------------------------------------------------------------------------------- */

static void postgres_turn(void *context)
{
    struct gateway *gateway = context;
    eg_mailbox_deliver(&gateway->postgres_mailbox, gateway);
}

static void *run_postgres(void *context)
{
    struct gateway *gateway = context;
    pthread_setname_np(pthread_self(), "postgres");
    eg_loop_run(gateway->postgres_loop);
    return NULL;
}

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
    int error = pthread_create(&gateway->postgres_thread, NULL, run_postgres, gateway);
    if (error)
        return -error;
    gateway->postgres_started = true;
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
    if (!gateway->postgres_started)
        return;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += POSTGRES_STOP_S;
    eg_loop_stop(gateway->postgres_loop);
    if (pthread_timedjoin_np(gateway->postgres_thread, NULL, &until) == 0)
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

/* No more connections than there are descriptors for. */
static void fit_connections(struct eg_settings *settings)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    uint64_t room =
        limit.rlim_cur > 2 * RESERVED_DESCRIPTORS ? limit.rlim_cur - RESERVED_DESCRIPTORS : limit.rlim_cur / 2;
    if (settings->max_connections <= room)
        return;
    eg_log(EG_LOG_WARN, "max_connections lowered to what the limit of open files allows (ulimit -n)",
           EG_LOG_INT("max_connections", room), EG_LOG_INT("open_files", limit.rlim_cur));
    settings->max_connections = (uint32_t)room;
}

static void reload(struct gateway *gateway)
{
    struct eg_config *loaded;
    struct eg_error error;
    enum eg_config_action action;
    if (eg_config_load(gateway->argc, gateway->argv, gateway->environment, &loaded, &action, &error) != 0) {
        eg_log(EG_LOG_ERROR, "configuration not reloaded, nothing has changed", EG_LOG_STR("error", error.sentence));
        return;
    }
    eg_config_reload(gateway->config, loaded, &gateway->config->settings, log_change, NULL);
    eg_config_free(loaded);
    fit_connections(&gateway->config->settings);
    eg_log_configure(gateway->config->settings.log_level, gateway->config->log_format);
    for (uint32_t i = 0; i < gateway->shared.worker_count; i++)
        if (eg_worker_configure(gateway->workers[i], &gateway->config->settings) != 0)
            eg_log(EG_LOG_ERROR, "no memory for new settings", EG_LOG_INT("worker", i));
    eg_log(EG_LOG_INFO, "configuration reloaded");
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
    shared->worker_count = config->workers;
    shared->started_us = eg_wall_us();
    shared->port = (struct eg_worker_port){gateway, post_want, post_unwant, admit,         release,
                                           publish, look,      read_log,    worker_drained};
    shared->counts = eg_intake_counts_new();
    shared->statuses = calloc(config->set_count, sizeof(*shared->statuses));
    if (!shared->counts || !shared->statuses)
        return -ENOMEM;
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

static int make_postgres(struct gateway *gateway)
{
    const struct eg_config *config = gateway->config;
    gateway->postgres_loop = eg_loop_new();
    gateway->listeners = calloc(config->set_count, sizeof(struct eg_listener *));
    gateway->publishers = calloc(config->set_count, sizeof(struct eg_publisher *));
    gateway->set_metrics = calloc(config->set_count, sizeof(struct eg_metrics *));
    gateway->sinks = calloc(config->set_count, sizeof(*gateway->sinks));
    if (!gateway->postgres_loop || !gateway->listeners || !gateway->publishers || !gateway->set_metrics ||
        !gateway->sinks)
        return -ENOMEM;
    eg_mailbox_init(&gateway->postgres_mailbox, gateway->postgres_loop);
    eg_loop_on_turn(gateway->postgres_loop, postgres_turn, gateway);
    for (uint32_t i = 0; i < config->set_count; i++) {
        const struct eg_config_set *set = &config->sets[i];
        struct eg_set_status *status = &gateway->shared.statuses[i];
        gateway->sinks[i] = (struct sink){gateway, i};
        gateway->set_metrics[i] = eg_metrics_new(set->name);
        if (!gateway->set_metrics[i])
            return -ENOMEM;
        gateway->listeners[i] =
            eg_listener_new(gateway->postgres_loop, set, gateway->shared.worker_count, status, gateway->set_metrics[i],
                            (struct eg_listener_sink){feed, &gateway->sinks[i]});
        gateway->publishers[i] = eg_publisher_new(gateway->postgres_loop, set, status, gateway->set_metrics[i]);
        if (!gateway->listeners[i] || !gateway->publishers[i])
            return -ENOMEM;
    }
    return 0;
}

static void free_postgres(struct gateway *gateway)
{
    if (gateway->postgres_loop && gateway->publishers)
        eg_mailbox_deliver(&gateway->postgres_mailbox, gateway); /* what came while the thread stopped */
    for (size_t i = 0; i < gateway->config->set_count; i++) {
        if (gateway->publishers)
            eg_publisher_free(gateway->publishers[i]);
        if (gateway->listeners)
            eg_listener_free(gateway->listeners[i]);
        if (gateway->set_metrics)
            eg_metrics_free(gateway->set_metrics[i]);
    }
    free(gateway->publishers);
    free(gateway->listeners);
    free(gateway->set_metrics);
    free(gateway->sinks);
    if (gateway->postgres_loop)
        eg_mailbox_done(&gateway->postgres_mailbox);
    eg_loop_free(gateway->postgres_loop);
}

static void gateway_done(struct gateway *gateway)
{
    free_postgres(gateway);
    for (uint32_t i = 0; gateway->workers && i < gateway->shared.worker_count; i++)
        eg_worker_free(gateway->workers[i]);
    free(gateway->workers);
    free(gateway->worker_threads);
    for (size_t i = 0; gateway->shared.statuses && i < gateway->config->set_count; i++)
        eg_set_status_done(&gateway->shared.statuses[i]);
    free(gateway->shared.statuses);
    eg_intake_counts_free(gateway->shared.counts);
    eg_listening_close(&gateway->listening);
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
            eg_log(EG_LOG_INFO, "listening", EG_LOG_STR("address", gateway->listening.sockets[i].address));
}

static int start(struct gateway *gateway)
{
    struct eg_error error;
    const struct eg_config *config = gateway->config;
    if (eg_server_self_check(&error) != 0 ||
        eg_listening_open(config->listen, config->listen_count, config->workers, &gateway->listening, &error) != 0) {
        eg_log(EG_LOG_ERROR, "cannot start", EG_LOG_STR("error", error.sentence));
        return -1;
    }
    int result = make_shared(gateway);
    if (!result)
        result = make_workers(gateway);
    if (!result)
        result = make_postgres(gateway);
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
        fit_connections(&config->settings);
        error = start(&gateway);
        if (!error)
            eg_loop_run(gateway.loop);
        stop_threads(&gateway);
        if (!error)
            eg_log(EG_LOG_INFO, "stopped");
    }
    gateway_done(&gateway);
    eg_log_stop();
    return error ? 1 : 0;
}

int eg_gateway_check(const struct eg_config *config, struct eg_error *ret_error)
{
    struct eg_error inner;
    for (size_t i = 0; i < config->set_count; i++) {
        if (eg_connection_check_conninfo(config->sets[i].postgres, &inner) == 0)
            continue;
        ret_error->sqlstate[0] = '\0';
        snprintf(ret_error->sentence, sizeof(ret_error->sentence), "%.200s%s[set %s] postgres: %.200s",
                 config->file ? config->file : "", config->file ? ": " : "", config->sets[i].name, inner.sentence);
        return -EINVAL;
    }
    return 0;
}

/*
 * libmicrohttpd, and nothing but it: a daemon in external-epoll mode for each worker, requests as exchanges, and the
 * taking of sockets.
 *
 * An exchange is begun by the request line, told apart by its route when its head is complete, and handled when its
 * body is. It is answered within the callback, or suspended and answered later: the response is then kept until the
 * turn's end, where all such connections are resumed together, since libmicrohttpd walks every suspended connection on
 * the next run after any resume. A held request is not even suspended: libmicrohttpd asks for it again whenever it
 * runs, and until then says that it wants to run. So while there is one, it is run when anything happened, again as
 * long as that has any effect, and every few ms in any case. Taking: libmicrohttpd calls the content reader for the
 * first time when the head is out. There we duplicate the descriptor and end the response with an error; with
 * MHD_USE_TURBO the connection is then closed without shutdown() and forgotten, while the duplicate stays open.
 * eg_server_self_check() proves it on the library that is loaded.
 */
#include "eventgate/server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "eventgate/backoff.h"
#include "eventgate/client_calls.h"
#include "eventgate/identity.h"
#include "eventgate/log.h"
#include "eventgate/policy.h"
#include "eventgate/routing.h"
#include "eventgate/tls.h"

/* Above every limit of ours, so that libmicrohttpd never stops taking connections. */
#define DAEMON_CONNECTION_LIMIT 1000000u
/* A client that doesn't read its answer at all is let go after this. */
#define DAEMON_INACTIVITY_S 120u
/* Beside the head, the pool of a connection holds its parsed form (56 bytes for each header and cookie, and a copy of
 * the Cookie header) and the head of the answer. Up to 32 KiB in all, libmicrohttpd takes it from the heap. */
#define POOL_EXTRA_BYTES 14336u
/* While requests are held: how often libmicrohttpd is run at least, and how often without effect before it rests. */
#define HELD_RUN_MS 10u
#define HELD_QUIET_RUNS 2u

struct eg_server {
    struct MHD_Daemon *daemon;
    struct eg_server_options options;
    struct eg_intake *intake;
    struct MHD_Response *out_of_memory, *outcome_unknown; /* always ready */
    struct eg_watch daemon_watch;
    int daemon_fd;
    struct eg_timer timer;
    bool run;
    size_t held_count;
    uint64_t steps; /* of requests: whatever libmicrohttpd does for one shows here or in eg_client_reads() */
    unsigned quiet_runs;
    bool draining; /* every answer closes its connection */
    size_t exchange_count;
    LIST_HEAD(, eg_exchange) exchanges;
    LIST_HEAD(, eg_exchange) answered; /* suspended, with their response */
    char id_prefix[9];
    uint32_t id_next;
};

static void count_response(struct eg_server *server, unsigned status)
{
    static const enum eg_metric classes[] = {EG_METRIC_REQUESTS_2XX, EG_METRIC_REQUESTS_3XX, EG_METRIC_REQUESTS_4XX,
                                             EG_METRIC_REQUESTS_5XX};
    if (status >= 200 && status < 600)
        eg_metrics_add(server->options.metrics, classes[status / 100 - 2], 1);
}

/* --- answering ------------------------------------------------------------------------------------------------- */

static void unwatch_hangup(struct eg_exchange *exchange)
{
    if (!exchange->hangup.ready)
        return;
    eg_loop_remove(exchange->server->options.loop, exchange->hangup_fd, &exchange->hangup);
    exchange->hangup.ready = NULL;
}

static void drop_response(const struct eg_server *server, struct MHD_Response *response)
{
    if (response && response != server->out_of_memory && response != server->outcome_unknown)
        MHD_destroy_response(response);
}

static enum MHD_Result queue_response(struct eg_exchange *exchange)
{
    struct MHD_Response *response = exchange->response;
    exchange->response = NULL;
    enum MHD_Result result = MHD_queue_response(exchange->connection, exchange->status, response);
    drop_response(exchange->server, response);
    return result;
}

static bool add_headers(struct eg_exchange *exchange, struct MHD_Response *response, const char *content_type,
                        const struct eg_header *headers)
{
    bool added = MHD_add_response_header(response, "X-Request-Id", exchange->id) == MHD_YES &&
                 MHD_add_response_header(response, "X-Content-Type-Options", "nosniff") == MHD_YES;
    if (content_type)
        added = added && MHD_add_response_header(response, "Content-Type", content_type) == MHD_YES;
    for (; headers && headers->name; headers++)
        added = added && MHD_add_response_header(response, headers->name, headers->value) == MHD_YES;
    const struct eg_cors_headers cors = eg_identity_cors(exchange);
    for (size_t i = 0; i < cors.count; i++)
        added = added && MHD_add_response_header(response, cors.rows[i].name, cors.rows[i].value) == MHD_YES;
    if (exchange->server->draining)
        added = added && MHD_add_response_header(response, "Connection", "close") == MHD_YES;
    return added;
}

/* Hands the response over (NULL: out of memory): it is queued by the callback that is running, or after the resume. */
static void answer(struct eg_exchange *exchange, unsigned status, struct MHD_Response *response)
{
    struct eg_server *server = exchange->server;
    if (!response) {
        response = exchange->may_be_done ? server->outcome_unknown : server->out_of_memory;
        status = MHD_HTTP_SERVICE_UNAVAILABLE;
    }
    exchange->answered = true;
    exchange->response = response;
    exchange->status = status;
    count_response(server, status);
    if (!exchange->suspended)
        return;
    unwatch_hangup(exchange);
    LIST_REMOVE(exchange, entry);
    LIST_INSERT_HEAD(&server->answered, exchange, entry);
    eg_loop_again(server->options.loop);
}

void eg_exchange_reply(struct eg_exchange *exchange, unsigned status, const char *content_type, struct eg_buffer *body,
                       const struct eg_header *headers)
{
    struct MHD_Response *response = NULL;
    size_t length = 0;
    char *text = body->failed ? NULL : eg_buffer_take(body, &length);
    if (text)
        response = MHD_create_response_from_buffer(length, text, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(text);
    } else if (!add_headers(exchange, response, content_type, headers) ||
               MHD_add_response_header(response, "Cache-Control", "no-store") != MHD_YES) {
        MHD_destroy_response(response);
        response = NULL;
    }
    eg_buffer_done(body);
    answer(exchange, status, response);
}

/* There is no descriptor for a stream whose head is out: all that is left is to end it. completed() tells the owner. */
static ssize_t give_up_stream(const struct eg_exchange *exchange, char *buffer, size_t room)
{
    const struct eg_server_options *options = &exchange->server->options;
    eg_log(EG_LOG_WARN, "no descriptor for a stream", EG_LOG_STR("request", exchange->id),
           EG_LOG_STR("error", strerror(errno)));
    eg_metrics_add(options->metrics, EG_METRIC_LIMIT_CONNECTIONS, 1);
    struct eg_buffer frame = EG_BUFFER_INIT;
    if (exchange->event_stream)
        eg_frame_add_retry(&frame, eg_jitter_ms(options->settings->retry_ms, 50));
    ssize_t length = MHD_CONTENT_READER_END_OF_STREAM;
    if (!frame.failed && frame.length > 0 && frame.length <= room) {
        memcpy(buffer, frame.data, frame.length);
        length = (ssize_t)frame.length;
    }
    eg_buffer_done(&frame);
    return length;
}

/* The content reader: the head is out. Takes the socket, and makes libmicrohttpd forget it. */
static ssize_t take_socket(void *context, uint64_t position, char *buffer, size_t room)
{
    struct eg_exchange *exchange = context;
    if (position > 0) /* of what give_up_stream() has said */
        return MHD_CONTENT_READER_END_OF_STREAM;
    int fd = fcntl(exchange->client->wire.fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return give_up_stream(exchange, buffer, room);
    struct eg_wire wire = eg_client_take(exchange->client, fd);
    exchange->gone = NULL;
    exchange->taken(exchange, wire);
    exchange->client = NULL;
    /* libmicrohttpd closes its own descriptor when it runs the next time. */
    exchange->server->run = true;
    eg_loop_again(exchange->server->options.loop);
    return MHD_CONTENT_READER_END_WITH_ERROR;
}

void eg_exchange_stream(struct eg_exchange *exchange, const char *content_type,
                        void (*taken)(struct eg_exchange *exchange, struct eg_wire wire))
{
    static const struct eg_header headers[] = {{"Cache-Control", "no-store, no-transform"},
                                               {"X-Accel-Buffering", "no"},
                                               {"Connection", "close"},
                                               {NULL, NULL}};
    exchange->taken = taken;
    exchange->event_stream = strcmp(content_type, "text/event-stream") == 0;
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 1024, take_socket, exchange, NULL);
    /* For HEAD, 0.9.75 would send the end of a chunked body that isn't there. */
    if (response && exchange->method == EG_METHOD_HEAD)
        MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    if (response && !add_headers(exchange, response, content_type, headers)) {
        MHD_destroy_response(response);
        response = NULL;
    }
    answer(exchange, MHD_HTTP_OK, response);
}

static void client_hung_up(struct eg_watch *watch, uint32_t epoll_events)
{
    struct eg_exchange *exchange = EG_CONTAINER_OF(watch, struct eg_exchange, hangup);
    (void)epoll_events;
    unwatch_hangup(exchange);
    exchange->hung_up(exchange);
}

void eg_exchange_suspend(struct eg_exchange *exchange)
{
    if (exchange->suspended)
        return;
    MHD_suspend_connection(exchange->connection);
    exchange->suspended = true;
}

void eg_exchange_hold(struct eg_exchange *exchange)
{
    exchange->suspended = exchange->held = true;
    exchange->server->held_count++;
}

static void let_go(struct eg_exchange *exchange)
{
    exchange->suspended = false;
    if (exchange->held)
        exchange->server->held_count--;
    else
        MHD_resume_connection(exchange->connection);
    exchange->held = false;
}

void eg_exchange_on_hangup(struct eg_exchange *exchange, void (*hung_up)(struct eg_exchange *exchange))
{
    exchange->hung_up = hung_up;
    if (exchange->hangup.ready)
        return;
    exchange->hangup.ready = client_hung_up;
    exchange->hangup_fd = exchange->client->wire.fd;
    if (eg_loop_add(exchange->server->options.loop, exchange->hangup_fd, EPOLLRDHUP, &exchange->hangup) != 0)
        exchange->hangup.ready = NULL; /* it is then noticed when the answer is sent */
}

struct counted {
    const char *name;
    size_t count;
};

static enum MHD_Result count_header(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct counted *counted = context;
    (void)kind, (void)value;
    counted->count += strcasecmp(name, counted->name) == 0;
    return MHD_YES;
}

const char *eg_exchange_header(struct eg_exchange *exchange, const char *name)
{
    return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

struct header_list {
    const char *name;
    struct eg_buffer *list;
    bool any;
};

static enum MHD_Result add_to_list(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct header_list *wanted = context;
    (void)kind;
    if (strcasecmp(name, wanted->name) != 0)
        return MHD_YES;
    eg_buffer_add_string(wanted->list, wanted->any ? "," : "");
    eg_buffer_add_string(wanted->list, value ? value : "");
    wanted->any = true;
    return MHD_YES;
}

bool eg_exchange_header_list(struct eg_exchange *exchange, const char *name, struct eg_buffer *list)
{
    struct header_list wanted = {name, list, false};
    MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, add_to_list, &wanted);
    return wanted.any;
}

const struct eg_settings *eg_exchange_settings(const struct eg_exchange *exchange)
{
    return exchange->server->options.settings;
}

size_t eg_exchange_header_count(struct eg_exchange *exchange, const char *name)
{
    struct counted counted = {.name = name};
    MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, count_header, &counted);
    return counted.count;
}

/* --- the life of an exchange ----------------------------------------------------------------------------------- */

static int client_fd(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info ? info->connect_fd : -1;
}

/* libmicrohttpd would make a structure of each parameter, for which its pool may be too small; nobody here asks for
 * them. `uri` stands in its own read buffer, and the query is looked at when we have returned. */
static void hide_query(const char *uri)
{
    char *mark = strchr(uri, '?');
    if (mark)
        mark[1] = '\0';
}

/* The request line has been read: `uri` is still as it came. What is returned becomes the exchange of the request. */
static void *request_line(void *context, const char *uri, struct MHD_Connection *connection)
{
    struct eg_server *server = context;
    struct eg_exchange *exchange = calloc(1, sizeof(*exchange));
    if (!exchange)
        return NULL;
    exchange->raw_target = strdup(uri);
    if (!exchange->raw_target) {
        free(exchange);
        return NULL;
    }
    hide_query(uri);
    server->steps++;
    exchange->server = server;
    exchange->connection = connection;
    exchange->client = eg_client_find(client_fd(connection));
    snprintf(exchange->id, sizeof(exchange->id), "%s%08" PRIx32, server->id_prefix, server->id_next++);
    LIST_INSERT_HEAD(&server->exchanges, exchange, entry);
    server->exchange_count++;
    if (exchange->client)
        eg_client_busy(exchange->client, true);
    return exchange;
}

static void completed(void *context, struct MHD_Connection *connection, void **request,
                      enum MHD_RequestTerminationCode code)
{
    struct eg_server *server = context;
    struct eg_exchange *exchange = *request;
    (void)connection, (void)code;
    if (!exchange)
        return;
    *request = NULL;
    server->steps++;
    server->held_count -= exchange->held;
    unwatch_hangup(exchange);
    if (exchange->gone)
        exchange->gone(exchange);
    if (exchange->client)
        eg_client_busy(exchange->client, false);
    drop_response(server, exchange->response);
    atomic_fetch_sub_explicit(&server->options.bodies->used, exchange->reserved_bytes, memory_order_relaxed);
    LIST_REMOVE(exchange, entry);
    server->exchange_count--;
    eg_buffer_done(&exchange->body);
    eg_target_done(&exchange->target);
    eg_grants_unref(exchange->grants);
    eg_policy_unref(exchange->policy);
    free(exchange->raw_target);
    free(exchange);
}

/* Reserves the body's bytes in the budget that all requests share. */
static void reserve_body(struct eg_exchange *exchange)
{
    struct eg_server *server = exchange->server;
    const struct eg_settings *settings = server->options.settings;
    const char *length = eg_exchange_header(exchange, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t bytes = 0;
    if (length)
        bytes = strtoull(length, NULL, 10);
    else if (eg_exchange_header(exchange, MHD_HTTP_HEADER_TRANSFER_ENCODING))
        bytes = settings->max_body_bytes;
    if (bytes == 0)
        return;
    uint64_t before = atomic_fetch_add_explicit(&server->options.bodies->used, bytes, memory_order_relaxed);
    exchange->reserved_bytes = bytes;
    if (before + bytes <= settings->max_bodies_bytes)
        return;
    eg_metrics_add(server->options.metrics, EG_METRIC_LIMIT_BODIES, 1);
    eg_exchange_problem(exchange, EG_PROBLEM_OVERLOADED,
                        "Too many request bodies are under way (max_bodies). Nothing was published: send it again.",
                        NULL);
}

static void begin(struct eg_exchange *exchange, const char *method, const char *version)
{
    exchange->started = true;
    exchange->http_1_0 = strcmp(version, MHD_HTTP_VERSION_1_0) == 0;
    if (!exchange->client) { /* not ours: cannot be */
        answer(exchange, 0, NULL);
        return;
    }
    struct eg_policy *const *policy = exchange->server->options.policy;
    exchange->policy = policy ? eg_policy_ref(*policy) : NULL;
    eg_exchange_route(exchange, method);
    if (!exchange->answered)
        eg_identity_decide(exchange);
    if (!exchange->answered)
        reserve_body(exchange);
}

static void finish(struct eg_exchange *exchange)
{
    struct eg_server *server = exchange->server;
    if (exchange->body.failed)
        answer(exchange, 0, NULL);
    else
        server->options.hooks.handle(server->options.hooks.context, exchange);
}

/* libmicrohttpd's access handler: called when the head is complete, for each piece of the body, at its end, and again
 * after a resume. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *data_size, void **request)
{
    struct eg_server *server = context;
    struct eg_exchange *exchange = *request;
    (void)url;
    if (!exchange)
        return MHD_queue_response(connection, MHD_HTTP_SERVICE_UNAVAILABLE, server->out_of_memory);
    server->steps += !exchange->suspended;
    if (!exchange->started) {
        begin(exchange, method, version);
    } else if (*data_size > 0) {
        if (!exchange->answered)
            eg_buffer_add(&exchange->body, data, *data_size);
        *data_size = 0;
        return MHD_YES;
    } else if (!exchange->answered && !exchange->suspended) {
        finish(exchange);
    }
    return exchange->response && !exchange->suspended ? queue_response(exchange) : MHD_YES;
}

/* --- the daemon ------------------------------------------------------------------------------------------------- */

static int admit(void *context, struct eg_client *client)
{
    struct eg_server *server = context;
    if (MHD_add_connection(server->daemon, client->wire.fd, &client->address.any, client->address_length) != MHD_YES)
        return -ECONNABORTED;
    server->run = true;
    return 0;
}

static void connection_notified(void *context, struct MHD_Connection *connection, void **socket_context,
                                enum MHD_ConnectionNotificationCode code)
{
    (void)context, (void)socket_context;
    if (code != MHD_CONNECTION_NOTIFY_CLOSED)
        return;
    struct eg_client *client = eg_client_find(client_fd(connection));
    if (client)
        eg_client_closed(client);
}

static void daemon_log(void *context, const char *format, va_list arguments)
{
    char line[256];
    (void)context;
    vsnprintf(line, sizeof(line), format, arguments);
    line[strcspn(line, "\n")] = '\0';
    eg_log(EG_LOG_DEBUG, "libmicrohttpd", EG_LOG_STR("says", line));
}

static void daemon_ready(struct eg_watch *watch, uint32_t epoll_events)
{
    struct eg_server *server = EG_CONTAINER_OF(watch, struct eg_server, daemon_watch);
    (void)epoll_events;
    server->quiet_runs = 0;
    server->run = true;
}

static void daemon_due(struct eg_timer *timer)
{
    struct eg_server *server = EG_CONTAINER_OF(timer, struct eg_server, timer);
    server->quiet_runs = 0;
    server->run = true;
}

static struct MHD_Daemon *start_daemon(struct eg_server *server)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_TURBO | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0,
        NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, daemon_log, NULL, MHD_OPTION_CONNECTION_LIMIT,
        DAEMON_CONNECTION_LIMIT, MHD_OPTION_CONNECTION_TIMEOUT, DAEMON_INACTIVITY_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)server->options.settings->max_header_bytes + POOL_EXTRA_BYTES, MHD_OPTION_URI_LOG_CALLBACK,
        request_line, server, MHD_OPTION_NOTIFY_COMPLETED, completed, server, MHD_OPTION_NOTIFY_CONNECTION,
        connection_notified, server, MHD_OPTION_END);
}

/* A problem for which there is always memory. `text` is static. */
static struct MHD_Response *ready_problem(const char *text)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
    if (response && (MHD_add_response_header(response, "Content-Type", "application/problem+json") != MHD_YES ||
                     MHD_add_response_header(response, "Retry-After", "1") != MHD_YES)) {
        MHD_destroy_response(response);
        return NULL;
    }
    return response;
}

struct eg_server *eg_server_new(const struct eg_server_options *options)
{
    struct eg_server *server = calloc(1, sizeof(*server));
    if (!server)
        return NULL;
    uint32_t random;
    server->options = *options;
    server->daemon_watch.ready = daemon_ready;
    server->timer.fire = daemon_due;
    LIST_INIT(&server->exchanges);
    LIST_INIT(&server->answered);
    eg_random_bytes(&random, sizeof(random));
    snprintf(server->id_prefix, sizeof(server->id_prefix), "%08" PRIx32, random);
    server->out_of_memory =
        ready_problem("{\"type\":\"urn:pg-eventgate:problem:overloaded\",\"title\":\"Busy\",\"status\":503,"
                      "\"detail\":\"The gateway is out of memory for this request. Try again.\"}");
    server->outcome_unknown =
        ready_problem("{\"type\":\"urn:pg-eventgate:problem:outcome-unknown\",\"title\":\"It may or may not have been "
                      "published\",\"status\":503,\"detail\":\"The gateway is out of memory for its answer. Send it "
                      "again: what has a key is published once.\"}");
    server->daemon = start_daemon(server);
    server->intake = eg_intake_new(options->loop, options->settings, options->counts, options->metrics,
                                   (struct eg_intake_hooks){admit, server});
    if (server->intake && options->tls)
        eg_intake_use_tls(server->intake, eg_tls_ref(options->tls));
    if (!server->out_of_memory || !server->outcome_unknown || !server->daemon || !server->intake) {
        eg_log(EG_LOG_ERROR, "HTTP server cannot start", EG_LOG_STR("error", strerror(errno)));
        eg_server_free(server);
        return NULL;
    }
    server->daemon_fd = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    int error = eg_loop_add(options->loop, server->daemon_fd, EPOLLIN, &server->daemon_watch);
    if (error) {
        eg_log(EG_LOG_ERROR, "HTTP server cannot start", EG_LOG_STR("error", strerror(-error)));
        server->daemon_fd = -1;
        eg_server_free(server);
        return NULL;
    }
    return server;
}

void eg_server_free(struct eg_server *server)
{
    if (!server)
        return;
    struct eg_exchange *exchange;
    /* MHD_stop_daemon() aborts while a connection is suspended. */
    LIST_FOREACH (exchange, &server->exchanges, entry)
        if (exchange->suspended)
            let_go(exchange);
    LIST_FOREACH (exchange, &server->answered, entry)
        let_go(exchange);
    eg_timer_cancel(server->options.loop, &server->timer);
    if (server->daemon_fd > 0)
        eg_loop_remove(server->options.loop, server->daemon_fd, &server->daemon_watch);
    if (server->daemon)
        MHD_stop_daemon(server->daemon);
    eg_intake_free(server->intake);
    if (server->out_of_memory)
        MHD_destroy_response(server->out_of_memory);
    if (server->outcome_unknown)
        MHD_destroy_response(server->outcome_unknown);
    free(server);
}

int eg_server_listen(struct eg_server *server, const struct eg_listening_socket *socket)
{
    return eg_intake_listen(server->intake, socket);
}

void eg_server_use_tls(struct eg_server *server, struct eg_tls *tls)
{
    eg_intake_use_tls(server->intake, tls);
}

void eg_server_drain(struct eg_server *server)
{
    server->draining = true;
    eg_intake_drain(server->intake);
}

void eg_server_stop_accepting(struct eg_server *server)
{
    eg_intake_stop(server->intake);
}

size_t eg_server_exchanges(const struct eg_server *server)
{
    return server->exchange_count;
}

static void resume_answered(struct eg_server *server)
{
    while (!LIST_EMPTY(&server->answered)) {
        struct eg_exchange *exchange = LIST_FIRST(&server->answered);
        LIST_REMOVE(exchange, entry);
        LIST_INSERT_HEAD(&server->exchanges, exchange, entry);
        let_go(exchange);
        server->run = true;
    }
}

/* Runs libmicrohttpd once. Returns whether it rests then, but for requests that are held. */
static bool run(struct eg_server *server)
{
    uint64_t before = server->steps + eg_client_reads();
    MHD_run(server->daemon);
    if (server->held_count == 0 || server->steps + eg_client_reads() != before)
        server->quiet_runs = 0;
    else
        server->quiet_runs++;
    return server->quiet_runs >= HELD_QUIET_RUNS;
}

void eg_server_turn(struct eg_server *server)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms;
    eg_intake_turn(server->intake);
    resume_answered(server);
    if (!server->run)
        return;
    server->run = false;
    bool rests = run(server);
    resume_answered(server);
    if (MHD_get_timeout(server->daemon, &timeout_ms) != MHD_YES)
        return;
    if (timeout_ms == 0 && rests)
        timeout_ms = HELD_RUN_MS;
    if (timeout_ms == 0 || server->run) {
        server->run = true;
        eg_loop_again(server->options.loop);
        return;
    }
    if (eg_timer_set(server->options.loop, &server->timer, eg_loop_now_ms(server->options.loop) + timeout_ms) != 0)
        eg_log(EG_LOG_WARN, "no memory for a timer");
}

const char *eg_server_library_version(void)
{
    return MHD_get_version();
}

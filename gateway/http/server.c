/*
 * libmicrohttpd, and nothing but it: a daemon in external-epoll mode for each worker, and requests as exchanges.
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
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/backoff.h"
#include "eventgate/client_calls.h"
#include "eventgate/identity.h"
#include "eventgate/log.h"
#include "eventgate/policy.h"
#include "eventgate/routing.h"
#include "eventgate/server_internal.h"
#include "eventgate/tls.h"

/* Above every limit of ours, so that libmicrohttpd never stops taking connections. */
#define DAEMON_CONNECTION_LIMIT 1000000u
/* A client that doesn't read its answer at all is let go after this. */
#define DAEMON_INACTIVITY_S 120u
/* Beside the head, the pool of a connection holds its parsed form (56 bytes for each header and cookie, and a copy of
 * the Cookie header) and the head of the answer. Up to 32 KiB in all, libmicrohttpd takes it from the heap. */
#define POOL_EXTRA_BYTES 14336u
/* Each daemon is its worker's alone. libmicrohttpd 1.0 would otherwise put new connections aside, and close those for
 * which it finds no memory later without saying so. */
#if MHD_VERSION >= 0x00097707
#define DAEMON_IS_OF_ONE_THREAD MHD_USE_NO_THREAD_SAFETY
#else
#define DAEMON_IS_OF_ONE_THREAD MHD_NO_FLAG
#endif
/* While requests are held: how often libmicrohttpd is run at least, and how often without effect before it rests. */
#define HELD_RUN_MS 10u
#define HELD_QUIET_RUNS 2u

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
    snprintf(exchange->id, sizeof(exchange->id), "%s%08" PRIx32, server->id_prefix, ++server->id_last);
    exchange->began_us = eg_loop_now_us(server->options.loop);
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
    eg_exchange_unwatch_hangup(exchange);
    if (exchange->gone)
        exchange->gone(exchange);
    if (exchange->client)
        eg_client_busy(exchange->client, false);
    eg_exchange_drop_response(server, exchange->response);
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
        eg_exchange_answer(exchange, 0, NULL);
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
        eg_exchange_answer(exchange, 0, NULL);
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
    return exchange->response && !exchange->suspended ? eg_exchange_queue_response(exchange) : MHD_YES;
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
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_TURBO | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME |
                                MHD_USE_ERROR_LOG | DAEMON_IS_OF_ONE_THREAD,
                            0, NULL, NULL, on_request, server, MHD_OPTION_EXTERNAL_LOGGER, daemon_log, NULL,
                            MHD_OPTION_CONNECTION_LIMIT, DAEMON_CONNECTION_LIMIT, MHD_OPTION_CONNECTION_TIMEOUT,
                            DAEMON_INACTIVITY_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            (size_t)server->options.settings->max_header_bytes + POOL_EXTRA_BYTES,
                            MHD_OPTION_URI_LOG_CALLBACK, request_line, server, MHD_OPTION_NOTIFY_COMPLETED, completed,
                            server, MHD_OPTION_NOTIFY_CONNECTION, connection_notified, server, MHD_OPTION_END);
}

/* A problem for which there is always memory. All requests that are answered with it share an id, which the log has
 * beside their own. */
static struct MHD_Response *ready_problem(const struct eg_server *server, enum eg_problem problem, const char *detail)
{
    struct eg_buffer body = EG_BUFFER_INIT;
    size_t length = 0;
    eg_problem_add(&body, problem, detail, server->ready_id);
    char *text = eg_buffer_take(&body, &length);
    struct MHD_Response *response = text ? MHD_create_response_from_buffer(length, text, MHD_RESPMEM_MUST_FREE) : NULL;
    if (!response)
        free(text);
    if (response && (MHD_add_response_header(response, "Content-Type", "application/problem+json") != MHD_YES ||
                     MHD_add_response_header(response, "X-Request-Id", server->ready_id) != MHD_YES ||
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
    snprintf(server->ready_id, sizeof(server->ready_id), "%s00000000", server->id_prefix);
    server->out_of_memory =
        ready_problem(server, EG_PROBLEM_OVERLOADED, "The gateway is out of memory for this request. Try again.");
    server->outcome_unknown =
        ready_problem(server, EG_PROBLEM_OUTCOME_UNKNOWN,
                      "The gateway is out of memory for its answer. Send it again: what has a key is published once.");
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
            eg_exchange_let_go(exchange);
    LIST_FOREACH (exchange, &server->answered, entry)
        eg_exchange_let_go(exchange);
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

/* A client whose last answer didn't say so may be sending another request. */
void eg_server_close_behind_answers(struct eg_server *server)
{
    server->draining = true;
}

void eg_server_drain(struct eg_server *server)
{
    eg_server_close_behind_answers(server);
    eg_intake_drain(server->intake);
}

void eg_server_hand_over(struct eg_server *server)
{
    eg_server_close_behind_answers(server);
    eg_intake_stop(server->intake);
}

bool eg_server_has_clients(const struct eg_server *server)
{
    return eg_intake_has_clients(server->intake);
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
        eg_exchange_let_go(exchange);
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

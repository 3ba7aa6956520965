/*
 * Answers: now, held or suspended, with a body or as a stream whose socket is taken; and what the request's head says.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "eventgate/backoff.h"
#include "eventgate/identity.h"
#include "eventgate/log.h"
#include "eventgate/request_log.h"
#include "eventgate/server_internal.h"

static void count_response(struct eg_server *server, unsigned status)
{
    static const enum eg_metric classes[] = {EG_METRIC_REQUESTS_2XX, EG_METRIC_REQUESTS_3XX, EG_METRIC_REQUESTS_4XX,
                                             EG_METRIC_REQUESTS_5XX};
    if (status >= 200 && status < 600)
        eg_metrics_add(server->options.metrics, classes[status / 100 - 2], 1);
}

void eg_exchange_unwatch_hangup(struct eg_exchange *exchange)
{
    if (!exchange->hangup.ready)
        return;
    eg_loop_remove(exchange->server->options.loop, exchange->hangup_fd, &exchange->hangup);
    exchange->hangup.ready = NULL;
}

void eg_exchange_drop_response(const struct eg_server *server, struct MHD_Response *response)
{
    if (response && response != server->out_of_memory && response != server->outcome_unknown)
        MHD_destroy_response(response);
}

enum MHD_Result eg_exchange_queue_response(struct eg_exchange *exchange)
{
    struct MHD_Response *response = exchange->response;
    exchange->response = NULL;
    enum MHD_Result result = MHD_queue_response(exchange->connection, exchange->status, response);
    eg_exchange_drop_response(exchange->server, response);
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

void eg_exchange_answer(struct eg_exchange *exchange, unsigned status, struct MHD_Response *response)
{
    struct eg_server *server = exchange->server;
    if (!response) {
        response = exchange->may_be_done ? server->outcome_unknown : server->out_of_memory;
        status = MHD_HTTP_SERVICE_UNAVAILABLE;
        eg_log(EG_LOG_WARN, "no memory for an answer", EG_LOG_STR("request", exchange->id),
               EG_LOG_STR("answered_as", server->ready_id));
    }
    exchange->answered = true;
    exchange->response = response;
    exchange->status = status;
    count_response(server, status);
    eg_request_log_answered(exchange, status);
    if (!exchange->suspended)
        return;
    eg_exchange_unwatch_hangup(exchange);
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
    eg_exchange_answer(exchange, status, response);
}

void eg_exchange_reply_constant(struct eg_exchange *exchange, unsigned status, const char *content_type,
                                const void *data, size_t length, const struct eg_header *headers)
{
    /* libmicrohttpd sends no body with 304, but the length that 200 would have had. It doesn't write to the bytes. */
    struct MHD_Response *response =
        MHD_create_response_from_buffer(length, (void *)(uintptr_t)data, MHD_RESPMEM_PERSISTENT);
    if (response && !add_headers(exchange, response, content_type, headers)) {
        MHD_destroy_response(response);
        response = NULL;
    }
    eg_exchange_answer(exchange, status, response);
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
    eg_exchange_answer(exchange, MHD_HTTP_OK, response);
}

static void client_hung_up(struct eg_watch *watch, uint32_t epoll_events)
{
    struct eg_exchange *exchange = EG_CONTAINER_OF(watch, struct eg_exchange, hangup);
    (void)epoll_events;
    eg_exchange_unwatch_hangup(exchange);
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

void eg_exchange_let_go(struct eg_exchange *exchange)
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

struct eg_loop *eg_exchange_loop(const struct eg_exchange *exchange)
{
    return exchange->server->options.loop;
}

const struct eg_policy *eg_exchange_policy_now(const struct eg_exchange *exchange)
{
    struct eg_policy *const *policy = exchange->server ? exchange->server->options.policy : NULL;
    return policy ? *policy : exchange->policy;
}

struct eg_metrics *eg_exchange_metrics(const struct eg_exchange *exchange)
{
    return exchange->server->options.metrics;
}

size_t eg_exchange_header_count(struct eg_exchange *exchange, const char *name)
{
    struct counted counted = {.name = name};
    MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, count_header, &counted);
    return counted.count;
}

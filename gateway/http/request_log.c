/*
 * Lines of requests. Paths are not in them, since they may hold secrets: a route, and the name of a channel that there
 * is, are what an operator looks for.
 */
#include "eventgate/request_log.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/log.h"
#include "eventgate/loop.h"

#define CHANNEL_SHOWN_BYTES 200

/* To publish or to subscribe, by somebody who may: else anybody could fill the log. */
static bool is_followed(const struct eg_exchange *exchange, unsigned status)
{
    return exchange->trace[0] && eg_traceparent_is_sampled(exchange->trace) &&
           (exchange->route == EG_ROUTE_EVENTS || exchange->route == EG_ROUTE_CHANNEL) && status != 401 &&
           status != 403;
}

static enum eg_log_level level_of(const struct eg_exchange *exchange, unsigned status)
{
    switch (eg_exchange_settings(exchange)->log_requests) {
    case EG_LOG_REQUESTS_ALL:
        return EG_LOG_INFO;
    case EG_LOG_REQUESTS_TRACED:
        return is_followed(exchange, status) ? EG_LOG_INFO : EG_LOG_DEBUG;
    default:
        return EG_LOG_DEBUG;
    }
}

static const char *trace_id(const struct eg_exchange *exchange, char memory[EG_TRACE_ID_LENGTH + 1])
{
    if (!exchange->trace[0])
        return NULL;
    eg_traceparent_id(exchange->trace, memory);
    return memory;
}

static const char *method_name(enum eg_method method)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "OPTIONS", NULL};
    return names[method];
}

void eg_request_log_answered(const struct eg_exchange *exchange, unsigned status)
{
    enum eg_log_level level = level_of(exchange, status);
    if (!eg_log_has(level))
        return;
    char address[INET6_ADDRSTRLEN], trace[EG_TRACE_ID_LENGTH + 1], channel[CHANNEL_SHOWN_BYTES + 1] = "";
    bool shows_channel = status < 400 && exchange->route == EG_ROUTE_CHANNEL &&
                         exchange->channel.length < sizeof(channel) && exchange->method != EG_METHOD_OPTIONS;
    if (shows_channel)
        memcpy(channel, exchange->channel.data, exchange->channel.length);
    if (shows_channel)
        channel[exchange->channel.length] = '\0';
    eg_address_text(&exchange->address, address);
    uint64_t took_us = eg_loop_now_us(eg_exchange_loop(exchange)) - exchange->began_us;
    eg_log(level, exchange->problem ? "request refused" : "request answered", EG_LOG_STR("request", exchange->id),
           EG_LOG_STR("trace_id", trace_id(exchange, trace)), EG_LOG_STR("method", method_name(exchange->method)),
           EG_LOG_STR("route", eg_route_name(exchange->route)), EG_LOG_STR("channel", shows_channel ? channel : NULL),
           EG_LOG_INT("status", status), EG_LOG_STR("problem", exchange->problem), EG_LOG_STR("client", address),
           EG_LOG_INT("took_us", took_us));
}

/* --- streams ----------------------------------------------------------------------------------------------------- */

struct eg_request_trace {
    enum eg_log_level level;
    uint64_t began_us;
    char request[EG_EXCHANGE_ID_MAX + 1];
    char trace_id[EG_TRACE_ID_LENGTH + 1]; /* or "" */
};

struct eg_request_trace *eg_request_log_stream(const struct eg_exchange *exchange)
{
    enum eg_log_level level = level_of(exchange, 200);
    struct eg_request_trace *trace = eg_log_has(level) ? calloc(1, sizeof(*trace)) : NULL;
    if (!trace)
        return NULL;
    trace->level = level;
    trace->began_us = exchange->began_us;
    memcpy(trace->request, exchange->id, sizeof(trace->request));
    if (exchange->trace[0])
        eg_traceparent_id(exchange->trace, trace->trace_id);
    return trace;
}

void eg_request_log_ended(struct eg_request_trace *trace, uint64_t now_us)
{
    if (!trace)
        return;
    eg_log(trace->level, "stream ended", EG_LOG_STR("request", trace->request),
           EG_LOG_STR("trace_id", trace->trace_id[0] ? trace->trace_id : NULL),
           EG_LOG_INT("seconds", (now_us - trace->began_us) / 1000000));
    free(trace);
}

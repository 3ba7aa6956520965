/*
 * From a request line to what it asks for, and the answers that need no handler: problems, 404, 405, OPTIONS.
 */
#include "eventgate/routing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "eventgate/client_address.h"
#include "eventgate/log.h"

static bool has_header(const struct eg_header *headers, const char *name)
{
    for (; headers && headers->name; headers++)
        if (strcmp(headers->name, name) == 0)
            return true;
    return false;
}

void eg_exchange_problem(struct eg_exchange *exchange, enum eg_problem problem, const char *detail,
                         const struct eg_header *headers)
{
    struct eg_header list[4] = {{NULL, NULL}};
    size_t count = 0;
    unsigned status = eg_problem_status(problem);
    if ((status == 503 || status == 429) && !has_header(headers, "Retry-After"))
        list[count++] = (struct eg_header){"Retry-After", "1"};
    for (; headers && headers->name && count < EG_ARRAY_LENGTH(list) - 1; headers++)
        list[count++] = *headers;
    list[count] = (struct eg_header){NULL, NULL};
    struct eg_buffer body = EG_BUFFER_INIT;
    eg_problem_add(&body, problem, detail, exchange->id);
    exchange->problem = eg_problem_name(problem); /* for the log; not the detail, which may quote the client */
    eg_exchange_reply(exchange, status, "application/problem+json", &body, list);
}

static void no_memory(struct eg_exchange *exchange)
{
    eg_exchange_problem(exchange, EG_PROBLEM_OVERLOADED, "The gateway is out of memory. Try again.", NULL);
}

/* May stand in a header, a log line and a URN (RFC 3986, unreserved). */
static bool is_request_id(const char *text)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    size_t length = strspn(text, allowed);
    return length > 0 && length <= EG_EXCHANGE_ID_MAX && text[length] == '\0';
}

/* A trusted proxy may have given the request an id already, by which its own log calls it. */
static void take_request_id(struct eg_exchange *exchange)
{
    const char *given = exchange->client->proxied ? eg_exchange_header(exchange, "X-Request-Id") : NULL;
    if (given && is_request_id(given) && eg_exchange_header_count(exchange, "X-Request-Id") == 1)
        snprintf(exchange->id, sizeof(exchange->id), "%s", given);
}

static void read_trace(struct eg_exchange *exchange)
{
    const char *header = eg_exchange_header(exchange, "traceparent");
    if (header && eg_exchange_header_count(exchange, "traceparent") == 1 &&
        !eg_traceparent_read((struct eg_bytes){header, strlen(header)}, exchange->trace))
        exchange->trace[0] = '\0';
}

/* Whose request is it? Answers and returns false if a trusted proxy doesn't say so. */
static bool find_client(struct eg_exchange *exchange)
{
    const struct eg_settings *settings = eg_exchange_settings(exchange);
    struct eg_buffer forwarded = EG_BUFFER_INIT;
    int error = 0;
    exchange->address = exchange->client->address;
    if (!exchange->client->proxied)
        return true;
    if (eg_exchange_header_list(exchange, "X-Forwarded-For", &forwarded))
        error = forwarded.failed
                    ? -ENOMEM
                    : eg_client_address_find(&settings->trusted_proxies, forwarded.data ? forwarded.data : "",
                                             forwarded.length, &exchange->address);
    eg_buffer_done(&forwarded);
    if (error == -EINVAL)
        eg_exchange_problem(exchange, EG_PROBLEM_BAD_REQUEST,
                            "The proxy before this gateway sends an X-Forwarded-For that has something else than "
                            "addresses in it, separated by commas.",
                            NULL);
    else if (error)
        no_memory(exchange);
    if (error || eg_networks_have(&settings->trusted_proxies, &exchange->address))
        return !error;
    error = eg_client_speak_for(exchange->client, &exchange->address);
    exchange->crowded = error == -EDQUOT;
    if (error == -ENOMEM)
        no_memory(exchange);
    return error != -ENOMEM;
}

static bool is_subscription(const struct eg_exchange *exchange)
{
    return exchange->method == EG_METHOD_GET &&
           (exchange->route == EG_ROUTE_EVENTS || exchange->route == EG_ROUTE_CHANNEL);
}

static enum eg_method method_of(const char *method)
{
    static const struct {
        const char *name;
        enum eg_method method;
    } methods[] = {
        {"GET", EG_METHOD_GET}, {"HEAD", EG_METHOD_HEAD}, {"POST", EG_METHOD_POST}, {"OPTIONS", EG_METHOD_OPTIONS}};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(methods); i++)
        if (strcmp(method, methods[i].name) == 0)
            return methods[i].method;
    return EG_METHOD_OTHER;
}

static bool method_allowed(const char *allow, const char *method)
{
    size_t length = strlen(method);
    for (const char *at = allow; (at = strstr(at, method)); at += length)
        if ((at == allow || at[-1] == ' ') && (at[length] == '\0' || at[length] == ','))
            return true;
    return false;
}

static void answer_options(struct eg_exchange *exchange, const char *allow)
{
    struct eg_buffer empty = EG_BUFFER_INIT;
    eg_buffer_add_string(&empty, "");
    exchange->options = allow;
    eg_exchange_reply(exchange, 204, NULL, &empty, (struct eg_header[]){{"Allow", allow}, {NULL, NULL}});
}

void eg_exchange_route(struct eg_exchange *exchange, const char *method)
{
    exchange->method = method_of(method);
    take_request_id(exchange);
    read_trace(exchange);
    struct eg_refusal refusal;
    if (!find_client(exchange))
        return;
    if (exchange->method == EG_METHOD_OPTIONS && strcmp(exchange->raw_target, "*") == 0) {
        answer_options(exchange, "GET, HEAD, POST, OPTIONS");
        return;
    }
    int error = eg_target_parse(exchange->raw_target, strlen(exchange->raw_target), &exchange->target, &refusal);
    if (error == -EINVAL) {
        eg_exchange_problem(exchange, refusal.problem, refusal.detail, NULL);
        return;
    }
    if (error) {
        no_memory(exchange);
        return;
    }
    exchange->route = eg_route_find(exchange->target.path, &exchange->channel);
    if (exchange->route == EG_ROUTE_NONE) {
        eg_exchange_problem(
            exchange, EG_PROBLEM_NOT_FOUND,
            "This path names nothing. Subscribe with GET /events?channel=NAME or GET /channels/NAME, publish "
            "with POST to the same URL; GET /channels lists the channels.",
            NULL);
        return;
    }
    const char *allow = eg_route_allow(exchange->route);
    if (exchange->method == EG_METHOD_OPTIONS) {
        answer_options(exchange, allow);
    } else if (exchange->crowded && !is_subscription(exchange)) { /* which knows a better answer for EventSource */
        eg_exchange_problem(exchange, EG_PROBLEM_TOO_MANY, EG_CROWDED_DETAIL, NULL);
    } else if (!method_allowed(allow, method)) {
        char detail[160];
        snprintf(detail, sizeof(detail), "This URL answers %s.", allow);
        eg_exchange_problem(exchange, EG_PROBLEM_METHOD_NOT_ALLOWED, detail,
                            (struct eg_header[]){{"Allow", allow}, {NULL, NULL}});
    }
}

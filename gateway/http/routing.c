/*
 * From a request line to what it asks for, and the answers that need no handler: problems, 404, 405, OPTIONS.
 */
#include "eventgate/routing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "eventgate/log.h"

void eg_exchange_problem(struct eg_exchange *exchange, enum eg_problem problem, const char *detail,
                         const struct eg_header *headers)
{
    struct eg_header list[4] = {{NULL, NULL}};
    size_t count = 0;
    unsigned status = eg_problem_status(problem);
    if (status == 503 || status == 429)
        list[count++] = (struct eg_header){"Retry-After", "1"};
    for (; headers && headers->name && count < EG_ARRAY_LENGTH(list) - 1; headers++)
        list[count++] = *headers;
    list[count] = (struct eg_header){NULL, NULL};
    struct eg_buffer body = EG_BUFFER_INIT;
    eg_problem_add(&body, problem, detail, exchange->id);
    eg_log(EG_LOG_DEBUG, "request refused", EG_LOG_STR("request", exchange->id), EG_LOG_INT("status", status),
           EG_LOG_STR("detail", detail));
    eg_exchange_reply(exchange, status, "application/problem+json", &body, list);
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
    eg_exchange_reply(exchange, 204, NULL, &empty, (struct eg_header[]){{"Allow", allow}, {NULL, NULL}});
}

void eg_exchange_route(struct eg_exchange *exchange, const char *method)
{
    exchange->method = method_of(method);
    struct eg_refusal refusal;
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
        eg_exchange_problem(exchange, EG_PROBLEM_OVERLOADED, "The gateway is out of memory. Try again.", NULL);
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
    } else if (!method_allowed(allow, method)) {
        char detail[160];
        snprintf(detail, sizeof(detail), "This URL answers %s.", allow);
        eg_exchange_problem(exchange, EG_PROBLEM_METHOD_NOT_ALLOWED, detail,
                            (struct eg_header[]){{"Allow", allow}, {NULL, NULL}});
    }
}

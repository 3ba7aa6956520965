/*
 * Cross-origin requests: the headers of answers, and the check of POSTs.
 */
#include "eventgate/cors.h"

#include <string.h>

#include "eventgate/origin.h"

/* Browsers keep it for as long as they like: Chromium for 2 hours at most. */
#define PREFLIGHT_MAX_AGE_S "7200"
#define REQUEST_HEADERS                                                                                                \
    "Authorization, Cache-Control, Content-Type, Idempotency-Key, Last-Event-ID, traceparent, tracestate"
#define RESPONSE_HEADERS "Idempotency-Replayed, Retry-After, WWW-Authenticate, X-Request-Id"

enum verdict { NOBODY, ANYBODY, LISTED };

static enum verdict judge(struct eg_cors_list list, const char *origin)
{
    enum verdict verdict = NOBODY;
    for (size_t i = 0; origin && i < list.count; i++) {
        if (strcmp(list.origins[i], "*") == 0)
            verdict = ANYBODY;
        else if (eg_origin_matches(list.origins[i], origin))
            return LISTED;
    }
    return verdict;
}

static void add(struct eg_cors_headers *headers, const char *name, const char *value)
{
    headers->rows[headers->count].name = name;
    headers->rows[headers->count++].value = value;
}

struct eg_cors_headers eg_cors_headers(struct eg_cors_list list, const struct eg_cors_request *request,
                                       const char *allow)
{
    struct eg_cors_headers headers = {.count = 0};
    enum verdict verdict = judge(list, request->origin);
    if (list.count > 0)
        add(&headers, "Vary",
            allow ? "Origin, Access-Control-Request-Method, Access-Control-Request-Headers" : "Origin");
    if (verdict == NOBODY)
        return headers;
    add(&headers, "Access-Control-Allow-Origin", verdict == LISTED ? request->origin : "*");
    if (verdict == LISTED)
        add(&headers, "Access-Control-Allow-Credentials", "true");
    if (!allow) {
        add(&headers, "Access-Control-Expose-Headers", RESPONSE_HEADERS);
    } else if (request->method) {
        add(&headers, "Access-Control-Allow-Methods", allow);
        add(&headers, "Access-Control-Allow-Headers", REQUEST_HEADERS);
        add(&headers, "Access-Control-Max-Age", PREFLIGHT_MAX_AGE_S);
    }
    return headers;
}

bool eg_cors_may_post(struct eg_cors_list list, const struct eg_cors_request *request, bool by_cookie)
{
    if (request->fetch_site && strcmp(request->fetch_site, "same-origin") == 0)
        return true;
    if (!request->origin)
        return !by_cookie;
    /* A browser that says where a page is from knows its scheme, too, which a Host has not. */
    if (!request->fetch_site && request->host && eg_origin_is_of_host(request->origin, request->host))
        return true;
    enum verdict verdict = judge(list, request->origin);
    return verdict == LISTED || (verdict == ANYBODY && !by_cookie);
}

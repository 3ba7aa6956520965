/*
 * Which pages of other origins may use the gateway: CORS (https://fetch.spec.whatwg.org/#http-cors-protocol), and which
 * POSTs a browser may have been tricked into. Pure functions; any thread.
 */
#ifndef EG_CORS_H
#define EG_CORS_H

#include <stdbool.h>

#include "eventgate/common.h"

/* The origins that the configuration allows; valid patterns (origin.h), borrowed. */
struct eg_cors_list {
    const char *const *origins;
    size_t count;
};

/* What of a request decides: values of its headers, or NULL. */
struct eg_cors_request {
    const char *origin;
    const char *host;
    const char *fetch_site; /* Sec-Fetch-Site */
    const char *method;     /* Access-Control-Request-Method: with OPTIONS, it is a preflight */
};

#define EG_CORS_HEADERS_MAX 7

/* Headers of an answer; names and values are static, or borrowed from the request. */
struct eg_cors_headers {
    size_t count;
    struct {
        const char *name, *value;
    } rows[EG_CORS_HEADERS_MAX];
};

/*
 * What every answer, an error too, has to say. An origin that is listed may use credentials, one that only `*` allows
 * may not. `allow`: the methods of the URL, for a preflight; else NULL. As soon as any origin is listed, each answer
 * says that it depends on Origin.
 */
struct eg_cors_headers eg_cors_headers(struct eg_cors_list list, const struct eg_cors_request *request,
                                       const char *allow);

/*
 * Did a page that may do so send this POST, which is let in for something that a browser adds by itself: a cookie
 * (`by_cookie`), or, without keys, the place that it comes from? True: a page of ours (Sec-Fetch-Site, or, where that
 * isn't said, an Origin of our Host), or of a listed origin; not by cookie: also what is no browser (no Origin), and
 * any origin if `*` is listed.
 */
bool eg_cors_may_post(struct eg_cors_list list, const struct eg_cors_request *request, bool by_cookie);

#endif

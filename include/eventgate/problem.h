/*
 * Errors as RFC 9457 problem details: one table of problems with status, stable type, and title; the detail is a
 * sentence that says what to do.
 */
#ifndef EG_PROBLEM_H
#define EG_PROBLEM_H

#include "eventgate/buffer.h"
#include "eventgate/common.h"

/* ID, status, last part of the type ("urn:pg-eventgate:problem:NAME"), title */
#define EG_PROBLEM_TABLE(X)                                                                                            \
    X(BAD_REQUEST, 400, "bad-request", "The request is malformed")                                                     \
    X(BAD_PARAMETER, 400, "bad-parameter", "A query parameter is not understood")                                      \
    X(BAD_CURSOR, 400, "bad-cursor", "The cursor is not one of ours")                                                  \
    X(BAD_CHANNEL, 400, "bad-channel", "This cannot be a channel")                                                     \
    X(BAD_BODY, 400, "bad-body", "The body cannot be published")                                                       \
    X(UNAUTHORIZED, 401, "unauthorized", "This needs a token")                                                         \
    X(FORBIDDEN, 403, "forbidden", "This is not allowed")                                                              \
    X(NOT_FOUND, 404, "not-found", "There is nothing here")                                                            \
    X(UNKNOWN_CHANNEL, 404, "unknown-channel", "No such channel")                                                      \
    X(METHOD_NOT_ALLOWED, 405, "method-not-allowed", "Not with this method")                                           \
    X(NOT_ACCEPTABLE, 406, "not-acceptable", "None of the accepted types can be served")                               \
    X(TIMEOUT, 408, "timeout", "The request took too long to arrive")                                                  \
    X(TOO_LARGE, 413, "too-large", "The body is too large")                                                            \
    X(URI_TOO_LONG, 414, "uri-too-long", "The request line is too long")                                               \
    X(UNSUPPORTED_TYPE, 415, "unsupported-type", "This kind of body is not supported")                                 \
    X(EXPECTATION_FAILED, 417, "expectation-failed", "Only 100-continue can be expected")                              \
    X(MISDIRECTED, 421, "misdirected", "This host is not served here")                                                 \
    X(REFUSED, 422, "refused", "PostgreSQL refused the event")                                                         \
    X(IDEMPOTENCY_CONFLICT, 422, "idempotency-conflict", "The key was used for another event")                         \
    X(TOO_MANY_CHANNELS, 400, "too-many-channels", "Too many channels in one stream")                                  \
    X(TOO_MANY, 429, "too-many", "Too many at once")                                                                   \
    X(HEADER_TOO_LARGE, 431, "header-too-large", "The request head is too large")                                      \
    X(NOT_IMPLEMENTED, 501, "not-implemented", "Not implemented")                                                      \
    X(OVERLOADED, 503, "overloaded", "Busy")                                                                           \
    X(DATABASE_AWAY, 503, "database-away", "The database is away")                                                     \
    X(OUTCOME_UNKNOWN, 503, "outcome-unknown", "It may or may not have been published")                                \
    X(DRAINING, 503, "draining", "This gateway is shutting down")                                                      \
    X(HTTP_VERSION, 505, "http-version", "Only HTTP/1.0 and HTTP/1.1 are spoken")

enum eg_problem {
#define X(id, status, name, title) EG_PROBLEM_##id,
    EG_PROBLEM_TABLE(X)
#undef X
        EG_PROBLEM_COUNT
};

unsigned eg_problem_status(enum eg_problem problem);

/* "bad-request": the last part of its type. */
const char *eg_problem_name(enum eg_problem problem);

/* Appends {"type","title","status","detail","instance"}; `detail` may have any bytes (see
 * eg_buffer_add_json_string()); `request_id` may be NULL (no
 * instance). Any thread. */
void eg_problem_add(struct eg_buffer *buffer, enum eg_problem problem, const char *detail, const char *request_id);

/* Appends a whole HTTP/1.1 response with `Connection: close`, for heads that never reach libmicrohttpd. `request_id`:
 * not NULL. */
void eg_problem_add_response(struct eg_buffer *buffer, enum eg_problem problem, const char *detail,
                             const char *request_id);

#endif

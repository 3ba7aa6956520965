/*
 * The line that the log has of a request: one when it is answered, and another one when a stream ends. With both stand
 * the request's id, which its client has been told, and its trace's, if it has one. The worker's thread.
 *
 * Which requests have it at level info, is the option log_requests; at level debug all do.
 */
#ifndef EG_REQUEST_LOG_H
#define EG_REQUEST_LOG_H

#include "eventgate/server.h"

/* The values of log_requests: those to publish or to subscribe, by who may, whose traceparent says that they are
 * recorded elsewhere, too; all. */
enum eg_log_requests { EG_LOG_REQUESTS_NONE, EG_LOG_REQUESTS_TRACED, EG_LOG_REQUESTS_ALL };

/* What is said of a stream when it ends: NULL where nothing is to be said. Freed by eg_request_log_ended(). */
struct eg_request_trace;
struct eg_request_trace *eg_request_log_stream(const struct eg_exchange *exchange);

/* It has been answered with this status. */
void eg_request_log_answered(const struct eg_exchange *exchange, unsigned status);

/* The stream has ended; takes NULL. */
void eg_request_log_ended(struct eg_request_trace *trace, uint64_t now_us);

#endif

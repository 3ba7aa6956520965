/*
 * What the files of the server module share: server.c (daemon, turns, the life of exchanges), server_answer.c
 * (answers). For nobody else.
 */
#ifndef EG_SERVER_INTERNAL_H
#define EG_SERVER_INTERNAL_H

#include <microhttpd.h>

#include "eventgate/server.h"

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
    uint32_t id_last;
    char ready_id[17]; /* of the answers that are always ready */
};

/* server_answer.c */

/* Hands the response over (NULL: out of memory): it is queued by the callback that is running, or after the resume. */
void eg_exchange_answer(struct eg_exchange *exchange, unsigned status, struct MHD_Response *response);
/* Within the callback, once it has been handed over. */
enum MHD_Result eg_exchange_queue_response(struct eg_exchange *exchange);
/* NULL is let be, and so are those that are always ready. */
void eg_exchange_drop_response(const struct eg_server *server, struct MHD_Response *response);
void eg_exchange_unwatch_hangup(struct eg_exchange *exchange);
/* No longer suspended or held: libmicrohttpd calls for it again. */
void eg_exchange_let_go(struct eg_exchange *exchange);

#endif

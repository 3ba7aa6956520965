/*
 * Following channels of a gateway: prints their events, and goes on exactly where it was whenever the connection ends.
 */
#ifndef EG_TAIL_H
#define EG_TAIL_H

#include "eventgate/call.h"

/* All borrowed. */
struct eg_tail {
    const struct eg_call_target *target;
    char *const *channels; /* names and patterns */
    size_t channel_count;
    const char *after;       /* a cursor, "earliest" or "now"; NULL: what the file has, else now */
    const char *payload;     /* the gateway's ?payload=: "event", "raw" or "cloudevents" */
    const char *cursor_file; /* NULL: none */
    uint64_t limit;          /* events; 0: no limit */
    uint32_t idle_ms;        /* without even a heartbeat, after which the connection counts as lost */
    bool quiet;              /* says nothing of reconnecting */
    bool progress;           /* shows progress even if standard error is no terminal */
};

/* Runs until it is ended (see eg_client_catch_signals()). 0: the limit is reached, or nobody reads any more; 1: refused
 * for good, or standard output cannot be written, which has been told on standard error. Blocks. */
int eg_tail_run(const struct eg_tail *tail);

#endif

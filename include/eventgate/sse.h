/*
 * Reads an event stream (text/event-stream) as it arrives, byte by byte or in one go, by the rules of
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 *
 * Memory: the event that is under way, at most EG_SSE_MAX_BYTES.
 */
#ifndef EG_SSE_H
#define EG_SSE_H

#include <stdbool.h>

#include "eventgate/buffer.h"

#define EG_SSE_MAX_BYTES (UINT32_C(1) << 30)
#define EG_SSE_ID_MAX 255u

/* One event; borrowed for the call. */
struct eg_sse_event {
    const char *type; /* "message" where the stream says nothing; NUL-terminated */
    struct eg_bytes data;
    const char *id; /* the last one that the stream has said, of this event or one before; "" before the first */
};

/* Zero-initialise, with `dispatch` and `context`. */
struct eg_sse {
    void (*dispatch)(void *context, const struct eg_sse_event *event); /* an event with data */
    void *context;
    struct eg_buffer line, data;
    char type[64];
    char id[EG_SSE_ID_MAX + 1];
    uint32_t retry_ms; /* the last `retry:`; 0: none */
    bool any_data, after_cr, begun;
};

/* 0; -ENOMEM; -EMSGSIZE: an event is longer than the maximum. */
int eg_sse_feed(struct eg_sse *sse, const char *data, size_t length) EG_MUST_CHECK;

/* Forgets what has arrived of an event that isn't whole, as when the connection is lost; keeps the id. */
void eg_sse_restart(struct eg_sse *sse);
void eg_sse_done(struct eg_sse *sse);

#endif

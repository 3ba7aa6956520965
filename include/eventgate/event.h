/*
 * One published message: immutable, encoded once into its JSON form, shared by every subscriber of every worker.
 *
 * Reference-counted: the journals of the workers hold references; a subscriber never does (it holds a place in the
 * journal), so that a stuck reader pins nothing. The frames of other formats are built on first need by whichever
 * worker needs one first (see frame.h) and live as long as the event.
 */
#ifndef EG_EVENT_H
#define EG_EVENT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "eventgate/channel.h"
#include "eventgate/common.h"
#include "eventgate/cursor.h"

struct eg_frame;

struct eg_event {
    _Atomic uint32_t references;
    struct eg_channel *channel; /* a reference */
    bool durable;               /* a row of the log; else live */
    uint64_t arrived_us;        /* monotonic, of the turn in which the wake-up came that brought it; 0: not known */
    uint64_t place;             /* in the journal; counts up by one on a gateway, through all epochs of the set; 0: read
                                   from the log for those who are behind the journal */
    struct eg_cursor
        cursor; /* what a client that has had it resumes with; for a durable event, `position` is its own */
    struct eg_bytes payload; /* as published */
    struct eg_bytes json; /* {"id":…,"channel":…,"type":…?,"time":…,"trace":…?,"data":…}, one line, no line break */
    struct eg_bytes type;              /* durable; "" for none */
    struct eg_bytes data;              /* the part of `json` that is the value of "data" */
    struct eg_bytes trace;             /* the traceparent that came with it, a part of `json`; "" for none */
    struct eg_bytes time;              /* RFC 3339 with microseconds, UTC; the part of `json` without the quotes */
    _Atomic(struct eg_frame *) frames; /* list of those built so far */
};

/*
 * An event of a live channel, at the place that its cursor names. `payload`: at most 7,999 bytes as PostgreSQL
 * delivered it, copied; if it isn't valid UTF-8 (a database with another encoding), each bad byte becomes U+FFFD in the
 * JSON form. `received_us`: wall clock, microseconds since 1970. `data` is the payload's own bytes where they are JSON
 * (line breaks outside of strings become a space), else the payload as a JSON string. NULL: out of memory. Any thread.
 */
struct eg_event *eg_event_new_live(struct eg_channel *channel, const struct eg_cursor *cursor, const char *payload,
                                   size_t length, int64_t received_us);

/* A row of the log; all bytes are borrowed for the call. */
struct eg_event_row {
    struct eg_cursor
        cursor;            /* with the row's position, and the live half of its place where the set has live channels */
    uint64_t place;        /* 0: none */
    int64_t appended_us;   /* wall clock, microseconds since 1970 */
    struct eg_bytes data;  /* valid JSON, as PostgreSQL keeps it */
    struct eg_bytes type;  /* "" none; no control characters */
    struct eg_bytes trace; /* W3C traceparent, "" none */
};
/* An event of a durable channel. Its `id` is TAG.POSITION. NULL: out of memory. Any thread. */
struct eg_event *eg_event_new_durable(struct eg_channel *channel, const struct eg_event_row *row);

struct eg_event *eg_event_ref(struct eg_event *event);
void eg_event_unref(struct eg_event *event);

/* What the event counts against a journal's bound, in bytes: the struct, its payload and its JSON form. */
size_t eg_event_bytes(const struct eg_event *event);

#endif

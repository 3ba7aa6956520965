/*
 * Frames: the bytes of an event, a cursor, a gap or a heartbeat on a stream, for each format.
 *
 * An event's frame is built once for each format in use and shared by all subscribers. It carries the chunk framing of
 * HTTP/1.1 around it; a stream without chunks (HTTP/1.0) sends the inner part of the same memory. Everything else is
 * written into a buffer for one subscriber, unchunked; eg_frame_add_chunked() wraps it.
 */
#ifndef EG_FRAME_H
#define EG_FRAME_H

#include "eventgate/buffer.h"
#include "eventgate/cursor.h"
#include "eventgate/event.h"

enum eg_transport { EG_TRANSPORT_SSE, EG_TRANSPORT_NDJSON, EG_TRANSPORT_POLL };
enum eg_payload { EG_PAYLOAD_EVENT, EG_PAYLOAD_RAW, EG_PAYLOAD_CLOUDEVENTS };
/* What the SSE field `event:` of an event carries: nothing, the event's type (if it has one), or its channel. */
enum eg_event_name { EG_EVENT_NAME_NONE, EG_EVENT_NAME_TYPE, EG_EVENT_NAME_CHANNEL };

/* A format is fixed when the subscription is made. Raw and event names are for SSE only. */
struct eg_format {
    enum eg_transport transport;
    enum eg_payload payload;
    enum eg_event_name name;
};
bool eg_format_equal(struct eg_format a, struct eg_format b);

struct eg_frame {
    struct eg_frame *next; /* of the same event */
    struct eg_format format;
    size_t chunked_length; /* of `bytes`: chunk size line, inner part, CRLF */
    size_t inner_offset;
    size_t inner_length;
    char bytes[];
};

/*
 * The event's frame in `format`; borrowed, valid as long as the event. NULL: out of memory. Any thread; lock-free (two
 * threads that build the same frame at once agree on one).
 * SSE (https://html.spec.whatwg.org/multipage/server-sent-events.html): `event:` line if asked for, `data:` (the JSON
 * form, the raw payload with a line each for CR, LF and CRLF, or the CloudEvent), `id:` the event's full cursor, an
 * empty line. NDJSON: the JSON form or CloudEvent, LF. Poll: the JSON form or CloudEvent alone (an element of
 * "events"). CloudEvent: JSON format 1.0.2,
 * https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md: id, source "/channels/CHANNEL"
 * (percent-encoded), type (the event's, else "pg_eventgate.event"), subject CHANNEL, time, datacontenttype
 * application/json, data.
 */
const struct eg_frame *eg_event_frame(struct eg_event *event, struct eg_format format);

/* Appends the same for one subscriber, unchunked, with a cursor of its own. */
void eg_frame_add_event(struct eg_buffer *buffer, const struct eg_event *event, struct eg_format format,
                        const char *cursor);

enum eg_gap_reason {
    EG_GAP_RECONNECT, /* the gateway had to LISTEN anew, or the cursor is of another LISTEN session */
    EG_GAP_RETENTION, /* the journal no longer holds what lies behind the cursor, or the channel was not listened to */
    EG_GAP_SLOW,      /* the subscriber reads more slowly than the journal moves on */
    EG_GAP_FAILOVER,  /* the log lost its tail */
    EG_GAP_UNKNOWN,   /* the cursor cannot be read */
    EG_GAP_REASON_COUNT
};
const char *eg_gap_reason_name(enum eg_gap_reason reason);

struct eg_gap {
    enum eg_gap_reason reason;
    const char *
        from; /* the subscriber's cursor (valid UTF-8, at most EG_CURSOR_SIZE - 1 bytes), or NULL where there is none */
    const char *to; /* cursor up to which events may be missing */
    const char *id; /* cursor from which the stream goes on */
    const struct eg_bytes *channels;
    size_t channel_count;
};

/* All append unchunked bytes; poll has only eg_frame_add_gap (the gap's JSON object, without a key). */
void eg_frame_add_retry(struct eg_buffer *buffer, uint32_t retry_ms); /* SSE: `retry: N`, empty line */
void eg_frame_add_cursor(struct eg_buffer *buffer, enum eg_transport transport, const char *cursor); /* {"cursor":…} */
void eg_frame_add_gap(struct eg_buffer *buffer, enum eg_transport transport, const struct eg_gap *gap);
void eg_frame_add_heartbeat(struct eg_buffer *buffer,
                            enum eg_transport transport); /* SSE: `:` and an empty line; NDJSON: an empty line */

/* Appends `length` bytes as one HTTP/1.1 chunk (RFC 9112 section 7.1); nothing for length 0. */
void eg_frame_add_chunked(struct eg_buffer *buffer, const void *data, size_t length);

#endif

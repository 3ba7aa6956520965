/*
 * Frames of every format.
 *
 * The inner part of a frame is written into a buffer, then copied once between the chunk's size line and its CRLF. An
 * event's frames form a list that only grows: a new one is put in front by compare-and-swap, and whoever loses that
 * race against the same format uses the winner's.
 */
#include "eventgate/frame.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/utf8.h"

#define CHUNK_HEAD_SIZE 19 /* 16 hexadecimal digits, CRLF, NUL */

/* --- the bytes of one event --------------------------------------------------------------------------------------- */

static void add_bytes(struct eg_buffer *buffer, struct eg_bytes bytes)
{
    eg_buffer_add(buffer, bytes.data, bytes.length);
}

/* U+FFFD for each byte that is no part of valid UTF-8, which a database in SQL_ASCII lets through. */
static void add_utf8(struct eg_buffer *buffer, const char *text, size_t length)
{
    for (size_t valid; (valid = eg_utf8_valid_prefix(text, length)) < length; text += valid + 1, length -= valid + 1) {
        eg_buffer_add(buffer, text, valid);
        eg_buffer_add_string(buffer, "\xef\xbf\xbd");
    }
    eg_buffer_add(buffer, text, length);
}

/* A line of `data:` for each line of the payload; CR, LF and CRLF end lines. */
static void add_raw_data(struct eg_buffer *buffer, struct eg_bytes payload)
{
    const char *at = payload.data, *end = payload.data + payload.length;
    for (;;) {
        const char *stop = at;
        while (stop < end && *stop != '\r' && *stop != '\n')
            stop++;
        eg_buffer_add_string(buffer, "data: ");
        add_utf8(buffer, at, (size_t)(stop - at));
        eg_buffer_add_string(buffer, "\n");
        if (stop == end)
            return;
        at = stop + (stop + 1 < end && stop[0] == '\r' && stop[1] == '\n' ? 2 : 1);
    }
}

/* Percent-encoded for a URI path (RFC 3986), slashes kept. */
static void add_path(struct eg_buffer *buffer, const char *name, size_t length)
{
    static const char kept[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/!$&'()+;=:@";
    for (size_t i = 0; i < length; i++) {
        if (strchr(kept, name[i]))
            eg_buffer_add(buffer, &name[i], 1);
        else
            eg_buffer_add_format(buffer, "%%%02X", (unsigned char)name[i]);
    }
}

static void add_cloudevent(struct eg_buffer *buffer, const struct eg_event *event)
{
    const struct eg_channel *channel = event->channel;
    struct eg_buffer source = EG_BUFFER_INIT;
    eg_buffer_add_string(&source, "/channels/");
    add_path(&source, channel->name, channel->name_length);
    eg_buffer_add_string(buffer, "{\"specversion\":\"1.0\",\"id\":\"");
    if (event->durable)
        eg_buffer_add_format(buffer, "%s.%" PRIu64, event->cursor.tag, event->cursor.position);
    else
        eg_buffer_add_format(buffer, "%s-%" PRIu64, event->cursor.epoch.text, event->cursor.place);
    eg_buffer_add_string(buffer, "\",\"source\":");
    eg_buffer_add_json_string(buffer, source.data ? source.data : "", source.length);
    eg_buffer_add_string(buffer, ",\"type\":");
    if (event->type.length > 0)
        eg_buffer_add_json_string(buffer, event->type.data, event->type.length);
    else
        eg_buffer_add_string(buffer, "\"pg_eventgate.event\"");
    eg_buffer_add_string(buffer, ",\"subject\":");
    eg_buffer_add_json_string(buffer, channel->name, channel->name_length);
    eg_buffer_add_string(buffer, ",\"time\":\"");
    add_bytes(buffer, event->time);
    if (event->trace.length > 0) {
        eg_buffer_add_string(buffer, "\",\"traceparent\":\"");
        add_bytes(buffer, event->trace);
    }
    eg_buffer_add_string(buffer, "\",\"datacontenttype\":\"application/json\",\"data\":");
    add_bytes(buffer, event->data);
    eg_buffer_add_string(buffer, "}");
    buffer->failed = buffer->failed || source.failed;
    eg_buffer_done(&source);
}

static void add_document(struct eg_buffer *buffer, const struct eg_event *event, enum eg_payload payload)
{
    if (payload == EG_PAYLOAD_CLOUDEVENTS)
        add_cloudevent(buffer, event);
    else
        add_bytes(buffer, event->json);
}

static void add_name(struct eg_buffer *buffer, struct eg_bytes name)
{
    eg_buffer_add_string(buffer, "event: ");
    add_bytes(buffer, name);
    eg_buffer_add_string(buffer, "\n");
}

static void add_sse(struct eg_buffer *buffer, const struct eg_event *event, struct eg_format format, const char *cursor)
{
    if (format.name == EG_EVENT_NAME_CHANNEL)
        add_name(buffer, (struct eg_bytes){event->channel->name, event->channel->name_length});
    else if (format.name == EG_EVENT_NAME_TYPE && event->type.length > 0)
        add_name(buffer, event->type);
    if (format.payload == EG_PAYLOAD_RAW) {
        add_raw_data(buffer, event->payload);
    } else {
        eg_buffer_add_string(buffer, "data: ");
        add_document(buffer, event, format.payload);
        eg_buffer_add_string(buffer, "\n");
    }
    eg_buffer_add_string(buffer, "id: ");
    eg_buffer_add_string(buffer, cursor);
    eg_buffer_add_string(buffer, "\n\n");
}

void eg_frame_add_event(struct eg_buffer *buffer, const struct eg_event *event, struct eg_format format,
                        const char *cursor)
{
    if (format.transport == EG_TRANSPORT_SSE) {
        add_sse(buffer, event, format, cursor);
        return;
    }
    add_document(buffer, event, format.payload);
    if (format.transport == EG_TRANSPORT_NDJSON)
        eg_buffer_add_string(buffer, "\n");
}

/* --- shared frames ------------------------------------------------------------------------------------------------ */

bool eg_format_equal(struct eg_format a, struct eg_format b)
{
    return a.transport == b.transport && a.payload == b.payload && a.name == b.name;
}

static size_t chunk_head(char ret_text[CHUNK_HEAD_SIZE], size_t length)
{
    static const char digits[] = "0123456789abcdef";
    size_t count = 1;
    while (count < 2 * sizeof(length) && length >> 4 * count)
        count++;
    for (size_t i = 0; i < count; i++)
        ret_text[i] = digits[length >> 4 * (count - 1 - i) & 15];
    memcpy(ret_text + count, "\r\n", sizeof("\r\n"));
    return count + 2;
}

static struct eg_frame *frame_new(const struct eg_event *event, struct eg_format format)
{
    struct eg_buffer inner = EG_BUFFER_INIT;
    struct eg_frame *frame = NULL;
    char head[CHUNK_HEAD_SIZE], cursor[EG_CURSOR_SIZE];
    eg_cursor_format(&event->cursor, cursor);
    eg_frame_add_event(&inner, event, format, cursor);
    size_t head_length = chunk_head(head, inner.length);
    if (!inner.failed)
        frame = malloc(sizeof(*frame) + head_length + inner.length + 2);
    if (frame) {
        frame->next = NULL;
        frame->format = format;
        frame->inner_offset = head_length;
        frame->inner_length = inner.length;
        frame->chunked_length = head_length + inner.length + 2;
        memcpy(frame->bytes, head, head_length);
        memcpy(frame->bytes + head_length, inner.data, inner.length);
        memcpy(frame->bytes + head_length + inner.length, "\r\n", 2);
    }
    eg_buffer_done(&inner);
    return frame;
}

static const struct eg_frame *find(const struct eg_frame *frame, struct eg_format format)
{
    while (frame && !eg_format_equal(frame->format, format))
        frame = frame->next;
    return frame;
}

const struct eg_frame *eg_event_frame(struct eg_event *event, struct eg_format format)
{
    struct eg_frame *first = atomic_load_explicit(&event->frames, memory_order_acquire);
    const struct eg_frame *found = find(first, format);
    if (found)
        return found;
    struct eg_frame *frame = frame_new(event, format);
    if (!frame)
        return NULL;
    for (;;) {
        frame->next = first;
        if (atomic_compare_exchange_weak_explicit(&event->frames, &first, frame, memory_order_acq_rel,
                                                  memory_order_acquire))
            return frame;
        found = find(first, format);
        if (found) {
            free(frame);
            return found;
        }
    }
}

/* --- what is a subscriber's own ------------------------------------------------------------------------------------
 */

const char *eg_gap_reason_name(enum eg_gap_reason reason)
{
    static const char *const names[EG_GAP_REASON_COUNT] = {"reconnect", "retention", "slow", "failover", "unknown"};
    return names[reason];
}

void eg_frame_add_retry(struct eg_buffer *buffer, uint32_t retry_ms)
{
    eg_buffer_add_format(buffer, "retry: %" PRIu32 "\n\n", retry_ms);
}

void eg_frame_add_cursor(struct eg_buffer *buffer, enum eg_transport transport, const char *cursor)
{
    if (transport == EG_TRANSPORT_SSE)
        eg_buffer_add_format(buffer, "event: cursor\nid: %s\ndata: {\"cursor\":\"%s\"}\n\n", cursor, cursor);
    else
        eg_buffer_add_format(buffer, "{\"cursor\":\"%s\"}\n", cursor);
}

static void add_gap_object(struct eg_buffer *buffer, const struct eg_gap *gap)
{
    eg_buffer_add_format(buffer, "{\"reason\":\"%s\",\"from\":", eg_gap_reason_name(gap->reason));
    if (gap->from)
        eg_buffer_add_json_string(buffer, gap->from, strlen(gap->from));
    else
        eg_buffer_add_string(buffer, "null");
    eg_buffer_add_format(buffer, ",\"to\":\"%s\",\"channels\":[", gap->to);
    for (size_t i = 0; i < gap->channel_count; i++) {
        eg_buffer_add_string(buffer, i ? "," : "");
        eg_buffer_add_json_string(buffer, gap->channels[i].data, gap->channels[i].length);
    }
    eg_buffer_add_string(buffer, "]}");
}

void eg_frame_add_gap(struct eg_buffer *buffer, enum eg_transport transport, const struct eg_gap *gap)
{
    static const char *const before[] = {"data: ", "{\"gap\":", ""};
    static const char *const after[] = {"\n\n", "}\n", ""};
    if (transport == EG_TRANSPORT_SSE)
        eg_buffer_add_format(buffer, "event: gap\nid: %s\n", gap->id);
    eg_buffer_add_string(buffer, before[transport]);
    add_gap_object(buffer, gap);
    eg_buffer_add_string(buffer, after[transport]);
}

void eg_frame_add_heartbeat(struct eg_buffer *buffer, enum eg_transport transport)
{
    eg_buffer_add_string(buffer, transport == EG_TRANSPORT_SSE ? ":\n\n" : "\n");
}

void eg_frame_add_chunked(struct eg_buffer *buffer, const void *data, size_t length)
{
    char head[CHUNK_HEAD_SIZE];
    if (length == 0)
        return;
    eg_buffer_add(buffer, head, chunk_head(head, length));
    eg_buffer_add(buffer, data, length);
    eg_buffer_add_string(buffer, "\r\n");
}

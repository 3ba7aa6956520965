/*
 * A channel (the first line, if it can be one) and any payload, framed in every format, between the frames that a
 * stream has beside: a parser written from
 * https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation reads back the same
 * events, no more and no fewer.
 */
#include "eventgate/frame.h"

#include <stdlib.h>
#include <string.h>

#include "eventgate/pattern.h"
#include "eventgate/utf8.h"

#define ID "0~mzxw6ytboi-7"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool equals(const struct eg_buffer *buffer, const char *text, size_t length)
{
    return buffer->length == length && (length == 0 || memcmp(buffer->data, text, length) == 0);
}

/* --- the parser -------------------------------------------------------------------------------------------------- */

struct message {
    struct eg_buffer type, data, id;
};

struct parser {
    struct message messages[8];
    size_t count;
    struct eg_buffer type, data, id;
    unsigned long retry_ms;
};

static void dispatch(struct parser *parser)
{
    if (parser->data.length > 0) {
        check(parser->count < EG_ARRAY_LENGTH(parser->messages));
        struct message *message = &parser->messages[parser->count++];
        eg_buffer_add(&message->type, parser->type.data, parser->type.length);
        eg_buffer_add(&message->data, parser->data.data, parser->data.length - 1); /* without the last line feed */
        eg_buffer_add(&message->id, parser->id.data, parser->id.length);
    }
    eg_buffer_clear(&parser->type);
    eg_buffer_clear(&parser->data);
}

static void set(struct eg_buffer *buffer, const char *value, size_t length)
{
    eg_buffer_clear(buffer);
    eg_buffer_add(buffer, value, length);
}

static void take_field(struct parser *parser, const char *name, size_t name_length, const char *value, size_t length)
{
    if (name_length == 5 && memcmp(name, "event", 5) == 0) {
        set(&parser->type, value, length);
    } else if (name_length == 4 && memcmp(name, "data", 4) == 0) {
        eg_buffer_add(&parser->data, value, length);
        eg_buffer_add_string(&parser->data, "\n");
    } else if (name_length == 2 && memcmp(name, "id", 2) == 0) {
        if (!memchr(value, '\0', length))
            set(&parser->id, value, length);
    } else if (name_length == 5 && memcmp(name, "retry", 5) == 0) {
        parser->retry_ms = strtoul(value, NULL, 10);
    } else {
        abort(); /* there are no other fields */
    }
}

static void take_line(struct parser *parser, const char *line, size_t length)
{
    if (length == 0) {
        dispatch(parser);
        return;
    }
    const char *colon = memchr(line, ':', length), *value = colon + 1, *end = line + length;
    check(colon != NULL);
    if (colon == line)
        return; /* a comment */
    if (value < end && *value == ' ')
        value++;
    take_field(parser, line, (size_t)(colon - line), value, (size_t)(end - value));
}

static void parse(struct parser *parser, const char *at, size_t length)
{
    const char *end = at + length;
    while (at < end) {
        const char *stop = at;
        while (stop < end && *stop != '\r' && *stop != '\n')
            stop++;
        check(stop < end); /* every line is ended */
        take_line(parser, at, (size_t)(stop - at));
        at = stop + (stop[0] == '\r' && stop + 1 < end && stop[1] == '\n' ? 2 : 1);
    }
}

static void parser_done(struct parser *parser)
{
    for (size_t i = 0; i < parser->count; i++) {
        eg_buffer_done(&parser->messages[i].type);
        eg_buffer_done(&parser->messages[i].data);
        eg_buffer_done(&parser->messages[i].id);
    }
    eg_buffer_done(&parser->type);
    eg_buffer_done(&parser->data);
    eg_buffer_done(&parser->id);
}

/* --- what must come out of it ------------------------------------------------------------------------------------ */

/* How long the character of valid UTF-8 is that begins here, tried byte by byte; 0 if there is none. */
static size_t character(const char *text, size_t length)
{
    for (size_t tried = 1; tried <= 4 && tried <= length; tried++)
        if (eg_utf8_valid(text, tried))
            return tried;
    return 0;
}

/* A payload as it arrives: CR and CRLF have become LF, and what isn't UTF-8 U+FFFD. */
static struct eg_buffer normalised(struct eg_bytes payload)
{
    struct eg_buffer text = EG_BUFFER_INIT;
    for (size_t i = 0; i < payload.length;) {
        const char *at = payload.data + i;
        size_t length = character(at, payload.length - i);
        i += length ? length : 1;
        if (*at == '\r' && i < payload.length && payload.data[i] == '\n')
            continue;
        if (length)
            eg_buffer_add(&text, *at == '\r' ? "\n" : at, length);
        else
            eg_buffer_add_string(&text, "\xef\xbf\xbd");
    }
    return text;
}

static struct eg_bytes inner(const struct eg_frame *frame)
{
    char *end;
    check(strtoul(frame->bytes, &end, 16) == frame->inner_length && memcmp(end, "\r\n", 2) == 0);
    check(end + 2 == frame->bytes + frame->inner_offset);
    check(frame->chunked_length == frame->inner_offset + frame->inner_length + 2);
    check(memcmp(frame->bytes + frame->chunked_length - 2, "\r\n", 2) == 0);
    return (struct eg_bytes){frame->bytes + frame->inner_offset, frame->inner_length};
}

static struct eg_bytes document(struct eg_event *event, enum eg_payload payload)
{
    return inner(eg_event_frame(event, (struct eg_format){EG_TRANSPORT_POLL, payload, EG_EVENT_NAME_NONE}));
}

static void check_message(const struct message *message, const struct eg_event *event, struct eg_format format,
                          struct eg_bytes expected)
{
    bool named = format.name == EG_EVENT_NAME_CHANNEL;
    check(equals(&message->type, named ? event->channel->name : "", named ? event->channel->name_length : 0));
    check(equals(&message->data, expected.data, expected.length));
    check(equals(&message->id, ID, strlen(ID)));
}

static void check_sse(struct eg_event *event, struct eg_format format, struct eg_bytes expected)
{
    struct parser parser;
    struct eg_buffer stream = EG_BUFFER_INIT;
    struct eg_bytes frame = inner(eg_event_frame(event, format));
    struct eg_bytes channel = {event->channel->name, event->channel->name_length};
    memset(&parser, 0, sizeof(parser));
    eg_frame_add_retry(&stream, 1234);
    eg_frame_add_cursor(&stream, EG_TRANSPORT_SSE, "0");
    eg_buffer_add(&stream, frame.data, frame.length);
    eg_frame_add_heartbeat(&stream, EG_TRANSPORT_SSE);
    eg_frame_add_gap(&stream, EG_TRANSPORT_SSE, &(struct eg_gap){EG_GAP_SLOW, "0", ID, "0", &channel, 1});
    eg_buffer_add(&stream, frame.data, frame.length);
    parse(&parser, stream.data, stream.length);
    check(parser.retry_ms == 1234 && parser.count == 4);
    check(equals(&parser.messages[0].type, "cursor", 6) && equals(&parser.messages[0].data, "{\"cursor\":\"0\"}", 14));
    check_message(&parser.messages[1], event, format, expected);
    check(equals(&parser.messages[2].type, "gap", 3) && equals(&parser.messages[2].id, "0", 1));
    check_message(&parser.messages[3], event, format, expected);
    parser_done(&parser);
    eg_buffer_done(&stream);
}

static void check_ndjson(struct eg_event *event, enum eg_payload payload)
{
    struct eg_bytes expected = document(event, payload);
    struct eg_bytes line =
        inner(eg_event_frame(event, (struct eg_format){EG_TRANSPORT_NDJSON, payload, EG_EVENT_NAME_NONE}));
    check(line.length == expected.length + 1 && memcmp(line.data, expected.data, expected.length) == 0);
    check(memchr(line.data, '\n', line.length) == line.data + expected.length);
}

static void check_event(struct eg_event *event)
{
    struct eg_buffer raw = normalised(event->payload);
    for (int name = EG_EVENT_NAME_NONE; name <= EG_EVENT_NAME_CHANNEL; name++) {
        struct eg_format format = {EG_TRANSPORT_SSE, EG_PAYLOAD_RAW, (enum eg_event_name)name};
        check_sse(event, format, (struct eg_bytes){raw.data, raw.length});
        format.payload = EG_PAYLOAD_EVENT;
        check_sse(event, format, event->json);
        format.payload = EG_PAYLOAD_CLOUDEVENTS;
        check_sse(event, format, document(event, EG_PAYLOAD_CLOUDEVENTS));
    }
    check_ndjson(event, EG_PAYLOAD_EVENT);
    check_ndjson(event, EG_PAYLOAD_CLOUDEVENTS);
    eg_buffer_done(&raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *name = "a", *payload = (const char *)data, *newline = memchr(data, '\n', size);
    size_t name_length = 1, length = size;
    if (newline && !eg_channel_name_problem(payload, (size_t)(newline - payload))) {
        name = payload;
        name_length = (size_t)(newline - payload);
        length -= name_length + 1;
        payload = newline + 1;
    }
    struct eg_channel *channel = eg_channel_new(name, name_length, false, 1);
    struct eg_event *event = eg_event_new_live(
        channel, &(struct eg_cursor){.has_live = true, .epoch = {"mzxw6ytboi"}, .place = 7}, payload, length, 1);
    check_event(event);
    eg_event_unref(event);
    eg_channel_unref(channel);
    return 0;
}

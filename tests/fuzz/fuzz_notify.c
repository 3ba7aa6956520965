/*
 * A NOTIFY as it arrives: the first line is the channel's name, the rest the payload. Whatever bytes they are, as a
 * database in SQL_ASCII lets through, the frames are UTF-8 without control bytes in an event, and end where they
 * should.
 */
#include "eventgate/event.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/frame.h"
#include "eventgate/pattern.h"
#include "eventgate/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* One frame, in chunked form: its inner bytes are UTF-8, and only the transport's own line breaks stand in it. */
static void check_frame(struct eg_event *event, struct eg_format format)
{
    const struct eg_frame *frame = eg_event_frame(event, format);
    const char *inner = frame->bytes + frame->inner_offset;
    size_t length = frame->inner_length;
    check(eg_utf8_valid(inner, length) && !memchr(inner, '\0', length) && !memchr(inner, '\r', length));
    if (format.transport == EG_TRANSPORT_SSE)
        check(length > 2 && memcmp(inner + length - 2, "\n\n", 2) == 0 &&
              memmem(inner, length, "\n\n", 2) == inner + length - 2);
    if (format.transport == EG_TRANSPORT_NDJSON)
        check(memchr(inner, '\n', length) == inner + length - 1);
}

static void check_json(const struct eg_event *event, const char *name, size_t name_length)
{
    json_t *document = json_loadb(event->json.data, event->json.length, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, NULL);
    const json_t *channel = json_object_get(document, "channel");
    check(json_object_size(document) == 4 && json_string_length(channel) == name_length);
    check(memcmp(json_string_value(channel), name, name_length) == 0);
    json_decref(document);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *newline = memchr(text, '\n', size);
    size_t name_length = newline ? (size_t)(newline - text) : 0;
    if (!newline || eg_channel_name_problem(text, name_length))
        return 0;
    struct eg_channel *channel = eg_channel_new(text, name_length, false, 1);
    struct eg_event *event =
        eg_event_new_live(channel, &(struct eg_cursor){.has_live = true, .epoch = {"mzxw6ytboi"}, .place = 7},
                          newline + 1, size - name_length - 1, 1);
    check_json(event, text, name_length);
    for (int payload = EG_PAYLOAD_EVENT; payload <= EG_PAYLOAD_CLOUDEVENTS; payload++) {
        if (payload == EG_PAYLOAD_RAW && memchr(newline + 1, '\0', size - name_length - 1))
            continue; /* PostgreSQL's texts have none */
        check_frame(event, (struct eg_format){EG_TRANSPORT_SSE, (enum eg_payload)payload, EG_EVENT_NAME_CHANNEL});
        if (payload != EG_PAYLOAD_RAW)
            check_frame(event, (struct eg_format){EG_TRANSPORT_NDJSON, (enum eg_payload)payload, EG_EVENT_NAME_NONE});
    }
    eg_event_unref(event);
    eg_channel_unref(channel);
    return 0;
}

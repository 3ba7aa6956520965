/*
 * Events: one allocation with the payload and the JSON form behind the struct.
 */
#include "eventgate/event.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "eventgate/buffer.h"
#include "eventgate/frame.h"
#include "eventgate/json.h"
#include "eventgate/trace.h"

#define TIME_LENGTH 27    /* 2026-01-31T12:00:00.123456Z */
#define SECONDS_LENGTH 19 /* 2026-01-31T12:00:00 */

/* The second that was formatted last: most events of a thread share it. */
static void format_time(int64_t received_us, char ret_text[TIME_LENGTH])
{
    static _Thread_local time_t last_second = -1;
    static _Thread_local char last_text[SECONDS_LENGTH + 1];
    uint32_t fraction_us = (uint32_t)(received_us % 1000000);
    time_t second = (time_t)(received_us / 1000000);
    if (second != last_second) {
        struct tm calendar;
        gmtime_r(&second, &calendar);
        strftime(last_text, sizeof(last_text), "%Y-%m-%dT%H:%M:%S", &calendar);
        last_second = second;
    }
    memcpy(ret_text, last_text, SECONDS_LENGTH);
    ret_text[SECONDS_LENGTH] = '.';
    for (size_t at = TIME_LENGTH - 1; --at > SECONDS_LENGTH; fraction_us /= 10)
        ret_text[at] = (char)('0' + fraction_us % 10);
    ret_text[TIME_LENGTH - 1] = 'Z';
}

static void add_data(struct eg_buffer *buffer, const char *payload, size_t length)
{
    int error = eg_json_check(payload, length);
    if (error == -ENOMEM) /* it must not become a string for that */
        buffer->failed = true;
    else if (!error)
        eg_json_add_one_line(buffer, payload, length);
    else
        eg_buffer_add_json_string(buffer, payload, length);
}

/* What an event is made of; all borrowed. */
struct source {
    struct eg_channel *channel;
    const struct eg_cursor *cursor;
    uint64_t place;
    bool durable;
    struct eg_bytes payload, type, trace;
    int64_t time_us;
};

/* Where the parts of the JSON form are. */
struct parts {
    size_t time, trace, data, data_length;
};

static void add_id(struct eg_buffer *json, const struct source *source)
{
    if (!source->durable) {
        eg_buffer_add(json, source->cursor->epoch.text, EG_EPOCH_LENGTH);
        eg_buffer_add_string(json, "-");
        eg_buffer_add_unsigned(json, source->cursor->place);
        return;
    }
    eg_buffer_add_string(json, source->cursor->tag);
    eg_buffer_add_string(json, ".");
    eg_buffer_add_unsigned(json, source->cursor->position);
}

static void add_member(struct eg_buffer *json, const char *name, struct eg_bytes text)
{
    if (text.length == 0)
        return;
    eg_buffer_add_string(json, name);
    eg_buffer_add_json_string(json, text.data, text.length);
}

static struct parts add_json(struct eg_buffer *json, const struct source *source)
{
    struct parts parts;
    char time_text[TIME_LENGTH];
    format_time(source->time_us, time_text);
    eg_buffer_add_string(json, "{\"id\":\"");
    add_id(json, source);
    eg_buffer_add_string(json, "\",\"channel\":");
    eg_buffer_add_json_string(json, source->channel->name, source->channel->name_length);
    add_member(json, ",\"type\":", source->type);
    eg_buffer_add_string(json, ",\"time\":\"");
    parts.time = json->length;
    eg_buffer_add(json, time_text, TIME_LENGTH);
    eg_buffer_add_string(json, "\"");
    parts.trace = json->length + strlen(",\"trace\":\"");
    add_member(json, ",\"trace\":", source->trace);
    eg_buffer_add_string(json, ",\"data\":");
    parts.data = json->length;
    if (source->durable) /* PostgreSQL has seen to it that it is JSON */
        eg_json_add_one_line(json, source->payload.data, source->payload.length);
    else
        add_data(json, source->payload.data, source->payload.length);
    parts.data_length = json->length - parts.data;
    eg_buffer_add_string(json, "}");
    return parts;
}

/* Copies the bytes to `at`, and moves it behind them. */
static struct eg_bytes keep(char **at, struct eg_bytes bytes)
{
    struct eg_bytes kept = {*at, bytes.length};
    if (bytes.length > 0)
        memcpy(*at, bytes.data, bytes.length);
    *at += bytes.length;
    return kept;
}

static struct eg_event *event_new(const struct source *source)
{
    struct eg_event *event = NULL;
    struct eg_buffer json = EG_BUFFER_INIT;
    char trace[EG_TRACEPARENT_LENGTH + 1];
    struct parts parts = add_json(&json, source);
    if (!json.failed)
        event = malloc(sizeof(*event) + source->payload.length + source->type.length + json.length);
    if (event) {
        char *text = (char *)event + sizeof(*event);
        memset(event, 0, sizeof(*event));
        event->references = 1;
        event->channel = eg_channel_ref(source->channel);
        event->durable = source->durable;
        event->place = source->place;
        event->cursor = *source->cursor;
        event->payload = keep(&text, source->payload);
        event->type = keep(&text, source->type);
        event->json = keep(&text, (struct eg_bytes){json.data, json.length});
        event->time = (struct eg_bytes){event->json.data + parts.time, TIME_LENGTH};
        /* Anything else that SQL gave as its trace is for those who know what it means. */
        if (source->trace.length == EG_TRACEPARENT_LENGTH && eg_traceparent_read(source->trace, trace))
            event->trace = (struct eg_bytes){event->json.data + parts.trace, source->trace.length};
        event->data = (struct eg_bytes){event->json.data + parts.data, parts.data_length};
    }
    eg_buffer_done(&json);
    return event;
}

struct eg_event *eg_event_new_live(struct eg_channel *channel, const struct eg_cursor *cursor, const char *payload,
                                   size_t length, int64_t received_us)
{
    return event_new(&(struct source){.channel = channel,
                                      .cursor = cursor,
                                      .place = cursor->place,
                                      .payload = {payload, length},
                                      .time_us = received_us});
}

struct eg_event *eg_event_new_durable(struct eg_channel *channel, const struct eg_event_row *row)
{
    return event_new(&(struct source){.channel = channel,
                                      .cursor = &row->cursor,
                                      .place = row->place,
                                      .durable = true,
                                      .payload = row->data,
                                      .type = row->type,
                                      .trace = row->trace,
                                      .time_us = row->appended_us});
}

struct eg_event *eg_event_ref(struct eg_event *event)
{
    atomic_fetch_add_explicit(&event->references, 1, memory_order_relaxed);
    return event;
}

void eg_event_unref(struct eg_event *event)
{
    if (!event || atomic_fetch_sub_explicit(&event->references, 1, memory_order_acq_rel) != 1)
        return;
    struct eg_frame *frame = atomic_load_explicit(&event->frames, memory_order_relaxed);
    while (frame) {
        struct eg_frame *next = frame->next;
        free(frame);
        frame = next;
    }
    eg_channel_unref(event->channel);
    free(event);
}

size_t eg_event_bytes(const struct eg_event *event)
{
    return sizeof(*event) + event->payload.length + event->type.length + event->json.length;
}

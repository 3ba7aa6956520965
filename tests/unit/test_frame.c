/* The bytes of each frame in each format, chunk framing, and that threads agree on one frame. */
#include "eventgate/frame.h"

#include <pthread.h>
#include <stdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define AT_US INT64_C(1769860800123456) /* 2026-01-31T12:00:00.123456Z */

static const struct eg_format sse = {EG_TRANSPORT_SSE, EG_PAYLOAD_EVENT, EG_EVENT_NAME_NONE};

static struct eg_event *event_on(const char *name, const char *payload)
{
    struct eg_channel *channel = eg_channel_new(name, strlen(name), false, 1);
    assert_non_null(channel);
    struct eg_event *event =
        eg_event_new_live(channel, &(struct eg_cursor){.has_live = true, .epoch = {"mzxw6ytboi"}, .place = 42}, payload,
                          strlen(payload), AT_US);
    assert_non_null(event);
    eg_channel_unref(channel);
    return event;
}

static void assert_text(const char *data, size_t length, const char *text)
{
    if (length != strlen(text) || memcmp(data, text, length) != 0)
        fail_msg("%.*s\nis not\n%s", (int)length, data, text);
}

/* The frame's inner part is `text`, and its chunk is that with an exact size line before and CRLF behind it. */
static void assert_frame(struct eg_event *event, struct eg_format format, const char *text)
{
    char chunk[4096];
    const struct eg_frame *frame = eg_event_frame(event, format);
    assert_non_null(frame);
    assert_text(frame->bytes + frame->inner_offset, frame->inner_length, text);
    int length = snprintf(chunk, sizeof(chunk), "%zx\r\n%s\r\n", strlen(text), text);
    assert_in_range(length, 1, sizeof(chunk) - 1);
    assert_text(frame->bytes, frame->chunked_length, chunk);
}

#define JSON                                                                                                           \
    "{\"id\":\"mzxw6ytboi-42\",\"channel\":\"a/b\",\"time\":\"2026-01-31T12:00:00.123456Z\",\"data\":{\"x\":1}}"
#define CLOUDEVENT                                                                                                     \
    "{\"specversion\":\"1.0\",\"id\":\"mzxw6ytboi-42\",\"source\":\"/channels/a/b\",\"type\":\"pg_eventgate.event\","  \
    "\"subject\":\"a/b\",\"time\":\"2026-01-31T12:00:00.123456Z\",\"datacontenttype\":\"application/json\","           \
    "\"data\":{\"x\":1}}"
#define ID "id: 0~mzxw6ytboi-42\n\n"

static void each_format_has_its_frame(void **state)
{
    struct eg_event *event = event_on("a/b", "{\"x\":1}");
    (void)state;
    for (int repeat = 0; repeat < 2; repeat++) {
        assert_frame(event, sse, "data: " JSON "\n" ID);
        assert_frame(event, (struct eg_format){EG_TRANSPORT_SSE, EG_PAYLOAD_EVENT, EG_EVENT_NAME_CHANNEL},
                     "event: a/b\ndata: " JSON "\n" ID);
        assert_frame(event, (struct eg_format){EG_TRANSPORT_SSE, EG_PAYLOAD_EVENT, EG_EVENT_NAME_TYPE},
                     "data: " JSON "\n" ID); /* a live event has no type */
        assert_frame(event, (struct eg_format){EG_TRANSPORT_SSE, EG_PAYLOAD_RAW, EG_EVENT_NAME_NONE},
                     "data: {\"x\":1}\n" ID);
        assert_frame(event, (struct eg_format){EG_TRANSPORT_SSE, EG_PAYLOAD_RAW, EG_EVENT_NAME_CHANNEL},
                     "event: a/b\ndata: {\"x\":1}\n" ID);
        assert_frame(event, (struct eg_format){EG_TRANSPORT_SSE, EG_PAYLOAD_CLOUDEVENTS, EG_EVENT_NAME_NONE},
                     "data: " CLOUDEVENT "\n" ID);
        assert_frame(event, (struct eg_format){EG_TRANSPORT_NDJSON, EG_PAYLOAD_EVENT, EG_EVENT_NAME_NONE}, JSON "\n");
        assert_frame(event, (struct eg_format){EG_TRANSPORT_NDJSON, EG_PAYLOAD_CLOUDEVENTS, EG_EVENT_NAME_NONE},
                     CLOUDEVENT "\n");
        assert_frame(event, (struct eg_format){EG_TRANSPORT_POLL, EG_PAYLOAD_EVENT, EG_EVENT_NAME_NONE}, JSON);
        assert_frame(event, (struct eg_format){EG_TRANSPORT_POLL, EG_PAYLOAD_CLOUDEVENTS, EG_EVENT_NAME_NONE},
                     CLOUDEVENT);
    }
    eg_event_unref(event);
}

static void a_frame_is_built_once(void **state)
{
    struct eg_event *event = event_on("a", "1");
    struct eg_format ndjson = {EG_TRANSPORT_NDJSON, EG_PAYLOAD_EVENT, EG_EVENT_NAME_NONE};
    const struct eg_frame *first = eg_event_frame(event, sse), *other = eg_event_frame(event, ndjson);
    (void)state;
    assert_ptr_not_equal(first, other);
    assert_ptr_equal(eg_event_frame(event, sse), first);
    assert_ptr_equal(eg_event_frame(event, ndjson), other);
    eg_event_unref(event);
}

static void assert_raw(const char *payload, const char *lines)
{
    char text[256];
    struct eg_event *event = event_on("a", payload);
    snprintf(text, sizeof(text), "%s" ID, lines);
    assert_frame(event, (struct eg_format){EG_TRANSPORT_SSE, EG_PAYLOAD_RAW, EG_EVENT_NAME_NONE}, text);
    eg_event_unref(event);
}

static void raw_has_a_line_for_each_line(void **state)
{
    (void)state;
    assert_raw("", "data: \n");
    assert_raw("one", "data: one\n");
    assert_raw(" one", "data:  one\n");
    assert_raw("one\ntwo\rthree\r\nfour", "data: one\ndata: two\ndata: three\ndata: four\n");
    assert_raw("\n", "data: \ndata: \n");
    assert_raw("\r\n", "data: \ndata: \n");
    assert_raw("\n\r", "data: \ndata: \ndata: \n");
    assert_raw("one\n", "data: one\ndata: \n");
    assert_raw("a\xff\xc3"
               "b\xed\xa0\x80",
               "data: a\xef\xbf\xbd\xef\xbf\xbd"
               "b\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\n");
    assert_raw("one\r", "data: one\ndata: \n");
    assert_raw("id: 7\n\nretry: 1", "data: id: 7\ndata: \ndata: retry: 1\n");
}

static void the_source_is_a_path(void **state)
{
    struct eg_event *event = event_on("a b/\xc3\xbc%\"?#", "1");
    struct eg_format format = {EG_TRANSPORT_POLL, EG_PAYLOAD_CLOUDEVENTS, EG_EVENT_NAME_NONE};
    (void)state;
    const struct eg_frame *frame = eg_event_frame(event, format);
    char text[512];
    snprintf(text, sizeof(text), "%.*s", (int)frame->inner_length, frame->bytes + frame->inner_offset);
    assert_non_null(strstr(text, "\"source\":\"/channels/a%20b/%C3%BC%25%22%3F%23\""));
    assert_non_null(strstr(text, "\"subject\":\"a b/\xc3\xbc%\\\"?#\""));
    eg_event_unref(event);
}

static void the_chunk_size_is_exact_at_every_length(void **state)
{
    char payload[300];
    struct eg_format format = {EG_TRANSPORT_POLL, EG_PAYLOAD_EVENT, EG_EVENT_NAME_NONE};
    (void)state;
    for (size_t length = 0; length < sizeof(payload); length++) {
        memset(payload, 'x', length);
        payload[length] = '\0';
        struct eg_event *event = event_on("a", payload);
        const struct eg_frame *frame = eg_event_frame(event, format);
        char *end;
        assert_int_equal(strtoul(frame->bytes, &end, 16), frame->inner_length);
        assert_memory_equal(end, "\r\n", 2);
        assert_ptr_equal(end + 2, frame->bytes + frame->inner_offset);
        assert_int_not_equal(frame->bytes[0], '0');
        assert_int_equal(frame->chunked_length, frame->inner_offset + frame->inner_length + 2);
        eg_event_unref(event);
    }
}

static void assert_buffer(struct eg_buffer *buffer, const char *text)
{
    assert_false(buffer->failed);
    assert_text(buffer->data ? buffer->data : "", buffer->length, text);
    eg_buffer_done(buffer);
}

static void notes_of_each_transport(void **state)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    (void)state;
    eg_frame_add_retry(&buffer, 2500);
    assert_buffer(&buffer, "retry: 2500\n\n");
    eg_frame_add_cursor(&buffer, EG_TRANSPORT_SSE, "0~mzxw6ytboi-1");
    assert_buffer(&buffer, "event: cursor\nid: 0~mzxw6ytboi-1\ndata: {\"cursor\":\"0~mzxw6ytboi-1\"}\n\n");
    eg_frame_add_cursor(&buffer, EG_TRANSPORT_NDJSON, "0~mzxw6ytboi-1");
    assert_buffer(&buffer, "{\"cursor\":\"0~mzxw6ytboi-1\"}\n");
    eg_frame_add_heartbeat(&buffer, EG_TRANSPORT_SSE);
    assert_buffer(&buffer, ":\n\n");
    eg_frame_add_heartbeat(&buffer, EG_TRANSPORT_NDJSON);
    assert_buffer(&buffer, "\n");
}

static void gaps_of_each_transport(void **state)
{
    static const struct eg_bytes channels[] = {{"a/b", 3}, {"say \"c\"", 7}};
    struct eg_gap gap = {EG_GAP_SLOW, "0~mzxw6ytboi-1", "0~mzxw6ytboi-9", "0~mzxw6ytboi-5", channels, 2};
    struct eg_buffer buffer = EG_BUFFER_INIT;
#define GAP                                                                                                            \
    "{\"reason\":\"slow\",\"from\":\"0~mzxw6ytboi-1\",\"to\":\"0~mzxw6ytboi-9\",\"channels\":[\"a/b\","                \
    "\"say \\\"c\\\"\"]}"
    (void)state;
    eg_frame_add_gap(&buffer, EG_TRANSPORT_SSE, &gap);
    assert_buffer(&buffer, "event: gap\nid: 0~mzxw6ytboi-5\ndata: " GAP "\n\n");
    eg_frame_add_gap(&buffer, EG_TRANSPORT_NDJSON, &gap);
    assert_buffer(&buffer, "{\"gap\":" GAP "}\n");
    eg_frame_add_gap(&buffer, EG_TRANSPORT_POLL, &gap);
    assert_buffer(&buffer, GAP);

    gap = (struct eg_gap){.reason = EG_GAP_UNKNOWN, .from = "no\"n\nsense", .to = "0", .id = "0"};
    eg_frame_add_gap(&buffer, EG_TRANSPORT_POLL, &gap);
    assert_buffer(&buffer, "{\"reason\":\"unknown\",\"from\":\"no\\\"n\\nsense\",\"to\":\"0\",\"channels\":[]}");
    gap.from = NULL;
    eg_frame_add_gap(&buffer, EG_TRANSPORT_POLL, &gap);
    assert_buffer(&buffer, "{\"reason\":\"unknown\",\"from\":null,\"to\":\"0\",\"channels\":[]}");
}

static void every_reason_has_a_name(void **state)
{
    static const char *const names[] = {"reconnect", "retention", "slow", "failover", "unknown"};
    (void)state;
    assert_int_equal(EG_ARRAY_LENGTH(names), EG_GAP_REASON_COUNT);
    for (size_t i = 0; i < EG_GAP_REASON_COUNT; i++)
        assert_string_equal(eg_gap_reason_name((enum eg_gap_reason)i), names[i]);
}

static void chunks_wrap_bytes(void **state)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    (void)state;
    eg_frame_add_chunked(&buffer, "", 0);
    assert_int_equal(buffer.length, 0);
    eg_frame_add_chunked(&buffer, "0123456789abcdef", 16);
    eg_frame_add_chunked(&buffer, "\r\n", 2);
    assert_buffer(&buffer, "10\r\n0123456789abcdef\r\n2\r\n\r\n\r\n");
}

static struct eg_event *traced_event(const char *type, const char *trace)
{
    struct eg_channel *channel = eg_channel_new("orders/1", 8, false, 0);
    const struct eg_event_row row = {.cursor = {.tag = "k3x9qa", .has_position = true, .position = 8589934593},
                                     .appended_us = AT_US,
                                     .data = {"{\"a\":\n1e400}", 12},
                                     .type = {type, strlen(type)},
                                     .trace = {trace, strlen(trace)}};
    struct eg_event *event = eg_event_new_durable(channel, &row);
    eg_channel_unref(channel);
    return event;
}

static struct eg_event *row_event(const char *type)
{
    return traced_event(type, "");
}

static void a_durable_event_has_its_position_and_type(void **state)
{
    struct eg_event *event = row_event("insert");
    struct eg_buffer own = EG_BUFFER_INIT;
    const struct eg_format format = {EG_TRANSPORT_SSE, EG_PAYLOAD_EVENT, EG_EVENT_NAME_TYPE};
    (void)state;
    assert_frame(event, format,
                 "event: insert\ndata: {\"id\":\"k3x9qa.8589934593\",\"channel\":\"orders/1\",\"type\":\"insert\","
                 "\"time\":\"2026-01-31T12:00:00.123456Z\",\"data\":{\"a\": 1e400}}\nid: k3x9qa.8589934593\n\n");
    eg_frame_add_event(&own, event, (struct eg_format){EG_TRANSPORT_SSE, EG_PAYLOAD_RAW, EG_EVENT_NAME_CHANNEL},
                       "k3x9qa.8589934593~mzxw6ytboi-7");
    assert_buffer(&own, "event: orders/1\ndata: {\"a\":\ndata: 1e400}\nid: k3x9qa.8589934593~mzxw6ytboi-7\n\n");
    eg_event_unref(event);
    event = row_event("");
    assert_frame(event, format,
                 "data: {\"id\":\"k3x9qa.8589934593\",\"channel\":\"orders/1\","
                 "\"time\":\"2026-01-31T12:00:00.123456Z\",\"data\":{\"a\": 1e400}}\nid: k3x9qa.8589934593\n\n");
    eg_event_unref(event);
}

static void a_durable_cloudevent_has_its_type(void **state)
{
    struct eg_event *event = row_event("insert");
    (void)state;
    assert_frame(event, (struct eg_format){EG_TRANSPORT_NDJSON, EG_PAYLOAD_CLOUDEVENTS, EG_EVENT_NAME_NONE},
                 "{\"specversion\":\"1.0\",\"id\":\"k3x9qa.8589934593\",\"source\":\"/channels/orders/1\","
                 "\"type\":\"insert\",\"subject\":\"orders/1\",\"time\":\"2026-01-31T12:00:00.123456Z\","
                 "\"datacontenttype\":\"application/json\",\"data\":{\"a\": 1e400}}\n");
    eg_event_unref(event);
}

static void a_cloudevent_has_the_trace(void **state)
{
    static const char trace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const struct eg_format cloudevents = {EG_TRANSPORT_NDJSON, EG_PAYLOAD_CLOUDEVENTS, EG_EVENT_NAME_NONE};
    struct eg_event *event = traced_event("insert", trace);
    (void)state;
    assert_frame(event, cloudevents,
                 "{\"specversion\":\"1.0\",\"id\":\"k3x9qa.8589934593\",\"source\":\"/channels/orders/1\","
                 "\"type\":\"insert\",\"subject\":\"orders/1\",\"time\":\"2026-01-31T12:00:00.123456Z\","
                 "\"traceparent\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\","
                 "\"datacontenttype\":\"application/json\",\"data\":{\"a\": 1e400}}\n");
    assert_frame(event, (struct eg_format){EG_TRANSPORT_NDJSON, EG_PAYLOAD_EVENT, EG_EVENT_NAME_NONE},
                 "{\"id\":\"k3x9qa.8589934593\",\"channel\":\"orders/1\",\"type\":\"insert\","
                 "\"time\":\"2026-01-31T12:00:00.123456Z\","
                 "\"trace\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\",\"data\":{\"a\": 1e400}}\n");
    eg_event_unref(event);
    event = traced_event("insert", "what SQL \"gave\""); /* is no traceparent, which a CloudEvent's has to be */
    assert_int_equal(event->trace.length, 0);
    assert_frame(event, (struct eg_format){EG_TRANSPORT_NDJSON, EG_PAYLOAD_EVENT, EG_EVENT_NAME_NONE},
                 "{\"id\":\"k3x9qa.8589934593\",\"channel\":\"orders/1\",\"type\":\"insert\","
                 "\"time\":\"2026-01-31T12:00:00.123456Z\",\"trace\":\"what SQL \\\"gave\\\"\","
                 "\"data\":{\"a\": 1e400}}\n");
    eg_event_unref(event);
}

/* --- threads --- */

struct race {
    struct eg_event *event;
    pthread_barrier_t *start;
    const struct eg_frame *frames[6];
};

static struct eg_format format_number(size_t number)
{
    return (struct eg_format){(enum eg_transport)(number % 3), number < 3 ? EG_PAYLOAD_EVENT : EG_PAYLOAD_CLOUDEVENTS,
                              EG_EVENT_NAME_NONE};
}

static void *ask_for_frames(void *argument)
{
    struct race *race = argument;
    pthread_barrier_wait(race->start);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(race->frames); i++)
        race->frames[i] = eg_event_frame(race->event, format_number(i));
    return NULL;
}

static void threads_agree_on_one_frame(void **state)
{
    enum { THREADS = 4, ROUNDS = 200 };
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct eg_event *event = event_on("a", "{\"x\":1}");
        pthread_t threads[THREADS];
        pthread_barrier_t start;
        struct race races[THREADS];
        pthread_barrier_init(&start, NULL, THREADS);
        for (int i = 0; i < THREADS; i++) {
            races[i] = (struct race){.event = event, .start = &start};
            assert_int_equal(pthread_create(&threads[i], NULL, ask_for_frames, &races[i]), 0);
        }
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        for (size_t i = 0; i < EG_ARRAY_LENGTH(races[0].frames); i++) {
            assert_non_null(races[0].frames[i]);
            for (int other = 1; other < THREADS; other++)
                assert_ptr_equal(races[other].frames[i], races[0].frames[i]);
        }
        pthread_barrier_destroy(&start);
        eg_event_unref(event);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_format_has_its_frame),
        cmocka_unit_test(a_frame_is_built_once),
        cmocka_unit_test(raw_has_a_line_for_each_line),
        cmocka_unit_test(the_source_is_a_path),
        cmocka_unit_test(the_chunk_size_is_exact_at_every_length),
        cmocka_unit_test(notes_of_each_transport),
        cmocka_unit_test(gaps_of_each_transport),
        cmocka_unit_test(every_reason_has_a_name),
        cmocka_unit_test(chunks_wrap_bytes),
        cmocka_unit_test(a_durable_event_has_its_position_and_type),
        cmocka_unit_test(a_durable_cloudevent_has_its_type),
        cmocka_unit_test(a_cloudevent_has_the_trace),
        cmocka_unit_test(threads_agree_on_one_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

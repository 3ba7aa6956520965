/* Reading an event stream: the examples of the standard, in one go and byte by byte, and what it must not be fooled by.
 */
#include "eventgate/sse.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct seen {
    char text[2000]; /* "TYPE|DATA|ID;" of each event */
};

static void note(void *context, const struct eg_sse_event *event)
{
    struct seen *seen = context;
    size_t length = strlen(seen->text);
    snprintf(seen->text + length, sizeof(seen->text) - length, "%s|%.*s|%s;", event->type, (int)event->data.length,
             event->data.data ? event->data.data : "", event->id);
}

/* The whole in pieces of `step` bytes gives the same. */
static void check(const char *stream, size_t length, const char *expected)
{
    for (size_t step = 1; step <= length; step = step < 8 ? step + 1 : length == step ? length + 1 : length) {
        struct seen seen = {""};
        struct eg_sse sse = {.dispatch = note, .context = &seen};
        for (size_t at = 0; at < length; at += step)
            assert_int_equal(eg_sse_feed(&sse, stream + at, length - at < step ? length - at : step), 0);
        assert_string_equal(seen.text, expected);
        eg_sse_done(&sse);
    }
}

static void events(void **state)
{
    (void)state;
    static const struct {
        const char *stream, *expected;
    } rows[] = {
        {"data: YHOO\ndata: +2\ndata: 10\n\n", "message|YHOO\n+2\n10|;"},
        {": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
         "message|first event|1;message|second event|;message| third event|;"},
        {"data\n\ndata\ndata\n\ndata:", "message||;message|\n|;"},
        {"data:test\n\ndata: test\n\n", "message|test|;message|test|;"},
        {"event: gap\r\ndata: {}\r\nid: a~b-1\r\n\r\n", "gap|{}|a~b-1;"},
        {"data: a\rdata: b\r\rdata: c\n\r", "message|a\nb|;message|c|;"},
        {"\xEF\xBB\xBF"
         "data: x\n\n",
         "message|x|;"},
        {"id: 7\n\ndata: x\n\n", "message|x|7;"},
        {"event: a\n\ndata: x\n\n", "message|x|;"},
        {"datas: y\ndata : z\n:data: w\ndata: x\n\n", "message|x|;"},
    };
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++)
        check(rows[i].stream, strlen(rows[i].stream), rows[i].expected);
    check("id: a\0b\ndata: x\n\n", 17, "message|x|;"); /* an id with a NUL doesn't count */
}

static void reconnection_time(void **state)
{
    static const char stream[] = "retry: 10\nretry: ten\nretry: 3000\n\nretry: 99999999999\nretry: -1\nretry:\n";
    struct eg_sse sse = {.dispatch = note};
    (void)state;
    assert_int_equal(eg_sse_feed(&sse, stream, strlen(stream)), 0);
    assert_int_equal(sse.retry_ms, 3000);
    eg_sse_done(&sse);
}

static void a_new_connection_begins_a_new_event_and_keeps_the_id(void **state)
{
    struct seen seen = {""};
    struct eg_sse sse = {.dispatch = note, .context = &seen};
    (void)state;
    assert_int_equal(eg_sse_feed(&sse, "data: a\nid: 1\n\nevent: b\ndata: lo", 32), 0);
    eg_sse_restart(&sse);
    assert_int_equal(eg_sse_feed(&sse, "data: c\n\n", 9), 0);
    assert_string_equal(seen.text, "message|a|1;message|c|1;");
    eg_sse_done(&sse);
}

static void long_ids_do_not_count(void **state)
{
    char stream[600];
    struct seen seen = {""};
    struct eg_sse sse = {.dispatch = note, .context = &seen};
    (void)state;
    memset(stream, 'a', sizeof(stream));
    memcpy(stream, "id: ", 4);
    memcpy(stream + sizeof(stream) - 10, "\ndata: x\n\n", 10);
    assert_int_equal(eg_sse_feed(&sse, stream, sizeof(stream)), 0);
    assert_string_equal(seen.text, "message|x|;");
    eg_sse_done(&sse);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events),
        cmocka_unit_test(reconnection_time),
        cmocka_unit_test(a_new_connection_begins_a_new_event_and_keeps_the_id),
        cmocka_unit_test(long_ids_do_not_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

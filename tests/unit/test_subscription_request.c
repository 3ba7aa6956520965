/* What a subscription asks for. */
#include "eventgate/request.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define CURSOR "0~abcdefghij-7"

static int read_request(const char *target, const char *accept, const char *last_event_id,
                        struct eg_subscription_request *request, struct eg_refusal *refusal)
{
    static struct eg_target parsed; /* names are borrowed from it */
    struct eg_bytes channel;
    eg_target_done(&parsed);
    assert_int_equal(eg_target_parse(target, strlen(target), &parsed, refusal), 0);
    eg_route_find(parsed.path, &channel);
    int error = eg_subscription_request_read(&parsed, channel, accept, last_event_id, 3, request, refusal);
    if (error)
        eg_target_done(&parsed);
    return error;
}

static void release(struct eg_subscription_request *request)
{
    eg_subscription_request_done(request);
    struct eg_subscription_request other;
    struct eg_refusal refusal;
    assert_int_equal(read_request("/events", NULL, NULL, &other, &refusal), -EINVAL); /* frees the target */
}

static void the_transport_follows_from_format_wait_and_accept(void **state)
{
    static const struct {
        const char *target, *accept;
        enum eg_transport transport;
    } rows[] = {
        {"/channels/a", NULL, EG_TRANSPORT_SSE},
        {"/channels/a", "*/*", EG_TRANSPORT_SSE},
        {"/channels/a", "text/*", EG_TRANSPORT_SSE},
        {"/channels/a", "text/html,application/xhtml+xml,*/*;q=0.8", EG_TRANSPORT_SSE},
        {"/channels/a", "text/event-stream", EG_TRANSPORT_SSE},
        {"/channels/a", "application/x-ndjson", EG_TRANSPORT_NDJSON},
        {"/channels/a", "application/json", EG_TRANSPORT_POLL},
        {"/channels/a", "application/json;q=0.5, text/event-stream;q=0.4", EG_TRANSPORT_POLL},
        {"/channels/a", "text/event-stream;q=0, */*", EG_TRANSPORT_NDJSON},
        {"/channels/a", "application/*;q=0.9, application/x-ndjson;q=0", EG_TRANSPORT_NDJSON},
        {"/channels/a?format=ndjson", "application/json", EG_TRANSPORT_NDJSON},
        {"/channels/a?wait=1", "text/event-stream", EG_TRANSPORT_POLL},
        {"/channels/a?format=poll", "image/png", EG_TRANSPORT_POLL},
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        struct eg_subscription_request request;
        struct eg_refusal refusal;
        assert_int_equal(read_request(rows[i].target, rows[i].accept, NULL, &request, &refusal), 0);
        assert_int_equal(request.format.transport, rows[i].transport);
        release(&request);
    }
}

static void what_is_wrong_is_refused(void **state)
{
    static const struct {
        const char *target, *accept;
        unsigned status;
        const char *says;
    } rows[] = {
        {"/events", NULL, 400, "channel"},
        {"/channels/a?format=xml", NULL, 400, "sse, ndjson, or poll"},
        {"/channels/a?payload=x", NULL, 400, "cloudevents"},
        {"/channels/a?event=x", NULL, 400, "type"},
        {"/channels/a?after=x", NULL, 400, "earliest"},
        {"/channels/a?wait=61", NULL, 400, "60"},
        {"/channels/a?wait=-1", NULL, 400, "60"},
        {"/channels/a?wait=1.5", NULL, 400, "60"},
        {"/channels/a?wait=", NULL, 400, "60"},
        {"/channels/a?format=poll&limit=0", NULL, 400, "1000"},
        {"/channels/a?format=poll&limit=1001", NULL, 400, "1000"},
        {"/channels/a?limit=1", NULL, 400, "poll"},
        {"/channels/a?format=sse&wait=1", NULL, 400, "poll"},
        {"/channels/a?format=poll&payload=raw", NULL, 400, "sse"},
        {"/channels/a?format=ndjson&event=channel", NULL, 400, "sse"},
        {"/channels/a?format=sse&format=sse", NULL, 400, "twice"},
        {"/channels/a?lastEventId=1&lastEventId=2", NULL, 400, "twice"},
        {"/channels/a?nonsense=1", NULL, 400, "nonsense"},
        {"/channels/a,b", NULL, 400, "comma"},
        {"/events?channel=", NULL, 400, "empty"},
        {"/events?channel=a&channel=b&channel=c&channel=d", NULL, 400, "3"},
        {"/channels/a", "image/png", 406, "text/event-stream"},
        {"/channels/a", "text/event-stream;q=0", 406, "text/event-stream"},
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        struct eg_subscription_request request;
        struct eg_refusal refusal;
        assert_int_equal(read_request(rows[i].target, rows[i].accept, NULL, &request, &refusal), -EINVAL);
        assert_int_equal(eg_problem_status(refusal.problem), rows[i].status);
        assert_non_null(strstr(refusal.detail, rows[i].says));
    }
}

static void channels_are_gathered_without_repeats(void **state)
{
    struct eg_subscription_request request;
    struct eg_refusal refusal;
    (void)state;
    assert_int_equal(
        read_request("/events?channel=a&channel=b/*&channel=a&channel=c%2Fd", NULL, NULL, &request, &refusal), 0);
    assert_int_equal(request.channel_count, 3);
    assert_memory_equal(request.channels[1].data, "b/*", 3);
    assert_memory_equal(request.channels[2].data, "c/d", 3);
    assert_int_equal(request.after, EG_AFTER_NOW);
    assert_false(request.has_cursor);
    release(&request);
}

static void last_event_id_goes_before_after(void **state)
{
    static const struct {
        const char *target, *last_event_id;
        enum eg_after after;
        const char *text;
    } rows[] = {
        {"/channels/a?after=earliest", NULL, EG_AFTER_EARLIEST, ""},
        {"/channels/a?after=" CURSOR, NULL, EG_AFTER_CURSOR, CURSOR},
        {"/channels/a?after=now", CURSOR, EG_AFTER_CURSOR, CURSOR},
        {"/channels/a?after=" CURSOR, "", EG_AFTER_CURSOR, CURSOR},
        {"/channels/a?after=" CURSOR, "nonsense", EG_AFTER_NONSENSE, ""},
        {"/channels/a", "abcdefghij-7", EG_AFTER_CURSOR, "abcdefghij-7"},
        {"/channels/a?lastEventId=" CURSOR, NULL, EG_AFTER_CURSOR, CURSOR},
        {"/channels/a?lastEventId=" CURSOR "&after=earliest", NULL, EG_AFTER_CURSOR, CURSOR},
        {"/channels/a?after=earliest&lastEventId=" CURSOR, "", EG_AFTER_CURSOR, CURSOR},
        {"/channels/a?lastEventId=" CURSOR, "abcdefghij-7", EG_AFTER_CURSOR, "abcdefghij-7"},
        {"/channels/a?lastEventId=&after=earliest", NULL, EG_AFTER_EARLIEST, ""},
        {"/channels/a?lastEventId=nonsense&after=earliest", NULL, EG_AFTER_NONSENSE, ""},
        {"/channels/a?lastEventId=earliest", NULL, EG_AFTER_EARLIEST, ""},
        {"/channels/a?after=" CURSOR, "earliest", EG_AFTER_EARLIEST, ""},
        {"/channels/a", "earliest ", EG_AFTER_NONSENSE, ""},
        {"/channels/a?lastEventId=now", NULL, EG_AFTER_NONSENSE, ""},
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        struct eg_subscription_request request;
        struct eg_refusal refusal;
        assert_int_equal(read_request(rows[i].target, NULL, rows[i].last_event_id, &request, &refusal), 0);
        assert_int_equal(request.after, rows[i].after);
        assert_string_equal(request.cursor_text, rows[i].text);
        assert_int_equal(request.has_cursor, rows[i].after == EG_AFTER_CURSOR || rows[i].after == EG_AFTER_NONSENSE);
        release(&request);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_transport_follows_from_format_wait_and_accept),
        cmocka_unit_test(what_is_wrong_is_refused),
        cmocka_unit_test(channels_are_gathered_without_repeats),
        cmocka_unit_test(last_event_id_goes_before_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A LISTEN session against a real PostgreSQL: what the workers are told, and in which order. */
#include "eventgate/listener.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "postgres_fixture.h"

#define ITEMS_MAX 1000

/* What has been fed, and what is waited for. */
struct seen {
    struct eg_loop *loop;
    struct eg_config *config;
    struct eg_set_status status;
    struct eg_metrics *metrics;
    struct eg_listener *listener;
    struct eg_feed_item items[ITEMS_MAX];
    int workers[ITEMS_MAX];
    size_t count;
    enum eg_feed_kind awaited;
    bool arrived;
};

static void feed(void *context, int worker, const struct eg_feed_item *items, size_t count)
{
    struct seen *seen = context;
    struct eg_epoch epoch;
    uint64_t head;
    eg_set_status_head(&seen->status, &epoch, &head);
    for (size_t i = 0; i < count; i++) {
        assert_true(seen->count < ITEMS_MAX);
        assert_true(items[i].place <= head); /* stored before it is fed */
        seen->items[seen->count] = items[i];
        if (items[i].event)
            eg_event_ref(items[i].event);
        if (items[i].channel)
            eg_channel_ref(items[i].channel);
        seen->items[seen->count].name = items[i].name ? strdup(items[i].name) : NULL;
        seen->workers[seen->count++] = worker;
        seen->arrived = seen->arrived || items[i].kind == seen->awaited;
    }
}

static const struct eg_feed_item *await(struct seen *seen, enum eg_feed_kind kind)
{
    seen->awaited = kind;
    seen->arrived = false;
    turn_until(seen->loop, &seen->arrived);
    return &seen->items[seen->count - 1];
}

static struct seen *open_listener(const char *live, const char *more)
{
    struct seen *seen = calloc(1, sizeof(*seen));
    assert_non_null(seen);
    seen->config = postgres_config(live, more);
    seen->loop = eg_loop_new();
    seen->metrics = eg_metrics_new("unit");
    assert_int_equal(eg_set_status_init(&seen->status), 0);
    seen->listener = eg_listener_new(seen->loop, &seen->config->sets[0], 2, &seen->status, seen->metrics,
                                     (struct eg_listener_sink){feed, seen});
    assert_non_null(seen->listener);
    return seen;
}

static void close_listener(struct seen *seen)
{
    eg_listener_free(seen->listener);
    for (size_t i = 0; i < seen->count; i++)
        eg_feed_item_done(&seen->items[i]);
    eg_set_status_done(&seen->status);
    eg_metrics_free(seen->metrics);
    eg_loop_free(seen->loop);
    eg_config_free(seen->config);
    free(seen);
}

static void a_session_begins_with_a_break_and_its_listed_channels(void **state)
{
    (void)state;
    struct seen *seen = open_listener("a, \"q\"uoted, a/B", "");
    await(seen, EG_FEED_LISTENED);
    assert_int_equal(seen->items[0].kind, EG_FEED_BREAK);
    assert_int_equal(seen->items[0].place, 1);
    assert_int_equal(seen->count, 4);
    for (size_t i = 1; i < seen->count; i++) {
        assert_int_equal(seen->items[i].kind, EG_FEED_LISTENED);
        assert_int_equal(seen->items[i].place, 1);
        assert_int_equal(seen->workers[i], -1);
        assert_true(seen->items[i].channel->permanent);
    }
    assert_true(eg_set_status_read(&seen->status).listening);
    postgres_run("postgres", "NOTIFY \"\"\"q\"\"uoted\", 'one'; NOTIFY \"a/B\", 'two'; NOTIFY \"a/b\", 'not ours';");
    while (seen->count < 6)
        await(seen, EG_FEED_EVENT);
    assert_string_equal(seen->items[4].event->channel->name, "\"q\"uoted");
    assert_memory_equal(seen->items[4].event->payload.data, "one", 3);
    assert_int_equal(seen->items[4].place, 2);
    assert_string_equal(seen->items[5].event->channel->name, "a/B");
    assert_int_equal(seen->items[5].place, 3);
    close_listener(seen);
}

static void events_come_in_commit_order_without_holes(void **state)
{
    (void)state;
    struct seen *seen = open_listener("a", "");
    await(seen, EG_FEED_LISTENED);
    postgres_run("postgres", "SELECT pg_notify('a', n::text) FROM generate_series(1, 500) n;");
    while (seen->count < 502)
        await(seen, EG_FEED_EVENT);
    for (size_t i = 2; i < 502; i++) {
        char expected[8];
        int length = snprintf(expected, sizeof(expected), "%zu", i - 1);
        assert_int_equal(seen->items[i].place, i);
        assert_int_equal(seen->items[i].event->payload.length, length);
        assert_memory_equal(seen->items[i].event->payload.data, expected, (size_t)length);
    }
    close_listener(seen);
}

static void a_want_is_answered_once_it_is_listened_to(void **state)
{
    (void)state;
    struct seen *seen = open_listener("p/*", "linger = 0s\n");
    await(seen, EG_FEED_BREAK);
    eg_listener_want(seen->listener, 1, "p/x", 3, 7);
    const struct eg_feed_item *answer = await(seen, EG_FEED_LISTENED);
    assert_int_equal(answer->want, 7);
    assert_int_equal(seen->workers[seen->count - 1], 1);
    assert_int_equal(seen->workers[seen->count - 2], -1); /* all are told of the channel */
    uint64_t since = answer->place;
    struct eg_channel *channel = answer->channel;
    assert_true(since > 1); /* a place of its own */

    size_t before = seen->count;
    eg_listener_want(seen->listener, 0, "p/x", 3, 8);
    assert_int_equal(seen->count, before + 1); /* at once */
    assert_ptr_equal(seen->items[before].channel, channel);
    assert_int_equal(seen->items[before].place, since);
    assert_int_equal(seen->items[before].want, 8);

    eg_listener_unwant(seen->listener, 0, "p/x", 3);
    eg_listener_unwant(seen->listener, 1, "p/x", 3);
    await(seen, EG_FEED_UNLISTENED);
    eg_listener_want(seen->listener, 1, "p/x", 3, 9);
    answer = await(seen, EG_FEED_LISTENED);
    assert_int_equal(answer->want, 9);
    assert_ptr_not_equal(answer->channel, channel);
    assert_true(answer->place > since);
    close_listener(seen);
}

static void a_want_while_the_channel_is_leaving_is_answered_by_a_new_listen(void **state)
{
    (void)state;
    struct seen *seen = open_listener("p/*", "linger = 0s\n");
    await(seen, EG_FEED_BREAK);
    eg_listener_want(seen->listener, 0, "p/x", 3, 1);
    await(seen, EG_FEED_LISTENED);
    eg_listener_unwant(seen->listener, 0, "p/x", 3); /* sends UNLISTEN at once */
    eg_listener_want(seen->listener, 0, "p/x", 3, 2);
    const struct eg_feed_item *last = await(seen, EG_FEED_UNLISTENED);
    assert_int_equal(last->kind, EG_FEED_UNLISTENED);
    last = await(seen, EG_FEED_LISTENED);
    assert_int_equal(last->want, 2);
    close_listener(seen);
}

static void more_channels_than_allowed_are_refused(void **state)
{
    (void)state;
    struct seen *seen = open_listener("p/*", "max_channels = 1\n");
    await(seen, EG_FEED_BREAK);
    eg_listener_want(seen->listener, 0, "p/x", 3, 1);
    eg_listener_want(seen->listener, 0, "p/y", 3, 2);
    const struct eg_feed_item *refusal = &seen->items[seen->count - 1];
    assert_int_equal(refusal->kind, EG_FEED_REFUSED);
    assert_int_equal(refusal->want, 2);
    assert_string_equal(refusal->name, "p/y");
    assert_non_null(strstr(refusal->refusal, "max_channels"));
    close_listener(seen);
}

static void a_lost_session_is_followed_by_a_break_with_a_new_epoch(void **state)
{
    (void)state;
    struct seen *seen = open_listener("a, p/*", "");
    await(seen, EG_FEED_LISTENED);
    eg_listener_want(seen->listener, 0, "p/x", 3, 1);
    await(seen, EG_FEED_LISTENED);
    struct eg_epoch first = seen->items[0].epoch;
    postgres_halt();
    await(seen, EG_FEED_LOST);
    assert_false(eg_set_status_read(&seen->status).listening);
    eg_listener_want(seen->listener, 1, "p/y", 3, 2); /* answered after the break */
    postgres_resume();
    const struct eg_feed_item *answer = await(seen, EG_FEED_LISTENED);
    assert_int_equal(answer->want, 2);
    size_t at = seen->count;
    while (seen->items[--at].kind != EG_FEED_BREAK)
        assert_true(at > 0);
    assert_string_not_equal(seen->items[at].epoch.text, first.text);
    assert_int_equal(seen->items[at].place, 3); /* after the first break and p/x */
    assert_int_equal(eg_set_status_read(&seen->status).reconnects, 1);
    size_t before = seen->count;
    postgres_run("postgres", "NOTIFY \"p/x\", 'still there';");
    await(seen, EG_FEED_EVENT);
    assert_int_equal(seen->count, before + 1);
    close_listener(seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_begins_with_a_break_and_its_listed_channels),
        cmocka_unit_test(events_come_in_commit_order_without_holes),
        cmocka_unit_test(a_want_is_answered_once_it_is_listened_to),
        cmocka_unit_test(a_want_while_the_channel_is_leaving_is_answered_by_a_new_listen),
        cmocka_unit_test(more_channels_than_allowed_are_refused),
        cmocka_unit_test(a_lost_session_is_followed_by_a_break_with_a_new_epoch),
    };
    eg_log_configure(EG_LOG_ERROR, EG_LOG_TEXT);
    return cmocka_run_group_tests(tests, postgres_start, postgres_stop);
}

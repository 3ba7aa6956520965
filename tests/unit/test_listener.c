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
    struct eg_order order;
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

static struct seen *open_listener_in(const char *database, const char *live, const char *more)
{
    struct seen *seen = calloc(1, sizeof(*seen));
    assert_non_null(seen);
    seen->config = postgres_config(database, live, more);
    seen->loop = eg_loop_new();
    seen->metrics = eg_metrics_new("unit");
    assert_int_equal(eg_set_status_init(&seen->status), 0);
    eg_order_init(&seen->order, &seen->config->sets[0], &seen->status);
    seen->listener = eg_listener_new(seen->loop, &seen->config->sets[0], 2, &seen->order, seen->metrics,
                                     (struct eg_feed_sink){feed, seen});
    assert_non_null(seen->listener);
    return seen;
}

static struct seen *open_listener(const char *live, const char *more)
{
    return open_listener_in("postgres", live, more);
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
    while (await(seen, EG_FEED_LISTENED)->want != 2)
        continue;
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

/* What worker number `worker` was told of its want, or NULL. */
static const struct eg_feed_item *answer_to(const struct seen *seen, int worker, uint64_t want)
{
    for (size_t i = 0; i < seen->count; i++)
        if (seen->workers[i] == worker && seen->items[i].want == want)
            return &seen->items[i];
    return NULL;
}

static size_t count_of(const struct seen *seen, enum eg_feed_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < seen->count; i++)
        count += seen->items[i].kind == kind;
    return count;
}

static void assert_refused_for_good(const struct eg_feed_item *answer, const char *name)
{
    assert_non_null(answer);
    assert_int_equal(answer->kind, EG_FEED_REFUSED);
    assert_string_equal(answer->name, name);
    assert_non_null(strstr(answer->refusal, "encoding"));
    assert_true(answer->final);
}

#define NOT_LATIN1 "p/\xe6\x97\xa5\xe6\x9c\xac"
#define IN_LATIN1 "p/\xc3\xa9"

static void a_name_that_the_encoding_lacks_is_refused_alone(void **state)
{
    (void)state;
    struct seen *seen = open_listener_in("latin1", "a, p/*", "");
    await(seen, EG_FEED_LISTENED);
    eg_listener_want(seen->listener, 0, "p/x", 3, 1); /* is sent at once, and the others together when it is done */
    eg_listener_want(seen->listener, 0, NOT_LATIN1, strlen(NOT_LATIN1), 2);
    eg_listener_want(seen->listener, 1, NOT_LATIN1, strlen(NOT_LATIN1), 3);
    eg_listener_want(seen->listener, 1, IN_LATIN1, strlen(IN_LATIN1), 4);
    while (!answer_to(seen, 1, 4))
        await(seen, EG_FEED_LISTENED);
    assert_refused_for_good(answer_to(seen, 0, 2), NOT_LATIN1);
    assert_refused_for_good(answer_to(seen, 1, 3), NOT_LATIN1);
    postgres_run("latin1", "SET client_encoding = 'UTF8'; NOTIFY \"" IN_LATIN1 "\"; NOTIFY a;");
    while (count_of(seen, EG_FEED_EVENT) < 2)
        await(seen, EG_FEED_EVENT);
    assert_string_equal(seen->items[seen->count - 2].event->channel->name, IN_LATIN1);
    assert_int_equal(count_of(seen, EG_FEED_BREAK), 1);
    assert_int_equal(count_of(seen, EG_FEED_LOST), 0);

    eg_listener_want(seen->listener, 0, NOT_LATIN1, strlen(NOT_LATIN1), 5); /* nothing is left of the first time */
    await(seen, EG_FEED_REFUSED);
    assert_refused_for_good(answer_to(seen, 0, 5), NOT_LATIN1);
    close_listener(seen);
}

static void a_refused_name_nobody_wants_any_more_is_forgotten(void **state)
{
    (void)state;
    struct seen *seen = open_listener_in("latin1", "p/*", "max_channels = 1\n");
    await(seen, EG_FEED_BREAK);
    eg_listener_want(seen->listener, 0, NOT_LATIN1, strlen(NOT_LATIN1), 1);
    eg_listener_unwant(seen->listener, 0, NOT_LATIN1, strlen(NOT_LATIN1));
    for (uint64_t want = 2; count_of(seen, EG_FEED_LISTENED) == 0; want++) {
        eg_listener_want(seen->listener, 0, "p/x", 3, want); /* until there is room */
        eg_loop_turn(seen->loop, 50);
    }
    assert_null(answer_to(seen, 0, 1));
    close_listener(seen);
}

static void a_session_goes_live_before_it_listens_to_what_was_asked_for_meanwhile(void **state)
{
    (void)state;
    struct seen *seen = open_listener_in("latin1", "a, p/*", "");
    eg_listener_want(seen->listener, 0, NOT_LATIN1, strlen(NOT_LATIN1), 1);
    eg_listener_want(seen->listener, 0, "p/x", 3, 2);
    while (!answer_to(seen, 0, 2))
        await(seen, EG_FEED_LISTENED);
    assert_int_equal(seen->items[0].kind, EG_FEED_BREAK);
    assert_string_equal(seen->items[1].channel->name, "a");
    assert_refused_for_good(answer_to(seen, 0, 1), NOT_LATIN1);
    close_listener(seen);
}

static void a_listed_name_that_the_encoding_lacks_is_the_problem_of_the_set(void **state)
{
    (void)state;
    struct seen *seen = open_listener_in("latin1", "a, " NOT_LATIN1 ", b", "");
    struct eg_set_facts facts = eg_set_status_read(&seen->status);
    while (!strstr(facts.problem, "encoding")) {
        eg_loop_turn(seen->loop, 50);
        facts = eg_set_status_read(&seen->status);
    }
    assert_non_null(strstr(facts.problem, "\"" NOT_LATIN1 "\" of set unit"));
    assert_string_equal(facts.listener_state, "WAITING");
    assert_int_equal(seen->count, 0);
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
        cmocka_unit_test(a_name_that_the_encoding_lacks_is_refused_alone),
        cmocka_unit_test(a_refused_name_nobody_wants_any_more_is_forgotten),
        cmocka_unit_test(a_session_goes_live_before_it_listens_to_what_was_asked_for_meanwhile),
        cmocka_unit_test(a_listed_name_that_the_encoding_lacks_is_the_problem_of_the_set),
    };
    eg_log_configure(EG_LOG_ERROR, EG_LOG_TEXT);
    return cmocka_run_group_tests(tests, postgres_start, postgres_stop);
}

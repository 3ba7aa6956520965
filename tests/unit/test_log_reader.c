/* Following the log's end in a real PostgreSQL: what the workers are told, and in which order. */
#include "eventgate/log_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <libpq-fe.h>

#include "postgres_fixture.h"

#define ITEMS_MAX 6000

struct seen {
    struct eg_loop *loop;
    struct eg_config *config;
    struct eg_set_status status;
    struct eg_order order;
    struct eg_metrics *metrics;
    struct eg_log_reader *reader;
    struct eg_feed_item items[ITEMS_MAX];
    int workers[ITEMS_MAX];
    size_t count, attached, events;
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
        if (items[i].jumps)
            eg_log_jumps_ref(items[i].jumps);
        seen->events += items[i].kind == EG_FEED_EVENT;
        seen->workers[seen->count++] = worker;
        seen->arrived = seen->arrived || items[i].kind == seen->awaited;
    }
}

static void attached(void *context)
{
    ((struct seen *)context)->attached++;
}

static const struct eg_feed_item *await(struct seen *seen, enum eg_feed_kind kind)
{
    seen->awaited = kind;
    seen->arrived = false;
    turn_until(seen->loop, &seen->arrived);
    return &seen->items[seen->count - 1];
}

static void await_events(struct seen *seen, size_t events)
{
    while (seen->events < events)
        await(seen, EG_FEED_EVENT);
}

static struct seen *open_reader_of(const char *durable)
{
    char more[128];
    struct seen *seen = calloc(1, sizeof(*seen));
    assert_non_null(seen);
    snprintf(more, sizeof(more), "durable = %s\n", durable);
    seen->config = postgres_config("postgres", "live", more);
    seen->loop = eg_loop_new();
    seen->metrics = eg_metrics_new("unit");
    assert_int_equal(eg_set_status_init(&seen->status), 0);
    eg_order_init(&seen->order, &seen->config->sets[0], &seen->status);
    seen->reader = eg_log_reader_new(seen->loop, &seen->config->sets[0], 2, &seen->order, seen->metrics,
                                     (struct eg_feed_sink){feed, seen}, attached, seen);
    assert_non_null(seen->reader);
    return seen;
}

/* One that has attached to an empty log. */
static struct seen *open_reader(void)
{
    postgres_install("postgres");
    struct seen *seen = open_reader_of("order/**, news");
    await(seen, EG_FEED_LOG);
    return seen;
}

static void close_reader(struct seen *seen)
{
    eg_log_reader_free(seen->reader);
    for (size_t i = 0; i < seen->count; i++)
        eg_feed_item_done(&seen->items[i]);
    eg_set_status_done(&seen->status);
    eg_metrics_free(seen->metrics);
    eg_loop_free(seen->loop);
    eg_config_free(seen->config);
    free(seen);
}

static void publish(const char *channel, int count)
{
    char sql[256];
    snprintf(sql, sizeof(sql),
             "SELECT eventgate.publish('%s', to_json(n), 'made', NULL, 'trace') FROM generate_series(1, %d) n", channel,
             count);
    postgres_run("postgres", sql);
}

static void look(struct seen *seen, uint64_t number)
{
    eg_log_reader_look(seen->reader, 1, number);
    while (await(seen, EG_FEED_LOOKED)->want != number)
        continue;
}

static bool has_answer(const struct seen *seen, uint64_t number)
{
    for (size_t i = 0; i < seen->count; i++)
        if (seen->items[i].kind == EG_FEED_LOOKED && seen->items[i].want == number)
            return true;
    return false;
}

static void it_attaches_at_the_head_and_feeds_what_follows(void **state)
{
    (void)state;
    struct seen *seen = open_reader();
    assert_int_equal(seen->items[0].kind, EG_FEED_LOG);
    assert_int_equal(seen->items[0].position, 0);
    assert_int_equal(strlen(seen->items[0].tag), 6);
    assert_non_null(seen->items[0].jumps);
    assert_int_equal(seen->attached, 1);
    publish("order/1", 2);
    await_events(seen, 2);
    while (seen->items[seen->count - 1].kind != EG_FEED_LOG)
        await(seen, EG_FEED_LOG);
    assert_int_equal(seen->count, 5);
    assert_int_equal(seen->items[1].kind, EG_FEED_LISTENED);
    assert_string_equal(seen->items[1].channel->name, "order/1");
    assert_int_equal(seen->items[1].place, 0);
    assert_int_equal(seen->items[1].want, 0);
    for (size_t i = 2; i < 4; i++) {
        const struct eg_event *event = seen->items[i].event;
        assert_int_equal(seen->items[i].kind, EG_FEED_EVENT);
        assert_ptr_equal(event->channel, seen->items[1].channel);
        assert_true(event->durable);
        assert_int_equal(event->place, i - 1);
        assert_int_equal(event->cursor.position, i - 1);
        assert_string_equal(event->cursor.tag, seen->items[0].tag);
        assert_memory_equal(event->type.data, "made", 4);
        assert_non_null(memmem(event->json.data, event->json.length, "\"trace\":\"trace\"", 15));
    }
    assert_int_equal(seen->items[4].position, 2);
    assert_null(seen->items[4].jumps);
    struct eg_set_facts facts = eg_set_status_read(&seen->status);
    assert_true(facts.reading);
    assert_string_equal(facts.log_problem, "");
    assert_int_equal(facts.position, 2);
    close_reader(seen);
}

static void the_time_is_when_it_was_appended(void **state)
{
    (void)state;
    struct seen *seen = open_reader();
    publish("order/1", 1);
    await_events(seen, 1);
    char *expected = postgres_ask("postgres", "SELECT to_char(\"time\" AT TIME ZONE 'UTC', "
                                              "'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM eventgate.log");
    const struct eg_event *event = seen->items[2].event;
    assert_int_equal(event->time.length, strlen(expected));
    assert_memory_equal(event->time.data, expected, strlen(expected));
    free(expected);
    close_reader(seen);
}

static void events_of_other_sets_move_the_position_only(void **state)
{
    (void)state;
    struct seen *seen = open_reader();
    publish("elsewhere", 3);
    while (await(seen, EG_FEED_LOG)->position < 3)
        continue;
    assert_int_equal(seen->events, 0);
    assert_int_equal(seen->order.head, 0);
    assert_int_equal(seen->order.position, 3);
    close_reader(seen);
}

static void many_are_read_in_order_in_several_reads(void **state)
{
    (void)state;
    struct seen *seen = open_reader();
    publish("order/many", 5000);
    await_events(seen, 5000);
    uint64_t place = 0;
    for (size_t i = 0; i < seen->count; i++)
        if (seen->items[i].kind == EG_FEED_EVENT) {
            assert_int_equal(seen->items[i].place, ++place);
            assert_int_equal(seen->items[i].event->cursor.position, place);
        }
    assert_true(eg_metrics_sum(EG_METRIC_LOG_READS) >= 3);
    close_reader(seen);
}

static void large_rows_come_in_bounded_reads(void **state)
{
    (void)state;
    struct seen *seen = open_reader();
    int64_t before = eg_metrics_sum(EG_METRIC_LOG_READS);
    postgres_run("postgres", "SELECT eventgate.publish('order/large', to_json(repeat('x', 1000000))) "
                             "FROM generate_series(1, 12)");
    await_events(seen, 12);
    assert_true(eg_metrics_sum(EG_METRIC_LOG_READS) - before >= 3); /* of 4 MB at most, and one row */
    close_reader(seen);
}

static void a_look_is_answered_after_what_was_committed_before_it(void **state)
{
    (void)state;
    struct seen *seen = open_reader();
    look(seen, 1);
    for (uint64_t i = 2; i < 20; i++) {
        publish("news", 1);
        eg_log_reader_look(seen->reader, 0, 1000 + i);
        look(seen, i); /* committed before: must be there by now */
        assert_int_equal(seen->events, i - 1);
        assert_int_equal(seen->workers[seen->count - 1], 1);
    }
    close_reader(seen);
}

static void a_forged_wake_up_changes_nothing(void **state)
{
    (void)state;
    struct seen *seen = open_reader();
    postgres_run("postgres", "NOTIFY eventgate, 'order/1'; NOTIFY eventgate;");
    look(seen, 1);
    assert_int_equal(seen->events, 0);
    assert_int_equal(seen->order.position, 0);
    close_reader(seen);
}

/* What an appender of this gateway says of its next row. */
static bool own_row(struct seen *seen, const char *mark, uint64_t position)
{
    const struct eg_log_row row = {.position = position,
                                   .channel = {"order/1", 7},
                                   .type = {"made", 4},
                                   .trace = {"trace", 5},
                                   .data = {"1", 1},
                                   .appended_us = 1};
    return eg_log_reader_own_row(seen->reader, mark, &row);
}

static void its_own_rows_are_fed_once_and_without_being_read(void **state)
{
    (void)state;
    struct seen *seen = open_reader();
    const char *mark = eg_log_reader_state(seen->reader)->mark;
    look(seen, 1);
    eg_log_reader_look(seen->reader, 1, 2); /* a read is under way */
    eg_log_reader_own_begin(seen->reader, 1, mark);
    publish("order/1", 2);
    assert_true(own_row(seen, mark, 1));
    assert_true(own_row(seen, mark, 2));
    eg_log_reader_own_end(seen->reader, true);
    assert_int_equal(seen->events, 2);
    assert_int_equal(seen->order.position, 2);
    assert_int_equal(seen->items[seen->count - 1].kind, EG_FEED_LOG);
    assert_int_equal(seen->items[seen->count - 1].position, 2);
    look(seen, 3);
    assert_int_equal(seen->events, 2);
    publish("order/1", 1);
    await_events(seen, 3);
    close_reader(seen);
}

static void own_rows_that_are_not_the_next_ones_are_read(void **state)
{
    (void)state;
    struct seen *seen = open_reader();
    const char *mark = eg_log_reader_state(seen->reader)->mark;
    look(seen, 1);
    assert_false(own_row(seen, mark, 1)); /* no session */
    eg_log_reader_own_begin(seen->reader, 1, mark);
    assert_false(own_row(seen, "9.9", 1)); /* of another incarnation */
    publish("order/1", 3);
    assert_false(own_row(seen, mark, 2)); /* what is before it hasn't been read */
    eg_log_reader_own_end(seen->reader, false);
    await_events(seen, 3);
    assert_false(own_row(seen, mark, 3)); /* again */
    eg_log_reader_own_lost(seen->reader);
    assert_false(own_row(seen, mark, 4));
    close_reader(seen);
}

/* Turns until a read was made behind a NOTIFY of the session: because of it, or when the clock asks for one. */
static uint64_t ms_until_read(struct seen *seen, PGconn *session)
{
    uint64_t begin_ms = eg_monotonic_ms();
    int64_t before = eg_metrics_sum(EG_METRIC_LOG_READS);
    PQclear(PQexec(session, "NOTIFY eventgate"));
    while (eg_metrics_sum(EG_METRIC_LOG_READS) == before)
        eg_loop_turn(seen->loop, 50);
    return eg_monotonic_ms() - begin_ms;
}

static void its_own_wake_up_is_no_news(void **state)
{
    (void)state;
    struct seen *seen = open_reader();
    const char *conninfo = seen->config->sets[0].postgres;
    PGconn *own = PQconnectdb(conninfo), *other = PQconnectdb(conninfo);
    look(seen, 1);
    eg_log_reader_own_begin(seen->reader, PQbackendPID(own), eg_log_reader_state(seen->reader)->mark);
    ms_until_read(seen, other);
    assert_true(ms_until_read(seen, own) >= 500); /* it was the clock */
    uint64_t least_ms = 1000;
    for (int i = 0; i < 5; i++) {
        uint64_t ms = ms_until_read(seen, other);
        least_ms = ms < least_ms ? ms : least_ms;
    }
    assert_true(least_ms < 500);
    eg_log_reader_own_begin(seen->reader, PQbackendPID(own), "another");
    least_ms = 1000;
    for (int i = 0; i < 5; i++) {
        uint64_t ms = ms_until_read(seen, own);
        least_ms = ms < least_ms ? ms : least_ms;
    }
    assert_true(least_ms < 500);
    PQfinish(own);
    PQfinish(other);
    close_reader(seen);
}

static void what_was_appended_while_it_was_away_is_read_afterwards(void **state)
{
    (void)state;
    struct seen *seen = open_reader();
    publish("order/1", 2);
    await_events(seen, 2);
    postgres_halt();
    while (eg_set_status_read(&seen->status).reading)
        eg_loop_turn(seen->loop, 50);
    eg_log_reader_look(seen->reader, 0, 77); /* answered after the reconnect */
    postgres_resume();
    publish("order/2", 1);
    await_events(seen, 3);
    while (!has_answer(seen, 77))
        await(seen, EG_FEED_LOOKED);
    assert_int_equal(seen->attached, 2);
    size_t log = 0, last = 0;
    for (size_t i = 0; i < seen->count; i++) {
        assert_int_not_equal(seen->items[i].kind, EG_FEED_LOG_BREAK);
        if (seen->items[i].kind == EG_FEED_LOG && seen->items[i].jumps)
            log = i;
        if (seen->items[i].kind == EG_FEED_EVENT)
            last = i;
    }
    assert_true(log < last);
    const struct eg_log_jumps *jumps = seen->items[log].jumps;
    assert_int_equal(jumps->count, 1); /* the restart's */
    assert_int_equal(jumps->jumps[0].from, 2);
    assert_true(jumps->jumps[0].to > 2);
    assert_int_equal(seen->items[log].position, jumps->jumps[0].to); /* both ends are the same place */
    assert_int_equal(seen->items[last].event->cursor.position, jumps->jumps[0].to + 1);
    assert_int_equal(seen->items[last].place, 3);
    close_reader(seen);
}

static void a_lost_tail_is_a_break(void **state)
{
    (void)state;
    struct seen *seen = open_reader();
    publish("order/1", 5);
    await_events(seen, 5);
    postgres_run("postgres", "DELETE FROM eventgate.log WHERE pos > 3"); /* as a failover would */
    postgres_halt();
    postgres_resume();
    const struct eg_feed_item *lost = await(seen, EG_FEED_LOG_BREAK);
    while (lost->kind != EG_FEED_LOG_BREAK)
        lost--;
    assert_int_equal(lost->from, 3);
    assert_int_equal(lost->place, 6);
    uint64_t to = lost->position;
    assert_true(to > 5);
    publish("order/1", 1);
    await_events(seen, 6);
    size_t at = seen->count;
    while (seen->items[--at].kind != EG_FEED_EVENT)
        continue;
    assert_int_equal(seen->items[at].event->cursor.position, to + 1);
    assert_int_equal(seen->items[at].place, 7);
    close_reader(seen);
}

static void a_lost_tail_is_a_break_even_if_nothing_of_it_was_fed(void **state)
{
    (void)state;
    struct seen *seen = open_reader();
    publish("order/1", 3);
    await_events(seen, 3);
    publish("elsewhere", 2);
    while (seen->order.position < 5) /* which is the position in cursors from now on */
        await(seen, EG_FEED_LOG);
    postgres_run("postgres", "DELETE FROM eventgate.log WHERE pos > 3");
    postgres_halt();
    postgres_resume();
    const struct eg_feed_item *lost = await(seen, EG_FEED_LOG_BREAK);
    while (lost->kind != EG_FEED_LOG_BREAK)
        lost--;
    assert_int_equal(lost->from, 3);
    close_reader(seen);
}

static void a_log_made_anew_under_the_connection_is_another_one(void **state)
{
    (void)state;
    struct seen *seen = open_reader();
    publish("order/1", 5);
    await_events(seen, 5);
    postgres_install("postgres");
    publish("order/1", 1);
    while (seen->attached < 2)
        await(seen, EG_FEED_LOG);
    size_t at = seen->count;
    while (!seen->items[--at].jumps)
        continue;
    assert_string_not_equal(seen->items[at].tag, seen->items[0].tag);
    publish("order/1", 1);
    await_events(seen, 6);
    for (size_t i = 0; i < at; i++)
        assert_int_not_equal(seen->items[i].kind, EG_FEED_LOG_BREAK);
    close_reader(seen);
}

static void await_problem(struct seen *seen, const char *part)
{
    uint64_t end_ms = eg_monotonic_ms() + 20000;
    while (!strstr(eg_set_status_read(&seen->status).log_problem, part)) {
        eg_loop_turn(seen->loop, 50);
        assert_true(eg_monotonic_ms() < end_ms);
    }
    assert_false(eg_set_status_read(&seen->status).reading);
}

static void a_missing_schema_is_a_problem_until_it_is_there(void **state)
{
    (void)state;
    postgres_run("postgres", "DROP SCHEMA IF EXISTS eventgate CASCADE");
    struct seen *seen = open_reader_of("order/**");
    await_problem(seen, "pg_eventgate schema install");
    postgres_install("postgres");
    await(seen, EG_FEED_LOG);
    look(seen, 1);
    assert_string_equal(eg_set_status_read(&seen->status).log_problem, "");
    close_reader(seen);
}

static void a_schema_of_another_version_is_a_problem(void **state)
{
    (void)state;
    postgres_install("postgres");
    postgres_run("postgres", "CREATE OR REPLACE FUNCTION eventgate.gateway_version() RETURNS integer LANGUAGE sql "
                             "RETURN 999");
    struct seen *seen = open_reader_of("order/**");
    await_problem(seen, "use a newer pg_eventgate");
    assert_int_equal(seen->count, 0);
    close_reader(seen);
    postgres_run("postgres", "CREATE OR REPLACE FUNCTION eventgate.version() RETURNS integer LANGUAGE sql RETURN 0");
    seen = open_reader_of("order/**");
    await_problem(seen, "pg_eventgate schema upgrade");
    assert_int_equal(seen->count, 0);
    close_reader(seen);
    postgres_install("postgres");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_attaches_at_the_head_and_feeds_what_follows),
        cmocka_unit_test(the_time_is_when_it_was_appended),
        cmocka_unit_test(events_of_other_sets_move_the_position_only),
        cmocka_unit_test(many_are_read_in_order_in_several_reads),
        cmocka_unit_test(large_rows_come_in_bounded_reads),
        cmocka_unit_test(a_look_is_answered_after_what_was_committed_before_it),
        cmocka_unit_test(a_forged_wake_up_changes_nothing),
        cmocka_unit_test(its_own_rows_are_fed_once_and_without_being_read),
        cmocka_unit_test(own_rows_that_are_not_the_next_ones_are_read),
        cmocka_unit_test(its_own_wake_up_is_no_news),
        cmocka_unit_test(what_was_appended_while_it_was_away_is_read_afterwards),
        cmocka_unit_test(a_lost_tail_is_a_break),
        cmocka_unit_test(a_lost_tail_is_a_break_even_if_nothing_of_it_was_fed),
        cmocka_unit_test(a_log_made_anew_under_the_connection_is_another_one),
        cmocka_unit_test(a_missing_schema_is_a_problem_until_it_is_there),
        cmocka_unit_test(a_schema_of_another_version_is_a_problem),
    };
    eg_log_configure(EG_LOG_ERROR, EG_LOG_TEXT);
    return cmocka_run_group_tests(tests, postgres_start, postgres_stop);
}

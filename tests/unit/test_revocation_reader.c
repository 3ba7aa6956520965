/* Reading the revocations of a real PostgreSQL: what is told, and when. */
#include "eventgate/revocation_reader.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "postgres_fixture.h"

#define TOLD_MAX 4000

struct told {
    char subject[60];
    int64_t before_us;
};

struct seen {
    struct eg_config *config;
    struct eg_loop *loop;
    struct eg_metrics *metrics;
    struct eg_revocation_reader *reader;
    struct told told[TOLD_MAX];
    size_t count, begun, whole, partly;
    int refuse; /* so many more */
    bool done;
};

static void begin(void *context)
{
    struct seen *seen = context;
    seen->begun++;
    seen->count = 0;
}

static int revoked(void *context, struct eg_bytes subject, int64_t before_us)
{
    struct seen *seen = context;
    assert_true(seen->begun > 0 && seen->count < TOLD_MAX);
    if (seen->refuse > 0) {
        seen->refuse--;
        return -ENOMEM;
    }
    struct told *told = &seen->told[seen->count++];
    snprintf(told->subject, sizeof(told->subject), "%.*s", (int)subject.length, subject.data);
    told->before_us = before_us;
    return 0;
}

static void told(void *context, bool whole)
{
    struct seen *seen = context;
    seen->whole += whole;
    seen->partly += !whole;
    seen->done = true;
}

static struct seen *open_reader(void)
{
    struct seen *seen = calloc(1, sizeof(*seen));
    assert_non_null(seen);
    seen->config = postgres_config("postgres", "live", "");
    seen->loop = eg_loop_new();
    seen->metrics = eg_metrics_new("unit");
    seen->reader = eg_revocation_reader_new(seen->loop, &seen->config->sets[0], seen->metrics,
                                            (struct eg_revocation_sink){seen, begin, revoked, told});
    assert_non_null(seen->reader);
    return seen;
}

static void close_reader(struct seen *seen)
{
    eg_revocation_reader_free(seen->reader);
    eg_metrics_free(seen->metrics);
    eg_loop_free(seen->loop);
    eg_config_free(seen->config);
    free(seen);
}

static void await(struct seen *seen)
{
    seen->done = false;
    turn_until(seen->loop, &seen->done);
}

static const struct told *last(const struct seen *seen)
{
    assert_true(seen->count > 0);
    return &seen->told[seen->count - 1];
}

static void tells_all_that_there_are_and_then_each_new_one(void **state)
{
    (void)state;
    postgres_install("postgres");
    postgres_run("postgres", "SELECT eventgate.revoke('alice', '2026-01-31 12:00:00.25Z')");
    struct seen *seen = open_reader();
    await(seen);
    assert_int_equal(seen->whole, 1);
    assert_int_equal(seen->count, 1);
    assert_string_equal(seen->told[0].subject, "alice");
    assert_int_equal(seen->told[0].before_us, INT64_C(1769860800250000));
    assert_int_equal(eg_metrics_sum(EG_METRIC_PG_UP_REVOCATIONS), 1);
    postgres_run("postgres", "SELECT eventgate.revoke('bob \xc3\xbc', 'infinity')");
    await(seen);
    assert_string_equal(last(seen)->subject, "bob \xc3\xbc");
    assert_true(last(seen)->before_us == INT64_MAX);
    postgres_run("postgres", "SELECT eventgate.unrevoke('alice')");
    await(seen);
    assert_string_equal(last(seen)->subject, "alice");
    assert_true(last(seen)->before_us == EG_REVOCATION_NONE);
    assert_int_equal(seen->count, 3); /* no row twice */
    /* The last day that there is. */
    postgres_run("postgres", "SELECT eventgate.revoke('carl', '294276-12-31')");
    await(seen);
    assert_true(last(seen)->before_us == INT64_MAX);
    assert_int_equal(seen->whole, 1);
    close_reader(seen);
}

static void an_empty_table_is_read_whole_too(void **state)
{
    (void)state;
    postgres_install("postgres");
    struct seen *seen = open_reader();
    await(seen);
    assert_int_equal(seen->begun, 1);
    assert_int_equal(seen->whole, 1);
    assert_int_equal(seen->count, 0);
    close_reader(seen);
}

static void reads_more_than_a_page(void **state)
{
    (void)state;
    postgres_install("postgres");
    postgres_run("postgres", "SELECT count(eventgate.revoke('s' || n)) FROM generate_series(1, 2500) AS n");
    struct seen *seen = open_reader();
    await(seen);
    assert_int_equal(seen->whole, 1);
    assert_int_equal(seen->count, 2500);
    for (size_t i = 0; i < 2500; i++) {
        char subject[20];
        snprintf(subject, sizeof(subject), "s%zu", i + 1);
        assert_string_equal(seen->told[i].subject, subject);
    }
    close_reader(seen);
}

/* A transaction that revokes first and commits last must not be passed by: it keeps later ones waiting. */
static void tells_in_the_order_of_commits(void **state)
{
    (void)state;
    postgres_install("postgres");
    struct seen *seen = open_reader();
    await(seen);
    postgres_run("postgres", "CREATE EXTENSION IF NOT EXISTS dblink; CREATE TABLE IF NOT EXISTS place (pid int);"
                             "SELECT dblink_connect('first', 'dbname=postgres user=postgres host=' || "
                             "split_part(current_setting('unix_socket_directories'), ',', 1));"
                             "SELECT dblink_exec('first', 'BEGIN');"
                             "SELECT * FROM dblink('first', $$SELECT eventgate.revoke('first')$$) AS (t timestamptz);"
                             "SELECT dblink_connect('second', 'dbname=postgres user=postgres host=' || "
                             "split_part(current_setting('unix_socket_directories'), ',', 1));"
                             "SELECT dblink_send_query('second', $$SELECT eventgate.revoke('second')$$);"
                             "DO $$BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted) LOOP "
                             "PERFORM pg_sleep(0.01), pg_stat_clear_snapshot(); END LOOP; END$$;"
                             "SELECT dblink_exec('first', 'COMMIT')");
    while (seen->count < 2)
        await(seen);
    assert_string_equal(seen->told[0].subject, "first");
    assert_string_equal(seen->told[1].subject, "second");
    close_reader(seen);
}

static void a_lost_notification_is_made_up_for(void **state)
{
    (void)state;
    postgres_install("postgres");
    struct seen *seen = open_reader();
    await(seen);
    /* As if the NOTIFY had been lost. */
    postgres_run("postgres", "INSERT INTO eventgate.revocation VALUES ('quiet', now(), now(), 77)");
    await(seen);
    assert_string_equal(last(seen)->subject, "quiet");
    close_reader(seen);
}

/* An older dump loaded into the same table has smaller versions. */
static void a_table_that_was_made_anew_is_read_whole_again(void **state)
{
    (void)state;
    postgres_install("postgres");
    postgres_run("postgres", "SELECT eventgate.revoke('alice'), eventgate.revoke('bob')");
    struct seen *seen = open_reader();
    await(seen);
    assert_int_equal(seen->count, 2);
    postgres_run("postgres", "BEGIN; TRUNCATE eventgate.revocation;"
                             "INSERT INTO eventgate.revocation VALUES ('carol', now(), now(), 1); COMMIT");
    await(seen);
    assert_int_equal(seen->begun, 2);
    assert_int_equal(seen->whole, 2);
    assert_int_equal(seen->count, 1);
    assert_string_equal(last(seen)->subject, "carol");
    close_reader(seen);
}

static void a_restarted_server_is_read_whole_again(void **state)
{
    (void)state;
    postgres_install("postgres");
    postgres_run("postgres", "SELECT eventgate.revoke('alice')");
    struct seen *seen = open_reader();
    await(seen);
    postgres_halt();
    postgres_resume();
    postgres_run("postgres", "SELECT eventgate.revoke('bob')");
    while (seen->whole < 2 || seen->count < 2)
        await(seen);
    assert_string_equal(seen->told[0].subject, "alice");
    assert_string_equal(seen->told[1].subject, "bob");
    close_reader(seen);
}

static void starts_over_where_it_could_not_be_kept(void **state)
{
    (void)state;
    postgres_install("postgres");
    postgres_run("postgres", "SELECT eventgate.revoke('alice'), eventgate.revoke('bob')");
    struct seen *seen = open_reader();
    seen->refuse = 2;
    await(seen);
    assert_int_equal(seen->begun, 3);
    assert_int_equal(seen->whole, 1);
    assert_int_equal(seen->count, 2);
    close_reader(seen);
}

static void waits_for_a_database_without_the_table(void **state)
{
    (void)state;
    postgres_install("postgres");
    postgres_run("postgres", "DROP TABLE eventgate.revocation CASCADE");
    struct seen *seen = open_reader();
    uint64_t end_ms = eg_monotonic_ms() + 20000;
    while (eg_metrics_sum(EG_METRIC_PG_FAILURES_REVOCATIONS) == 0) {
        eg_loop_turn(seen->loop, 50);
        assert_true(eg_monotonic_ms() < end_ms);
    }
    assert_int_equal(seen->begun, 0);
    postgres_install("postgres");
    await(seen);
    assert_int_equal(seen->whole, 1);
    close_reader(seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_all_that_there_are_and_then_each_new_one),
        cmocka_unit_test(an_empty_table_is_read_whole_too),
        cmocka_unit_test(reads_more_than_a_page),
        cmocka_unit_test(tells_in_the_order_of_commits),
        cmocka_unit_test(a_lost_notification_is_made_up_for),
        cmocka_unit_test(a_table_that_was_made_anew_is_read_whole_again),
        cmocka_unit_test(a_restarted_server_is_read_whole_again),
        cmocka_unit_test(starts_over_where_it_could_not_be_kept),
        cmocka_unit_test(waits_for_a_database_without_the_table),
    };
    eg_log_configure(EG_LOG_ERROR, EG_LOG_TEXT);
    return cmocka_run_group_tests(tests, postgres_start, postgres_stop);
}

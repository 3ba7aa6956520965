/* Appending to a real log: outcomes, positions, what shares a transaction, and what fails alone. */
#include "eventgate/appender.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <libpq-fe.h>

#include "postgres_fixture.h"

struct bench {
    struct eg_loop *loop;
    struct eg_config *config;
    struct eg_set_status status;
    struct eg_metrics *metrics;
    struct eg_appender *appender;
    size_t done;
};

static struct bench *open_bench_with(uint32_t query_timeout_ms)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    postgres_install("postgres");
    bench->config = postgres_config("postgres", "live", "durable = a/**\n");
    bench->config->sets[0].query_timeout_ms = query_timeout_ms;
    bench->loop = eg_loop_new();
    bench->metrics = eg_metrics_new("unit");
    assert_int_equal(eg_set_status_init(&bench->status), 0);
    bench->appender = eg_appender_new(bench->loop, &bench->config->sets[0], &bench->status, bench->metrics);
    assert_non_null(bench->appender);
    while (!eg_set_status_read(&bench->status).appending)
        eg_loop_turn(bench->loop, 50);
    return bench;
}

static struct bench *open_bench(void)
{
    return open_bench_with(2000);
}

static void close_bench(struct bench *bench)
{
    eg_appender_free(bench->appender);
    eg_set_status_done(&bench->status);
    eg_metrics_free(bench->metrics);
    eg_loop_free(bench->loop);
    eg_config_free(bench->config);
    free(bench);
}

static void done(struct eg_publication *publication)
{
    struct bench *bench = publication->context;
    bench->done++;
}

/* An item to be: data, or data and key. */
struct item {
    const char *data, *key, *type;
};

static struct eg_bytes bytes_of(const char *text)
{
    return text ? (struct eg_bytes){text, strlen(text)} : (struct eg_bytes){NULL, 0};
}

/* Texts must outlive it. */
static struct eg_publication *publication_of(struct bench *bench, bool whole, const struct item *items, size_t count)
{
    char *text;
    struct eg_publication *publication = eg_publication_new(count, 1, &text);
    assert_non_null(publication);
    for (size_t i = 0; i < count; i++) {
        publication->items[i].channel = bytes_of("a/b");
        publication->items[i].payload = bytes_of(items[i].data);
        publication->items[i].key = bytes_of(items[i].key);
        publication->items[i].type = bytes_of(items[i].type);
        publication->bytes += 3 + strlen(items[i].data);
    }
    publication->durable = true;
    publication->whole = whole;
    publication->done = done;
    publication->context = bench;
    return publication;
}

static void submit(struct bench *bench, struct eg_publication *publication)
{
    assert_int_equal(eg_appender_admit(bench->appender, publication->count, publication->bytes), 0);
    eg_appender_submit(bench->appender, publication);
}

static void await(struct bench *bench, size_t count)
{
    uint64_t end_ms = eg_monotonic_ms() + 20000;
    while (bench->done < count && eg_monotonic_ms() < end_ms)
        eg_loop_turn(bench->loop, 50);
    assert_int_equal(bench->done, count);
    bench->done = 0;
}

static struct eg_publication *append(struct bench *bench, bool whole, const struct item *items, size_t count)
{
    struct eg_publication *publication = publication_of(bench, whole, items, count);
    submit(bench, publication);
    await(bench, 1);
    return publication;
}

static void assert_item(const struct eg_publication *publication, size_t index, enum eg_outcome outcome,
                        uint64_t position)
{
    assert_int_equal(publication->items[index].outcome, outcome);
    assert_int_equal(publication->items[index].position, position);
}

static void assert_asked(const char *sql, const char *expected)
{
    char *value = postgres_ask("postgres", sql);
    assert_string_equal(value, expected);
    free(value);
}

static void items_get_positions_in_their_order(void **state)
{
    (void)state;
    static const struct item items[] = {
        {"{ \"n\": 0.10 }", NULL, "made"}, {"2", NULL, NULL}, {"\"\xf0\x9f\x98\x80\"", "k", NULL}};
    struct bench *bench = open_bench();
    struct eg_publication *publication = append(bench, false, items, 3);
    for (size_t i = 0; i < 3; i++)
        assert_item(publication, i, EG_OUTCOME_COMMITTED, i + 1);
    char *tag = postgres_ask("postgres", "SELECT tag FROM eventgate.state");
    assert_string_equal(publication->tag, tag);
    free(tag);
    assert_asked("SELECT string_agg(concat_ws('|', pos, channel, coalesce(type, '-'), data), ';' ORDER BY pos) "
                 "FROM eventgate.log",
                 "1|a/b|made|{ \"n\": 0.10 };2|a/b|-|2;3|a/b|-|\"\xf0\x9f\x98\x80\"");
    eg_publication_free(publication);
    close_bench(bench);
}

static int64_t transactions(void)
{
    int64_t count = 0;
    for (unsigned i = 0; i <= EG_HISTOGRAM_BOUNDS; i++)
        count += eg_metrics_sum(EG_METRIC_APPEND_BATCH + (enum eg_metric)i);
    return count;
}

static void what_comes_together_shares_transactions(void **state)
{
    (void)state;
    enum { COUNT = 1000 };
    static const struct item one = {"1", NULL, NULL};
    struct eg_publication *publications[COUNT];
    struct bench *bench = open_bench();
    int64_t before = transactions();
    for (size_t i = 0; i < COUNT; i++)
        submit(bench, publications[i] = publication_of(bench, false, &one, 1));
    await(bench, COUNT);
    assert_true(transactions() - before <= 5);
    for (size_t i = 0; i < COUNT; i++) {
        assert_item(publications[i], 0, EG_OUTCOME_COMMITTED, i + 1);
        eg_publication_free(publications[i]);
    }
    close_bench(bench);
}

static void a_whole_publication_is_one_unit_however_large(void **state)
{
    (void)state;
    enum { COUNT = 600 };
    static struct item items[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        items[i] = (struct item){"1", NULL, NULL};
    struct bench *bench = open_bench();
    struct eg_publication *publication = append(bench, true, items, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        assert_item(publication, i, EG_OUTCOME_COMMITTED, i + 1);
    assert_asked("SELECT count(DISTINCT xmin::text) FROM eventgate.log", "1");
    items[COUNT - 1].data = "{";
    struct eg_publication *bad = append(bench, true, items, COUNT);
    for (size_t i = 0; i < COUNT; i++)
        assert_item(bad, i, EG_OUTCOME_REFUSED, 0);
    assert_asked("SELECT count(*) FROM eventgate.log", "600");
    eg_publication_free(publication);
    eg_publication_free(bad);
    close_bench(bench);
}

static void one_that_fails_fails_alone(void **state)
{
    (void)state;
    static const struct item items[] = {{"1", NULL, NULL}, {"{", NULL, NULL}, {"3", NULL, NULL}};
    struct eg_publication *publications[3];
    struct bench *bench = open_bench();
    for (size_t i = 0; i < 3; i++)
        submit(bench, publications[i] = publication_of(bench, false, &items[i], 1));
    await(bench, 3);
    assert_item(publications[1], 0, EG_OUTCOME_REFUSED, 0);
    assert_string_equal(publications[1]->items[0].error->sqlstate, "22P02");
    assert_int_equal(publications[0]->items[0].outcome, EG_OUTCOME_COMMITTED);
    assert_int_equal(publications[2]->items[0].outcome, EG_OUTCOME_COMMITTED);
    assert_true(publications[0]->items[0].position < publications[2]->items[0].position);
    assert_asked("SELECT string_agg(data::text, ',' ORDER BY pos) FROM eventgate.log", "1,3");
    for (size_t i = 0; i < 3; i++)
        eg_publication_free(publications[i]);
    close_bench(bench);
}

static void data_beyond_the_logs_bound_is_refused(void **state)
{
    (void)state;
    struct bench *bench = open_bench();
    postgres_run("postgres", "SELECT eventgate.configure('max_bytes', '20')");
    static const struct item items[] = {{"\"123456789012345678\"", NULL, NULL}};
    struct eg_publication *fits = append(bench, false, items, 1);
    assert_int_equal(fits->items[0].outcome, EG_OUTCOME_COMMITTED);
    char *large = malloc(10003);
    assert_non_null(large);
    memset(large, 'x', 10002);
    large[0] = large[10001] = '"';
    large[10002] = '\0';
    const struct item too_large = {large, NULL, NULL};
    struct eg_publication *refused = append(bench, false, &too_large, 1);
    assert_item(refused, 0, EG_OUTCOME_REFUSED, 0);
    assert_string_equal(refused->items[0].error->sqlstate, "54000");
    eg_publication_free(fits);
    eg_publication_free(refused);
    free(large);
    close_bench(bench);
}

static void a_key_gives_the_first_answer_again(void **state)
{
    (void)state;
    static const struct item first = {"1", "k", NULL}, other = {"2", "k", NULL};
    static const struct item batch[] = {{"5", NULL, NULL}, {"2", "k", NULL}};
    struct bench *bench = open_bench();
    struct eg_publication *publications[] = {append(bench, false, &first, 1), append(bench, false, &first, 1),
                                             append(bench, false, &other, 1), append(bench, true, batch, 2)};
    assert_item(publications[0], 0, EG_OUTCOME_COMMITTED, 1);
    assert_item(publications[1], 0, EG_OUTCOME_REPLAYED, 1);
    assert_item(publications[2], 0, EG_OUTCOME_CONFLICT, 0);
    assert_item(publications[3], 0, EG_OUTCOME_WITHHELD, 0);
    assert_item(publications[3], 1, EG_OUTCOME_CONFLICT, 0);
    assert_asked("SELECT count(*) FROM eventgate.log", "1");
    for (size_t i = 0; i < EG_ARRAY_LENGTH(publications); i++)
        eg_publication_free(publications[i]);
    close_bench(bench);
}

static void repeats_of_a_key_may_share_a_transaction(void **state)
{
    (void)state;
    static const struct item items[] = {{"1", "k", NULL}, {"1", "k", NULL}, {"2", "k", NULL}, {"3", NULL, NULL}};
    struct eg_publication *publications[4];
    struct bench *bench = open_bench();
    for (size_t i = 0; i < 4; i++)
        submit(bench, publications[i] = publication_of(bench, false, &items[i], 1));
    await(bench, 4);
    assert_int_equal(publications[0]->items[0].outcome, EG_OUTCOME_COMMITTED);
    assert_item(publications[1], 0, EG_OUTCOME_REPLAYED, publications[0]->items[0].position);
    assert_item(publications[2], 0, EG_OUTCOME_CONFLICT, 0);
    assert_int_equal(publications[3]->items[0].outcome, EG_OUTCOME_COMMITTED);
    for (size_t i = 0; i < 4; i++)
        eg_publication_free(publications[i]);
    close_bench(bench);
}

/* Holds the position lock in another session. */
static PGconn *take_turn(const struct bench *bench)
{
    PGconn *conn = PQconnectdb(bench->config->sets[0].postgres);
    PQclear(PQexec(conn, "BEGIN"));
    PGresult *result = PQexec(conn, "LOCK TABLE eventgate.turn IN EXCLUSIVE MODE");
    assert_int_equal(PQresultStatus(result), PGRES_COMMAND_OK);
    PQclear(result);
    return conn;
}

static void a_lock_that_passes_is_waited_for(void **state)
{
    (void)state;
    static const struct item items[] = {{"1", NULL, NULL}, {"2", NULL, NULL}};
    struct bench *bench = open_bench_with(1000);
    PGconn *other = take_turn(bench);
    struct eg_publication *publication = publication_of(bench, false, items, 2);
    submit(bench, publication);
    uint64_t end_ms = eg_monotonic_ms() + 700; /* longer than one try may wait for the lock */
    while (eg_monotonic_ms() < end_ms)
        eg_loop_turn(bench->loop, 50);
    assert_int_equal(bench->done, 0);
    PQfinish(other);
    await(bench, 1);
    assert_item(publication, 0, EG_OUTCOME_COMMITTED, 1);
    assert_item(publication, 1, EG_OUTCOME_COMMITTED, 2);
    eg_publication_free(publication);
    close_bench(bench);
}

static void a_lock_that_stays_makes_it_unavailable(void **state)
{
    (void)state;
    static const struct item items[] = {{"1", NULL, NULL}, {"2", NULL, NULL}};
    struct bench *bench = open_bench_with(200);
    PGconn *other = take_turn(bench);
    struct eg_publication *publication = append(bench, false, items, 2);
    assert_item(publication, 0, EG_OUTCOME_UNAVAILABLE, 0);
    assert_item(publication, 1, EG_OUTCOME_UNAVAILABLE, 0);
    assert_string_equal(publication->items[0].error->sqlstate, "55P03");
    assert_true(eg_set_status_read(&bench->status).appending); /* the connection is as good as before */
    PQfinish(other);
    struct eg_publication *after = append(bench, false, items, 1);
    assert_int_equal(after->items[0].outcome, EG_OUTCOME_COMMITTED);
    eg_publication_free(publication);
    eg_publication_free(after);
    close_bench(bench);
}

static void a_failure_at_commit_is_one(void **state)
{
    (void)state;
    static const struct item item = {"1", NULL, NULL};
    struct bench *bench = open_bench();
    postgres_run("postgres",
                 "CREATE FUNCTION eventgate.refuse() RETURNS trigger LANGUAGE plpgsql AS "
                 "'BEGIN RAISE ''no'' USING ERRCODE = ''23000''; END';"
                 "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON eventgate.log_0 DEFERRABLE INITIALLY DEFERRED "
                 "FOR EACH ROW EXECUTE FUNCTION eventgate.refuse()");
    struct eg_publication *publication = append(bench, false, &item, 1);
    assert_item(publication, 0, EG_OUTCOME_REFUSED, 0);
    assert_string_equal(publication->items[0].error->sqlstate, "23000");
    eg_publication_free(publication);
    close_bench(bench);
}

static void a_loss_never_ends_as_committed(void **state)
{
    (void)state;
    static const struct item items[] = {{"1", NULL, NULL}, {"2", NULL, NULL}};
    struct bench *bench = open_bench();
    postgres_halt();
    struct eg_publication *publication = append(bench, false, items, 2); /* the loss has not been noticed yet */
    for (size_t i = 0; i < 2; i++)
        assert_true(publication->items[i].outcome == EG_OUTCOME_UNKNOWN ||
                    publication->items[i].outcome == EG_OUTCOME_UNAVAILABLE);
    assert_int_equal(eg_appender_admit(bench->appender, 1, 1), -ENOTCONN);
    eg_publication_free(publication);
    postgres_resume();
    while (eg_appender_admit(bench->appender, 0, 0) != 0) /* comes back by itself */
        eg_loop_turn(bench->loop, 50);
    publication = append(bench, false, items, 1);
    assert_int_equal(publication->items[0].outcome, EG_OUTCOME_COMMITTED);
    assert_true(publication->items[0].position > UINT64_C(1) << 32); /* beyond the restart's jump */
    eg_publication_free(publication);
    close_bench(bench);
}

static void a_missing_schema_keeps_it_away(void **state)
{
    (void)state;
    struct bench *bench = open_bench();
    postgres_run("postgres", "DROP SCHEMA eventgate CASCADE");
    static const struct item item = {"1", NULL, NULL};
    struct eg_publication *publication = append(bench, false, &item, 1);
    assert_int_equal(publication->items[0].outcome, EG_OUTCOME_UNAVAILABLE);
    eg_publication_free(publication);
    close_bench(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_get_positions_in_their_order),
        cmocka_unit_test(what_comes_together_shares_transactions),
        cmocka_unit_test(a_whole_publication_is_one_unit_however_large),
        cmocka_unit_test(one_that_fails_fails_alone),
        cmocka_unit_test(data_beyond_the_logs_bound_is_refused),
        cmocka_unit_test(a_key_gives_the_first_answer_again),
        cmocka_unit_test(repeats_of_a_key_may_share_a_transaction),
        cmocka_unit_test(a_lock_that_passes_is_waited_for),
        cmocka_unit_test(a_lock_that_stays_makes_it_unavailable),
        cmocka_unit_test(a_failure_at_commit_is_one),
        cmocka_unit_test(a_loss_never_ends_as_committed),
        cmocka_unit_test(a_missing_schema_keeps_it_away),
    };
    eg_log_configure(EG_LOG_ERROR, EG_LOG_TEXT);
    return cmocka_run_group_tests(tests, postgres_start, postgres_stop);
}

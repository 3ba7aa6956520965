/* Publishing against a real PostgreSQL: outcomes, order, and what a loss does. */
#include "eventgate/publisher.h"

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
    struct eg_publisher *publisher;
    PGconn *listener; /* LISTENs to "a" */
    bool done;
};

static struct bench *open_bench_in(const char *database, const char *more)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    bench->config = postgres_config(database, "a", more);
    bench->loop = eg_loop_new();
    bench->metrics = eg_metrics_new("unit");
    assert_int_equal(eg_set_status_init(&bench->status), 0);
    bench->listener = PQconnectdb(bench->config->sets[0].postgres);
    PQclear(PQexec(bench->listener, "LISTEN a"));
    bench->publisher = eg_publisher_new(bench->loop, &bench->config->sets[0], &bench->status, bench->metrics);
    assert_non_null(bench->publisher);
    while (!eg_set_status_read(&bench->status).publishing)
        eg_loop_turn(bench->loop, 50);
    return bench;
}

static struct bench *open_bench(const char *more)
{
    return open_bench_in("postgres", more);
}

static void close_bench(struct bench *bench)
{
    eg_publisher_free(bench->publisher);
    PQfinish(bench->listener);
    eg_set_status_done(&bench->status);
    eg_metrics_free(bench->metrics);
    eg_loop_free(bench->loop);
    eg_config_free(bench->config);
    free(bench);
}

static void done(struct eg_publication *publication)
{
    struct bench *bench = publication->context;
    bench->done = true;
}

/* A publication of `count` payloads; `payloads` may repeat. */
static struct eg_publication *publication_of(struct bench *bench, const char *const *payloads, size_t count)
{
    size_t bytes = 0;
    char *text;
    for (size_t i = 0; i < count; i++)
        bytes += 1 + strlen(payloads[i]);
    struct eg_publication *publication = eg_publication_new(count, bytes, &text);
    assert_non_null(publication);
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(payloads[i]);
        *text = 'a';
        publication->items[i].channel = (struct eg_bytes){text, 1};
        publication->items[i].payload = (struct eg_bytes){memcpy(text + 1, payloads[i], length), length};
        text += 1 + length;
    }
    publication->bytes = bytes;
    publication->done = done;
    publication->context = bench;
    return publication;
}

static void submit(struct bench *bench, struct eg_publication *publication)
{
    bench->done = false;
    assert_int_equal(eg_publisher_admit(bench->publisher, publication->count, publication->bytes), 0);
    eg_publisher_submit(bench->publisher, publication);
}

static void assert_next_payload(struct bench *bench, const char *payload)
{
    PGnotify *notify;
    while (!(notify = PQnotifies(bench->listener)))
        PQclear(PQexec(bench->listener, "")); /* reads what has arrived */
    assert_string_equal(notify->extra, payload);
    PQfreemem(notify);
}

static void payloads_arrive_in_order_byte_for_byte_and_repeats_too(void **state)
{
    (void)state;
    static const char *const payloads[] = {"same", "same", "{ \"n\": 0.10 }", "", "same", "\xf0\x9f\x98\x80\n\ttab"};
    struct bench *bench = open_bench("");
    struct eg_publication *publication = publication_of(bench, payloads, EG_ARRAY_LENGTH(payloads));
    submit(bench, publication);
    turn_until(bench->loop, &bench->done);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(payloads); i++) {
        assert_int_equal(publication->items[i].outcome, EG_OUTCOME_COMMITTED);
        assert_next_payload(bench, payloads[i]);
    }
    eg_publication_free(publication);
    close_bench(bench);
}

static void many_go_through_in_order(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    static char texts[COUNT][8];
    static const char *payloads[COUNT];
    struct bench *bench = open_bench("");
    for (int i = 0; i < COUNT; i++) {
        snprintf(texts[i], sizeof(texts[i]), "%d", i);
        payloads[i] = texts[i];
    }
    struct eg_publication *publication = publication_of(bench, payloads, COUNT);
    submit(bench, publication);
    turn_until(bench->loop, &bench->done);
    for (int i = 0; i < COUNT; i++)
        assert_next_payload(bench, payloads[i]);
    eg_publication_free(publication);
    close_bench(bench);
}

static void one_that_fails_fails_alone(void **state)
{
    (void)state;
    static const char *const payloads[] = {"before", "\xe4\xb8\xad", "after"};
    struct bench *bench = open_bench_in("latin1", "");
    struct eg_publication *publication = publication_of(bench, payloads, EG_ARRAY_LENGTH(payloads));
    submit(bench, publication);
    turn_until(bench->loop, &bench->done);
    assert_int_equal(publication->items[0].outcome, EG_OUTCOME_COMMITTED);
    assert_int_equal(publication->items[1].outcome, EG_OUTCOME_REFUSED);
    assert_string_equal(publication->items[1].error->sqlstate, "22P05");
    assert_int_equal(publication->items[2].outcome, EG_OUTCOME_COMMITTED);
    eg_publication_free(publication);
    close_bench(bench);
}

static void the_queue_is_bounded(void **state)
{
    (void)state;
    struct bench *bench = open_bench("publish_queue = 2\npublish_queue_bytes = 8kB\n");
    assert_int_equal(eg_publisher_admit(bench->publisher, 2, 10), 0);
    assert_int_equal(eg_publisher_admit(bench->publisher, 1, 10), -EAGAIN);
    eg_publisher_release(bench->publisher, 2, 10);
    assert_int_equal(eg_publisher_admit(bench->publisher, 1, 8193), -E2BIG);
    assert_int_equal(eg_publisher_admit(bench->publisher, 1, 8192), 0);
    eg_publisher_release(bench->publisher, 1, 8192);
    close_bench(bench);
}

static void a_loss_never_ends_as_committed(void **state)
{
    (void)state;
    static const char *const payloads[] = {"x", "y"};
    struct bench *bench = open_bench("");
    struct eg_publication *publication = publication_of(bench, payloads, 2);
    postgres_halt();
    submit(bench, publication); /* the loss has not been noticed yet */
    turn_until(bench->loop, &bench->done);
    for (size_t i = 0; i < 2; i++)
        assert_true(publication->items[i].outcome == EG_OUTCOME_UNKNOWN ||
                    publication->items[i].outcome == EG_OUTCOME_UNAVAILABLE);
    assert_int_equal(eg_publisher_admit(bench->publisher, 1, 1), -ENOTCONN);
    eg_publication_free(publication);
    postgres_resume();
    while (eg_publisher_admit(bench->publisher, 0, 0) != 0) /* comes back by itself */
        eg_loop_turn(bench->loop, 50);
    close_bench(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payloads_arrive_in_order_byte_for_byte_and_repeats_too),
        cmocka_unit_test(many_go_through_in_order),
        cmocka_unit_test(one_that_fails_fails_alone),
        cmocka_unit_test(the_queue_is_bounded),
        cmocka_unit_test(a_loss_never_ends_as_committed),
    };
    eg_log_configure(EG_LOG_ERROR, EG_LOG_TEXT);
    return cmocka_run_group_tests(tests, postgres_start, postgres_stop);
}

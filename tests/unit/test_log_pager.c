/* Pages of a real log: that they have all and only what was asked for, what is shared, and where something is missing.
 */
#include "eventgate/log_pager.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventgate/pattern.h"
#include "postgres_fixture.h"

struct bench {
    struct eg_loop *loop;
    struct eg_config *config;
    struct eg_set_status status;
    struct eg_order order;
    struct eg_metrics *metrics;
    struct eg_log_reader *reader;
    struct eg_log_pager *pager;
    size_t done;
};

static struct bench *the_bench; /* for `done` */

static void feed(void *context, int worker, const struct eg_feed_item *items, size_t count)
{
    (void)context, (void)worker, (void)items, (void)count;
}

static void attached(void *context)
{
    struct bench *bench = context;
    if (bench->pager)
        eg_log_pager_attached(bench->pager);
}

static struct bench *open_bench(const char *durable)
{
    char more[128];
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    snprintf(more, sizeof(more), "durable = %s\n", durable);
    bench->config = postgres_config("postgres", "", more);
    bench->loop = eg_loop_new();
    bench->metrics = eg_metrics_new("unit");
    const struct eg_config_set *set = &bench->config->sets[0];
    assert_int_equal(eg_set_status_init(&bench->status), 0);
    eg_order_init(&bench->order, set, &bench->status);
    bench->reader = eg_log_reader_new(bench->loop, set, 1, &bench->order, bench->metrics,
                                      (struct eg_feed_sink){feed, bench}, attached, bench);
    assert_non_null(bench->reader);
    bench->pager = eg_log_pager_new(bench->loop, set, &bench->order, bench->reader, bench->metrics);
    assert_non_null(bench->pager);
    the_bench = bench;
    return bench;
}

static void close_bench(struct bench *bench)
{
    eg_log_pager_free(bench->pager);
    eg_log_reader_free(bench->reader);
    eg_set_status_done(&bench->status);
    eg_metrics_free(bench->metrics);
    eg_loop_free(bench->loop);
    eg_config_free(bench->config);
    free(bench);
}

static void until_attached(struct bench *bench)
{
    while (!bench->order.tag[0])
        eg_loop_turn(bench->loop, 50);
}

static void done(struct eg_log_request *request)
{
    (void)request;
    the_bench->done++;
}

/* `names` separated by commas. */
static struct eg_log_request *ask(struct bench *bench, const char *names, uint64_t after)
{
    struct eg_log_request *request = calloc(1, sizeof(*request));
    struct eg_bytes parts[16];
    size_t count = 0;
    assert_non_null(request);
    while (count < 16) {
        parts[count] = (struct eg_bytes){names, strcspn(names, ",")};
        names += parts[count++].length;
        if (*names++ == '\0')
            break;
    }
    request->selection = eg_log_selection_new(parts, count);
    memcpy(request->tag, bench->order.tag, sizeof(request->tag));
    request->after = after;
    request->done = done;
    eg_log_pager_read(bench->pager, request);
    return request;
}

static void await(struct bench *bench, size_t count)
{
    uint64_t end_ms = eg_monotonic_ms() + 20000;
    while (bench->done < count && eg_monotonic_ms() < end_ms)
        eg_loop_turn(bench->loop, 50);
    assert_int_equal(bench->done, count);
    bench->done = 0;
}

static struct eg_log_request *read_page(struct bench *bench, const char *names, uint64_t after)
{
    struct eg_log_request *request = ask(bench, names, after);
    await(bench, 1);
    assert_non_null(request->page);
    return request;
}

static void let_go(struct eg_log_request *request)
{
    eg_log_selection_unref(request->selection);
    eg_log_page_unref(request->page);
    free(request);
}

static void assert_gap(const struct eg_log_request *request, enum eg_gap_reason reason, uint64_t to)
{
    assert_int_equal(request->gap_to, to);
    assert_int_equal(request->gap_reason, reason);
}

/* Reads all pages behind a position, as a client would, and returns how many; adds up positions into `ret_text`. */
static size_t read_all(struct bench *bench, const char *names, uint64_t after, struct eg_buffer *ret_text)
{
    size_t pages = 0;
    bool at_head = false;
    while (!at_head) {
        struct eg_log_request *request = read_page(bench, names, after);
        const struct eg_log_page *page = request->page;
        assert_int_equal(request->gap_to, 0);
        assert_true(page->after <= eg_log_jumps_follow(eg_log_reader_state(bench->reader)->jumps, after));
        assert_true(page->count <= EG_LOG_PAGE_ROWS);
        assert_true(page->at_head || page->upto > after); /* it goes on */
        uint64_t last = page->after;
        for (size_t i = 0; i < page->count; i++) {
            assert_true(page->events[i]->cursor.position > last);
            last = page->events[i]->cursor.position;
        }
        assert_true(last <= page->upto);
        for (size_t i = eg_log_page_find(page, after); i < page->count; i++) {
            eg_buffer_add_unsigned(ret_text, page->events[i]->cursor.position);
            eg_buffer_add_string(ret_text, " ");
        }
        after = page->upto;
        at_head = page->at_head;
        pages++;
        let_go(request);
    }
    eg_buffer_add(ret_text, "", 1);
    return pages;
}

/* Compares all pages with a scan of the log. */
static size_t assert_all(struct bench *bench, const char *names, uint64_t after, const char *condition)
{
    char sql[512];
    struct eg_buffer found = EG_BUFFER_INIT;
    size_t pages = read_all(bench, names, after, &found);
    snprintf(sql, sizeof(sql),
             "SELECT coalesce(string_agg(pos || ' ', '' ORDER BY pos), '') FROM eventgate.log "
             "WHERE pos > %llu AND (%s)",
             (unsigned long long)after, condition);
    char *expected = postgres_ask("postgres", sql);
    if (strcmp(found.data, expected) != 0)
        fail_msg("%s after %llu: %.200s instead of %.200s", names, (unsigned long long)after, found.data, expected);
    free(expected);
    eg_buffer_done(&found);
    return pages;
}

static void fill(const char *channel_expression, int count)
{
    char sql[512];
    snprintf(sql, sizeof(sql), "SELECT count(eventgate.publish(%s, to_json(n))) FROM generate_series(1, %d) n",
             channel_expression, count);
    postgres_run("postgres", sql);
}

static void one_channel_comes_page_by_page(void **state)
{
    (void)state;
    postgres_install("postgres");
    fill("'a/' || n % 2", 5000);
    struct bench *bench = open_bench("a/*");
    until_attached(bench);
    assert_int_equal(assert_all(bench, "a/0", 0, "channel = 'a/0'"),
                     2500 / EG_LOG_PAGE_ROWS + 1); /* a full page isn't the last */
    assert_all(bench, "a/0", 4998, "channel = 'a/0'");
    assert_all(bench, "a/0", 5000, "channel = 'a/0'");
    assert_all(bench, "a/nothing", 17, "false");
    struct eg_log_request *request = read_page(bench, "a/1", 0);
    const struct eg_event *event = request->page->events[0];
    assert_string_equal(event->channel->name, "a/1");
    assert_int_equal(event->channel->slot_count, 0);
    assert_int_equal(event->place, 0);
    assert_string_equal(event->cursor.tag, bench->order.tag);
    assert_false(event->cursor.has_live);
    assert_memory_equal(event->payload.data, "1", 1);
    let_go(request);
    close_bench(bench);
}

static void many_channels_come_in_the_order_of_all_of_them(void **state)
{
    (void)state;
    postgres_install("postgres");
    fill("'even/' || n % 300", 6000);                                          /* all of them alike */
    fill("CASE WHEN n % 100 = 0 THEN 'quiet/' || n ELSE 'busy/1' END", 15000); /* one before all others */
    fill("'burst/' || n / 500", 15000);                                        /* one after the other */
    fill("'few/' || floor(30 * random() * random() * random())", 4000);
    struct bench *bench = open_bench("**");
    until_attached(bench);
    assert_all(bench, "even/*", 0, "channel ~ '^even/'");
    assert_all(bench, "quiet/*,busy/1", 0, "channel ~ '^(quiet|busy)/'");
    assert_all(bench, "quiet/*,busy/1", 20990, "channel ~ '^(quiet|busy)/'");
    assert_all(bench, "burst/**", 0, "channel ~ '^burst/'");
    assert_all(bench, "few/*,even/7,even/8", 3000, "channel ~ '^few/' OR channel IN ('even/7', 'even/8')");
    assert_all(bench, "*/1", 0, "channel ~ '^[^/]+/1$'");
    assert_all(bench, "**", 100, "true");
    assert_all(bench, "quiet/*,even/1,nothing/**,no", 0, "channel ~ '^quiet/' OR channel = 'even/1'");
    close_bench(bench);
}

static void a_pattern_covers_the_sets_channels_only(void **state)
{
    (void)state;
    postgres_install("postgres");
    fill("(ARRAY['mine/1', 'mine/2', 'theirs/1', 'mine/1/deeper'])[1 + n % 4]", 100);
    struct bench *bench = open_bench("mine/*");
    until_attached(bench);
    assert_all(bench, "**", 0, "channel IN ('mine/1', 'mine/2')");
    assert_all(bench, "mine/**", 0, "channel IN ('mine/1', 'mine/2')");
    close_bench(bench);
}

static void pages_are_bounded_in_bytes(void **state)
{
    (void)state;
    postgres_install("postgres");
    postgres_run("postgres", "SELECT eventgate.publish('a/' || n % 2, to_json(repeat('x', 400000))) "
                             "FROM generate_series(1, 20) n");
    struct bench *bench = open_bench("a/*");
    until_attached(bench);
    assert_true(assert_all(bench, "a/0", 0, "channel = 'a/0'") >= 4); /* of one MB at most, and one row */
    assert_true(assert_all(bench, "a/*", 0, "true") >= 7);
    close_bench(bench);
}

static void requests_for_the_same_share_a_page(void **state)
{
    (void)state;
    postgres_install("postgres");
    fill("'a/1'", 3000);
    struct bench *bench = open_bench("a/*");
    until_attached(bench);
    int64_t before = eg_metrics_sum(EG_METRIC_LOG_PAGES);
    struct eg_log_request *requests[50];
    for (size_t i = 0; i < 50; i++)
        requests[i] = ask(bench, "a/1", i); /* all within the first page */
    await(bench, 50);
    for (size_t i = 0; i < 50; i++)
        assert_ptr_equal(requests[i]->page, requests[0]->page);
    struct eg_log_request *later = read_page(bench, "a/1", EG_LOG_PAGE_ROWS - 1);
    assert_ptr_equal(later->page, requests[0]->page); /* kept */
    let_go(later);
    assert_all(bench, "a/1", 0, "true");
    assert_true(eg_metrics_sum(EG_METRIC_LOG_PAGES) - before <=
                3000 / EG_LOG_PAGE_ROWS + 1); /* what was read ahead counts */
    for (size_t i = 0; i < 50; i++)
        let_go(requests[i]);
    close_bench(bench);
}

static void a_cursor_of_another_log_is_unknown(void **state)
{
    (void)state;
    postgres_install("postgres");
    fill("'a/1'", 10);
    struct bench *bench = open_bench("a/*");
    until_attached(bench);
    struct eg_log_request *request = calloc(1, sizeof(*request));
    assert_non_null(request);
    request->selection = eg_log_selection_new(&(struct eg_bytes){"a/1", 3}, 1);
    strcpy(request->tag, "zzzzzz");
    request->after = 3;
    request->done = done;
    eg_log_pager_read(bench->pager, request);
    await(bench, 1);
    assert_gap(request, EG_GAP_UNKNOWN, 10);
    assert_int_equal(request->page->after, 10);
    assert_true(request->page->at_head);
    assert_int_equal(request->page->count, 0);
    let_go(request);
    close_bench(bench);
}

static void a_cursor_beyond_the_head_is_of_a_lost_tail(void **state)
{
    (void)state;
    postgres_install("postgres");
    fill("'a/1'", 10);
    struct bench *bench = open_bench("a/*");
    until_attached(bench);
    struct eg_log_request *request = read_page(bench, "a/1", 11);
    assert_gap(request, EG_GAP_FAILOVER, 10);
    assert_int_equal(request->page->upto, 10);
    let_go(request);
    postgres_run("postgres", "SELECT eventgate.publish('a/2', '1')"); /* there now, though not read by this gateway */
    request = read_page(bench, "a/1", 11);
    assert_int_equal(request->gap_to, 0);
    assert_true(request->page->at_head);
    assert_int_equal(request->page->upto, 11);
    let_go(request);
    close_bench(bench);
}

static void a_cursor_inside_a_jump_is_of_a_lost_tail(void **state)
{
    (void)state;
    postgres_install("postgres");
    fill("'a/1'", 10);
    postgres_halt();
    postgres_resume();
    fill("'a/1'", 2);
    struct bench *bench = open_bench("a/*");
    until_attached(bench);
    const struct eg_log_jumps *jumps = eg_log_reader_state(bench->reader)->jumps;
    assert_int_equal(jumps->count, 1);
    uint64_t to = jumps->jumps[0].to;
    const uint64_t inside[] = {11, to - 1};
    for (size_t i = 0; i < 2; i++) {
        struct eg_log_request *request = read_page(bench, "a/1", inside[i]);
        assert_gap(request, EG_GAP_FAILOVER, to);
        assert_int_equal(request->page->count, 2);
        assert_true(request->page->after >= to);
        let_go(request);
    }
    assert_all(bench, "a/1", 10, "true"); /* both ends are the same place */
    assert_all(bench, "a/1", to, "true");
    assert_all(bench, "a/1", 3, "true");
    close_bench(bench);
}

static void what_retention_dropped_is_a_gap_up_to_there(void **state)
{
    (void)state;
    postgres_install("postgres");
    fill("'a/' || n % 2", 20);
    postgres_run("postgres", "DELETE FROM eventgate.log WHERE pos <= 8; UPDATE eventgate.channel SET pruned = 8 WHERE "
                             "name = 'a/0'; UPDATE eventgate.channel SET pruned = 7 WHERE name = 'a/1'");
    struct bench *bench = open_bench("a/*");
    until_attached(bench);
    struct eg_log_request *request = read_page(bench, "a/0", 7);
    assert_gap(request, EG_GAP_RETENTION, 8);
    assert_int_equal(request->page->count, 6);
    let_go(request);
    request = read_page(bench, "a/0", 8); /* a cursor on the last dropped row misses nothing; from the page kept */
    assert_int_equal(request->gap_to, 0);
    let_go(request);
    request = read_page(bench, "a/1", 7);
    assert_int_equal(request->gap_to, 0);
    let_go(request);
    request = read_page(bench, "a/*", 6);
    assert_gap(request, EG_GAP_RETENTION, 8);
    assert_int_equal(request->page->count, 12);
    let_go(request);
    request = read_page(bench, "a/0,a/1", 7);
    assert_gap(request, EG_GAP_RETENTION, 8);
    let_go(request);
    close_bench(bench);
}

static void the_head_of_an_emptied_log_is_what_was_dropped_last(void **state)
{
    (void)state;
    postgres_install("postgres");
    fill("'a/1'", 10);
    postgres_run("postgres", "DELETE FROM eventgate.log; UPDATE eventgate.channel SET pruned = 10");
    struct bench *bench = open_bench("a/*");
    until_attached(bench);
    assert_int_equal(bench->order.position, 10);
    struct eg_log_request *request = read_page(bench, "a/1", 10);
    assert_int_equal(request->gap_to, 0);
    assert_int_equal(request->page->upto, 10);
    let_go(request);
    request = read_page(bench, "a/1", 9);
    assert_gap(request, EG_GAP_RETENTION, 10);
    let_go(request);
    close_bench(bench);
}

static void requests_wait_while_the_database_is_away(void **state)
{
    (void)state;
    postgres_install("postgres");
    fill("'a/1'", 10);
    struct bench *bench = open_bench("a/*");
    until_attached(bench);
    postgres_halt();
    struct eg_log_request *request = ask(bench, "a/1", 2);
    while (eg_set_status_read(&bench->status).reading)
        eg_loop_turn(bench->loop, 50);
    struct eg_log_request *other = ask(bench, "a/1", 4000);
    postgres_resume();
    await(bench, 2);
    assert_int_equal(request->gap_to, 0);
    assert_int_equal(request->page->count - eg_log_page_find(request->page, 2), 8);
    assert_true(other->gap_to > 0); /* inside the restart's jump, or beyond the head */
    assert_int_equal(other->gap_reason, EG_GAP_FAILOVER);
    let_go(request);
    let_go(other);
    close_bench(bench);
}

static void requests_before_the_first_attach_wait_for_it(void **state)
{
    (void)state;
    postgres_install("postgres");
    fill("'a/1'", 10);
    struct bench *bench = open_bench("a/*");
    char *tag = postgres_ask("postgres", "SELECT tag FROM eventgate.state");
    strcpy(bench->order.tag, tag); /* so that ask() takes it */
    struct eg_log_request *request = ask(bench, "a/1", 0);
    bench->order.tag[0] = '\0';
    assert_int_equal(bench->done, 0);
    await(bench, 1);
    assert_int_equal(request->page->count, 10);
    assert_int_equal(request->gap_to, 0);
    free(tag);
    let_go(request);
    close_bench(bench);
}

static void pages_of_another_incarnation_are_forgotten(void **state)
{
    (void)state;
    postgres_install("postgres");
    fill("'a/1'", 10);
    struct bench *bench = open_bench("a/*");
    until_attached(bench);
    struct eg_log_request *request = read_page(bench, "a/1", 0);
    assert_int_equal(request->page->count, 10);
    let_go(request);
    postgres_run("postgres", "DELETE FROM eventgate.log WHERE pos > 5");
    postgres_halt();
    postgres_resume();
    fill("'a/1'", 1);
    bool known = false;
    while (!known) { /* until the reader knows of it */
        eg_loop_turn(bench->loop, 50);
        known = eg_log_reader_state(bench->reader)->jumps->count == 1;
    }
    assert_all(bench, "a/1", 0, "true");
    request = read_page(bench, "a/1", 7);
    assert_int_equal(request->gap_reason, EG_GAP_FAILOVER);
    assert_int_equal(request->page->count - eg_log_page_find(request->page, request->gap_to), 1);
    let_go(request);
    close_bench(bench);
}

/* Asked of the incarnation before, and answered by the new one, which the reader has found meanwhile. */
static void a_read_that_a_jump_overtakes_tells_of_it(void **state)
{
    (void)state;
    postgres_install("postgres");
    fill("'a/1'", 10);
    struct bench *bench = open_bench("a/*");
    until_attached(bench);
    let_go(read_page(bench, "a/1", 0));
    char *pid = postgres_ask("postgres", "SELECT pid FROM pg_stat_activity WHERE application_name LIKE '% page'");
    pid_t backend = (pid_t)strtol(pid, NULL, 10);
    free(pid);
    assert_true(backend > 1);
    assert_int_equal(kill(backend, SIGSTOP), 0);
    struct eg_log_request *request = ask(bench, "a/1", 4000);
    postgres_run("postgres", "SELECT eventgate.begin_incarnation(5000)");
    eg_log_reader_doubt(bench->reader);
    while (eg_log_reader_state(bench->reader)->jumps->count == 0)
        eg_loop_turn(bench->loop, 50);
    uint64_t to = eg_log_reader_state(bench->reader)->jumps->jumps[0].to;
    assert_int_equal(bench->done, 0);
    assert_int_equal(kill(backend, SIGCONT), 0);
    await(bench, 1);
    assert_gap(request, EG_GAP_FAILOVER, to);
    let_go(request);
    close_bench(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_channel_comes_page_by_page),
        cmocka_unit_test(many_channels_come_in_the_order_of_all_of_them),
        cmocka_unit_test(a_pattern_covers_the_sets_channels_only),
        cmocka_unit_test(pages_are_bounded_in_bytes),
        cmocka_unit_test(requests_for_the_same_share_a_page),
        cmocka_unit_test(a_cursor_of_another_log_is_unknown),
        cmocka_unit_test(a_cursor_beyond_the_head_is_of_a_lost_tail),
        cmocka_unit_test(a_cursor_inside_a_jump_is_of_a_lost_tail),
        cmocka_unit_test(what_retention_dropped_is_a_gap_up_to_there),
        cmocka_unit_test(the_head_of_an_emptied_log_is_what_was_dropped_last),
        cmocka_unit_test(requests_wait_while_the_database_is_away),
        cmocka_unit_test(requests_before_the_first_attach_wait_for_it),
        cmocka_unit_test(pages_of_another_incarnation_are_forgotten),
        cmocka_unit_test(a_read_that_a_jump_overtakes_tells_of_it),
    };
    eg_log_configure(EG_LOG_ERROR, EG_LOG_TEXT);
    return cmocka_run_group_tests(tests, postgres_start, postgres_stop);
}

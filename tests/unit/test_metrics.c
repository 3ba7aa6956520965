/* Blocks, sums, histograms, the text that Prometheus reads, and the table that people read. */
#include "eventgate/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#define THREADS 4
#define ROUNDS 20000

/* The table, as text. */
static const struct row {
    const char *name, *kind, *scope, *unit, *help, *labels; /* a family, or without a name a sample */
    bool histogram;
} table[] = {
#define FAMILY(called, is, of, in, says) {called, #is, #of, #in, says, NULL, false},
#define SAMPLE(id, has) {.labels = (has)},
#define BUCKETS(id, has) {.labels = (has), .histogram = true},
    EG_METRICS_TABLE(FAMILY, SAMPLE, BUCKETS)
#undef FAMILY
#undef SAMPLE
#undef BUCKETS
};

static char *render(void)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    eg_metrics_render(&buffer);
    char *text = eg_buffer_take(&buffer, NULL);
    assert_non_null(text);
    return text;
}

static bool shows(const char *line)
{
    char *text = render(), wanted[200];
    snprintf(wanted, sizeof(wanted), "\n%s\n", line);
    bool found = strstr(text, wanted) != NULL;
    free(text);
    return found;
}

static void assert_shows(const char *line)
{
    if (shows(line))
        return;
    char *text = render();
    fail_msg("no line \"%s\" in:\n%s", line, text);
}

static size_t count(const char *text, const char *part)
{
    size_t found = 0;
    while ((text = strstr(text, part)) != NULL)
        found++, text++;
    return found;
}

/* --- sums -------------------------------------------------------------------------------------------------------- */

static void process_metrics_are_one_sum_over_all_blocks(void **state)
{
    struct eg_metrics *a = eg_metrics_new(NULL), *b = eg_metrics_new(NULL), *shop = eg_metrics_new("shop");
    (void)state;
    eg_metrics_add(a, EG_METRIC_ACCEPTED, 5);
    eg_metrics_add(b, EG_METRIC_ACCEPTED, 6);
    eg_metrics_add(shop, EG_METRIC_ACCEPTED, 100);
    eg_metrics_add(a, EG_METRIC_STREAMS_SSE, 3);
    eg_metrics_add(b, EG_METRIC_STREAMS_SSE, -1); /* it took over one of a's */
    assert_int_equal(eg_metrics_sum(EG_METRIC_ACCEPTED), 111);
    assert_shows("eventgate_connections_accepted_total 111");
    assert_shows("eventgate_streams{transport=\"sse\"} 2");
    assert_shows("eventgate_streams{transport=\"poll\"} 0");
    eg_metrics_free(a);
    assert_int_equal(eg_metrics_sum(EG_METRIC_ACCEPTED), 106);
    eg_metrics_free(b);
    eg_metrics_free(shop);
    eg_metrics_free(NULL);
    assert_int_equal(eg_metrics_sum(EG_METRIC_ACCEPTED), 0);
}

static void set_metrics_have_a_line_for_each_set(void **state)
{
    struct eg_metrics *shop = eg_metrics_new("shop"), *chat = eg_metrics_new("chat");
    struct eg_metrics *shop_again = eg_metrics_new("shop"), *none = eg_metrics_new(NULL);
    (void)state;
    eg_metrics_add(shop, EG_METRIC_PUBLISHED, 7);
    eg_metrics_add(shop_again, EG_METRIC_PUBLISHED, 2);
    eg_metrics_add(none, EG_METRIC_PUBLISHED, 1000);
    assert_shows("eventgate_published_total{set=\"shop\",kind=\"live\",result=\"committed\"} 9");
    assert_shows("eventgate_published_total{set=\"chat\",kind=\"live\",result=\"committed\"} 0");
    char *text = render();
    assert_int_equal(count(text, "\neventgate_channels{"), 2);
    free(text);
    eg_metrics_free(shop);
    assert_shows("eventgate_published_total{set=\"shop\",kind=\"live\",result=\"committed\"} 2");
    eg_metrics_free(shop_again);
    eg_metrics_free(chat);
    eg_metrics_free(none);
}

static void the_blocks_of_many_sets_are_told_apart(void **state)
{
    enum { SETS = 20, BLOCKS = 3 };
    struct eg_metrics *blocks[SETS * BLOCKS];
    char name[20], line[100];
    (void)state;
    for (int i = 0; i < SETS * BLOCKS; i++) {
        snprintf(name, sizeof(name), "set%d", i % SETS);
        blocks[i] = eg_metrics_new(i % SETS == 7 ? NULL : name);
        eg_metrics_add(blocks[i], EG_METRIC_CHANNELS, i % SETS);
    }
    for (int i = 0; i < SETS; i++) {
        snprintf(line, sizeof(line), "eventgate_channels{set=\"set%d\"} %d", i, BLOCKS * i);
        assert_int_equal(shows(line), i != 7);
    }
    for (int i = 0; i < SETS * BLOCKS; i++)
        eg_metrics_free(blocks[i]);
}

static void setting_replaces_and_adding_adds(void **state)
{
    struct eg_metrics *metrics = eg_metrics_new("a");
    (void)state;
    eg_metrics_set(metrics, EG_METRIC_JOURNAL_BYTES, INT64_MAX);
    assert_shows("eventgate_journal_bytes{set=\"a\"} 9223372036854775807");
    eg_metrics_set(metrics, EG_METRIC_JOURNAL_BYTES, 4096);
    eg_metrics_add(metrics, EG_METRIC_JOURNAL_BYTES, -96);
    assert_shows("eventgate_journal_bytes{set=\"a\"} 4000");
    eg_metrics_free(metrics);
}

static void a_state_is_not_shown_before_it_is_set(void **state)
{
    struct eg_metrics *shop = eg_metrics_new("shop"), *other = eg_metrics_new("shop"), *chat = eg_metrics_new("chat");
    (void)state;
    eg_metrics_set(shop, EG_METRIC_PG_UP, 1);
    eg_metrics_set(chat, EG_METRIC_PG_UP, 0);
    assert_shows("eventgate_postgres_up{set=\"shop\",connection=\"listen\"} 1");
    assert_shows("eventgate_postgres_up{set=\"chat\",connection=\"listen\"} 0");
    char *text = render();
    assert_int_equal(count(text, "\neventgate_postgres_up{"), 2); /* the other connections aren't there */
    assert_int_equal(count(text, "\nprocess_open_fds "), 0);
    free(text);
    assert_int_equal(eg_metrics_sum(EG_METRIC_LOG_SIZE), 0);
    eg_metrics_set(shop, EG_METRIC_PG_UP, EG_METRIC_ABSENT);
    assert_false(shows("eventgate_postgres_up{set=\"shop\",connection=\"listen\"} 1"));
    eg_metrics_free(shop);
    eg_metrics_free(other);
    eg_metrics_free(chat);
}

static void millionths_are_shown_as_what_they_are_of(void **state)
{
    static const struct {
        int64_t value;
        const char *shown;
    } rows[] = {{0, "0"},        {1, "0.000001"},       {500000, "0.5"},          {1000000, "1"},
                {1, "0.000001"}, {1234567, "1.234567"}, {120000000000, "120000"}, {-1500000, "-1.5"}};
    struct eg_metrics *metrics = eg_metrics_new("a");
    char line[100];
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        eg_metrics_set(metrics, EG_METRIC_PG_QUEUE, rows[i].value);
        snprintf(line, sizeof(line), "eventgate_postgres_notification_queue_ratio{set=\"a\"} %s", rows[i].shown);
        assert_shows(line);
    }
    eg_metrics_free(metrics);
}

static void a_total_is_that_of_all_blocks(void **state)
{
    struct eg_metrics *a = eg_metrics_new(NULL), *b = eg_metrics_new(NULL);
    (void)state;
    eg_metrics_set_total(a, EG_METRIC_CPU, 1500000);
    eg_metrics_set_total(b, EG_METRIC_CPU, 2500000);
    eg_metrics_set_total(a, EG_METRIC_OPEN_FDS, 10);
    eg_metrics_set_total(b, EG_METRIC_OPEN_FDS, 7);
    assert_shows("process_cpu_seconds_total 2.5");
    assert_shows("process_open_fds 7");
    eg_metrics_free(a);
    eg_metrics_free(b);
}

/* --- histograms -------------------------------------------------------------------------------------------------- */

static void a_histogram_of_times(void **state)
{
    struct eg_metrics *shop = eg_metrics_new("shop"), *other = eg_metrics_new("shop");
    (void)state;
    eg_metrics_observe(shop, EG_METRIC_DELIVERY, 0, 1);
    eg_metrics_observe(shop, EG_METRIC_DELIVERY, 100, 2); /* a bound belongs to its bucket */
    eg_metrics_observe(shop, EG_METRIC_DELIVERY, 101, 10);
    eg_metrics_observe(other, EG_METRIC_DELIVERY, 10000000, 3);
    eg_metrics_observe(other, EG_METRIC_DELIVERY, 10000001, 4);
    assert_shows("eventgate_delivery_seconds_bucket{set=\"shop\",le=\"0.0001\"} 3");
    assert_shows("eventgate_delivery_seconds_bucket{set=\"shop\",le=\"0.0002\"} 13");
    assert_shows("eventgate_delivery_seconds_bucket{set=\"shop\",le=\"5\"} 13");
    assert_shows("eventgate_delivery_seconds_bucket{set=\"shop\",le=\"10\"} 16");
    assert_shows("eventgate_delivery_seconds_bucket{set=\"shop\",le=\"+Inf\"} 20");
    assert_shows("eventgate_delivery_seconds_sum{set=\"shop\"} 70.001214");
    assert_shows("eventgate_delivery_seconds_count{set=\"shop\"} 20");
    eg_metrics_free(shop);
    eg_metrics_free(other);
}

static void a_histogram_of_numbers(void **state)
{
    struct eg_metrics *shop = eg_metrics_new("shop");
    (void)state;
    eg_metrics_observe(shop, EG_METRIC_APPEND_BATCH, 1, 1);
    eg_metrics_observe(shop, EG_METRIC_APPEND_BATCH, 64, 1);
    eg_metrics_observe(shop, EG_METRIC_APPEND_BATCH, 2000, 1);
    assert_shows("eventgate_publish_batch_items_bucket{set=\"shop\",kind=\"durable\",le=\"1\"} 1");
    assert_shows("eventgate_publish_batch_items_bucket{set=\"shop\",kind=\"durable\",le=\"32\"} 1");
    assert_shows("eventgate_publish_batch_items_bucket{set=\"shop\",kind=\"durable\",le=\"64\"} 2");
    assert_shows("eventgate_publish_batch_items_bucket{set=\"shop\",kind=\"durable\",le=\"1024\"} 2");
    assert_shows("eventgate_publish_batch_items_bucket{set=\"shop\",kind=\"durable\",le=\"+Inf\"} 3");
    assert_shows("eventgate_publish_batch_items_sum{set=\"shop\",kind=\"durable\"} 2065");
    assert_shows("eventgate_publish_batch_items_bucket{set=\"shop\",kind=\"live\",le=\"+Inf\"} 0");
    eg_metrics_free(shop);
}

/* --- the table --------------------------------------------------------------------------------------------------- */

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), end_length = strlen(end);
    return length > end_length && strcmp(name + length - end_length, end) == 0;
}

static void each_name_is_explained_once_and_called_by_its_kind_and_unit(void **state)
{
    struct eg_metrics *metrics = eg_metrics_new("shop");
    char *text = render(), line[200];
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(table); i++) {
        const struct row *row = &table[i];
        if (!row->name)
            continue;
        bool counter = strcmp(row->kind, "COUNTER") == 0, histogram = strcmp(row->kind, "HISTOGRAM") == 0;
        assert_int_equal(ends_with(row->name, "_total"), counter);
        if (strcmp(row->unit, "MILLIONTHS") == 0)
            assert_true(ends_with(row->name, "_seconds") || ends_with(row->name, "_seconds_total") ||
                        ends_with(row->name, "_ratio"));
        assert_int_equal(row->help[strlen(row->help) - 1], '.');
        snprintf(line, sizeof(line), "# HELP %s ", row->name);
        assert_int_equal(count(text, line), 1);
        snprintf(line, sizeof(line), "# TYPE %s %s\n", row->name,
                 counter     ? "counter"
                 : histogram ? "histogram"
                             : "gauge");
        assert_int_equal(count(text, line), 1);
        for (size_t j = i + 1; j < EG_ARRAY_LENGTH(table) && !table[j].name; j++)
            assert_int_equal(table[j].histogram, histogram);
    }
    free(text);
    eg_metrics_free(metrics);
}

static void assert_promtool_is_content(void)
{
    char *text = render();
    FILE *promtool = popen("promtool check metrics", "w");
    assert_non_null(promtool);
    fputs(text, promtool);
    free(text);
    assert_int_equal(WEXITSTATUS(pclose(promtool)), 0);
}

static void promtool_accepts_it(void **state)
{
    (void)state;
    if (system("command -v promtool >/dev/null") != 0)
        skip();
    struct eg_metrics *process = eg_metrics_new(NULL);
    assert_promtool_is_content(); /* without any set */
    struct eg_metrics *shop = eg_metrics_new("shop"), *chat = eg_metrics_new("chat-2_b");
    for (int i = 0; i < EG_METRIC_COUNT; i++) /* whatever it is, there */
        eg_metrics_set(shop, (enum eg_metric)i, 1);
    assert_promtool_is_content();
    eg_metrics_free(process);
    eg_metrics_free(shop);
    eg_metrics_free(chat);
}

/* Adds the values that the label at `labels` has in the samples of a family: `a`, `b`. */
static void add_values(struct eg_buffer *text, const struct row *samples, const char *label, size_t length)
{
    char begin[60];
    struct eg_buffer seen = EG_BUFFER_INIT;
    snprintf(begin, sizeof(begin), "%.*s=\"", (int)length, label);
    eg_buffer_add(&seen, "", 1);
    for (const struct row *row = samples; row < table + EG_ARRAY_LENGTH(table) && !row->name; row++) {
        const char *value = strstr(row->labels, begin);
        assert_non_null(value);
        value += strlen(begin);
        char shown[80];
        snprintf(shown, sizeof(shown), " `%.*s`", (int)(strchr(value, '"') - value), value);
        if (strstr(seen.data, shown))
            continue;
        eg_buffer_add_format(text, "%s%s", seen.length > 1 ? "," : "", shown);
        seen.length--;
        eg_buffer_add(&seen, shown, strlen(shown) + 1);
    }
    eg_buffer_done(&seen);
}

static void add_labels(struct eg_buffer *text, const struct row *family)
{
    const char *label = family[1].labels;
    bool of_set = strcmp(family->scope, "SET") == 0;
    eg_buffer_add_string(text, of_set ? "`set`" : "");
    for (bool first = !of_set; *label; first = false) {
        size_t length = strcspn(label, "=");
        eg_buffer_add_format(text, "%s`%.*s`:", first ? "" : "; ", (int)length, label);
        if (strcmp(family->name, "eventgate_build_info") == 0)
            eg_buffer_add_string(text, " of the program"); /* it changes */
        else
            add_values(text, family + 1, label, length);
        label = strchr(label + length + 2, '"') + 1;
        label += *label == ',';
    }
}

static char *make_reference(void)
{
    struct eg_buffer text = EG_BUFFER_INIT;
    eg_buffer_add_string(&text, "| metric | type | labels | |\n|---|---|---|---|\n");
    for (size_t i = 0; i < EG_ARRAY_LENGTH(table); i++) {
        const struct row *row = &table[i];
        if (!row->name)
            continue;
        eg_buffer_add_format(&text, "| `%s` | %s | ", row->name,
                             strcmp(row->kind, "COUNTER") == 0     ? "counter"
                             : strcmp(row->kind, "HISTOGRAM") == 0 ? "histogram"
                                                                   : "gauge");
        add_labels(&text, row);
        eg_buffer_add_format(&text, " | %s |\n", row->help);
    }
    return eg_buffer_take(&text, NULL);
}

static void the_documentation_has_the_metrics_of_the_program(void **state)
{
    static const char begin[] = "<!-- metrics: begin -->\n", end[] = "<!-- metrics: end -->";
    static char page[65536];
    (void)state;
    FILE *file = fopen(EG_SOURCE_DIR "/docs/metrics.md", "re");
    assert_non_null(file);
    size_t length = fread(page, 1, sizeof(page) - 1, file);
    assert_true(length < sizeof(page) - 1);
    fclose(file);
    char *expected = make_reference(), *there = strstr(page, begin);
    assert_non_null(there);
    there += strlen(begin);
    char *stop = strstr(there, end);
    assert_non_null(stop);
    *stop = '\0';
    assert_string_equal(there, expected);
    free(expected);
}

/* --- threads ----------------------------------------------------------------------------------------------------- */

static void *add_many(void *context)
{
    for (int i = 0; i < ROUNDS; i++) {
        eg_metrics_add(context, EG_METRIC_RECEIVED_LIVE, 1);
        eg_metrics_observe(context, EG_METRIC_DELIVERY, 1000, 1);
    }
    return NULL;
}

static void *make_and_free_many(void *context)
{
    (void)context;
    for (int i = 0; i < ROUNDS / 10; i++)
        eg_metrics_free(eg_metrics_new("passing"));
    return NULL;
}

static void threads_lose_no_count(void **state)
{
    pthread_t threads[THREADS], maker;
    struct eg_metrics *metrics = eg_metrics_new("shop");
    (void)state;
    assert_int_equal(pthread_create(&maker, NULL, make_and_free_many, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add_many, metrics), 0);
    for (int i = 0; i < 10; i++) /* while they count */
        free(render());
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_join(maker, NULL);
    assert_int_equal(eg_metrics_sum(EG_METRIC_RECEIVED_LIVE), THREADS * ROUNDS);
    assert_shows("eventgate_delivery_seconds_count{set=\"shop\"} 80000");
    assert_shows("eventgate_delivery_seconds_sum{set=\"shop\"} 80");
    eg_metrics_free(metrics);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(process_metrics_are_one_sum_over_all_blocks),
        cmocka_unit_test(set_metrics_have_a_line_for_each_set),
        cmocka_unit_test(the_blocks_of_many_sets_are_told_apart),
        cmocka_unit_test(setting_replaces_and_adding_adds),
        cmocka_unit_test(a_state_is_not_shown_before_it_is_set),
        cmocka_unit_test(millionths_are_shown_as_what_they_are_of),
        cmocka_unit_test(a_total_is_that_of_all_blocks),
        cmocka_unit_test(a_histogram_of_times),
        cmocka_unit_test(a_histogram_of_numbers),
        cmocka_unit_test(each_name_is_explained_once_and_called_by_its_kind_and_unit),
        cmocka_unit_test(promtool_accepts_it),
        cmocka_unit_test(the_documentation_has_the_metrics_of_the_program),
        cmocka_unit_test(threads_lose_no_count),
    };
    if (argc > 1 && strcmp(argv[1], "--reference") == 0) { /* for docs/metrics.md */
        char *reference = make_reference();
        fputs(reference, stdout);
        free(reference);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

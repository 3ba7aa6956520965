/* Blocks, sums, and the text that Prometheus reads. */
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

static char *render(void)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    eg_metrics_render(&buffer);
    char *text = eg_buffer_take(&buffer, NULL);
    assert_non_null(text);
    return text;
}

static void assert_shows(const char *line)
{
    char *text = render(), wanted[200];
    snprintf(wanted, sizeof(wanted), "\n%s\n", line);
    if (!strstr(text, wanted))
        fail_msg("no line \"%s\" in:\n%s", line, text);
    free(text);
}

static size_t count(const char *text, const char *part)
{
    size_t found = 0;
    while ((text = strstr(text, part)) != NULL)
        found++, text++;
    return found;
}

static void process_metrics_are_one_sum_over_all_blocks(void **state)
{
    struct eg_metrics *a = eg_metrics_new(NULL), *b = eg_metrics_new(NULL), *shop = eg_metrics_new("shop");
    (void)state;
    eg_metrics_add(a, EG_METRIC_DELIVERIES, 5);
    eg_metrics_add(b, EG_METRIC_DELIVERIES, 6);
    eg_metrics_add(shop, EG_METRIC_DELIVERIES, 100);
    eg_metrics_add(a, EG_METRIC_STREAMS_SSE, 3);
    eg_metrics_add(b, EG_METRIC_STREAMS_SSE, -1); /* it took over one of a's */
    assert_int_equal(eg_metrics_sum(EG_METRIC_DELIVERIES), 111);
    assert_shows("eventgate_deliveries_total 111");
    assert_shows("eventgate_streams{transport=\"sse\"} 2");
    assert_shows("eventgate_streams{transport=\"poll\"} 0");
    eg_metrics_free(a);
    assert_int_equal(eg_metrics_sum(EG_METRIC_DELIVERIES), 106);
    eg_metrics_free(b);
    eg_metrics_free(shop);
    eg_metrics_free(NULL);
    assert_int_equal(eg_metrics_sum(EG_METRIC_DELIVERIES), 0);
}

static void set_metrics_have_a_line_for_each_set(void **state)
{
    struct eg_metrics *shop = eg_metrics_new("shop"), *chat = eg_metrics_new("chat");
    struct eg_metrics *shop_again = eg_metrics_new("shop"), *none = eg_metrics_new(NULL);
    (void)state;
    eg_metrics_set(shop, EG_METRIC_PG_UP, 1);
    eg_metrics_add(shop, EG_METRIC_PUBLISHED, 7);
    eg_metrics_add(shop_again, EG_METRIC_PUBLISHED, 2);
    eg_metrics_add(none, EG_METRIC_PUBLISHED, 1000);
    assert_shows("eventgate_postgres_listening{set=\"shop\"} 1");
    assert_shows("eventgate_postgres_listening{set=\"chat\"} 0");
    assert_shows("eventgate_published_total{set=\"shop\",result=\"committed\"} 9");
    char *text = render();
    assert_int_equal(count(text, "\neventgate_postgres_listening{"), 2);
    free(text);
    eg_metrics_free(shop);
    assert_shows("eventgate_published_total{set=\"shop\",result=\"committed\"} 2");
    eg_metrics_free(shop_again);
    eg_metrics_free(chat);
    eg_metrics_free(none);
}

static void setting_replaces_and_adding_adds(void **state)
{
    struct eg_metrics *metrics = eg_metrics_new(NULL);
    (void)state;
    eg_metrics_set(metrics, EG_METRIC_MEMORY, INT64_MAX);
    assert_shows("eventgate_resident_memory_bytes 9223372036854775807");
    eg_metrics_set(metrics, EG_METRIC_MEMORY, 4096);
    eg_metrics_add(metrics, EG_METRIC_MEMORY, -96);
    assert_shows("eventgate_resident_memory_bytes 4000");
    eg_metrics_free(metrics);
}

static void each_name_is_explained_once_and_called_by_its_kind(void **state)
{
    static const struct {
        const char *name, *kind;
    } table[] = {
#define X(id, name, labels, kind, scope, help) {name, #kind},
        EG_METRICS_TABLE(X)
#undef X
    };
    struct eg_metrics *metrics = eg_metrics_new("shop");
    char *text = render(), line[200];
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(table); i++) {
        size_t length = strlen(table[i].name);
        bool total = length > 6 && strcmp(table[i].name + length - 6, "_total") == 0;
        assert_int_equal(total, strcmp(table[i].kind, "COUNTER") == 0);
        snprintf(line, sizeof(line), "# HELP %s ", table[i].name);
        assert_int_equal(count(text, line), 1);
        snprintf(line, sizeof(line), "# TYPE %s %s\n", table[i].name, total ? "counter" : "gauge");
        assert_int_equal(count(text, line), 1);
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
    assert_promtool_is_content();
    eg_metrics_free(process);
    eg_metrics_free(shop);
    eg_metrics_free(chat);
}

static void *add_many(void *context)
{
    for (int i = 0; i < ROUNDS; i++)
        eg_metrics_add(context, EG_METRIC_NOTIFICATIONS, 1);
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
    assert_int_equal(eg_metrics_sum(EG_METRIC_NOTIFICATIONS), THREADS * ROUNDS);
    eg_metrics_free(metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(process_metrics_are_one_sum_over_all_blocks),
        cmocka_unit_test(set_metrics_have_a_line_for_each_set),
        cmocka_unit_test(setting_replaces_and_adding_adds),
        cmocka_unit_test(each_name_is_explained_once_and_called_by_its_kind),
        cmocka_unit_test(promtool_accepts_it),
        cmocka_unit_test(threads_lose_no_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

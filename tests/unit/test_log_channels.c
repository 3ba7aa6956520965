/* The durable channels that the log's reader knows: found, announced, forgotten. */
#include "eventgate/log_channels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORKERS 2u

static struct eg_config_channel listed[] = {{"order/*", 7, true}, {"news", 4, false}};
static const struct eg_config_set set = {.durable = listed, .durable_count = 2, .max_channels = 3};

struct bench {
    struct eg_channel_table *listing;
    struct eg_log_channels *channels;
    char told[512];                       /* +NAME, -NAME, and | for what comes before */
    struct eg_channel *held[16][WORKERS]; /* as the workers' journals would */
    size_t held_count;
};

static void feed(void *context, int worker, const struct eg_feed_item *items, size_t count)
{
    struct bench *bench = context;
    assert_int_equal(worker, -1);
    assert_int_equal(count, 1);
    size_t length = strlen(bench->told);
    snprintf(bench->told + length, sizeof(bench->told) - length, "%c%s ", items->kind == EG_FEED_LISTENED ? '+' : '-',
             items->channel->name);
    for (uint32_t i = 0; i < WORKERS; i++) {
        if (items->kind == EG_FEED_LISTENED)
            bench->held[bench->held_count][i] = eg_channel_ref(items->channel);
        else
            for (size_t h = 0; h < bench->held_count; h++)
                if (bench->held[h][i] == items->channel) {
                    eg_channel_unref(items->channel);
                    bench->held[h][i] = NULL;
                }
    }
    bench->held_count += items->kind == EG_FEED_LISTENED;
}

static void before(void *context)
{
    struct bench *bench = context;
    strcat(bench->told, "| ");
}

static struct bench *open_bench(void)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    assert_non_null(bench);
    bench->listing = eg_channel_table_new();
    bench->channels = eg_log_channels_new(&set, WORKERS, bench->listing, (struct eg_feed_sink){feed, bench});
    assert_non_null(bench->channels);
    return bench;
}

static void close_bench(struct bench *bench)
{
    eg_log_channels_free(bench->channels);
    eg_channel_table_free(bench->listing);
    for (size_t h = 0; h < bench->held_count; h++)
        for (uint32_t i = 0; i < WORKERS; i++)
            eg_channel_unref(bench->held[h][i]);
    free(bench);
}

static struct eg_channel *find(struct bench *bench, const char *name)
{
    struct eg_channel *channel;
    assert_int_equal(
        eg_log_channels_find(bench->channels, (struct eg_bytes){name, strlen(name)}, before, bench, &channel), 0);
    return channel;
}

static void a_channel_of_the_set_is_announced_once(void **state)
{
    (void)state;
    struct bench *bench = open_bench();
    struct eg_channel *channel = find(bench, "order/1");
    assert_string_equal(channel->name, "order/1");
    assert_false(channel->permanent);
    assert_ptr_equal(find(bench, "order/1"), channel);
    assert_true(find(bench, "news")->permanent);
    assert_string_equal(bench->told, "| +order/1 | +news ");
    assert_int_equal(eg_channel_table_count(bench->listing), 2);
    close_bench(bench);
}

static void channels_of_other_sets_are_none(void **state)
{
    (void)state;
    struct bench *bench = open_bench();
    assert_null(find(bench, "order/1/paid"));
    assert_null(find(bench, "newsletter"));
    assert_string_equal(bench->told, "");
    close_bench(bench);
}

static void the_longest_unused_is_forgotten(void **state)
{
    (void)state;
    struct bench *bench = open_bench();
    find(bench, "order/1");
    find(bench, "order/2");
    find(bench, "order/3");
    find(bench, "order/1");
    find(bench, "order/4");
    assert_non_null(strstr(bench->told, "| -order/2 +order/4 "));
    assert_int_equal(eg_channel_table_count(bench->listing), 3);
    close_bench(bench);
}

static void one_that_events_refer_to_is_not_forgotten(void **state)
{
    (void)state;
    struct bench *bench = open_bench();
    struct eg_channel *first = eg_channel_ref(find(bench, "order/1")); /* an event's */
    find(bench, "order/2");
    find(bench, "order/3");
    find(bench, "order/4");
    assert_non_null(strstr(bench->told, "| -order/2 +order/4 "));
    struct eg_channel *second = eg_channel_ref(find(bench, "order/3"));
    struct eg_channel *third = eg_channel_ref(find(bench, "order/4"));
    find(bench, "order/5"); /* none can go: the bound gives way */
    assert_int_equal(eg_channel_table_count(bench->listing), 4);
    eg_channel_unref(first);
    find(bench, "order/6");
    assert_non_null(strstr(bench->told, "| -order/1 "));
    assert_int_equal(eg_channel_table_count(bench->listing), 3); /* back within the bound */
    eg_channel_unref(second);
    eg_channel_unref(third);
    close_bench(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_channel_of_the_set_is_announced_once),
        cmocka_unit_test(channels_of_other_sets_are_none),
        cmocka_unit_test(the_longest_unused_is_forgotten),
        cmocka_unit_test(one_that_events_refer_to_is_not_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

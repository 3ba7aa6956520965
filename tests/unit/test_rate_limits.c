/* Token buckets, and the table that forgets the full ones first. */
#include "eventgate/rate_limits.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SECONDLY 3600u /* of a rate: one in a second */
#define PLACES 65536u

static uint64_t wait_ms;

static int take(struct eg_rate_limits *limits, struct eg_rate rate, const char *key, uint32_t amount, uint64_t now_ms)
{
    wait_ms = 0;
    return eg_rate_limits_take(limits, rate, key, strlen(key), amount, now_ms, &wait_ms);
}

static void a_bucket_has_a_burst_and_is_filled_at_the_rate(void **state)
{
    struct eg_rate_limits *limits = eg_rate_limits_new();
    const struct eg_rate rate = {2 * SECONDLY, 3};
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(take(limits, rate, "a", 1, 1000), 0);
    assert_int_equal(take(limits, rate, "a", 1, 1000), -EAGAIN);
    assert_int_equal(wait_ms, 500);
    assert_int_equal(take(limits, rate, "a", 1, 1499), -EAGAIN);
    assert_int_equal(wait_ms, 1);
    assert_int_equal(take(limits, rate, "a", 1, 1500), 0);
    assert_int_equal(take(limits, rate, "a", 1, 1500), -EAGAIN);
    /* However long nothing is taken, there is no more than the burst. */
    assert_int_equal(take(limits, rate, "a", 3, 1000000), 0);
    assert_int_equal(take(limits, rate, "a", 1, 1000000), -EAGAIN);
    eg_rate_limits_free(limits);
}

static void each_has_a_bucket_of_its_own(void **state)
{
    struct eg_rate_limits *limits = eg_rate_limits_new();
    const struct eg_rate rate = {SECONDLY, 1};
    char key[16];
    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "%d", i);
        assert_int_equal(take(limits, rate, key, 1, 1000), 0);
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "%d", i);
        assert_int_equal(take(limits, rate, key, 1, 1000), -EAGAIN);
    }
    assert_int_equal(take(limits, rate, "", 1, 1000), 0); /* of any length */
    assert_int_equal(take(limits, rate, "a key of more than sixteen bytes", 1, 1000), 0);
    assert_int_equal(take(limits, rate, "a key of more than sixteen bytez", 1, 1000), 0);
    assert_int_equal(eg_rate_limits_forgotten(limits), 0);
    eg_rate_limits_free(limits);
}

static void several_are_taken_together_or_not_at_all(void **state)
{
    struct eg_rate_limits *limits = eg_rate_limits_new();
    const struct eg_rate rate = {10 * SECONDLY, 10};
    (void)state;
    assert_int_equal(take(limits, rate, "a", 11, 1000), -E2BIG);
    assert_int_equal(take(limits, rate, "a", 7, 1000), 0);
    assert_int_equal(take(limits, rate, "a", 4, 1000), -EAGAIN);
    assert_int_equal(wait_ms, 100);
    assert_int_equal(take(limits, rate, "a", 3, 1000), 0);
    assert_int_equal(take(limits, rate, "a", 10, 1000), -EAGAIN);
    assert_int_equal(wait_ms, 1000);
    eg_rate_limits_free(limits);
}

static void slow_rates_and_large_bursts_are_exact(void **state)
{
    struct eg_rate_limits *limits = eg_rate_limits_new();
    const struct eg_rate hourly = {1, 1}, most = {UINT32_MAX, 1000000}, slow = {1, 1000000};
    (void)state;
    assert_int_equal(take(limits, hourly, "a", 1, 1000), 0);
    assert_int_equal(take(limits, hourly, "a", 1, 1001), -EAGAIN);
    assert_int_equal(wait_ms, 3600000 - 1);
    assert_int_equal(take(limits, most, "b", 1000000, 1000), 0);
    assert_int_equal(take(limits, most, "b", 1, 1000), -EAGAIN);
    assert_int_equal(wait_ms, 1);
    assert_int_equal(take(limits, slow, "c", 1000000, 1000), 0);
    assert_int_equal(take(limits, slow, "c", 1000000, 1000), -EAGAIN);
    assert_int_equal(wait_ms, UINT64_C(3600000) * 1000000);
    eg_rate_limits_free(limits);
}

static void a_new_rate_counts_at_once(void **state)
{
    struct eg_rate_limits *limits = eg_rate_limits_new();
    const struct eg_rate slow = {1, 5}, quick = {SECONDLY, 5}, none = {0, 1};
    (void)state;
    assert_int_equal(take(limits, slow, "a", 5, 1000), 0);
    assert_int_equal(take(limits, slow, "a", 1, 1000), -EAGAIN);
    assert_int_equal(take(limits, none, "a", 100, 1000), 0);
    assert_int_equal(take(limits, quick, "a", 1, 1000), -EAGAIN);
    assert_int_equal(wait_ms, 1000);
    assert_int_equal(take(limits, quick, "a", 1, 2000), 0);
    eg_rate_limits_free(limits);
}

static void fill(struct eg_rate_limits *limits, struct eg_rate rate, uint32_t count, uint64_t now_ms)
{
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(eg_rate_limits_take(limits, rate, &i, sizeof(i), 1, now_ms, &wait_ms), 0);
}

static void full_buckets_are_forgotten_first(void **state)
{
    struct eg_rate_limits *limits = eg_rate_limits_new();
    const struct eg_rate rate = {SECONDLY, 1}, slow = {1, 5};
    (void)state;
    assert_int_equal(take(limits, slow, "in debt", 5, 1000), 0);
    for (uint64_t round = 1; round <= 8; round++)
        fill(limits, rate, PLACES / 8, round * 10000); /* the buckets of a round are full in the next */
    assert_int_equal(eg_rate_limits_forgotten(limits), 0);
    assert_int_equal(take(limits, slow, "in debt", 1, 100000), -EAGAIN);
    eg_rate_limits_free(limits);
}

static void more_than_the_table_has_places_for_forget_each_other(void **state)
{
    struct eg_rate_limits *limits = eg_rate_limits_new();
    const struct eg_rate rate = {1, 1}, slow = {1, 100};
    (void)state;
    /* The one that is the farthest from full is the last to be forgotten. */
    assert_int_equal(take(limits, slow, "in debt", 100, 1000), 0);
    fill(limits, rate, 4 * PLACES, 2000);
    assert_in_range(eg_rate_limits_forgotten(limits), 3 * PLACES, 4 * PLACES);
    assert_int_equal(take(limits, slow, "in debt", 1, 3000), -EAGAIN);
    eg_rate_limits_free(limits);
}

struct contest {
    struct eg_rate_limits *limits;
    _Atomic uint32_t taken;
};

static void *take_many(void *context)
{
    struct contest *contest = context;
    const struct eg_rate rate = {1, 1000};
    uint64_t wait;
    for (int i = 0; i < 5000; i++)
        if (eg_rate_limits_take(contest->limits, rate, "shared", 6, 1, 1000, &wait) == 0)
            atomic_fetch_add(&contest->taken, 1);
    return NULL;
}

static void threads_share_a_bucket(void **state)
{
    struct contest contest = {.limits = eg_rate_limits_new()};
    pthread_t threads[4];
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_many, &contest), 0);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&contest.taken), 1000);
    eg_rate_limits_free(contest.limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_has_a_burst_and_is_filled_at_the_rate),
        cmocka_unit_test(each_has_a_bucket_of_its_own),
        cmocka_unit_test(several_are_taken_together_or_not_at_all),
        cmocka_unit_test(slow_rates_and_large_bursts_are_exact),
        cmocka_unit_test(a_new_rate_counts_at_once),
        cmocka_unit_test(full_buckets_are_forgotten_first),
        cmocka_unit_test(more_than_the_table_has_places_for_forget_each_other),
        cmocka_unit_test(threads_share_a_bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

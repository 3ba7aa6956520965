/* Which tokens are revoked. */
#include "eventgate/revocations.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S 1000000

static bool has(struct eg_revocations *revocations, const char *subject, int64_t issued_s)
{
    struct eg_grants *grants = eg_grants_new((struct eg_bytes){subject, strlen(subject)}, issued_s, EG_GRANTS_NEVER);
    bool revoked = eg_revocations_has(revocations, grants);
    eg_grants_unref(grants);
    return revoked;
}

static void revoke(struct eg_revocations *revocations, const char *subject, int64_t before_us)
{
    assert_int_equal(eg_revocations_add(revocations, subject, strlen(subject), before_us), 0);
}

static void revokes_what_was_issued_before(void **state)
{
    struct eg_revocations *revocations = eg_revocations_new();
    (void)state;
    assert_false(has(revocations, "alice", 5));
    revoke(revocations, "alice", 10 * S);
    assert_true(has(revocations, "alice", 9));
    assert_false(has(revocations, "alice", 10));
    assert_false(has(revocations, "alic", 9));
    assert_false(has(revocations, "alice2", 9));
    assert_false(has(revocations, "bob", 9));
    eg_revocations_free(revocations);
}

static void counts_a_second_that_has_begun(void **state)
{
    struct eg_revocations *revocations = eg_revocations_new();
    (void)state;
    revoke(revocations, "alice", 10 * S + 1);
    assert_true(has(revocations, "alice", 10));
    assert_false(has(revocations, "alice", 11));
    revoke(revocations, "old", -10 * S + 1);
    assert_true(has(revocations, "old", -10));
    assert_false(has(revocations, "old", -9));
    eg_revocations_free(revocations);
}

static void revokes_a_token_without_a_date(void **state)
{
    struct eg_revocations *revocations = eg_revocations_new();
    (void)state;
    revoke(revocations, "alice", 10 * S);
    assert_true(has(revocations, "alice", EG_GRANTS_UNDATED));
    eg_revocations_free(revocations);
}

static void keeps_the_latest_time(void **state)
{
    struct eg_revocations *revocations = eg_revocations_new();
    (void)state;
    revoke(revocations, "alice", 10 * S);
    revoke(revocations, "alice", 5 * S);
    assert_true(has(revocations, "alice", 9));
    revoke(revocations, "alice", 20 * S);
    assert_true(has(revocations, "alice", 19));
    eg_revocations_free(revocations);
}

static void nobody_cannot_be_revoked(void **state)
{
    struct eg_revocations *revocations = eg_revocations_new();
    (void)state;
    revoke(revocations, "", 10 * S);
    assert_false(has(revocations, "", 5));
    assert_false(eg_revocations_has(revocations, NULL));
    eg_revocations_free(revocations);
}

static void is_known_when_all_databases_have_been_read(void **state)
{
    struct eg_revocations *revocations = eg_revocations_new();
    (void)state;
    assert_true(eg_revocations_known(revocations));
    eg_revocations_expect(revocations);
    eg_revocations_expect(revocations);
    assert_false(eg_revocations_known(revocations));
    eg_revocations_arrived(revocations);
    assert_false(eg_revocations_known(revocations));
    eg_revocations_arrived(revocations);
    assert_true(eg_revocations_known(revocations));
    eg_revocations_free(revocations);
    eg_revocations_free(NULL);
}

static void *ask(void *context)
{
    struct eg_revocations *revocations = context;
    while (!has(revocations, "999", 1))
        (void)eg_revocations_known(revocations);
    return NULL;
}

static void is_shared_by_threads(void **state)
{
    struct eg_revocations *revocations = eg_revocations_new();
    pthread_t threads[2];
    char subject[20];
    (void)state;
    eg_revocations_expect(revocations);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, revocations), 0);
    for (int i = 0; i < 1000; i++) {
        snprintf(subject, sizeof(subject), "%d", i);
        revoke(revocations, subject, 10 * S);
    }
    eg_revocations_arrived(revocations);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    eg_revocations_free(revocations);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(revokes_what_was_issued_before), cmocka_unit_test(counts_a_second_that_has_begun),
        cmocka_unit_test(revokes_a_token_without_a_date), cmocka_unit_test(keeps_the_latest_time),
        cmocka_unit_test(nobody_cannot_be_revoked),       cmocka_unit_test(is_known_when_all_databases_have_been_read),
        cmocka_unit_test(is_shared_by_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

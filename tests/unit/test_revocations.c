/* Which tokens are revoked. */
#include "eventgate/revocations.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S 1000000

static struct eg_revocations *revocations;
static int database;

static int open_revocations(void **state)
{
    (void)state;
    revocations = eg_revocations_new();
    database = eg_revocations_expect(revocations, true);
    assert_int_equal(database, 0);
    eg_revocations_begin(revocations, database);
    eg_revocations_end(revocations, database);
    return 0;
}

static int close_revocations(void **state)
{
    (void)state;
    eg_revocations_free(revocations);
    return 0;
}

static bool has(const char *subject, int64_t issued_s)
{
    struct eg_grants *grants = eg_grants_new((struct eg_bytes){subject, strlen(subject)}, issued_s, EG_GRANTS_NEVER);
    bool revoked = eg_revocations_has(revocations, grants);
    eg_grants_unref(grants);
    return revoked;
}

static void revoke_in(int number, const char *subject, int64_t before_us)
{
    struct eg_bytes bytes = {subject, strlen(subject)};
    assert_int_equal(eg_revocations_set(revocations, number, bytes, before_us), 0);
}

static void revoke(const char *subject, int64_t before_us)
{
    revoke_in(database, subject, before_us);
}

static void revokes_what_was_issued_before(void **state)
{
    (void)state;
    assert_false(has("alice", 5));
    revoke("alice", 10 * S);
    assert_true(has("alice", 9));
    assert_false(has("alice", 10));
    assert_false(has("alic", 9));
    assert_false(has("alice2", 9));
    assert_false(has("bob", 9));
    revoke("alice", 20 * S);
    assert_true(has("alice", 19));
    revoke("bob", INT64_MAX);
    assert_true(has("bob", INT64_C(1) << 40));
}

static void counts_a_second_that_has_begun(void **state)
{
    (void)state;
    revoke("alice", 10 * S + 1);
    assert_true(has("alice", 10));
    assert_false(has("alice", 11));
    revoke("old", -10 * S + 1);
    assert_true(has("old", -10));
    assert_false(has("old", -9));
}

static void revokes_a_token_without_a_date(void **state)
{
    (void)state;
    revoke("alice", 10 * S);
    assert_true(has("alice", EG_GRANTS_UNDATED));
}

static void takes_a_revocation_back(void **state)
{
    (void)state;
    revoke("alice", 10 * S);
    revoke("alice", EG_REVOCATIONS_NOT);
    assert_false(has("alice", 9));
    assert_false(has("alice", EG_GRANTS_UNDATED));
    revoke("bob", EG_REVOCATIONS_NOT);
    assert_false(has("bob", 9));
}

static void nobody_cannot_be_revoked(void **state)
{
    (void)state;
    revoke("", 10 * S);
    assert_false(has("", 5));
    assert_false(eg_revocations_has(revocations, NULL));
}

static void a_database_read_whole_says_all_anew_at_its_end(void **state)
{
    (void)state;
    revoke("alice", 10 * S);
    revoke("bob", 10 * S);
    eg_revocations_begin(revocations, database);
    revoke("lost", 10 * S); /* with the session that said so */
    eg_revocations_begin(revocations, database);
    revoke("bob", 20 * S);
    assert_true(has("alice", 9));
    assert_false(has("bob", 15));
    eg_revocations_end(revocations, database);
    assert_false(has("alice", 9));
    assert_true(has("bob", 15));
    assert_false(has("lost", 9));
    revoke("alice", 10 * S);
    assert_true(has("alice", 9));
}

static void each_database_counts(void **state)
{
    int second = eg_revocations_expect(revocations, true);
    (void)state;
    assert_int_equal(second, 1);
    assert_false(eg_revocations_known(revocations));
    revoke_in(second, "alice", 10 * S);
    assert_true(has("alice", 9));
    revoke_in(database, "alice", 5 * S);
    assert_true(has("alice", 9));
    eg_revocations_begin(revocations, second);
    eg_revocations_end(revocations, second);
    assert_true(eg_revocations_known(revocations));
    assert_true(has("alice", 4));
    assert_false(has("alice", 9));
}

static void is_not_known_while_one_cannot_be_read(void **state)
{
    (void)state;
    assert_true(eg_revocations_known(revocations));
    eg_revocations_miss(revocations, true);
    assert_false(eg_revocations_known(revocations));
    eg_revocations_miss(revocations, false);
    assert_true(eg_revocations_known(revocations));
}

static void is_known_when_all_databases_have_been_read(void **state)
{
    int first, second;
    (void)state;
    struct eg_revocations *others = eg_revocations_new();
    assert_true(eg_revocations_known(others));
    first = eg_revocations_expect(others, true);
    second = eg_revocations_expect(others, true);
    eg_revocations_begin(others, first);
    assert_false(eg_revocations_known(others));
    eg_revocations_end(others, first);
    eg_revocations_begin(others, first);
    eg_revocations_end(others, first);
    assert_false(eg_revocations_known(others));
    eg_revocations_begin(others, second);
    eg_revocations_end(others, second);
    assert_true(eg_revocations_known(others));
    eg_revocations_begin(others, second); /* a new session: what was known holds */
    assert_true(eg_revocations_known(others));
    eg_revocations_free(others);
    eg_revocations_free(NULL);
}

static void has_a_limit(void **state)
{
    char subject[20];
    struct eg_bytes bytes = {subject, 0};
    (void)state;
    for (unsigned i = 0; i < EG_REVOCATIONS_MAX; i++) {
        bytes.length = (size_t)snprintf(subject, sizeof(subject), "%u", i);
        if (eg_revocations_set(revocations, database, bytes, S) != 0)
            fail_msg("%u", i);
    }
    bytes.length = (size_t)snprintf(subject, sizeof(subject), "one more");
    assert_int_equal(eg_revocations_set(revocations, database, bytes, S), -ENOSPC);
    revoke("0", 2 * S);
    assert_true(has("0", 1));
    assert_true(has("999999", 0));
}

static void *ask(void *context)
{
    (void)context;
    while (!has("999", 1))
        (void)eg_revocations_known(revocations);
    return NULL;
}

static void a_database_that_is_forgotten_revokes_nothing(void **state)
{
    (void)state;
    int other = eg_revocations_expect(revocations, false);
    assert_true(eg_revocations_known(revocations)); /* it isn't awaited */
    revoke("alice", 10 * S);
    revoke_in(other, "alice", 10 * S);
    revoke_in(other, "bob", 10 * S);
    eg_revocations_forget(revocations, other);
    assert_true(has("alice", 5) && !has("bob", 5));
    assert_int_equal(eg_revocations_expect(revocations, true), other); /* its number is free */
    assert_false(has("bob", 5));
    assert_false(eg_revocations_known(revocations));
    eg_revocations_forget(revocations, other);
    assert_true(eg_revocations_known(revocations)); /* nobody waits for it any more */
}

static void is_shared_by_threads(void **state)
{
    pthread_t threads[2];
    char subject[20];
    (void)state;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, NULL), 0);
    int second = eg_revocations_expect(revocations, true);
    for (int i = 0; i < 900; i++) {
        snprintf(subject, sizeof(subject), "%d", i);
        revoke(subject, 10 * S);
        revoke_in(second, subject, 10 * S);
    }
    eg_revocations_begin(revocations, second);
    revoke_in(second, "999", 10 * S);
    eg_revocations_end(revocations, second);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(revokes_what_was_issued_before, open_revocations, close_revocations),
        cmocka_unit_test_setup_teardown(counts_a_second_that_has_begun, open_revocations, close_revocations),
        cmocka_unit_test_setup_teardown(revokes_a_token_without_a_date, open_revocations, close_revocations),
        cmocka_unit_test_setup_teardown(takes_a_revocation_back, open_revocations, close_revocations),
        cmocka_unit_test_setup_teardown(nobody_cannot_be_revoked, open_revocations, close_revocations),
        cmocka_unit_test_setup_teardown(a_database_read_whole_says_all_anew_at_its_end, open_revocations,
                                        close_revocations),
        cmocka_unit_test_setup_teardown(each_database_counts, open_revocations, close_revocations),
        cmocka_unit_test(is_known_when_all_databases_have_been_read),
        cmocka_unit_test_setup_teardown(is_not_known_while_one_cannot_be_read, open_revocations, close_revocations),
        cmocka_unit_test_setup_teardown(has_a_limit, open_revocations, close_revocations),
        cmocka_unit_test_setup_teardown(a_database_that_is_forgotten_revokes_nothing, open_revocations,
                                        close_revocations),
        cmocka_unit_test_setup_teardown(is_shared_by_threads, open_revocations, close_revocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Certificates and keys from files: what is taken, what is refused with which sentence. */
#include "eventgate/tls.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tls_fixture.h"

static int set_up(void **state)
{
    static struct tls_fixture fixture;
    tls_fixture_make(&fixture);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    tls_fixture_remove(*state);
    return 0;
}

static void refuses(const struct tls_fixture *fixture, int number, const char *told)
{
    struct eg_tls *tls = NULL;
    struct eg_error error = {.sentence = ""};
    assert_int_equal(eg_tls_load(fixture->certificate, fixture->key, &tls, &error), number);
    assert_null(tls);
    if (!strstr(error.sentence, told))
        fail_msg("\"%s\" doesn't say: %s", error.sentence, told);
}

static void a_pair_is_loaded_with_its_dates(void **state)
{
    struct tls_fixture *fixture = *state;
    struct eg_tls *tls = tls_fixture_load(fixture);
    time_t now = time(NULL);
    assert_in_range(eg_tls_valid_from(tls), now - 25L * 3600, now - 23L * 3600);
    assert_int_equal(eg_tls_valid_until(tls) - eg_tls_valid_from(tls), 30L * 24 * 3600);
    assert_ptr_equal(eg_tls_ref(tls), tls);
    eg_tls_unref(tls);
    assert_true(eg_tls_valid_until(tls) > now); /* it is still there */
    eg_tls_unref(tls);
    eg_tls_unref(NULL);
}

static void one_that_has_expired_is_taken(void **state)
{
    struct tls_fixture *fixture = *state;
    tls_fixture_renew(fixture, 0);
    struct eg_tls *tls = tls_fixture_load(fixture);
    assert_true(eg_tls_valid_until(tls) < time(NULL));
    eg_tls_unref(tls);
}

static void files_that_are_not_there(void **state)
{
    struct tls_fixture *fixture = *state;
    unlink(fixture->key);
    refuses(fixture, -ENOENT, "tls_key: /tmp/");
    unlink(fixture->certificate);
    refuses(fixture, -ENOENT, "tls_certificate: /tmp/");
    assert_int_equal(mkdir(fixture->certificate, 0700), 0);
    refuses(fixture, -EISDIR, "cannot be read: Is a directory.");
    rmdir(fixture->certificate);
}

static void files_that_are_something_else(void **state)
{
    struct tls_fixture *fixture = *state;
    tls_fixture_write(fixture->key, "nonsense");
    refuses(fixture, -EINVAL, "has no private key in PEM form");
    tls_fixture_write(fixture->key, "");
    refuses(fixture, -EINVAL, "has no private key in PEM form");
    tls_fixture_write(fixture->key,
                      "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    refuses(fixture, -EINVAL, "is encrypted");
    tls_fixture_write(fixture->certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    refuses(fixture, -EINVAL, "has no certificate in PEM form");
    tls_fixture_write(fixture->certificate, "");
    refuses(fixture, -EINVAL, "has no certificate in PEM form");
    char *large = malloc((1u << 20) + 2);
    memset(large, 'x', (1u << 20) + 1);
    large[(1u << 20) + 1] = '\0';
    tls_fixture_write(fixture->certificate, large);
    free(large);
    refuses(fixture, -EINVAL, "is larger than 1 MB");
}

static void a_pair_that_is_none(void **state)
{
    struct tls_fixture *fixture = *state, other;
    tls_fixture_make(&other);
    struct tls_fixture mixed = *fixture;
    memcpy(mixed.key, other.key, sizeof(mixed.key));
    refuses(&mixed, -EINVAL, "does not belong to the key");
    tls_fixture_remove(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pair_is_loaded_with_its_dates, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_has_expired_is_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_that_are_not_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_that_are_something_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_pair_that_is_none, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

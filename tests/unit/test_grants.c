/* What is granted, and to whom. */
#include "eventgate/grants.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct eg_grants *grants_of(const char *subject)
{
    struct eg_grants *grants = eg_grants_new((struct eg_bytes){subject, strlen(subject)}, 10, 20);
    assert_non_null(grants);
    return grants;
}

static void add(struct eg_grants *grants, enum eg_right right, const char *pattern)
{
    assert_int_equal(eg_grants_add(grants, right, pattern, strlen(pattern)), 0);
}

static bool allows(const struct eg_grants *grants, enum eg_right right, const char *pattern)
{
    return eg_grants_allow(grants, right, pattern, strlen(pattern));
}

static void grants_nothing_at_first(void **state)
{
    struct eg_grants *grants = grants_of("alice");
    (void)state;
    assert_false(allows(grants, EG_RIGHT_SUBSCRIBE, "a"));
    assert_false(eg_grants_allow_any(grants, EG_RIGHT_SUBSCRIBE));
    assert_false(eg_grants_allow_any(grants, EG_RIGHT_PUBLISH));
    assert_false(eg_grants_allow_admin(grants));
    assert_string_equal(eg_grants_subject(grants), "alice");
    assert_int_equal(eg_grants_issued_s(grants), 10);
    assert_int_equal(eg_grants_expires_s(grants), 20);
    eg_grants_unref(grants);
}

static void grants_each_right_for_its_patterns(void **state)
{
    struct eg_grants *grants = grants_of("");
    (void)state;
    add(grants, EG_RIGHT_SUBSCRIBE, "order/**");
    add(grants, EG_RIGHT_SUBSCRIBE, "chat/*");
    add(grants, EG_RIGHT_PUBLISH, "chat/1");
    assert_true(allows(grants, EG_RIGHT_SUBSCRIBE, "order/*/created"));
    assert_true(allows(grants, EG_RIGHT_SUBSCRIBE, "chat/1"));
    assert_true(allows(grants, EG_RIGHT_PUBLISH, "chat/1"));
    assert_false(allows(grants, EG_RIGHT_PUBLISH, "chat/2"));
    assert_false(allows(grants, EG_RIGHT_PUBLISH, "order/1"));
    assert_false(allows(grants, EG_RIGHT_SUBSCRIBE, "chat/**"));
    assert_false(allows(grants, EG_RIGHT_SUBSCRIBE, "**"));
    assert_true(eg_grants_allow_any(grants, EG_RIGHT_PUBLISH));
    assert_false(eg_grants_allow_admin(grants));
    eg_grants_set_admin(grants);
    assert_true(eg_grants_allow_admin(grants));
    assert_false(allows(grants, EG_RIGHT_SUBSCRIBE, "other"));
    eg_grants_unref(grants);
}

static void holds_many_patterns(void **state)
{
    struct eg_grants *grants = grants_of("bob");
    char name[20];
    (void)state;
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "c/%d", i);
        add(grants, EG_RIGHT_SUBSCRIBE, name);
        memset(name, 'x', sizeof(name)); /* copied */
    }
    assert_true(allows(grants, EG_RIGHT_SUBSCRIBE, "c/999"));
    assert_false(allows(grants, EG_RIGHT_SUBSCRIBE, "c/1000"));
    eg_grants_unref(grants);
}

static void lives_as_long_as_it_is_held(void **state)
{
    struct eg_grants *grants = grants_of("carol");
    (void)state;
    assert_ptr_equal(eg_grants_ref(grants), grants);
    eg_grants_unref(grants);
    assert_string_equal(eg_grants_subject(grants), "carol");
    eg_grants_unref(grants);
    eg_grants_unref(NULL);
}

static void no_grants_at_all_allow_everything(void **state)
{
    (void)state;
    assert_true(allows(NULL, EG_RIGHT_PUBLISH, "**"));
    assert_true(eg_grants_allow_any(NULL, EG_RIGHT_PUBLISH));
    assert_true(eg_grants_allow_admin(NULL));
    assert_string_equal(eg_grants_subject(NULL), "");
    assert_int_equal(eg_grants_issued_s(NULL), EG_GRANTS_UNDATED);
    assert_int_equal(eg_grants_expires_s(NULL), EG_GRANTS_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grants_nothing_at_first),
        cmocka_unit_test(grants_each_right_for_its_patterns),
        cmocka_unit_test(holds_many_patterns),
        cmocka_unit_test(lives_as_long_as_it_is_held),
        cmocka_unit_test(no_grants_at_all_allow_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

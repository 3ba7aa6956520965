/* Idempotency keys of those who have a subject. */
#include "eventgate/token_scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct eg_bytes scoped(const char *subject, const char *key, char memory[EG_SCOPED_KEY_MAX_BYTES])
{
    size_t length = eg_token_scope_key(subject, (struct eg_bytes){key, strlen(key)}, memory);
    return (struct eg_bytes){memory, length};
}

static bool same(struct eg_bytes a, struct eg_bytes b)
{
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static void without_a_subject_a_key_is_itself(void **state)
{
    char memory[EG_SCOPED_KEY_MAX_BYTES], longest[EG_SCOPED_KEY_MAX_BYTES + 1];
    (void)state;
    memset(longest, 'k', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_true(same(scoped("", "key", memory), (struct eg_bytes){"key", 3}));
    assert_true(same(scoped("", longest, memory), (struct eg_bytes){longest, sizeof(longest) - 1}));
}

static void with_one_it_is_that_subjects_alone(void **state)
{
    /* printf 'ann\0key' | sha256sum */
    static const char expected[] = "for adad776c";
    char a[EG_SCOPED_KEY_MAX_BYTES], b[EG_SCOPED_KEY_MAX_BYTES];
    (void)state;
    struct eg_bytes key = scoped("ann", "key", a);
    assert_int_equal(key.length, 68);
    assert_memory_equal(key.data, expected, strlen(expected));
    assert_true(same(key, scoped("ann", "key", b)));
    assert_false(same(key, scoped("bob", "key", b)));
    assert_false(same(key, scoped("ann", "kez", b)));
    assert_false(same(key, scoped("annk", "ey", b)));
}

static void nobody_can_say_another_ones(void **state)
{
    char a[EG_SCOPED_KEY_MAX_BYTES], b[EG_SCOPED_KEY_MAX_BYTES], stored[EG_SCOPED_KEY_MAX_BYTES + 1];
    (void)state;
    struct eg_bytes key = scoped("ann", "key", a);
    memcpy(stored, key.data, key.length);
    stored[key.length] = '\0';
    assert_false(same(key, scoped("", stored, b)));
    assert_false(same(key, scoped("bob", stored, b)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_subject_a_key_is_itself),
        cmocka_unit_test(with_one_it_is_that_subjects_alone),
        cmocka_unit_test(nobody_can_say_another_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Types, idempotency keys and traces: what is taken, and what is refused or ignored. */
#include "eventgate/publish_request.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct eg_refusal refusal;

static struct eg_bytes bytes(const char *text)
{
    return (struct eg_bytes){text, strlen(text)};
}

static void types_and_keys(void **state)
{
    static const char *const good[] = {"a",          "order.created", " with spaces ", "ünï 日本 😀",
                                       "\"quoted\"", "\xc2\xa0",      "\xe2\x80\xa8"};
    static const struct {
        const char *text, *says;
    } bad[] = {{"", "empty"},
               {"a\nb", "control"},
               {"a\rb", "control"},
               {"\x1f", "control"},
               {"a\x7f", "control"},
               {"\xc2\x80", "control"},
               {"a\xc2\x9f", "control"},
               {"caf\xe9", "not UTF-8"},
               {"\xed\xa0\x80", "not UTF-8"}};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(good); i++) {
        assert_int_equal(eg_event_type_check(bytes(good[i]), &refusal), 0);
        assert_int_equal(eg_event_key_check(bytes(good[i]), &refusal), 0);
    }
    for (size_t i = 0; i < EG_ARRAY_LENGTH(bad); i++) {
        assert_int_equal(eg_event_type_check(bytes(bad[i].text), &refusal), -EINVAL);
        assert_non_null(strstr(refusal.detail, bad[i].says));
        assert_non_null(strstr(refusal.detail, "type"));
        assert_int_equal(eg_event_key_check(bytes(bad[i].text), &refusal), -EINVAL);
        assert_non_null(strstr(refusal.detail, "key"));
        assert_int_equal(eg_problem_status(refusal.problem), 400);
    }
    assert_int_equal(eg_event_key_check((struct eg_bytes){"a\0b", 3}, &refusal), -EINVAL);
}

static void lengths(void **state)
{
    char text[300];
    (void)state;
    memset(text, 'x', sizeof(text));
    assert_int_equal(eg_event_type_check((struct eg_bytes){text, 100}, &refusal), 0);
    assert_int_equal(eg_event_type_check((struct eg_bytes){text, 101}, &refusal), -EINVAL);
    assert_non_null(strstr(refusal.detail, "100 bytes"));
    assert_int_equal(eg_event_key_check((struct eg_bytes){text, 255}, &refusal), 0);
    assert_int_equal(eg_event_key_check((struct eg_bytes){text, 256}, &refusal), -EINVAL);
    assert_non_null(strstr(refusal.detail, "255 bytes"));
}

static void assert_key(const char *header, const char *expected)
{
    char key[EG_EVENT_KEY_MAX_BYTES + 1] = "untouched";
    int result = eg_idempotency_key_read(header, key, &refusal);
    assert_int_equal(result, expected ? 0 : -EINVAL);
    assert_string_equal(key, expected ? expected : "untouched");
}

static void the_header_of_a_key(void **state)
{
    char longest[EG_EVENT_KEY_MAX_BYTES + 4] = "\"";
    (void)state;
    assert_key("8e03978e-40d5-43dd", "8e03978e-40d5-43dd");
    assert_key("\"8e03978e-40d5-43dd\"", "8e03978e-40d5-43dd");
    assert_key(" a b\t", "a b");
    assert_key("\"a \\\"b\\\\\"", "a \"b\\");
    assert_key("\"not\" \"one string\"", "\"not\" \"one string\"");
    assert_key("\"open", "\"open");
    assert_key("\"escaped end\\\"", "\"escaped end\\\"");
    assert_key("\"\\x\"", "\"\\x\"");
    assert_key("\"", "\"");
    assert_key("", NULL);
    assert_key("  ", NULL);
    assert_key("\"\"", NULL);
    assert_key("a\tb", NULL);
    assert_key("caf\xe9", NULL);
    memset(longest + 1, 'k', EG_EVENT_KEY_MAX_BYTES + 1);
    assert_key(longest + 1, NULL);
    longest[EG_EVENT_KEY_MAX_BYTES + 2] = '"';
    assert_key(longest, NULL);
    assert_non_null(strstr(refusal.detail, "255 bytes"));
    longest[1] = '"'; /* one less */
    assert_int_equal(strlen(longest + 1), EG_EVENT_KEY_MAX_BYTES + 2);
    char key[EG_EVENT_KEY_MAX_BYTES + 1];
    assert_int_equal(eg_idempotency_key_read(longest + 1, key, &refusal), 0);
    assert_int_equal(strlen(key), EG_EVENT_KEY_MAX_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_and_keys),
        cmocka_unit_test(lengths),
        cmocka_unit_test(the_header_of_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

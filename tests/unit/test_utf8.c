/* What is UTF-8, and where it ends. */
#include "eventgate/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Bytes that end where their memory ends, so that the sanitizer sees each step too far. */
static char *exact(const char *data, size_t length)
{
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, data, length);
    return copy;
}

static void every_code_point_is_valid_and_no_surrogate(void **state)
{
    (void)state;
    for (uint32_t code = 0; code <= 0x120000; code += code < 0x11000 ? 1 : 0x7f) {
        char text[4];
        size_t length = 0;
        if (code < 0x80) {
            text[length++] = (char)code;
        } else if (code < 0x800) {
            text[length++] = (char)(0xc0 | code >> 6);
        } else if (code < 0x10000) {
            text[length++] = (char)(0xe0 | code >> 12);
            text[length++] = (char)(0x80 | (code >> 6 & 0x3f));
        } else {
            text[length++] = (char)(0xf0 | code >> 18);
            text[length++] = (char)(0x80 | (code >> 12 & 0x3f));
            text[length++] = (char)(0x80 | (code >> 6 & 0x3f));
        }
        if (code >= 0x80)
            text[length++] = (char)(0x80 | (code & 0x3f));
        bool expected = code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
        char *copy = exact(text, length);
        assert_int_equal(eg_utf8_valid(copy, length), expected);
        for (size_t cut = 1; cut < length; cut++)
            assert_false(eg_utf8_valid(text, cut));
        free(copy);
    }
}

static void refuses_overlong_forms_and_stray_bytes(void **state)
{
    static const char *const texts[] = {"\x80",
                                        "\xbf",
                                        "\xc0\x80",
                                        "\xc1\xbf",
                                        "\xe0\x80\x80",
                                        "\xe0\x9f\xbf",
                                        "\xf0\x8f\xbf\xbf",
                                        "\xf4\x90\x80\x80",
                                        "\xf5\x80\x80\x80",
                                        "\xff",
                                        "\xfe",
                                        "\xc3"
                                        "A",
                                        "\xe2\x82"
                                        "A",
                                        "\xf0\x9f\x90"
                                        "A",
                                        "\xc3\xc3"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(texts); i++)
        assert_false(eg_utf8_valid(texts[i], strlen(texts[i])));
    assert_true(eg_utf8_valid("", 0));
}

/* A bad byte at each place of texts of each length: the look at eight bytes at a time misses none. */
static void finds_the_first_bad_byte_anywhere(void **state)
{
    (void)state;
    for (size_t length = 1; length <= 40; length++)
        for (size_t bad = 0; bad < length; bad++) {
            char text[40];
            memset(text, 'a', length);
            text[bad] = '\xff';
            char *copy = exact(text, length);
            assert_int_equal(eg_utf8_valid_prefix(copy, length), bad);
            assert_false(eg_utf8_valid(copy, length));
            copy[bad] = '\0';
            assert_true(eg_utf8_valid(copy, length));
            free(copy);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_is_valid_and_no_surrogate),
        cmocka_unit_test(refuses_overlong_forms_and_stray_bytes),
        cmocka_unit_test(finds_the_first_bad_byte_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What is a name, what is a pattern, what matches and what overlaps. */
#include "eventgate/pattern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *name_problem(const char *name)
{
    return eg_channel_name_problem(name, strlen(name));
}

static const char *pattern_problem(const char *pattern)
{
    return eg_pattern_problem(pattern, strlen(pattern));
}

static bool matches(const char *pattern, const char *name)
{
    assert_null(pattern_problem(pattern));
    assert_null(name_problem(name));
    return eg_pattern_matches(pattern, strlen(pattern), name, strlen(name));
}

static bool overlaps(const char *a, const char *b)
{
    bool one = eg_pattern_overlaps(a, strlen(a), b, strlen(b));
    bool other = eg_pattern_overlaps(b, strlen(b), a, strlen(a));
    assert_null(pattern_problem(a));
    assert_null(pattern_problem(b));
    assert_int_equal(one, other);
    return one;
}

static void accepts_names(void **state)
{
    static const char *const names[] = {
        "orders", "a/b/c", "a.b", "...", "a/.b/c..", " ", "\"\\'", "gr\xc3\xbcn", "\xf0\x9f\x90\x98/x", "a~b?c#d%2F"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(names); i++) {
        assert_null(name_problem(names[i]));
        assert_null(pattern_problem(names[i]));
        assert_false(eg_pattern_is_wild(names[i], strlen(names[i])));
    }
}

static void refuses_what_is_neither_name_nor_pattern(void **state)
{
    static const char *const texts[] = {"",      "/",     "/a",   "a/",   "a//b",          ".",
                                        "..",    "a/./b", "../a", "a/..", "a,b",           "a\tb",
                                        "a\x7f", "\x01",  "\xff", "\xc3", "a\xed\xa0\x80", "\xc0\xaf"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(texts); i++) {
        assert_non_null(name_problem(texts[i]));
        assert_non_null(pattern_problem(texts[i]));
    }
    assert_non_null(eg_channel_name_problem("a\0b", 3));
}

static void a_name_has_at_most_200_bytes(void **state)
{
    char name[EG_CHANNEL_MAX_BYTES + 1];
    (void)state;
    memset(name, 'n', sizeof(name));
    assert_null(eg_channel_name_problem(name, EG_CHANNEL_MAX_BYTES));
    assert_non_null(eg_channel_name_problem(name, EG_CHANNEL_MAX_BYTES + 1));
    assert_non_null(eg_pattern_problem(name, EG_CHANNEL_MAX_BYTES + 1));
}

static void stars_are_for_patterns_and_whole_levels(void **state)
{
    static const char *const good[] = {"*", "**", "a/*", "a/**", "*/b", "a/*/b/**", "*/**", "*/*"};
    static const char *const bad[] = {"a*", "*a/b", "a/b*c", "***", "a/**/b", "**/a", "**/**", "**/*", "a/***"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(good); i++) {
        assert_null(pattern_problem(good[i]));
        assert_non_null(name_problem(good[i]));
        assert_true(eg_pattern_is_wild(good[i], strlen(good[i])));
    }
    for (size_t i = 0; i < EG_ARRAY_LENGTH(bad); i++)
        assert_non_null(pattern_problem(bad[i]));
}

static void matches_level_by_level(void **state)
{
    (void)state;
    assert_true(matches("a/b", "a/b"));
    assert_false(matches("a/b", "a"));
    assert_false(matches("a/b", "a/b/c"));
    assert_false(matches("a/b", "a/B"));
    assert_true(matches("*", "a"));
    assert_false(matches("*", "a/b"));
    assert_true(matches("order/*/created", "order/7/created"));
    assert_false(matches("order/*/created", "order/created"));
    assert_false(matches("order/*/created", "order/7/8/created"));
    assert_false(matches("order/*", "order"));
    assert_false(matches("order/*", "orders/1"));
}

static void two_stars_are_at_least_one_level(void **state)
{
    (void)state;
    assert_true(matches("order/**", "order/1"));
    assert_true(matches("order/**", "order/1/2/3"));
    assert_false(matches("order/**", "order"));
    assert_false(matches("order/**", "orders/1"));
    assert_true(matches("**", "a"));
    assert_true(matches("**", "a/b"));
    assert_true(matches("*/**", "a/b"));
    assert_false(matches("*/**", "a"));
}

static void overlaps_where_a_name_matches_both(void **state)
{
    (void)state;
    assert_true(overlaps("a/*", "*/b"));
    assert_false(overlaps("a/*", "b/*"));
    assert_false(overlaps("a/*", "a/*/c"));
    assert_true(overlaps("a/**", "a/*/c"));
    assert_false(overlaps("a/**", "a"));
    assert_false(overlaps("a/**", "*"));
    assert_true(overlaps("a/**", "*/*"));
    assert_true(overlaps("**", "*/x/**"));
    assert_false(overlaps("a/b/**", "a/c/**"));
    assert_true(overlaps("a/*/c/**", "a/b/**"));
}

static bool covers(const char *wide, const char *narrow)
{
    assert_null(pattern_problem(wide));
    assert_null(pattern_problem(narrow));
    return eg_pattern_covers(wide, strlen(wide), narrow, strlen(narrow));
}

static void covers_what_every_name_of_it_matches(void **state)
{
    (void)state;
    assert_true(covers("order/**", "order/*/created"));
    assert_true(covers("order/**", "order/**"));
    assert_true(covers("order/**", "order/7"));
    assert_false(covers("order/**", "order"));
    assert_false(covers("order/**", "orders/7"));
    assert_false(covers("order/**", "**"));
    assert_true(covers("order/*", "order/*"));
    assert_false(covers("order/*", "order/**"));
    assert_false(covers("order/7", "order/*"));
    assert_false(covers("order/*", "order/7/8"));
    assert_false(covers("order/*/created", "order/*"));
    assert_true(covers("**", "a/*/**"));
    assert_true(covers("*/**", "a/**"));
    assert_false(covers("*/**", "**"));
    assert_true(covers("a/b", "a/b"));
    assert_false(covers("a/b", "a"));
    assert_false(covers("a", "a/b"));
}

/* All patterns of up to three levels over a tiny alphabet against all names of up to four: two overlap if one of the
 * names matches both (four levels are enough: `**` needs one at most beyond the other pattern's). */
static const char *const parts[] = {"a", "b", "*", "**"};

static size_t all_of(size_t letters, size_t levels, char texts[][16])
{
    size_t count = 0;
    for (size_t depth = 1; depth <= levels; depth++) {
        size_t combinations = 1;
        for (size_t i = 0; i < depth; i++)
            combinations *= letters;
        for (size_t number = 0; number < combinations; number++) {
            char *text = texts[count];
            size_t left = number;
            text[0] = '\0';
            for (size_t i = 0; i < depth; i++, left /= letters) {
                strcat(text, i ? "/" : "");
                strcat(text, parts[left % letters]);
            }
            if (!pattern_problem(text))
                count++;
        }
    }
    return count;
}

static void overlap_is_what_the_names_say(void **state)
{
    static char patterns[4 + 16 + 64 + 1][16], names[2 + 4 + 8 + 16 + 1][16];
    size_t pattern_count = all_of(4, 3, patterns), name_count = all_of(2, 4, names);
    (void)state;
    assert_int_equal(name_count, 30);
    for (size_t a = 0; a < pattern_count; a++)
        for (size_t b = 0; b < pattern_count; b++) {
            bool expected = false;
            for (size_t i = 0; i < name_count; i++)
                expected = expected || (matches(patterns[a], names[i]) && matches(patterns[b], names[i]));
            assert_int_equal(overlaps(patterns[a], patterns[b]), expected);
        }
}

/* A third letter stands for all the names that no pattern spells out. */
static void covering_is_what_the_names_say(void **state)
{
    static char patterns[4 + 16 + 64 + 1][16];
    static const char *const letters[] = {"a", "b", "c"};
    size_t pattern_count = all_of(4, 3, patterns);
    (void)state;
    for (size_t wide = 0; wide < pattern_count; wide++)
        for (size_t narrow = 0; narrow < pattern_count; narrow++) {
            bool expected = true;
            for (size_t i = 0; i < 3 + 9 + 27 + 81; i++) {
                size_t depth = i < 3 ? 1 : i < 12 ? 2 : i < 39 ? 3 : 4, left = i;
                char name[16] = "";
                for (size_t level = 0; level < depth; level++, left /= 3)
                    strcat(strcat(name, level ? "/" : ""), letters[left % 3]);
                expected = expected && (!matches(patterns[narrow], name) || matches(patterns[wide], name));
            }
            if (covers(patterns[wide], patterns[narrow]) != expected)
                fail_msg("%s covers %s: %d", patterns[wide], patterns[narrow], !expected);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_names),
        cmocka_unit_test(refuses_what_is_neither_name_nor_pattern),
        cmocka_unit_test(a_name_has_at_most_200_bytes),
        cmocka_unit_test(stars_are_for_patterns_and_whole_levels),
        cmocka_unit_test(matches_level_by_level),
        cmocka_unit_test(two_stars_are_at_least_one_level),
        cmocka_unit_test(overlaps_where_a_name_matches_both),
        cmocka_unit_test(overlap_is_what_the_names_say),
        cmocka_unit_test(covers_what_every_name_of_it_matches),
        cmocka_unit_test(covering_is_what_the_names_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Two patterns, parted by a line feed, against a matcher of another make. */
#include "eventgate/pattern.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* By recursion over bytes instead of levels; both are valid. */
static bool matches(const char *pattern, const char *pattern_end, const char *name, const char *name_end)
{
    if (pattern_end - pattern == 2 && memcmp(pattern, "**", 2) == 0)
        return name < name_end;
    if (pattern == pattern_end || name == name_end)
        return pattern == pattern_end && name == name_end;
    if (*pattern != '*')
        return *pattern == *name && matches(pattern + 1, pattern_end, name + 1, name_end);
    while (name < name_end && *name != '/')
        name++;
    return matches(pattern + 1, pattern_end, name, name_end);
}

static void check_pair(const char *a, size_t a_length, const char *b, size_t b_length)
{
    bool overlap = eg_pattern_overlaps(a, a_length, b, b_length);
    check(overlap == eg_pattern_overlaps(b, b_length, a, a_length));
    check(overlap || !eg_pattern_covers(a, a_length, b, b_length));
    if (!eg_channel_name_problem(b, b_length)) {
        bool expected = matches(a, a + a_length, b, b + b_length);
        check(eg_pattern_matches(a, a_length, b, b_length) == expected);
        check(overlap == expected);
        check(eg_pattern_covers(a, a_length, b, b_length) == expected);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *a = (const char *)data, *newline = memchr(data, '\n', size);
    if (!newline)
        return 0;
    const char *b = newline + 1;
    size_t a_length = (size_t)(newline - a), b_length = (size_t)(a + size - b);
    const char *a_problem = eg_pattern_problem(a, a_length), *b_problem = eg_pattern_problem(b, b_length);
    check(!a_problem || eg_channel_name_problem(a, a_length)); /* a name is a pattern */
    if (a_problem)
        return 0;
    check(a_length >= 1 && a_length <= EG_CHANNEL_MAX_BYTES);
    check(eg_pattern_overlaps(a, a_length, a, a_length));
    check(eg_pattern_covers(a, a_length, a, a_length));
    check(eg_pattern_is_wild(a, a_length) == (eg_channel_name_problem(a, a_length) != NULL));
    if (!b_problem) {
        check_pair(a, a_length, b, b_length);
        check_pair(b, b_length, a, a_length);
    }
    return 0;
}

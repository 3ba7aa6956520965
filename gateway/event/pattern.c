/*
 * Channel names and patterns, level by level.
 *
 * A level is looked at as a span of bytes; matching and overlapping walk two strings of levels side by side. Only the
 * last level may be `**`, so no back-tracking is needed.
 */
#include "eventgate/pattern.h"

#include <string.h>

#include "eventgate/utf8.h"

struct levels {
    const char *at, *end; /* what is left; at > end: nothing */
};

static struct levels levels_of(const char *text, size_t length)
{
    return (struct levels){text, text + length};
}

static bool has_level(const struct levels *levels)
{
    return levels->at <= levels->end;
}

static struct eg_bytes next_level(struct levels *levels)
{
    const char *slash = memchr(levels->at, '/', (size_t)(levels->end - levels->at));
    const char *stop = slash ? slash : levels->end;
    struct eg_bytes level = {levels->at, (size_t)(stop - levels->at)};
    levels->at = stop + 1;
    return level;
}

static bool is(struct eg_bytes level, const char *text)
{
    return level.length == strlen(text) && memcmp(level.data, text, level.length) == 0;
}

static const char *problem_of(const char *text, size_t length, bool pattern)
{
    if (length == 0)
        return "is empty";
    if (length > EG_CHANNEL_MAX_BYTES)
        return "is longer than 200 bytes";
    if (!eg_utf8_valid(text, length))
        return "is not valid UTF-8";
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return "has a control byte";
        if (text[i] == ',')
            return "has a comma";
    }
    struct levels levels = levels_of(text, length);
    while (has_level(&levels)) {
        struct eg_bytes level = next_level(&levels);
        if (level.length == 0)
            return "has an empty level";
        if (is(level, ".") || is(level, ".."))
            return "has a level \".\" or \"..\"";
        if (!memchr(level.data, '*', level.length))
            continue;
        if (!pattern)
            return "has a \"*\"";
        if (is(level, "**") && has_level(&levels))
            return "has \"**\" before its last level";
        if (!is(level, "*") && !is(level, "**"))
            return "has a \"*\" that is only a part of a level";
    }
    return NULL;
}

const char *eg_channel_name_problem(const char *name, size_t length)
{
    return problem_of(name, length, false);
}

const char *eg_pattern_problem(const char *pattern, size_t length)
{
    return problem_of(pattern, length, true);
}

bool eg_pattern_is_wild(const char *pattern, size_t length)
{
    return length > 0 && memchr(pattern, '*', length) != NULL;
}

bool eg_pattern_matches(const char *pattern, size_t pattern_length, const char *name, size_t name_length)
{
    return eg_pattern_overlaps(pattern, pattern_length, name, name_length);
}

/* A name is a pattern that matches itself alone, so matching is overlapping with it. */
bool eg_pattern_overlaps(const char *a, size_t a_length, const char *b, size_t b_length)
{
    struct levels of_a = levels_of(a, a_length), of_b = levels_of(b, b_length);
    while (has_level(&of_a) && has_level(&of_b)) {
        struct eg_bytes in_a = next_level(&of_a), in_b = next_level(&of_b);
        if (is(in_a, "**") || is(in_b, "**"))
            return true;
        if (is(in_a, "*") || is(in_b, "*"))
            continue;
        if (in_a.length != in_b.length || memcmp(in_a.data, in_b.data, in_a.length) != 0)
            return false;
    }
    return !has_level(&of_a) && !has_level(&of_b);
}

/* Level by level, too: what `*` stands for covers another `*`, and only two stars cover two stars. */
bool eg_pattern_covers(const char *wide, size_t wide_length, const char *narrow, size_t narrow_length)
{
    struct levels of_wide = levels_of(wide, wide_length), of_narrow = levels_of(narrow, narrow_length);
    while (has_level(&of_wide) && has_level(&of_narrow)) {
        struct eg_bytes in_wide = next_level(&of_wide), in_narrow = next_level(&of_narrow);
        if (is(in_wide, "**"))
            return true;
        if (is(in_narrow, "**"))
            return false;
        if (is(in_wide, "*"))
            continue;
        if (in_wide.length != in_narrow.length || memcmp(in_wide.data, in_narrow.data, in_wide.length) != 0)
            return false;
    }
    return !has_level(&of_wide) && !has_level(&of_narrow);
}

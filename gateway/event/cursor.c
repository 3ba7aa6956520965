/*
 * Cursors as strings.
 */
#include "eventgate/cursor.h"

#include <errno.h>
#include <string.h>

#include "eventgate/backoff.h"

static const char epoch_letters[] = "abcdefghijklmnopqrstuvwxyz234567";

struct eg_epoch eg_epoch_new(void)
{
    struct eg_epoch epoch;
    unsigned char random[EG_EPOCH_LENGTH];
    eg_random_bytes(random, sizeof(random));
    for (size_t i = 0; i < EG_EPOCH_LENGTH; i++)
        epoch.text[i] = epoch_letters[random[i] & 31];
    epoch.text[EG_EPOCH_LENGTH] = '\0';
    return epoch;
}

/* Reads decimal digits without leading zeros, below the bound; moves `at` behind them. */
static bool read_number(const char **at, const char *end, uint64_t *ret_number)
{
    const char *start = *at;
    uint64_t number = 0;
    while (*at < end && **at >= '0' && **at <= '9') {
        number = number * 10 + (uint64_t)(**at - '0');
        if (number >= EG_CURSOR_NUMBER_BOUND)
            return false;
        (*at)++;
    }
    if (*at == start || (*start == '0' && *at > start + 1))
        return false;
    *ret_number = number;
    return true;
}

static bool read_tag(const char **at, const char *end, char tag[EG_CURSOR_TAG_MAX + 1])
{
    const char *dot = memchr(*at, '.', (size_t)(end - *at));
    if (!dot)
        return true;
    size_t length = (size_t)(dot - *at);
    if (length == 0 || length > EG_CURSOR_TAG_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        char letter = (*at)[i];
        if (!((letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9')))
            return false;
        tag[i] = letter;
    }
    *at = dot + 1;
    return true;
}

static bool read_live(const char *at, const char *end, struct eg_cursor *cursor)
{
    if (end - at < EG_EPOCH_LENGTH + 2 || at[EG_EPOCH_LENGTH] != '-')
        return false;
    for (size_t i = 0; i < EG_EPOCH_LENGTH; i++)
        if (at[i] == '\0' || !strchr(epoch_letters, at[i]))
            return false;
    memcpy(cursor->epoch.text, at, EG_EPOCH_LENGTH);
    at += EG_EPOCH_LENGTH + 1;
    cursor->has_live = true;
    return read_number(&at, end, &cursor->place) && at == end;
}

int eg_cursor_parse(const char *text, size_t length, struct eg_cursor *ret_cursor)
{
    struct eg_cursor cursor;
    const char *at = text, *end = text + length;
    memset(&cursor, 0, sizeof(cursor));
    if (length == 0 || length >= EG_CURSOR_SIZE)
        return -EINVAL;
    if (read_live(at, end, &cursor)) { /* the id of a live event */
        *ret_cursor = cursor;
        return 0;
    }
    memset(&cursor, 0, sizeof(cursor));
    if (!read_tag(&at, end, cursor.tag) || !read_number(&at, end, &cursor.position))
        return -EINVAL;
    cursor.has_position = true;
    if (at < end && (*at != '~' || !read_live(at + 1, end, &cursor)))
        return -EINVAL;
    *ret_cursor = cursor;
    return 0;
}

/* Formatted for every event of a stream that reads the log: printf() would cost as much as all the rest. */
static char *add_number(char *to, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    memcpy(to, digits + at, sizeof(digits) - at);
    return to + sizeof(digits) - at;
}

size_t eg_cursor_format(const struct eg_cursor *cursor, char ret_text[EG_CURSOR_SIZE])
{
    char *to = ret_text;
    if (cursor->tag[0]) {
        to = stpcpy(to, cursor->tag);
        *to++ = '.';
    }
    to = add_number(to, cursor->position);
    if (cursor->has_live) {
        *to++ = '~';
        to = stpcpy(to, cursor->epoch.text);
        *to++ = '-';
        to = add_number(to, cursor->place);
    }
    *to = '\0';
    return (size_t)(to - ret_text);
}

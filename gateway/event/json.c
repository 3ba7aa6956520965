/*
 * What jansson says about a text, UTF-8, and putting JSON on one line.
 */
#include "eventgate/json.h"

#include <jansson.h>
#include <string.h>

/* ALLOW_NUL: \u0000 is valid JSON. INT_AS_REAL: integers may exceed 64 bits. Numbers beyond a double and lone
 * surrogates are refused all the same; they are then carried as text. */
#define DECODE_FLAGS (JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL)

/* The first byte decides most texts that aren't JSON without parsing. */
static bool may_be_json(const char *data, size_t length)
{
    while (length > 0 && strchr(" \t\r\n", *data) && *data)
        data++, length--;
    return length > 0 && *data && strchr("{[\"-0123456789tfn", *data);
}

bool eg_json_valid(const char *data, size_t length)
{
    if (!may_be_json(data, length) || memchr(data, '\0', length)) /* jansson passes over a NUL at the end */
        return false;
    json_t *value = json_loadb(data, length, DECODE_FLAGS, NULL);
    if (!value)
        return false;
    json_decref(value);
    return true;
}

/* Length of the valid sequence at `at` (RFC 3629), 0 if there is none. */
static size_t sequence_length(const unsigned char *at, size_t left)
{
    size_t length;
    unsigned char low = 0x80, high = 0xbf;
    if (at[0] < 0x80)
        return 1;
    if (at[0] >= 0xc2 && at[0] <= 0xdf) {
        length = 2;
    } else if (at[0] >= 0xe0 && at[0] <= 0xef) {
        length = 3;
        low = at[0] == 0xe0 ? 0xa0 : 0x80;  /* no overlong forms */
        high = at[0] == 0xed ? 0x9f : 0xbf; /* no surrogates */
    } else if (at[0] >= 0xf0 && at[0] <= 0xf4) {
        length = 4;
        low = at[0] == 0xf0 ? 0x90 : 0x80;
        high = at[0] == 0xf4 ? 0x8f : 0xbf; /* up to U+10FFFF */
    } else {
        return 0;
    }
    if (length > left || at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

size_t eg_utf8_valid_prefix(const char *data, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)data;
    size_t at = 0;
    while (at < length) {
        uint64_t eight;
        if (length - at >= sizeof(eight)) {
            memcpy(&eight, bytes + at, sizeof(eight));
            if ((eight & UINT64_C(0x8080808080808080)) == 0) {
                at += sizeof(eight);
                continue;
            }
        }
        size_t sequence = sequence_length(bytes + at, length - at);
        if (sequence == 0)
            return at;
        at += sequence;
    }
    return at;
}

bool eg_utf8_valid(const char *data, size_t length)
{
    return eg_utf8_valid_prefix(data, length) == length;
}

void eg_json_add_one_line(struct eg_buffer *buffer, const char *data, size_t length)
{
    char *to = eg_buffer_reserve(buffer, length);
    if (!to || length == 0)
        return;
    memcpy(to, data, length);
    buffer->length += length;
    /* Raw control bytes are not allowed inside strings, so each one stands between tokens. */
    for (size_t i = 0; i < length; i++)
        if (to[i] == '\n' || to[i] == '\r' || to[i] == '\t')
            to[i] = ' ';
}

/*
 * UTF-8, eight bytes at a time where they are ASCII.
 */
#include "eventgate/utf8.h"

#include <string.h>

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

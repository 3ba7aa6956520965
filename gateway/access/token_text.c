/*
 * base64url and JSON as tokens and keys have them. cjose and jansson forgive more than RFC 7515 and RFC 8725 do: cjose
 * stops at `=` (and may abort there) and drops bits that are left over, jansson takes the last of two equal members.
 */
#include "eventgate/token_internal.h"

#include <string.h>

static int value_of(char character)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *found = character ? strchr(alphabet, character) : NULL;
    return found ? (int)(found - alphabet) : -1;
}

static bool is_base64url(const char *text, size_t length)
{
    int last = 0;
    for (size_t i = 0; i < length; i++)
        if ((last = value_of(text[i])) < 0)
            return false;
    switch (length % 4) {
    case 1:
        return false;
    case 2:
        return (last & 0xf) == 0;
    case 3:
        return (last & 0x3) == 0;
    default:
        return true;
    }
}

bool eg_token_decode(const char *text, size_t length, uint8_t **ret_bytes, size_t *ret_length)
{
    return is_base64url(text, length) && cjose_base64url_decode(text, length, ret_bytes, ret_length, NULL);
}

static bool is_shallow(const char *text, size_t length)
{
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && (text[i] == '{' || text[i] == '[') && ++depth > EG_TOKEN_MAX_DEPTH)
            return false;
        else if (!in_string && (text[i] == '}' || text[i] == ']') && depth > 0)
            depth--;
    }
    return true;
}

json_t *eg_token_object(const char *text, size_t length)
{
    if (length == 0 || memchr(text, '\0', length) || !is_shallow(text, length))
        return NULL;
    json_t *value = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, NULL);
    if (json_is_object(value))
        return value;
    json_decref(value);
    return NULL;
}

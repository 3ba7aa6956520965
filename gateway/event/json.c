/*
 * What jansson says about a text, and putting JSON on one line.
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

const char *eg_json_problem(const char *data, size_t length)
{
    json_error_t error = {.text = ""};
    json_decref(json_loadb(data, length, DECODE_FLAGS, &error));
    return json_error_code(&error) == json_error_stack_overflow ? EG_JSON_TOO_DEEP : "isn't (RFC 8259)";
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

/*
 * traceparent: 2, 32, 16 and 2 hexadecimal digits.
 */
#include "eventgate/trace.h"

#include <stdio.h>
#include <string.h>

enum { TRACE_ID = 3, PARENT_ID = 36, FLAGS = 53 };

static bool is_hex(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!text[i] || !strchr("0123456789abcdef", text[i])) /* none of them a capital */
            return false;
    return true;
}

static bool is_all(const char *text, size_t length, char digit)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] != digit)
            return false;
    return true;
}

static bool is_space(char byte)
{
    return byte == ' ' || byte == '\t';
}

static struct eg_bytes trim(struct eg_bytes text)
{
    while (text.length > 0 && is_space(text.data[0])) {
        text.data++;
        text.length--;
    }
    while (text.length > 0 && is_space(text.data[text.length - 1]))
        text.length--;
    return text;
}

bool eg_traceparent_read(struct eg_bytes text, char ret_trace[EG_TRACEPARENT_LENGTH + 1])
{
    text = trim(text);
    const char *at = text.data;
    if (text.length < EG_TRACEPARENT_LENGTH || !is_hex(at, 2) || is_all(at, 2, 'f'))
        return false;
    bool higher = !is_all(at, 2, '0');
    if (text.length > EG_TRACEPARENT_LENGTH && (!higher || at[EG_TRACEPARENT_LENGTH] != '-'))
        return false;
    if (at[TRACE_ID - 1] != '-' || at[PARENT_ID - 1] != '-' || at[FLAGS - 1] != '-' ||
        !is_hex(at + TRACE_ID, EG_TRACE_ID_LENGTH) || is_all(at + TRACE_ID, EG_TRACE_ID_LENGTH, '0') ||
        !is_hex(at + PARENT_ID, 16) || is_all(at + PARENT_ID, 16, '0') || !is_hex(at + FLAGS, 2))
        return false;
    snprintf(ret_trace, EG_TRACEPARENT_LENGTH + 1, "00%.*s", EG_TRACEPARENT_LENGTH - 2, at + 2);
    return true;
}

void eg_traceparent_id(const char trace[EG_TRACEPARENT_LENGTH + 1], char ret_id[EG_TRACE_ID_LENGTH + 1])
{
    memcpy(ret_id, trace + TRACE_ID, EG_TRACE_ID_LENGTH);
    ret_id[EG_TRACE_ID_LENGTH] = '\0';
}

bool eg_traceparent_is_sampled(const char trace[EG_TRACEPARENT_LENGTH + 1])
{
    char low = trace[FLAGS + 1];
    return (low <= '9' ? low - '0' : low - 'a' + 10) & 1;
}

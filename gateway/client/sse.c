/*
 * The event stream's lines and fields.
 */
#include "eventgate/sse.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_field(const char *name, size_t length, const char *wanted)
{
    return strlen(wanted) == length && memcmp(name, wanted, length) == 0;
}

static void take_retry(struct eg_sse *sse, const char *value, size_t length)
{
    uint64_t number = 0;
    if (length == 0)
        return;
    for (size_t i = 0; i < length; i++) {
        if (value[i] < '0' || value[i] > '9' || number > UINT32_MAX)
            return;
        number = number * 10 + (uint64_t)(value[i] - '0');
    }
    if (number <= UINT32_MAX)
        sse->retry_ms = (uint32_t)number;
}

static void take_field(struct eg_sse *sse, const char *name, size_t name_length, const char *value, size_t length)
{
    if (is_field(name, name_length, "data")) {
        if (sse->any_data)
            eg_buffer_add(&sse->data, "\n", 1);
        eg_buffer_add(&sse->data, value, length);
        sse->any_data = true;
    } else if (is_field(name, name_length, "event")) {
        snprintf(sse->type, sizeof(sse->type), "%.*s", (int)(length < sizeof(sse->type) ? length : sizeof(sse->type)),
                 value);
    } else if (is_field(name, name_length, "id")) {
        if (length <= EG_SSE_ID_MAX && !memchr(value, '\0', length))
            snprintf(sse->id, sizeof(sse->id), "%.*s", (int)length, value);
    } else if (is_field(name, name_length, "retry")) {
        take_retry(sse, value, length);
    }
}

static void end_event(struct eg_sse *sse)
{
    struct eg_sse_event event = {
        .type = sse->type[0] ? sse->type : "message", .data = {sse->data.data, sse->data.length}, .id = sse->id};
    if (sse->any_data)
        sse->dispatch(sse->context, &event);
    eg_buffer_clear(&sse->data);
    sse->any_data = false;
    sse->type[0] = '\0';
}

static void end_line(struct eg_sse *sse)
{
    const char *line = sse->line.data;
    size_t length = sse->line.length;
    if (!sse->begun && length >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0)
        line += 3, length -= 3; /* a byte order mark */
    sse->begun = true;
    const char *colon = length > 0 ? memchr(line, ':', length) : NULL;
    if (length == 0) {
        end_event(sse);
    } else if (!colon) {
        take_field(sse, line, length, "", 0);
    } else if (colon > line) { /* else a comment */
        const char *value = colon + 1, *end = line + length;
        if (value < end && *value == ' ')
            value++;
        take_field(sse, line, (size_t)(colon - line), value, (size_t)(end - value));
    }
    eg_buffer_clear(&sse->line);
}

int eg_sse_feed(struct eg_sse *sse, const char *data, size_t length)
{
    const char *end = data + length;
    while (data < end) {
        if (sse->after_cr && *data == '\n')
            data++; /* CR and LF are one line's end */
        sse->after_cr = false;
        const char *stop = data;
        while (stop < end && *stop != '\n' && *stop != '\r')
            stop++;
        eg_buffer_add(&sse->line, data, (size_t)(stop - data));
        if (sse->line.failed || sse->data.failed)
            return -ENOMEM;
        if (sse->line.length + sse->data.length > EG_SSE_MAX_BYTES)
            return -EMSGSIZE;
        if (stop < end) {
            sse->after_cr = *stop == '\r';
            end_line(sse);
            stop++;
        }
        data = stop;
    }
    return sse->data.failed ? -ENOMEM : 0;
}

void eg_sse_restart(struct eg_sse *sse)
{
    eg_buffer_clear(&sse->line);
    eg_buffer_clear(&sse->data);
    sse->type[0] = '\0';
    sse->any_data = sse->after_cr = sse->begun = false;
}

void eg_sse_done(struct eg_sse *sse)
{
    eg_buffer_done(&sse->line);
    eg_buffer_done(&sse->data);
}

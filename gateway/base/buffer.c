/*
 * A growable byte buffer with a sticky failure.
 */
#include "eventgate/buffer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/utf8.h"

#define FIRST_CAPACITY 256u

void eg_buffer_done(struct eg_buffer *buffer)
{
    free(buffer->data);
    *buffer = EG_BUFFER_INIT;
}

void eg_buffer_clear(struct eg_buffer *buffer)
{
    buffer->length = 0;
    buffer->failed = false;
}

char *eg_buffer_reserve(struct eg_buffer *buffer, size_t bytes)
{
    if (buffer->failed)
        return NULL;
    if (bytes <= buffer->capacity - buffer->length && buffer->data)
        return buffer->data + buffer->length;
    size_t capacity = buffer->capacity ? buffer->capacity : FIRST_CAPACITY;
    while (capacity - buffer->length < bytes && capacity <= SIZE_MAX / 2)
        capacity *= 2;
    char *data = capacity - buffer->length < bytes ? NULL : realloc(buffer->data, capacity);
    if (!data) {
        buffer->failed = true;
        return NULL;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return data + buffer->length;
}

void eg_buffer_add(struct eg_buffer *buffer, const void *data, size_t length)
{
    if (length == 0)
        return;
    char *to = eg_buffer_reserve(buffer, length);
    if (!to)
        return;
    memcpy(to, data, length);
    buffer->length += length;
}

void eg_buffer_add_string(struct eg_buffer *buffer, const char *string)
{
    eg_buffer_add(buffer, string, strlen(string));
}

void eg_buffer_add_format(struct eg_buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        buffer->failed = true;
        return;
    }
    char *to = eg_buffer_reserve(buffer, (size_t)length + 1);
    if (!to)
        return;
    va_start(arguments, format);
    vsnprintf(to, (size_t)length + 1, format, arguments);
    va_end(arguments);
    buffer->length += (size_t)length;
}

void eg_buffer_add_unsigned(struct eg_buffer *buffer, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    eg_buffer_add(buffer, digits + at, sizeof(digits) - at);
}

/* The escape of a byte that can't stand in a JSON string as it is. */
static void add_escape(struct eg_buffer *buffer, unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";
    char escape[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
    const char *shorts = "\"\\\b\f\n\r\t", *letters = "\"\\bfnrt";
    const char *found = byte ? strchr(shorts, byte) : NULL;
    if (!found) {
        eg_buffer_add(buffer, escape, sizeof(escape));
        return;
    }
    escape[1] = letters[found - shorts];
    eg_buffer_add(buffer, escape, 2);
}

static void add_escaped(struct eg_buffer *buffer, const char *data, size_t length)
{
    size_t start = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)data[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\')
            continue;
        eg_buffer_add(buffer, data + start, i - start);
        add_escape(buffer, byte);
        start = i + 1;
    }
    eg_buffer_add(buffer, data + start, length - start);
}

void eg_buffer_add_json_string(struct eg_buffer *buffer, const char *data, size_t length)
{
    eg_buffer_reserve(buffer, length + 2);
    eg_buffer_add(buffer, "\"", 1);
    while (length > 0) {
        size_t valid = eg_utf8_valid_prefix(data, length);
        add_escaped(buffer, data, valid);
        if (valid < length) {
            eg_buffer_add_string(buffer, "\xef\xbf\xbd");
            valid++;
        }
        data += valid;
        length -= valid;
    }
    eg_buffer_add(buffer, "\"", 1);
}

char *eg_buffer_take(struct eg_buffer *buffer, size_t *ret_length)
{
    char *end = eg_buffer_reserve(buffer, 1);
    if (!end) {
        eg_buffer_done(buffer);
        return NULL;
    }
    *end = '\0';
    char *data = buffer->data;
    if (ret_length)
        *ret_length = buffer->length;
    *buffer = EG_BUFFER_INIT;
    return data;
}

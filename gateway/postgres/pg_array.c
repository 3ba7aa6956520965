/*
 * Arrays in PostgreSQL's binary form.
 */
#include "eventgate/pg_array.h"

#include <errno.h>

#define HEAD_BYTES 20u
#define INT8_BYTES 12u /* an element: its length, and the number */

static void add_number(struct eg_buffer *buffer, uint64_t value, size_t bytes)
{
    char *to = eg_buffer_reserve(buffer, bytes);
    if (!to)
        return;
    for (size_t i = 0; i < bytes; i++)
        to[i] = (char)(value >> 8 * (bytes - 1 - i));
    buffer->length += bytes;
}

static uint64_t read_number(const char *at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | (unsigned char)at[i];
    return value;
}

void eg_pg_add_int4(struct eg_buffer *buffer, int32_t value)
{
    add_number(buffer, (uint32_t)value, 4);
}

void eg_pg_add_int8(struct eg_buffer *buffer, int64_t value)
{
    add_number(buffer, (uint64_t)value, 8);
}

void eg_pg_array_begin(struct eg_buffer *buffer, enum eg_pg_type type, size_t count)
{
    add_number(buffer, 1, 4);
    add_number(buffer, 1, 4); /* there may be NULLs */
    add_number(buffer, type, 4);
    add_number(buffer, count, 4);
    add_number(buffer, 1, 4);
}

void eg_pg_array_add(struct eg_buffer *buffer, struct eg_bytes element)
{
    add_number(buffer, element.data ? element.length : UINT32_MAX, 4);
    eg_buffer_add(buffer, element.data, element.length);
}

void eg_pg_array_add_int4(struct eg_buffer *buffer, int32_t element)
{
    add_number(buffer, 4, 4);
    eg_pg_add_int4(buffer, element);
}

int eg_pg_array_read_int8(struct eg_bytes bytes, size_t *ret_count, const char **ret_elements)
{
    if (bytes.length < 12)
        return -EINVAL;
    uint64_t dimensions = read_number(bytes.data, 4);
    *ret_count = 0;
    *ret_elements = bytes.data + bytes.length;
    if (dimensions == 0)
        return 0;
    if (dimensions != 1 || bytes.length < HEAD_BYTES)
        return -EINVAL;
    uint64_t count = read_number(bytes.data + 12, 4);
    if (bytes.length != HEAD_BYTES + count * INT8_BYTES) /* a NULL has no number behind its length */
        return -EINVAL;
    *ret_count = (size_t)count;
    *ret_elements = bytes.data + HEAD_BYTES;
    return 0;
}

int64_t eg_pg_array_int8(const char *elements, size_t index)
{
    return (int64_t)read_number(elements + index * INT8_BYTES + 4, 8);
}

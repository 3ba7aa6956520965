/*
 * One-dimensional PostgreSQL arrays in binary form (array_send() and array_recv() in PostgreSQL's arrayfuncs.c): number
 * of dimensions, flags, type; length and lower bound of the dimension; length (-1: NULL) and bytes of each element.
 */
#ifndef EG_PG_ARRAY_H
#define EG_PG_ARRAY_H

#include "eventgate/buffer.h"

/* Of pg_type.dat; the same in every PostgreSQL. */
enum eg_pg_type { EG_PG_INT4 = 23, EG_PG_TEXT = 25 };

/* Appends the head of an array of `count` elements, which are to follow. */
void eg_pg_array_begin(struct eg_buffer *buffer, enum eg_pg_type type, size_t count);
/* Appends an element; `data` NULL: NULL. */
void eg_pg_array_add(struct eg_buffer *buffer, struct eg_bytes element);
void eg_pg_array_add_int4(struct eg_buffer *buffer, int32_t element);

/* Appends an int4 or int8 alone, as a parameter. */
void eg_pg_add_int4(struct eg_buffer *buffer, int32_t value);
void eg_pg_add_int8(struct eg_buffer *buffer, int64_t value);

/* Reads an int8[] without NULLs: `ret_count` its length, `ret_elements` where the first element begins (12 bytes each),
 * for eg_pg_array_int8(). -EINVAL: it is something else. */
int eg_pg_array_read_int8(struct eg_bytes bytes, size_t *ret_count, const char **ret_elements) EG_MUST_CHECK;
int64_t eg_pg_array_int8(const char *elements, size_t index);

#endif

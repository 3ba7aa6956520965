/* Attributes and small types that every layer uses. */
#ifndef EG_COMMON_H
#define EG_COMMON_H

#include <stddef.h>
#include <stdint.h>

#define EG_MUST_CHECK __attribute__((warn_unused_result))
#define EG_PRINTF(format_index, first_index) __attribute__((format(printf, format_index, first_index)))

/* The struct that embeds `pointer` as its `member`. */
#define EG_CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#define EG_ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Bytes with a length; not NUL-terminated; borrowed unless said otherwise. */
struct eg_bytes {
    const char *data;
    size_t length;
};

/* What went wrong, for a person: a sentence that says what to do, and PostgreSQL's SQLSTATE where there is one. */
struct eg_error {
    char sqlstate[6];
    char sentence[512];
};

#endif

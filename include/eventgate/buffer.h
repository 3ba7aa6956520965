/*
 * A growable byte buffer whose failure is sticky: after running out of memory every further call does nothing and
 * `failed` stays set, so that a whole text is built first and checked once.
 */
#ifndef EG_BUFFER_H
#define EG_BUFFER_H

#include <stdbool.h>

#include "eventgate/common.h"

struct eg_buffer {
    char *data; /* owned; not NUL-terminated; NULL while empty */
    size_t length;
    size_t capacity;
    bool failed;
};

#define EG_BUFFER_INIT ((struct eg_buffer){NULL, 0, 0, false})

void eg_buffer_done(struct eg_buffer *buffer);

/* Forgets the content and the failure, keeps the memory. */
void eg_buffer_clear(struct eg_buffer *buffer);

/* Makes room for `bytes` more and returns where to write them, or NULL; the caller then adds to `length`. */
char *eg_buffer_reserve(struct eg_buffer *buffer, size_t bytes);

void eg_buffer_add(struct eg_buffer *buffer, const void *data, size_t length);
void eg_buffer_add_string(struct eg_buffer *buffer, const char *string);
void eg_buffer_add_format(struct eg_buffer *buffer, const char *format, ...) EG_PRINTF(2, 3);
void eg_buffer_add_unsigned(struct eg_buffer *buffer, uint64_t value);

/*
 * Adds `data` as a JSON string with its quotes (RFC 8259 section 7), valid whatever the bytes are: `"`, `\` and control
 * bytes are escaped, each byte that isn't part of valid UTF-8 becomes U+FFFD, all else is kept. U+2028 and U+2029 are
 * kept too.
 */
void eg_buffer_add_json_string(struct eg_buffer *buffer, const char *data, size_t length);

/* Gives the bytes away: NUL-terminated, to be freed with free(); the buffer is empty afterwards. NULL if it had failed.
 */
char *eg_buffer_take(struct eg_buffer *buffer, size_t *ret_length);

#endif

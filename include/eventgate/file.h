/* Whole files, for the configuration and what it names. Blocks: never on a loop that serves. */
#ifndef EG_FILE_H
#define EG_FILE_H

#include <stdio.h>

#include "eventgate/buffer.h"

/* Appends the file to `text`. 0, -EFBIG if it is larger than that, -ENOMEM, or another negative errno. */
int eg_file_read(const char *name, size_t max_bytes, struct eg_buffer *text) EG_MUST_CHECK;

/* The same of a regular file alone, which is what can be read without waiting for anybody: a reload must not be held
 * up. -ENODEV: it is something else. */
int eg_file_read_regular(const char *name, size_t max_bytes, struct eg_buffer *text) EG_MUST_CHECK;

/* Opens a regular file for reading, to be closed by the caller. NULL with errno; ENODEV: it is something else. */
FILE *eg_file_open_regular(const char *name) EG_MUST_CHECK;

/* What the errno of these means, as the end of a sentence. Main thread. */
const char *eg_file_problem(int error);

#endif

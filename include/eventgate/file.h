/* Whole files, for the configuration and what it names. Blocks: never on a loop that serves. */
#ifndef EG_FILE_H
#define EG_FILE_H

#include "eventgate/buffer.h"

/* Appends the file to `text`. 0, -EFBIG if it is larger than that, -ENOMEM, or another negative errno. */
int eg_file_read(const char *name, size_t max_bytes, struct eg_buffer *text) EG_MUST_CHECK;

#endif

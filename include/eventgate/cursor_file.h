/* The file in which a command keeps its cursor from one run to the next. Blocks. */
#ifndef EG_CURSOR_FILE_H
#define EG_CURSOR_FILE_H

#include "eventgate/common.h"

#define EG_CURSOR_FILE_TEXT_MAX 256u

/* Reads the cursor: 0, with "" if there is no such file, or a negative errno; -EINVAL: what is in it is
 * no cursor, so it is somebody else's file. */
int eg_cursor_file_read(const char *path, char ret_cursor[EG_CURSOR_FILE_TEXT_MAX]) EG_MUST_CHECK;

/* Writes it beside the file, as PATH.new, and puts it in its place, so that a crash leaves the old one or the new one.
 * 0 or a negative errno. */
int eg_cursor_file_write(const char *path, const char *cursor) EG_MUST_CHECK;

#endif

/*
 * Reading whole files.
 */
#include "eventgate/file.h"

#include <errno.h>
#include <stdio.h>

#define READ_BYTES 65536u

int eg_file_read(const char *name, size_t max_bytes, struct eg_buffer *text)
{
    int error = 0;
    size_t got;
    FILE *stream = fopen(name, "re");
    if (!stream)
        return -errno;
    do {
        char *room = eg_buffer_reserve(text, READ_BYTES);
        got = room ? fread(room, 1, READ_BYTES, stream) : 0;
        text->length += got;
        if (!room)
            error = -ENOMEM;
        else if (ferror(stream))
            error = -errno;
        else if (text->length > max_bytes)
            error = -EFBIG;
    } while (!error && got == READ_BYTES);
    fclose(stream);
    return error;
}

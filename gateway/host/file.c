/*
 * Reading whole files.
 */
#include "eventgate/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES 65536u

/* Closes it. */
static int read_whole(FILE *stream, size_t max_bytes, struct eg_buffer *text)
{
    int error = 0;
    size_t got;
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

int eg_file_read(const char *name, size_t max_bytes, struct eg_buffer *text)
{
    return read_whole(fopen(name, "re"), max_bytes, text);
}

int eg_file_read_regular(const char *name, size_t max_bytes, struct eg_buffer *text)
{
    return read_whole(eg_file_open_regular(name), max_bytes, text);
}

/* Opening a pipe waits for a writer, unless it is told not to. */
FILE *eg_file_open_regular(const char *name)
{
    struct stat found;
    FILE *stream = NULL;
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &found) == 0) {
        errno = S_ISDIR(found.st_mode) ? EISDIR : ENODEV;
        stream = S_ISREG(found.st_mode) ? fdopen(fd, "r") : NULL;
    }
    if (!stream) {
        int error = errno;
        close(fd);
        errno = error;
    }
    return stream;
}

const char *eg_file_problem(int error)
{
    return error == ENODEV ? "it is no regular file" : strerror(error);
}

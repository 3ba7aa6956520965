/*
 * The cursor in a file.
 */
#include "eventgate/cursor_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "eventgate/cursor.h"
#include "eventgate/file.h"

/* A cursor as gateways give them out (a position without a tag is none's but 0), or as eventgate.cursor() does for an
 * empty log. */
static bool is_cursor(const char *text, size_t length)
{
    static const char earliest[] = "earliest";
    struct eg_cursor cursor;
    if (length == strlen(earliest) && memcmp(text, earliest, length) == 0)
        return true;
    return eg_cursor_parse(text, length, &cursor) == 0 && (cursor.tag[0] || cursor.position == 0);
}

int eg_cursor_file_read(const char *path, char ret_cursor[EG_CURSOR_FILE_TEXT_MAX])
{
    struct eg_buffer text = EG_BUFFER_INIT;
    int result = eg_file_read(path, EG_CURSOR_FILE_TEXT_MAX - 1, &text);
    while (text.length > 0 && (text.data[text.length - 1] == '\n' || text.data[text.length - 1] == '\r'))
        text.length--;
    ret_cursor[0] = '\0';
    if (result == 0 && text.length > 0 && !is_cursor(text.data, text.length))
        result = -EINVAL;
    if (result == 0)
        snprintf(ret_cursor, EG_CURSOR_FILE_TEXT_MAX, "%.*s", (int)text.length, text.data ? text.data : "");
    eg_buffer_done(&text);
    if (result == -ENOENT)
        return 0;
    return result == -EFBIG ? -EINVAL : result;
}

static int write_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, text, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        text += written;
        length -= (size_t)written;
    }
    return 0;
}

int eg_cursor_file_write(const char *path, const char *cursor)
{
    char beside[4096], text[EG_CURSOR_FILE_TEXT_MAX + 1];
    int length = snprintf(text, sizeof(text), "%s\n", cursor);
    if (length < 0 || (size_t)length >= sizeof(text) ||
        (size_t)snprintf(beside, sizeof(beside), "%s.new", path) >= sizeof(beside))
        return -ENAMETOOLONG;
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return -errno;
    int result = write_all(fd, text, (size_t)length);
    if (close(fd) != 0 && result == 0)
        result = -errno;
    if (result == 0 && rename(beside, path) != 0)
        result = -errno;
    return result;
}

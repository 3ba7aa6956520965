/*
 * Lines of an input.
 */
#include "eventgate/input_lines.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define PIECE_BYTES 65536u

static int read_more(struct eg_input *input)
{
    char *room = eg_buffer_reserve(&input->text, PIECE_BYTES);
    if (!room)
        return -ENOMEM;
    ssize_t got = read(input->fd, room, PIECE_BYTES);
    if (got < 0)
        return -errno;
    input->ended = got == 0;
    input->text.length += (size_t)got;
    input->read_bytes += (uint64_t)got;
    return 0;
}

static bool is_waiting(const struct eg_input *input)
{
    struct pollfd ready = {.fd = input->fd, .events = POLLIN};
    return !input->ended && poll(&ready, 1, 0) == 0;
}

/* What has been given out goes. */
static void drop(struct eg_input *input)
{
    size_t left = input->text.length - input->start;
    if (input->start > 0 && left > 0)
        memmove(input->text.data, input->text.data + input->start, left);
    input->text.length = left;
    input->start = 0;
}

/* The length of the line at `start`, and of what ends it; false: it isn't there as a whole. */
static bool find_line(const struct eg_input *input, size_t start, size_t *ret_length, size_t *ret_whole)
{
    size_t left = input->text.length - start;
    if (left == 0)
        return false;
    const char *at = input->text.data + start, *end = memchr(at, '\n', left);
    if (!end && !input->ended)
        return false;
    size_t length = end ? (size_t)(end - at) : left;
    *ret_whole = length + (end != NULL);
    *ret_length = length > 0 && at[length - 1] == '\r' ? length - 1 : length;
    return true;
}

int eg_input_lines(struct eg_input *input, size_t max, size_t max_bytes, struct eg_sending_item *ret_items,
                   size_t *ret_count)
{
    size_t count = 0, bytes = 0, length, whole;
    drop(input);
    while (count < max && count < EG_INPUT_LINES_MAX && bytes < max_bytes) {
        if (find_line(input, input->start, &length, &whole)) {
            if (count > 0 && bytes + length > max_bytes)
                break;
            input->line++;
            if (length > 0) {
                input->starts[count] = input->start; /* the bytes may move while more is read */
                ret_items[count++] = (struct eg_sending_item){{NULL, length}, input->line};
            }
            bytes += length;
            input->start += whole;
            continue;
        }
        if (input->ended || (count > 0 && is_waiting(input)))
            break;
        if (input->text.length - input->start > EG_INPUT_LINE_MAX)
            return -EMSGSIZE;
        int result = read_more(input);
        if (result)
            return result;
    }
    for (size_t i = 0; i < count; i++)
        ret_items[i].data.data = input->text.data + input->starts[i];
    *ret_count = count;
    return 0;
}

int eg_input_whole(struct eg_input *input, size_t max_bytes, struct eg_bytes *ret_data)
{
    while (!input->ended && input->text.length <= max_bytes) {
        int result = read_more(input);
        if (result)
            return result;
    }
    if (input->text.length > max_bytes)
        return -EMSGSIZE;
    size_t length = input->text.length;
    if (length > 0 && input->text.data[length - 1] == '\n')
        length--;
    if (length > 0 && length < input->text.length && input->text.data[length - 1] == '\r')
        length--;
    *ret_data = (struct eg_bytes){input->text.data, length};
    return 0;
}

void eg_input_done(struct eg_input *input)
{
    eg_buffer_done(&input->text);
}

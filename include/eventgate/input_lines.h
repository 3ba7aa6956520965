/* Lines of standard input, as many at a time as there are. Blocks. */
#ifndef EG_INPUT_LINES_H
#define EG_INPUT_LINES_H

#include <stdbool.h>

#include "eventgate/buffer.h"
#include "eventgate/sending.h"

/* A longer line ends the reading. */
#define EG_INPUT_LINE_MAX (64u << 20)
/* Given out at once. */
#define EG_INPUT_LINES_MAX 1000u

/* Zero-initialise, with `fd`. */
struct eg_input {
    int fd;
    struct eg_buffer text;
    size_t start;  /* of what hasn't been given out */
    uint64_t line; /* given out, or skipped since they were empty */
    uint64_t read_bytes;
    bool ended;
    size_t starts[EG_INPUT_LINES_MAX]; /* of the lines that are being given out */
};

/*
 * Gives out the next lines, without their breaks: at most `max` of at most `max_bytes` in all (or one), and not waiting
 * for more than one. `ret_items` borrow from the input until the next call. 0 lines: it has ended. -EINTR: a signal;
 * -EMSGSIZE: a line is too long; another negative errno.
 */
int eg_input_lines(struct eg_input *input, size_t max, size_t max_bytes, struct eg_sending_item *ret_items,
                   size_t *ret_count) EG_MUST_CHECK;

/* All of it, up to `max_bytes`, without one line break at its end. */
int eg_input_whole(struct eg_input *input, size_t max_bytes, struct eg_bytes *ret_data) EG_MUST_CHECK;
void eg_input_done(struct eg_input *input);

#endif

/*
 * Standard output as a command keeps account of it: what has been written to a file has arrived; what has been written
 * to a pipe has when its reader has taken it. Blocks.
 *
 * A reader that takes blocks would take more lines than it wants (`head -n 3`), so a pipe that is waited for holds one
 * line at a time: the next is written when it is empty. For poll() to tell that, it is made as small as it can be, one
 * page, and gets its size back at the end.
 */
#ifndef EG_LINE_OUTPUT_H
#define EG_LINE_OUTPUT_H

#include <signal.h>
#include <stdbool.h>

#include "eventgate/common.h"

struct eg_line_output {
    int fd;
    bool waits; /* it is a pipe, whose reader is waited for */
    bool narrow;
    int former_bytes; /* the pipe's size; 0: unknown */
};

/* `fd` is borrowed. `waits`: if it is a pipe, its reader is waited for. */
void eg_line_output_begin(struct eg_line_output *output, int fd, bool waits);

/* Has all that was written arrived? Always, where nobody is waited for. */
bool eg_line_output_arrived(const struct eg_line_output *output);

/* Is there nobody who reads it? */
bool eg_line_output_is_unread(const struct eg_line_output *output);

/* Waits until all that was written has arrived. 0; -EAGAIN: not within this time, or a signal came; -EPIPE: nobody
 * reads any more. */
int eg_line_output_wait(struct eg_line_output *output, int timeout_ms) EG_MUST_CHECK;

/* Writes it all. 0 or a negative errno: -EPIPE, nobody reads any more; -EINTR, `*stopped` was set by a signal
 * meanwhile.
 * `*ret_written` is set in each case. */
int eg_line_output_write(const struct eg_line_output *output, const char *data, size_t length,
                         const volatile sig_atomic_t *stopped, size_t *ret_written) EG_MUST_CHECK;

void eg_line_output_end(struct eg_line_output *output);

#endif

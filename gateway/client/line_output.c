/*
 * Lines for a file, and for a reader.
 */
#include "eventgate/line_output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* How often a pipe is looked at that cannot be made narrow. */
#define LOOK_EVERY_MS 5

void eg_line_output_begin(struct eg_line_output *output, int fd, bool waits)
{
    struct stat found;
    *output = (struct eg_line_output){.fd = fd};
    output->waits = waits && fstat(fd, &found) == 0 && S_ISFIFO(found.st_mode);
    if (output->waits && fcntl(fd, F_GETPIPE_SZ) > 0)
        output->former_bytes = fcntl(fd, F_GETPIPE_SZ);
}

bool eg_line_output_arrived(const struct eg_line_output *output)
{
    int bytes = 0; /* at either end of a pipe those that are in it: pipe(7) */
    return !output->waits || (ioctl(output->fd, FIONREAD, &bytes) == 0 && bytes == 0);
}

bool eg_line_output_is_unread(const struct eg_line_output *output)
{
    struct pollfd look = {.fd = output->fd, .events = 0};
    return poll(&look, 1, 0) > 0 && (look.revents & POLLERR);
}

/* Only works while no more than that is in it. */
static void make_narrow(struct eg_line_output *output)
{
    int page_bytes = getpagesize();
    if (!output->narrow)
        output->narrow = fcntl(output->fd, F_SETPIPE_SZ, page_bytes) == page_bytes;
}

int eg_line_output_wait(struct eg_line_output *output, int timeout_ms)
{
    int waited_ms = 0;
    while (output->waits) {
        make_narrow(output);
        bool arrived = eg_line_output_arrived(output);
        int step_ms = output->narrow || timeout_ms < LOOK_EVERY_MS ? timeout_ms : LOOK_EVERY_MS;
        struct pollfd pipe = {.fd = output->fd, .events = output->narrow ? POLLOUT : 0};
        if (poll(&pipe, 1, arrived ? 0 : step_ms) < 0)
            return errno == EINTR ? -EAGAIN : -errno;
        if (pipe.revents & POLLERR)
            return -EPIPE;
        if (eg_line_output_arrived(output))
            return 0;
        waited_ms += step_ms;
        if (waited_ms >= timeout_ms)
            return -EAGAIN;
    }
    return 0;
}

int eg_line_output_write(const struct eg_line_output *output, const char *data, size_t length,
                         const volatile sig_atomic_t *stopped, size_t *ret_written)
{
    size_t written = 0;
    int result = 0;
    while (written < length && result == 0) {
        ssize_t some = write(output->fd, data + written, length - written);
        if (some > 0)
            written += (size_t)some;
        if (some < 0 && errno != EINTR)
            result = -errno;
        else if (written < length && *stopped) /* what is left may find nobody who reads it */
            result = -EINTR;
    }
    *ret_written = written;
    return result;
}

void eg_line_output_end(struct eg_line_output *output)
{
    if (output->narrow && output->former_bytes > 0)
        (void)!fcntl(output->fd, F_SETPIPE_SZ, output->former_bytes); /* may be more than is allowed now */
    output->narrow = false;
}

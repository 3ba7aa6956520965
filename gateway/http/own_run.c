/*
 * Frames of one stream's own.
 */
#include "eventgate/own_run.h"

#include <stdlib.h>

struct eg_own_run *eg_own_run_new(void)
{
    return calloc(1, sizeof(struct eg_own_run));
}

void eg_own_run_free(struct eg_own_run *run)
{
    if (!run)
        return;
    eg_buffer_done(&run->bytes);
    eg_buffer_done(&run->plain);
    free(run);
}

void eg_own_run_clear(struct eg_own_run *run)
{
    eg_buffer_clear(&run->bytes);
    run->count = 0;
}

bool eg_own_run_has_room(const struct eg_own_run *run)
{
    return run->count < EG_OWN_RUN_FRAMES && run->bytes.length < EG_OWN_RUN_BYTES;
}

bool eg_own_run_add(struct eg_own_run *run, const struct eg_event *event, struct eg_format format, bool chunked,
                    const struct eg_cursor *cursor)
{
    char text[EG_CURSOR_SIZE];
    eg_cursor_format(cursor, text);
    if (chunked) {
        eg_buffer_clear(&run->plain);
        eg_frame_add_event(&run->plain, event, format, text);
        eg_frame_add_chunked(&run->bytes, run->plain.data, run->plain.length);
    } else {
        eg_frame_add_event(&run->bytes, event, format, text);
    }
    run->ends[run->count++] = run->bytes.length;
    return !run->bytes.failed && !run->plain.failed;
}

int eg_own_run_send(const struct eg_own_run *run, struct eg_wire *wire, struct eg_own_sent *ret_sent)
{
    const struct iovec part = {run->bytes.data, run->bytes.length};
    ssize_t bytes = eg_wire_send(wire, &part, 1);
    if (bytes < 0)
        return (int)bytes;
    struct eg_own_sent sent = {.bytes = (size_t)bytes, .rest = run->bytes.data + bytes};
    size_t begin = 0;
    while (sent.frames < run->count && begin < sent.bytes)
        begin = run->ends[sent.frames++];
    sent.rest_length = begin > sent.bytes ? begin - sent.bytes : 0;
    *ret_sent = sent;
    return 0;
}

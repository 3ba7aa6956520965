/*
 * Runs of frames.
 *
 * Invariant: a run that has a channel is the answer to any need of that channel, place, format and chunking for as long
 * as the journal's head is `head`, since all from `from` to `head` is then still as it was when the run was collected;
 * but of who has read the log further than the journal. The channel says which journal, and stands for the only one of
 * the subscriber.
 */
#include "eventgate/stream_run.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

#define RUN_FRAMES 256
#define RUN_BYTES (1u << 18)

struct eg_stream_run {
    struct iovec parts[RUN_FRAMES];
    uint64_t places[RUN_FRAMES];
    size_t count;
    size_t bytes;
    uint64_t next;
    uint64_t arrived_us; /* of the first frame's event */

    uint64_t channel; /* its id; 0: not to be shared */
    struct eg_format format;
    bool chunked;
    uint64_t from, head;
    bool is_joined; /* `joined` has the bytes of all parts */
    struct eg_buffer joined;
};

/* --- collecting -------------------------------------------------------------------------------------------------- */

/* Adds the event's frame without its first `skip` bytes. */
static int add_frame(struct eg_stream_run *run, const struct eg_stream_need *need, struct eg_event *event,
                     uint64_t place, size_t skip)
{
    const struct eg_frame *frame = eg_event_frame(event, need->format);
    if (!frame)
        return -ENOMEM;
    const char *start = need->chunked ? frame->bytes : frame->bytes + frame->inner_offset;
    size_t length = need->chunked ? frame->chunked_length : frame->inner_length;
    if (run->count == 0)
        run->arrived_us = event->arrived_us;
    run->parts[run->count] = (struct iovec){(char *)(uintptr_t)start + skip, length - skip};
    run->places[run->count++] = place;
    run->bytes += length - skip;
    return 0;
}

/* Adds the whole frames from run->next on. */
static int add_frames(struct eg_stream_run *run, const struct eg_stream_need *need)
{
    while (run->next != 0 && run->count < RUN_FRAMES && run->bytes < RUN_BYTES) {
        const struct eg_journal_entry *entry = eg_journal_at(need->journal, run->next);
        if (entry->kind != EG_ENTRY_EVENT)
            break;
        int error = add_frame(run, need, entry->event, run->next, 0);
        if (error)
            return error;
        run->next = eg_subscriber_following(need->subscriber, need->journal, run->next);
    }
    return 0;
}

static int collect(struct eg_stream_run *run, const struct eg_stream_need *need)
{
    uint64_t place = need->subscriber->next;
    run->count = 0;
    run->bytes = 0;
    if (need->offset == 0) {
        run->next = eg_subscriber_find(need->subscriber, need->journal, place);
        return add_frames(run, need);
    }
    run->next = place;
    int error = add_frame(run, need, need->half, place, need->offset);
    if (error || need->only_half || place < eg_journal_tail(need->journal))
        return error;
    run->next = eg_subscriber_following(need->subscriber, need->journal, place);
    return add_frames(run, need);
}

/* --- sharing ----------------------------------------------------------------------------------------------------- */

/* Has the subscriber had, from the log, some of what stands at its place or behind it? */
static bool is_ahead(const struct eg_stream_need *need)
{
    const struct eg_subscriber *subscriber = need->subscriber;
    return eg_journal_position_at(need->journal, subscriber->next - 1) < subscriber->log_after;
}

/* The channel or pattern whose streams may need the same; 0: nobody else does. */
static uint64_t shared_channel(const struct eg_stream_need *need)
{
    const struct eg_subscriber *subscriber = need->subscriber;
    return need->offset == 0 && subscriber->link_count == 1 && !is_ahead(need) ? subscriber->links[0].channel->id : 0;
}

static bool is_for(const struct eg_stream_run *run, const struct eg_stream_need *need, uint64_t channel)
{
    return run->channel == channel && run->from == need->subscriber->next &&
           run->head == eg_journal_head(need->journal) && run->chunked == need->chunked &&
           eg_format_equal(run->format, need->format);
}

static void label(struct eg_stream_run *run, const struct eg_stream_need *need, uint64_t channel)
{
    run->channel = channel;
    run->format = need->format;
    run->chunked = need->chunked;
    run->from = need->subscriber->next;
    run->head = eg_journal_head(need->journal);
}

static void unlabel(struct eg_stream_run *run)
{
    run->channel = 0;
    run->is_joined = false;
}

/* A second stream needs the run. Without memory it goes out in parts. */
static void join(struct eg_stream_run *run)
{
    if (run->is_joined || run->count == 1)
        return;
    eg_buffer_clear(&run->joined);
    for (size_t i = 0; i < run->count; i++)
        eg_buffer_add(&run->joined, run->parts[i].iov_base, run->parts[i].iov_len);
    run->is_joined = !run->joined.failed;
}

int eg_stream_run_collect(struct eg_stream_run *run, const struct eg_stream_need *need)
{
    uint64_t channel = shared_channel(need);
    if (channel && is_for(run, need, channel)) {
        join(run);
        return (int)run->count;
    }
    unlabel(run);
    int error = collect(run, need);
    if (error)
        return error;
    if (channel && run->count > 0)
        label(run, need, channel);
    return (int)run->count;
}

uint64_t eg_stream_run_next(const struct eg_stream_run *run)
{
    return run->next;
}

/* --- sending ----------------------------------------------------------------------------------------------------- */

int eg_stream_run_send(const struct eg_stream_run *run, struct eg_wire *wire, struct eg_stream_sent *ret_sent)
{
    const struct iovec joined = {run->joined.data, run->joined.length};
    ssize_t bytes = run->is_joined ? eg_wire_send(wire, &joined, 1) : eg_wire_send(wire, run->parts, run->count);
    if (bytes < 0)
        return (int)bytes;
    struct eg_stream_sent sent = {.bytes = (size_t)bytes, .half_bytes = (size_t)bytes, .arrived_us = run->arrived_us};
    while (sent.frames < run->count && sent.half_bytes >= run->parts[sent.frames].iov_len)
        sent.half_bytes -= run->parts[sent.frames++].iov_len;
    if (sent.frames > 0)
        sent.last = run->places[sent.frames - 1];
    sent.all = sent.frames == run->count;
    if (!sent.all)
        sent.half = run->places[sent.frames];
    *ret_sent = sent;
    return 0;
}

/* --- making and freeing ------------------------------------------------------------------------------------------ */

struct eg_stream_run *eg_stream_run_new(void)
{
    return calloc(1, sizeof(struct eg_stream_run));
}

void eg_stream_run_free(struct eg_stream_run *run)
{
    if (!run)
        return;
    unlabel(run);
    eg_buffer_done(&run->joined);
    free(run);
}

/*
 * What a stream says of itself: its beginning, gaps, heartbeats and its end, each as a note. A gap's `id` is the cursor
 * from which the stream goes on, so the subscriber is moved first.
 */
#include "eventgate/backoff.h"
#include "eventgate/stream_internal.h"

static void cursor_text(const struct eg_stream *stream, char ret_text[EG_CURSOR_SIZE])
{
    eg_subscriber_cursor_text(stream->set, &stream->subscriber, stream->subscriber.next - 1, ret_text);
}

void eg_stream_now_told(struct eg_stream *stream)
{
    stream->told_place = stream->subscriber.next - 1;
    stream->told_position = stream->subscriber.position;
}

/* `from`: the client's cursor, or NULL. */
static void add_gap(const struct eg_stream *stream, struct eg_buffer *plain, const struct eg_missed *missed,
                    const char *from)
{
    char id[EG_CURSOR_SIZE];
    cursor_text(stream, id);
    eg_missed_add(plain, stream->set, stream->format.transport, missed, from, id);
    if (stream->format.transport == EG_TRANSPORT_NDJSON)
        eg_frame_add_cursor(plain, EG_TRANSPORT_NDJSON, id); /* SSE has it in the gap's `id:` */
}

/* A gap between what has been sent, up to `from`, and what comes next, which the subscriber stands at, as the note.
 * Takes what is missed. */
static bool note_gap(struct eg_stream *stream, struct eg_missed *missed, const char *from)
{
    struct eg_buffer plain = EG_BUFFER_INIT;
    add_gap(stream, &plain, missed, from);
    eg_gap_count(eg_stream_worker(stream), missed->reason);
    eg_missed_done(missed);
    eg_stream_now_told(stream);
    return eg_stream_note_set(&stream->note, &plain, stream->chunked, false);
}

/*
 * What every stream opens with: `retry:`, the gap if there is one, and the cursor of the place from which it goes on.
 * The gap stands before the cursor: a client that loses the connection between the two must not resume behind a gap
 * that it never saw.
 */
bool eg_stream_say_beginning(struct eg_stream *stream, const struct eg_subscription *subscription)
{
    const struct eg_missed *missed = &subscription->beginning.missed;
    const struct eg_subscription_request *request = &subscription->request;
    struct eg_buffer plain = EG_BUFFER_INIT;
    char cursor[EG_CURSOR_SIZE];
    cursor_text(stream, cursor);
    if (stream->format.transport == EG_TRANSPORT_SSE)
        eg_frame_add_retry(&plain, eg_stream_worker(stream)->settings.retry_ms);
    if (missed->is_gap)
        add_gap(stream, &plain, missed, request->cursor_text[0] ? request->cursor_text : NULL);
    if (!missed->is_gap || stream->format.transport == EG_TRANSPORT_SSE)
        eg_frame_add_cursor(&plain, stream->format.transport, cursor);
    eg_stream_now_told(stream);
    return eg_stream_note_set(&stream->note, &plain, stream->chunked, false);
}

/* The entry at subscriber.next is a break: everything between the two LISTEN sessions, or what the log has lost, may be
 * missing. */
bool eg_stream_say_break(struct eg_stream *stream)
{
    struct eg_subscriber *subscriber = &stream->subscriber;
    const struct eg_journal *journal = stream->set->journal;
    uint64_t place = subscriber->next;
    bool live = eg_journal_at(journal, place)->kind == EG_ENTRY_BREAK;
    struct eg_missed missed;
    char from[EG_CURSOR_SIZE];
    cursor_text(stream, from);
    eg_subscriber_advance(subscriber, journal, place);
    if (eg_missed_all(&stream->hold, live ? EG_LIVE : EG_DURABLE, live ? EG_GAP_RECONNECT : EG_GAP_FAILOVER, place,
                      subscriber->position, &missed) != 0)
        return false;
    return note_gap(stream, &missed, from);
}

/* The journal's tail has passed subscriber.next: goes on at the tail, with a gap if that leaves anything live out. */
bool eg_stream_say_passed_by(struct eg_stream *stream)
{
    struct eg_subscriber *subscriber = &stream->subscriber;
    uint64_t place = subscriber->next - 1;
    struct eg_missed missed;
    char from[EG_CURSOR_SIZE];
    cursor_text(stream, from);
    if (place < subscriber->live_after)
        place = subscriber->live_after;
    if (eg_missed_since(stream->set, &stream->hold, place, EG_GAP_SLOW, &missed, &place) != 0)
        return false;
    eg_subscriber_pass(subscriber, stream->set->journal, place);
    missed.position = subscriber->position;
    if (missed.is_gap)
        return note_gap(stream, &missed, from);
    eg_missed_done(&missed);
    return true;
}

/* The log no longer has what comes next. */
bool eg_stream_say_log_gap(struct eg_stream *stream)
{
    struct eg_subscriber *subscriber = &stream->subscriber;
    struct eg_missed missed;
    char from[EG_CURSOR_SIZE];
    cursor_text(stream, from);
    subscriber->position = stream->log_gap;
    stream->log_gap = 0;
    if (eg_missed_all(&stream->hold, EG_DURABLE, stream->log_gap_reason, subscriber->next - 1, subscriber->position,
                      &missed) != 0)
        return false;
    return note_gap(stream, &missed, from);
}

bool eg_stream_say_end(struct eg_stream *stream)
{
    struct eg_buffer plain = EG_BUFFER_INIT;
    stream->end_noted = true;
    if (stream->format.transport == EG_TRANSPORT_SSE)
        eg_frame_add_retry(&plain, eg_jitter_ms(eg_stream_worker(stream)->settings.retry_ms, 50));
    return eg_stream_note_set(&stream->note, &plain, stream->chunked, true);
}

bool eg_stream_say_heartbeat(struct eg_stream *stream)
{
    struct eg_buffer plain = EG_BUFFER_INIT;
    char cursor[EG_CURSOR_SIZE];
    if (!stream->subscriber.lagging)
        eg_subscriber_catch_up(&stream->subscriber, stream->set->journal);
    if (stream->subscriber.next - 1 == stream->told_place && stream->subscriber.position == stream->told_position) {
        eg_frame_add_heartbeat(&plain, stream->format.transport);
    } else {
        cursor_text(stream, cursor);
        eg_frame_add_cursor(&plain, stream->format.transport, cursor);
        eg_stream_now_told(stream);
    }
    return eg_stream_note_set(&stream->note, &plain, stream->chunked, false);
}

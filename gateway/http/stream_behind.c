/*
 * Streams that are behind the journal.
 *
 * A flush sends from the page of the log that the stream holds, and live events beside it, as frames of its own; what
 * of these is half out when the socket is full becomes the note. With the page at its end the stream joins the journal,
 * or asks for the next one, whose arrival makes it dirty. One that hears both kinds of channels is unsteady for a while
 * when it has joined: its cursor's two halves are not those of any one entry.
 */
#include "eventgate/own_run.h"
#include "eventgate/stream_internal.h"

/* A call that sends costs as much as so many bytes that are sent. */
#define SEND_BYTES 4096u

/* Sends the worker's own run; the rest of a frame that is half out becomes the note. `ret_frames`: how many count as
 * out. */
static enum eg_sent send_own_run(struct eg_stream *stream, size_t *ret_frames)
{
    const struct eg_own_run *run = eg_stream_worker(stream)->own_run;
    struct eg_own_sent sent;
    *ret_frames = 0;
    int error = eg_own_run_send(run, &stream->wire, &sent);
    if (error)
        return eg_stream_after_error(error);
    *ret_frames = sent.frames;
    eg_stream_count_sent(stream, sent.bytes, sent.frames);
    if (sent.rest_length > 0 && !eg_stream_note_set_rest(&stream->note, sent.rest, sent.rest_length))
        return EG_SENT_FAILED;
    return sent.rest_length > 0 || sent.frames < run->count ? EG_SENT_FULL : EG_SENT_ALL;
}

/* Sends what the page has from catchup.next on; lets it go at its end. */
static enum eg_sent send_page(struct eg_stream *stream)
{
    struct eg_own_run *run = eg_stream_worker(stream)->own_run;
    struct eg_catchup *catchup = &stream->catchup;
    struct eg_log_page *page = catchup->page;
    struct eg_cursor cursor;
    enum eg_sent sent = EG_SENT_ALL;
    size_t frames = 0;
    eg_own_run_clear(run);
    eg_subscriber_cursor(&stream->subscriber, stream->set->journal, stream->subscriber.next - 1, &cursor);
    for (size_t i = catchup->next; i < page->count && eg_own_run_has_room(run); i++) {
        cursor.position = page->events[i]->cursor.position;
        if (!eg_own_run_add(run, page->events[i], stream->format, stream->chunked, &cursor))
            return EG_SENT_FAILED;
    }
    eg_stream_worker(stream)->page_bytes += run->bytes.length + SEND_BYTES;
    eg_loop_yield(eg_stream_worker(stream)->loop);
    if (run->count > 0)
        sent = send_own_run(stream, &frames);
    if (frames > 0) {
        catchup->next += frames;
        stream->subscriber.position = page->events[catchup->next - 1]->cursor.position;
        eg_stream_now_told(stream);
    }
    if (sent != EG_SENT_FAILED && catchup->next == page->count) {
        if (stream->subscriber.position < page->upto)
            stream->subscriber.position = page->upto;
        eg_catchup_drop_page(catchup);
    }
    return sent;
}

/* Adds the journal's entries from `at` on to the worker's own run, as long as they are not steady. */
static bool collect_unsteady(struct eg_stream *stream, uint64_t at, uint64_t *places)
{
    const struct eg_journal *journal = stream->set->journal;
    const struct eg_subscriber *subscriber = &stream->subscriber;
    struct eg_own_run *run = eg_stream_worker(stream)->own_run;
    eg_own_run_clear(run);
    for (; at != 0 && eg_own_run_has_room(run); at = eg_subscriber_find(subscriber, journal, at + 1)) {
        const struct eg_journal_entry *entry = eg_journal_at(journal, at);
        struct eg_cursor cursor;
        if (entry->kind != EG_ENTRY_EVENT || eg_subscriber_is_steady(subscriber, journal, at))
            break;
        eg_subscriber_cursor(subscriber, journal, at, &cursor);
        places[run->count] = at;
        if (!eg_own_run_add(run, entry->event, stream->format, stream->chunked, &cursor))
            return false;
    }
    return true;
}

/*
 * The journal's next entries, with cursors of the stream's own: live ones while it is behind, all of them until they
 * are steady. `ret_none`: there are none of that kind.
 */
enum eg_sent eg_stream_send_unsteady(struct eg_stream *stream, bool *ret_none)
{
    struct eg_subscriber *subscriber = &stream->subscriber;
    const struct eg_journal *journal = stream->set->journal;
    uint64_t places[EG_OWN_RUN_FRAMES];
    size_t frames;
    uint64_t at = eg_subscriber_find(subscriber, journal, subscriber->next);
    *ret_none = at == 0;
    if (at == 0) {
        if (subscriber->behind)
            eg_subscriber_advance(subscriber, journal, eg_journal_head(journal));
        return EG_SENT_ALL;
    }
    if (eg_journal_at(journal, at)->kind != EG_ENTRY_EVENT) {
        subscriber->next = at;
        return eg_stream_say_break(stream) ? EG_SENT_ALL : EG_SENT_FAILED;
    }
    const uint64_t arrived_us = eg_journal_at(journal, at)->event->arrived_us;
    if (!collect_unsteady(stream, at, places))
        return EG_SENT_FAILED;
    *ret_none = eg_stream_worker(stream)->own_run->count == 0;
    if (*ret_none) { /* steady from here on */
        eg_subscriber_advance(subscriber, journal, at - 1);
        return EG_SENT_ALL;
    }
    enum eg_sent sent = send_own_run(stream, &frames);
    if (frames > 0) {
        eg_stream_count_time(stream, arrived_us, frames);
        eg_subscriber_advance(subscriber, journal, places[frames - 1]);
        eg_stream_now_told(stream);
    }
    return sent;
}

/* One round of a stream that is behind. */
enum eg_sent eg_stream_send_behind(struct eg_stream *stream, bool *ret_done)
{
    struct eg_subscriber *subscriber = &stream->subscriber;
    struct eg_catchup *catchup = &stream->catchup;
    bool no_live = true;
    if (stream->log_gap > 0)
        return eg_stream_say_log_gap(stream) ? EG_SENT_ALL : EG_SENT_FAILED;
    if (!catchup->page && !catchup->asked) {
        if (!eg_subscriber_join(subscriber, stream->set->journal)) {
            subscriber->lagging = subscriber->next <= eg_journal_head(stream->set->journal);
            eg_catchup_joined(catchup);
            return EG_SENT_ALL;
        }
        if (eg_catchup_ask(catchup, stream->set, stream->hold.selection, subscriber->position) != 0)
            return EG_SENT_FAILED; /* the client comes back with its cursor */
    }
    enum eg_sent sent = catchup->page ? send_page(stream) : EG_SENT_ALL;
    if (sent == EG_SENT_ALL && subscriber->hears_live && eg_stream_note_is_empty(&stream->note))
        sent = eg_stream_send_unsteady(stream, &no_live);
    *ret_done = sent == EG_SENT_ALL && no_live && catchup->asked;
    return sent;
}

/* A page has arrived. */
void eg_stream_page_arrived(struct eg_catchup *catchup, const struct eg_log_request *answer)
{
    struct eg_stream *stream = EG_CONTAINER_OF(catchup, struct eg_stream, catchup);
    uint64_t goes_on = stream->subscriber.position;
    if (!catchup->page) { /* out of memory: the client comes back with its cursor */
        stream->ending = true;
    } else {
        if (answer->gap_to > 0)
            goes_on = answer->gap_to;
        if (stream->asked_for_all) {
            stream->subscriber.position = goes_on;
        } else if (answer->gap_to > 0) {
            stream->log_gap = answer->gap_to;
            stream->log_gap_reason = answer->gap_reason;
        }
        stream->asked_for_all = false;
        catchup->next = eg_log_page_find(catchup->page, goes_on);
    }
    if (stream->blocked)
        eg_catchup_drop_page(catchup); /* a slow reader holds none */
    else
        eg_subscribers_dirty(stream->set->subscribers, &stream->subscriber);
}

/*
 * Streams on taken sockets.
 *
 * A flush sends, in this order: what is left of the note; the entries from subscriber.next on, as many whole frames as
 * there are in one sendmsg(); at a break, or when the journal has passed the stream by, a gap as the next note. It
 * stops when the stream has everything, when the socket is full (EPOLLOUT resumes it), or after FLUSH_ROUNDS, so that
 * one stream far behind doesn't hold up the others: it is then dirty again at once. Invariants: `offset` > 0 only while
 * lagging, and then the entry at subscriber.next is the half-sent one, and `half` its event: the one event that a
 * stream keeps alive. If that event has left the journal, and the socket then takes nothing for STUCK_HEARTBEATS, the
 * stream is closed, so that a stuck reader lets go of it. A note is made only when `offset` is 0: notes stand between
 * whole frames.
 *
 * While the subscriber is behind, a flush sends from the page of the log that the stream holds, and live events beside
 * it, as frames of its own; what of these is half out when the socket is full becomes the note. With the page at its
 * end it joins the journal, or asks for the next one, whose arrival makes it dirty.
 */
#include "eventgate/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "eventgate/backoff.h"
#include "eventgate/catchup.h"
#include "eventgate/log.h"
#include "eventgate/own_run.h"
#include "eventgate/stream_note.h"
#include "eventgate/stream_run.h"

#define FLUSH_ROUNDS 8
#define STUCK_HEARTBEATS 2

struct eg_stream {
    struct eg_subscriber subscriber;
    struct eg_watch watch;
    struct eg_worker_set *set;
    struct eg_hold hold;
    struct eg_client *client; /* counts against the limits */
    struct eg_format format;
    int fd;
    bool chunked;
    bool blocked; /* the socket is full: EPOLLOUT is watched */
    bool ending;
    bool end_noted;
    size_t offset;         /* bytes of the entry at subscriber.next that are out */
    struct eg_event *half; /* with offset > 0: a reference to that entry's event, which may leave the journal */
    uint64_t moved_ms;     /* when the socket last took something */
    struct eg_stream_note note;
    struct eg_catchup catchup;
    enum eg_gap_reason log_gap_reason;
    uint64_t log_gap;   /* 0: none; else a gap of the durable channels, up to this position, is to be told */
    bool asked_for_all; /* and its first gap isn't one */
    uint64_t told_place, told_position; /* of the last cursor that the client has been sent */
    uint64_t beat_ms;                   /* when its next heartbeat is due */
    TAILQ_ENTRY(eg_stream) entry;
};

enum sent { SENT_ALL, SENT_FULL, SENT_FAILED };

static const enum eg_metric stream_gauges[] = {EG_METRIC_STREAMS_SSE, EG_METRIC_STREAMS_NDJSON};

static struct eg_worker *worker_of(const struct eg_stream *stream)
{
    return stream->set->worker;
}

/* --- closing ----------------------------------------------------------------------------------------------------- */

static void unblock(struct eg_stream *stream)
{
    if (!stream->blocked)
        return;
    stream->blocked = false;
    eg_metrics_add(worker_of(stream)->metrics, EG_METRIC_BLOCKED, -1);
}

static void stream_close(struct eg_stream *stream)
{
    struct eg_worker *worker = worker_of(stream);
    unblock(stream);
    eg_loop_remove(worker->loop, stream->fd, &stream->watch);
    shutdown(stream->fd, SHUT_WR);
    close(stream->fd);
    eg_client_free(stream->client);
    eg_subscribers_remove(stream->set->subscribers, &stream->subscriber);
    TAILQ_REMOVE(&worker->streams, stream, entry);
    worker->stream_count--;
    eg_metrics_add(worker->metrics, stream_gauges[stream->format.transport], -1);
    eg_hold_release(stream->set, &stream->hold);
    eg_stream_note_done(&stream->note);
    eg_catchup_done(&stream->catchup);
    eg_event_unref(stream->half);
    free(stream);
}

/* --- notes ------------------------------------------------------------------------------------------------------- */

static void cursor_text(const struct eg_stream *stream, char ret_text[EG_CURSOR_SIZE])
{
    eg_subscriber_cursor_text(stream->set, &stream->subscriber, stream->subscriber.next - 1, ret_text);
}

static void now_told(struct eg_stream *stream)
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
    eg_gap_count(worker_of(stream), missed->reason);
    eg_missed_done(missed);
    now_told(stream);
    return eg_stream_note_set(&stream->note, &plain, stream->chunked, false);
}

/*
 * What every stream opens with: `retry:`, the gap if there is one, and the cursor of the place from which it goes on.
 * The gap stands before the cursor: a client that loses the connection between the two must not resume behind a gap
 * that it never saw.
 */
static bool note_beginning(struct eg_stream *stream, const struct eg_subscription *subscription)
{
    const struct eg_missed *missed = &subscription->beginning.missed;
    const struct eg_subscription_request *request = &subscription->request;
    struct eg_buffer plain = EG_BUFFER_INIT;
    char cursor[EG_CURSOR_SIZE];
    cursor_text(stream, cursor);
    if (stream->format.transport == EG_TRANSPORT_SSE)
        eg_frame_add_retry(&plain, worker_of(stream)->settings.retry_ms);
    if (missed->is_gap)
        add_gap(stream, &plain, missed, request->cursor_text[0] ? request->cursor_text : NULL);
    if (!missed->is_gap || stream->format.transport == EG_TRANSPORT_SSE)
        eg_frame_add_cursor(&plain, stream->format.transport, cursor);
    now_told(stream);
    return eg_stream_note_set(&stream->note, &plain, stream->chunked, false);
}

/* The entry at subscriber.next is a break: everything between the two LISTEN sessions, or what the log has lost, may be
 * missing. */
static bool note_break(struct eg_stream *stream)
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
static bool note_passed_by(struct eg_stream *stream)
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
    subscriber->next = place + 1;
    if (subscriber->behind)
        subscriber->live_after = place;
    missed.position = subscriber->position;
    if (missed.is_gap)
        return note_gap(stream, &missed, from);
    eg_missed_done(&missed);
    return true;
}

/* The log no longer has what comes next. */
static bool note_log_gap(struct eg_stream *stream)
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

static bool note_end(struct eg_stream *stream)
{
    struct eg_buffer plain = EG_BUFFER_INIT;
    stream->end_noted = true;
    if (stream->format.transport == EG_TRANSPORT_SSE)
        eg_frame_add_retry(&plain, eg_jitter_ms(worker_of(stream)->settings.retry_ms, 50));
    return eg_stream_note_set(&stream->note, &plain, stream->chunked, true);
}

/* --- sending ----------------------------------------------------------------------------------------------------- */

static enum sent after_error(int error)
{
    return error == -EAGAIN || error == -EWOULDBLOCK || error == -EINTR || error == -ENOBUFS ? SENT_FULL : SENT_FAILED;
}

static void count_sent(struct eg_stream *stream, size_t bytes, size_t frames)
{
    struct eg_metrics *metrics = worker_of(stream)->metrics;
    if (bytes == 0)
        return;
    stream->moved_ms = eg_loop_now_ms(worker_of(stream)->loop);
    eg_metrics_add(metrics, EG_METRIC_SENT_BYTES, (int64_t)bytes);
    if (frames > 0)
        eg_metrics_add(metrics, EG_METRIC_DELIVERIES, (int64_t)frames);
}

static enum sent send_note(struct eg_stream *stream)
{
    size_t bytes = 0;
    if (eg_stream_note_is_empty(&stream->note))
        return SENT_ALL;
    int error = eg_stream_note_send(&stream->note, stream->fd, &bytes);
    count_sent(stream, bytes, 0);
    return error ? after_error(error) : SENT_ALL;
}

/* Is the half-sent entry no longer in the journal? */
static bool half_is_alone(const struct eg_stream *stream)
{
    return stream->offset > 0 && stream->subscriber.next < eg_journal_tail(stream->set->journal);
}

static void let_half_go(struct eg_stream *stream)
{
    eg_event_unref(stream->half);
    stream->half = NULL;
    stream->offset = 0;
}

/* Moves on by what the socket took. */
static void advance(struct eg_stream *stream, const struct eg_stream_sent *sent)
{
    count_sent(stream, sent->bytes, sent->frames);
    if (sent->frames > 0) {
        eg_subscriber_advance(&stream->subscriber, stream->set->journal, sent->last);
        now_told(stream);
        let_half_go(stream);
    }
    if (sent->half_bytes == 0)
        return;
    stream->subscriber.next = sent->half;
    stream->offset += sent->half_bytes;
    if (!stream->half)
        stream->half = eg_event_ref(eg_journal_at(stream->set->journal, sent->half)->event);
}

static enum sent send_run(struct eg_stream *stream)
{
    struct eg_stream_sent sent;
    int error = eg_stream_run_send(worker_of(stream)->run, stream->fd, &sent);
    if (error)
        return after_error(error);
    advance(stream, &sent);
    return sent.all ? SENT_ALL : SENT_FULL;
}

/* Sends the next frames; at a break makes the gap the note. */
static enum sent send_frames(struct eg_stream *stream)
{
    struct eg_subscriber *subscriber = &stream->subscriber;
    struct eg_stream_run *run = worker_of(stream)->run;
    const struct eg_stream_need need = {.journal = stream->set->journal,
                                        .subscriber = subscriber,
                                        .format = stream->format,
                                        .chunked = stream->chunked,
                                        .offset = stream->offset,
                                        .half = stream->half,
                                        .only_half = stream->ending};
    int count = eg_stream_run_collect(run, &need);
    if (count < 0)
        return SENT_FAILED; /* the client comes back with its cursor */
    enum sent sent = count > 0 ? send_run(stream) : SENT_ALL;
    if (sent != SENT_ALL)
        return sent;
    uint64_t next = eg_stream_run_next(run);
    if (next == 0) {
        subscriber->lagging = false;
    } else if (count == 0) { /* a break comes next */
        subscriber->next = next;
        return note_break(stream) ? SENT_ALL : SENT_FAILED;
    }
    return SENT_ALL;
}

/* --- behind the journal ------------------------------------------------------------------------------------------ */

/* Sends the worker's own run; the rest of a frame that is half out becomes the note. `ret_frames`: how many count as
 * out. */
static enum sent send_own_run(struct eg_stream *stream, size_t *ret_frames)
{
    const struct eg_own_run *run = worker_of(stream)->own_run;
    struct eg_own_sent sent;
    *ret_frames = 0;
    int error = eg_own_run_send(run, stream->fd, &sent);
    if (error)
        return after_error(error);
    *ret_frames = sent.frames;
    count_sent(stream, sent.bytes, sent.frames);
    if (sent.rest_length > 0 && !eg_stream_note_set_rest(&stream->note, sent.rest, sent.rest_length))
        return SENT_FAILED;
    return sent.rest_length > 0 || sent.frames < run->count ? SENT_FULL : SENT_ALL;
}

/* Sends what the page has from catchup.next on; lets it go at its end. */
static enum sent send_page(struct eg_stream *stream)
{
    struct eg_own_run *run = worker_of(stream)->own_run;
    struct eg_catchup *catchup = &stream->catchup;
    struct eg_log_page *page = catchup->page;
    struct eg_cursor cursor;
    enum sent sent = SENT_ALL;
    size_t frames = 0;
    eg_own_run_clear(run);
    eg_subscriber_cursor(&stream->subscriber, stream->set->journal, stream->subscriber.next - 1, &cursor);
    for (size_t i = catchup->next; i < page->count && eg_own_run_has_room(run); i++) {
        cursor.position = page->events[i]->cursor.position;
        if (!eg_own_run_add(run, page->events[i], stream->format, stream->chunked, &cursor))
            return SENT_FAILED;
    }
    if (run->count > 0)
        sent = send_own_run(stream, &frames);
    if (frames > 0) {
        catchup->next += frames;
        stream->subscriber.position = page->events[catchup->next - 1]->cursor.position;
        now_told(stream);
    }
    if (sent != SENT_FAILED && catchup->next == page->count) {
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
    struct eg_own_run *run = worker_of(stream)->own_run;
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
static enum sent send_unsteady(struct eg_stream *stream, bool *ret_none)
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
        return SENT_ALL;
    }
    if (eg_journal_at(journal, at)->kind != EG_ENTRY_EVENT) {
        subscriber->next = at;
        return note_break(stream) ? SENT_ALL : SENT_FAILED;
    }
    if (!collect_unsteady(stream, at, places))
        return SENT_FAILED;
    *ret_none = worker_of(stream)->own_run->count == 0;
    if (*ret_none) { /* steady from here on */
        eg_subscriber_advance(subscriber, journal, at - 1);
        return SENT_ALL;
    }
    enum sent sent = send_own_run(stream, &frames);
    if (frames > 0) {
        eg_subscriber_advance(subscriber, journal, places[frames - 1]);
        now_told(stream);
    }
    return sent;
}

/* One round of a stream that is behind. */
static enum sent send_behind(struct eg_stream *stream, bool *ret_done)
{
    struct eg_subscriber *subscriber = &stream->subscriber;
    struct eg_catchup *catchup = &stream->catchup;
    bool no_live = true;
    if (stream->log_gap > 0)
        return note_log_gap(stream) ? SENT_ALL : SENT_FAILED;
    if (!catchup->page && !catchup->asked) {
        if (!eg_subscriber_join(subscriber, stream->set->journal)) {
            subscriber->lagging = subscriber->next <= eg_journal_head(stream->set->journal);
            return SENT_ALL;
        }
        if (eg_catchup_ask(catchup, stream->set, stream->hold.selection, subscriber->position) != 0)
            return SENT_FAILED; /* the client comes back with its cursor */
    }
    enum sent sent = catchup->page ? send_page(stream) : SENT_ALL;
    if (sent == SENT_ALL && subscriber->hears_live && eg_stream_note_is_empty(&stream->note))
        sent = send_unsteady(stream, &no_live);
    *ret_done = sent == SENT_ALL && no_live && catchup->asked;
    return sent;
}

/* A page has arrived. */
static void page_arrived(struct eg_catchup *catchup, const struct eg_log_request *answer)
{
    struct eg_stream *stream = EG_CONTAINER_OF(catchup, struct eg_stream, catchup);
    uint64_t position = stream->subscriber.position;
    if (!catchup->page) { /* out of memory: the client comes back with its cursor */
        stream->ending = true;
    } else {
        if (answer->gap_to > position && !stream->asked_for_all) {
            stream->log_gap = answer->gap_to;
            stream->log_gap_reason = answer->gap_reason;
        }
        stream->asked_for_all = false;
        catchup->next = eg_log_page_find(catchup->page, answer->gap_to > position ? answer->gap_to : position);
    }
    if (!stream->blocked)
        eg_subscribers_dirty(stream->set->subscribers, &stream->subscriber);
}

/* --- flushing ---------------------------------------------------------------------------------------------------- */

/* Both kinds of channels: until its cursor is that of the entries, they go out with its own. */
static bool may_be_unsteady(const struct eg_subscriber *subscriber)
{
    return subscriber->hears_live && subscriber->hears_log;
}

/* One round; sets `ret_done` when there is nothing more to send now. */
static enum sent flush_round(struct eg_stream *stream, bool *ret_done)
{
    struct eg_subscriber *subscriber = &stream->subscriber;
    const struct eg_journal *journal = stream->set->journal;
    enum sent sent = send_note(stream);
    bool none;
    *ret_done = false;
    if (sent != SENT_ALL)
        return sent;
    if (stream->end_noted)
        return SENT_FAILED; /* the end is out: close */
    if (stream->ending && stream->offset == 0)
        return note_end(stream) ? SENT_ALL : SENT_FAILED;
    if (!subscriber->lagging) {
        *ret_done = true;
        return SENT_ALL;
    }
    if (stream->offset > 0)
        return send_frames(stream);
    if (eg_subscriber_lacks_log(subscriber, journal))
        eg_subscriber_fall_behind(subscriber);
    if (subscriber->next < eg_journal_tail(journal) && (subscriber->hears_live || !subscriber->behind))
        return note_passed_by(stream) ? SENT_ALL : SENT_FAILED;
    if (subscriber->behind)
        return send_behind(stream, ret_done);
    if (may_be_unsteady(subscriber)) {
        sent = send_unsteady(stream, &none);
        if (sent != SENT_ALL || !none)
            return sent;
    }
    return send_frames(stream);
}

/* The socket is full: waits for room. */
static void block(struct eg_stream *stream)
{
    if (stream->blocked)
        return;
    stream->blocked = true;
    eg_metrics_add(worker_of(stream)->metrics, EG_METRIC_BLOCKED, 1);
    if (eg_loop_change(worker_of(stream)->loop, stream->fd, EPOLLIN | EPOLLRDHUP | EPOLLOUT, &stream->watch) != 0)
        stream_close(stream);
}

static void flush(struct eg_subscriber *subscriber)
{
    struct eg_stream *stream = EG_CONTAINER_OF(subscriber, struct eg_stream, subscriber);
    for (int round = 0; round < FLUSH_ROUNDS; round++) {
        bool done;
        switch (flush_round(stream, &done)) {
        case SENT_FAILED:
            stream_close(stream);
            return;
        case SENT_FULL:
            eg_catchup_drop_page(&stream->catchup); /* a slow reader holds none */
            block(stream);
            return;
        case SENT_ALL:
            if (done)
                return;
        }
    }
    eg_subscribers_dirty(stream->set->subscribers, subscriber);
}

/* What a client sends after its request means nothing. */
static bool discard_input(int fd)
{
    char scrap[4096];
    ssize_t got = recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT);
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

static void ready(struct eg_watch *watch, uint32_t epoll_events)
{
    struct eg_stream *stream = EG_CONTAINER_OF(watch, struct eg_stream, watch);
    if ((epoll_events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) ||
        ((epoll_events & EPOLLIN) && !discard_input(stream->fd))) {
        stream_close(stream);
        return;
    }
    if (!(epoll_events & EPOLLOUT) || !stream->blocked)
        return;
    unblock(stream);
    if (eg_loop_change(worker_of(stream)->loop, stream->fd, EPOLLIN | EPOLLRDHUP, watch) != 0)
        stream_close(stream);
    else
        eg_subscribers_dirty(stream->set->subscribers, &stream->subscriber);
}

/* --- heartbeats -------------------------------------------------------------------------------------------------- */

static void beat(struct eg_stream *stream)
{
    uint64_t stuck_ms = eg_loop_now_ms(worker_of(stream)->loop) - stream->moved_ms;
    if ((half_is_alone(stream) || stream->note.is_rest) &&
        stuck_ms >= STUCK_HEARTBEATS * (uint64_t)worker_of(stream)->settings.heartbeat_ms) {
        eg_metrics_add(worker_of(stream)->metrics, EG_METRIC_HALF_SENT, 1);
        stream_close(stream);
        return;
    }
    if (stream->ending || stream->offset > 0 || !eg_stream_note_is_empty(&stream->note) ||
        (stream->subscriber.lagging && !stream->subscriber.behind))
        return; /* it has something to send anyway */
    struct eg_buffer plain = EG_BUFFER_INIT;
    if (!stream->subscriber.lagging)
        eg_subscriber_catch_up(&stream->subscriber, stream->set->journal);
    if (stream->subscriber.next - 1 == stream->told_place && stream->subscriber.position == stream->told_position) {
        eg_frame_add_heartbeat(&plain, stream->format.transport);
    } else {
        char cursor[EG_CURSOR_SIZE];
        cursor_text(stream, cursor);
        eg_frame_add_cursor(&plain, stream->format.transport, cursor);
        now_told(stream);
    }
    if (eg_stream_note_set(&stream->note, &plain, stream->chunked, false))
        eg_subscribers_dirty(stream->set->subscribers, &stream->subscriber);
    else
        stream_close(stream);
}

static void heartbeats_due(struct eg_timer *timer)
{
    struct eg_worker *worker = EG_CONTAINER_OF(timer, struct eg_worker, heartbeat);
    uint64_t now_ms = eg_loop_now_ms(worker->loop);
    struct eg_stream *stream;
    while ((stream = TAILQ_FIRST(&worker->streams)) && stream->beat_ms <= now_ms) {
        stream->beat_ms = now_ms + worker->settings.heartbeat_ms;
        TAILQ_REMOVE(&worker->streams, stream, entry);
        TAILQ_INSERT_TAIL(&worker->streams, stream, entry);
        beat(stream);
    }
    eg_streams_arm_heartbeat(worker);
}

void eg_streams_arm_heartbeat(struct eg_worker *worker)
{
    const struct eg_stream *first = TAILQ_FIRST(&worker->streams);
    worker->heartbeat.fire = heartbeats_due;
    if (first && worker->heartbeat.heap_index == 0 &&
        eg_timer_set(worker->loop, &worker->heartbeat, first->beat_ms) != 0)
        eg_log(EG_LOG_WARN, "no memory for the heartbeat timer");
}

/* --- beginning and ending ---------------------------------------------------------------------------------------- */

const char *eg_transport_content_type(enum eg_transport transport)
{
    static const char *const types[] = {"text/event-stream", "application/x-ndjson", "application/json"};
    return types[transport];
}

/* Takes the subscription's hold over. */
static struct eg_stream *stream_new(struct eg_subscription *subscription, const struct eg_exchange *exchange, int fd)
{
    struct eg_worker_set *set = subscription->set;
    struct eg_stream *stream = calloc(1, sizeof(*stream));
    if (!stream)
        return NULL;
    stream->watch.ready = ready;
    stream->subscriber.flush = flush;
    stream->set = set;
    stream->client = exchange->client;
    stream->format = subscription->request.format;
    stream->chunked = !exchange->http_1_0;
    stream->fd = fd;
    stream->catchup.answered = page_arrived;
    stream->asked_for_all = subscription->beginning.asked_for_all;
    stream->subscriber.hears_live = subscription->hold.live_count > 0;
    stream->subscriber.hears_log = subscription->hold.selection != NULL;
    if (eg_subscribers_add(set->subscribers, &stream->subscriber, subscription->hold.channels, subscription->hold.count,
                           subscription->beginning.start) != 0) {
        free(stream);
        return NULL;
    }
    if (eg_loop_add(set->worker->loop, fd, EPOLLIN | EPOLLRDHUP, &stream->watch) != 0) {
        eg_subscribers_remove(set->subscribers, &stream->subscriber);
        free(stream);
        return NULL;
    }
    stream->hold = subscription->hold;
    subscription->hold = (struct eg_hold){.channels = NULL};
    return stream;
}

/* The head is out: the socket is ours. */
static void taken(struct eg_exchange *exchange, int fd)
{
    struct eg_subscription *subscription = exchange->state;
    struct eg_worker *worker = subscription->set->worker;
    subscription->exchange = NULL;
    struct eg_stream *stream = stream_new(subscription, exchange, fd);
    if (!stream) {
        close(fd);
        eg_client_free(exchange->client);
        eg_subscription_free(subscription);
        return;
    }
    stream->beat_ms = eg_loop_now_ms(worker->loop) + worker->settings.heartbeat_ms;
    TAILQ_INSERT_TAIL(&worker->streams, stream, entry);
    worker->stream_count++;
    eg_metrics_add(worker->metrics, stream_gauges[stream->format.transport], 1);
    bool noted = note_beginning(stream, subscription);
    eg_subscription_free(subscription);
    if (!noted) {
        stream_close(stream);
        return;
    }
    eg_streams_arm_heartbeat(worker);
    stream->ending = worker->draining; /* the drain began while the head was on its way */
    flush(&stream->subscriber);
}

void eg_stream_begin(struct eg_subscription *subscription)
{
    eg_exchange_stream(subscription->exchange, eg_transport_content_type(subscription->request.format.transport),
                       taken);
}

void eg_streams_end(struct eg_worker *worker)
{
    struct eg_stream *stream;
    TAILQ_FOREACH (stream, &worker->streams, entry) {
        stream->ending = true;
        if (!stream->blocked)
            eg_subscribers_dirty(stream->set->subscribers, &stream->subscriber);
    }
}

void eg_streams_end_log(struct eg_worker_set *set)
{
    struct eg_stream *stream;
    TAILQ_FOREACH (stream, &set->worker->streams, entry) {
        if (stream->set != set || !stream->subscriber.hears_log)
            continue;
        stream->ending = true;
        if (!stream->blocked)
            eg_subscribers_dirty(set->subscribers, &stream->subscriber);
    }
}

void eg_streams_close(struct eg_worker *worker)
{
    while (!TAILQ_EMPTY(&worker->streams))
        stream_close(TAILQ_FIRST(&worker->streams));
}

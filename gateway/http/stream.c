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
 */
#include "eventgate/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "eventgate/backoff.h"
#include "eventgate/log.h"
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
    struct eg_buffer note; /* its own bytes, framed */
    size_t note_sent;
    uint64_t told;    /* the last place whose cursor the client has been sent */
    uint64_t beat_ms; /* when its next heartbeat is due */
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
    eg_buffer_done(&stream->note);
    eg_event_unref(stream->half);
    free(stream);
}

/* --- notes ------------------------------------------------------------------------------------------------------- */

/* Makes `plain` the stream's note, in chunks where it has to be. Out of memory: false. */
static bool set_note(struct eg_stream *stream, struct eg_buffer *plain, bool last)
{
    bool failed = plain->failed;
    eg_buffer_done(&stream->note);
    stream->note_sent = 0;
    if (stream->chunked) {
        eg_frame_add_chunked(&stream->note, plain->data, plain->length);
        if (last)
            eg_buffer_add_string(&stream->note, "0\r\n\r\n");
        eg_buffer_done(plain);
    } else {
        stream->note = *plain;
        *plain = EG_BUFFER_INIT;
    }
    return !failed && !stream->note.failed;
}

/* `from`: the client's cursor, or NULL. */
static void add_gap(struct eg_stream *stream, struct eg_buffer *plain, const struct eg_beginning *beginning,
                    const char *from)
{
    char to[EG_CURSOR_SIZE], id[EG_CURSOR_SIZE];
    eg_set_cursor(stream->set, beginning->gap_to, to);
    eg_set_cursor(stream->set, beginning->place, id);
    eg_frame_add_gap(plain, stream->format.transport,
                     &(struct eg_gap){.reason = beginning->reason,
                                      .from = from,
                                      .to = to,
                                      .id = id,
                                      .channels = beginning->missed,
                                      .channel_count = beginning->missed_count});
    if (stream->format.transport == EG_TRANSPORT_NDJSON)
        eg_frame_add_cursor(plain, EG_TRANSPORT_NDJSON, id); /* SSE has it in the gap's `id:` */
}

/* A gap between what has been sent and what comes next, as the note. */
static bool note_gap(struct eg_stream *stream, const struct eg_beginning *beginning)
{
    struct eg_buffer plain = EG_BUFFER_INIT;
    char from[EG_CURSOR_SIZE];
    eg_set_cursor(stream->set, stream->subscriber.next - 1, from);
    add_gap(stream, &plain, beginning, from);
    eg_gap_count(worker_of(stream), beginning->reason);
    stream->told = beginning->place;
    return set_note(stream, &plain, false);
}

/*
 * What every stream opens with: `retry:`, the gap if there is one, and the cursor of the place from which it goes on.
 * The gap stands before the cursor: a client that loses the connection between the two must not resume behind a gap
 * that it never saw.
 */
static bool note_beginning(struct eg_stream *stream, const struct eg_subscription *subscription)
{
    const struct eg_beginning *beginning = &subscription->beginning;
    const struct eg_subscription_request *request = &subscription->request;
    struct eg_buffer plain = EG_BUFFER_INIT;
    char cursor[EG_CURSOR_SIZE];
    eg_set_cursor(stream->set, beginning->place, cursor);
    if (stream->format.transport == EG_TRANSPORT_SSE)
        eg_frame_add_retry(&plain, worker_of(stream)->settings.retry_ms);
    if (beginning->has_gap)
        add_gap(stream, &plain, beginning, request->cursor_text[0] ? request->cursor_text : NULL);
    if (!beginning->has_gap || stream->format.transport == EG_TRANSPORT_SSE)
        eg_frame_add_cursor(&plain, stream->format.transport, cursor);
    stream->told = beginning->place;
    return set_note(stream, &plain, false);
}

/* The entry at subscriber.next is a break: everything between the two LISTEN sessions may be missing. */
static bool note_break(struct eg_stream *stream)
{
    struct eg_beginning beginning;
    if (eg_beginning_behind(&stream->hold, stream->subscriber.next, EG_GAP_RECONNECT, &beginning) != 0)
        return false;
    bool noted = note_gap(stream, &beginning);
    stream->subscriber.next++;
    eg_beginning_done(&beginning);
    return noted;
}

/* The journal's tail has passed subscriber.next: goes on at the tail, with a gap if that leaves anything out. */
static bool note_passed_by(struct eg_stream *stream)
{
    struct eg_subscriber *subscriber = &stream->subscriber;
    struct eg_beginning beginning;
    if (eg_beginning_at(stream->set, &stream->hold, subscriber->next - 1, EG_GAP_SLOW, &beginning) != 0)
        return false;
    bool noted = !beginning.has_gap || note_gap(stream, &beginning);
    subscriber->next = beginning.place + 1;
    eg_beginning_done(&beginning);
    return noted;
}

static bool note_end(struct eg_stream *stream)
{
    struct eg_buffer plain = EG_BUFFER_INIT;
    stream->end_noted = true;
    if (stream->format.transport == EG_TRANSPORT_SSE)
        eg_frame_add_retry(&plain, eg_jitter_ms(worker_of(stream)->settings.retry_ms, 50));
    return set_note(stream, &plain, true);
}

/* --- sending ----------------------------------------------------------------------------------------------------- */

static enum sent after_error(int error)
{
    return error == -EAGAIN || error == -EWOULDBLOCK || error == -EINTR || error == -ENOBUFS ? SENT_FULL : SENT_FAILED;
}

static enum sent send_note(struct eg_stream *stream)
{
    while (stream->note_sent < stream->note.length) {
        ssize_t sent = send(stream->fd, stream->note.data + stream->note_sent, stream->note.length - stream->note_sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0)
            return after_error(-errno);
        stream->note_sent += (size_t)sent;
        eg_metrics_add(worker_of(stream)->metrics, EG_METRIC_SENT_BYTES, sent);
    }
    eg_buffer_done(&stream->note);
    stream->note_sent = 0;
    return SENT_ALL;
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
    struct eg_metrics *metrics = worker_of(stream)->metrics;
    eg_metrics_add(metrics, EG_METRIC_SENT_BYTES, (int64_t)sent->bytes);
    stream->moved_ms = eg_loop_now_ms(worker_of(stream)->loop);
    if (sent->frames > 0) {
        stream->told = sent->last;
        stream->subscriber.next = sent->last + 1;
        let_half_go(stream);
        eg_metrics_add(metrics, EG_METRIC_DELIVERIES, (int64_t)sent->frames);
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

/* One round; sets `ret_done` when there is nothing more to send now. */
static enum sent flush_round(struct eg_stream *stream, bool *ret_done)
{
    struct eg_subscriber *subscriber = &stream->subscriber;
    enum sent sent = send_note(stream);
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
    if (stream->offset == 0 && subscriber->next < eg_journal_tail(stream->set->journal))
        return note_passed_by(stream) ? SENT_ALL : SENT_FAILED;
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
    if (half_is_alone(stream) && stuck_ms >= STUCK_HEARTBEATS * (uint64_t)worker_of(stream)->settings.heartbeat_ms) {
        eg_metrics_add(worker_of(stream)->metrics, EG_METRIC_HALF_SENT, 1);
        stream_close(stream);
        return;
    }
    if (stream->subscriber.lagging || stream->ending || stream->note.length > 0)
        return; /* it has something to send anyway */
    struct eg_buffer plain = EG_BUFFER_INIT;
    uint64_t place = eg_subscriber_place(&stream->subscriber, stream->set->journal);
    if (place == stream->told) {
        eg_frame_add_heartbeat(&plain, stream->format.transport);
    } else {
        char cursor[EG_CURSOR_SIZE];
        eg_set_cursor(stream->set, place, cursor);
        eg_frame_add_cursor(&plain, stream->format.transport, cursor);
        stream->told = place;
    }
    if (set_note(stream, &plain, false))
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
    if (eg_subscribers_add(set->subscribers, &stream->subscriber, subscription->hold.channels, subscription->hold.count,
                           subscription->beginning.place) != 0) {
        free(stream);
        return NULL;
    }
    if (eg_loop_add(set->worker->loop, fd, EPOLLIN | EPOLLRDHUP, &stream->watch) != 0) {
        eg_subscribers_remove(set->subscribers, &stream->subscriber);
        free(stream);
        return NULL;
    }
    stream->hold = subscription->hold;
    subscription->hold = (struct eg_hold){NULL, 0};
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

void eg_streams_close(struct eg_worker *worker)
{
    while (!TAILQ_EMPTY(&worker->streams))
        stream_close(TAILQ_FIRST(&worker->streams));
}

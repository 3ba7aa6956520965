/*
 * Streams on taken sockets.
 *
 * A flush sends, in this order: what is left of the note; the entries from subscriber.next on, as many whole frames as
 * there are in one sendmsg(); at a break, or when the journal has passed the stream by, a gap as the next note. It
 * stops when the stream has everything, when the socket is full (EPOLLOUT resumes it), or after FLUSH_ROUNDS, so that
 * one stream far behind doesn't hold up the others: it is then dirty again at once. Invariants: `offset` > 0 only while
 * lagging, and then the entry at subscriber.next is the half-sent one, and `half` its event: the one event that a
 * stream keeps alive. If that event has left the journal, and the socket then takes nothing for STUCK_HEARTBEATS, the
 * stream is closed, so that a stuck reader lets go of it; so is one that is to end. A note is made only when `offset`
 * is 0: notes stand between whole frames. Over TLS the wire may hold what it has taken: the stream is then blocked like
 * one whose socket is full, though all of it may count as sent.
 *
 * While the subscriber is behind, a flush sends from the page of the log that the stream holds, and live events beside
 * it, as frames of its own; what of these is half out when the socket is full becomes the note. With the page at its
 * end it joins the journal, or asks for the next one, whose arrival makes it dirty.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "eventgate/identity.h"
#include "eventgate/log.h"
#include "eventgate/stream_internal.h"
#include "eventgate/stream_run.h"

#define FLUSH_ROUNDS 8
#define STUCK_HEARTBEATS 2
/* What all streams together are sent of the log in one turn; live events wait for no more. */
#define PAGE_BYTES_A_TURN ((size_t)96 << 10)

/* By transport. */
static const enum eg_metric stream_gauges[] = {EG_METRIC_STREAMS_SSE, EG_METRIC_STREAMS_NDJSON};

/* --- closing ----------------------------------------------------------------------------------------------------- */

static void unblock(struct eg_stream *stream)
{
    if (!stream->blocked)
        return;
    stream->blocked = false;
    eg_metrics_add(eg_stream_worker(stream)->metrics, EG_METRIC_BLOCKED, -1);
}

static void close_wire(struct eg_wire *wire)
{
    eg_wire_end(wire);
    shutdown(wire->fd, SHUT_WR);
    close(wire->fd);
    eg_wire_done(wire);
}

static void stream_close(struct eg_stream *stream)
{
    struct eg_worker *worker = eg_stream_worker(stream);
    unblock(stream);
    eg_timer_cancel(worker->loop, &stream->expiry);
    eg_loop_remove(worker->loop, stream->wire.fd, &stream->watch);
    close_wire(&stream->wire);
    eg_client_free(stream->client);
    eg_subscribers_remove(stream->set->subscribers, &stream->subscriber);
    TAILQ_REMOVE(&worker->streams, stream, entry);
    worker->stream_count--;
    eg_metrics_add(worker->metrics, stream_gauges[stream->format.transport], -1);
    eg_hold_release(stream->set, &stream->hold);
    stream->set->users--;
    eg_stream_note_done(&stream->note);
    eg_catchup_done(&stream->catchup);
    eg_event_unref(stream->half);
    eg_grants_unref(stream->grants);
    eg_request_log_ended(stream->request, eg_loop_now_us(worker->loop));
    free(stream);
}

/* --- sending ----------------------------------------------------------------------------------------------------- */

enum eg_sent eg_stream_after_error(int error)
{
    return error == -EAGAIN || error == -EWOULDBLOCK || error == -EINTR || error == -ENOBUFS ? EG_SENT_FULL
                                                                                             : EG_SENT_FAILED;
}

/* What the wire has taken before. */
static enum eg_sent send_held(struct eg_stream *stream)
{
    int error = eg_wire_flush(&stream->wire);
    return error ? eg_stream_after_error(error) : EG_SENT_ALL;
}

static enum eg_sent send_note(struct eg_stream *stream)
{
    size_t bytes = 0;
    if (eg_stream_note_is_empty(&stream->note))
        return EG_SENT_ALL;
    int error = eg_stream_note_send(&stream->note, &stream->wire, &bytes);
    eg_stream_count_sent(stream, bytes, 0);
    return error ? eg_stream_after_error(error) : EG_SENT_ALL;
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

/* The client has been told the event's own cursor, though the log may have been read further by now. The half-sent
 * event may be the last thing that is known of its place. */
static void has_had(struct eg_stream *stream, uint64_t place)
{
    struct eg_subscriber *subscriber = &stream->subscriber;
    const struct eg_journal_entry *entry = eg_journal_at(stream->set->journal, place);
    const struct eg_event *event = entry ? entry->event : stream->half;
    eg_subscriber_advance(subscriber, stream->set->journal, place);
    if (subscriber->position < event->cursor.position)
        subscriber->position = event->cursor.position;
    stream->told_place = place;
    stream->told_position = event->cursor.position;
    let_half_go(stream);
}

/* Moves on by what the socket took. */
static void advance(struct eg_stream *stream, const struct eg_stream_sent *sent)
{
    eg_stream_count_sent(stream, sent->bytes, sent->frames);
    if (sent->frames > 0) {
        eg_stream_count_time(stream, sent->arrived_us, sent->frames);
        has_had(stream, sent->last);
    }
    if (sent->half_bytes == 0)
        return;
    stream->subscriber.next = sent->half;
    stream->offset += sent->half_bytes;
    if (!stream->half)
        stream->half = eg_event_ref(eg_journal_at(stream->set->journal, sent->half)->event);
}

static enum eg_sent send_run(struct eg_stream *stream)
{
    struct eg_stream_sent sent;
    int error = eg_stream_run_send(eg_stream_worker(stream)->run, &stream->wire, &sent);
    if (error)
        return eg_stream_after_error(error);
    advance(stream, &sent);
    return sent.all ? EG_SENT_ALL : EG_SENT_FULL;
}

/* Sends the next frames; at a break makes the gap the note. */
static enum eg_sent send_frames(struct eg_stream *stream)
{
    struct eg_subscriber *subscriber = &stream->subscriber;
    struct eg_stream_run *run = eg_stream_worker(stream)->run;
    const struct eg_stream_need need = {.journal = stream->set->journal,
                                        .subscriber = subscriber,
                                        .format = stream->format,
                                        .chunked = stream->chunked,
                                        .offset = stream->offset,
                                        .half = stream->half,
                                        .only_half = stream->ending};
    int count = eg_stream_run_collect(run, &need);
    if (count < 0)
        return EG_SENT_FAILED; /* the client comes back with its cursor */
    enum eg_sent sent = count > 0 ? send_run(stream) : EG_SENT_ALL;
    if (sent != EG_SENT_ALL)
        return sent;
    uint64_t next = eg_stream_run_next(run);
    if (next == 0) {
        subscriber->lagging = false;
    } else if (count == 0) { /* a break comes next */
        subscriber->next = next;
        return eg_stream_say_break(stream) ? EG_SENT_ALL : EG_SENT_FAILED;
    }
    return EG_SENT_ALL;
}

/* --- flushing ---------------------------------------------------------------------------------------------------- */

/* Both kinds of channels: until its cursor is that of the entries, they go out with its own. */
static bool may_be_unsteady(const struct eg_subscriber *subscriber)
{
    return subscriber->hears_live && subscriber->hears_log;
}

/* One round; sets `ret_done` when there is nothing more to send now. */
static enum eg_sent flush_round(struct eg_stream *stream, bool *ret_done)
{
    struct eg_subscriber *subscriber = &stream->subscriber;
    const struct eg_journal *journal = stream->set->journal;
    enum eg_sent sent = send_held(stream);
    if (sent == EG_SENT_ALL)
        sent = send_note(stream);
    bool none;
    *ret_done = false;
    if (sent != EG_SENT_ALL)
        return sent;
    if (stream->end_noted)
        return EG_SENT_FAILED; /* the end is out: close */
    if (stream->ending && stream->offset == 0)
        return eg_stream_say_end(stream) ? EG_SENT_ALL : EG_SENT_FAILED;
    if (!subscriber->lagging) {
        *ret_done = true;
        return EG_SENT_ALL;
    }
    if (stream->offset > 0)
        return send_frames(stream);
    if (eg_subscriber_lacks_log(subscriber, journal))
        eg_subscriber_fall_behind(subscriber);
    if (subscriber->next < eg_journal_tail(journal) && (subscriber->hears_live || !subscriber->behind))
        return eg_stream_say_passed_by(stream) ? EG_SENT_ALL : EG_SENT_FAILED;
    if (subscriber->behind)
        return eg_stream_send_behind(stream, ret_done);
    if (may_be_unsteady(subscriber) && !eg_subscriber_is_steady(subscriber, journal, subscriber->next)) {
        sent = eg_stream_send_unsteady(stream, &none);
        if (sent != EG_SENT_ALL || !none)
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
    eg_metrics_add(eg_stream_worker(stream)->metrics, EG_METRIC_BLOCKED, 1);
    eg_metrics_add(eg_stream_worker(stream)->metrics, EG_METRIC_BLOCKS, 1);
    if (eg_loop_change(eg_stream_worker(stream)->loop, stream->wire.fd, EPOLLIN | EPOLLRDHUP | EPOLLOUT,
                       &stream->watch) != 0)
        stream_close(stream);
}

/* Has it to wait for the next turn, since enough was sent of the log in this one? */
static bool waits_for_turn(const struct eg_stream *stream)
{
    return stream->catchup.page && eg_stream_worker(stream)->page_bytes >= PAGE_BYTES_A_TURN;
}

static void flush(struct eg_subscriber *subscriber)
{
    struct eg_stream *stream = EG_CONTAINER_OF(subscriber, struct eg_stream, subscriber);
    if (stream->blocked)
        return; /* until there is room */
    for (int round = 0; round < FLUSH_ROUNDS && !waits_for_turn(stream); round++) {
        bool done;
        enum eg_sent sent = flush_round(stream, &done);
        if (sent == EG_SENT_ALL && eg_wire_holds(&stream->wire))
            sent = EG_SENT_FULL;
        switch (sent) {
        case EG_SENT_FAILED:
            stream_close(stream);
            return;
        case EG_SENT_FULL:
            eg_catchup_drop_page(&stream->catchup); /* a slow reader holds none */
            block(stream);
            return;
        case EG_SENT_ALL:
            if (done)
                return;
        }
    }
    eg_subscribers_dirty(stream->set->subscribers, subscriber);
}

/* What a client sends after its request means nothing. */
static bool discard_input(struct eg_wire *wire)
{
    char scrap[4096];
    ssize_t got = eg_wire_receive(wire, scrap, sizeof(scrap));
    return got > 0 || got == -EAGAIN || got == -EINTR;
}

static void ready(struct eg_watch *watch, uint32_t epoll_events)
{
    struct eg_stream *stream = EG_CONTAINER_OF(watch, struct eg_stream, watch);
    if ((epoll_events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) ||
        ((epoll_events & EPOLLIN) && !discard_input(&stream->wire))) {
        stream_close(stream);
        return;
    }
    if (!(epoll_events & EPOLLOUT) || !stream->blocked)
        return;
    unblock(stream);
    stream->prompt_us = eg_loop_now_us(eg_stream_worker(stream)->loop);
    if (eg_loop_change(eg_stream_worker(stream)->loop, stream->wire.fd, EPOLLIN | EPOLLRDHUP, watch) != 0)
        stream_close(stream);
    else
        eg_subscribers_dirty(stream->set->subscribers, &stream->subscriber);
}

/* --- heartbeats -------------------------------------------------------------------------------------------------- */

static void beat(struct eg_stream *stream)
{
    uint64_t stuck_ms = eg_loop_now_ms(eg_stream_worker(stream)->loop) - stream->moved_ms;
    if ((half_is_alone(stream) || stream->note.is_rest || stream->ending) &&
        stuck_ms >= STUCK_HEARTBEATS * (uint64_t)eg_stream_worker(stream)->settings.heartbeat_ms) {
        eg_metrics_add(eg_stream_worker(stream)->metrics, EG_METRIC_STUCK, 1);
        stream_close(stream);
        return;
    }
    if (stream->ending || stream->offset > 0 || !eg_stream_note_is_empty(&stream->note) ||
        (stream->subscriber.lagging && !stream->subscriber.behind))
        return; /* it has something to send anyway */
    if (eg_stream_say_heartbeat(stream))
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

/* Lets it end between whole frames, as soon as its socket takes that. */
static void end_stream(struct eg_stream *stream)
{
    stream->ending = true;
    if (!stream->blocked)
        eg_subscribers_dirty(stream->set->subscribers, &stream->subscriber);
}

/* Ends the stream if its token has, else sees to it that it will. */
static void heed_expiry(struct eg_stream *stream)
{
    struct eg_worker *worker = eg_stream_worker(stream);
    uint64_t left_ms = eg_identity_left_ms(stream->grants, worker->policy);
    if (left_ms == UINT64_MAX)
        return;
    if (left_ms == 0 || eg_timer_set(worker->loop, &stream->expiry, eg_loop_now_ms(worker->loop) + left_ms) != 0)
        end_stream(stream);
}

static void token_expires(struct eg_timer *timer)
{
    heed_expiry(EG_CONTAINER_OF(timer, struct eg_stream, expiry));
}

/* Does the policy that there is now let it read what it reads? */
static bool is_granted(const struct eg_stream *stream)
{
    return eg_hold_is_granted(&stream->hold, eg_stream_worker(stream)->policy, stream->grants, stream->set->index);
}

/* Takes the subscription's hold over. */
static struct eg_stream *stream_new(struct eg_subscription *subscription, const struct eg_exchange *exchange,
                                    struct eg_wire wire)
{
    struct eg_worker_set *set = subscription->set;
    struct eg_stream *stream = calloc(1, sizeof(*stream));
    if (!stream)
        return NULL;
    stream->watch.ready = ready;
    stream->subscriber.flush = flush;
    stream->set = set;
    stream->prompt_us = eg_loop_now_us(set->worker->loop);
    stream->client = exchange->client;
    stream->format = subscription->request.format;
    stream->chunked = !exchange->http_1_0;
    stream->wire = wire;
    stream->catchup.answered = eg_stream_page_arrived;
    stream->asked_for_all = subscription->beginning.asked_for_all;
    stream->subscriber.hears_live = subscription->hold.live_count > 0;
    stream->subscriber.hears_log = subscription->hold.selection != NULL;
    if (eg_subscribers_add(set->subscribers, &stream->subscriber, subscription->hold.channels, subscription->hold.count,
                           subscription->beginning.start) != 0) {
        free(stream);
        return NULL;
    }
    if (eg_loop_add(set->worker->loop, wire.fd, EPOLLIN | EPOLLRDHUP, &stream->watch) != 0) {
        eg_subscribers_remove(set->subscribers, &stream->subscriber);
        free(stream);
        return NULL;
    }
    stream->grants = exchange->grants ? eg_grants_ref(exchange->grants) : NULL;
    stream->request = eg_request_log_stream(exchange);
    stream->expiry.fire = token_expires;
    stream->hold = subscription->hold;
    subscription->hold = (struct eg_hold){.channels = NULL};
    set->users++;
    return stream;
}

/* The head is out: the socket is ours. */
static void taken(struct eg_exchange *exchange, struct eg_wire wire)
{
    struct eg_subscription *subscription = exchange->state;
    struct eg_worker *worker = subscription->set->worker;
    subscription->exchange = NULL;
    bool stale = subscription->hold.selection &&
                 strcmp(subscription->beginning.tag, eg_journal_tag(subscription->set->journal)) != 0;
    /* Another log since it was decided where to begin: the client comes back with the cursor that it has. */
    struct eg_stream *stream = stale ? NULL : stream_new(subscription, exchange, wire);
    if (!stream) {
        close_wire(&wire);
        eg_client_free(exchange->client);
        eg_subscription_free(subscription);
        return;
    }
    stream->beat_ms = eg_loop_now_ms(worker->loop) + worker->settings.heartbeat_ms;
    TAILQ_INSERT_TAIL(&worker->streams, stream, entry);
    worker->stream_count++;
    eg_metrics_add(worker->metrics, stream_gauges[stream->format.transport], 1);
    bool noted = eg_stream_say_beginning(stream, subscription);
    eg_subscription_free(subscription);
    if (!noted) {
        stream_close(stream);
        return;
    }
    eg_streams_arm_heartbeat(worker);
    /* What began while the head was on its way. */
    stream->ending = worker->draining || stream->set->leaving || !is_granted(stream);
    heed_expiry(stream);
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
    TAILQ_FOREACH (stream, &worker->streams, entry)
        end_stream(stream);
}

void eg_streams_end_set(struct eg_worker_set *set)
{
    struct eg_stream *stream;
    TAILQ_FOREACH (stream, &set->worker->streams, entry)
        if (stream->set == set)
            end_stream(stream);
}

void eg_streams_end_moved(struct eg_worker_set *set)
{
    struct eg_stream *stream;
    TAILQ_FOREACH (stream, &set->worker->streams, entry)
        if (stream->set == set && !eg_hold_is_of(&stream->hold, set->worker->config, set->index))
            end_stream(stream);
}

void eg_streams_end_log(struct eg_worker_set *set)
{
    struct eg_stream *stream;
    TAILQ_FOREACH (stream, &set->worker->streams, entry)
        if (stream->set == set && stream->subscriber.hears_log)
            end_stream(stream);
}

void eg_streams_heed_tokens(struct eg_worker *worker)
{
    struct eg_stream *stream;
    TAILQ_FOREACH (stream, &worker->streams, entry)
        if (eg_identity_left_ms(stream->grants, worker->policy) == 0)
            end_stream(stream);
}

void eg_streams_heed_policy(struct eg_worker_set *set)
{
    struct eg_stream *stream;
    TAILQ_FOREACH (stream, &set->worker->streams, entry)
        if (stream->set == set && !is_granted(stream))
            end_stream(stream);
}

void eg_streams_close(struct eg_worker *worker)
{
    while (!TAILQ_EMPTY(&worker->streams))
        stream_close(TAILQ_FIRST(&worker->streams));
}

/*
 * Long-poll: a subscriber whose flush is one answer.
 *
 * A poll takes what lies between its place and the head: at once if there is anything (or if it brought no cursor and
 * only asks for a place to begin), else when it is marked dirty, else when its time is up. `next` is the place up to
 * which the journal has been looked at. A gap stands for what lies before the events of the answer, so an answer ends
 * before a break that comes after events, and before a second gap.
 */
#include "eventgate/poll.h"

#include <stdlib.h>

#include "eventgate/log.h"
#include "eventgate/stream.h"

struct eg_poll {
    struct eg_subscriber subscriber;
    struct eg_subscription *subscription;
    struct eg_timer deadline;
    LIST_ENTRY(eg_poll) entry; /* in the set's polls */
};

/* An answer being made. */
struct answer {
    struct eg_buffer events; /* the elements of "events" */
    struct eg_buffer gap;    /* the gap's object, empty for none */
    uint32_t count;
    uint64_t next; /* the place looked at */
    bool failed;
};

static void poll_free(struct eg_poll *poll)
{
    struct eg_worker_set *set = poll->subscription->set;
    eg_timer_cancel(set->worker->loop, &poll->deadline);
    eg_subscribers_remove(set->subscribers, &poll->subscriber);
    LIST_REMOVE(poll, entry);
    eg_metrics_add(set->worker->metrics, EG_METRIC_STREAMS_POLL, -1);
    eg_subscription_free(poll->subscription);
    free(poll);
}

static void add_gap(struct eg_subscription *subscription, struct answer *answer, const struct eg_beginning *gap,
                    const char *from)
{
    char to[EG_CURSOR_SIZE], id[EG_CURSOR_SIZE];
    eg_set_cursor(subscription->set, gap->gap_to, to);
    eg_set_cursor(subscription->set, gap->place, id);
    eg_frame_add_gap(&answer->gap, EG_TRANSPORT_POLL,
                     &(struct eg_gap){.reason = gap->reason,
                                      .from = from,
                                      .to = to,
                                      .id = id,
                                      .channels = gap->missed,
                                      .channel_count = gap->missed_count});
}

/* A gap that comes after `place`, counted. */
static void tell_gap(struct eg_subscription *subscription, struct answer *answer, const struct eg_beginning *gap,
                     uint64_t place)
{
    char from[EG_CURSOR_SIZE];
    eg_set_cursor(subscription->set, place, from);
    add_gap(subscription, answer, gap, from);
    eg_gap_count(subscription->set->worker, gap->reason);
}

/* A gap at the break that stands at `place`, for all channels. */
static void add_break(struct eg_subscription *subscription, struct answer *answer, uint64_t place)
{
    struct eg_beginning beginning;
    if (eg_beginning_behind(&subscription->hold, place, EG_GAP_RECONNECT, &beginning) != 0) {
        answer->failed = true;
        return;
    }
    tell_gap(subscription, answer, &beginning, place - 1);
    eg_beginning_done(&beginning);
}

/* The journal has moved past the poll while it waited. */
static void pass_by(struct eg_poll *poll, struct answer *answer, uint64_t *place)
{
    struct eg_subscription *subscription = poll->subscription;
    struct eg_worker_set *set = subscription->set;
    struct eg_beginning beginning;
    if (eg_beginning_at(set, &subscription->hold, *place, EG_GAP_SLOW, &beginning) != 0) {
        answer->failed = true;
        return;
    }
    if (beginning.has_gap)
        tell_gap(subscription, answer, &beginning, *place);
    *place = beginning.place;
    eg_beginning_done(&beginning);
}

/* Adds the events after `place`, up to the poll's bounds or the first break that would need a second gap. */
static void collect(struct eg_poll *poll, struct answer *answer, uint64_t place)
{
    const struct eg_subscription *subscription = poll->subscription;
    const struct eg_journal *journal = subscription->set->journal;
    if (place + 1 < eg_journal_tail(journal) && !answer->failed)
        pass_by(poll, answer, &place);
    answer->next = eg_journal_head(journal) > place ? eg_journal_head(journal) : place;
    uint64_t at = answer->failed ? 0 : eg_subscriber_find(&poll->subscriber, journal, place + 1);
    for (; at != 0; at = eg_subscriber_following(&poll->subscriber, journal, at)) {
        const struct eg_journal_entry *entry = eg_journal_at(journal, at);
        bool full = answer->count == subscription->request.limit || answer->events.length > EG_POLL_MAX_BYTES;
        if (full || (entry->is_break && (answer->count > 0 || answer->gap.length > 0))) {
            answer->next = at - 1;
            return;
        }
        if (entry->is_break) {
            add_break(poll->subscription, answer, at);
            continue;
        }
        const struct eg_frame *frame = eg_event_frame(entry->event, subscription->request.format);
        if (!frame) {
            answer->failed = true;
            return;
        }
        if (answer->count++ > 0)
            eg_buffer_add_string(&answer->events, ",");
        eg_buffer_add(&answer->events, frame->bytes + frame->inner_offset, frame->inner_length);
    }
}

static void send_answer(struct eg_poll *poll, struct answer *answer)
{
    struct eg_subscription *subscription = poll->subscription;
    struct eg_worker_set *set = subscription->set;
    struct eg_exchange *exchange = subscription->exchange;
    struct eg_buffer body = EG_BUFFER_INIT;
    char next[EG_CURSOR_SIZE];
    eg_set_cursor(set, answer->next, next);
    eg_buffer_add_string(&body, "{\"events\":[");
    eg_buffer_add(&body, answer->events.data, answer->events.length);
    eg_buffer_add_format(&body, "],\"next\":\"%s\"", next);
    if (answer->gap.length > 0) {
        eg_buffer_add_string(&body, ",\"gap\":");
        eg_buffer_add(&body, answer->gap.data, answer->gap.length);
    }
    eg_buffer_add_string(&body, "}\n");
    if (answer->failed || answer->events.failed || answer->gap.failed)
        body.failed = true; /* answered as out of memory */
    eg_metrics_add(set->worker->metrics, EG_METRIC_DELIVERIES, answer->count);
    eg_buffer_done(&answer->events);
    eg_buffer_done(&answer->gap);
    poll_free(poll);
    eg_exchange_reply(exchange, 200, "application/json", &body, NULL);
}

static void flush(struct eg_subscriber *subscriber)
{
    struct eg_poll *poll = EG_CONTAINER_OF(subscriber, struct eg_poll, subscriber);
    struct answer answer = {EG_BUFFER_INIT, EG_BUFFER_INIT, 0, 0, false};
    collect(poll, &answer, subscriber->next - 1);
    if (answer.count > 0 || answer.gap.length > 0 || answer.failed)
        send_answer(poll, &answer);
    else
        subscriber->lagging = false;
}

/* Answers with what there is, be it nothing. */
static void answer_now(struct eg_poll *poll)
{
    struct answer answer = {EG_BUFFER_INIT, EG_BUFFER_INIT, 0, 0, false};
    collect(poll, &answer, eg_subscriber_place(&poll->subscriber, poll->subscription->set->journal));
    send_answer(poll, &answer);
}

static void time_is_up(struct eg_timer *timer)
{
    answer_now(EG_CONTAINER_OF(timer, struct eg_poll, deadline));
}

static void exchange_gone(struct eg_exchange *exchange)
{
    struct eg_poll *poll = exchange->state;
    poll->subscription->exchange = NULL;
    poll_free(poll);
}

static void hung_up(struct eg_exchange *exchange)
{
    answer_now(exchange->state);
}

/* What the poll's own cursor begins with, then what is there; false if that is nothing, and it is worth waiting. */
static bool answer_at_once(struct eg_poll *poll)
{
    struct eg_subscription *subscription = poll->subscription;
    const struct eg_subscription_request *request = &subscription->request;
    struct eg_beginning *beginning = &subscription->beginning;
    struct answer answer = {EG_BUFFER_INIT, EG_BUFFER_INIT, 0, 0, false};
    if (beginning->has_gap)
        add_gap(subscription, &answer, beginning, request->cursor_text[0] ? request->cursor_text : NULL);
    collect(poll, &answer, beginning->place);
    bool asks_for_place = request->after == EG_AFTER_NOW || request->after == EG_AFTER_EARLIEST;
    if (!asks_for_place && answer.count == 0 && answer.gap.length == 0 && !answer.failed && request->wait_ms > 0)
        return false;
    send_answer(poll, &answer);
    return true;
}

void eg_poll_begin(struct eg_subscription *subscription)
{
    struct eg_worker_set *set = subscription->set;
    struct eg_worker *worker = set->worker;
    struct eg_exchange *exchange = subscription->exchange;
    struct eg_poll *poll = calloc(1, sizeof(*poll));
    if (!poll || eg_subscribers_add(set->subscribers, &poll->subscriber, subscription->hold.channels,
                                    subscription->hold.count, subscription->beginning.place) != 0) {
        free(poll);
        eg_subscription_free(subscription);
        eg_exchange_problem(exchange, EG_PROBLEM_OVERLOADED, "The gateway is out of memory. Try again.", NULL);
        return;
    }
    poll->subscriber.flush = flush;
    poll->subscription = subscription;
    poll->deadline.fire = time_is_up;
    LIST_INSERT_HEAD(&set->polls, poll, entry);
    eg_metrics_add(worker->metrics, EG_METRIC_STREAMS_POLL, 1);
    exchange->state = poll;
    exchange->gone = exchange_gone;
    if (answer_at_once(poll))
        return;
    poll->subscriber.lagging = false;
    eg_exchange_suspend(exchange);
    eg_exchange_on_hangup(exchange, hung_up);
    uint64_t due_ms = eg_loop_now_ms(worker->loop) + subscription->request.wait_ms;
    if (eg_timer_set(worker->loop, &poll->deadline, due_ms) != 0)
        answer_now(poll);
}

void eg_polls_answer(struct eg_worker_set *set)
{
    while (!LIST_EMPTY(&set->polls))
        answer_now(LIST_FIRST(&set->polls));
}

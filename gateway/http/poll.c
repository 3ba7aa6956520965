/*
 * Long-poll: a subscriber whose flush is one answer.
 *
 * A poll takes what lies between its place and the head: at once if there is anything (or if it brought no cursor and
 * only asks for a place to begin), else when it is marked dirty, else when its time is up. `next` is the place up to
 * which the journal has been looked at. A gap stands for what lies before the events of the answer, so an answer ends
 * before a break that comes after events, and before a second gap. A poll that is behind the journal answers with what
 * a page of the log has; live events wait for the next one.
 */
#include "eventgate/poll.h"

#include <stdlib.h>

#include "eventgate/catchup.h"
#include "eventgate/identity.h"
#include "eventgate/log.h"
#include "eventgate/stream.h"

struct eg_poll {
    struct eg_subscriber subscriber;
    struct eg_subscription *subscription;
    struct eg_catchup catchup;
    struct eg_timer deadline;
    uint64_t prompt_us;        /* what has arrived since then could be sent at once */
    LIST_ENTRY(eg_poll) entry; /* in the set's polls */
};

/* An answer being made. */
struct answer {
    struct eg_buffer events; /* the elements of "events" */
    struct eg_buffer gap;    /* the gap's object, empty for none */
    uint32_t count;
    uint64_t arrived_us;       /* when the first of them arrived */
    char next[EG_CURSOR_SIZE]; /* the cursor of what has been looked at */
    bool failed;
};

static struct eg_worker_set *set_of(const struct eg_poll *poll)
{
    return poll->subscription->set;
}

static void poll_free(struct eg_poll *poll)
{
    struct eg_worker_set *set = set_of(poll);
    eg_timer_cancel(set->worker->loop, &poll->deadline);
    eg_catchup_done(&poll->catchup);
    eg_subscribers_remove(set->subscribers, &poll->subscriber);
    LIST_REMOVE(poll, entry);
    eg_metrics_add(set->worker->metrics, EG_METRIC_STREAMS_POLL, -1);
    eg_subscription_free(poll->subscription);
    free(poll);
}

/* --- making the answer ------------------------------------------------------------------------------------------- */

/* The cursor of one that has had everything up to `place`. */
static void cursor_text(const struct eg_poll *poll, uint64_t place, char ret_text[EG_CURSOR_SIZE])
{
    eg_subscriber_cursor_text(set_of(poll), &poll->subscriber, place, ret_text);
}

/* A gap that comes behind `from`, in front of `id`, counted. Takes what is missed. */
static void tell_gap(const struct eg_poll *poll, struct answer *answer, struct eg_missed *missed, const char *from,
                     uint64_t place)
{
    char id[EG_CURSOR_SIZE];
    cursor_text(poll, place, id);
    eg_missed_add(&answer->gap, set_of(poll), EG_TRANSPORT_POLL, missed, from, id);
    eg_gap_count(set_of(poll)->worker, missed->reason);
    eg_missed_done(missed);
}

/* The gap at the break that stands at `place`. */
static void add_break(const struct eg_poll *poll, struct answer *answer, uint64_t place)
{
    const struct eg_journal *journal = set_of(poll)->journal;
    bool live = eg_journal_at(journal, place)->kind == EG_ENTRY_BREAK;
    struct eg_missed missed;
    char from[EG_CURSOR_SIZE];
    if (eg_missed_all(&poll->subscription->hold, live ? EG_LIVE : EG_DURABLE, live ? EG_GAP_RECONNECT : EG_GAP_FAILOVER,
                      place, eg_journal_position_at(journal, place), &missed) != 0) {
        answer->failed = true;
        return;
    }
    cursor_text(poll, place - 1, from);
    tell_gap(poll, answer, &missed, from, place);
}

/* The journal has moved past the poll while it waited. */
static void pass_by(const struct eg_poll *poll, struct answer *answer, uint64_t *place)
{
    const struct eg_subscriber *subscriber = &poll->subscriber;
    uint64_t had = *place < subscriber->live_after ? subscriber->live_after : *place;
    struct eg_missed missed;
    char from[EG_CURSOR_SIZE];
    cursor_text(poll, *place, from);
    if (eg_missed_since(set_of(poll), &poll->subscription->hold, had, EG_GAP_SLOW, &missed, place) != 0) {
        answer->failed = true;
        return;
    }
    if (subscriber->hears_log && !subscriber->behind) /* its durable events stand among live ones that it has had */
        *place = eg_journal_tail(set_of(poll)->journal) - 1;
    missed.position = subscriber->position;
    if (missed.is_gap)
        tell_gap(poll, answer, &missed, from, *place);
    else
        eg_missed_done(&missed);
}

static bool is_full(const struct eg_poll *poll, const struct answer *answer)
{
    return answer->count == poll->subscription->request.limit || answer->events.length > EG_POLL_MAX_BYTES;
}

static void add_event(const struct eg_poll *poll, struct answer *answer, struct eg_event *event)
{
    const struct eg_frame *frame = eg_event_frame(event, poll->subscription->request.format);
    if (!frame) {
        answer->failed = true;
        return;
    }
    if (answer->count == 0)
        answer->arrived_us = event->arrived_us;
    eg_buffer_add_string(&answer->events, answer->count++ > 0 ? "," : "");
    eg_buffer_add(&answer->events, frame->bytes + frame->inner_offset, frame->inner_length);
}

/* Adds the events after `place`, up to the poll's bounds or the first break that would need a second gap. */
static void collect(const struct eg_poll *poll, struct answer *answer, uint64_t place)
{
    const struct eg_journal *journal = set_of(poll)->journal;
    if (place + 1 < eg_journal_tail(journal) && !answer->failed)
        pass_by(poll, answer, &place);
    uint64_t next = eg_journal_head(journal) > place ? eg_journal_head(journal) : place;
    uint64_t at = answer->failed ? 0 : eg_subscriber_find(&poll->subscriber, journal, place + 1);
    for (; at != 0 && !answer->failed; at = eg_subscriber_following(&poll->subscriber, journal, at)) {
        const struct eg_journal_entry *entry = eg_journal_at(journal, at);
        bool is_break = entry->kind != EG_ENTRY_EVENT;
        if (is_full(poll, answer) || (is_break && (answer->count > 0 || answer->gap.length > 0))) {
            next = at - 1;
            break;
        }
        if (is_break)
            add_break(poll, answer, at);
        else
            add_event(poll, answer, entry->event);
    }
    cursor_text(poll, next, answer->next);
}

/* Adds the events of the page. */
static void collect_page(struct eg_poll *poll, struct answer *answer)
{
    struct eg_subscriber *subscriber = &poll->subscriber;
    const struct eg_log_page *page = poll->catchup.page;
    size_t i = poll->catchup.next;
    for (; i < page->count && !answer->failed && !is_full(poll, answer); i++) {
        add_event(poll, answer, page->events[i]);
        subscriber->position = page->events[i]->cursor.position;
    }
    if (i == page->count && subscriber->position < page->upto)
        subscriber->position = page->upto;
    cursor_text(poll, subscriber->next - 1, answer->next);
}

static void send_answer(struct eg_poll *poll, struct answer *answer)
{
    struct eg_exchange *exchange = poll->subscription->exchange;
    struct eg_buffer body = EG_BUFFER_INIT;
    eg_buffer_add_string(&body, "{\"events\":[");
    eg_buffer_add(&body, answer->events.data, answer->events.length);
    eg_buffer_add_format(&body, "],\"next\":\"%s\"", answer->next);
    if (answer->gap.length > 0) {
        eg_buffer_add_string(&body, ",\"gap\":");
        eg_buffer_add(&body, answer->gap.data, answer->gap.length);
    }
    eg_buffer_add_string(&body, "}\n");
    if (answer->failed || answer->events.failed || answer->gap.failed)
        body.failed = true; /* answered as out of memory */
    if (!body.failed) {
        struct eg_worker_set *set = set_of(poll);
        eg_metrics_add(set->worker->metrics, EG_METRIC_SENT_POLL, answer->count);
        eg_metrics_add(set->worker->metrics, EG_METRIC_SENT_BYTES_POLL, (int64_t)body.length);
        if (answer->arrived_us >= poll->prompt_us)
            eg_delivery_times_note(&set->delivery_times, set->metrics, answer->arrived_us, answer->count);
    }
    eg_buffer_done(&answer->events);
    eg_buffer_done(&answer->gap);
    poll_free(poll);
    eg_exchange_reply(exchange, 200, "application/json", &body, NULL);
}

static struct answer answer_new(void)
{
    return (struct answer){.events = EG_BUFFER_INIT, .gap = EG_BUFFER_INIT};
}

static bool is_empty(const struct answer *answer)
{
    return answer->count == 0 && answer->gap.length == 0 && !answer->failed;
}

/* Answers with what there is, be it nothing; behind the journal, with what there is of live channels. */
static void answer_now(struct eg_poll *poll)
{
    struct answer answer = answer_new();
    if (poll->subscriber.lagging && eg_subscriber_lacks_log(&poll->subscriber, set_of(poll)->journal))
        eg_subscriber_fall_behind(&poll->subscriber);
    collect(poll, &answer, eg_subscriber_place(&poll->subscriber, set_of(poll)->journal));
    send_answer(poll, &answer);
}

/* --- behind the journal ------------------------------------------------------------------------------------------ */

/* Does it ask only for a place to begin, so that an answer without events is one? */
static bool asks_for_place(const struct eg_poll *poll)
{
    const struct eg_subscription_request *request = &poll->subscription->request;
    return request->after == EG_AFTER_NOW || request->after == EG_AFTER_EARLIEST || request->wait_ms == 0;
}

static void ask(struct eg_poll *poll)
{
    if (eg_catchup_ask(&poll->catchup, set_of(poll), poll->subscription->hold.selection, poll->subscriber.position) ==
        0)
        return;
    struct answer answer = answer_new();
    answer.failed = true;
    send_answer(poll, &answer);
}

/* It has joined the journal: answers, or waits, as one that was never behind. */
static void go_on(struct eg_poll *poll)
{
    struct answer answer = answer_new();
    eg_catchup_joined(&poll->catchup);
    collect(poll, &answer, poll->subscriber.next - 1);
    if (!is_empty(&answer) || asks_for_place(poll))
        send_answer(poll, &answer);
    else
        poll->subscriber.lagging = false;
}

/* A page has arrived. */
static void page_arrived(struct eg_catchup *catchup, const struct eg_log_request *request)
{
    struct eg_poll *poll = EG_CONTAINER_OF(catchup, struct eg_poll, catchup);
    struct eg_subscriber *subscriber = &poll->subscriber;
    struct answer answer = answer_new();
    struct eg_missed missed;
    char from[EG_CURSOR_SIZE];
    cursor_text(poll, subscriber->next - 1, from);
    bool is_gap = request->gap_to > 0 && !poll->subscription->beginning.asked_for_all;
    if (request->gap_to > 0)
        subscriber->position = request->gap_to;
    answer.failed =
        !catchup->page || (is_gap && eg_missed_all(&poll->subscription->hold, EG_DURABLE, request->gap_reason,
                                                   subscriber->next - 1, subscriber->position, &missed) != 0);
    if (!answer.failed) {
        if (is_gap)
            tell_gap(poll, &answer, &missed, from, subscriber->next - 1);
        catchup->next = eg_log_page_find(catchup->page, subscriber->position);
        collect_page(poll, &answer);
    }
    eg_catchup_drop_page(catchup);
    if (!is_empty(&answer))
        send_answer(poll, &answer);
    else if (eg_subscriber_join(subscriber, set_of(poll)->journal))
        ask(poll);
    else
        go_on(poll);
}

/* --- waiting ----------------------------------------------------------------------------------------------------- */

static void flush(struct eg_subscriber *subscriber)
{
    struct eg_poll *poll = EG_CONTAINER_OF(subscriber, struct eg_poll, subscriber);
    struct answer answer = answer_new();
    if (eg_subscriber_lacks_log(subscriber, set_of(poll)->journal)) {
        eg_subscriber_fall_behind(subscriber);
        ask(poll);
        return;
    }
    if (subscriber->behind) /* its page answers it */
        return;
    collect(poll, &answer, subscriber->next - 1);
    if (is_empty(&answer))
        subscriber->lagging = false;
    else
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
    const struct eg_missed *missed = &subscription->beginning.missed;
    const char *from = subscription->request.cursor_text;
    struct answer answer = answer_new();
    char id[EG_CURSOR_SIZE];
    if (missed->is_gap) {
        cursor_text(poll, poll->subscriber.next - 1, id);
        eg_missed_add(&answer.gap, subscription->set, EG_TRANSPORT_POLL, missed, from[0] ? from : NULL, id);
    }
    if (!poll->subscriber.behind)
        collect(poll, &answer, poll->subscriber.next - 1);
    else
        cursor_text(poll, poll->subscriber.next - 1, answer.next);
    if (is_empty(&answer) && (poll->subscriber.behind || !asks_for_place(poll)))
        return false;
    send_answer(poll, &answer);
    return true;
}

static void wait_for_more(struct eg_poll *poll)
{
    struct eg_worker *worker = set_of(poll)->worker;
    const struct eg_subscription_request *request = &poll->subscription->request;
    eg_exchange_suspend(poll->subscription->exchange);
    eg_exchange_on_hangup(poll->subscription->exchange, hung_up);
    /* The log answers soon, or the database is away: one that doesn't wait waits for that all the same. */
    uint64_t wait_ms = request->wait_ms > 0 ? request->wait_ms : worker->settings.subscribe_timeout_ms;
    uint64_t left_ms = eg_identity_left_ms(poll->subscription->exchange->grants, worker->policy);
    if (left_ms < wait_ms)
        wait_ms = left_ms;
    bool waits = poll->subscriber.behind || !worker->draining; /* at the next process, then */
    if (!waits || eg_timer_set(worker->loop, &poll->deadline, eg_loop_now_ms(worker->loop) + wait_ms) != 0)
        answer_now(poll);
    else if (poll->subscriber.behind)
        ask(poll);
    else
        poll->subscriber.lagging = false;
}

void eg_poll_begin(struct eg_subscription *subscription)
{
    struct eg_worker_set *set = subscription->set;
    struct eg_worker *worker = set->worker;
    struct eg_exchange *exchange = subscription->exchange;
    struct eg_poll *poll = calloc(1, sizeof(*poll));
    if (poll) {
        poll->subscriber.hears_live = subscription->hold.live_count > 0;
        poll->subscriber.hears_log = subscription->hold.selection != NULL;
    }
    if (!poll || eg_subscribers_add(set->subscribers, &poll->subscriber, subscription->hold.channels,
                                    subscription->hold.count, subscription->beginning.start) != 0) {
        free(poll);
        eg_subscription_free(subscription);
        eg_exchange_problem(exchange, EG_PROBLEM_OVERLOADED, "The gateway is out of memory. Try again.", NULL);
        return;
    }
    poll->subscriber.flush = flush;
    poll->subscription = subscription;
    poll->prompt_us = eg_loop_now_us(worker->loop);
    poll->catchup.answered = page_arrived;
    poll->deadline.fire = time_is_up;
    LIST_INSERT_HEAD(&set->polls, poll, entry);
    eg_metrics_add(worker->metrics, EG_METRIC_STREAMS_POLL, 1);
    exchange->state = poll;
    exchange->gone = exchange_gone;
    if (!answer_at_once(poll))
        wait_for_more(poll);
}

void eg_polls_answer(struct eg_worker_set *set)
{
    while (!LIST_EMPTY(&set->polls))
        answer_now(LIST_FIRST(&set->polls));
}

void eg_polls_heed_tokens(struct eg_worker_set *set)
{
    struct eg_poll *poll = LIST_FIRST(&set->polls);
    while (poll) {
        struct eg_poll *next = LIST_NEXT(poll, entry);
        if (eg_identity_left_ms(poll->subscription->exchange->grants, set->worker->policy) == 0)
            answer_now(poll);
        poll = next;
    }
}

void eg_polls_heed_policy(struct eg_worker_set *set)
{
    struct eg_poll *poll = LIST_FIRST(&set->polls);
    while (poll) {
        struct eg_poll *next = LIST_NEXT(poll, entry);
        if (!eg_hold_is_granted(&poll->subscription->hold, set->worker->policy, poll->subscription->exchange->grants,
                                set->index))
            answer_now(poll);
        poll = next;
    }
}

void eg_polls_answer_moved(struct eg_worker_set *set)
{
    struct eg_poll *poll = LIST_FIRST(&set->polls);
    while (poll) {
        struct eg_poll *next = LIST_NEXT(poll, entry);
        if (!eg_hold_is_of(&poll->subscription->hold, set->worker->config, set->index))
            answer_now(poll);
        poll = next;
    }
}

void eg_polls_answer_log(struct eg_worker_set *set)
{
    struct eg_poll *poll = LIST_FIRST(&set->polls);
    while (poll) {
        struct eg_poll *next = LIST_NEXT(poll, entry);
        if (poll->subscriber.hears_log)
            answer_now(poll);
        poll = next;
    }
}

/*
 * A worker's turn: take each set's feed and bring journal and index up to date; let pending subscriptions look again;
 * deliver the mailbox; flush every subscriber that lacks something; let libmicrohttpd run.
 *
 * Draining: nothing new is begun, streams end, waiting polls and subscriptions are answered, requests under way are
 * finished. The listening sockets stay open until nothing is left, so that nobody is refused a connection meanwhile;
 * then, or at the deadline, the loop stops. Where another process accepts the connections already, there is nobody to
 * refuse: whoever has a connection here gets answers until it is closed, behind one of them.
 */
#include "eventgate/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/hold.h"
#include "eventgate/log.h"
#include "eventgate/own_run.h"
#include "eventgate/policy.h"
#include "eventgate/poll.h"
#include "eventgate/stream.h"
#include "eventgate/stream_run.h"
#include "eventgate/subscribe.h"
#include "eventgate/tls.h"

/* However small the journal, a feed holds what the listener reads from PostgreSQL at a time. */
#define FEED_LEAST_EVENTS 4096u
#define FEED_LEAST_BYTES (4u << 20)

/* --- feeds ------------------------------------------------------------------------------------------------------- */

static void append_event(struct eg_worker_set *set, struct eg_feed_item *item)
{
    struct eg_journal_channel *channel = item->event->channel->slots[set->worker->index].local;
    bool durable = item->event->durable;
    uint64_t position = eg_journal_position(set->journal);
    set->appended_bytes += eg_event_bytes(item->event);
    int error = eg_journal_append_event(set->journal, item->event);
    item->event = NULL; /* taken over */
    /* Out of memory, the journal has a hole here, which a subscriber sees as having been passed by. */
    if (error)
        eg_metrics_add(set->metrics, EG_METRIC_FEED_DROPPED, 1);
    if (channel)
        eg_subscribers_mark(set->subscribers, channel, item->place, position);
    else if (durable) /* there was no memory for its channel: who wants it, reads the log */
        eg_subscribers_mark_all(set->subscribers, item->place, position);
}

static void append_break(struct eg_worker_set *set, const struct eg_feed_item *item)
{
    if (eg_journal_append_break(set->journal, item->epoch, item->place) != 0)
        eg_log(EG_LOG_ERROR, "no memory for a break in the journal", EG_LOG_STR("set", set->config->name));
    eg_subscribers_mark_all(set->subscribers, item->place, eg_journal_position(set->journal));
    set->up = true;
    set->changed = true;
}

static void append_log_break(struct eg_worker_set *set, const struct eg_feed_item *item)
{
    uint64_t position = eg_journal_position(set->journal);
    if (eg_journal_append_log_break(set->journal, item->place, item->position) != 0)
        eg_log(EG_LOG_ERROR, "no memory for a break in the journal", EG_LOG_STR("set", set->config->name));
    eg_subscribers_mark_all(set->subscribers, item->place, position);
}

/* Another log than before: those who read the old one end, and come back with cursors that are known to be of it. */
static void end_readers(struct eg_worker_set *set)
{
    eg_log(EG_LOG_WARN, "the log is another one: ending its streams", EG_LOG_STR("set", set->config->name));
    eg_streams_end_log(set);
    eg_polls_answer_log(set);
}

static void take_log(struct eg_worker_set *set, const struct eg_feed_item *item)
{
    const char *tag = eg_journal_tag(set->journal);
    if (!item->jumps) {
        eg_journal_set_log(set->journal, tag, item->position, NULL);
        return;
    }
    if (tag[0] && strcmp(tag, item->tag) != 0)
        end_readers(set);
    eg_journal_set_log(set->journal, item->tag, item->position, item->jumps);
    set->changed = true;
}

static void take_listened(struct eg_worker_set *set, const struct eg_feed_item *item)
{
    bool known = item->channel->slots[set->worker->index].local != NULL;
    struct eg_journal_channel *channel = eg_journal_listened(set->journal, item->channel, item->place);
    if (!channel) {
        eg_log(EG_LOG_ERROR, "no memory for a channel", EG_LOG_STR("set", set->config->name));
        return;
    }
    if (!known)
        eg_subscribers_attached(channel);
    eg_hold_listened(set, channel, item->want);
}

static void mark_dropped(struct eg_worker_set *set, const struct eg_feed_item *item)
{
    struct eg_journal_channel *channel = item->channel->slots[set->worker->index].local;
    uint64_t seen = eg_journal_head(set->journal);
    uint64_t position = eg_journal_position(set->journal);
    eg_journal_mark_dropped(set->journal, item->channel, item->place, item->position);
    if (item->position > 0) /* who waits for the channel's first event isn't found by it yet */
        eg_subscribers_mark_all(set->subscribers, seen + 1, position);
    else if (channel)
        eg_subscribers_mark(set->subscribers, channel, seen + 1, position);
}

static void apply(struct eg_worker_set *set, struct eg_feed_item *item)
{
    struct eg_journal_channel *channel;
    switch (item->kind) {
    case EG_FEED_EVENT:
        append_event(set, item);
        break;
    case EG_FEED_DROPPED:
        mark_dropped(set, item);
        break;
    case EG_FEED_LISTENED:
        take_listened(set, item);
        break;
    case EG_FEED_UNLISTENED:
        channel = eg_journal_unlistened(set->journal, item->channel);
        if (channel)
            eg_hold_unlistened(set, channel);
        break;
    case EG_FEED_REFUSED:
        eg_hold_refused(set, item);
        break;
    case EG_FEED_LOST:
        set->up = false;
        break;
    case EG_FEED_BREAK:
        append_break(set, item);
        break;
    case EG_FEED_LOG:
        take_log(set, item);
        break;
    case EG_FEED_LOG_BREAK:
        append_log_break(set, item);
        break;
    case EG_FEED_LOOKED:
        set->looked = item->want;
        break;
    }
}

static void show_journal(struct eg_worker_set *set)
{
    int64_t events = (int64_t)(eg_journal_head(set->journal) + 1 - eg_journal_tail(set->journal));
    int64_t bytes = (int64_t)eg_journal_bytes(set->journal);
    /* The share of each worker, so that the sum over all is the mean. */
    int64_t share = 1000000 / set->worker->shared->worker_count;
    int64_t events_fill = events * share / set->config->journal_events;
    int64_t bytes_fill = (int64_t)((double)bytes / (double)set->config->journal_bytes * (double)share);
    eg_metrics_add(set->metrics, EG_METRIC_JOURNAL_EVENTS, events - set->shown_events);
    eg_metrics_add(set->metrics, EG_METRIC_JOURNAL_BYTES, bytes - set->shown_bytes);
    eg_metrics_add(set->metrics, EG_METRIC_JOURNAL_FILL_EVENTS, events_fill - set->shown_events_fill);
    eg_metrics_add(set->metrics, EG_METRIC_JOURNAL_FILL_BYTES, bytes_fill - set->shown_bytes_fill);
    set->shown_events = events;
    set->shown_bytes = bytes;
    set->shown_events_fill = events_fill;
    set->shown_bytes_fill = bytes_fill;
}

static void take_feed(struct eg_worker_set *set)
{
    struct eg_feed_item *items;
    size_t count = eg_feed_take(set->feed, &items);
    if (count == 0)
        return;
    /* A burst larger than the journal must not pass by those who read quickly. */
    size_t slice = set->config->journal_events / 4;
    uint64_t flushed_bytes = set->appended_bytes;
    for (size_t i = 0; i < count; i++) {
        apply(set, &items[i]);
        eg_feed_item_done(&items[i]);
        if ((i + 1) % slice == 0 || set->appended_bytes - flushed_bytes > set->config->journal_bytes / 4) {
            eg_subscribers_flush(set->subscribers);
            flushed_bytes = set->appended_bytes;
        }
    }
    show_journal(set);
    /* A cursor may have been ahead of this worker, so that any event can be what a subscription waits for. */
    if (!TAILQ_EMPTY(&set->pending))
        eg_subscribe_retry(set);
}

/* --- the turn ---------------------------------------------------------------------------------------------------- */

static bool is_idle(const struct eg_worker *worker)
{
    return worker->stream_count == 0 && eg_server_exchanges(worker->server) == 0 &&
           (worker->refusing || !eg_server_has_clients(worker->server));
}

static void drained(struct eg_worker *worker)
{
    struct eg_worker_shared *shared = worker->shared;
    if (!worker->drained) {
        worker->drained = true;
        shared->port.drained(shared->port.context);
    }
    if (atomic_load(&shared->drained))
        eg_loop_stop(worker->loop);
}

void eg_worker_publish(struct eg_worker *worker, struct eg_publication *publication)
{
    publication->next = NULL;
    *worker->last_published = publication;
    worker->last_published = &publication->next;
}

static void hand_over_published(struct eg_worker *worker)
{
    const struct eg_worker_port *port = &worker->shared->port;
    while (worker->published) {
        struct eg_publication *publication = worker->published;
        worker->published = publication->next;
        port->publish(port->context, publication);
    }
    worker->last_published = &worker->published;
}

static void turn(void *context)
{
    struct eg_worker *worker = context;
    worker->page_bytes = 0;
    for (uint32_t i = 0; i < worker->set_count; i++)
        take_feed(&worker->sets[i]);
    eg_mailbox_deliver(&worker->mailbox, worker);
    for (uint32_t i = 0; i < worker->set_count; i++) {
        struct eg_worker_set *set = &worker->sets[i];
        if (eg_subscribers_flush(set->subscribers))
            eg_loop_again(worker->loop);
        eg_delivery_times_settle(&set->delivery_times, set->metrics);
    }
    eg_server_turn(worker->server);
    hand_over_published(worker);
    if (worker->draining && is_idle(worker))
        drained(worker);
}

static void handle(void *context, struct eg_exchange *exchange)
{
    struct eg_worker *worker = context;
    bool posts = exchange->method == EG_METHOD_POST;
    if (exchange->route == EG_ROUTE_EVENTS || exchange->route == EG_ROUTE_CHANNEL) {
        if (posts)
            eg_publish_handle(worker, exchange);
        else
            eg_subscribe_handle(worker, exchange);
    } else {
        eg_admin_handle(worker, exchange);
    }
}

void eg_worker_run(struct eg_worker *worker)
{
    eg_loop_run(worker->loop);
    eg_server_stop_accepting(worker->server);
    eg_streams_close(worker);
}

/* --- messages from the main thread ------------------------------------------------------------------------------- */

static void drain_is_over(struct eg_timer *timer)
{
    struct eg_worker *worker = EG_CONTAINER_OF(timer, struct eg_worker, drain_deadline);
    eg_log(EG_LOG_WARN, "drain deadline: closing what is left", EG_LOG_INT("worker", worker->index),
           EG_LOG_INT("streams", worker->stream_count), EG_LOG_INT("requests", eg_server_exchanges(worker->server)));
    eg_loop_stop(worker->loop);
}

/* Whoever might be sending the next request has had time to. */
static void idle_is_over(struct eg_timer *timer)
{
    struct eg_worker *worker = EG_CONTAINER_OF(timer, struct eg_worker, idle_deadline);
    eg_server_drain(worker->server);
}

static void drain(struct eg_message *message, void *context)
{
    struct eg_worker *worker = context;
    uint64_t now_ms = eg_loop_now_ms(worker->loop), timeout_ms = worker->settings.drain_timeout_ms;
    (void)message;
    worker->draining = true;
    worker->refusing = !atomic_load(&worker->shared->kept);
    /* New connections that nobody accepts yet don't wait long for those that are idle. */
    uint64_t idle_ms = atomic_load(&worker->shared->handed_over) ? timeout_ms / 2 : timeout_ms / 20;
    worker->drain_deadline.fire = drain_is_over;
    worker->idle_deadline.fire = idle_is_over;
    if (eg_timer_set(worker->loop, &worker->drain_deadline, now_ms + timeout_ms) != 0 ||
        (!worker->refusing && eg_timer_set(worker->loop, &worker->idle_deadline, now_ms + idle_ms) != 0))
        eg_loop_stop(worker->loop);
    if (worker->refusing)
        eg_server_drain(worker->server);
    else
        eg_server_hand_over(worker->server);
    for (uint32_t i = 0; i < worker->set_count; i++) {
        if (worker->refusing)
            eg_subscribe_drain(&worker->sets[i]);
        eg_polls_answer(&worker->sets[i]);
    }
    eg_streams_end(worker);
}

void eg_worker_drain(struct eg_worker *worker)
{
    worker->drain_message.deliver = drain;
    eg_mailbox_post(&worker->mailbox, &worker->drain_message);
}

int eg_worker_listen(struct eg_worker *worker, const struct eg_listening *listening)
{
    int error = 0;
    for (size_t i = 0; !error && i < listening->count; i++)
        if (listening->sockets[i].worker < 0 || listening->sockets[i].worker == (int)worker->index)
            error = eg_server_listen(worker->server, &listening->sockets[i]);
    return error;
}

static void listen_now(struct eg_message *message, void *context)
{
    struct eg_worker *worker = context;
    (void)message;
    int error = eg_worker_listen(worker, worker->listening);
    if (error)
        eg_log(EG_LOG_ERROR, "a worker cannot listen", EG_LOG_INT("worker", worker->index),
               EG_LOG_STR("error", strerror(-error)));
}

void eg_worker_listen_soon(struct eg_worker *worker, const struct eg_listening *listening)
{
    worker->listening = listening;
    worker->listen_message.deliver = listen_now;
    eg_mailbox_post(&worker->mailbox, &worker->listen_message);
}

static void heed_revocations(struct eg_message *message, void *context)
{
    struct eg_worker *worker = context;
    (void)message;
    atomic_store(&worker->heeding, false); /* first: what is revoked from now on sends another message */
    eg_streams_heed_tokens(worker);
    for (uint32_t i = 0; i < worker->set_count; i++) {
        eg_polls_heed_tokens(&worker->sets[i]);
        eg_subscribe_retry(&worker->sets[i]);
    }
}

void eg_worker_heed_revocations(struct eg_worker *worker)
{
    if (atomic_exchange(&worker->heeding, true))
        return;
    worker->revocations_message.deliver = heed_revocations;
    eg_mailbox_post(&worker->mailbox, &worker->revocations_message);
}

struct new_settings {
    struct eg_message message;
    struct eg_settings settings;
    struct eg_policy *policy;
};

static void take_settings(struct eg_message *message, void *context)
{
    struct new_settings *new_settings = EG_CONTAINER_OF(message, struct new_settings, message);
    struct eg_worker *worker = context;
    worker->settings = new_settings->settings;
    eg_policy_unref(worker->policy);
    worker->policy = new_settings->policy;
    free(new_settings);
}

int eg_worker_configure(struct eg_worker *worker, const struct eg_settings *settings, struct eg_policy *policy)
{
    struct new_settings *new_settings = calloc(1, sizeof(*new_settings));
    if (!new_settings)
        return -ENOMEM;
    new_settings->message.deliver = take_settings;
    new_settings->settings = *settings;
    new_settings->policy = eg_policy_ref(policy);
    eg_mailbox_post(&worker->mailbox, &new_settings->message);
    return 0;
}

struct new_tls {
    struct eg_message message;
    struct eg_tls *tls;
};

static void take_tls(struct eg_message *message, void *context)
{
    struct new_tls *new_tls = EG_CONTAINER_OF(message, struct new_tls, message);
    struct eg_worker *worker = context;
    if (worker->server)
        eg_server_use_tls(worker->server, new_tls->tls);
    else
        eg_tls_unref(new_tls->tls);
    free(new_tls);
}

int eg_worker_use_tls(struct eg_worker *worker, struct eg_tls *tls)
{
    struct new_tls *new_tls = calloc(1, sizeof(*new_tls));
    if (!new_tls)
        return -ENOMEM;
    new_tls->message.deliver = take_tls;
    new_tls->tls = eg_tls_ref(tls);
    eg_mailbox_post(&worker->mailbox, &new_tls->message);
    return 0;
}

/* --- making and freeing ------------------------------------------------------------------------------------------ */

struct eg_feed *eg_worker_feed(struct eg_worker *worker, uint32_t set)
{
    return worker->sets[set].feed;
}

static size_t at_least(size_t number, size_t least)
{
    return number > least ? number : least;
}

static bool set_init(struct eg_worker *worker, uint32_t index)
{
    struct eg_worker_set *set = &worker->sets[index];
    set->worker = worker;
    set->index = index;
    set->config = &worker->shared->config->sets[index];
    set->status = &worker->shared->statuses[index];
    TAILQ_INIT(&set->pending);
    LIST_INIT(&set->polls);
    set->metrics = eg_metrics_new(set->config->name);
    set->feed = eg_feed_new(worker->index, at_least(set->config->journal_events, FEED_LEAST_EVENTS),
                            at_least(set->config->journal_bytes, FEED_LEAST_BYTES));
    set->journal = eg_journal_new(worker->index, set->config->journal_events, set->config->journal_bytes);
    set->subscribers = set->journal ? eg_subscribers_new(set->journal) : NULL;
    return set->metrics && set->feed && set->journal && set->subscribers;
}

static void forget_channel(struct eg_journal_channel *channel, void *context)
{
    (void)context;
    free(channel->holding);
    channel->holding = NULL;
    eg_subscribers_forget(channel);
}

static void set_done(struct eg_worker_set *set)
{
    if (set->journal)
        eg_journal_visit_channels(set->journal, forget_channel, NULL);
    eg_subscribers_free(set->subscribers);
    eg_journal_free(set->journal);
    eg_feed_free(set->feed);
    eg_metrics_free(set->metrics);
}

struct eg_worker *eg_worker_new(uint32_t index, struct eg_worker_shared *shared)
{
    struct eg_worker *worker = calloc(1, sizeof(*worker));
    if (!worker)
        return NULL;
    worker->index = index;
    snprintf(worker->name, sizeof(worker->name), "worker %u", index);
    worker->shared = shared;
    worker->settings = shared->config->settings;
    worker->policy = eg_policy_ref(shared->policy);
    TAILQ_INIT(&worker->streams);
    worker->last_published = &worker->published;
    worker->metrics = eg_metrics_new(NULL);
    worker->loop = eg_loop_new();
    worker->sets = calloc(shared->config->set_count, sizeof(*worker->sets));
    worker->run = eg_stream_run_new();
    worker->own_run = eg_own_run_new();
    bool made = worker->metrics && worker->loop && worker->sets && worker->run && worker->own_run;
    if (worker->loop)
        eg_mailbox_init(&worker->mailbox, worker->loop);
    while (made && worker->set_count < shared->config->set_count)
        made = set_init(worker, worker->set_count++);
    if (made)
        worker->server = eg_server_new(&(struct eg_server_options){worker->loop,
                                                                   &worker->settings,
                                                                   &worker->policy,
                                                                   shared->tls,
                                                                   shared->counts,
                                                                   &shared->bodies,
                                                                   worker->metrics,
                                                                   {handle, worker}});
    if (!worker->server) {
        eg_log(EG_LOG_ERROR, "worker cannot start", EG_LOG_INT("worker", index), EG_LOG_STR("error", strerror(errno)));
        eg_worker_free(worker);
        return NULL;
    }
    eg_loop_on_turn(worker->loop, turn, worker);
    eg_loop_measure(worker->loop, worker->metrics, EG_METRIC_TURN_WORKER, EG_METRIC_DELAY_WORKER);
    return worker;
}

void eg_worker_close(struct eg_worker *worker)
{
    eg_server_free(worker->server); /* every exchange that is left says goodbye to its owner */
    worker->server = NULL;          /* nothing more can be published */
}

void eg_worker_free(struct eg_worker *worker)
{
    if (!worker)
        return;
    eg_worker_close(worker);
    if (worker->loop) {
        eg_mailbox_deliver(&worker->mailbox, worker); /* answers that came too late */
        eg_mailbox_done(&worker->mailbox);
    }
    for (uint32_t i = 0; i < worker->set_count; i++)
        set_done(&worker->sets[i]);
    free(worker->sets);
    eg_stream_run_free(worker->run);
    eg_own_run_free(worker->own_run);
    eg_metrics_free(worker->metrics);
    eg_loop_free(worker->loop);
    eg_policy_unref(worker->policy);
    free(worker);
}

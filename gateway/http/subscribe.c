/*
 * Subscriptions up to their first cursor.
 *
 * A subscription holds its channels from the moment it is accepted. It is pending until the set is up, all its live
 * channels are confirmed, the log, if it reads that, has been attached to, and its cursor, if another worker made it a
 * moment ago, has arrived here too; a cursor that lies behind what has been read of the log waits for a look at the
 * log. Then it is decided, once, where it begins and whether anything is missing.
 */
#include "eventgate/subscribe.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/backoff.h"
#include "eventgate/identity.h"
#include "eventgate/log.h"
#include "eventgate/poll.h"
#include "eventgate/rates.h"
#include "eventgate/routing.h"
#include "eventgate/selection.h"
#include "eventgate/stream.h"

/* Connections that streams leave free for probes and publishers. */
#define RESERVED_CONNECTIONS 64u
#define LISTED_CHANNELS_MAX 20u
#define CHANGED_DETAIL "The configuration has just changed. Try again."

/* --- refusing ---------------------------------------------------------------------------------------------------- */

/* The answer to EventSource: come again in `wait_ms` at the earliest. */
static void send_away(struct eg_worker *worker, struct eg_exchange *exchange, uint64_t wait_ms)
{
    struct eg_buffer body = EG_BUFFER_INIT;
    uint64_t retry_ms = wait_ms + eg_jitter_ms(worker->settings.retry_ms, 50);
    eg_frame_add_retry(&body, retry_ms < UINT32_MAX ? (uint32_t)retry_ms : UINT32_MAX);
    eg_exchange_reply(exchange, 200, "text/event-stream", &body,
                      (struct eg_header[]){{"X-Accel-Buffering", "no"}, {"Connection", "close"}, {NULL, NULL}});
}

void eg_subscribe_shed(struct eg_worker *worker, struct eg_exchange *exchange, enum eg_transport transport,
                       enum eg_problem problem, const char *detail)
{
    if (transport == EG_TRANSPORT_SSE)
        send_away(worker, exchange, 0);
    else
        eg_exchange_problem(exchange, problem, detail, NULL);
}

/* The channels that there are, as far as this client may know of them. */
struct channel_list {
    struct eg_buffer *text;
    const struct eg_exchange *exchange;
    uint32_t set, listed, more;
};

static void list_channels(struct channel_list *list, const struct eg_config_channel *channels, size_t count)
{
    enum eg_right right = list->exchange->method == EG_METHOD_POST ? EG_RIGHT_PUBLISH : EG_RIGHT_SUBSCRIBE;
    for (size_t i = 0; i < count; i++) {
        struct eg_bytes channel = {channels[i].text, channels[i].length};
        if (!eg_identity_allows(list->exchange, right, list->set, channel))
            continue;
        if (list->listed == LISTED_CHANNELS_MAX) {
            list->more++;
            continue;
        }
        eg_buffer_add_string(list->text, list->listed++ ? ", " : " The channels here: ");
        eg_buffer_add(list->text, channel.data, channel.length);
    }
}

void eg_unknown_channel(struct eg_worker *worker, struct eg_exchange *exchange, struct eg_bytes name)
{
    const struct eg_config *config = worker->config;
    struct eg_buffer detail = EG_BUFFER_INIT;
    struct channel_list list = {.text = &detail, .exchange = exchange};
    eg_buffer_add_string(&detail, "There is no channel \"");
    eg_buffer_add(&detail, name.data, name.length);
    eg_buffer_add_string(&detail, "\".");
    for (; list.set < config->set_count; list.set++) {
        const struct eg_config_set *set = &config->sets[list.set];
        list_channels(&list, set->live, set->live_count);
        list_channels(&list, set->durable, set->durable_count);
    }
    if (list.more > 0)
        eg_buffer_add_format(&detail, ", and %" PRIu32 " more (GET /channels)", list.more);
    eg_buffer_add_string(&detail, list.listed > 0 ? "." : "");
    if (name.length > EG_LIVE_CHANNEL_MAX_BYTES)
        eg_buffer_add_string(&detail, " A live channel's name has at most 63 bytes in PostgreSQL.");
    eg_buffer_add(&detail, "", 1);
    eg_exchange_problem(exchange, EG_PROBLEM_UNKNOWN_CHANNEL, detail.failed ? "" : detail.data, NULL);
    eg_buffer_done(&detail);
}

static void refuse(struct eg_exchange *exchange, const struct eg_refusal *refusal)
{
    eg_exchange_problem(exchange, refusal->problem, refusal->detail, NULL);
}

static void no_memory(struct eg_worker *worker, struct eg_exchange *exchange, enum eg_transport transport)
{
    eg_subscribe_shed(worker, exchange, transport, EG_PROBLEM_OVERLOADED, "The gateway is out of memory. Try again.");
}

/* --- the life of a subscription ---------------------------------------------------------------------------------- */

static void stop_waiting(struct eg_subscription *subscription)
{
    if (!subscription->pending)
        return;
    subscription->pending = false;
    TAILQ_REMOVE(&subscription->set->pending, subscription, entry);
    eg_timer_cancel(subscription->set->worker->loop, &subscription->deadline);
}

void eg_subscription_free(struct eg_subscription *subscription)
{
    if (!subscription)
        return;
    stop_waiting(subscription);
    if (subscription->exchange)
        subscription->exchange->gone = NULL;
    eg_beginning_done(&subscription->beginning);
    eg_hold_release(subscription->set, &subscription->hold);
    subscription->set->users--;
    eg_subscription_request_done(&subscription->request);
    free(subscription);
}

static void exchange_gone(struct eg_exchange *exchange)
{
    struct eg_subscription *subscription = exchange->state;
    subscription->exchange = NULL;
    eg_subscription_free(subscription);
}

static void shed_pending(struct eg_subscription *subscription, enum eg_problem problem, const char *detail)
{
    struct eg_exchange *exchange = subscription->exchange;
    struct eg_worker *worker = subscription->set->worker;
    enum eg_transport transport = subscription->request.format.transport;
    eg_subscription_free(subscription);
    eg_subscribe_shed(worker, exchange, transport, problem, detail);
}

/* One of its channels cannot be had: for now, or for good, which an EventSource must not ask for again either. */
static void refuse_pending(struct eg_subscription *subscription, const struct eg_holding *holding)
{
    struct eg_exchange *exchange = subscription->exchange;
    const char *detail = holding->refusal;
    if (!holding->final) {
        shed_pending(subscription, EG_PROBLEM_OVERLOADED, detail);
        return;
    }
    eg_subscription_free(subscription);
    eg_exchange_problem(exchange, EG_PROBLEM_BAD_CHANNEL, detail, NULL);
}

static void waited_too_long(struct eg_timer *timer)
{
    struct eg_subscription *subscription = EG_CONTAINER_OF(timer, struct eg_subscription, deadline);
    struct eg_worker *worker = subscription->set->worker;
    struct eg_exchange *exchange = subscription->exchange;
    if (subscription->until_expiry) {
        eg_subscription_free(subscription);
        eg_identity_expired(exchange);
        return;
    }
    eg_metrics_add(worker->metrics, EG_METRIC_LIMIT_SUBSCRIBE_TIME, 1);
    shed_pending(
        subscription, EG_PROBLEM_DATABASE_AWAY,
        "The gateway could not LISTEN to this channel, or read the log, in time (subscribe_timeout): its database is "
        "away. Try again.");
}

static void hung_up(struct eg_exchange *exchange)
{
    eg_subscription_free(exchange->state);
    eg_exchange_problem(exchange, EG_PROBLEM_BAD_REQUEST,
                        "The client closed the connection before its subscription began.", NULL);
}

static enum eg_metric kind_of_resume(const struct eg_subscription *subscription)
{
    const struct eg_beginning *beginning = &subscription->beginning;
    if (beginning->missed.is_gap)
        return EG_METRIC_RESUME_GAP;
    return subscription->hold.selection && beginning->start.position < eg_journal_log_floor(subscription->set->journal)
               ? EG_METRIC_RESUME_LOG
               : EG_METRIC_RESUME_EXACT;
}

static void count_accepted(const struct eg_subscription *subscription)
{
    static const enum eg_metric transports[] = {EG_METRIC_SUBSCRIBED_SSE, EG_METRIC_SUBSCRIBED_NDJSON,
                                                EG_METRIC_SUBSCRIBED_POLL};
    struct eg_metrics *metrics = subscription->set->worker->metrics;
    const struct eg_beginning *beginning = &subscription->beginning;
    eg_metrics_add(metrics, transports[subscription->request.format.transport], 1);
    if (subscription->request.has_cursor)
        eg_metrics_add(metrics, kind_of_resume(subscription), 1);
    if (beginning->missed.is_gap)
        eg_gap_count(subscription->set->worker, beginning->missed.reason);
}

/* Is what it subscribes to being delivered, and is it known whether it may? */
static bool is_served(const struct eg_subscription *subscription)
{
    const struct eg_worker_set *set = subscription->set;
    const struct eg_hold *hold = &subscription->hold;
    if (eg_identity_is_undecided(subscription->exchange))
        return false;
    if ((hold->live_count > 0 && !set->up) || (hold->selection && !eg_journal_tag(set->journal)[0]))
        return false;
    for (uint32_t i = 0; i < hold->count; i++) {
        const struct eg_holding *holding = hold->channels[i]->holding;
        if (!holding->durable && (!hold->channels[i]->channel || !holding->confirmed))
            return false;
    }
    return true;
}

/* 0, -EAGAIN: it has to wait, or -ENOMEM. */
static int decide(struct eg_subscription *subscription)
{
    struct eg_worker_set *set = subscription->set;
    const struct eg_worker_port *port = &set->worker->shared->port;
    bool looked = subscription->look > 0 && set->looked >= subscription->look;
    int error = eg_beginning_decide(set, &subscription->hold, &subscription->request, looked, &subscription->beginning);
    if (error != -EINPROGRESS)
        return error;
    if (subscription->look == 0) {
        error = port->look(port->context, set->index, set->worker->index, set->next_look + 1);
        if (error)
            return error;
        subscription->look = ++set->next_look;
    }
    return -EAGAIN;
}

/* Begins, or is answered with the reason why not. Returns false if it has to wait. */
static bool try_to_begin(struct eg_subscription *subscription)
{
    const struct eg_hold *hold = &subscription->hold;
    struct eg_exchange *exchange = subscription->exchange;
    for (uint32_t i = 0; i < hold->count; i++) {
        const struct eg_holding *holding = hold->channels[i]->holding;
        if (holding->refusal) {
            refuse_pending(subscription, holding);
            return true;
        }
    }
    if (eg_identity_left_ms(exchange->grants, subscription->set->worker->policy) == 0) {
        eg_subscription_free(subscription);
        eg_identity_expired(exchange);
        return true;
    }
    if (!is_served(subscription))
        return false;
    int error = decide(subscription);
    if (error == -EAGAIN)
        return false;
    if (error) {
        shed_pending(subscription, EG_PROBLEM_OVERLOADED, "The gateway is out of memory. Try again.");
        return true;
    }
    stop_waiting(subscription);
    count_accepted(subscription);
    if (subscription->request.format.transport == EG_TRANSPORT_POLL)
        eg_poll_begin(subscription);
    else
        eg_stream_begin(subscription);
    return true;
}

static void wait_for_it(struct eg_subscription *subscription)
{
    struct eg_worker *worker = subscription->set->worker;
    uint64_t left_ms = eg_identity_left_ms(subscription->exchange->grants, worker->policy);
    uint64_t wait_ms = worker->settings.subscribe_timeout_ms;
    subscription->until_expiry = left_ms < wait_ms;
    subscription->pending = true;
    TAILQ_INSERT_TAIL(&subscription->set->pending, subscription, entry);
    subscription->deadline.fire = waited_too_long;
    eg_exchange_suspend(subscription->exchange);
    eg_exchange_on_hangup(subscription->exchange, hung_up);
    if (eg_timer_set(worker->loop, &subscription->deadline,
                     eg_loop_now_ms(worker->loop) + (subscription->until_expiry ? left_ms : wait_ms)) != 0)
        shed_pending(subscription, EG_PROBLEM_OVERLOADED, "The gateway is out of memory. Try again.");
}

void eg_subscribe_retry(struct eg_worker_set *set)
{
    struct eg_subscription *subscription = TAILQ_FIRST(&set->pending);
    while (subscription) {
        struct eg_subscription *next = TAILQ_NEXT(subscription, entry);
        try_to_begin(subscription);
        subscription = next;
    }
}

void eg_subscribe_shed_moved(struct eg_worker_set *set)
{
    struct eg_subscription *subscription = TAILQ_FIRST(&set->pending);
    while (subscription) {
        struct eg_subscription *next = TAILQ_NEXT(subscription, entry);
        if (!eg_hold_is_of(&subscription->hold, set->worker->config, set->index))
            shed_pending(subscription, EG_PROBLEM_OVERLOADED, CHANGED_DETAIL);
        subscription = next;
    }
}

void eg_subscribe_heed_policy(struct eg_worker_set *set)
{
    struct eg_subscription *subscription = TAILQ_FIRST(&set->pending);
    while (subscription) {
        struct eg_subscription *next = TAILQ_NEXT(subscription, entry);
        if (!eg_hold_is_granted(&subscription->hold, set->worker->policy, subscription->exchange->grants, set->index))
            shed_pending(subscription, EG_PROBLEM_OVERLOADED, CHANGED_DETAIL);
        subscription = next;
    }
}

void eg_subscribe_shed_pending(struct eg_worker_set *set, enum eg_problem problem, const char *detail)
{
    while (!TAILQ_EMPTY(&set->pending))
        shed_pending(TAILQ_FIRST(&set->pending), problem, detail);
}

static bool streams_are_full(const struct eg_worker *worker)
{
    uint32_t limit = worker->settings.max_connections;
    uint32_t reserved = limit > 4 * RESERVED_CONNECTIONS ? RESERVED_CONNECTIONS : limit / 4;
    return eg_intake_counts_total(worker->shared->counts) > limit - reserved;
}

/* What it reads of the log. False: out of memory. */
static bool select_log(const struct eg_selection *selection, struct eg_hold *hold)
{
    size_t count = 0;
    if (hold->live_count == hold->count)
        return true;
    struct eg_bytes *names = calloc(selection->count, sizeof(*names));
    for (size_t i = 0; names && i < selection->count; i++)
        if (selection->channels[i].durable)
            names[count++] = selection->channels[i].name;
    hold->selection = names ? eg_log_selection_new(names, count) : NULL;
    free(names);
    return hold->selection != NULL;
}

/* Answers, and returns false, if one of the channels isn't granted. Where they are of no set together, who may have
 * them all learns why. */
static bool is_granted(struct eg_exchange *exchange, const struct eg_subscription_request *request, uint32_t set)
{
    for (size_t i = 0; i < request->channel_count; i++) {
        if (eg_identity_allows(exchange, EG_RIGHT_SUBSCRIBE, set, request->channels[i]))
            continue;
        eg_identity_refuse_channel(exchange, EG_RIGHT_SUBSCRIBE, request->channels[i], SIZE_MAX);
        return false;
    }
    return true;
}

/* Makes the subscription and holds its channels. 0, -EINVAL (answered), or -ENOMEM. */
static int accept_subscription(struct eg_worker *worker, struct eg_exchange *exchange,
                               struct eg_subscription_request *request, struct eg_subscription **ret_subscription)
{
    struct eg_selection selection;
    int error = eg_selection_make(worker->config, request, &selection);
    if (!is_granted(exchange, request, error ? EG_ANY_SET : selection.set)) {
        eg_selection_done(&selection);
        return -EINVAL;
    }
    if (error == -ENOENT)
        eg_unknown_channel(worker, exchange, selection.unknown);
    else if (error == -EINVAL)
        refuse(exchange, &selection.refusal);
    if (error)
        return error == -ENOMEM ? error : -EINVAL;

    struct eg_subscription *subscription = calloc(1, sizeof(*subscription));
    struct eg_journal_channel **channels = calloc(selection.count, sizeof(struct eg_journal_channel *));
    if (!subscription || !channels) {
        free(subscription);
        free(channels);
        eg_selection_done(&selection);
        return -ENOMEM;
    }
    subscription->set = worker->sets[selection.set];
    subscription->set->users++;
    subscription->exchange = exchange;
    subscription->hold.channels = channels;
    subscription->request = *request;
    memset(request, 0, sizeof(*request));
    for (size_t i = 0; i < selection.count; i++) {
        channels[i] = eg_hold_channel(subscription->set, &selection.channels[i]);
        if (!channels[i])
            break;
        subscription->hold.count++;
        subscription->hold.live_count += !selection.channels[i].durable;
    }
    bool held = subscription->hold.count == selection.count && select_log(&selection, &subscription->hold);
    eg_selection_done(&selection);
    if (!held) {
        eg_subscription_free(subscription);
        return -ENOMEM;
    }
    *ret_subscription = subscription;
    return 0;
}

static void answer_head(struct eg_exchange *exchange, enum eg_transport transport)
{
    struct eg_buffer empty = EG_BUFFER_INIT;
    eg_buffer_add_string(&empty, "");
    if (transport == EG_TRANSPORT_POLL)
        eg_exchange_reply(exchange, 200, "application/json", &empty, NULL);
    else
        eg_exchange_stream(exchange, eg_transport_content_type(transport), NULL);
    eg_buffer_done(&empty);
}

/* Has its client subscribed too often? Then it has been answered. */
static bool is_too_often(struct eg_worker *worker, struct eg_exchange *exchange, enum eg_transport transport)
{
    uint64_t wait_ms;
    uint32_t most;
    if (eg_rates_take(worker, exchange, EG_RATE_SUBSCRIBE, 1, 1, &wait_ms, &most) == 0)
        return false;
    if (transport == EG_TRANSPORT_SSE)
        send_away(worker, exchange, wait_ms);
    else
        eg_rates_refuse(exchange, "You subscribe more often than you may (subscribe_rate). Try again later.", wait_ms);
    return true;
}

/* Is there no place for one more now? Then it has been answered. */
static bool has_no_place(struct eg_worker *worker, struct eg_exchange *exchange, enum eg_transport transport)
{
    if (worker->refusing) {
        eg_subscribe_shed(worker, exchange, transport, EG_PROBLEM_DRAINING,
                          "This gateway is shutting down. Try again.");
    } else if (exchange->crowded) {
        eg_subscribe_shed(worker, exchange, transport, EG_PROBLEM_TOO_MANY, EG_CROWDED_DETAIL);
    } else if (streams_are_full(worker)) {
        eg_metrics_add(worker->metrics, EG_METRIC_LIMIT_CONNECTIONS, 1);
        eg_subscribe_shed(worker, exchange, transport, EG_PROBLEM_OVERLOADED,
                          "All places for streams are taken (max_connections). Try again later.");
    } else {
        return is_too_often(worker, exchange, transport);
    }
    return true;
}

void eg_subscribe_handle(struct eg_worker *worker, struct eg_exchange *exchange)
{
    struct eg_subscription_request request;
    struct eg_subscription *subscription;
    struct eg_refusal refusal;
    int error = eg_subscription_request_read(
        &exchange->target, exchange->channel, eg_exchange_header(exchange, "Accept"),
        eg_exchange_header(exchange, "Last-Event-ID"), worker->settings.max_channels_per_stream, &request, &refusal);
    if (error == -EINVAL) {
        if (refusal.problem == EG_PROBLEM_TOO_MANY_CHANNELS)
            eg_metrics_add(worker->metrics, EG_METRIC_LIMIT_CHANNELS, 1);
        refuse(exchange, &refusal);
        return;
    }
    if (error) {
        no_memory(worker, exchange, EG_TRANSPORT_NDJSON);
        return;
    }
    enum eg_transport transport = request.format.transport;
    if (has_no_place(worker, exchange, transport)) {
        eg_subscription_request_done(&request);
        return;
    }
    error = accept_subscription(worker, exchange, &request, &subscription);
    if (error == -ENOMEM)
        no_memory(worker, exchange, transport);
    else if (!error && exchange->method == EG_METHOD_HEAD) {
        subscription->exchange = NULL;
        eg_subscription_free(subscription);
        answer_head(exchange, transport);
    } else if (!error) {
        exchange->state = subscription;
        exchange->gone = exchange_gone;
        if (!try_to_begin(subscription))
            wait_for_it(subscription);
    }
    eg_subscription_request_done(&request);
}

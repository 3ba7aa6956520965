/*
 * A worker's sets, and how they come and go.
 *
 * Whatever a set may be asked for while it runs (a subscription, a stream, a publication under way) counts as a user of
 * it. One that isn't in the configuration any more gets no new users: its streams are told to come back, and when the
 * last user has gone the port hears of it, once. The set itself goes when the port says so, which is when nobody feeds
 * it any more.
 */
#include <stdlib.h>
#include <string.h>

#include "eventgate/config_change.h"
#include "eventgate/hold.h"
#include "eventgate/policy.h"
#include "eventgate/poll.h"
#include "eventgate/stream.h"
#include "eventgate/subscribe.h"
#include "eventgate/worker_internal.h"

/* However small the journal, a feed holds what the listener reads from PostgreSQL at a time. */
#define FEED_LEAST_EVENTS 4096u
#define FEED_LEAST_BYTES (4u << 20)

/* --- making and freeing ------------------------------------------------------------------------------------------ */

static size_t at_least(size_t number, size_t least)
{
    return number > least ? number : least;
}

static size_t feed_events(const struct eg_config_set *row)
{
    return at_least(row->journal_events, FEED_LEAST_EVENTS);
}

static size_t feed_bytes(const struct eg_config_set *row)
{
    return at_least(row->journal_bytes, FEED_LEAST_BYTES);
}

struct eg_worker_set *eg_worker_set_new(struct eg_worker *worker, const struct eg_config *config, uint32_t place)
{
    const struct eg_config_set *row = &config->sets[place];
    struct eg_worker_set *set = calloc(1, sizeof(*set));
    if (!set)
        return NULL;
    set->worker = worker;
    set->index = place;
    set->config = row;
    set->status = &worker->shared->statuses[place];
    TAILQ_INIT(&set->pending);
    LIST_INIT(&set->polls);
    set->metrics = eg_metrics_new(row->name);
    set->feed = eg_feed_new(worker->index, feed_events(row), feed_bytes(row));
    set->journal = eg_journal_new(worker->index, row->journal_events, row->journal_bytes);
    set->subscribers = set->journal ? eg_subscribers_new(set->journal) : NULL;
    if (set->metrics && set->feed && set->subscribers)
        return set;
    eg_worker_set_free(set);
    return NULL;
}

static void forget_channel(struct eg_journal_channel *channel, void *context)
{
    (void)context;
    free(channel->holding);
    channel->holding = NULL;
    eg_subscribers_forget(channel);
}

void eg_worker_set_free(struct eg_worker_set *set)
{
    if (!set)
        return;
    if (set->journal)
        eg_journal_visit_channels(set->journal, forget_channel, NULL);
    eg_subscribers_free(set->subscribers);
    eg_journal_free(set->journal);
    eg_feed_free(set->feed);
    eg_metrics_free(set->metrics);
    eg_config_free(set->kept);
    free(set);
}

struct eg_worker_set *eg_worker_next_set(const struct eg_worker *worker, const struct eg_worker_set *set)
{
    for (uint32_t i = set ? set->index + 1 : 0; i < worker->set_count; i++)
        if (worker->sets[i])
            return worker->sets[i];
    return NULL;
}

/* --- going ------------------------------------------------------------------------------------------------------- */

/* It isn't in the configuration any more; `before` is the one that it was in. */
static void leave(struct eg_worker_set *set, struct eg_config *before)
{
    set->leaving = true;
    set->kept = eg_config_ref(before);
    eg_subscribe_shed_pending(set, EG_PROBLEM_OVERLOADED, "The configuration has just changed. Try again.");
    eg_polls_answer(set);
    eg_streams_end_set(set);
}

void eg_worker_let_sets_go(struct eg_worker *worker)
{
    const struct eg_worker_port *port = &worker->shared->port;
    struct eg_worker_set *set = eg_worker_next_set(worker, NULL);
    for (; set; set = eg_worker_next_set(worker, set)) {
        if (!set->leaving || set->left || set->users > 0)
            continue;
        set->left = true;
        port->let_go(port->context, set->index);
    }
}

static void drop(struct eg_message *message, void *context)
{
    struct eg_worker_set *set = EG_CONTAINER_OF(message, struct eg_worker_set, message);
    struct eg_worker *worker = context;
    const struct eg_worker_port *port = &worker->shared->port;
    uint32_t place = set->index;
    worker->sets[place] = NULL;
    while (worker->set_count > 0 && !worker->sets[worker->set_count - 1])
        worker->set_count--;
    eg_worker_set_free(set);
    port->dropped(port->context, place);
}

void eg_worker_drop_set(struct eg_worker *worker, struct eg_worker_set *set)
{
    set->message.deliver = drop;
    eg_mailbox_post(&worker->mailbox, &set->message);
}

/* --- changing ---------------------------------------------------------------------------------------------------- */

struct eg_worker_change {
    struct eg_message message;
    struct eg_worker *worker;
    struct eg_policy *policy;    /* a reference */
    struct eg_config *config;    /* the same */
    struct eg_worker_set **sets; /* the new ones by their places, until they are the worker's */
};

void eg_worker_change_free(struct eg_worker_change *change)
{
    if (!change)
        return;
    for (uint32_t i = 0; change->sets && i < change->worker->shared->place_count; i++)
        eg_worker_set_free(change->sets[i]);
    free(change->sets);
    eg_policy_unref(change->policy);
    eg_config_free(change->config);
    free(change);
}

struct eg_worker_change *eg_worker_change_new(struct eg_worker *worker, struct eg_config *config,
                                              struct eg_policy *policy)
{
    struct eg_worker_change *change = calloc(1, sizeof(*change));
    if (!change)
        return NULL;
    change->worker = worker;
    change->policy = eg_policy_ref(policy);
    change->config = eg_config_ref(config);
    change->sets = calloc(worker->shared->place_count, sizeof(struct eg_worker_set *));
    if (change->sets)
        return change;
    eg_worker_change_free(change);
    return NULL;
}

struct eg_worker_set *eg_worker_change_add(struct eg_worker_change *change, uint32_t place)
{
    change->sets[place] = eg_worker_set_new(change->worker, change->config, place);
    return change->sets[place];
}

/* It goes on, with other bounds and live channels perhaps. */
static void go_on(struct eg_worker_set *set, const struct eg_config_set *row)
{
    set->moved = !eg_config_same_live(set->config, row);
    set->config = row;
    eg_feed_set_bounds(set->feed, feed_events(row), feed_bytes(row));
    eg_journal_set_bounds(set->journal, row->journal_events, row->journal_bytes);
}

/* Whoever has a channel that isn't there any more comes again, and is told so. */
static void end_moved(struct eg_worker *worker)
{
    struct eg_worker_set *set = eg_worker_next_set(worker, NULL);
    for (; set; set = eg_worker_next_set(worker, set)) {
        if (!set->moved)
            continue;
        set->moved = false;
        eg_subscribe_shed_moved(set);
        eg_polls_answer_moved(set);
        eg_streams_end_moved(set);
    }
}

/* Whoever needs a token now, and hasn't one that grants what is read, comes again, and is told so. */
static void heed_policy(struct eg_worker *worker)
{
    struct eg_worker_set *set = eg_worker_next_set(worker, NULL);
    for (; set; set = eg_worker_next_set(worker, set)) {
        eg_subscribe_heed_policy(set);
        eg_polls_heed_policy(set);
        eg_streams_heed_policy(set);
    }
}

/* What becomes of the set at this place. */
static void change_set(struct eg_worker *worker, struct eg_worker_change *change, uint32_t place)
{
    const struct eg_config *config = change->config;
    struct eg_worker_set *set = worker->sets[place];
    if (change->sets[place]) {
        worker->sets[place] = change->sets[place];
        change->sets[place] = NULL;
    } else if (set && !set->leaving) {
        if (place < config->set_count && config->sets[place].name)
            go_on(set, &config->sets[place]);
        else
            leave(set, worker->config);
    }
    if (worker->sets[place] && place >= worker->set_count)
        worker->set_count = place + 1;
}

static void apply(struct eg_message *message, void *context)
{
    struct eg_worker_change *change = EG_CONTAINER_OF(message, struct eg_worker_change, message);
    struct eg_worker *worker = context;
    struct eg_policy *policy = worker->policy;
    struct eg_config *config = worker->config;
    worker->settings = change->config->settings;
    worker->policy = change->policy;
    for (uint32_t place = 0; place < worker->shared->place_count; place++)
        change_set(worker, change, place);
    worker->config = change->config;
    end_moved(worker);
    heed_policy(worker);
    change->policy = policy;
    change->config = config;
    eg_worker_change_free(change); /* and with it what was there before */
}

void eg_worker_apply(struct eg_worker_change *change)
{
    change->message.deliver = apply;
    eg_mailbox_post(&change->worker->mailbox, &change->message);
}

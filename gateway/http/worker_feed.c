/*
 * What the Postgres thread says to a worker of a set: its feed, which brings journal and index up to date.
 */
#include <string.h>

#include "eventgate/hold.h"
#include "eventgate/log.h"
#include "eventgate/poll.h"
#include "eventgate/stream.h"
#include "eventgate/subscribe.h"
#include "eventgate/worker_internal.h"

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

void eg_worker_take_feed(struct eg_worker_set *set)
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

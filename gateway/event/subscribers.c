/*
 * The index from channels to subscribers, and the list of subscribers that lack something.
 *
 * A channel's audience is a dense array of seats, each of whose links knows its position, so that leaving is a swap
 * with the last one. An event walks its channel's audience once; a subscriber that is lagging already costs one look.
 * Invariants: a subscriber on the dirty list has `dirty` set; one that isn't lagging has seen everything up to head.
 */
#include "eventgate/subscribers.h"

#include <errno.h>
#include <stdlib.h>

/* One place in an audience. The subscriber stands here as well as in its link, so that marking reads one array. */
struct seat {
    struct eg_subscriber *subscriber;
    struct eg_subscriber_link *link;
};

struct audience {
    uint32_t count;
    uint32_t capacity;
    struct seat *seats;
};

struct eg_subscribers {
    struct eg_journal *journal; /* borrowed */
    TAILQ_HEAD(, eg_subscriber) dirty;
    size_t dirty_count;
    LIST_HEAD(, eg_subscriber) all;
    size_t count;
};

struct eg_subscribers *eg_subscribers_new(struct eg_journal *journal)
{
    struct eg_subscribers *subscribers = calloc(1, sizeof(*subscribers));
    if (!subscribers)
        return NULL;
    subscribers->journal = journal;
    TAILQ_INIT(&subscribers->dirty);
    LIST_INIT(&subscribers->all);
    return subscribers;
}

void eg_subscribers_free(struct eg_subscribers *subscribers)
{
    free(subscribers);
}

static int audience_join(struct eg_journal_channel *channel, struct eg_subscriber_link *link)
{
    struct audience *audience = channel->audience;
    if (!audience) {
        audience = calloc(1, sizeof(*audience));
        if (!audience)
            return -ENOMEM;
        channel->audience = audience;
    }
    if (audience->count == audience->capacity) {
        uint32_t capacity = audience->capacity ? 2 * audience->capacity : 4;
        struct seat *seats = reallocarray(audience->seats, capacity, sizeof(*seats));
        if (!seats)
            return -ENOMEM;
        audience->seats = seats;
        audience->capacity = capacity;
    }
    link->position = audience->count;
    audience->seats[audience->count++] = (struct seat){link->subscriber, link};
    if (channel->channel)
        atomic_fetch_add_explicit(&channel->channel->subscribers, 1, memory_order_relaxed);
    return 0;
}

static void audience_leave(struct eg_subscriber_link *link)
{
    struct audience *audience = link->channel->audience;
    if (link->channel->channel)
        atomic_fetch_sub_explicit(&link->channel->channel->subscribers, 1, memory_order_relaxed);
    struct seat last = audience->seats[--audience->count];
    audience->seats[link->position] = last;
    last.link->position = link->position;
}

static void leave_first(struct eg_subscriber *subscriber, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        audience_leave(&subscriber->links[i]);
    free(subscriber->links);
    subscriber->links = NULL;
    subscriber->link_count = 0;
}

/* Goes on from its position in the journal, which covers it. */
static void join(struct eg_subscriber *subscriber, const struct eg_journal *journal)
{
    uint64_t place = eg_journal_place_behind(journal, subscriber->position);
    subscriber->behind = false;
    subscriber->log_after = subscriber->position;
    if (!subscriber->hears_live || place < subscriber->next)
        subscriber->next = place;
}

static void begin(struct eg_subscriber *subscriber, const struct eg_journal *journal, struct eg_subscriber_start start)
{
    subscriber->next = start.place + 1;
    subscriber->position = start.position;
    subscriber->live_after = subscriber->hears_live ? start.place : 0;
    subscriber->behind = subscriber->hears_log && start.position < eg_journal_log_floor(journal);
    if (subscriber->hears_log && !subscriber->behind)
        join(subscriber, journal);
    subscriber->lagging = subscriber->behind || subscriber->next <= eg_journal_head(journal);
}

int eg_subscribers_add(struct eg_subscribers *subscribers, struct eg_subscriber *subscriber,
                       struct eg_journal_channel *const *channels, uint32_t count, struct eg_subscriber_start start)
{
    subscriber->links = calloc(count, sizeof(*subscriber->links));
    if (!subscriber->links)
        return -ENOMEM;
    subscriber->link_count = count;
    for (uint32_t i = 0; i < count; i++) {
        subscriber->links[i].subscriber = subscriber;
        subscriber->links[i].channel = channels[i];
        int error = audience_join(channels[i], &subscriber->links[i]);
        if (error) {
            leave_first(subscriber, i);
            return error;
        }
    }
    LIST_INSERT_HEAD(&subscribers->all, subscriber, all_entry);
    subscribers->count++;
    begin(subscriber, subscribers->journal, start);
    return 0;
}

static void undirty(struct eg_subscribers *subscribers, struct eg_subscriber *subscriber)
{
    if (!subscriber->dirty)
        return;
    TAILQ_REMOVE(&subscribers->dirty, subscriber, dirty_entry);
    subscriber->dirty = false;
    subscribers->dirty_count--;
}

void eg_subscribers_remove(struct eg_subscribers *subscribers, struct eg_subscriber *subscriber)
{
    undirty(subscribers, subscriber);
    LIST_REMOVE(subscriber, all_entry);
    subscribers->count--;
    leave_first(subscriber, subscriber->link_count);
}

size_t eg_subscribers_count(const struct eg_subscribers *subscribers)
{
    return subscribers->count;
}

void eg_subscribers_dirty(struct eg_subscribers *subscribers, struct eg_subscriber *subscriber)
{
    if (subscriber->dirty)
        return;
    subscriber->dirty = true;
    subscribers->dirty_count++;
    TAILQ_INSERT_TAIL(&subscribers->dirty, subscriber, dirty_entry);
}

static void mark(struct eg_subscribers *subscribers, struct eg_subscriber *subscriber, uint64_t place,
                 uint64_t position)
{
    if (subscriber->behind && subscriber->hears_live)
        eg_subscribers_dirty(subscribers, subscriber); /* live events don't wait for the log */
    if (subscriber->lagging)
        return;
    subscriber->lagging = true;
    subscriber->next = place;
    subscriber->position = position > subscriber->log_after ? position : subscriber->log_after;
    eg_subscribers_dirty(subscribers, subscriber);
}

static void mark_audience(struct eg_subscribers *subscribers, const struct eg_journal_channel *channel, uint64_t place,
                          uint64_t position)
{
    const struct audience *audience = channel->audience;
    for (uint32_t i = 0; audience && i < audience->count; i++)
        mark(subscribers, audience->seats[i].subscriber, place, position);
}

void eg_subscribers_mark(struct eg_subscribers *subscribers, struct eg_journal_channel *channel, uint64_t place,
                         uint64_t position)
{
    mark_audience(subscribers, channel, place, position);
    for (uint32_t i = 0; i < channel->covering_count; i++)
        mark_audience(subscribers, channel->covering[i], place, position);
}

void eg_subscribers_mark_all(struct eg_subscribers *subscribers, uint64_t place, uint64_t position)
{
    struct eg_subscriber *subscriber;
    LIST_FOREACH (subscriber, &subscribers->all, all_entry)
        mark(subscribers, subscriber, place, position);
}

void eg_subscribers_attached(struct eg_journal_channel *channel)
{
    const struct audience *audience = channel->audience;
    if (audience && channel->channel)
        atomic_fetch_add_explicit(&channel->channel->subscribers, audience->count, memory_order_relaxed);
}

bool eg_subscribers_flush(struct eg_subscribers *subscribers)
{
    for (size_t round = subscribers->dirty_count; round > 0 && subscribers->dirty_count > 0; round--) {
        struct eg_subscriber *subscriber = TAILQ_FIRST(&subscribers->dirty);
        undirty(subscribers, subscriber);
        subscriber->flush(subscriber);
    }
    return subscribers->dirty_count > 0;
}

static bool covers(const struct eg_journal_channel *wanted, const struct eg_journal_channel *channel)
{
    if (wanted == channel)
        return true;
    for (uint32_t i = 0; i < channel->covering_count; i++)
        if (channel->covering[i] == wanted)
            return true;
    return false;
}

static bool has_channel(const struct eg_subscriber *subscriber, const struct eg_journal_channel *channel)
{
    for (uint32_t i = 0; channel && i < subscriber->link_count; i++)
        if (covers(subscriber->links[i].channel, channel))
            return true;
    return false;
}

/* Is the entry at `place` for it? */
static bool wants(const struct eg_subscriber *subscriber, const struct eg_journal *journal,
                  const struct eg_journal_entry *entry, uint64_t place)
{
    bool log = entry->position > subscriber->log_after && subscriber->hears_log && !subscriber->behind;
    bool live = place > subscriber->live_after && subscriber->hears_live;
    switch (entry->kind) {
    case EG_ENTRY_EVENT:
        return (entry->event->durable ? log : live) &&
               has_channel(subscriber, eg_journal_channel_of(journal, entry->event));
    case EG_ENTRY_BREAK:
        return live;
    case EG_ENTRY_LOG_BREAK:
        return log;
    case EG_ENTRY_MARK:
        break;
    }
    return false;
}

uint64_t eg_subscriber_find(const struct eg_subscriber *subscriber, const struct eg_journal *journal, uint64_t place)
{
    uint64_t head = eg_journal_head(journal);
    for (; place <= head; place++) {
        if (wants(subscriber, journal, eg_journal_at(journal, place), place))
            return place;
    }
    return 0;
}

uint64_t eg_subscriber_following(const struct eg_subscriber *subscriber, const struct eg_journal *journal,
                                 uint64_t place)
{
    if (subscriber->link_count == 1 && !subscriber->links[0].channel->is_wild &&
        eg_journal_last_break(journal) <= place) {
        const struct eg_journal_entry *entry = eg_journal_at(journal, place);
        if (entry->event)
            return entry->next;
    }
    return eg_subscriber_find(subscriber, journal, place + 1);
}

uint64_t eg_subscriber_place(const struct eg_subscriber *subscriber, const struct eg_journal *journal)
{
    return subscriber->lagging ? subscriber->next - 1 : eg_journal_head(journal);
}

void eg_subscriber_cursor(const struct eg_subscriber *subscriber, const struct eg_journal *journal, uint64_t place,
                          struct eg_cursor *ret_cursor)
{
    uint64_t position = subscriber->position;
    if (!subscriber->behind && place + 1 >= eg_journal_tail(journal))
        position = eg_journal_position_at(journal, place);
    if (place < subscriber->live_after)
        place = subscriber->live_after;
    if (!subscriber->behind && position < subscriber->log_after)
        position = subscriber->log_after;
    if (place + 1 == subscriber->next && position < subscriber->position)
        position = subscriber->position;
    eg_journal_cursor(journal, place, position, ret_cursor);
}

bool eg_subscriber_is_steady(const struct eg_subscriber *subscriber, const struct eg_journal *journal, uint64_t place)
{
    return !subscriber->behind && place > subscriber->live_after &&
           eg_journal_position_at(journal, place) >= subscriber->log_after;
}

void eg_subscriber_advance(struct eg_subscriber *subscriber, const struct eg_journal *journal, uint64_t place)
{
    subscriber->next = place + 1;
    if (subscriber->behind) {
        subscriber->live_after = place;
        return;
    }
    if (place + 1 < eg_journal_tail(journal))
        return; /* what was read of the log by then is no longer known */
    uint64_t position = eg_journal_position_at(journal, place);
    if (position > subscriber->position)
        subscriber->position = position;
}

void eg_subscriber_pass(struct eg_subscriber *subscriber, const struct eg_journal *journal, uint64_t place)
{
    uint64_t tail = eg_journal_tail(journal);
    subscriber->live_after = subscriber->hears_live ? place : 0;
    subscriber->next = subscriber->hears_log && !subscriber->behind && tail <= place ? tail : place + 1;
}

void eg_subscriber_catch_up(struct eg_subscriber *subscriber, const struct eg_journal *journal)
{
    subscriber->next = eg_journal_head(journal) + 1;
    if (subscriber->position < eg_journal_position(journal))
        subscriber->position = eg_journal_position(journal);
}

bool eg_subscriber_lacks_log(const struct eg_subscriber *subscriber, const struct eg_journal *journal)
{
    return subscriber->hears_log && !subscriber->behind && subscriber->position < eg_journal_log_floor(journal);
}

void eg_subscriber_fall_behind(struct eg_subscriber *subscriber)
{
    subscriber->behind = true;
    if (subscriber->hears_live && subscriber->live_after < subscriber->next - 1)
        subscriber->live_after = subscriber->next - 1;
}

bool eg_subscriber_join(struct eg_subscriber *subscriber, const struct eg_journal *journal)
{
    if (subscriber->behind && subscriber->position >= eg_journal_log_floor(journal))
        join(subscriber, journal);
    return subscriber->behind;
}

size_t eg_subscribers_audience(const struct eg_journal_channel *channel)
{
    const struct audience *audience = channel->audience;
    return audience ? audience->count : 0;
}

void eg_subscribers_forget(struct eg_journal_channel *channel)
{
    struct audience *audience = channel->audience;
    if (audience)
        free(audience->seats);
    free(audience);
    channel->audience = NULL;
}

/*
 * A bounded queue of feed items between the listener and one worker.
 *
 * Two arrays that change places: the listener fills one under the lock, the worker reads the other without it. In the
 * array being filled, dropped events leave a hole (kind EVENT without event) until the array is taken or compacted.
 * `oldest` is the first item that may still be an event. There is always room for one DROPPED for each channel that has
 * lost events, so that taking needs no memory.
 */
#include "eventgate/feed.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FIRST_CAPACITY 64u
#define KEPT_CAPACITY 4096u /* a larger array isn't kept for the next batch */

struct items {
    struct eg_feed_item *items;
    size_t count, capacity;
};

struct eg_feed {
    uint32_t worker;
    size_t max_events, max_bytes;
    pthread_mutex_t lock;
    struct items filling; /* guarded by lock, like all below */
    size_t oldest, events, bytes;
    size_t holes;
    struct eg_channel *dropped_channels; /* list by slots[worker].next_dropped; a reference each */
    size_t dropped_channel_count;
    uint64_t dropped;
    bool untouched;     /* nothing has been pushed since the last take */
    struct items taken; /* the worker's */
};

struct eg_feed *eg_feed_new(uint32_t worker, size_t max_events, size_t max_bytes)
{
    struct eg_feed *feed = calloc(1, sizeof(*feed));
    if (!feed)
        return NULL;
    if (pthread_mutex_init(&feed->lock, NULL) != 0) {
        free(feed);
        return NULL;
    }
    feed->worker = worker;
    feed->max_events = max_events;
    feed->max_bytes = max_bytes;
    feed->untouched = true;
    return feed;
}

void eg_feed_item_done(struct eg_feed_item *item)
{
    eg_event_unref(item->event);
    eg_channel_unref(item->channel);
    eg_log_jumps_unref(item->jumps);
    free(item->name);
    item->event = NULL;
    item->channel = NULL;
    item->jumps = NULL;
    item->name = NULL;
}

void eg_feed_free(struct eg_feed *feed)
{
    if (!feed)
        return;
    struct eg_feed_item *items;
    size_t count = eg_feed_take(feed, &items);
    for (size_t i = 0; i < count; i++)
        eg_feed_item_done(&items[i]);
    free(feed->filling.items);
    free(feed->taken.items);
    pthread_mutex_destroy(&feed->lock);
    free(feed);
}

/* --- dropping (with the lock) ------------------------------------------------------------------------------------- */

/* Remembers that events of its channel up to this one never arrive. */
static void note_dropped(struct eg_feed *feed, const struct eg_event *event)
{
    struct eg_channel *channel = event->channel;
    struct eg_channel_slot *slot = &channel->slots[feed->worker];
    if (slot->dropped == 0) {
        slot->next_dropped = feed->dropped_channels;
        feed->dropped_channels = eg_channel_ref(channel);
        feed->dropped_channel_count++;
    }
    slot->dropped = event->place;
    slot->dropped_position = event->durable ? event->cursor.position : 0;
    feed->dropped++;
}

static void drop_oldest_event(struct eg_feed *feed)
{
    while (!feed->filling.items[feed->oldest].event)
        feed->oldest++;
    struct eg_feed_item *item = &feed->filling.items[feed->oldest++];
    note_dropped(feed, item->event);
    feed->events--;
    feed->bytes -= eg_event_bytes(item->event);
    feed->holes++;
    eg_event_unref(item->event);
    item->event = NULL;
}

static bool is_hole(const struct eg_feed_item *item)
{
    return item->kind == EG_FEED_EVENT && !item->event;
}

/* Tells only how far the log has been read: the next one behind it says all that it says. */
static bool is_outdone(const struct eg_feed_item *item, const struct eg_feed_item *next)
{
    return item->kind == EG_FEED_LOG && !item->jumps && next->kind == EG_FEED_LOG && !next->jumps;
}

/* Closes the holes, so that dropping doesn't let the array grow. */
static void compact(struct eg_feed *feed)
{
    struct items *filling = &feed->filling;
    size_t kept = 0;
    for (size_t i = 0; i < filling->count; i++) {
        if (is_hole(&filling->items[i]))
            continue;
        if (kept > 0 && is_outdone(&filling->items[kept - 1], &filling->items[i]))
            kept--;
        filling->items[kept++] = filling->items[i];
    }
    filling->count = kept;
    feed->holes = 0;
    feed->oldest = 0;
}

/* Closes the holes where they are many enough to be worth the walk; grows where that isn't enough. */
static bool compact_or_grow(struct eg_feed *feed)
{
    struct items *filling = &feed->filling;
    if (feed->holes > filling->count / 4) /* of the others, at most every second one is between two events */
        compact(feed);
    size_t needed = filling->count + feed->dropped_channel_count + 1;
    size_t capacity = filling->capacity ? filling->capacity : FIRST_CAPACITY;
    while (capacity < needed)
        capacity *= 2;
    if (capacity == filling->capacity)
        return true;
    struct eg_feed_item *items = reallocarray(filling->items, capacity, sizeof(*items));
    if (!items)
        return false;
    filling->items = items;
    filling->capacity = capacity;
    return true;
}

/* Room for one more item, beside one DROPPED for each channel that needs it. False: out of memory, and no event is left
 * that could give way. */
static bool make_room(struct eg_feed *feed)
{
    const struct items *filling = &feed->filling;
    if (filling->count + feed->dropped_channel_count < filling->capacity || compact_or_grow(feed))
        return true;
    while (feed->events > 0 && filling->count - feed->holes + feed->dropped_channel_count >= filling->capacity)
        drop_oldest_event(feed);
    compact(feed);
    return filling->count + feed->dropped_channel_count < filling->capacity;
}

/* --- pushing ----------------------------------------------------------------------------------------------------- */

static bool push_one(struct eg_feed *feed, const struct eg_feed_item *item)
{
    struct items *filling = &feed->filling;
    if (filling->count > 0 && is_outdone(&filling->items[filling->count - 1], item)) {
        filling->items[filling->count - 1].position = item->position;
        return true;
    }
    if (!make_room(feed))
        return false;
    struct eg_feed_item *copy = &filling->items[filling->count];
    *copy = *item;
    if (item->name && !(copy->name = strdup(item->name)))
        return false;
    filling->count++;
    if (item->channel)
        eg_channel_ref(item->channel);
    if (item->jumps)
        eg_log_jumps_ref(item->jumps);
    if (item->event) {
        eg_event_ref(item->event);
        feed->events++;
        feed->bytes += eg_event_bytes(item->event);
    }
    return true;
}

/* Without memory for a few dozen bytes: lets the worker take what there is, and tries again. Neither a break nor the
 * newest event may be lost, since nobody would tell the subscribers of it. */
static void wait_for_memory(struct eg_feed *feed)
{
    pthread_mutex_unlock(&feed->lock);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    pthread_mutex_lock(&feed->lock);
}

bool eg_feed_push(struct eg_feed *feed, const struct eg_feed_item *items, size_t count)
{
    pthread_mutex_lock(&feed->lock);
    bool was_empty = feed->untouched;
    feed->untouched = false;
    for (size_t i = 0; i < count; i++) {
        while (!push_one(feed, &items[i]))
            wait_for_memory(feed);
        while (feed->events > 1 && (feed->events > feed->max_events || feed->bytes > feed->max_bytes))
            drop_oldest_event(feed);
    }
    pthread_mutex_unlock(&feed->lock);
    return was_empty;
}

void eg_feed_set_bounds(struct eg_feed *feed, size_t max_events, size_t max_bytes)
{
    pthread_mutex_lock(&feed->lock);
    feed->max_events = max_events; /* the next push keeps them */
    feed->max_bytes = max_bytes;
    pthread_mutex_unlock(&feed->lock);
}

/* --- taking ------------------------------------------------------------------------------------------------------ */

/* Puts the DROPPED items before all others; make_room() has seen to the room. With the lock. */
static void put_dropped_first(struct eg_feed *feed)
{
    struct items *filling = &feed->filling;
    compact(feed);
    memmove(filling->items + feed->dropped_channel_count, filling->items, filling->count * sizeof(*filling->items));
    filling->count += feed->dropped_channel_count;
    for (struct eg_feed_item *item = filling->items; feed->dropped_channels; item++) {
        struct eg_channel *channel = feed->dropped_channels;
        struct eg_channel_slot *slot = &channel->slots[feed->worker];
        *item = (struct eg_feed_item){
            .kind = EG_FEED_DROPPED, .place = slot->dropped, .position = slot->dropped_position, .channel = channel};
        feed->dropped_channels = slot->next_dropped;
        slot->next_dropped = NULL;
        slot->dropped = 0;
    }
    feed->dropped_channel_count = 0;
}

size_t eg_feed_take(struct eg_feed *feed, struct eg_feed_item **ret_items)
{
    if (feed->taken.capacity > KEPT_CAPACITY) { /* a burst is over: its memory goes back */
        free(feed->taken.items);
        feed->taken = (struct items){NULL, 0, 0};
    }
    pthread_mutex_lock(&feed->lock);
    if (feed->dropped_channels)
        put_dropped_first(feed);
    struct items taken = feed->filling;
    feed->filling = feed->taken;
    feed->filling.count = 0;
    feed->taken = taken;
    feed->oldest = feed->events = feed->bytes = feed->holes = 0;
    feed->untouched = true;
    pthread_mutex_unlock(&feed->lock);
    *ret_items = taken.items;
    return taken.count;
}

uint64_t eg_feed_dropped(struct eg_feed *feed)
{
    pthread_mutex_lock(&feed->lock);
    uint64_t dropped = feed->dropped;
    pthread_mutex_unlock(&feed->lock);
    return dropped;
}

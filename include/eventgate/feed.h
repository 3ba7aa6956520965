/*
 * What a set's listener tells one worker, in order: the mailbox between the Postgres thread and a worker's journal.
 *
 * The listener pushes batches, the worker takes everything at once. Bounded like a journal (events and bytes): when a
 * worker is so late that its feed is full, the oldest events are dropped, since its journal would trim them at once
 * anyway; the last place dropped is remembered for each channel and is the first thing that the worker is told, so that
 * subscribers of those channels get their gap and all others don't.
 * Items that are not events are never dropped; their number is bounded by the set's channels and reconnects, by the
 * subscriptions that look at the log, and by the events, since one EG_FEED_LOG stands for all that follow each other.
 */
#ifndef EG_FEED_H
#define EG_FEED_H

#include <stdbool.h>

#include "eventgate/channel.h"
#include "eventgate/cursor.h"
#include "eventgate/event.h"
#include "eventgate/log_jumps.h"

enum eg_feed_kind {
    EG_FEED_EVENT,      /* `event`, at `place` */
    EG_FEED_DROPPED,    /* events of `channel` up to `place` (and log position `position`) never reach this worker (made
                           by the feed itself) */
    EG_FEED_LISTENED,   /* `channel` is LISTENed without a break since `place`; answers the want of number `want` (0:
                           none) */
    EG_FEED_UNLISTENED, /* `channel` is no longer listened to */
    EG_FEED_REFUSED,    /* want number `want` of the channel called `name` cannot be met: `refusal` */
    EG_FEED_LOST,       /* the LISTEN connection is gone; nothing arrives until EG_FEED_BREAK */
    EG_FEED_BREAK,      /* all channels are LISTENed on a new connection: `epoch` begins at `place`, which it takes for
                           itself. Also the very first item of a set's live channels. */
    EG_FEED_LOG, /* the log has been read up to `position`: all of this set's events up to there have been fed. The
                    first one, and each after a reconnect, has `tag` and `jumps`, too */
    EG_FEED_LOG_BREAK, /* the log lost its tail: what was fed with positions beyond `from` is no longer in it, and it
                          goes on at `position`. Takes `place` for itself */
    EG_FEED_LOOKED, /* answers look number `want`: the log was read after that was asked for; EG_FEED_LOG came before */
};

struct eg_feed_item {
    enum eg_feed_kind kind;
    uint64_t place;
    uint64_t want;
    uint64_t position, from;         /* of the log */
    struct eg_log_jumps *jumps;      /* LOG: a reference, or NULL: as before */
    char tag[EG_CURSOR_TAG_MAX + 1]; /* LOG with `jumps` */
    struct eg_channel *channel;      /* a reference (LISTENED, UNLISTENED, DROPPED), else NULL */
    struct eg_event *event;          /* a reference (EVENT), else NULL */
    struct eg_epoch epoch;           /* BREAK */
    char *name;                      /* REFUSED: owned, NUL-terminated */
    const char *refusal;             /* REFUSED: static sentence */
    bool final;                      /* REFUSED: asking again is of no use */
};

/* Where the items of a set go: to every worker (the gateway's function pushes them into the workers' feeds). Items and
 * what they point to are borrowed for the call. `worker`: -1 all, else that one only (answers to a want or a look). */
struct eg_feed_sink {
    void (*feed)(void *context, int worker, const struct eg_feed_item *items, size_t count);
    void *context;
};

struct eg_feed;

/* A feed for worker number `worker` (its slot in every eg_channel). NULL: out of memory. */
struct eg_feed *eg_feed_new(uint32_t worker, size_t max_events, size_t max_bytes);
/* Changes the bounds. Any thread. */
void eg_feed_set_bounds(struct eg_feed *feed, size_t max_events, size_t max_bytes);
void eg_feed_free(struct eg_feed *feed);

/*
 * Appends copies of `count` items; takes a reference of what they point to (`name` is duplicated). Never fails for lack
 * of room, and the newest event always stays. When memory runs out, events are dropped by the same rule; when none is
 * left to drop, it waits for memory. Returns whether the feed was empty, in which case the worker must be woken.
 * Postgres thread.
 */
bool eg_feed_push(struct eg_feed *feed, const struct eg_feed_item *items, size_t count);

/*
 * Takes everything: sets `ret_items` (owned by the feed, valid until the next take) and returns their number. The
 * caller takes over the references in the items: eg_feed_item_done() on each. Worker's thread.
 */
size_t eg_feed_take(struct eg_feed *feed, struct eg_feed_item **ret_items);
void eg_feed_item_done(struct eg_feed_item *item);

/* Events dropped so far. Any thread. */
uint64_t eg_feed_dropped(struct eg_feed *feed);

#endif

/*
 * Who wants what: the index from a set's channels to the subscribers of one worker, and the list of those that lack
 * something. Used by the worker's thread only.
 *
 * No subscriber has a queue: it is a place in the journal. While it has everything it isn't even that (`lagging` false:
 * everything up to the journal's head has been sent or filtered), so an event costs nothing for those that don't want
 * it. The first event that it lacks makes it lagging, with `next` at that event, and puts it on the dirty list; it
 * stays lagging, and is not marked again, until it has caught up.
 *
 * A cursor is two places, one in the live order and one in the log, and a subscriber may begin with any two: entries at
 * places up to `live_after` are not for it if they are live, nor those with positions up to `log_after` if they are
 * durable. One whose position the journal no longer covers is `behind`: its owner feeds it from the log, and the
 * journal's durable events aren't for it until it has joined.
 */
#ifndef EG_SUBSCRIBERS_H
#define EG_SUBSCRIBERS_H

#include <stdbool.h>
#include <sys/queue.h>

#include "eventgate/journal.h"

struct eg_subscriber;

/* One subscription of one channel: an element of the channel's audience. */
struct eg_subscriber_link {
    struct eg_subscriber *subscriber;
    struct eg_journal_channel *channel;
    uint32_t position; /* in the audience */
};

/* Embedded in a stream or a poll. Zero-initialise; only `flush` is for its owner to set. */
struct eg_subscriber {
    void (*flush)(struct eg_subscriber *subscriber); /* called by eg_subscribers_flush() */
    struct eg_subscriber_link *links;                /* owned */
    uint32_t link_count;
    bool hears_live; /* has live channels; has durable ones */
    bool hears_log;
    bool lagging;
    bool dirty;
    bool behind;       /* then it is lagging, too */
    uint64_t next;     /* while lagging: the first place that has not been looked at */
    uint64_t position; /* while lagging: of the log, up to which it has had everything */
    uint64_t live_after, log_after;
    TAILQ_ENTRY(eg_subscriber) dirty_entry;
    LIST_ENTRY(eg_subscriber) all_entry;
};

struct eg_subscribers;

struct eg_subscribers *eg_subscribers_new(struct eg_journal *journal);
/* No subscriber may be left. */
void eg_subscribers_free(struct eg_subscribers *subscribers);

/* Where a subscriber begins: what it has had of live channels, and of the log. */
struct eg_subscriber_start {
    uint64_t place;
    uint64_t position;
};

/* Enters a subscriber under all its channels, of which the live ones must be LISTENed; it says by `hears_live` and
 * `hears_log` which kinds it has. It is lagging at first if there may be something for it already. 0 or -ENOMEM
 * (nothing entered). */
int eg_subscribers_add(struct eg_subscribers *subscribers, struct eg_subscriber *subscriber,
                       struct eg_journal_channel *const *channels, uint32_t count,
                       struct eg_subscriber_start start) EG_MUST_CHECK;
void eg_subscribers_remove(struct eg_subscribers *subscribers, struct eg_subscriber *subscriber);
size_t eg_subscribers_count(const struct eg_subscribers *subscribers);

/* The journal's entry at `place` is an event of `channel`; or a break, which concerns everybody. `position`: up to
 * which the log had been read before it. A channel's first event is the moment to count those who wait for it. */
void eg_subscribers_mark(struct eg_subscribers *subscribers, struct eg_journal_channel *channel, uint64_t place,
                         uint64_t position);
void eg_subscribers_mark_all(struct eg_subscribers *subscribers, uint64_t place, uint64_t position);
/* The channel has got its eg_channel: whoever waited for it counts there, too. */
void eg_subscribers_attached(struct eg_journal_channel *channel);

/* Puts one subscriber on the dirty list: it is flushed in the next round. */
void eg_subscribers_dirty(struct eg_subscribers *subscribers, struct eg_subscriber *subscriber);

/* Calls `flush` of each dirty subscriber once, in the order in which they became so. What becomes dirty meanwhile waits
 * for the next call. Returns whether there is any. */
bool eg_subscribers_flush(struct eg_subscribers *subscribers);

/* The first place at or after `place` that holds an event of the subscriber's channels or a break; 0 if there is none.
 * `place` must not lie before the journal's tail. Cost: a step for each entry passed over. */
uint64_t eg_subscriber_find(const struct eg_subscriber *subscriber, const struct eg_journal *journal, uint64_t place);

/* The same for what follows the entry at `place`, which the subscriber has just had: one step where it has one channel.
 */
uint64_t eg_subscriber_following(const struct eg_subscriber *subscriber, const struct eg_journal *journal,
                                 uint64_t place);

/* The place up to which the subscriber has everything. */
uint64_t eg_subscriber_place(const struct eg_subscriber *subscriber, const struct eg_journal *journal);

/* What the subscriber resumes with when it has had everything up to `place` (and, behind, up to its `position`). */
void eg_subscriber_cursor(const struct eg_subscriber *subscriber, const struct eg_journal *journal, uint64_t place,
                          struct eg_cursor *ret_cursor);

/* Is that the entry's own cursor, once it has had the entry at `place`? Then so is it for all that follow. */
bool eg_subscriber_is_steady(const struct eg_subscriber *subscriber, const struct eg_journal *journal, uint64_t place);

/* The journal's tail has passed it by: of live channels it goes on behind `place` (the tail's predecessor, or later),
 * of durable ones where it stands. */
void eg_subscriber_pass(struct eg_subscriber *subscriber, const struct eg_journal *journal, uint64_t place);

/* One that isn't lagging has had everything: `next` and `position` say so. */
void eg_subscriber_catch_up(struct eg_subscriber *subscriber, const struct eg_journal *journal);

/* It has had everything up to `place`. Where that was trimmed before, its position of the log is for the caller to
 * raise.
 */
void eg_subscriber_advance(struct eg_subscriber *subscriber, const struct eg_journal *journal, uint64_t place);

/* Does the journal no longer hold all that it lacks of the log? Then it has to get behind. */
bool eg_subscriber_lacks_log(const struct eg_subscriber *subscriber, const struct eg_journal *journal);
void eg_subscriber_fall_behind(struct eg_subscriber *subscriber);

/* Ends being behind, if the journal covers its position; returns whether it is still behind. */
bool eg_subscriber_join(struct eg_subscriber *subscriber, const struct eg_journal *journal);

/* The subscribers of a channel on this worker. */
size_t eg_subscribers_audience(const struct eg_journal_channel *channel);

/* Frees a channel's audience (before eg_journal_channel_drop()); it must be empty. */
void eg_subscribers_forget(struct eg_journal_channel *channel);

#endif

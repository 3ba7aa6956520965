/*
 * A set's bounded history as one worker sees it: which events there are, in order, since when each live channel has
 * been listened to, and from where on it has all of the log. Used by one thread only (the worker's).
 *
 * Places: N counts up by one with every event and every break, on all workers alike, so a cursor of this gateway is
 * exact on each of its workers. The journal holds the entries tail..head without holes, but for those dropped by the
 * feed. A break is an entry of its own, which concerns every channel: it is where the database connection was lost and
 * LISTENed anew; a reader that walks over it gets a gap.
 *
 * Trim rule: when an entry is appended and the events or their bytes exceed the bounds, the oldest are trimmed; each
 * trimmed event leaves its place in its channel's `trimmed`, each trimmed break in the journal's `break_trimmed`.
 * Therefore: a reader at place p misses nothing of channel c exactly if p >= since(c), p >= trimmed(c), and
 * p >= break_trimmed: eg_journal_floor(). A busy neighbour doesn't change that.
 *
 * Durable events stand among the live ones, at places of their own, in the order of the log. Every entry has the
 * position up to which the log had been read when it was appended, so that positions never fall from place to place,
 * and a reader at a position of the log finds its place. What was trimmed of them is still in the log: one position,
 * eg_journal_log_floor(), says from where on the journal has everything.
 */
#ifndef EG_JOURNAL_H
#define EG_JOURNAL_H

#include <stdbool.h>

#include "eventgate/channel.h"
#include "eventgate/cursor.h"
#include "eventgate/event.h"
#include "eventgate/log_jumps.h"

/* One channel, or pattern of durable channels, as one worker sees it; found by name; lives while somebody subscribes or
 * the channel is listened to. */
struct eg_journal_channel {
    uint64_t id;  /* never used again, whoever gets its memory; another one with each eg_channel */
    bool is_wild; /* a pattern */
    struct eg_journal_channel **covering; /* of a name: the patterns that match it; owned array */
    uint32_t covering_count;
    struct eg_channel *channel; /* a reference; NULL until it is LISTENed, or has its first durable event */
    uint64_t since;             /* place of its LISTEN */
    uint64_t trimmed;           /* last place trimmed or dropped, 0 none; never falls */
    uint64_t last;              /* its newest entry, 0 none */
    void *audience;             /* belongs to subscribers.h */
    void *holding;              /* belongs to subscribe.h */
};

enum eg_entry_kind {
    EG_ENTRY_EVENT,
    EG_ENTRY_MARK,      /* of a LISTEN: concerns nobody */
    EG_ENTRY_BREAK,     /* concerns all live channels */
    EG_ENTRY_LOG_BREAK, /* concerns all durable channels: the log lost what lies before it */
};

struct eg_journal_entry {
    enum eg_entry_kind kind;
    struct eg_event *event; /* a reference; NULL for the other kinds */
    uint64_t next;          /* place of the next event of the same channel, 0: none yet */
    uint64_t position;      /* up to which the log had been read; a durable event's own */
};

struct eg_journal;

struct eg_journal *eg_journal_new(uint32_t worker, size_t max_events, size_t max_bytes);
void eg_journal_free(struct eg_journal *journal);

/* Changes the bounds (reload) and trims at once. */
void eg_journal_set_bounds(struct eg_journal *journal, size_t max_events, size_t max_bytes);

/* Finds a channel or pattern by name, or makes it. NULL: not there (`make` false), or out of memory. */
struct eg_journal_channel *eg_journal_channel(struct eg_journal *journal, const char *name, size_t length, bool make);

/* Calls `visit` for each channel, which may free what hangs on it but not the channel. */
void eg_journal_visit_channels(struct eg_journal *journal,
                               void (*visit)(struct eg_journal_channel *channel, void *context), void *context);

/* The channel's name; borrowed. */
const char *eg_journal_channel_name(const struct eg_journal_channel *channel, size_t *ret_length);

/* Forgets a channel that nobody subscribes to and that isn't LISTENed. */
void eg_journal_channel_drop(struct eg_journal *journal, struct eg_journal_channel *channel);

/*
 * The feed's items, one function each. `append_event` takes over the reference. An event of a channel that this worker
 * does not know is appended all the same, since others walk over its place; if it is durable, the journal doesn't cover
 * its position. -ENOMEM: the event is dropped by the trim
 * rule (everything before it is trimmed too, so that the journal has no hole).
 */
int eg_journal_append_event(struct eg_journal *journal, struct eg_event *event) EG_MUST_CHECK;
int eg_journal_append_break(struct eg_journal *journal, struct eg_epoch epoch, uint64_t place) EG_MUST_CHECK;
/* The log goes on at `position`, having lost what came before. */
int eg_journal_append_log_break(struct eg_journal *journal, uint64_t place, uint64_t position) EG_MUST_CHECK;
/* Makes the channel if need be, since this may precede its LISTENED. Out of memory, every channel counts as dropped.
 * `position`: of a durable event, else 0. */
void eg_journal_mark_dropped(struct eg_journal *journal, struct eg_channel *channel, uint64_t place, uint64_t position);
/* A `since` beyond the head is an entry of its own (a mark), which concerns nobody: so that no cursor from before an
 * UNLISTEN equals one from after the next LISTEN. */
struct eg_journal_channel *eg_journal_listened(struct eg_journal *journal, struct eg_channel *channel, uint64_t since);
/* Returns the channel, no longer LISTENed, for the caller to drop or keep; NULL if it wasn't known. */
struct eg_journal_channel *eg_journal_unlistened(struct eg_journal *journal, struct eg_channel *channel);

/* The log of this tag has been read up to `position`. `jumps` NULL: as before; else a reference is taken. With another
 * tag than before, everything held is trimmed: its positions mean nothing any more. What stands there before the first
 * one has this position, too. */
void eg_journal_set_log(struct eg_journal *journal, const char *tag, uint64_t position, struct eg_log_jumps *jumps);

/* "" before the log was attached to. */
const char *eg_journal_tag(const struct eg_journal *journal);
/* Up to which the log has been read, and from which on all of it is held. */
uint64_t eg_journal_position(const struct eg_journal *journal);
uint64_t eg_journal_log_floor(const struct eg_journal *journal);
const struct eg_log_jumps *eg_journal_jumps(const struct eg_journal *journal);
/* Up to which the log had been read when the journal's head was `place` (between tail - 1 and head). */
uint64_t eg_journal_position_at(const struct eg_journal *journal, uint64_t place);
/* The first place whose position is greater; head + 1 if there is none. Cost: logarithmic. */
uint64_t eg_journal_place_behind(const struct eg_journal *journal, uint64_t position);

/* First and last place held; head is 0 before the first break. tail > head: empty. */
uint64_t eg_journal_tail(const struct eg_journal *journal);
uint64_t eg_journal_head(const struct eg_journal *journal);
uint64_t eg_journal_bytes(const struct eg_journal *journal);
/* The last entry that is no event and concerns somebody. */
uint64_t eg_journal_last_break(const struct eg_journal *journal);
/* The channel of an event that is held; NULL if it is no longer listened to. */
struct eg_journal_channel *eg_journal_channel_of(const struct eg_journal *journal, const struct eg_event *event);

/* The entry at `place`, or NULL if it is not held. Valid until the next append. */
const struct eg_journal_entry *eg_journal_at(const struct eg_journal *journal, uint64_t place);

/* The place from which on nothing of the channel is missing. The channel must be LISTENed. */
uint64_t eg_journal_floor(const struct eg_journal *journal, const struct eg_journal_channel *channel);

/* The cursor of a place (at or below head) and a position of the log: its epoch is the one in force at the place.
 * Before the first break it has no live half. */
void eg_journal_cursor(const struct eg_journal *journal, uint64_t place, uint64_t position,
                       struct eg_cursor *ret_cursor);

enum eg_journal_lookup {
    EG_JOURNAL_KNOWN, /* `ret_place` is the cursor's place, at or below head */
    EG_JOURNAL_AHEAD, /* of this gateway, but not here yet: ask again when the feed has moved */
    EG_JOURNAL_ALIEN, /* an epoch that isn't ours (or too old to be remembered), or a place outside of its epoch */
};

/*
 * What a cursor's live half means here. The epochs of the last 64 breaks are remembered. A cursor ahead of this worker
 * is possible when another worker was faster: `shared_epoch` and `shared_head` are the listener's own (eg_set_status).
 */
enum eg_journal_lookup eg_journal_find(const struct eg_journal *journal, const struct eg_cursor *cursor,
                                       const struct eg_epoch *shared_epoch, uint64_t shared_head, uint64_t *ret_place);

#endif

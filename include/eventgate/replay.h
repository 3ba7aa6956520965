/*
 * How far a replay has come: from the place where it began to the head that the gateway had then. And what is said of
 * gaps.
 */
#ifndef EG_REPLAY_H
#define EG_REPLAY_H

#include "eventgate/call.h"
#include "eventgate/cursor.h"
#include "eventgate/progress.h"

/* Zero-initialise, then eg_replay_begin(). */
struct eg_replay {
    struct eg_progress progress;
    bool aimed; /* `target` is known */
    bool reached;
    struct eg_cursor target, here;
    bool is_here;
};

void eg_replay_begin(struct eg_replay *replay, bool forced);

/* Asks for the head of what `path` subscribes to ("/events?channel=a"), if progress is shown; where that can't be known
 * there is no share and no end. */
void eg_replay_aim(struct eg_replay *replay, struct eg_caller *caller, const struct eg_buffer *path);

/* It has come to this cursor. */
void eg_replay_at(struct eg_replay *replay, const char *cursor);

/* Shows it, until it is over. `events`: since the start. */
void eg_replay_tell(struct eg_replay *replay, uint64_t events);

/* Makes room for other text on standard error. */
void eg_replay_clear(struct eg_replay *replay);

/* Says on standard error, in words, what may be missing. `data`: a gap, as the stream has it. */
void eg_tail_tell_gap(struct eg_bytes data);

#endif

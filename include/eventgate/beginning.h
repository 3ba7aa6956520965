/*
 * Where a subscription begins, or goes on, in the journal and in the log, and the gap that it is told there. The
 * worker's thread.
 */
#ifndef EG_BEGINNING_H
#define EG_BEGINNING_H

#include "eventgate/hold.h"
#include "eventgate/request.h"

/* A gap: what may be missing of which channels, up to where. */
struct eg_missed {
    bool is_gap;
    enum eg_gap_reason reason;
    uint64_t place, position; /* up to which */
    struct eg_bytes *names;   /* owned array; names borrowed from the channels */
    size_t count;
};

/* What a subscription begins with. */
struct eg_beginning {
    struct eg_subscriber_start start;
    struct eg_missed missed;
    char tag[EG_CURSOR_TAG_MAX + 1]; /* of the log that it was decided by */
    bool asked_for_all;              /* after=earliest: what retention has dropped is no gap */
};
void eg_beginning_done(struct eg_beginning *beginning);

/*
 * Decides where a subscription to the channels of `hold` begins. 0; -EAGAIN: the cursor's live half has yet to arrive
 * on this worker; -EINPROGRESS: the log has to be looked at first, since the cursor lies behind what has been read of
 * it (with `looked`, it isn't there either); -ENOMEM.
 */
int eg_beginning_decide(const struct eg_worker_set *set, const struct eg_hold *hold,
                        const struct eg_subscription_request *request, bool looked,
                        struct eg_beginning *ret_beginning) EG_MUST_CHECK;

/*
 * What a reader that has had live events up to `place` misses of its live channels, given what the journal still holds.
 * `ret_place`: where it can go on: at `place` itself, or at the journal's beginning where that has moved past it. 0 or
 * -ENOMEM.
 */
int eg_missed_since(const struct eg_worker_set *set, const struct eg_hold *hold, uint64_t place,
                    enum eg_gap_reason reason, struct eg_missed *ret_missed, uint64_t *ret_place) EG_MUST_CHECK;

/* Which channels of a hold. */
enum eg_kinds { EG_LIVE = 1, EG_DURABLE = 2 };

/* All channels of these kinds may have missed something up to there. 0 or -ENOMEM. */
int eg_missed_all(const struct eg_hold *hold, enum eg_kinds kinds, enum eg_gap_reason reason, uint64_t place,
                  uint64_t position, struct eg_missed *ret_missed) EG_MUST_CHECK;
void eg_missed_done(struct eg_missed *missed);

/* Writes the gap: `from`, a cursor or NULL; `id`, the cursor from which it goes on. */
void eg_missed_add(struct eg_buffer *buffer, const struct eg_worker_set *set, enum eg_transport transport,
                   const struct eg_missed *missed, const char *from, const char *id);

/* Writes the cursor of a place and a position. */
void eg_set_cursor(const struct eg_worker_set *set, uint64_t place, uint64_t position, char ret_text[EG_CURSOR_SIZE]);
/* And what a subscriber resumes with that has had everything up to `place`. */
void eg_subscriber_cursor_text(const struct eg_worker_set *set, const struct eg_subscriber *subscriber, uint64_t place,
                               char ret_text[EG_CURSOR_SIZE]);

/* Counts a gap that a subscriber is told. */
void eg_gap_count(struct eg_worker *worker, enum eg_gap_reason reason);

#endif

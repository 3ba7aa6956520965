/*
 * A subscription from request to first cursor: which set and channels, waiting for their LISTEN, where it begins, and
 * the gap that it begins with. Then a stream or a poll goes on from there. The worker's thread.
 */
#ifndef EG_SUBSCRIBE_H
#define EG_SUBSCRIBE_H

#include "eventgate/request.h"
#include "eventgate/worker.h"

/* A channel of a worker as the subscriptions hold it: how many do, and whether the listener has confirmed it. */
struct eg_holding {
    uint32_t holders;
    bool exact;          /* the set lists it by name: LISTENed for good */
    uint64_t want;       /* number of the last want, 0: none was needed (permanent) */
    bool confirmed;      /* LISTENED has answered it */
    const char *refusal; /* or REFUSED has: static sentence */
    bool final;          /* asking again is of no use */
};

/* Channels that a subscription holds, and then its stream. */
struct eg_hold {
    struct eg_journal_channel **channels; /* owned array */
    uint32_t count;
};

/* What a subscription begins with. */
struct eg_beginning {
    uint64_t place; /* everything up to here counts as sent */
    bool has_gap;
    enum eg_gap_reason reason;
    uint64_t gap_to;         /* place */
    struct eg_bytes *missed; /* owned; the channels of the gap; names borrowed from the channels */
    size_t missed_count;
};

struct eg_subscription {
    struct eg_worker_set *set;
    struct eg_exchange *exchange; /* NULL once a stream has been taken */
    struct eg_subscription_request request;
    struct eg_hold hold;
    struct eg_beginning beginning;
    bool pending;
    struct eg_timer deadline;
    TAILQ_ENTRY(eg_subscription) entry; /* in the set's pending list */
};

/* Answers GET /events and GET /channels/NAME. */
void eg_subscribe_handle(struct eg_worker *worker, struct eg_exchange *exchange);

/* Looks again at the pending subscriptions of a set: its feed has moved. */
void eg_subscribe_retry(struct eg_worker_set *set);

/* The feed's news about channels. */
void eg_subscribe_listened(struct eg_worker_set *set, struct eg_journal_channel *channel, uint64_t want);
void eg_subscribe_refused(struct eg_worker_set *set, const struct eg_feed_item *item);
void eg_subscribe_unlistened(struct eg_worker_set *set, struct eg_journal_channel *channel);

/* Lets go of the channels, and frees the array. */
void eg_hold_release(struct eg_worker_set *set, struct eg_hold *hold);

/* Lets go of its channels and frees. Takes NULL. */
void eg_subscription_free(struct eg_subscription *subscription);

/* All pending ones are answered as for a database that is away (drain). */
void eg_subscribe_drain(struct eg_worker_set *set);

/* Refuses a subscription for now: SSE gets 200, a jittered `retry:` and the end (an error would stop an EventSource for
 * good), the others the problem. */
void eg_subscribe_shed(struct eg_worker *worker, struct eg_exchange *exchange, enum eg_transport transport,
                       enum eg_problem problem, const char *detail);

/* "There is no channel …", with what can be subscribed to instead. */
void eg_unknown_channel(struct eg_worker *worker, struct eg_exchange *exchange, struct eg_bytes name);

/* Writes the cursor of a place of the set. */
void eg_set_cursor(const struct eg_worker_set *set, uint64_t place, char ret_text[EG_CURSOR_SIZE]);

void eg_beginning_done(struct eg_beginning *beginning);

/*
 * Where a reader at `place` can go on, given what the journal still holds: at `place` itself, or at the journal's
 * beginning where that has moved past it; with no gap if nothing is missing, else with one, for `reason`, of the
 * channels of which something is. 0 or -ENOMEM.
 */
int eg_beginning_at(const struct eg_worker_set *set, const struct eg_hold *hold, uint64_t place,
                    enum eg_gap_reason reason, struct eg_beginning *ret_beginning) EG_MUST_CHECK;

/* All of these channels may have missed something up to `place`, from where it goes on. 0 or -ENOMEM. */
int eg_beginning_behind(const struct eg_hold *hold, uint64_t place, enum eg_gap_reason reason,
                        struct eg_beginning *ret_beginning) EG_MUST_CHECK;

/* Counts a gap that a subscriber is told. */
void eg_gap_count(struct eg_worker *worker, enum eg_gap_reason reason);

#endif

/*
 * The channels that subscriptions and their streams hold, and the listener's part in that. The worker's thread.
 */
#ifndef EG_HOLD_H
#define EG_HOLD_H

#include "eventgate/policy.h"
#include "eventgate/selection.h"
#include "eventgate/worker.h"

/* A channel of a worker as the subscriptions hold it: how many do, and whether the listener has confirmed it. */
struct eg_holding {
    uint32_t holders;
    bool durable;        /* read from the log: nothing has to be LISTENed */
    bool exact;          /* the set lists it by name: LISTENed for good */
    uint64_t want;       /* number of the last want, 0: none was needed (permanent) */
    void *unwant;        /* what ends that want */
    bool confirmed;      /* LISTENED has answered it */
    const char *refusal; /* or REFUSED has: static sentence */
    bool final;          /* asking again is of no use */
};

/* Channels that a subscription holds, and then its stream. */
struct eg_hold {
    struct eg_journal_channel **channels; /* owned array */
    uint32_t count;
    uint32_t live_count;                /* of them */
    struct eg_log_selection *selection; /* a reference: the durable ones; NULL: none */
};

/* Holds one more channel; the first holder of one that the set gives by a pattern asks the listener for it. Borrowed,
 * as long as it is held. NULL: out of memory, and nothing is held. */
struct eg_journal_channel *eg_hold_channel(struct eg_worker_set *set, const struct eg_selected_channel *selected);

/* Are its live channels still what they were when they were held: of this set, and listed by name if they were? */
bool eg_hold_is_of(const struct eg_hold *hold, const struct eg_config *config, uint32_t set);

/* May who was let in with these grants still subscribe to them? See eg_policy_still_allows(). */
bool eg_hold_is_granted(const struct eg_hold *hold, const struct eg_policy *policy, const struct eg_grants *grants,
                        uint32_t set);

/* Lets go of the channels, and frees the array. */
void eg_hold_release(struct eg_worker_set *set, struct eg_hold *hold);

/* The feed's news about channels. */
void eg_hold_listened(struct eg_worker_set *set, struct eg_journal_channel *channel, uint64_t want);
void eg_hold_refused(struct eg_worker_set *set, const struct eg_feed_item *item);
void eg_hold_unlistened(struct eg_worker_set *set, struct eg_journal_channel *channel);

#endif

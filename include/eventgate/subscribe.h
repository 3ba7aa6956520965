/*
 * A subscription from request to first cursor: which set and channels, waiting for their LISTEN, where it begins, and
 * the gap that it begins with. Then a stream or a poll goes on from there. The worker's thread.
 */
#ifndef EG_SUBSCRIBE_H
#define EG_SUBSCRIBE_H

#include "eventgate/beginning.h"
#include "eventgate/request.h"
#include "eventgate/worker.h"

struct eg_subscription {
    struct eg_worker_set *set;
    struct eg_exchange *exchange; /* NULL once a stream has been taken */
    struct eg_subscription_request request;
    struct eg_hold hold;
    struct eg_beginning beginning;
    uint64_t look; /* number of the look at the log that it waits for, 0: none yet */
    bool pending;
    bool until_expiry; /* the deadline is its token's */
    struct eg_timer deadline;
    TAILQ_ENTRY(eg_subscription) entry; /* in the set's pending list */
};

/* Answers GET /events and GET /channels/NAME. */
void eg_subscribe_handle(struct eg_worker *worker, struct eg_exchange *exchange);

/* Looks again at the pending subscriptions of a set: its feed has moved, or what is known of revocations. */
void eg_subscribe_retry(struct eg_worker_set *set);

/* Lets go of its channels and frees. Takes NULL. */
void eg_subscription_free(struct eg_subscription *subscription);

/* All pending ones are refused for now, as eg_subscribe_shed() does. */
void eg_subscribe_shed_pending(struct eg_worker_set *set, enum eg_problem problem, const char *detail);

/* The same for those that have a channel which isn't the set's any more, or no longer by its name. */
void eg_subscribe_shed_moved(struct eg_worker_set *set);

/* The same for those that the worker's policy, which is a new one, doesn't let subscribe to what they ask for. */
void eg_subscribe_heed_policy(struct eg_worker_set *set);

/* Refuses a subscription for now: SSE gets 200, a jittered `retry:` and the end (an error would stop an EventSource for
 * good), the others the problem. */
void eg_subscribe_shed(struct eg_worker *worker, struct eg_exchange *exchange, enum eg_transport transport,
                       enum eg_problem problem, const char *detail);

/* "There is no channel …", with what can be subscribed to instead. */
void eg_unknown_channel(struct eg_worker *worker, struct eg_exchange *exchange, struct eg_bytes name);

#endif

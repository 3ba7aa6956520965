/* Long-poll: one JSON answer, at once when there is something, else when there is or when the time is up. The worker's
 * thread. */
#ifndef EG_POLL_H
#define EG_POLL_H

#include "eventgate/subscribe.h"

/* An answer ends before the event that would make it larger than this (but has one at least). */
#define EG_POLL_MAX_BYTES (UINT64_C(1) << 20)

/* Takes the subscription; answers its exchange, now or later. */
void eg_poll_begin(struct eg_subscription *subscription);

/* Answers all waiting polls of a set with what they have (drain); or those that have durable channels. */
void eg_polls_answer(struct eg_worker_set *set);
void eg_polls_answer_moved(struct eg_worker_set *set); /* see eg_streams_end_moved() */
void eg_polls_heed_policy(struct eg_worker_set *set);  /* see eg_streams_heed_policy() */
void eg_polls_answer_log(struct eg_worker_set *set);
/* The same for those whose token isn't good any more. */
void eg_polls_heed_tokens(struct eg_worker_set *set);

#endif

/*
 * Rates: a token bucket for whoever is told apart, in a table of a fixed size. Any thread.
 *
 * A bucket holds `burst` tokens and is filled at the rate. It is kept as the time at which it will be full again
 * (GCRA, the generic cell rate algorithm), so a bucket that is full is one that nobody has to remember: its place in
 * the table is free. When all places that a bucket may have are taken, the one that is closest to full is forgotten,
 * which lets its owner have a burst too early; that is counted. Keys are hashed with a secret (SipHash), so nobody can
 * aim at the places of others.
 */
#ifndef EG_RATE_LIMITS_H
#define EG_RATE_LIMITS_H

#include "eventgate/common.h"

/* `per_hour` 0: no limit. `burst`: at least 1, at most 1,000,000. */
struct eg_rate {
    uint32_t per_hour;
    uint32_t burst;
};

struct eg_rate_limits;

/* NULL: out of memory. Takes 1 MiB of address space, of which only what is used becomes memory. */
struct eg_rate_limits *eg_rate_limits_new(void);
void eg_rate_limits_free(struct eg_rate_limits *limits);

/*
 * Takes `amount` tokens, or none. 0; -EAGAIN: they will be there in `ret_wait_ms` (at least 1) if nobody else takes
 * any; -E2BIG: more than the burst, so never. `now_ms`: monotonic. Cost: a lock that few share, and a look at 16
 * places.
 */
int eg_rate_limits_take(struct eg_rate_limits *limits, struct eg_rate rate, const void *key, size_t length,
                        uint32_t amount, uint64_t now_ms, uint64_t *ret_wait_ms) EG_MUST_CHECK;

/* How many buckets have been forgotten before they were full. */
uint64_t eg_rate_limits_forgotten(struct eg_rate_limits *limits);

#endif

/*
 * When to try again: exponential back-off with full jitter, as a value.
 * Full jitter (a delay drawn evenly from 0 to the bound) spreads the herd of clients and gateways that lost the same
 * server at the same moment; the floor keeps one of them from hammering it.
 */
#ifndef EG_BACKOFF_H
#define EG_BACKOFF_H

#include "eventgate/common.h"

struct eg_backoff {
    uint32_t floor_ms;
    uint32_t first_ms; /* bound of the first delay; doubles with each attempt */
    uint32_t max_ms;   /* bound of every delay */
    uint32_t attempt;  /* since the last reset */
};

/* The next delay in ms, between floor_ms and the bound of this attempt; counts the attempt. */
uint32_t eg_backoff_next_ms(struct eg_backoff *backoff);
void eg_backoff_reset(struct eg_backoff *backoff);

/* `base_ms` scattered evenly by ± `percent` (0 to 100). For retry hints that must not come back all at once. */
uint32_t eg_jitter_ms(uint32_t base_ms, uint32_t percent);

/* `length` random bytes (getrandom; never fails after boot). */
void eg_random_bytes(void *data, size_t length);

#endif

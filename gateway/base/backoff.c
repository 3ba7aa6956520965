/*
 * Exponential back-off with full jitter, and randomness.
 */
#include "eventgate/backoff.h"

#include <errno.h>
#include <sys/random.h>

void eg_random_bytes(void *data, size_t length)
{
    char *at = data;
    while (length > 0) {
        ssize_t got = getrandom(at, length, 0);
        if (got < 0)
            continue; /* EINTR: it can't fail otherwise once the system has booted */
        at += got;
        length -= (size_t)got;
    }
}

/* An even draw from 0 to `bound`. */
static uint32_t draw(uint32_t bound)
{
    uint64_t random;
    eg_random_bytes(&random, sizeof(random));
    return (uint32_t)(random % ((uint64_t)bound + 1));
}

uint32_t eg_backoff_next_ms(struct eg_backoff *backoff)
{
    uint64_t bound = backoff->first_ms;
    for (uint32_t i = 0; i < backoff->attempt && bound < backoff->max_ms; i++)
        bound *= 2;
    if (bound > backoff->max_ms)
        bound = backoff->max_ms;
    backoff->attempt++;
    if (bound <= backoff->floor_ms)
        return backoff->floor_ms;
    return backoff->floor_ms + draw((uint32_t)bound - backoff->floor_ms);
}

void eg_backoff_reset(struct eg_backoff *backoff)
{
    backoff->attempt = 0;
}

uint32_t eg_jitter_ms(uint32_t base_ms, uint32_t percent)
{
    uint64_t spread = (uint64_t)base_ms * percent / 100;
    uint64_t least = base_ms - spread, most = base_ms + spread;
    if (most > UINT32_MAX)
        most = UINT32_MAX;
    return (uint32_t)least + draw((uint32_t)(most - least));
}

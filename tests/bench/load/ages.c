#include "ages.h"

#include <string.h>
#include <time.h>

/* Values below 64 have a bucket each; above, the six bits behind the leading one choose it. */
static unsigned bucket_of(uint64_t value)
{
    if (value < 64)
        return (unsigned)value;
    unsigned shift = 57u - (unsigned)__builtin_clzll(value);
    return (shift + 1) * 64 + (unsigned)((value >> shift) & 63);
}

static uint64_t upper_bound(unsigned bucket)
{
    if (bucket < 64)
        return bucket;
    unsigned shift = bucket / 64 - 1;
    return ((64ull + bucket % 64 + 1) << shift) - 1;
}

void ages_add(struct ages *ages, uint64_t nanoseconds)
{
    ages->counts[bucket_of(nanoseconds)]++;
    ages->count++;
}

void ages_clear(struct ages *ages)
{
    memset(ages, 0, sizeof(*ages));
}

uint64_t ages_quantile(const struct ages *ages, double part)
{
    uint64_t seen = 0, wanted = (uint64_t)((double)ages->count * part);
    for (unsigned bucket = 0; bucket < AGES_BUCKETS; bucket++) {
        seen += ages->counts[bucket];
        if (seen > wanted || (seen == ages->count && seen > 0))
            return upper_bound(bucket);
    }
    return 0;
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

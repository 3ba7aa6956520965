/* A histogram of durations with a relative error of at most 1/64 (HdrHistogram's bucketing). */
#ifndef BENCH_AGES_H
#define BENCH_AGES_H

#include <stdint.h>

#define AGES_BUCKETS (64 * 64)

struct ages {
    uint64_t counts[AGES_BUCKETS];
    uint64_t count;
};

void ages_add(struct ages *ages, uint64_t nanoseconds);
void ages_clear(struct ages *ages);
/* The duration that `part` (0 to 1) of them do not exceed, in nanoseconds; 0 if there are none. */
uint64_t ages_quantile(const struct ages *ages, double part);

uint64_t now_ns(void); /* CLOCK_MONOTONIC */

#endif

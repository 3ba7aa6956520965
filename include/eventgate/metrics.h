/*
 * Counters, gauges and histograms: declared once in the table (metrics_table.h), counted without locks in blocks that
 * belong to one thread each, added up when somebody scrapes.
 *
 * A block holds every metric; a thread (or a set's connection) writes only its own block, with relaxed atomics. A block
 * may carry the name of a channel set: metrics of scope SET are shown with set="NAME", those of scope PROCESS as one
 * sum over all blocks.
 */
#ifndef EG_METRICS_H
#define EG_METRICS_H

#include <stdatomic.h>

#include "eventgate/buffer.h"
#include "eventgate/common.h"
#include "eventgate/metrics_table.h"

/* Every histogram has these bounds, by the unit of its family: MILLIONTHS, hence times, 100 µs to 10 s; ONE, hence
 * numbers of things, 1 to 1,024. What is beyond the last one counts in a bucket of its own. */
#define EG_HISTOGRAM_BOUNDS 16u
/* A histogram's numbers: its buckets, that beyond, and the sum of what was observed. */
#define EG_HISTOGRAM_NUMBERS (EG_HISTOGRAM_BOUNDS + 2u)

enum eg_metric {
#define FAMILY(name, kind, scope, unit, help)
#define SAMPLE(id, labels) EG_METRIC_##id,
#define BUCKETS(id, labels) EG_METRIC_##id, EG_METRIC_##id##_LAST = EG_METRIC_##id + (int)EG_HISTOGRAM_NUMBERS - 1,
    EG_METRICS_TABLE(FAMILY, SAMPLE, BUCKETS)
#undef FAMILY
#undef SAMPLE
#undef BUCKETS
        EG_METRIC_COUNT
};

/* What a STATE is before it has been set, and may be set to. */
#define EG_METRIC_ABSENT INT64_MIN

struct eg_metrics; /* one block */

/* A new block, known to eg_metrics_render() until it is freed. `set` is copied, NULL for none. NULL: out of memory. */
struct eg_metrics *eg_metrics_new(const char *set);
void eg_metrics_free(struct eg_metrics *metrics);

/* Adds `amount` (negative only for a GAUGE; a STATE is set). Any thread; cheapest on the block's own. */
void eg_metrics_add(struct eg_metrics *metrics, enum eg_metric metric, int64_t amount);

/* Sets a GAUGE or STATE. */
void eg_metrics_set(struct eg_metrics *metrics, enum eg_metric metric, int64_t value);

/* Counts `count` things of this value, in µs or as a number, in a histogram: two additions, however many they are. Any
 * thread. */
void eg_metrics_observe(struct eg_metrics *metrics, enum eg_metric histogram, uint64_t value, uint64_t count);

/* The sum of one number over all blocks. Any thread; takes a lock. */
int64_t eg_metrics_sum(enum eg_metric metric);

/* For what is of the whole process and belongs to no block: changes this one so that the sum over all is `total`. Any
 * thread; takes a lock. */
void eg_metrics_set_total(struct eg_metrics *metrics, enum eg_metric metric, int64_t total);

/* Appends the Prometheus text format (version 0.0.4) of all blocks. Any thread; takes a lock. */
void eg_metrics_render(struct eg_buffer *buffer);

#endif

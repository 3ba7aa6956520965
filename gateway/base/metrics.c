/*
 * Blocks of counters in a list; adding them up and showing them as Prometheus text.
 *
 * A block's values are written by relaxed atomics without a lock; the lock guards the list only.
 */
#include "eventgate/metrics.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum kind { COUNTER, GAUGE };
enum scope { PROCESS, SET };

static const struct {
    const char *name;
    const char *labels;
    enum kind kind;
    enum scope scope;
    const char *help;
} table[] = {
#define X(id, name, labels, kind, scope, help) {name, labels, kind, scope, help},
    EG_METRICS_TABLE(X)
#undef X
};

struct eg_metrics {
    _Atomic int64_t values[EG_METRIC_COUNT];
    char *set; /* owned; NULL for none */
    LIST_ENTRY(eg_metrics) entry;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, eg_metrics) blocks = LIST_HEAD_INITIALIZER(blocks);

struct eg_metrics *eg_metrics_new(const char *set)
{
    struct eg_metrics *metrics = calloc(1, sizeof(*metrics));
    if (!metrics)
        return NULL;
    if (set && !(metrics->set = strdup(set))) {
        free(metrics);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    LIST_INSERT_HEAD(&blocks, metrics, entry);
    pthread_mutex_unlock(&lock);
    return metrics;
}

void eg_metrics_free(struct eg_metrics *metrics)
{
    if (!metrics)
        return;
    pthread_mutex_lock(&lock);
    LIST_REMOVE(metrics, entry);
    pthread_mutex_unlock(&lock);
    free(metrics->set);
    free(metrics);
}

void eg_metrics_add(struct eg_metrics *metrics, enum eg_metric metric, int64_t amount)
{
    atomic_fetch_add_explicit(&metrics->values[metric], amount, memory_order_relaxed);
}

void eg_metrics_set(struct eg_metrics *metrics, enum eg_metric metric, int64_t value)
{
    atomic_store_explicit(&metrics->values[metric], value, memory_order_relaxed);
}

/* Over all blocks, or those of one set. */
static int64_t sum(enum eg_metric metric, const char *set)
{
    int64_t total = 0;
    struct eg_metrics *block;
    LIST_FOREACH (block, &blocks, entry)
        if (!set || (block->set && strcmp(block->set, set) == 0))
            total += atomic_load_explicit(&block->values[metric], memory_order_relaxed);
    return total;
}

int64_t eg_metrics_sum(enum eg_metric metric)
{
    pthread_mutex_lock(&lock);
    int64_t total = sum(metric, NULL);
    pthread_mutex_unlock(&lock);
    return total;
}

/* Is this the first block of its set in the list? */
static bool first_of_set(const struct eg_metrics *metrics)
{
    struct eg_metrics *block;
    LIST_FOREACH (block, &blocks, entry)
        if (block->set && strcmp(block->set, metrics->set) == 0)
            return block == metrics;
    return false;
}

static void render_sample(struct eg_buffer *buffer, enum eg_metric metric, const char *set)
{
    const char *labels = table[metric].labels;
    eg_buffer_add_string(buffer, table[metric].name);
    if (set || labels[0]) {
        eg_buffer_add_string(buffer, "{");
        if (set)
            eg_buffer_add_format(buffer, "set=\"%s\"%s", set, labels[0] ? "," : "");
        eg_buffer_add_format(buffer, "%s}", labels);
    }
    eg_buffer_add_format(buffer, " %" PRId64 "\n", sum(metric, set));
}

void eg_metrics_render(struct eg_buffer *buffer)
{
    const char *last = "";
    pthread_mutex_lock(&lock);
    for (enum eg_metric metric = 0; metric < EG_METRIC_COUNT; metric++) {
        if (strcmp(table[metric].name, last) != 0)
            eg_buffer_add_format(buffer, "# HELP %s %s\n# TYPE %s %s\n", table[metric].name, table[metric].help,
                                 table[metric].name, table[metric].kind == COUNTER ? "counter" : "gauge");
        last = table[metric].name;
        if (table[metric].scope == PROCESS) {
            render_sample(buffer, metric, NULL);
            continue;
        }
        struct eg_metrics *block;
        LIST_FOREACH (block, &blocks, entry)
            if (block->set && first_of_set(block))
                render_sample(buffer, metric, block->set);
    }
    pthread_mutex_unlock(&lock);
}

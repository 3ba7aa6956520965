/*
 * Blocks of numbers in a list; adding them up and showing them as Prometheus text.
 *
 * A block's numbers are written by relaxed atomics without a lock; the lock guards the list only. The blocks of a set
 * stand together in it, so that a scrape passes each block once for each sample, however many sets there are.
 */
#include "eventgate/metrics.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define MILLION 1000000

enum kind { COUNTER, GAUGE, STATE, HISTOGRAM };
enum scope { PROCESS, SET };
enum unit { ONE, MILLIONTHS };

/* A family, or (without a name) one of its samples. */
static const struct row {
    const char *name;
    enum kind kind;
    enum scope scope;
    enum unit unit;
    enum eg_metric metric;
    const char *help;
    const char *labels;
} table[] = {
#define FAMILY(called, is, of, in, says) {called, is, of, in, EG_METRIC_COUNT, says, NULL},
#define SAMPLE(id, has) {.metric = EG_METRIC_##id, .labels = (has)},
    EG_METRICS_TABLE(FAMILY, SAMPLE, SAMPLE)
#undef FAMILY
#undef SAMPLE
};

static const uint64_t times_us[EG_HISTOGRAM_BOUNDS] = {
    100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000, 2000000, 5000000, 10000000};
#define SIZES 11u
static const uint64_t sizes[SIZES] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};

struct eg_metrics {
    _Atomic int64_t values[EG_METRIC_COUNT];
    char *set; /* owned; NULL for none */
    LIST_ENTRY(eg_metrics) entry;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, eg_metrics) blocks = LIST_HEAD_INITIALIZER(blocks);

/* Which histograms count numbers of things: those whose family says so. Filled in with the first block. */
static bool counts_things[EG_METRIC_COUNT];
static bool is_state[EG_METRIC_COUNT];

static void read_table(void)
{
    const struct row *family = table;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(table); i++)
        if (table[i].name) {
            family = &table[i];
        } else {
            counts_things[table[i].metric] = family->unit == ONE;
            is_state[table[i].metric] = family->kind == STATE;
        }
}

/* --- blocks ------------------------------------------------------------------------------------------------------ */

static bool is_of(const struct eg_metrics *block, const char *set)
{
    return block->set && strcmp(block->set, set) == 0;
}

/* Beside the other blocks of its set. With the lock. */
static void insert(struct eg_metrics *metrics)
{
    struct eg_metrics *block;
    LIST_FOREACH (block, &blocks, entry)
        if (metrics->set && is_of(block, metrics->set)) {
            LIST_INSERT_AFTER(block, metrics, entry);
            return;
        }
    LIST_INSERT_HEAD(&blocks, metrics, entry);
}

struct eg_metrics *eg_metrics_new(const char *set)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct eg_metrics *metrics = calloc(1, sizeof(*metrics));
    if (!metrics)
        return NULL;
    if (set && !(metrics->set = strdup(set))) {
        free(metrics);
        return NULL;
    }
    pthread_once(&once, read_table);
    for (size_t i = 0; i < EG_METRIC_COUNT; i++)
        if (is_state[i])
            metrics->values[i] = EG_METRIC_ABSENT;
    pthread_mutex_lock(&lock);
    insert(metrics);
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

/* --- counting ---------------------------------------------------------------------------------------------------- */

void eg_metrics_add(struct eg_metrics *metrics, enum eg_metric metric, int64_t amount)
{
    atomic_fetch_add_explicit(&metrics->values[metric], amount, memory_order_relaxed);
}

void eg_metrics_set(struct eg_metrics *metrics, enum eg_metric metric, int64_t value)
{
    atomic_store_explicit(&metrics->values[metric], value, memory_order_relaxed);
}

static size_t bounds_of(enum eg_metric histogram, const uint64_t **ret_bounds)
{
    *ret_bounds = counts_things[histogram] ? sizes : times_us;
    return counts_things[histogram] ? SIZES : EG_HISTOGRAM_BOUNDS;
}

void eg_metrics_observe(struct eg_metrics *metrics, enum eg_metric histogram, uint64_t value, uint64_t count)
{
    const uint64_t *bounds;
    size_t bound_count = bounds_of(histogram, &bounds), bucket = 0;
    while (bucket < bound_count && value > bounds[bucket])
        bucket++;
    eg_metrics_add(metrics, histogram + (enum eg_metric)bucket, (int64_t)count);
    eg_metrics_add(metrics, histogram + (enum eg_metric)(EG_HISTOGRAM_NUMBERS - 1), (int64_t)(value * count));
}

/* --- adding up (with the lock) ----------------------------------------------------------------------------------- */

/* What is added up: the blocks from `first` to that before `end`. */
struct span {
    const struct eg_metrics *first, *end;
};

static int64_t sum(struct span span, enum eg_metric metric)
{
    int64_t total = 0;
    bool any = false;
    for (const struct eg_metrics *block = span.first; block != span.end; block = LIST_NEXT(block, entry)) {
        int64_t value = atomic_load_explicit(&block->values[metric], memory_order_relaxed);
        if (value == EG_METRIC_ABSENT)
            continue;
        total += value;
        any = true;
    }
    return any ? total : EG_METRIC_ABSENT;
}

static struct span everything(void)
{
    return (struct span){LIST_FIRST(&blocks), NULL};
}

/* The blocks of the same set as the first one. */
static struct span of_set(const struct eg_metrics *first)
{
    const struct eg_metrics *end = first;
    while (end && is_of(end, first->set))
        end = LIST_NEXT(end, entry);
    return (struct span){first, end};
}

int64_t eg_metrics_sum(enum eg_metric metric)
{
    pthread_mutex_lock(&lock);
    int64_t total = sum(everything(), metric);
    pthread_mutex_unlock(&lock);
    return total == EG_METRIC_ABSENT ? 0 : total;
}

void eg_metrics_set_total(struct eg_metrics *metrics, enum eg_metric metric, int64_t total)
{
    pthread_mutex_lock(&lock);
    int64_t before = sum(everything(), metric);
    int64_t own = atomic_load_explicit(&metrics->values[metric], memory_order_relaxed);
    if (before == EG_METRIC_ABSENT)
        before = 0;
    if (own == EG_METRIC_ABSENT)
        own = 0;
    eg_metrics_set(metrics, metric, own + total - before);
    pthread_mutex_unlock(&lock);
}

/* --- showing (with the lock) ------------------------------------------------------------------------------------- */

static void add_value(struct eg_buffer *buffer, enum unit unit, int64_t value)
{
    uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    const char *sign = value < 0 ? "-" : "";
    if (unit == ONE || size % MILLION == 0) {
        eg_buffer_add_format(buffer, "%s%" PRIu64, sign, unit == ONE ? size : size / MILLION);
        return;
    }
    unsigned digits = 6, fraction = (unsigned)(size % MILLION);
    for (; fraction % 10 == 0; fraction /= 10)
        digits--;
    eg_buffer_add_format(buffer, "%s%" PRIu64 ".%0*u", sign, size / MILLION, (int)digits, fraction);
}

/* NAME{set="…",labels,le="…"} */
static void begin_sample(struct eg_buffer *buffer, const char *name, const char *suffix, const char *set,
                         const char *labels, bool le)
{
    const char *comma = "";
    eg_buffer_add_string(buffer, name);
    eg_buffer_add_string(buffer, suffix);
    if (!set && !labels[0] && !le)
        return;
    eg_buffer_add_string(buffer, "{");
    if (set) {
        eg_buffer_add_format(buffer, "set=\"%s\"", set);
        comma = ",";
    }
    if (labels[0]) {
        eg_buffer_add_format(buffer, "%s%s", comma, labels);
        comma = ",";
    }
    eg_buffer_add_string(buffer, le ? comma : "}");
}

static void render_number(struct eg_buffer *buffer, const struct row *family, const struct row *sample,
                          struct span span, const char *set)
{
    int64_t value = sum(span, sample->metric);
    if (value == EG_METRIC_ABSENT) /* or there is no block at all */
        return;
    begin_sample(buffer, family->name, "", set, sample->labels, false);
    eg_buffer_add_string(buffer, " ");
    add_value(buffer, family->unit, value);
    eg_buffer_add_string(buffer, "\n");
}

static void render_histogram(struct eg_buffer *buffer, const struct row *family, const struct row *sample,
                             struct span span, const char *set)
{
    const uint64_t *bounds;
    size_t bound_count = bounds_of(sample->metric, &bounds);
    int64_t total = 0;
    for (size_t i = 0; i <= bound_count && span.first; i++) {
        total += sum(span, sample->metric + (enum eg_metric)i);
        begin_sample(buffer, family->name, "_bucket", set, sample->labels, true);
        eg_buffer_add_string(buffer, "le=\"");
        if (i < bound_count)
            add_value(buffer, family->unit, (int64_t)bounds[i]);
        else
            eg_buffer_add_string(buffer, "+Inf");
        eg_buffer_add_format(buffer, "\"} %" PRId64 "\n", total);
    }
    if (!span.first)
        return;
    begin_sample(buffer, family->name, "_sum", set, sample->labels, false);
    eg_buffer_add_string(buffer, " ");
    add_value(buffer, family->unit, sum(span, sample->metric + (enum eg_metric)(EG_HISTOGRAM_NUMBERS - 1)));
    eg_buffer_add_string(buffer, "\n");
    begin_sample(buffer, family->name, "_count", set, sample->labels, false);
    eg_buffer_add_format(buffer, " %" PRId64 "\n", total);
}

static void render_sample(struct eg_buffer *buffer, const struct row *family, const struct row *sample)
{
    void (*render)(struct eg_buffer *, const struct row *, const struct row *, struct span, const char *) =
        family->kind == HISTOGRAM ? render_histogram : render_number;
    if (family->scope == PROCESS) {
        render(buffer, family, sample, everything(), NULL);
        return;
    }
    const struct eg_metrics *block = LIST_FIRST(&blocks);
    while (block) {
        struct span span = {block, LIST_NEXT(block, entry)};
        if (block->set) {
            span = of_set(block);
            render(buffer, family, sample, span, block->set);
        }
        block = span.end;
    }
}

void eg_metrics_render(struct eg_buffer *buffer)
{
    static const char *const types[] = {"counter", "gauge", "gauge", "histogram"};
    const struct row *family = table;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(table); i++) {
        if (!table[i].name) {
            render_sample(buffer, family, &table[i]);
            continue;
        }
        family = &table[i];
        eg_buffer_add_format(buffer, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help, family->name,
                             types[family->kind]);
    }
    pthread_mutex_unlock(&lock);
}

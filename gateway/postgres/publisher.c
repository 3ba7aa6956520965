/*
 * Publishing through one pipelined connection.
 *
 * Items wait in the order of their publications. A group is what shares a transaction, and a statement: the parameters
 * are the arrays of its channels and payloads. While none is under way, what is queued at the end of a turn is sent at
 * once; meanwhile items gather, and are the next group when that one is answered, or as soon as they fill one, with up
 * to GROUPS_MAX under way: so transactions are as large as the load asks for, and nobody waits for others. Sharing
 * changes nothing for an item: everything was checked beforehand, identical items (which PostgreSQL would fold into one
 * notification) never share a group, and when a group fails, each of its items is sent again alone.
 * A group is committed when its Sync is answered without an error before it: an error at commit comes before the Sync's
 * answer too.
 */
#include "eventgate/publisher.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/admission.h"
#include "eventgate/connection.h"
#include "eventgate/log.h"
#include "eventgate/pg_array.h"

#define GROUPS_MAX 4u
#define GROUP_ITEMS 64u
#define STATEMENT "publish"

/* One item of a publication. */
struct place {
    struct eg_publication *publication;
    size_t index;
};

struct group {
    struct place items[GROUP_ITEMS];
    size_t count;
    bool failed;
    struct eg_error error;
};

/* Items of failed groups, to be sent again one by one before all others. */
struct again {
    struct place *places;
    size_t first, count, capacity;
};

struct eg_publisher {
    const struct eg_config_set *set;
    struct eg_set_status *status;
    struct eg_metrics *metrics;
    struct eg_connection *connection;
    struct group groups[GROUPS_MAX]; /* a ring of those under way */
    size_t first_group, group_count;
    struct again again;
    struct eg_publication *first, **last; /* queued; the first one from next_index on */
    size_t next_index;
    size_t waiting; /* items in the queue */
    bool preparing; /* the answer that is due next is that to PREPARE */
    bool prepare_failed;
    bool heartbeat; /* an empty transaction is under way */
    struct eg_loop *loop;
    struct eg_deferred pump; /* what came in this turn is sent together at its end */
    bool pump_is_due;
    struct eg_buffer arrays; /* the parameters being sent */

    struct eg_admission admission; /* for any thread */
};

/* --- admission (any thread) ------------------------------------------------------------------------------------------
 */

int eg_publisher_admit(struct eg_publisher *publisher, size_t items, size_t bytes)
{
    return eg_admission_take(&publisher->admission, items, bytes);
}

void eg_publisher_release(struct eg_publisher *publisher, size_t items, size_t bytes)
{
    eg_admission_give_back(&publisher->admission, items, bytes);
}

/* --- outcomes --------------------------------------------------------------------------------------------------------
 */

static void finish_item(struct eg_publisher *publisher, struct place place, enum eg_outcome outcome,
                        const struct eg_error *error)
{
    static const enum eg_metric counters[] = {[EG_OUTCOME_COMMITTED] = EG_METRIC_PUBLISHED,
                                              [EG_OUTCOME_REFUSED] = EG_METRIC_PUBLISH_REFUSED,
                                              [EG_OUTCOME_UNAVAILABLE] = EG_METRIC_PUBLISH_UNAVAILABLE,
                                              [EG_OUTCOME_UNKNOWN] = EG_METRIC_PUBLISH_UNKNOWN};
    struct eg_publication *publication = place.publication;
    struct eg_publication_item *item = &publication->items[place.index];
    item->outcome = outcome;
    if (error && (item->error = malloc(sizeof(*error))))
        *item->error = *error;
    eg_metrics_add(publisher->metrics, counters[outcome], 1);
    eg_metrics_add(publisher->metrics, EG_METRIC_PUBLISH_QUEUED, -1);
    if (--publication->unfinished > 0)
        return;
    eg_publisher_release(publisher, publication->count, publication->bytes);
    publication->done(publication);
}

/* Insufficient resources, limits (a full NOTIFY queue is 54000), operator intervention: it isn't the item's fault. */
static bool is_passing(const struct eg_error *error)
{
    static const char *const classes[] = {"53", "54", "55", "57", "58", "25", "40"};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(classes); i++)
        if (strncmp(error->sqlstate, classes[i], 2) == 0)
            return true;
    return false;
}

static bool push_again(struct again *again, struct place place)
{
    if (again->first == again->count)
        again->first = again->count = 0;
    if (again->count == again->capacity) {
        size_t capacity = again->capacity ? 2 * again->capacity : GROUP_ITEMS;
        struct place *places = reallocarray(again->places, capacity, sizeof(*places));
        if (!places)
            return false;
        again->places = places;
        again->capacity = capacity;
    }
    again->places[again->count++] = place;
    return true;
}

/* Of one alone, whose it was: each of several is sent again. */
static void log_refused(const struct eg_publisher *publisher, const struct group *group)
{
    eg_log(EG_LOG_WARN, "PostgreSQL refuses to publish", EG_LOG_STR("set", publisher->set->name),
           EG_LOG_INT("items", group->count),
           EG_LOG_STR("request", group->count == 1 ? group->items[0].publication->request : NULL),
           EG_LOG_STR("sqlstate", group->error.sqlstate), EG_LOG_STR("error", eg_connection_loggable(&group->error)));
}

/* A transaction is over. */
static void finish_group(struct eg_publisher *publisher)
{
    struct group group = publisher->groups[publisher->first_group];
    publisher->first_group = (publisher->first_group + 1) % GROUPS_MAX;
    publisher->group_count--;
    if (group.failed)
        log_refused(publisher, &group);
    for (size_t i = 0; i < group.count; i++) {
        if (!group.failed)
            finish_item(publisher, group.items[i], EG_OUTCOME_COMMITTED, NULL);
        else if (group.count == 1 || !push_again(&publisher->again, group.items[i]))
            finish_item(publisher, group.items[i],
                        is_passing(&group.error) ? EG_OUTCOME_UNAVAILABLE : EG_OUTCOME_REFUSED, &group.error);
    }
    if (!group.failed)
        eg_metrics_observe(publisher->metrics, EG_METRIC_PUBLISH_BATCH, group.count, 1);
}

/* --- sending ---------------------------------------------------------------------------------------------------------
 */

static const struct eg_publication_item *item_at(struct place place)
{
    return &place.publication->items[place.index];
}

static bool same_bytes(struct eg_bytes a, struct eg_bytes b)
{
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static bool group_has(const struct group *group, struct place place)
{
    const struct eg_publication_item *item = item_at(place);
    for (size_t i = 0; i < group->count; i++) {
        const struct eg_publication_item *other = item_at(group->items[i]);
        if (same_bytes(other->payload, item->payload) && same_bytes(other->channel, item->channel))
            return true;
    }
    return false;
}

/* The queue's next item, without taking it. */
static bool peek(const struct eg_publisher *publisher, struct place *ret_place)
{
    if (!publisher->first)
        return false;
    *ret_place = (struct place){publisher->first, publisher->next_index};
    return true;
}

static void skip(struct eg_publisher *publisher)
{
    struct eg_publication *publication = publisher->first;
    publisher->waiting--;
    if (++publisher->next_index < publication->count)
        return;
    publisher->next_index = 0;
    publisher->first = publication->next;
    if (!publisher->first)
        publisher->last = &publisher->first;
}

static void gather(struct eg_publisher *publisher, struct group *group)
{
    struct place place;
    group->count = 0;
    group->failed = false;
    if (publisher->again.first < publisher->again.count) {
        group->items[group->count++] = publisher->again.places[publisher->again.first++];
        return;
    }
    while (group->count < GROUP_ITEMS && peek(publisher, &place) && !group_has(group, place)) {
        group->items[group->count++] = place;
        skip(publisher);
    }
}

/* Adds one member of each of the group's items as a text[]. */
static void add_array(struct eg_buffer *buffer, const struct group *group,
                      struct eg_bytes (*member)(struct place place))
{
    eg_pg_array_begin(buffer, EG_PG_TEXT, group->count);
    for (size_t i = 0; i < group->count; i++)
        eg_pg_array_add(buffer, member(group->items[i]));
}

static struct eg_bytes channel_of(struct place place)
{
    return item_at(place)->channel;
}

static struct eg_bytes payload_of(struct place place)
{
    return item_at(place)->payload;
}

/* One statement for the whole group. False: out of memory; nothing was sent. */
static bool send_group(struct eg_publisher *publisher, const struct group *group)
{
    struct eg_buffer *arrays = &publisher->arrays;
    eg_buffer_clear(arrays);
    add_array(arrays, group, channel_of);
    size_t channels = arrays->length;
    add_array(arrays, group, payload_of);
    if (arrays->failed)
        return false;
    eg_connection_send(
        publisher->connection, STATEMENT,
        (struct eg_bytes[]){{arrays->data, channels}, {arrays->data + channels, arrays->length - channels}}, 2);
    return true;
}

static bool is_time(const struct eg_publisher *publisher)
{
    bool again = publisher->again.first < publisher->again.count;
    if (publisher->group_count == 0)
        return again || publisher->first;
    return publisher->group_count < GROUPS_MAX && (again || publisher->waiting >= GROUP_ITEMS);
}

/* Sends as long as it is time for another transaction. A loss on the way empties the queue, and ends it. */
static void pump(struct eg_deferred *deferred)
{
    struct eg_publisher *publisher = EG_CONTAINER_OF(deferred, struct eg_publisher, pump);
    publisher->pump_is_due = false;
    while (atomic_load(&publisher->admission.up) && is_time(publisher)) {
        struct group *group = &publisher->groups[(publisher->first_group + publisher->group_count++) % GROUPS_MAX];
        gather(publisher, group);
        if (!send_group(publisher, group))
            eg_connection_fail(publisher->connection, "out of memory while publishing");
        else if (atomic_load(&publisher->admission.up))
            eg_connection_sync(publisher->connection);
    }
    eg_connection_flush(publisher->connection);
}

static void pump_later(struct eg_publisher *publisher)
{
    if (publisher->pump_is_due)
        return;
    publisher->pump_is_due = true;
    eg_loop_defer(publisher->loop, &publisher->pump);
}

void eg_publisher_submit(struct eg_publisher *publisher, struct eg_publication *publication)
{
    publication->next = NULL;
    publication->unfinished = (uint32_t)publication->count;
    eg_metrics_add(publisher->metrics, EG_METRIC_PUBLISH_QUEUED, (int64_t)publication->count);
    if (!atomic_load(&publisher->admission.up)) {
        size_t count = publication->count; /* the last one may free it */
        for (size_t i = 0; i < count; i++)
            finish_item(publisher, (struct place){publication, i}, EG_OUTCOME_UNAVAILABLE, NULL);
        return;
    }
    *publisher->last = publication;
    publisher->last = &publication->next;
    publisher->waiting += publication->count;
    pump_later(publisher);
}

/* --- the connection's hooks ------------------------------------------------------------------------------------------
 */

static void ready(void *context)
{
    struct eg_publisher *publisher = context;
    publisher->preparing = true;
    publisher->prepare_failed = false;
    publisher->heartbeat = false;
    eg_connection_prepare(publisher->connection, STATEMENT,
                          "SELECT pg_catalog.count(pg_catalog.pg_notify(channel, payload)) FROM ROWS FROM "
                          "(pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) "
                          "AS items (channel, payload)",
                          2);
    eg_connection_sync(publisher->connection);
    eg_connection_flush(publisher->connection);
}

static void prepared(struct eg_publisher *publisher)
{
    publisher->preparing = false;
    if (publisher->prepare_failed) {
        eg_connection_fail(publisher->connection, "PostgreSQL refuses to prepare the publishing statement");
        return;
    }
    eg_connection_settle(publisher->connection);
    atomic_store(&publisher->admission.up, true);
    eg_metrics_set(publisher->metrics, EG_METRIC_PG_UP_PUBLISH, 1);
    eg_metrics_add(publisher->metrics, EG_METRIC_PG_SESSIONS_PUBLISH, 1);
    eg_set_status_set_publisher(publisher->status, true, "READY");
}

static void result(void *context, const struct eg_result *result)
{
    struct eg_publisher *publisher = context;
    if (publisher->preparing) {
        if (result->kind == EG_RESULT_SYNC)
            prepared(publisher);
        else if (result->kind == EG_RESULT_ERROR)
            publisher->prepare_failed = true;
        return;
    }
    if (publisher->heartbeat) { /* sent when nothing was under way, so it is answered first */
        publisher->heartbeat = result->kind != EG_RESULT_SYNC;
        return;
    }
    struct group *group = &publisher->groups[publisher->first_group];
    if (result->kind == EG_RESULT_ERROR) {
        group->failed = true;
        group->error = *result->error;
    } else if (result->kind == EG_RESULT_SYNC) {
        finish_group(publisher);
        pump_later(publisher);
    }
}

/* An empty transaction: a Sync and its answer. */
static void idle(void *context)
{
    struct eg_publisher *publisher = context;
    publisher->heartbeat = true;
    eg_connection_sync(publisher->connection);
    eg_connection_flush(publisher->connection);
}

/* What was sent may have been committed; what wasn't was not. */
static void end_all(struct eg_publisher *publisher)
{
    struct place place;
    atomic_store(&publisher->admission.up, false);
    while (publisher->group_count > 0) {
        struct group group = publisher->groups[publisher->first_group];
        publisher->first_group = (publisher->first_group + 1) % GROUPS_MAX;
        publisher->group_count--;
        for (size_t i = 0; i < group.count; i++)
            finish_item(publisher, group.items[i], EG_OUTCOME_UNKNOWN, NULL);
    }
    while (publisher->again.first < publisher->again.count)
        finish_item(publisher, publisher->again.places[publisher->again.first++], EG_OUTCOME_UNAVAILABLE, NULL);
    while (peek(publisher, &place)) {
        skip(publisher);
        finish_item(publisher, place, EG_OUTCOME_UNAVAILABLE, NULL);
    }
}

static void lost(void *context)
{
    struct eg_publisher *publisher = context;
    eg_metrics_set(publisher->metrics, EG_METRIC_PG_UP_PUBLISH, 0);
    end_all(publisher);
}

static void state(void *context, const char *name, const char *problem)
{
    struct eg_publisher *publisher = context;
    if (problem && strcmp(name, "WAITING") == 0)
        eg_metrics_add(publisher->metrics, EG_METRIC_PG_FAILURES_PUBLISH, 1);
    eg_set_status_set_publisher(publisher->status, false, strcmp(name, "READY") == 0 ? "PREPARING" : name);
}

static void ignore_notification(void *context, const char *channel, const char *payload)
{
    (void)context, (void)channel, (void)payload;
}

static void ignore(void *context)
{
    (void)context;
}

/* --- making and freeing ----------------------------------------------------------------------------------------------
 */

void eg_publisher_bound(struct eg_publisher *publisher, const struct eg_config_set *set)
{
    eg_admission_bound(&publisher->admission, set);
    eg_metrics_set(publisher->metrics, EG_METRIC_PUBLISH_QUEUE_LIMIT, set->publish_queue);
}

struct eg_publisher *eg_publisher_new(struct eg_loop *loop, const struct eg_config_set *set,
                                      struct eg_set_status *status, struct eg_metrics *metrics)
{
    struct eg_publisher *publisher = calloc(1, sizeof(*publisher));
    if (!publisher)
        return NULL;
    const struct eg_connection_hooks hooks = {publisher, ready, ignore_notification, NULL, result, ignore, idle, lost,
                                              state,     NULL};
    publisher->set = set;
    publisher->status = status;
    publisher->metrics = metrics;
    publisher->last = &publisher->first;
    publisher->loop = loop;
    publisher->pump.run = pump;
    eg_metrics_set(metrics, EG_METRIC_PG_UP_PUBLISH, 0);
    eg_publisher_bound(publisher, set);
    publisher->connection = eg_connection_new(loop, set, "publish", &hooks);
    if (publisher->connection)
        return publisher;
    free(publisher);
    return NULL;
}

void eg_publisher_free(struct eg_publisher *publisher)
{
    if (!publisher)
        return;
    end_all(publisher);
    eg_connection_free(publisher->connection);
    eg_loop_undefer(publisher->loop, &publisher->pump);
    free(publisher->again.places);
    eg_buffer_done(&publisher->arrays);
    free(publisher);
}

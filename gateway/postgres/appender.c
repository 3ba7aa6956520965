/*
 * Appending through one pipelined connection.
 *
 * Units wait in the order of their publications. A group of them shares a transaction. While none is under way, what is
 * queued at the end of a turn is sent at once; meanwhile units gather, and are the next group when that one is
 * answered, or as soon as they fill one: so transactions are as large as the load asks for, and nobody waits for
 * others.
 *
 * A group that fails for a reason that passes (a lock, a deadlock, a timeout) is sent again, a few times; otherwise
 * each of its units is sent again alone, so that none fails for another one's sake. A group is committed when its Sync
 * is answered without an error before it; only then do its items know their positions.
 */
#include "eventgate/appender.h"

#include <stdlib.h>
#include <string.h>

#include "eventgate/admission.h"
#include "eventgate/append_group.h"
#include "eventgate/connection.h"
#include "eventgate/log.h"
#include "eventgate/log_query.h"

#define GROUPS_MAX 2u
#define TRIES_MAX 3u /* of a group that fails for a reason that passes */

/* Units of failed groups, to be sent again one by one before all others. */
struct again {
    struct eg_append_unit *units;
    size_t first, count, capacity;
};

enum step { NONE, ATTACHING, PREPARING, LIVE };

struct eg_appender {
    const struct eg_config_set *set;
    struct eg_set_status *status;
    struct eg_metrics *metrics;
    struct eg_loop *loop;
    struct eg_connection *connection;
    struct eg_log_reader *reader; /* or NULL */
    struct eg_buffer settings;
    enum step step;
    bool step_failed;
    struct eg_error error; /* of the step */
    bool heartbeat;        /* an empty transaction is under way */
    char tag[EG_CURSOR_TAG_MAX + 1], mark[EG_LOG_MARK_SIZE];
    struct eg_append_group groups[GROUPS_MAX]; /* a ring of those under way */
    size_t first_group, group_count;
    struct again again;
    struct eg_publication *first, **last; /* queued; the first one from next_index on */
    size_t next_index;
    size_t waiting; /* items in the queue */
    struct eg_deferred pump;
    bool pump_is_due;
    struct eg_buffer arrays;       /* the parameters being sent */
    struct eg_admission admission; /* for any thread */
};

/* --- admission (any thread) ----------------------------------------------------------------------------------------
 */

int eg_appender_admit(struct eg_appender *appender, size_t items, size_t bytes)
{
    return eg_admission_take(&appender->admission, items, bytes);
}

void eg_appender_release(struct eg_appender *appender, size_t items, size_t bytes)
{
    eg_admission_give_back(&appender->admission, items, bytes);
}

/* --- outcomes ------------------------------------------------------------------------------------------------------
 */

static void count_outcome(const struct eg_appender *appender, enum eg_outcome outcome)
{
    static const enum eg_metric counters[] = {
        [EG_OUTCOME_COMMITTED] = EG_METRIC_APPENDED,       [EG_OUTCOME_REPLAYED] = EG_METRIC_APPEND_REPLAYED,
        [EG_OUTCOME_CONFLICT] = EG_METRIC_APPEND_CONFLICT, [EG_OUTCOME_WITHHELD] = EG_METRIC_APPEND_WITHHELD,
        [EG_OUTCOME_REFUSED] = EG_METRIC_APPEND_REFUSED,   [EG_OUTCOME_UNAVAILABLE] = EG_METRIC_APPEND_UNAVAILABLE,
        [EG_OUTCOME_UNKNOWN] = EG_METRIC_APPEND_UNKNOWN};
    eg_metrics_add(appender->metrics, counters[outcome], 1);
    eg_metrics_add(appender->metrics, EG_METRIC_APPEND_QUEUED, -1);
}

/* PENDING: each item has its own outcome already. */
static void finish_unit(struct eg_appender *appender, struct eg_append_unit unit, enum eg_outcome outcome,
                        const struct eg_error *error)
{
    struct eg_publication *publication = unit.publication;
    for (size_t i = unit.first; i < unit.first + unit.count; i++) {
        struct eg_publication_item *item = &publication->items[i];
        if (outcome != EG_OUTCOME_PENDING)
            item->outcome = outcome;
        if (error && (item->error = malloc(sizeof(*error))))
            *item->error = *error;
        count_outcome(appender, item->outcome);
    }
    publication->unfinished -= (uint32_t)unit.count;
    if (publication->unfinished > 0)
        return;
    memcpy(publication->tag, appender->tag, sizeof(publication->tag));
    eg_appender_release(appender, publication->count, publication->bytes);
    publication->done(publication);
}

static bool has_class(const struct eg_error *error, const char *const *classes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strncmp(error->sqlstate, classes[i], strlen(classes[i])) == 0)
            return true;
    return false;
}

/* The same may well succeed in a moment: a lock not to be had, a serialization failure, a deadlock, a timeout. */
static bool passes_soon(const struct eg_error *error)
{
    static const char *const states[] = {"55P03", "40001", "40P01", "57014"};
    return has_class(error, states, EG_ARRAY_LENGTH(states));
}

/* Insufficient resources, limits of the server (a full NOTIFY queue is 54000, too), operator intervention, a missing
 * right or schema: it isn't the item's fault. */
static bool is_passing(const struct eg_error *error)
{
    static const char *const classes[] = {"53", "54", "55", "57", "58", "25", "40", "42", "3F", "XX"};
    bool too_large = strncmp(error->sentence, "The data has ", strlen("The data has ")) == 0;
    return has_class(error, classes, EG_ARRAY_LENGTH(classes)) && !too_large;
}

static bool push_again(struct again *again, struct eg_append_unit unit)
{
    if (again->first == again->count)
        again->first = again->count = 0;
    if (again->count == again->capacity) {
        size_t capacity = again->capacity ? 2 * again->capacity : EG_APPEND_ITEMS;
        struct eg_append_unit *units = reallocarray(again->units, capacity, sizeof(*units));
        if (!units)
            return false;
        again->units = units;
        again->capacity = capacity;
    }
    again->units[again->count++] = unit;
    return true;
}

/* --- sending -------------------------------------------------------------------------------------------------------
 */

/* The queue's next unit, without taking it. */
static bool peek(const struct eg_appender *appender, struct eg_append_unit *ret_unit)
{
    struct eg_publication *publication = appender->first;
    if (!publication)
        return false;
    *ret_unit = (struct eg_append_unit){publication, appender->next_index, publication->whole ? publication->count : 1};
    return true;
}

static void skip(struct eg_appender *appender, size_t count)
{
    struct eg_publication *publication = appender->first;
    appender->waiting -= count;
    appender->next_index += count;
    if (appender->next_index < publication->count)
        return;
    appender->next_index = 0;
    appender->first = publication->next;
    if (!appender->first)
        appender->last = &appender->first;
}

static void gather(struct eg_appender *appender, struct eg_append_group *group)
{
    struct eg_append_unit unit;
    eg_append_group_init(group);
    if (appender->again.first < appender->again.count) {
        eg_append_group_add(group, appender->again.units[appender->again.first++]);
        return;
    }
    while (peek(appender, &unit) && eg_append_group_fits(group, unit)) {
        eg_append_group_add(group, unit);
        skip(appender, unit.count);
    }
}

static void send_group(struct eg_appender *appender, struct eg_append_group *group)
{
    if (eg_append_group_send(group, appender->connection, &appender->arrays) != 0)
        eg_connection_fail(appender->connection, "out of memory while publishing");
    else
        eg_connection_sync(appender->connection);
}

static bool is_time(const struct eg_appender *appender)
{
    bool again = appender->again.first < appender->again.count;
    if (appender->group_count == 0)
        return again || appender->first;
    return appender->group_count < GROUPS_MAX && (again || appender->waiting >= EG_APPEND_ITEMS);
}

/* Sends as long as it is time for another transaction. A loss on the way empties the queue, and ends it. */
static void pump(struct eg_deferred *deferred)
{
    struct eg_appender *appender = EG_CONTAINER_OF(deferred, struct eg_appender, pump);
    appender->pump_is_due = false;
    while (appender->step == LIVE && is_time(appender)) {
        struct eg_append_group *group =
            &appender->groups[(appender->first_group + appender->group_count++) % GROUPS_MAX];
        gather(appender, group);
        send_group(appender, group);
    }
    eg_connection_flush(appender->connection);
}

static void pump_later(struct eg_appender *appender)
{
    if (appender->pump_is_due)
        return;
    appender->pump_is_due = true;
    eg_loop_defer(appender->loop, &appender->pump);
}

void eg_appender_submit(struct eg_appender *appender, struct eg_publication *publication)
{
    publication->next = NULL;
    publication->unfinished = (uint32_t)publication->count;
    eg_metrics_add(appender->metrics, EG_METRIC_APPEND_QUEUED, (int64_t)publication->count);
    if (appender->step != LIVE || publication->count == 0) {
        finish_unit(appender, (struct eg_append_unit){publication, 0, publication->count}, EG_OUTCOME_UNAVAILABLE,
                    NULL);
        return;
    }
    *appender->last = publication;
    appender->last = &publication->next;
    appender->waiting += publication->count;
    pump_later(appender);
}

bool eg_appender_is_busy(const struct eg_appender *appender)
{
    return appender->group_count > 0 || appender->first || appender->again.first < appender->again.count;
}

/* --- a group's answer ----------------------------------------------------------------------------------------------
 */

/* It has left the ring, so there is room for it at the end. */
static void send_anew(struct eg_appender *appender, const struct eg_append_group *group)
{
    struct eg_append_group *last = &appender->groups[(appender->first_group + appender->group_count++) % GROUPS_MAX];
    *last = *group;
    last->tries++;
    send_group(appender, last);
    eg_connection_flush(appender->connection);
}

static void fail_group(struct eg_appender *appender, struct eg_append_group *group)
{
    bool soon = passes_soon(&group->error);
    bool alone = group->unit_count == 1;
    eg_log(EG_LOG_WARN, "PostgreSQL refuses to append", EG_LOG_STR("set", appender->set->name),
           EG_LOG_INT("items", group->item_count), EG_LOG_INT("tries", group->tries + 1),
           EG_LOG_STR("request", group->unit_count == 1 ? group->units[0].publication->request : NULL),
           EG_LOG_STR("sqlstate", group->error.sqlstate), EG_LOG_STR("error", eg_connection_loggable(&group->error)));
    eg_append_group_forget(group);
    if (soon && group->tries + 1 < TRIES_MAX) {
        send_anew(appender, group);
        return;
    }
    for (size_t i = 0; i < group->unit_count; i++)
        if (soon || alone || !push_again(&appender->again, group->units[i]))
            finish_unit(appender, group->units[i],
                        is_passing(&group->error) ? EG_OUTCOME_UNAVAILABLE : EG_OUTCOME_REFUSED, &group->error);
}

/* A transaction is over. Who waits for it is told before the next one goes out, whose work in PostgreSQL may well take
 * the processor from this thread; the subscribers first, so that an answer's id can be read at once. */
static void finish_group(struct eg_appender *appender)
{
    struct eg_append_group group = appender->groups[appender->first_group];
    if (!group.failed && group.answered < group.item_count) {
        eg_connection_fail(appender->connection, "eventgate.append() has not answered for every item");
        return;
    }
    appender->first_group = (appender->first_group + 1) % GROUPS_MAX;
    appender->group_count--;
    if (group.failed) {
        fail_group(appender, &group);
        return;
    }
    eg_metrics_observe(appender->metrics, EG_METRIC_APPEND_BATCH, group.item_count, 1);
    if (appender->reader)
        eg_append_group_feed(&group, appender->reader);
    for (size_t i = 0; i < group.unit_count; i++)
        finish_unit(appender, group.units[i], EG_OUTCOME_PENDING, NULL);
}

/* --- the connection's hooks ----------------------------------------------------------------------------------------
 */

static void ready(void *context)
{
    struct eg_appender *appender = context;
    appender->heartbeat = appender->step_failed = false;
    appender->tag[0] = '\0';
    appender->step = ATTACHING;
    eg_log_send_attach(appender->connection, 0);
    eg_connection_sync(appender->connection);
    eg_connection_flush(appender->connection);
}

static void prepare(struct eg_appender *appender)
{
    appender->step = PREPARING;
    eg_append_prepare(appender->connection);
    eg_connection_sync(appender->connection);
    eg_connection_flush(appender->connection);
}

/* An answer to one of the steps before it is up. */
static void take_step(struct eg_appender *appender, const struct eg_result *result)
{
    struct eg_log_attached attached;
    char problem[512];
    if (result->kind == EG_RESULT_ERROR) {
        appender->step_failed = true;
        appender->error = *result->error;
    } else if (result->kind == EG_RESULT_OK && result->rows && appender->step == ATTACHING) {
        if (eg_log_read_attached(result, &attached, &appender->error) == 0) {
            memcpy(appender->tag, attached.tag, sizeof(appender->tag));
            memcpy(appender->mark, attached.mark, sizeof(appender->mark));
            eg_log_jumps_unref(attached.jumps);
        } else {
            appender->step_failed = true;
        }
    } else if (result->kind == EG_RESULT_SYNC && (appender->step_failed || !appender->tag[0])) {
        eg_log_explain(&appender->error, problem, sizeof(problem));
        eg_connection_fail(appender->connection, problem);
    } else if (result->kind == EG_RESULT_SYNC && appender->step == ATTACHING) {
        prepare(appender);
    } else if (result->kind == EG_RESULT_SYNC) {
        appender->step = LIVE;
        eg_connection_settle(appender->connection);
        if (appender->reader && eg_connection_keeps_utf8(appender->connection))
            eg_log_reader_own_begin(appender->reader, eg_connection_session(appender->connection), appender->mark);
        atomic_store(&appender->admission.up, true);
        eg_metrics_set(appender->metrics, EG_METRIC_PG_UP_APPEND, 1);
        eg_metrics_add(appender->metrics, EG_METRIC_PG_SESSIONS_APPEND, 1);
        eg_set_status_set_appender(appender->status, true, "READY");
    }
}

static void result(void *context, const struct eg_result *result)
{
    struct eg_appender *appender = context;
    if (appender->step != LIVE) {
        take_step(appender, result);
        return;
    }
    if (appender->heartbeat) { /* sent when nothing was under way, so it is answered first */
        appender->heartbeat = result->kind != EG_RESULT_SYNC;
        return;
    }
    struct eg_append_group *group = &appender->groups[appender->first_group];
    if (result->kind == EG_RESULT_ERROR) {
        group->failed = true;
        group->error = *result->error;
    } else if (result->kind == EG_RESULT_SYNC) {
        finish_group(appender);
        pump_later(appender);
    } else if (result->rows) {
        eg_append_group_take(group, result);
    }
}

/* An empty transaction: a Sync and its answer. */
static void idle(void *context)
{
    struct eg_appender *appender = context;
    if (appender->step != LIVE)
        return;
    appender->heartbeat = true;
    eg_connection_sync(appender->connection);
    eg_connection_flush(appender->connection);
}

/* What was sent may have been committed; what wasn't was not. */
static void end_all(struct eg_appender *appender)
{
    struct eg_append_unit unit;
    atomic_store(&appender->admission.up, false);
    appender->step = NONE;
    while (appender->group_count > 0) {
        struct eg_append_group group = appender->groups[appender->first_group];
        appender->first_group = (appender->first_group + 1) % GROUPS_MAX;
        appender->group_count--;
        for (size_t i = 0; i < group.unit_count; i++)
            finish_unit(appender, group.units[i], EG_OUTCOME_UNKNOWN, NULL);
    }
    while (appender->again.first < appender->again.count)
        finish_unit(appender, appender->again.units[appender->again.first++], EG_OUTCOME_UNAVAILABLE, NULL);
    while (peek(appender, &unit)) {
        skip(appender, unit.count);
        finish_unit(appender, unit, EG_OUTCOME_UNAVAILABLE, NULL);
    }
}

static void lost(void *context)
{
    struct eg_appender *appender = context;
    eg_metrics_set(appender->metrics, EG_METRIC_PG_UP_APPEND, 0);
    if (appender->reader)
        eg_log_reader_own_lost(appender->reader);
    end_all(appender);
    eg_loop_again(appender->loop); /* it was busy, and somebody may count on that */
}

static void state(void *context, const char *name, const char *problem)
{
    struct eg_appender *appender = context;
    if (problem && strcmp(name, "WAITING") == 0)
        eg_metrics_add(appender->metrics, EG_METRIC_PG_FAILURES_APPEND, 1);
    eg_set_status_set_appender(appender->status, false, strcmp(name, "READY") == 0 ? "PREPARING" : name);
}

static void ignore_notification(void *context, const char *channel, const char *payload)
{
    (void)context, (void)channel, (void)payload;
}

static void ignore(void *context)
{
    (void)context;
}

/* --- making and freeing --------------------------------------------------------------------------------------------
 */

void eg_appender_bound(struct eg_appender *appender, const struct eg_config_set *set)
{
    eg_admission_bound(&appender->admission, set);
    eg_metrics_set(appender->metrics, EG_METRIC_APPEND_QUEUE_LIMIT, set->publish_queue);
}

struct eg_appender *eg_appender_new(struct eg_loop *loop, const struct eg_config_set *set, struct eg_set_status *status,
                                    struct eg_metrics *metrics)
{
    struct eg_appender *appender = calloc(1, sizeof(*appender));
    if (!appender)
        return NULL;
    appender->set = set;
    appender->status = status;
    appender->metrics = metrics;
    appender->last = &appender->first;
    appender->loop = loop;
    appender->pump.run = pump;
    eg_metrics_set(metrics, EG_METRIC_PG_UP_APPEND, 0);
    eg_appender_bound(appender, set);
    eg_log_settings(set, &appender->settings);
    const struct eg_connection_hooks hooks = {appender, ready, ignore_notification,    NULL, result, ignore, idle,
                                              lost,     state, appender->settings.data};
    if (!appender->settings.failed)
        appender->connection = eg_connection_new(loop, set, "append", &hooks);
    if (appender->connection)
        return appender;
    eg_appender_free(appender);
    return NULL;
}

void eg_appender_feed(struct eg_appender *appender, struct eg_log_reader *reader)
{
    appender->reader = reader;
}

void eg_appender_free(struct eg_appender *appender)
{
    if (!appender)
        return;
    end_all(appender);
    eg_connection_free(appender->connection);
    eg_loop_undefer(appender->loop, &appender->pump);
    free(appender->again.units);
    eg_buffer_done(&appender->arrays);
    eg_buffer_done(&appender->settings);
    free(appender);
}

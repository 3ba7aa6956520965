/*
 * Maintenance. A call does one piece of work at most, says which, and whether to call again at once; if not, the look
 * at the log follows it.
 */
#include "eventgate/log_keeper.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/connection.h"
#include "eventgate/log.h"
#include "eventgate/log_query.h"

#define EVERY_MS 5000u
/* When there is more to do: publishing goes first. */
#define AGAIN_MS 20u

/* Times are in µs since 1970. */
static const char situation_sql[] =
    "SELECT h.pos, (pg_catalog.date_part('epoch', h.\"time\") * 1000000)::pg_catalog.int8, "
    "o.pos, (pg_catalog.date_part('epoch', o.\"time\") * 1000000)::pg_catalog.int8, p.bytes, p.count "
    "FROM (SELECT pg_catalog.count(*) AS count, pg_catalog.sum(pg_catalog.pg_total_relation_size(i.inhrelid)) AS bytes "
    "FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = 'eventgate.log'::pg_catalog.regclass) AS p "
    "LEFT JOIN LATERAL (SELECT l.pos, l.\"time\" FROM eventgate.log AS l ORDER BY l.pos DESC LIMIT 1) AS h ON true "
    "LEFT JOIN LATERAL (SELECT l.pos, l.\"time\" FROM eventgate.log AS l ORDER BY l.pos LIMIT 1) AS o ON true";
enum column { HEAD, HEAD_TIME, OLDEST, OLDEST_TIME, BYTES, PARTITIONS, COLUMNS };

struct eg_log_keeper {
    struct eg_loop *loop;
    const struct eg_config_set *set;
    const struct eg_order *order;
    struct eg_metrics *metrics;
    struct eg_connection *connection;
    struct eg_buffer settings;
    struct eg_timer timer;
    bool again, failed;
    bool up;
    bool looking;         /* the query under way is the look at the log, not maintenance */
    int64_t caught_up_us; /* when the log's newest event was appended when that had been read; 0: it never had */
    struct eg_error error;
};

static void arm(struct eg_log_keeper *keeper, uint32_t in_ms)
{
    if (eg_timer_set(keeper->loop, &keeper->timer, eg_loop_now_ms(keeper->loop) + in_ms) != 0)
        eg_log(EG_LOG_ERROR, "no memory for a timer", EG_LOG_STR("set", keeper->set->name));
}

static void maintain(struct eg_log_keeper *keeper)
{
    keeper->again = keeper->failed = keeper->looking = false;
    eg_connection_query(keeper->connection, "SELECT m.action, m.subject, m.again FROM eventgate.maintain() AS m");
}

static void look(struct eg_log_keeper *keeper)
{
    keeper->looking = true;
    eg_connection_query(keeper->connection, situation_sql);
}

static void is_due(struct eg_timer *timer)
{
    struct eg_log_keeper *keeper = EG_CONTAINER_OF(timer, struct eg_log_keeper, timer);
    if (eg_connection_is_ready(keeper->connection))
        maintain(keeper);
}

static void ready(void *context)
{
    maintain(context);
}

static void notified(void *context, const char *channel, const char *payload)
{
    (void)context, (void)channel, (void)payload;
}

static void count_action(struct eg_log_keeper *keeper, const char *action)
{
    static const struct {
        const char *action;
        enum eg_metric metric;
    } actions[] = {{"made", EG_METRIC_LOG_MADE},
                   {"rotated", EG_METRIC_LOG_ROTATED},
                   {"dropped", EG_METRIC_LOG_DROPPED_PARTITIONS},
                   {"expired", EG_METRIC_LOG_EXPIRED},
                   {"tidied", EG_METRIC_LOG_TIDIED},
                   {"blocked", EG_METRIC_LOG_BLOCKED}};
    for (size_t i = 0; action && i < EG_ARRAY_LENGTH(actions); i++)
        if (strcmp(action, actions[i].action) == 0)
            eg_metrics_add(keeper->metrics, actions[i].metric, 1);
}

/* By how much what this gateway has read is older than the newest event. */
static int64_t lag_us(struct eg_log_keeper *keeper, int64_t head, int64_t head_us)
{
    const struct eg_order *order = keeper->order;
    if (head == EG_METRIC_ABSENT || order->position >= (uint64_t)head) {
        keeper->caught_up_us = head == EG_METRIC_ABSENT ? 0 : head_us;
        return 0;
    }
    int64_t read_us = order->appended_us > keeper->caught_up_us ? order->appended_us : keeper->caught_up_us;
    return read_us > 0 && read_us < head_us ? head_us - read_us : 0;
}

static void take_situation(struct eg_log_keeper *keeper, const struct eg_result *result)
{
    static const enum eg_metric metrics[COLUMNS] = {
        [HEAD] = EG_METRIC_LOG_HEAD,     [HEAD_TIME] = EG_METRIC_LOG_LAG, /* replaced below */
        [OLDEST] = EG_METRIC_LOG_OLDEST, [OLDEST_TIME] = EG_METRIC_LOG_OLDEST_TIME,
        [BYTES] = EG_METRIC_LOG_SIZE,    [PARTITIONS] = EG_METRIC_LOG_PARTITIONS,
    };
    int64_t values[COLUMNS];
    for (size_t i = 0; i < COLUMNS; i++) { /* NULL: the log is empty */
        const char *text = eg_result_bytes(result, 0, i).data;
        values[i] = text ? strtoll(text, NULL, 10) : EG_METRIC_ABSENT;
    }
    values[HEAD_TIME] = lag_us(keeper, values[HEAD], values[HEAD_TIME]);
    for (size_t i = 0; i < COLUMNS; i++)
        eg_metrics_set(keeper->metrics, metrics[i], values[i]);
}

static void result(void *context, const struct eg_result *result)
{
    struct eg_log_keeper *keeper = context;
    if (result->kind == EG_RESULT_ERROR) {
        keeper->failed = true;
        keeper->error = *result->error;
        return;
    }
    if (keeper->looking) {
        if (result->rows && eg_result_count(result) == 1)
            take_situation(keeper, result);
        return;
    }
    for (size_t row = 0; result->rows && row < eg_result_count(result); row++) {
        struct eg_bytes action = eg_result_bytes(result, row, 0), again = eg_result_bytes(result, row, 2);
        bool blocked = action.data && strcmp(action.data, "blocked") == 0;
        eg_log(blocked ? EG_LOG_DEBUG : EG_LOG_INFO, "maintained the log", EG_LOG_STR("set", keeper->set->name),
               EG_LOG_STR("action", action.data), EG_LOG_STR("subject", eg_result_bytes(result, row, 1).data));
        count_action(keeper, action.data);
        keeper->again = keeper->again || (again.length == 1 && again.data[0] == 't');
    }
}

static void maintained(struct eg_log_keeper *keeper)
{
    eg_metrics_set(keeper->metrics, EG_METRIC_LOG_MAINTAINED, eg_wall_us());
    if (!keeper->up) {
        eg_metrics_set(keeper->metrics, EG_METRIC_PG_UP_KEEP, 1);
        eg_metrics_add(keeper->metrics, EG_METRIC_PG_SESSIONS_KEEP, 1);
    }
    keeper->up = true;
    eg_connection_settle(keeper->connection);
    if (keeper->again)
        arm(keeper, AGAIN_MS);
    else
        look(keeper);
}

static void finished(void *context)
{
    struct eg_log_keeper *keeper = context;
    char problem[512];
    if (!keeper->failed && !keeper->looking) {
        maintained(keeper);
        return;
    }
    if (!keeper->failed) {
        arm(keeper, EVERY_MS);
        return;
    }
    /* A lock that isn't to be had, or more work than there was time for, is tried for again; all else is the
     * connection's problem. */
    if (strcmp(keeper->error.sqlstate, "55P03") == 0 || strcmp(keeper->error.sqlstate, "57014") == 0) {
        arm(keeper, EVERY_MS);
        return;
    }
    eg_log_explain(&keeper->error, problem, sizeof(problem));
    eg_connection_fail(keeper->connection, problem);
}

static void idle(void *context)
{
    (void)context; /* the next call is a heartbeat */
}

static void lost(void *context)
{
    struct eg_log_keeper *keeper = context;
    eg_timer_cancel(keeper->loop, &keeper->timer);
    keeper->up = false;
    eg_metrics_set(keeper->metrics, EG_METRIC_PG_UP_KEEP, 0);
}

static void state(void *context, const char *name, const char *problem)
{
    const struct eg_log_keeper *keeper = context;
    if (problem && strcmp(name, "WAITING") == 0)
        eg_metrics_add(keeper->metrics, EG_METRIC_PG_FAILURES_KEEP, 1);
}

struct eg_log_keeper *eg_log_keeper_new(struct eg_loop *loop, const struct eg_config_set *set,
                                        const struct eg_order *order, struct eg_metrics *metrics)
{
    struct eg_log_keeper *keeper = calloc(1, sizeof(*keeper));
    if (!keeper)
        return NULL;
    keeper->loop = loop;
    keeper->set = set;
    keeper->order = order;
    keeper->metrics = metrics;
    eg_metrics_set(metrics, EG_METRIC_PG_UP_KEEP, 0);
    keeper->timer.fire = is_due;
    eg_log_settings(set, &keeper->settings);
    const struct eg_connection_hooks hooks = {keeper,   ready, notified, NULL,  result,
                                              finished, idle,  lost,     state, keeper->settings.data};
    if (!keeper->settings.failed)
        keeper->connection = eg_connection_new(loop, set, "keep", &hooks);
    if (keeper->connection)
        return keeper;
    eg_log_keeper_free(keeper);
    return NULL;
}

void eg_log_keeper_free(struct eg_log_keeper *keeper)
{
    if (!keeper)
        return;
    eg_connection_free(keeper->connection);
    eg_timer_cancel(keeper->loop, &keeper->timer);
    eg_buffer_done(&keeper->settings);
    free(keeper);
}

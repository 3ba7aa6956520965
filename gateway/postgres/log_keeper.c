/*
 * Maintenance. A call does one piece of work at most, says which, and whether to call again at once.
 */
#include "eventgate/log_keeper.h"

#include <stdlib.h>
#include <string.h>

#include "eventgate/connection.h"
#include "eventgate/log.h"
#include "eventgate/log_query.h"

#define EVERY_MS 5000u
/* When there is more to do: publishing goes first. */
#define AGAIN_MS 20u

struct eg_log_keeper {
    struct eg_loop *loop;
    const struct eg_config_set *set;
    struct eg_metrics *metrics;
    struct eg_connection *connection;
    struct eg_buffer settings;
    struct eg_timer timer;
    bool again, failed;
    struct eg_error error;
};

static void arm(struct eg_log_keeper *keeper, uint32_t in_ms)
{
    if (eg_timer_set(keeper->loop, &keeper->timer, eg_loop_now_ms(keeper->loop) + in_ms) != 0)
        eg_log(EG_LOG_ERROR, "no memory for a timer", EG_LOG_STR("set", keeper->set->name));
}

static void maintain(struct eg_log_keeper *keeper)
{
    keeper->again = keeper->failed = false;
    eg_connection_query(keeper->connection, "SELECT m.action, m.subject, m.again FROM eventgate.maintain() AS m");
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

static void result(void *context, const struct eg_result *result)
{
    struct eg_log_keeper *keeper = context;
    if (result->kind == EG_RESULT_ERROR) {
        keeper->failed = true;
        keeper->error = *result->error;
        return;
    }
    for (size_t row = 0; result->rows && row < eg_result_count(result); row++) {
        struct eg_bytes action = eg_result_bytes(result, row, 0), again = eg_result_bytes(result, row, 2);
        bool blocked = action.data && strcmp(action.data, "blocked") == 0;
        eg_log(blocked ? EG_LOG_DEBUG : EG_LOG_INFO, "maintained the log", EG_LOG_STR("set", keeper->set->name),
               EG_LOG_STR("action", action.data), EG_LOG_STR("subject", eg_result_bytes(result, row, 1).data));
        keeper->again = keeper->again || (again.length == 1 && again.data[0] == 't');
    }
}

static void finished(void *context)
{
    struct eg_log_keeper *keeper = context;
    char problem[512];
    if (!keeper->failed) {
        eg_metrics_add(keeper->metrics, EG_METRIC_LOG_MAINTAINED, 1);
        eg_connection_settle(keeper->connection);
        arm(keeper, keeper->again ? AGAIN_MS : EVERY_MS);
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
}

static void state(void *context, const char *name, const char *problem)
{
    const struct eg_log_keeper *keeper = context;
    if (problem && strcmp(name, "WAITING") == 0)
        eg_metrics_add(keeper->metrics, EG_METRIC_PG_FAILURES, 1);
}

struct eg_log_keeper *eg_log_keeper_new(struct eg_loop *loop, const struct eg_config_set *set,
                                        struct eg_metrics *metrics)
{
    struct eg_log_keeper *keeper = calloc(1, sizeof(*keeper));
    if (!keeper)
        return NULL;
    keeper->loop = loop;
    keeper->set = set;
    keeper->metrics = metrics;
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

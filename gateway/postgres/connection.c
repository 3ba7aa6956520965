/*
 * A libpq connection that is kept up.
 *
 *     WAITING --due--> CONNECTING --connected--> CHECKING --checked--> READY
 *        ^                 | failed                 | failed             | failed
 *        +-----------------+------------------------+--------------------+
 *
 * The table below is that picture; change_state() is the only function that moves along it. A deadline runs whenever an
 * answer is due, a heartbeat timer when none is. libpq calls that send never block: the connection is in non-blocking
 * mode, and what the socket doesn't take waits for EPOLLOUT.
 */
#include "eventgate/connection.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/backoff.h"
#include "eventgate/connection_attempt.h"
#include "eventgate/log.h"

#define MINIMUM_VERSION 140000
/* A failure that goes on is logged again only this often. */
#define REPEAT_LOG_MS 60000u

enum state { WAITING, CONNECTING, CHECKING, READY, STATE_COUNT };
enum event { DUE, CONNECTED, CHECKED, FAILED, EVENT_COUNT };

static const char *const state_names[STATE_COUNT] = {"WAITING", "CONNECTING", "CHECKING", "READY"};
static const char *const event_names[EVENT_COUNT] = {"due", "connected", "checked", "failed"};

enum { NOWHERE = -1 };
static const int transitions[STATE_COUNT][EVENT_COUNT] = {
    /*              due         connected  checked  failed */
    [WAITING] = {CONNECTING, NOWHERE, NOWHERE, NOWHERE},
    [CONNECTING] = {NOWHERE, CHECKING, NOWHERE, WAITING},
    [CHECKING] = {NOWHERE, NOWHERE, READY, WAITING},
    [READY] = {NOWHERE, NOWHERE, NOWHERE, WAITING},
};

struct eg_connection {
    struct eg_loop *loop;
    const struct eg_config_set *set;
    const char *purpose;
    struct eg_connection_hooks hooks;
    enum state state;
    struct eg_attempt *attempt; /* while CONNECTING */
    struct eg_watch attempt_watch;
    PGconn *conn; /* from CHECKING on */
    int fd;
    struct eg_watch watch;
    uint32_t watched;
    struct eg_timer timer; /* WAITING: back-off; else the deadline or the heartbeat */
    struct eg_backoff backoff;
    int notifier; /* the session whose notification is being passed on */
    uint32_t due; /* answers: 1 for a plain command, or the syncs under way */
    bool pipelining;
    char problem[256]; /* the last failure, as it was logged; "" once settled */
    uint64_t logged_ms;
};

static void fail(struct eg_connection *connection, const char *problem);

/* --- the state ------------------------------------------------------------------------------------------------------
 */

static void change_state(struct eg_connection *connection, enum event event)
{
    int next = transitions[connection->state][event];
    if (next == NOWHERE) {
        eg_log(EG_LOG_ERROR, "impossible transition", EG_LOG_STR("set", connection->set->name),
               EG_LOG_STR("state", state_names[connection->state]), EG_LOG_STR("event", event_names[event]));
        eg_log_stop(); /* the line is to be seen */
        abort();       /* a bug of ours */
    }
    eg_log(EG_LOG_DEBUG, "connection state", EG_LOG_STR("set", connection->set->name),
           EG_LOG_STR("purpose", connection->purpose), EG_LOG_STR("from", state_names[connection->state]),
           EG_LOG_STR("to", state_names[next]), EG_LOG_STR("event", event_names[event]));
    connection->state = (enum state)next;
    connection->hooks.state(connection->hooks.context, state_names[next],
                            connection->problem[0] ? connection->problem : NULL);
}

bool eg_connection_is_ready(const struct eg_connection *connection)
{
    return connection->state == READY;
}

int eg_connection_session(const struct eg_connection *connection)
{
    return connection->conn ? PQbackendPID(connection->conn) : 0;
}

int eg_connection_notifier(const struct eg_connection *connection)
{
    return connection->notifier;
}

bool eg_connection_keeps_utf8(const struct eg_connection *connection)
{
    const char *encoding = connection->conn ? PQparameterStatus(connection->conn, "server_encoding") : NULL;
    return encoding && strcmp(encoding, "UTF8") == 0;
}

void eg_connection_settle(struct eg_connection *connection)
{
    eg_backoff_reset(&connection->backoff);
    connection->problem[0] = '\0';
}

static void set_timer(struct eg_connection *connection, uint32_t in_ms)
{
    if (eg_timer_set(connection->loop, &connection->timer, eg_loop_now_ms(connection->loop) + in_ms) != 0)
        eg_log(EG_LOG_ERROR, "no memory for a timer", EG_LOG_STR("set", connection->set->name));
}

/* The deadline of what is under way, else the next heartbeat. */
static void arm(struct eg_connection *connection)
{
    set_timer(connection, connection->due > 0 ? connection->set->query_timeout_ms : connection->set->heartbeat_ms);
}

/* --- connecting
 * ------------------------------------------------------------------------------------------------------- */

static void start_connecting(struct eg_connection *connection)
{
    char application_name[80];
    change_state(connection, DUE);
    eg_timer_cancel(connection->loop, &connection->timer);
    snprintf(application_name, sizeof(application_name), "pg_eventgate %s %s", connection->set->name,
             connection->purpose);
    connection->attempt =
        eg_attempt_start(connection->set->postgres, application_name, connection->set->connect_timeout_ms);
    if (!connection->attempt) {
        fail(connection, "no memory, descriptors or thread for a connection");
    } else if (eg_loop_add(connection->loop, eg_attempt_fd(connection->attempt), EPOLLIN, &connection->attempt_watch) !=
               0) {
        eg_attempt_drop(connection->attempt);
        connection->attempt = NULL;
        fail(connection, "no memory or descriptors for a connection");
    }
}

/* Lets the attempt go; it ends by itself. */
static void drop_attempt(struct eg_connection *connection)
{
    if (!connection->attempt)
        return;
    eg_loop_remove(connection->loop, eg_attempt_fd(connection->attempt), &connection->attempt_watch);
    eg_attempt_drop(connection->attempt);
    connection->attempt = NULL;
}

/* --- failing ---------------------------------------------------------------------------------------------------------
 */

/* libpq's messages have several lines and end in a line break. */
static void first_line(const char *message, char *ret_text, size_t size)
{
    snprintf(ret_text, size, "%s", message ? message : "");
    ret_text[strcspn(ret_text, "\n")] = '\0';
}

static void log_failure(struct eg_connection *connection, const char *problem, uint32_t retry_ms)
{
    uint64_t now_ms = eg_loop_now_ms(connection->loop);
    bool repeats = strcmp(problem, connection->problem) == 0 && now_ms - connection->logged_ms < REPEAT_LOG_MS;
    eg_log(repeats ? EG_LOG_DEBUG : EG_LOG_WARN, connection->state == READY ? "connection lost" : "cannot connect",
           EG_LOG_STR("set", connection->set->name), EG_LOG_STR("purpose", connection->purpose),
           EG_LOG_STR("state", state_names[connection->state]), EG_LOG_STR("problem", problem),
           EG_LOG_INT("retry_ms", retry_ms));
    if (!repeats)
        connection->logged_ms = now_ms;
    snprintf(connection->problem, sizeof(connection->problem), "%s", problem);
}

static void disconnect(struct eg_connection *connection)
{
    drop_attempt(connection);
    if (!connection->conn)
        return;
    /* libpq closes its socket by itself when the server is gone. */
    if (connection->fd >= 0 && PQsocket(connection->conn) == connection->fd)
        eg_loop_remove(connection->loop, connection->fd, &connection->watch);
    else
        eg_loop_forget(connection->loop, &connection->watch);
    PQfinish(connection->conn); /* sends one small message; never waits */
    connection->conn = NULL;
    connection->fd = -1;
    connection->due = 0;
    connection->pipelining = false;
}

static void fail(struct eg_connection *connection, const char *problem)
{
    char text[256];
    bool was_ready = connection->state == READY;
    first_line(problem, text, sizeof(text));
    uint32_t retry_ms = eg_backoff_next_ms(&connection->backoff);
    log_failure(connection, text, retry_ms);
    disconnect(connection);
    change_state(connection, FAILED);
    set_timer(connection, retry_ms);
    if (was_ready)
        connection->hooks.lost(connection->hooks.context);
}

void eg_connection_fail(struct eg_connection *connection, const char *problem)
{
    if (connection->conn)
        fail(connection, problem);
}

/* --- sending ---------------------------------------------------------------------------------------------------------
 */

static void watch_events(struct eg_connection *connection, uint32_t events)
{
    if (connection->watched == events)
        return;
    if (eg_loop_change(connection->loop, connection->fd, events, &connection->watch) == 0)
        connection->watched = events;
}

void eg_connection_flush(struct eg_connection *connection)
{
    if (!connection->conn)
        return;
    int left = PQflush(connection->conn);
    if (left < 0)
        fail(connection, PQerrorMessage(connection->conn));
    else
        watch_events(connection, left ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* One more answer is due. */
static void expect_answer(struct eg_connection *connection)
{
    if (connection->due++ == 0)
        arm(connection);
}

void eg_connection_query(struct eg_connection *connection, const char *sql)
{
    if (!connection->conn)
        return;
    if (!PQsendQuery(connection->conn, sql)) {
        fail(connection, PQerrorMessage(connection->conn));
        return;
    }
    expect_answer(connection);
    eg_connection_flush(connection);
}

static bool enter_pipeline(struct eg_connection *connection)
{
    if (!connection->conn)
        return false;
    if (!connection->pipelining && !PQenterPipelineMode(connection->conn)) {
        fail(connection, PQerrorMessage(connection->conn));
        return false;
    }
    connection->pipelining = true;
    return true;
}

void eg_connection_prepare(struct eg_connection *connection, const char *name, const char *sql, int parameters)
{
    if (enter_pipeline(connection) && !PQsendPrepare(connection->conn, name, sql, parameters, NULL))
        fail(connection, PQerrorMessage(connection->conn));
}

void eg_connection_send(struct eg_connection *connection, const char *name, const struct eg_bytes *values, int count)
{
    const char *data[EG_PARAMETERS_MAX];
    int lengths[EG_PARAMETERS_MAX], formats[EG_PARAMETERS_MAX];
    for (int i = 0; i < count; i++) {
        data[i] = values[i].data;
        lengths[i] = (int)values[i].length;
        formats[i] = 1; /* binary */
    }
    if (enter_pipeline(connection) && !PQsendQueryPrepared(connection->conn, name, count, data, lengths, formats, 1))
        fail(connection, PQerrorMessage(connection->conn));
}

void eg_connection_sync(struct eg_connection *connection)
{
    if (!enter_pipeline(connection))
        return;
    if (!PQpipelineSync(connection->conn))
        fail(connection, PQerrorMessage(connection->conn));
    else
        expect_answer(connection);
}

void eg_connection_quote(struct eg_connection *connection, struct eg_buffer *sql, const char *name, size_t length)
{
    char *quoted = connection->conn ? PQescapeIdentifier(connection->conn, name, length) : NULL;
    if (quoted)
        eg_buffer_add_string(sql, quoted);
    else
        sql->failed = true;
    PQfreemem(quoted);
}

/* --- receiving -------------------------------------------------------------------------------------------------------
 */

static void pass_notifications(struct eg_connection *connection)
{
    PGnotify *notify;
    bool any = false;
    while (connection->conn && (notify = PQnotifies(connection->conn))) {
        connection->notifier = notify->be_pid;
        if (connection->state == READY)
            connection->hooks.notified(connection->hooks.context, notify->relname, notify->extra);
        PQfreemem(notify);
        any = true;
    }
    if (any && connection->hooks.drained)
        connection->hooks.drained(connection->hooks.context);
}

/* The check's one row: is this a server that we can LISTEN on, and are we talking to it? */
static void judge_server(struct eg_connection *connection, const PGresult *result)
{
    char text[256];
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
        first_line(PQresultErrorMessage(result), text, sizeof(text));
        fail(connection, text);
        return;
    }
    if (PQserverVersion(connection->conn) < MINIMUM_VERSION) {
        fail(connection, "the server is older than PostgreSQL 14: upgrade it");
    } else if (PQgetvalue(result, 0, 0)[0] == 't') {
        fail(connection, "connected to a standby, which cannot LISTEN: give the primary, or all hosts "
                         "(host=a,b), in the conninfo");
    } else if (atoi(PQgetvalue(result, 0, 1)) != PQbackendPID(connection->conn)) {
        fail(connection, "a connection pooler stands between, and would lose the LISTEN: give a conninfo that reaches "
                         "PostgreSQL itself");
    }
}

static void report(struct eg_connection *connection, const PGresult *result)
{
    struct eg_error error;
    struct eg_result reported = {.kind = EG_RESULT_OK};
    switch (PQresultStatus(result)) {
    case PGRES_TUPLES_OK:
        reported.rows = result;
        if (PQntuples(result) > 0 && PQnfields(result) > 0)
            reported.value = PQgetvalue(result, 0, 0);
        break;
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:
        break;
    case PGRES_PIPELINE_SYNC:
        reported.kind = EG_RESULT_SYNC;
        connection->due--;
        arm(connection);
        break;
    case PGRES_PIPELINE_ABORTED:
        return; /* the error before it has been reported */
    default:
        reported.kind = EG_RESULT_ERROR;
        reported.error = &error;
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        snprintf(error.sqlstate, sizeof(error.sqlstate), "%.5s", sqlstate ? sqlstate : "");
        first_line(primary ? primary : PQresultErrorMessage(result), error.sentence, sizeof(error.sentence));
        if (!sqlstate) { /* not PostgreSQL's, but libpq's own: what became of the command is not known */
            fail(connection, error.sentence);
            return;
        }
        break;
    }
    connection->hooks.result(connection->hooks.context, &reported);
}

/* A plain command is over. */
static void command_over(struct eg_connection *connection)
{
    connection->due = 0;
    arm(connection);
    if (connection->state == READY) {
        connection->hooks.finished(connection->hooks.context);
        return;
    }
    change_state(connection, CHECKED);
    eg_log(EG_LOG_INFO, "connected", EG_LOG_STR("set", connection->set->name),
           EG_LOG_STR("purpose", connection->purpose), EG_LOG_STR("host", PQhost(connection->conn)),
           EG_LOG_STR("port", PQport(connection->conn)), EG_LOG_STR("database", PQdb(connection->conn)),
           EG_LOG_INT("pid", PQbackendPID(connection->conn)));
    connection->hooks.ready(connection->hooks.context);
}

/*
 * Takes all results that are complete. In a pipeline, NULL separates the results of two commands, and twice NULL means
 * that there are no more; otherwise it ends the command. Notifications go first: what arrived before an answer is
 * passed on before it.
 */
static void take_results(struct eg_connection *connection)
{
    bool after_null = false;
    while (connection->conn && connection->due > 0 && !PQisBusy(connection->conn)) {
        PGresult *result = PQgetResult(connection->conn);
        pass_notifications(connection);
        if (!connection->conn || (!result && after_null)) {
            PQclear(result);
            break;
        }
        after_null = !result;
        if (!result && !connection->pipelining)
            command_over(connection);
        if (result && connection->state == READY)
            report(connection, result);
        else if (result)
            judge_server(connection, result);
        PQclear(result);
    }
    pass_notifications(connection);
}

/* libpq 15 drops a notification for which it gets no memory, and tells nobody: it isn't let near one without. */
static bool has_memory_for_notifications(const struct eg_connection *connection)
{
    if (!connection->hooks.drained) /* they are no more than hints here */
        return true;
    void *volatile memory = malloc(EG_NOTIFICATIONS_MEMORY_BYTES);
    free(memory);
    return memory != NULL;
}

static void socket_ready(struct eg_watch *watch, uint32_t epoll_events)
{
    struct eg_connection *connection = EG_CONTAINER_OF(watch, struct eg_connection, watch);
    if (epoll_events & EPOLLOUT)
        eg_connection_flush(connection);
    if (!connection->conn)
        return;
    bool alive = PQconsumeInput(connection->conn) == 1;
    if (!has_memory_for_notifications(connection)) {
        fail(connection, "out of memory for notifications");
        return;
    }
    /* What came before the end counts. */
    take_results(connection);
    if (connection->conn && (!alive || PQstatus(connection->conn) != CONNECTION_OK))
        fail(connection, PQerrorMessage(connection->conn));
}

/* --- timers and hand-over --------------------------------------------------------------------------------------------
 */

static void check_server(struct eg_connection *connection)
{
    /* A session that waits for notifications is idle for ever, and means it. */
    static const char check[] = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_backend_pid(), "
                                "(SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings "
                                "WHERE name = 'idle_session_timeout')";
    struct eg_buffer sql = EG_BUFFER_INIT;
    eg_buffer_add_string(&sql, check);
    if (connection->hooks.settings)
        eg_buffer_add_string(&sql, connection->hooks.settings);
    eg_buffer_add(&sql, "", 1);
    if (sql.failed)
        fail(connection, "out of memory for a command");
    else
        eg_connection_query(connection, sql.data);
    eg_buffer_done(&sql);
}

static void ignore_notice(void *context, const PGresult *result)
{
    (void)context, (void)result;
}

static void attempt_done(struct eg_watch *watch, uint32_t epoll_events)
{
    struct eg_connection *connection = EG_CONTAINER_OF(watch, struct eg_connection, attempt_watch);
    PGconn *conn = eg_attempt_take(connection->attempt);
    (void)epoll_events;
    drop_attempt(connection);
    if (!conn) {
        fail(connection, "out of memory while connecting");
        return;
    }
    if (PQstatus(conn) != CONNECTION_OK) {
        char text[256];
        first_line(PQerrorMessage(conn), text, sizeof(text));
        PQfinish(conn);
        fail(connection, text);
        return;
    }
    connection->conn = conn;
    connection->fd = -1;
    PQsetNoticeReceiver(conn, ignore_notice, NULL);
    change_state(connection, CONNECTED);
    if (PQsetnonblocking(conn, 1) != 0 ||
        eg_loop_add(connection->loop, PQsocket(conn), EPOLLIN, &connection->watch) != 0) {
        fail(connection, "no memory or descriptors for a connection");
        return;
    }
    connection->fd = PQsocket(conn);
    connection->watched = EPOLLIN;
    check_server(connection);
}

static void timer_fired(struct eg_timer *timer)
{
    struct eg_connection *connection = EG_CONTAINER_OF(timer, struct eg_connection, timer);
    if (connection->state == WAITING) {
        start_connecting(connection);
    } else if (connection->due > 0) {
        fail(connection, "the server does not answer (query_timeout)");
    } else if (connection->state == READY) {
        arm(connection);
        connection->hooks.idle(connection->hooks.context);
    }
}

struct eg_connection *eg_connection_new(struct eg_loop *loop, const struct eg_config_set *set, const char *purpose,
                                        const struct eg_connection_hooks *hooks)
{
    struct eg_connection *connection = calloc(1, sizeof(*connection));
    if (!connection)
        return NULL;
    connection->loop = loop;
    connection->set = set;
    connection->purpose = purpose;
    connection->hooks = *hooks;
    connection->fd = -1;
    connection->watch.ready = socket_ready;
    connection->attempt_watch.ready = attempt_done;
    connection->timer.fire = timer_fired;
    /* The first attempts come quickly: most losses are a restart. */
    connection->backoff = (struct eg_backoff){.floor_ms = 20, .first_ms = 100, .max_ms = 5000};
    if (eg_timer_set(loop, &connection->timer, eg_loop_now_ms(loop)) != 0) {
        free(connection);
        return NULL;
    }
    return connection;
}

void eg_connection_free(struct eg_connection *connection)
{
    if (!connection)
        return;
    disconnect(connection);
    eg_timer_cancel(connection->loop, &connection->timer);
    free(connection);
}

const char *eg_connection_loggable(const struct eg_error *error)
{
    static const char *const quoting[] = {"22", "23", "P0"};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(quoting); i++)
        if (strncmp(error->sqlstate, quoting[i], 2) == 0)
            return NULL;
    return error->sentence;
}

/* Puts dots in the place of what stands between quotes, all but an equals sign. */
static void leave_out_quoted(const char *message, char *ret_text, size_t size)
{
    size_t length = 0;
    while (*message && *message != '\n' && length + sizeof("\"...\"") < size) {
        if (*message != '"') {
            ret_text[length++] = *message++;
            continue;
        }
        const char *end = strchr(message + 1, '"');
        bool equals = strncmp(message, "\"=\"", 3) == 0;
        length = (size_t)(stpcpy(ret_text + length, equals ? "\"=\"" : "\"...\"") - ret_text);
        message = end ? end + 1 : "";
    }
    ret_text[length] = '\0';
}

int eg_connection_check_conninfo(const char *conninfo, struct eg_error *ret_error)
{
    char *message = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &message);
    if (options) {
        PQconninfoFree(options);
        return 0;
    }
    ret_error->sqlstate[0] = '\0';
    leave_out_quoted(message ? message : "out of memory", ret_error->sentence, sizeof(ret_error->sentence));
    PQfreemem(message);
    return -EINVAL;
}

/*
 * Revocations. A session LISTENs first, then reads all rows in the order of their versions, some at a time, then only
 * those with later versions. Versions are given out under a lock that is held until the commit, so none becomes visible
 * behind a later one.
 *
 * A table whose file is another one (restored, truncated, made anew) is read whole again, since its versions may have
 * gone back. So is everything when a session ends: who was connected to a lost tail starts over.
 */
#include "eventgate/revocation_reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/connection.h"
#include "eventgate/log.h"
#include "eventgate/log_query.h"

#define PAGE_ROWS 1000
/* The backstop: a wake-up may have been lost. */
#define POLL_MS 1000u
#define POSTGRES_EPOCH_US INT64_C(946684800000000) /* 2000-01-01 */

enum column { FILE_NODE, SUBJECT, BEFORE, VERSION };

static const char listen_sql[] = "LISTEN eventgate_revocation";
/* $1 version. One row at least, for the file. */
static const char read_sql[] =
    "SELECT t.file, r.subject, r.before, r.version "
    "FROM (SELECT pg_catalog.pg_relation_filenode('eventgate.revocation'::pg_catalog.regclass)::pg_catalog.int8) "
    "AS t (file) LEFT JOIN LATERAL (SELECT v.subject, v.before, v.version FROM eventgate.revocation AS v "
    "WHERE v.version > $1 ORDER BY v.version LIMIT 1000) AS r ON true ORDER BY r.version";

struct eg_revocation_reader {
    struct eg_loop *loop;
    const struct eg_config_set *set;
    struct eg_metrics *metrics;
    struct eg_revocation_sink sink;
    struct eg_connection *connection;
    struct eg_buffer settings;
    struct eg_timer poll;
    bool listening; /* and the statement is prepared */
    bool reading;   /* a read is under way */
    bool again;     /* to be followed by another one */
    bool whole;     /* since the last `begin` not all has been told */
    bool any;       /* since the last `told` something has been */
    bool failed;    /* what is under way, with `error` */
    struct eg_error error;
    int64_t file; /* of the table, as read last; 0: none yet */
    int64_t version;
};

static void begin_whole(struct eg_revocation_reader *reader, int64_t file)
{
    reader->file = file;
    reader->version = 0;
    reader->whole = true;
    reader->sink.begin(reader->sink.context);
}

static void read_more(struct eg_revocation_reader *reader)
{
    char bytes[8];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)((uint64_t)reader->version >> (56 - 8 * i));
    const struct eg_bytes value = {bytes, sizeof(bytes)};
    reader->reading = true;
    reader->again = false;
    eg_timer_cancel(reader->loop, &reader->poll);
    eg_connection_send(reader->connection, "read", &value, 1);
    eg_connection_sync(reader->connection);
    eg_connection_flush(reader->connection);
}

static void poll_is_due(struct eg_timer *timer)
{
    struct eg_revocation_reader *reader = EG_CONTAINER_OF(timer, struct eg_revocation_reader, poll);
    if (reader->listening && !reader->reading)
        read_more(reader);
}

static void ready(void *context)
{
    struct eg_revocation_reader *reader = context;
    reader->failed = false;
    eg_connection_prepare(reader->connection, "listen", listen_sql, 0);
    eg_connection_send(reader->connection, "listen", NULL, 0);
    eg_connection_prepare(reader->connection, "read", read_sql, 1);
    eg_connection_sync(reader->connection);
    eg_connection_flush(reader->connection);
}

static void notified(void *context, const char *channel, const char *payload)
{
    struct eg_revocation_reader *reader = context;
    (void)channel, (void)payload;
    reader->again = true;
}

static void drained(void *context)
{
    struct eg_revocation_reader *reader = context;
    if (reader->again && reader->listening && !reader->reading)
        read_more(reader);
}

/* --- rows ----------------------------------------------------------------------------------------------------------
 */

static int64_t time_of(const struct eg_result *result, size_t row)
{
    if (!eg_result_bytes(result, row, BEFORE).data)
        return EG_REVOCATION_NONE;
    int64_t us = eg_result_integer(result, row, BEFORE);
    if (us == INT64_MIN || us > INT64_MAX - POSTGRES_EPOCH_US) /* infinite, or beyond all dates */
        return us == INT64_MIN ? us : INT64_MAX;
    return us + POSTGRES_EPOCH_US;
}

static int tell(struct eg_revocation_reader *reader, const struct eg_result *result)
{
    int error = 0;
    for (size_t row = 0; !error && row < eg_result_count(result); row++) {
        const struct eg_bytes subject = eg_result_bytes(result, row, SUBJECT);
        if (!subject.data) /* none is later */
            return 0;
        error = reader->sink.revoked(reader->sink.context, subject, time_of(result, row));
        reader->version = eg_result_integer(result, row, VERSION);
        reader->any = true;
    }
    return error;
}

static void take_rows(struct eg_revocation_reader *reader, const struct eg_result *result)
{
    int64_t file = eg_result_count(result) > 0 ? eg_result_integer(result, 0, FILE_NODE) : 0;
    if (reader->file == 0) {
        begin_whole(reader, file);
    } else if (file != reader->file) {
        begin_whole(reader, file);
        reader->again = true;
        return;
    }
    int error = tell(reader, result);
    if (error) {
        reader->failed = true;
        reader->error.sqlstate[0] = '\0';
        snprintf(reader->error.sentence, sizeof(reader->error.sentence), "%s",
                 error == -ENOSPC ? "there are more revocations than a gateway holds: call "
                                    "eventgate.forget_revocations(timestamptz)"
                                  : "out of memory for revocations");
    }
    reader->again = reader->again || eg_result_count(result) == PAGE_ROWS;
}

/* All that there was has been read. */
static void settle(struct eg_revocation_reader *reader)
{
    if (reader->whole || reader->any)
        reader->sink.told(reader->sink.context, reader->whole);
    if (reader->whole) {
        eg_metrics_set(reader->metrics, EG_METRIC_PG_UP_REVOCATIONS, 1);
        eg_metrics_add(reader->metrics, EG_METRIC_PG_SESSIONS_REVOCATIONS, 1);
    }
    reader->whole = reader->any = false;
    eg_connection_settle(reader->connection);
    if (eg_timer_set(reader->loop, &reader->poll, eg_loop_now_ms(reader->loop) + POLL_MS) != 0)
        eg_connection_fail(reader->connection, "no memory for a timer");
}

static void take_sync(struct eg_revocation_reader *reader)
{
    char problem[512];
    reader->reading = false;
    if (reader->failed) {
        eg_log_explain(&reader->error, problem, sizeof(problem));
        eg_connection_fail(reader->connection, problem);
    } else if (!reader->listening || reader->again) {
        reader->listening = true;
        read_more(reader);
    } else {
        settle(reader);
    }
}

static void result(void *context, const struct eg_result *result)
{
    struct eg_revocation_reader *reader = context;
    if (result->kind == EG_RESULT_SYNC) {
        take_sync(reader);
    } else if (result->kind == EG_RESULT_ERROR) {
        reader->failed = true;
        reader->error = *result->error;
    } else if (result->rows && reader->reading && !reader->failed) {
        take_rows(reader, result);
    }
}

/* --- making and freeing --------------------------------------------------------------------------------------------
 */

static void ignore(void *context)
{
    (void)context;
}

/* What was told holds; the next session tells all anew. */
static void lost(void *context)
{
    struct eg_revocation_reader *reader = context;
    reader->listening = reader->reading = reader->again = reader->any = false;
    reader->file = reader->version = 0;
    eg_timer_cancel(reader->loop, &reader->poll);
    eg_metrics_set(reader->metrics, EG_METRIC_PG_UP_REVOCATIONS, 0);
}

static void state(void *context, const char *name, const char *problem)
{
    const struct eg_revocation_reader *reader = context;
    if (problem && strcmp(name, "WAITING") == 0)
        eg_metrics_add(reader->metrics, EG_METRIC_PG_FAILURES_REVOCATIONS, 1);
}

struct eg_revocation_reader *eg_revocation_reader_new(struct eg_loop *loop, const struct eg_config_set *set,
                                                      struct eg_metrics *metrics, struct eg_revocation_sink sink)
{
    struct eg_revocation_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return NULL;
    reader->loop = loop;
    reader->set = set;
    reader->metrics = metrics;
    reader->sink = sink;
    reader->poll.fire = poll_is_due;
    eg_metrics_set(metrics, EG_METRIC_PG_UP_REVOCATIONS, 0);
    eg_log_settings(set, &reader->settings);
    const struct eg_connection_hooks hooks = {reader, ready,  notified, drained, result,
                                              ignore, ignore, lost,     state,   reader->settings.data};
    if (!reader->settings.failed)
        reader->connection = eg_connection_new(loop, set, "revocations", &hooks);
    if (reader->connection)
        return reader;
    eg_revocation_reader_free(reader);
    return NULL;
}

void eg_revocation_reader_free(struct eg_revocation_reader *reader)
{
    if (!reader)
        return;
    eg_connection_free(reader->connection);
    eg_timer_cancel(reader->loop, &reader->poll);
    eg_buffer_done(&reader->settings);
    free(reader);
}

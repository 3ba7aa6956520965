#include "postgres_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <libpq-fe.h>

#include "eventgate/schema_script.h"

#define DEADLINE_MS 20000u

static char folder[64];

/* As the user that owns the cluster: PostgreSQL refuses root. */
static int shell(const char *format, const char *argument)
{
    char command[2048], line[4096];
    snprintf(command, sizeof(command), format, folder, argument);
    snprintf(line, sizeof(line),
             "%s sh -c 'PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1):$PATH; cd /; %s' >>%s.log 2>&1",
             geteuid() == 0 ? "setpriv --reuid postgres --regid postgres --init-groups" : "", command, folder);
    return system(line); /* NOLINT(cert-env33-c) */
}

void postgres_halt(void)
{
    assert_int_equal(shell("pg_ctl -D %s/data -m immediate -w stop", ""), 0);
}

void postgres_resume(void)
{
    assert_int_equal(
        shell("pg_ctl -D %1$s/data -l %1$s/server.log -o \"-k %1$s -c listen_addresses= -c fsync=off\" -w start", ""),
        0);
}

int postgres_start(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/eventgate-unit.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    char command[128];
    snprintf(command, sizeof(command), "chown postgres: %s", folder);
    if (geteuid() == 0 && system(command) != 0)
        return -1;
    if (shell("initdb -D %s/data -A trust -U postgres --no-sync --locale=C --encoding=UTF8", "") != 0)
        return -1;
    if (shell("pg_ctl -D %1$s/data -l %1$s/server.log -o \"-k %1$s -c listen_addresses= -c fsync=off\" -w start", "") !=
        0)
        return -1;
    return shell("createdb -h %1$s -U postgres -T template0 -E LATIN1 latin1", "");
}

int postgres_stop(void **state)
{
    char command[160];
    (void)state;
    shell("pg_ctl -D %s/data -m immediate -w stop", "");
    snprintf(command, sizeof(command), "rm -rf %s %s.log", folder, folder);
    return system(command);
}

struct eg_config *postgres_config(const char *database, const char *live, const char *more)
{
    char text[1024];
    struct eg_config *config;
    struct eg_error error;
    int length = snprintf(text, sizeof(text),
                          "[set unit]\npostgres = host=%s user=postgres dbname=%s\n%s%s\nquery_timeout = 2s\n%s",
                          folder, database, live[0] ? "live = " : "", live, more);
    assert_int_equal(eg_config_parse(text, (size_t)length, &config, &error), 0);
    return config;
}

void postgres_run(const char *database, const char *sql)
{
    char path[128], command[256];
    snprintf(path, sizeof(path), "%s/run.sql", folder);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(sql, file) >= 0);
    assert_int_equal(fclose(file), 0);
    snprintf(command, sizeof(command), "psql -qX -v ON_ERROR_STOP=1 -h %%1$s -U postgres -d %s -f %%1$s/run.sql",
             database);
    assert_int_equal(shell(command, ""), 0);
}

static PGconn *connect_to(const char *database)
{
    char conninfo[160];
    snprintf(conninfo, sizeof(conninfo), "host=%s user=postgres dbname=%s client_encoding=UTF8", folder, database);
    PGconn *conn = PQconnectdb(conninfo);
    assert_int_equal(PQstatus(conn), CONNECTION_OK);
    return conn;
}

char *postgres_ask(const char *database, const char *sql)
{
    PGconn *conn = connect_to(database);
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        fail_msg("%s", PQerrorMessage(conn));
    assert_int_equal(PQntuples(result), 1);
    char *value = strdup(PQgetvalue(result, 0, 0));
    PQclear(result);
    PQfinish(conn);
    return value;
}

static void ignore_notice(void *context, const PGresult *result)
{
    (void)context, (void)result;
}

/* A session of the test before may still be ending, and a deadlock with it is ours to lose: then once more. */
static void drop_schema(PGconn *conn)
{
    uint64_t end_ms = eg_monotonic_ms() + DEADLINE_MS;
    for (;;) {
        PGresult *result = PQexec(conn, "DROP SCHEMA IF EXISTS eventgate CASCADE");
        bool dropped = PQresultStatus(result) == PGRES_COMMAND_OK;
        PQclear(result);
        if (dropped)
            return;
        if (eg_monotonic_ms() > end_ms)
            fail_msg("%s", PQerrorMessage(conn));
        fprintf(stderr, "once more: %s", PQerrorMessage(conn));
    }
}

void postgres_install(const char *database)
{
    PGconn *conn = connect_to(database);
    PQsetNoticeReceiver(conn, ignore_notice, NULL);
    drop_schema(conn);
    PGresult *result = PQexec(conn, eg_schema_script);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        fail_msg("%s", PQerrorMessage(conn));
    PQclear(result);
    PQfinish(conn);
}

void turn_until(struct eg_loop *loop, const bool *condition)
{
    uint64_t end_ms = eg_monotonic_ms() + DEADLINE_MS;
    while (!*condition && eg_monotonic_ms() < end_ms)
        eg_loop_turn(loop, 50);
    assert_true(*condition);
}

/*
 * The blocking connection of the commands that look after the schema.
 */
#include "eventgate/connection_admin.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define APPLICATION_NAME "pg_eventgate schema"
#define CONNECT_TIMEOUT_S "10"

struct eg_admin {
    PGconn *conn;
    PGresult *result; /* of the last run, or NULL */
};

/* Without the line breaks at its end. */
static void say(struct eg_error *error, const char *text)
{
    error->sqlstate[0] = '\0';
    snprintf(error->sentence, sizeof(error->sentence), "%s", text);
    for (size_t length = strlen(error->sentence); length > 0 && error->sentence[length - 1] == '\n';)
        error->sentence[--length] = '\0';
}

static void print_notice(void *context, const char *message)
{
    (void)context;
    fprintf(stderr, "pg_eventgate: %s", message);
}

struct eg_admin *eg_admin_connect(const char *conninfo, struct eg_error *ret_error)
{
    struct eg_admin *admin = calloc(1, sizeof(*admin));
    if (!admin) {
        say(ret_error, "out of memory");
        return NULL;
    }
    /* What stands before the connection string gives way to it, what stands behind it doesn't. An empty one would be
     * the name of a database. */
    const char *const keywords[] = {"connect_timeout", "target_session_attrs",        "fallback_application_name",
                                    "client_encoding", conninfo[0] ? "dbname" : NULL, NULL};
    const char *const values[] = {CONNECT_TIMEOUT_S, "primary", APPLICATION_NAME, "UTF8", conninfo, NULL};
    admin->conn = PQconnectdbParams(keywords, values, 1);
    if (PQstatus(admin->conn) == CONNECTION_OK) {
        PQsetNoticeProcessor(admin->conn, print_notice, NULL);
        return admin;
    }
    say(ret_error, admin->conn ? PQerrorMessage(admin->conn) : "out of memory");
    eg_admin_close(admin);
    return NULL;
}

void eg_admin_close(struct eg_admin *admin)
{
    if (!admin)
        return;
    PQclear(admin->result);
    PQfinish(admin->conn);
    free(admin);
}

static void add_field(struct eg_error *error, const PGresult *result, int field)
{
    const char *text = PQresultErrorField(result, field);
    size_t length = strlen(error->sentence);
    if (text && length < sizeof(error->sentence))
        snprintf(error->sentence + length, sizeof(error->sentence) - length, "%s%s", length > 0 ? " " : "", text);
}

int eg_admin_run(struct eg_admin *admin, const char *sql, struct eg_error *ret_error)
{
    PQclear(admin->result);
    admin->result = PQexec(admin->conn, sql);
    ExecStatusType status = PQresultStatus(admin->result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY)
        return 0;
    const char *sqlstate = PQresultErrorField(admin->result, PG_DIAG_SQLSTATE);
    if (!sqlstate) { /* libpq's own: the connection is lost, or memory */
        say(ret_error, PQerrorMessage(admin->conn));
        return -EIO;
    }
    ret_error->sentence[0] = '\0';
    add_field(ret_error, admin->result, PG_DIAG_MESSAGE_PRIMARY);
    add_field(ret_error, admin->result, PG_DIAG_MESSAGE_DETAIL);
    add_field(ret_error, admin->result, PG_DIAG_MESSAGE_HINT);
    snprintf(ret_error->sqlstate, sizeof(ret_error->sqlstate), "%.5s", sqlstate);
    return -EIO;
}

const char *eg_admin_value(const struct eg_admin *admin, int column)
{
    bool there = admin->result && PQntuples(admin->result) > 0 && column < PQnfields(admin->result);
    return there ? PQgetvalue(admin->result, 0, column) : "";
}

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
#define DOCTOR_NAME "pg_eventgate doctor"
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

/* Is it? Else it is closed, and the sentence says why not. */
static struct eg_admin *connected(struct eg_admin *admin, struct eg_error *ret_error)
{
    if (PQstatus(admin->conn) == CONNECTION_OK) {
        PQsetNoticeProcessor(admin->conn, print_notice, NULL);
        return admin;
    }
    say(ret_error, admin->conn ? PQerrorMessage(admin->conn) : "out of memory");
    eg_admin_close(admin);
    return NULL;
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
    return connected(admin, ret_error);
}

/* --- hosts -------------------------------------------------------------------------------------------------------- */

static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
    for (; options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val ? options->val : "";
    return "";
}

/* The `index`th of a list with commas; `last` where there are fewer, but for an empty list. */
static void take_item(const char *list, size_t index, bool last, char *ret_text, size_t size)
{
    size_t length = strcspn(list, ",");
    for (; index > 0 && list[length] == ','; index--) {
        list += length + 1;
        length = strcspn(list, ",");
    }
    snprintf(ret_text, size, "%.*s", index > 0 && !last ? 0 : (int)length, list);
}

static size_t count_items(const char *list)
{
    size_t count = 1;
    for (; *list; list++)
        count += *list == ',';
    return count;
}

int eg_admin_hosts(const char *conninfo, struct eg_admin_host **ret_hosts, size_t *ret_count,
                   struct eg_error *ret_error)
{
    /* Only a connection knows what all its sources come to; this one is let go of before it is made. */
    const char *const keywords[] = {conninfo[0] ? "dbname" : NULL, NULL}, *const values[] = {conninfo, NULL};
    PGconn *conn = PQconnectStartParams(keywords, values, 1);
    PQconninfoOption *options = conn ? PQconninfo(conn) : NULL;
    struct eg_admin_host *hosts = NULL;
    size_t count = 0;
    if (options) {
        const char *host = value_of(options, "host"), *address = value_of(options, "hostaddr");
        count = count_items(address[0] ? address : host);
        hosts = calloc(count, sizeof(*hosts));
        for (size_t i = 0; hosts && i < count; i++) {
            take_item(host, i, false, hosts[i].host, sizeof(hosts[i].host));
            take_item(address, i, false, hosts[i].hostaddr, sizeof(hosts[i].hostaddr));
            take_item(value_of(options, "port"), i, true, hosts[i].port, sizeof(hosts[i].port));
        }
    }
    say(ret_error, !options && conn ? PQerrorMessage(conn) : "out of memory");
    PQconninfoFree(options);
    PQfinish(conn);
    *ret_hosts = hosts;
    *ret_count = count;
    return hosts ? 0 : -ENOMEM;
}

struct eg_admin *eg_admin_connect_host(const char *conninfo, const struct eg_admin_host *host, uint32_t timeout_ms,
                                       struct eg_error *ret_error)
{
    struct eg_admin *admin = calloc(1, sizeof(*admin));
    char seconds[16];
    if (!admin) {
        say(ret_error, "out of memory");
        return NULL;
    }
    snprintf(seconds, sizeof(seconds), "%u", (timeout_ms + 999) / 1000);
    /* What stands behind the connection string goes before it. An empty string would be the name of a database. */
    const char *keywords[9] = {"connect_timeout", "fallback_application_name", "client_encoding"};
    const char *values[9] = {seconds, DOCTOR_NAME, "UTF8"};
    int count = 3;
    if (conninfo[0]) {
        keywords[count] = "dbname";
        values[count++] = conninfo;
    }
    const char *const own[][2] = {
        {"host", host->host}, {"hostaddr", host->hostaddr}, {"port", host->port}, {"target_session_attrs", "any"}};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(own); i++) {
        keywords[count] = own[i][0];
        values[count++] = own[i][1];
    }
    keywords[count] = values[count] = NULL;
    admin->conn = PQconnectdbParams(keywords, values, 1);
    return connected(admin, ret_error);
}

struct eg_admin_facts eg_admin_facts(const struct eg_admin *admin)
{
    const char *address = PQhostaddr(admin->conn), *port = PQport(admin->conn),
               *tls = PQsslInUse(admin->conn) ? PQsslAttribute(admin->conn, "protocol") : NULL;
    struct eg_admin_facts facts = {.server_version = PQserverVersion(admin->conn),
                                   .session = PQbackendPID(admin->conn),
                                   .used_password = PQconnectionUsedPassword(admin->conn) != 0};
    snprintf(facts.address, sizeof(facts.address), "%s", address ? address : "");
    snprintf(facts.port, sizeof(facts.port), "%s", port ? port : "");
    snprintf(facts.tls, sizeof(facts.tls), "%s", tls ? tls : PQsslInUse(admin->conn) ? "TLS" : "");
    facts.is_local = facts.address[0] == '\0';
    return facts;
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

size_t eg_admin_rows(const struct eg_admin *admin)
{
    return admin->result ? (size_t)PQntuples(admin->result) : 0;
}

const char *eg_admin_cell(const struct eg_admin *admin, size_t row, int column)
{
    bool there = row < eg_admin_rows(admin) && column < PQnfields(admin->result);
    return there ? PQgetvalue(admin->result, (int)row, column) : "";
}

/*
 * A set's database: its hosts, one by one, as the gateway finds them; then what the primary tells.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "eventgate/doctor.h"

#define OLDEST_SERVER 140000
#define CLOCK_TRIES 3
#define CLOCK_WARNING_S 1.0

enum role { AWAY, PRIMARY, STANDBY, POOLER, UNFIT };

static const char begin_sql[] =
    "SET statement_timeout = '5s'; SET lock_timeout = '1s'; SET client_min_messages = error";
static const char role_sql[] =
    "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.pg_backend_pid(), "
    "coalesce(pg_catalog.host(pg_catalog.inet_server_addr()), ''), "
    "coalesce(pg_catalog.inet_server_port()::text, pg_catalog.current_setting('port')), "
    "pg_catalog.current_setting('server_version'), current_user, pg_catalog.current_database(), "
    "coalesce((SELECT s.setting FROM pg_catalog.pg_settings AS s WHERE s.name = 'unix_socket_directories'), '')";
static const char clock_sql[] =
    "SELECT (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000)::pg_catalog.int8";

/* What is said of a connection that didn't come about, and what to do. libpq gives no code for these: the words are
 * PostgreSQL's in English; others get the general advice. */
static const char *advice_of(const char *sentence)
{
    static const char *const rows[][2] = {
        {"could not translate host name", "The name can't be resolved here: is it right, and does this machine's DNS "
                                          "know it (getent hosts NAME)?"},
        {"Connection refused", "Nothing listens there: is PostgreSQL running, is the port right, and does "
                               "listen_addresses include this network?"},
        {"No such file or directory", "There is no such Unix socket: is PostgreSQL running, and is host= the folder of "
                                      "its socket (SHOW unix_socket_directories)?"},
        {"Permission denied", "This user may not open the socket: run it as the gateway's user."},
        {"timeout expired", "Nothing answers: a firewall that drops packets, a wrong address, or a server that hangs."},
        {"No route to host", "There is no way to that network from here: routing or a firewall."},
        {"Network is unreachable", "There is no way to that network from here: routing or a firewall."},
        {"password authentication failed", "The password is wrong, or the user doesn't exist: set it (ALTER ROLE ... "
                                           "PASSWORD), and put it into ~/.pgpass of the gateway's user or a service "
                                           "file."},
        {"no password supplied", "PostgreSQL wants a password: put it into ~/.pgpass of the gateway's user (mode "
                                 "0600), or a service file."},
        {"no pg_hba.conf entry", "pg_hba.conf has no row for this user, database and address (or none without TLS): "
                                 "add one, and reload PostgreSQL."},
        {"pg_hba.conf rejects", "A row of pg_hba.conf rejects this user, database and address: change it, and reload "
                                "PostgreSQL."},
        {"Peer authentication failed", "pg_hba.conf wants the system user of the same name: run the gateway as that "
                                       "user, add a map (pg_ident.conf), or use another method."},
        {"database \"", "There is no such database, or the user may not connect to it: check dbname=, and GRANT "
                        "CONNECT ON DATABASE."},
        {"role \"", "There is no such role, or it may not log in: CREATE ROLE ... LOGIN."},
        {"certificate verify failed", "The server's certificate isn't believed: sslrootcert= has to name the authority "
                                      "that has signed it."},
        {"server certificate for", "The certificate is for another name: connect by the name that it has, or "
                                   "sslmode=verify-ca."},
        {"does not support SSL", "The server has TLS switched off (ssl = on), and sslmode demands it."},
        {"too many clients already", "max_connections of PostgreSQL is used up: raise it, or find out who has them "
                                     "(SELECT * FROM pg_stat_activity)."},
        {"remaining connection slots", "max_connections of PostgreSQL is used up but for superusers: raise it, or find "
                                       "out who has them."},
        {"too many connections for", "The role or the database has a limit of connections: ALTER ROLE ... CONNECTION "
                                     "LIMIT."},
        {"starting up", "PostgreSQL is starting: wait until it has recovered."},
        {"shutting down", "PostgreSQL is shutting down."},
    };
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++)
        if (strstr(sentence, rows[i][0]))
            return rows[i][1];
    return "Try the same with psql as the gateway's user; PostgreSQL's log says more.";
}

/* "set shop, host db1:5432" */
static void name_host(const struct eg_doctor_database *database, const struct eg_admin_host *host, char *ret_name,
                      size_t size)
{
    const char *shown = host->host[0] ? host->host : host->hostaddr[0] ? host->hostaddr : "the default socket";
    snprintf(ret_name, size, "%.100s, host %.140s:%s", database->subject, shown, host->port);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void check_clock(struct eg_report *report, struct eg_admin *admin, const char *subject)
{
    struct eg_error error;
    double best = 1e9, difference = 0;
    for (int i = 0; i < CLOCK_TRIES; i++) {
        double before = now_s();
        if (eg_admin_run(admin, clock_sql, &error) != 0)
            return;
        double after = now_s(), server = (double)strtoll(eg_admin_value(admin, 0), NULL, 10) / 1e6;
        if (after - before < best) {
            best = after - before;
            difference = server - (before + after) / 2;
        }
    }
    if (difference > CLOCK_WARNING_S || difference < -CLOCK_WARNING_S)
        eg_report_add(report, EG_WARNING, "clock", subject,
                      "Run a time service on both. Retention, idempotency keys and revocations go by the server's "
                      "clock, tokens by this machine's.",
                      "its clock is %.1f s %s this machine's", difference > 0 ? difference : -difference,
                      difference > 0 ? "ahead of" : "behind");
    else
        eg_report_add(report, EG_FINE, "clock", subject, NULL,
                      "its clock agrees with this machine's to %.0f ms; an answer takes %.2f ms",
                      (difference > 0 ? difference : -difference) * 1000 + best * 500, best * 1000);
}

/* By another way than the one it began on: the process that answers isn't the one that the connection began with. */
static void tell_pooler(struct eg_report *report, const struct eg_admin *admin, const char *name)
{
    char advice[600];
    const char *address = eg_admin_value(admin, 2), *port = eg_admin_value(admin, 3),
               *folder = eg_admin_value(admin, 7);
    snprintf(
        advice, sizeof(advice),
        "A pooler (PgBouncer) in transaction mode loses the LISTEN without a word, so the gateway refuses it. Give "
        "it a connection string of its own that reaches PostgreSQL itself: %s%.100s port=%.10s.",
        address[0]  ? "host="
        : folder[0] ? "host="
                    : "the server listens on",
        address[0] ? address : folder, port);
    eg_report_add(report, EG_ERROR, "pooler", name, advice, "a connection pooler stands between");
}

static enum role check_role(struct eg_report *report, struct eg_admin *admin, const char *name, bool several)
{
    struct eg_admin_facts facts = eg_admin_facts(admin);
    struct eg_error error;
    if (eg_admin_run(admin, role_sql, &error) != 0) {
        eg_report_add(report, EG_ERROR, "connection", name, "PostgreSQL's log says more.",
                      "connected, and then it doesn't answer: %s", error.sentence);
        return UNFIT;
    }
    bool standby = strcmp(eg_admin_value(admin, 0), "t") == 0;
    eg_report_add(report, EG_FINE, "connection", name, NULL, "connected %s%s as %s to database %s, PostgreSQL %s, %s",
                  facts.is_local ? "by a Unix socket"
                  : facts.tls[0] ? "with "
                                 : "without TLS",
                  facts.is_local ? "" : facts.tls, eg_admin_value(admin, 5), eg_admin_value(admin, 6),
                  eg_admin_value(admin, 4), standby ? "a standby" : "a primary");
    if (!facts.is_local && !facts.tls[0] && strncmp(facts.address, "127.", 4) != 0 && strcmp(facts.address, "::1") != 0)
        eg_report_add(report, EG_WARNING, "connection", name,
                      "Where the network isn't yours alone, demand TLS: sslmode=verify-full (and sslrootcert=) in the "
                      "connection string.",
                      "what passes is not encrypted");
    if (atoi(eg_admin_value(admin, 1)) != facts.session) {
        tell_pooler(report, admin, name);
        return POOLER;
    }
    if (facts.server_version < OLDEST_SERVER) {
        eg_report_add(report, EG_ERROR, "connection", name, "Upgrade PostgreSQL.",
                      "the server is older than PostgreSQL 14");
        return UNFIT;
    }
    if (standby && !several)
        eg_report_add(report, EG_ERROR, "standby", name,
                      "Give the primary, or all hosts (host=a,b): then the gateway finds the primary by itself, after "
                      "a failover, too.",
                      "a standby can't LISTEN, nor be published to");
    return standby ? STANDBY : PRIMARY;
}

/* A host, and what came of it. */
struct attempt {
    char name[280];
    char problem[600]; /* "" if it is connected to */
    const char *advice;
    struct eg_admin *primary; /* the session, if it is one */
    enum role role;
};

/* Does the name lead anywhere? */
static bool resolves(const struct eg_admin_host *host, struct attempt *attempt)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    if (host->hostaddr[0] || !host->host[0] || host->host[0] == '/' || host->host[0] == '@')
        return true;
    int result = getaddrinfo(host->host, NULL, &hints, &found);
    if (result == 0) {
        freeaddrinfo(found);
        return true;
    }
    attempt->advice = advice_of("could not translate host name");
    snprintf(attempt->problem, sizeof(attempt->problem), "the name can't be resolved: %s", gai_strerror(result));
    return false;
}

static void try_host(struct eg_report *report, const struct eg_doctor_database *database,
                     const struct eg_admin_host *host, bool several, struct attempt *attempt)
{
    struct eg_error error;
    *attempt = (struct attempt){.role = AWAY};
    name_host(database, host, attempt->name, sizeof(attempt->name));
    eg_report_wait(report, attempt->name);
    if (!resolves(host, attempt))
        return;
    struct eg_admin *admin = eg_admin_connect_host(database->conninfo, host, database->connect_timeout_ms, &error);
    if (!admin) {
        for (char *at = error.sentence; *at; at++)
            *at = *at == '\n' || *at == '\t' ? ' ' : *at;
        attempt->advice = advice_of(error.sentence);
        snprintf(attempt->problem, sizeof(attempt->problem), "%s", error.sentence);
        return;
    }
    attempt->role = check_role(report, admin, attempt->name, several);
    if (attempt->role == PRIMARY)
        attempt->primary = admin;
    else
        eg_admin_close(admin);
}

static void ask_primary(struct eg_report *report, const struct eg_doctor_database *database, struct eg_admin *admin)
{
    struct eg_error error;
    if (eg_admin_run(admin, begin_sql, &error) != 0) {
        eg_report_add(report, EG_ERROR, "connection", database->subject, NULL, "%s", error.sentence);
        return;
    }
    check_clock(report, admin, database->subject);
    eg_doctor_log(report, admin, database);
    eg_doctor_settings(report, admin, database);
    eg_doctor_sessions(report, admin, database);
    eg_doctor_queue(report, admin, database->subject);
}

/* What the hosts are together. */
static void judge(struct eg_report *report, const char *subject, size_t count, size_t primaries, size_t standbys)
{
    if (primaries > 1)
        eg_report_add(report, EG_ERROR, "standby", subject,
                      "After a failover the old primary has to come back as a standby (pg_rewind), or not at all: what "
                      "is written to one of them is lost to the other.",
                      "%zu of its hosts are primaries", primaries);
    else if (primaries == 0 && standbys > 0 && count > 1)
        eg_report_add(report, EG_ERROR, "standby", subject,
                      "Promote one of them (pg_ctl promote), or bring the primary back.",
                      "none of its hosts is a primary");
    else if (primaries == 1 && count > 1)
        eg_report_add(report, EG_FINE, "standby", subject, NULL, "one of its %zu hosts is the primary, %zu follow%s",
                      count, standbys, standbys == 1 ? "s" : "");
}

static void look_at_hosts(struct eg_report *report, const struct eg_doctor_database *database,
                          const struct eg_admin_host *hosts, struct attempt *attempts, size_t count)
{
    size_t primaries = 0, standbys = 0;
    struct eg_admin *primary = NULL;
    for (size_t i = 0; i < count; i++) {
        try_host(report, database, &hosts[i], count > 1, &attempts[i]);
        primaries += attempts[i].role == PRIMARY;
        standbys += attempts[i].role == STANDBY;
        primary = primary ? primary : attempts[i].primary;
    }
    /* One that is away is worth a warning where another one does. */
    for (size_t i = 0; i < count; i++)
        if (attempts[i].problem[0])
            eg_report_add(report, primaries > 0 ? EG_WARNING : EG_ERROR, "connection", attempts[i].name,
                          attempts[i].advice, "%s", attempts[i].problem);
    judge(report, database->subject, count, primaries, standbys);
    if (primary)
        ask_primary(report, database, primary);
    for (size_t i = 0; i < count; i++)
        eg_admin_close(attempts[i].primary);
}

void eg_doctor_look_at_database(struct eg_report *report, const struct eg_doctor_database *database)
{
    struct eg_admin_host *hosts = NULL;
    size_t count = 0;
    struct eg_error error = {.sentence = "out of memory"};
    int result = eg_admin_hosts(database->conninfo, &hosts, &count, &error);
    struct attempt *attempts = result ? NULL : calloc(count, sizeof(*attempts));
    if (attempts)
        look_at_hosts(report, database, hosts, attempts, count);
    else
        eg_report_add(report, EG_ERROR, "connection", database->subject, "Correct postgres.", "%s", error.sentence);
    free(attempts);
    free(hosts);
}

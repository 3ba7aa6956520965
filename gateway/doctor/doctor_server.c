/*
 * What the primary tells of itself: settings, sessions, the queue of notifications.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/doctor.h"

/* From here on sessions that LISTEN cost those who NOTIFY something that shows. */
#define MANY_LISTENERS 20
#define QUEUE_WARNING 0.1
#define QUEUE_ERROR 0.5
/* A transaction that is as old as that is worth a word where it holds something up. */
#define OLD_TRANSACTION_S 60
#define LONG_KEEPALIVE_S 600

/* What a new session has; the doctor has set some for its own. */
static const char settings_sql[] =
    "SELECT name, reset_val FROM pg_catalog.pg_settings WHERE name IN ('synchronous_commit', 'fsync', "
    "'full_page_writes', 'idle_in_transaction_session_timeout', 'statement_timeout', 'transaction_timeout', "
    "'tcp_keepalives_idle', 'tcp_user_timeout', 'synchronous_standby_names', 'server_encoding', "
    "'default_transaction_read_only')";
static const char standbys_sql[] =
    "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE r.sync_state IN ('sync', 'quorum')), "
    "pg_catalog.count(*) FILTER (WHERE r.sync_state IS NULL), "
    "pg_catalog.pg_has_role(current_user, 'pg_monitor', 'USAGE') FROM pg_catalog.pg_stat_replication AS r";
/* Of other users' sessions, a role without pg_monitor doesn't see what kind they are. Reserved: for superusers, and
 * since version 16 for members of a role. */
static const char room_sql[] =
    "SELECT pg_catalog.current_setting('max_connections')::int - (SELECT coalesce(pg_catalog.sum(s.setting::int), 0) "
    " FROM pg_catalog.pg_settings AS s WHERE s.name IN ('superuser_reserved_connections', 'reserved_connections')), "
    "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.backend_type = 'client backend' "
    " OR (a.backend_type IS NULL AND a.datid IS NOT NULL)), "
    "r.rolconnlimit, (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.usesysid = r.oid), "
    "d.datconnlimit, (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.datid = d.oid), "
    "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity AS a WHERE a.datid = d.oid AND a.usesysid = r.oid "
    " AND a.application_name LIKE 'pg\\_eventgate %' AND a.application_name <> 'pg_eventgate doctor') "
    "FROM pg_catalog.pg_roles AS r, pg_catalog.pg_database AS d "
    "WHERE r.rolname = current_user AND d.datname = pg_catalog.current_database()";
/* Who LISTENs is known to each session alone; so it is those whose last command was a LISTEN, and gateways' own. */
static const char listeners_sql[] =
    "SELECT pg_catalog.count(*) FILTER (WHERE a.query ~* '^\\s*LISTEN\\M' "
    " OR a.application_name LIKE 'pg\\_eventgate % listen' OR a.application_name LIKE 'pg\\_eventgate % read'), "
    "pg_catalog.count(*) FILTER (WHERE a.backend_type IS NULL AND a.datid IS NOT NULL) "
    "FROM pg_catalog.pg_stat_activity AS a";
static const char queue_sql[] = "SELECT pg_catalog.pg_notification_queue_usage()";
/* The oldest transactions, of those first that LISTEN, as far as one can tell. */
static const char oldest_sql[] =
    "SELECT a.pid, coalesce(a.usename, ''), coalesce(a.datname, ''), coalesce(a.application_name, ''), "
    "coalesce(a.state, ''), pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start) "
    "FROM pg_catalog.pg_stat_activity AS a WHERE a.xact_start IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid() "
    "AND a.backend_type = 'client backend' "
    "ORDER BY a.application_name LIKE 'pg\\_eventgate % listen' OR a.query ~* 'LISTEN' DESC, a.xact_start LIMIT 1";

/* --- settings ----------------------------------------------------------------------------------------------------- */

/* The value of a setting of the last run, or "" (older servers don't have each). */
static const char *setting(const struct eg_admin *admin, const char *name)
{
    for (size_t row = 0; row < eg_admin_rows(admin); row++)
        if (strcmp(eg_admin_cell(admin, row, 0), name) == 0)
            return eg_admin_cell(admin, row, 1);
    return "";
}

static bool is(const struct eg_admin *admin, const char *name, const char *value)
{
    return strcmp(setting(admin, name), value) == 0;
}

static unsigned check_durability(struct eg_report *report, const struct eg_admin *admin, const char *subject,
                                 bool durable)
{
    unsigned found = 0;
    if (is(admin, "fsync", "off") || is(admin, "full_page_writes", "off"))
        eg_report_add(report, EG_WARNING, "settings", subject, "Switch both on, but for tests.",
                      "%s is off: a crash of the machine may lose or spoil what was acknowledged",
                      is(admin, "fsync", "off") ? "fsync" : "full_page_writes"),
            found++;
    if (durable && is(admin, "synchronous_commit", "off"))
        eg_report_add(report, EG_WARNING, "settings", subject,
                      "Nothing has to be done for durable channels: publishing raises it to on in its own transaction. "
                      "Other commits may be lost in a crash.",
                      "synchronous_commit is off"),
            found++;
    return found;
}

static unsigned check_timeouts(struct eg_report *report, const struct eg_admin *admin,
                               const struct eg_doctor_database *database)
{
    const char *subject = database->subject;
    static const char *const names[] = {"statement_timeout", "transaction_timeout"};
    unsigned found = 0;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(names); i++) {
        long value = atol(setting(admin, names[i]));
        if (value == 0 || value >= (long)database->query_timeout_ms)
            continue;
        eg_report_add(
            report, EG_WARNING, "settings", subject, "ALTER ROLE ... SET it to more, or 0, for the gateway's role.",
            "%s is %ld ms, less than the gateway's query_timeout (%" PRIu32 " ms): reading the log may be cut "
            "short, again and again",
            names[i], value, database->query_timeout_ms);
        found++;
    }
    if (database->durable && is(admin, "idle_in_transaction_session_timeout", "0")) {
        eg_report_add(report, EG_WARNING, "settings", subject,
                      "ALTER DATABASE ... SET idle_in_transaction_session_timeout = '1min', say; the gateway itself "
                      "is never idle in a transaction.",
                      "idle_in_transaction_session_timeout is 0: a publisher that forgets its transaction keeps "
                      "retention from dropping, and a listener that does fills the queue of notifications");
        found++;
    }
    return found;
}

/* Of the commits of all who publish: does one that has to be confirmed wait for nobody? */
static unsigned check_standbys(struct eg_report *report, struct eg_admin *admin, const char *subject, const char *names)
{
    struct eg_error error;
    if (!names[0] || eg_admin_run(admin, standbys_sql, &error) != 0)
        return 0;
    long all = atol(eg_admin_value(admin, 0)), synchronous = atol(eg_admin_value(admin, 1)),
         unseen = atol(eg_admin_value(admin, 2));
    if (synchronous > 0)
        return 0;
    if (all == 0)
        eg_report_add(report, EG_ERROR, "settings", subject,
                      "Every commit waits for it, publishing too. Bring the standby back, or take it out: ALTER SYSTEM "
                      "SET synchronous_standby_names = ''; SELECT pg_reload_conf();",
                      "synchronous_standby_names is \"%s\", and no standby is connected", names);
    else if (unseen > 0)
        eg_report_add(report, EG_WARNING, "settings", subject,
                      "GRANT pg_monitor to this role for the doctor to see it.",
                      "synchronous_standby_names is \"%s\"; this role may not see whether one of the %ld standbys that "
                      "are connected is synchronous",
                      names, all);
    else
        eg_report_add(report, EG_ERROR, "settings", subject,
                      "Every commit waits for one. The names have to be the application_name of the standbys' "
                      "primary_conninfo (SELECT application_name, sync_state FROM pg_stat_replication).",
                      "synchronous_standby_names is \"%s\", and none of the %ld standbys that are connected is one",
                      names, all);
    return 1;
}

void eg_doctor_settings(struct eg_report *report, struct eg_admin *admin, const struct eg_doctor_database *database)
{
    const char *subject = database->subject;
    struct eg_error error;
    char names[200];
    if (eg_admin_run(admin, settings_sql, &error) != 0) {
        eg_report_add(report, EG_WARNING, "settings", subject, NULL, "they can't be read: %s", error.sentence);
        return;
    }
    unsigned found = check_durability(report, admin, subject, database->durable);
    found += check_timeouts(report, admin, database);
    if (is(admin, "default_transaction_read_only", "on"))
        eg_report_add(report, EG_ERROR, "settings", subject, "ALTER ROLE ... SET default_transaction_read_only = off;",
                      "default_transaction_read_only is on: nothing can be published"),
            found++;
    if (!is(admin, "server_encoding", "UTF8"))
        eg_report_add(report, EG_WARNING, "settings", subject,
                      "Events with characters that it lacks are refused. A database "
                      "can't change its encoding: it would have to be made anew.",
                      "the database's encoding is %s, not UTF8", setting(admin, "server_encoding")),
            found++;
    long idle = atol(setting(admin, "tcp_keepalives_idle"));
    if (!eg_admin_facts(admin).is_local && idle > LONG_KEEPALIVE_S && is(admin, "tcp_user_timeout", "0"))
        eg_report_add(report, EG_WARNING, "settings", subject,
                      "ALTER SYSTEM SET tcp_keepalives_idle = 60; SELECT pg_reload_conf(); (The gateway's own side "
                      "notices within seconds.)",
                      "tcp_keepalives_idle is %ld s: sessions of a gateway whose machine is gone stay that long, its "
                      "LISTEN among them",
                      idle),
            found++;
    snprintf(names, sizeof(names), "%s", setting(admin, "synchronous_standby_names"));
    found += check_standbys(report, admin, subject, names);
    if (found == 0)
        eg_report_add(report, EG_FINE, "settings", subject, NULL, "PostgreSQL's settings suit");
}

/* --- sessions ----------------------------------------------------------------------------------------------------- */

struct room {
    const char *what;
    long limit, used;
};

static void check_room(struct eg_report *report, struct eg_admin *admin, const struct eg_doctor_database *database)
{
    const char *subject = database->subject, *whom = database->sets > 1 ? "these sets" : "this set";
    long needed = (long)database->needed;
    struct eg_error error;
    if (eg_admin_run(admin, room_sql, &error) != 0 || eg_admin_rows(admin) == 0)
        return;
    const struct room rooms[] = {
        {"PostgreSQL (max_connections)", atol(eg_admin_cell(admin, 0, 0)), atol(eg_admin_cell(admin, 0, 1))},
        {"its role (CONNECTION LIMIT)", atol(eg_admin_cell(admin, 0, 2)), atol(eg_admin_cell(admin, 0, 3))},
        {"its database (CONNECTION LIMIT)", atol(eg_admin_cell(admin, 0, 4)), atol(eg_admin_cell(admin, 0, 5))}};
    long running = atol(eg_admin_cell(admin, 0, 6)), left = -1;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rooms); i++) {
        if (rooms[i].limit < 0)
            continue;
        long free = rooms[i].limit - (rooms[i].used - 1); /* but for the doctor's own */
        if (free < needed && running == 0) {
            eg_report_add(
                report, EG_ERROR, "connections", subject, "Raise it, or find out who has them (pg_stat_activity).",
                "%s allows %ld more, and a gateway needs %ld for %s", rooms[i].what, free > 0 ? free : 0, needed, whom);
            return;
        }
        left = left < 0 || free < left ? free : left;
    }
    if (left < 2 * needed && running > 0)
        eg_report_add(report, EG_WARNING, "connections", subject,
                      "Another gateway, or this one's upgrade, would find no room. Raise max_connections, or the limit "
                      "of role or database.",
                      "%ld connections are left; a gateway takes %ld for %s, and twice as many during an upgrade", left,
                      needed, whom);
    else
        eg_report_add(report, EG_FINE, "connections", subject, NULL,
                      "%ld connections are left; a gateway takes %ld for %s", left, needed, whom);
}

void eg_doctor_sessions(struct eg_report *report, struct eg_admin *admin, const struct eg_doctor_database *database)
{
    const char *subject = database->subject;
    struct eg_error error;
    check_room(report, admin, database);
    if (eg_admin_run(admin, listeners_sql, &error) != 0)
        return;
    long listeners = atol(eg_admin_value(admin, 0)), unseen = atol(eg_admin_value(admin, 1));
    char more[100] = "";
    if (unseen > 0)
        snprintf(more, sizeof(more), "; of %ld sessions this role may not see it (GRANT pg_monitor)", unseen);
    if (listeners > MANY_LISTENERS)
        eg_report_add(report, EG_WARNING, "listeners", subject,
                      "Each costs every NOTIFY of the cluster something, even where nothing is for it. Let programs "
                      "subscribe to a gateway instead, and keep gateways few.",
                      "some %ld sessions LISTEN%s", listeners, more);
    else if (listeners > 0)
        eg_report_add(report, EG_FINE, "listeners", subject, NULL, "some %ld session%s%s", listeners,
                      listeners == 1 ? " LISTENs" : "s LISTEN", more);
    else
        eg_report_add(report, EG_FINE, "listeners", subject, NULL, "no session is seen to LISTEN%s", more);
}

/* --- the queue ---------------------------------------------------------------------------------------------------- */

void eg_doctor_queue(struct eg_report *report, struct eg_admin *admin, const char *subject)
{
    struct eg_error error;
    char who[300] = "", advice[500], age[32];
    if (eg_admin_run(admin, queue_sql, &error) != 0)
        return;
    double usage = atof(eg_admin_value(admin, 0));
    if (eg_admin_run(admin, oldest_sql, &error) == 0 && eg_admin_rows(admin) > 0 &&
        atof(eg_admin_value(admin, 5)) > OLD_TRANSACTION_S)
        snprintf(who, sizeof(who),
                 "process %.20s (%.60s, user %.60s, database %.60s, %.30s) has been in a transaction for %s",
                 eg_admin_value(admin, 0), eg_admin_value(admin, 3), eg_admin_value(admin, 1), eg_admin_value(admin, 2),
                 eg_admin_value(admin, 4), eg_doctor_age(atof(eg_admin_value(admin, 5)), age));
    snprintf(advice, sizeof(advice),
             "A session that LISTENs and is in a transaction, or doesn't read, keeps it from being emptied; when it is "
             "full, every commit of the cluster with a NOTIFY fails. End that session (pg_terminate_backend).%s%s%s",
             who[0] ? " Perhaps it is this: " : " None is seen here; its user may be another one's (GRANT pg_monitor).",
             who, who[0] ? "." : "");
    if (usage >= QUEUE_WARNING)
        eg_report_add(report, usage >= QUEUE_ERROR ? EG_ERROR : EG_WARNING, "queue", subject, advice,
                      "the queue of notifications is full to %.0f %%", usage * 100);
    else if (who[0])
        eg_report_add(
            report, EG_WARNING, "queue", subject,
            "Old transactions keep retention and vacuum waiting, and fill the queue of notifications if their "
            "session LISTENs. Find out what it waits for; pg_terminate_backend() ends it.",
            "the queue of notifications is full to %.3g %%, but %s", usage * 100, who);
    else
        eg_report_add(report, EG_FINE, "queue", subject, NULL, "the queue of notifications is full to %.3g %%",
                      usage * 100);
}

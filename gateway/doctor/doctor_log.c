/*
 * Schema `eventgate`, what this role may do with it, and the log.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/doctor.h"
#include "eventgate/schema_script.h"
#include "eventgate/schema_situation.h"

static const char membership_sql[] =
    "SELECT r.rolsuper, r.rolname, coalesce((SELECT pg_catalog.string_agg(g.rolname, ', ' ORDER BY g.rolname) "
    "FROM pg_catalog.pg_roles AS g WHERE g.rolname LIKE 'eventgate\\_%' "
    "AND pg_catalog.pg_has_role(r.oid, g.oid, 'USAGE')), '') "
    "FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user";
/* Segments, sizes, and what is kept; needs to read the log and its settings. */
static const char retention_sql[] =
    "WITH part AS (SELECT c.relname, pg_catalog.pg_total_relation_size(c.oid) AS bytes "
    " FROM pg_catalog.pg_inherits AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid "
    " WHERE i.inhparent = 'eventgate.log'::pg_catalog.regclass), "
    "newest AS (SELECT l.pos >> 33 AS segment FROM eventgate.log AS l ORDER BY l.pos DESC LIMIT 1) "
    "SELECT (SELECT n.segment FROM newest AS n), "
    "EXISTS (SELECT FROM part AS p, newest AS n WHERE p.relname = 'log_' || (n.segment + 1)), "
    "(SELECT pg_catalog.count(*) FROM part), (SELECT pg_catalog.pg_size_pretty(pg_catalog.sum(p.bytes)) FROM part AS "
    "p), "
    "coalesce(s.retention_age::text, ''), coalesce(pg_catalog.pg_size_pretty(s.retention_bytes), ''), "
    "coalesce(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - "
    " (SELECT l.\"time\" FROM eventgate.log AS l ORDER BY l.pos LIMIT 1)), 0), "
    "coalesce(pg_catalog.date_part('epoch', s.retention_age), 0), "
    "coalesce((SELECT pg_catalog.sum(p.bytes) FROM part AS p) > 2 * s.retention_bytes, false) "
    "FROM (SELECT pg_catalog.max(t.retention_age) AS retention_age, pg_catalog.max(t.retention_bytes) AS "
    "retention_bytes "
    " FROM eventgate.setting AS t) AS s";
/* Who holds the turn, by which all that is published comes one after the other, for longer than a commit takes. */
static const char turn_sql[] =
    "SELECT coalesce(l.pid, 0), coalesce(a.application_name, ''), coalesce(a.state, ''), "
    "coalesce(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start), 0) "
    "FROM pg_catalog.pg_locks AS l "
    "JOIN pg_catalog.pg_class AS c ON c.oid = l.relation "
    "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
    "LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid "
    "WHERE n.nspname = 'eventgate' AND c.relname = 'turn' AND l.granted AND l.mode = 'ExclusiveLock' "
    "AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()) "
    "AND (l.pid IS NULL OR a.xact_start < pg_catalog.clock_timestamp() - interval '1 second') LIMIT 1";

static void check_membership(struct eg_report *report, struct eg_admin *admin, const char *subject, bool durable)
{
    struct eg_error error;
    if (eg_admin_run(admin, membership_sql, &error) != 0)
        return;
    bool super = strcmp(eg_admin_value(admin, 0), "t") == 0;
    const char *role = eg_admin_value(admin, 1), *roles = eg_admin_value(admin, 2);
    if (super)
        eg_report_add(report, EG_WARNING, "role", subject,
                      "Make a role for it that can do nothing else: CREATE ROLE gateway LOGIN; for durable channels "
                      "GRANT eventgate_gateway TO gateway.",
                      "role %s is a superuser, and the gateway needs none", role);
    else
        eg_report_add(report, EG_FINE, "role", subject, NULL, "role %s%s%s%s", role,
                      roles[0]  ? ", which has the rights of "
                      : durable ? ", which has none of the rights that durable channels need"
                                : ": live channels need no more than to connect",
                      roles, "");
}

static void check_rights(struct eg_report *report, const struct eg_schema_situation *situation, const char *subject)
{
    char advice[400];
    snprintf(advice, sizeof(advice), "GRANT eventgate_gateway TO %s;", situation->quoted_user);
    if (situation->missing_roles[0])
        eg_report_add(report, EG_ERROR, "role", subject,
                      "CREATE ROLE ... NOLOGIN for each, then: pg_eventgate schema install",
                      "these roles are missing: %s", situation->missing_roles);
    if (situation->may_read && situation->may_append)
        eg_report_add(report, EG_FINE, "role", subject, NULL, "it may read the log, and append to it");
    else
        eg_report_add(report, EG_ERROR, "role", subject, advice, "role %s may %s", situation->user,
                      situation->may_read     ? "read the log, but not append to it: POSTs are answered 503"
                      : situation->may_append ? "append to the log, but not read it"
                                              : "neither read the log nor append to it");
}

static void check_age(struct eg_report *report, const struct eg_schema_situation *situation, const char *subject,
                      bool revocations)
{
    int version = situation->version;
    const char *upgrade = situation->is_extension ? "As its owner: ALTER EXTENSION pg_eventgate UPDATE; gateways may "
                                                    "run meanwhile."
                                                  : "As its owner: pg_eventgate schema upgrade --postgres CONNINFO. "
                                                    "Gateways may run meanwhile.";
    char lacks[200];
    eg_schema_lacks(version, lacks, sizeof(lacks));
    switch (eg_schema_fit_of(situation)) {
    case EG_SCHEMA_TOO_OLD:
        eg_report_add(report, EG_ERROR, "schema", subject, upgrade,
                      "schema eventgate is of version %d, too old for this program, whose own is %d", version,
                      eg_schema_version);
        break;
    case EG_SCHEMA_OLDER:
        if (revocations && version < EG_SCHEMA_REVOCATIONS)
            eg_report_add(report, EG_ERROR, "schema", subject, upgrade,
                          "schema eventgate is of version %d, and has no revocations, which a gateway with keys waits "
                          "for (revocations = off: it doesn't)",
                          version);
        else
            eg_report_add(report, EG_WARNING, "schema", subject, upgrade,
                          "schema eventgate is of version %d, older than this program's %d: gateways work with it; it "
                          "lacks %s",
                          version, eg_schema_version, lacks);
        break;
    case EG_SCHEMA_OWN:
        eg_report_add(report, EG_FINE, "schema", subject, NULL, "schema eventgate is of version %d, this program's own",
                      version);
        break;
    case EG_SCHEMA_NEWER:
        eg_report_add(report, EG_FINE, "schema", subject, NULL,
                      "schema eventgate is of version %d, newer than this program's %d: gateways work with it", version,
                      eg_schema_version);
        break;
    case EG_SCHEMA_TOO_NEW:
        eg_report_add(report, EG_ERROR, "schema", subject, "Use a newer pg_eventgate.",
                      "schema eventgate is of version %d, newer than this program's %d, and too new for it", version,
                      eg_schema_version);
        break;
    }
}

/* Is there a schema of ours? */
static bool check_version(struct eg_report *report, const struct eg_schema_situation *situation, const char *subject,
                          bool revocations)
{
    if (!situation->is_ours) {
        eg_report_add(report, EG_ERROR, "schema", subject,
                      situation->has_schema
                          ? "Its owner has to rename it (ALTER SCHEMA eventgate RENAME TO ...); then pg_eventgate "
                            "schema install."
                          : "As the owner of the database: pg_eventgate schema install --postgres CONNINFO",
                      situation->has_schema ? "there is a schema eventgate, but it isn't pg_eventgate's"
                                            : "there is no schema eventgate, which durable channels need");
        return false;
    }
    if (situation->version >= 0) /* else nothing is granted to the role, as is said next */
        check_age(report, situation, subject, revocations);
    return true;
}

static void check_turn(struct eg_report *report, struct eg_admin *admin, const char *subject)
{
    struct eg_error error;
    char age[32], advice[300];
    if (eg_admin_run(admin, turn_sql, &error) != 0 || eg_admin_rows(admin) == 0)
        return;
    const char *pid = eg_admin_value(admin, 0);
    if (strcmp(pid, "0") == 0) {
        eg_report_add(report, EG_ERROR, "publishing", subject,
                      "SELECT * FROM pg_prepared_xacts shows it: COMMIT PREPARED or ROLLBACK PREPARED. Don't publish "
                      "in transactions that are prepared.",
                      "a prepared transaction has the turn, and nobody can publish");
        return;
    }
    snprintf(advice, sizeof(advice),
             "Its transaction has to end; pg_terminate_backend(%.20s) ends it. It is a synchronous standby that "
             "doesn't answer (see below), or SET CONSTRAINTS ALL IMMEDIATE behind publish().",
             pid);
    eg_report_add(report, EG_ERROR, "publishing", subject, advice,
                  "process %s (%s, %s) has had the turn for %s, and nobody else can publish", pid,
                  eg_admin_value(admin, 1), eg_admin_value(admin, 2),
                  eg_doctor_age(atof(eg_admin_value(admin, 3)), age));
}

static void check_retention(struct eg_report *report, struct eg_admin *admin, const char *subject)
{
    static const char maintain[] = "Gateways do that every few seconds (SELECT * FROM eventgate.maintain() does it by "
                                   "hand): is one running, and does something hold the log locked? Without the next "
                                   "partition, publishing fails once this one is full.";
    struct eg_error error;
    char age[32];
    if (eg_admin_run(admin, retention_sql, &error) != 0) {
        eg_report_add(report, EG_WARNING, "retention", subject, NULL, "the log can't be looked at: %s", error.sentence);
        return;
    }
    const char *parts = eg_admin_value(admin, 2), *bytes = eg_admin_value(admin, 3),
               *kept_age = eg_admin_value(admin, 4), *kept_bytes = eg_admin_value(admin, 5);
    double oldest = atof(eg_admin_value(admin, 6)), kept_s = atof(eg_admin_value(admin, 7));
    if (!eg_admin_value(admin, 0)[0]) {
        eg_report_add(report, EG_FINE, "retention", subject, NULL, "the log is empty");
        return;
    }
    if (strcmp(eg_admin_value(admin, 1), "t") != 0)
        eg_report_add(report, EG_ERROR, "retention", subject, maintain, "the next partition of the log isn't there");
    if (!kept_age[0] && !kept_bytes[0])
        eg_report_add(report, EG_WARNING, "retention", subject,
                      "SELECT eventgate.configure('retention_age', '7 days'); or retention_bytes.",
                      "the log is kept for ever: %s in %s partitions so far", bytes, parts);
    else if ((kept_s > 0 && oldest > 1.5 * kept_s + 60) || strcmp(eg_admin_value(admin, 8), "t") == 0)
        eg_report_add(report, EG_WARNING, "retention", subject,
                      "Old partitions can't be dropped: is a gateway running, and does a long transaction read the "
                      "log (SELECT * FROM eventgate.maintain() says 'blocked')?",
                      "the log has %s in %s partitions and goes back %s; it should keep %s%s%s", bytes, parts,
                      eg_doctor_age(oldest, age), kept_age, kept_age[0] && kept_bytes[0] ? ", " : "", kept_bytes);
    else
        eg_report_add(report, EG_FINE, "retention", subject, NULL,
                      "the log has %s in %s partitions and goes back %s; it keeps %s%s%s", bytes, parts,
                      eg_doctor_age(oldest, age), kept_age, kept_age[0] && kept_bytes[0] ? ", " : "", kept_bytes);
}

void eg_doctor_log(struct eg_report *report, struct eg_admin *admin, const struct eg_doctor_database *database)
{
    const char *subject = database->subject;
    struct eg_schema_situation situation = {.version = 0};
    struct eg_error error;
    check_membership(report, admin, subject, database->durable);
    if (!database->durable)
        return;
    if (eg_schema_look(admin, &situation, &error) != 0) {
        eg_report_add(report, EG_ERROR, "schema", subject, NULL, "it can't be looked at: %s", error.sentence);
        return;
    }
    if (!check_version(report, &situation, subject, database->revocations))
        return;
    check_rights(report, &situation, subject);
    check_turn(report, admin, subject);
    if (situation.may_read && situation.may_append)
        check_retention(report, admin, subject);
}

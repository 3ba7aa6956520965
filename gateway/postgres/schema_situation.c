/*
 * What there is of schema `eventgate`. It is asked of the catalogs, since a user without rights may not even look names
 * up in the schema.
 */
#include "eventgate/schema_situation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/log_query.h"

static const char situation_query[] =
    "WITH space AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'eventgate'),"
    " ours AS (SELECT p.proname, pg_catalog.has_function_privilege(p.oid, 'EXECUTE') AS may"
    "  FROM pg_catalog.pg_proc p JOIN space ON space.oid = p.pronamespace),"
    " tables AS (SELECT c.relname, pg_catalog.has_table_privilege(c.oid, 'SELECT') AS may"
    "  FROM pg_catalog.pg_class c JOIN space ON space.oid = c.relnamespace),"
    " entry AS (SELECT EXISTS (SELECT FROM space WHERE pg_catalog.has_schema_privilege(oid, 'USAGE')) AS may)"
    "SELECT pg_catalog.current_database(), current_user, pg_catalog.current_setting('server_version'),"
    " (SELECT pg_catalog.string_agg(role, ', ') FROM pg_catalog.unnest("
    "   '{eventgate_publish,eventgate_read,eventgate_gateway,eventgate_admin}'::text[]) AS role"
    "  WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role)),"
    " pg_catalog.quote_ident(current_user),"
    " EXISTS (SELECT FROM space),"
    " EXISTS (SELECT FROM ours WHERE proname = 'version'),"
    " EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_eventgate'),"
    " entry.may AND 3 = (SELECT pg_catalog.count(*) FROM tables"
    "   WHERE relname IN ('log', 'channel', 'incarnation') AND may)"
    "   AND EXISTS (SELECT FROM ours WHERE proname = 'mark' AND may),"
    " entry.may AND 3 = (SELECT pg_catalog.count(DISTINCT proname) FROM ours"
    "   WHERE proname IN ('append', 'attach', 'maintain') AND may),"
    " entry.may AND EXISTS (SELECT FROM ours WHERE proname = 'publish' AND may),"
    " entry.may AND EXISTS (SELECT FROM ours WHERE proname = 'version' AND may),"
    " EXISTS (SELECT FROM ours WHERE proname = 'gateway_version' AND may) "
    "FROM entry";

static bool is_true(const struct eg_admin *admin, int column)
{
    return strcmp(eg_admin_value(admin, column), "t") == 0;
}

int eg_schema_look(struct eg_admin *admin, struct eg_schema_situation *ret_situation, struct eg_error *error)
{
    struct eg_schema_situation *situation = ret_situation;
    struct {
        char *text;
        size_t size;
    } texts[] = {{situation->database, sizeof(situation->database)},
                 {situation->user, sizeof(situation->user)},
                 {situation->server, sizeof(situation->server)},
                 {situation->missing_roles, sizeof(situation->missing_roles)},
                 {situation->quoted_user, sizeof(situation->quoted_user)}};
    int result = eg_admin_run(admin, situation_query, error);
    if (result)
        return result;
    for (int i = 0; i < (int)EG_ARRAY_LENGTH(texts); i++)
        snprintf(texts[i].text, texts[i].size, "%s", eg_admin_value(admin, i));
    situation->has_schema = is_true(admin, 5);
    situation->is_ours = is_true(admin, 6);
    situation->is_extension = is_true(admin, 7);
    situation->may_read = is_true(admin, 8);
    situation->may_append = is_true(admin, 9);
    situation->may_publish = is_true(admin, 10);
    situation->version = situation->is_ours ? -1 : 0;
    if (!is_true(admin, 11))
        return 0;
    if (is_true(admin, 12))
        result = eg_admin_run(admin, "SELECT eventgate.version(), eventgate.gateway_version()", error);
    else /* before version 3 there is no second number: gateways have to know the one */
        result = eg_admin_run(admin, "SELECT eventgate.version(), eventgate.version()", error);
    situation->version = result ? -1 : atoi(eg_admin_value(admin, 0));
    situation->gateway_version = result ? -1 : atoi(eg_admin_value(admin, 1));
    return result;
}

enum eg_schema_fit eg_schema_fit_of(const struct eg_schema_situation *situation)
{
    if (situation->version < EG_LOG_VERSION_LEAST)
        return EG_SCHEMA_TOO_OLD;
    if (situation->gateway_version > EG_LOG_VERSION)
        return EG_SCHEMA_TOO_NEW;
    return situation->version < EG_LOG_VERSION   ? EG_SCHEMA_OLDER
           : situation->version > EG_LOG_VERSION ? EG_SCHEMA_NEWER
                                                 : EG_SCHEMA_OWN;
}

void eg_schema_lacks(int version, char *ret_text, size_t size)
{
    static const struct {
        int since;
        const char *what;
    } additions[] = {{EG_SCHEMA_REVOCATIONS, "eventgate.revoke(), for gateways with keys"}, {3, "eventgate.cursor()"}};
    size_t length = 0;
    ret_text[0] = '\0';
    for (size_t i = 0; i < EG_ARRAY_LENGTH(additions) && length < size; i++)
        if (version < additions[i].since)
            length += (size_t)snprintf(ret_text + length, size - length, "%s%s", length ? "; " : "", additions[i].what);
}

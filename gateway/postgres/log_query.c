/*
 * The SQL of reading the log.
 *
 * Of a selection's channels a page wants the first rows in the order of all of them. That is a merge of many sorted
 * lists, and no list may be fetched much further than the page reaches: `first` has the first row of each channel, and
 * the LIMITth of these bounds the page; `early` has a few rows of each channel within that bound, the fewer the more
 * channels there are, and bounds it anew; `more` goes on with the channels that have more within that, as far as their
 * number allows. Should that still cut one off, the page ends there (`cut`). So a page costs one index probe a channel,
 * and a small multiple of its rows, however events are spread over the channels.
 */
#include "eventgate/log_query.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/pattern.h"
#include "eventgate/pg_array.h"

#define POSTGRES_EPOCH_US (INT64_C(946684800) * 1000000) /* 2000-01-01, from which PostgreSQL counts */

enum column { POSITION, CHANNEL, TYPE, TIME, TRACE, BYTES, DATA };

/* As eventgate.position() has it: the highest position there is, or was until retention dropped it. */
/* As eventgate.position() has it. */
#define HEAD                                                                                                           \
    "GREATEST((SELECT pg_catalog.max(l.pos) FROM eventgate.log AS l), "                                                \
    "(SELECT pg_catalog.max(c.pruned) FROM eventgate.channel AS c), "                                                  \
    "(SELECT pg_catalog.max(i.jump_to) FROM eventgate.incarnation AS i), 0)"
/* The head row, and behind it as many of the rows as the bytes allow. */
#define RESULT(head, pruned, cut, rows, bytes)                                                                         \
    "SELECT " head "::pg_catalog.int8 AS pos, " EG_LOG_MARK_SQL " AS channel, (" pruned ")::pg_catalog.text AS type, " \
    "NULL::pg_catalog.timestamptz AS \"time\", (" cut ")::pg_catalog.text AS trace, NULL::pg_catalog.int4 AS bytes, "  \
    "NULL::pg_catalog.json AS data UNION ALL (SELECT s.pos, s.channel, s.type, s.\"time\", s.trace, s.bytes, s.data "  \
    "FROM (SELECT r.*, pg_catalog.sum(r.bytes) OVER (ORDER BY r.pos ROWS UNBOUNDED PRECEDING) - r.bytes AS before "    \
    "FROM (" rows ") AS r) AS s WHERE s.before < " bytes " ORDER BY s.pos)"
#define COLUMNS "l.pos, l.channel, l.type, l.\"time\", l.trace, l.bytes, l.data"

#define NO_BOUND "9223372036854775807"
/* The LIMITth position of a table, or none. */
#define LIMITTH(table)                                                                                                 \
    "COALESCE((SELECT p.pos FROM " table " AS p ORDER BY p.pos OFFSET $2::pg_catalog.int8 - 1 LIMIT 1), " NO_BOUND ")"
/* How many rows of each channel of a table `f` are fetched: more than enough if they had equally many. */
#define SHARE "LEAST($2::pg_catalog.int8, 1 + 4 * $2::pg_catalog.int8 / GREATEST(pg_catalog.count(f.name), 1))"

static const char attach_sql[] =
    "SELECT a.version, a.tag, a.mark, a.head, a.jump_froms, a.jump_tos, eventgate.version() "
    "FROM eventgate.attach($1) AS a";

/* $1 position, $2 rows, $3 bytes */
static const char tail_sql[] =
    RESULT("NULL", "NULL", "NULL",
           "SELECT " COLUMNS " FROM eventgate.log AS l WHERE l.pos > $1 ORDER BY l.pos LIMIT $2", "$3");

/* $1 position, $2 rows, $3 bytes, $4 name */
static const char one_sql[] = RESULT(
    HEAD, "SELECT c.pruned FROM eventgate.channel AS c WHERE c.name = $4", "NULL",
    "SELECT " COLUMNS " FROM eventgate.log AS l WHERE l.channel = $4 AND l.pos > $1 ORDER BY l.pos LIMIT $2", "$3");

/* $1 position, $2 rows, $3 bytes, $4 names; $5 least names, $6 bounds of the names, $7 regular expressions of patterns;
 * $8 those of patterns that begin with a `*`; $9 the set's */
static const char many_sql[] =
    "WITH wanted AS MATERIALIZED ("
    "SELECT c.name, c.pruned FROM eventgate.channel AS c WHERE c.name = ANY ($4) "
    "UNION SELECT c.name, c.pruned FROM ROWS FROM (pg_catalog.unnest($5::pg_catalog.text[]), "
    "pg_catalog.unnest($6::pg_catalog.text[]), pg_catalog.unnest($7::pg_catalog.text[])) AS p (low, high, regex), "
    "eventgate.channel AS c WHERE c.name >= p.low AND c.name < p.high AND c.name ~ p.regex AND c.name ~ $9 "
    "UNION SELECT c.name, c.pruned FROM pg_catalog.unnest($8::pg_catalog.text[]) AS p (regex), eventgate.channel AS c "
    "WHERE c.name ~ p.regex AND c.name ~ $9), "
    "first AS MATERIALIZED (SELECT w.name, l.pos FROM wanted AS w, LATERAL (SELECT l.pos FROM eventgate.log AS l "
    "WHERE l.channel = w.name AND l.pos > $1 ORDER BY l.pos LIMIT 1) AS l), "
    "bound AS MATERIALIZED (SELECT " LIMITTH(
        "first") " AS upto, " SHARE " AS share FROM first AS f), "
                 "early AS MATERIALIZED (SELECT f.name, l.pos, l.n FROM first AS f, "
                 "LATERAL (SELECT e.pos, pg_catalog.row_number() OVER (ORDER BY e.pos) AS n FROM (SELECT l.pos "
                 "FROM eventgate.log AS l WHERE l.channel = f.name AND l.pos >= f.pos AND l.pos <= (SELECT b.upto FROM "
                 "bound AS b) "
                 "ORDER BY l.pos LIMIT (SELECT b.share FROM bound AS b)) AS e) AS l WHERE f.pos <= (SELECT b.upto FROM "
                 "bound AS b)), "
                 "bound_of_early AS MATERIALIZED (SELECT " LIMITTH(
                     "early") " AS upto), "
                              "longer AS MATERIALIZED (SELECT e.name, e.pos FROM early AS e WHERE e.n = (SELECT "
                              "b.share FROM bound AS b) "
                              "AND e.pos < (SELECT b.upto FROM bound_of_early AS b)), "
                              "bound_of_more AS MATERIALIZED (SELECT " SHARE " AS share FROM longer AS f), "
                              "more AS MATERIALIZED (SELECT l.pos, l.n FROM longer AS f, "
                              "LATERAL (SELECT m.pos, pg_catalog.row_number() OVER (ORDER BY m.pos) AS n FROM (SELECT "
                              "l.pos "
                              "FROM eventgate.log AS l WHERE l.channel = f.name AND l.pos > f.pos "
                              "AND l.pos <= (SELECT b.upto FROM bound_of_early AS b) "
                              "ORDER BY l.pos LIMIT (SELECT b.share FROM bound_of_more AS b)) AS m) AS l), "
                              "cut AS MATERIALIZED (SELECT pg_catalog.min(m.pos) AS upto FROM more AS m "
                              "WHERE m.n = (SELECT b.share FROM bound_of_more AS b)), "
                              "page AS (SELECT a.pos FROM (SELECT e.pos FROM early AS e UNION ALL SELECT m.pos FROM "
                              "more AS m) AS a "
                              "WHERE a.pos <= COALESCE((SELECT c.upto FROM cut AS c), " NO_BOUND
                              ") ORDER BY a.pos LIMIT $2) " RESULT(
                                  HEAD, "SELECT pg_catalog.max(w.pruned) FROM wanted AS w",
                                  "SELECT c.upto FROM cut AS c",
                                  "SELECT l.* FROM page AS p, LATERAL (SELECT " COLUMNS
                                  " FROM eventgate.log AS l WHERE l.pos = p.pos LIMIT 1) AS l",
                                  "$3");

/* --- settings and errors -------------------------------------------------------------------------------------------
 */

void eg_log_settings(const struct eg_config_set *set, struct eg_buffer *buffer)
{
    static const char *const settings[][2] = {{"default_transaction_isolation", "read committed"},
                                              {"default_transaction_read_only", "off"},
                                              {"plan_cache_mode", "force_generic_plan"},
                                              {"enable_seqscan", "off"},
                                              {"jit", "off"},
                                              {"search_path", "pg_catalog"}};
    static const char *const timeouts[] = {"lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout",
                                           "tcp_user_timeout"};
    /* The last one lets go of the partitions that a session reads for a gateway which has vanished. */
    const uint32_t timeouts_ms[] = {set->query_timeout_ms / 2, set->query_timeout_ms / 4 * 3, set->query_timeout_ms,
                                    2 * set->query_timeout_ms};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(settings); i++)
        eg_buffer_add_format(buffer, ", pg_catalog.set_config('%s', '%s', false)", settings[i][0], settings[i][1]);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(timeouts); i++)
        eg_buffer_add_format(buffer, ", pg_catalog.set_config('%s', '%u', false)", timeouts[i], timeouts_ms[i]);
    eg_buffer_add(buffer, "", 1);
}

void eg_log_explain(const struct eg_error *error, char *ret_text, size_t size)
{
    static const char *const missing[] = {"3F000", "42P01", "42883", "42703"};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(missing); i++)
        if (strcmp(error->sqlstate, missing[i]) == 0) {
            snprintf(ret_text, size,
                     "the database lacks the schema eventgate, or has an old one: run `pg_eventgate schema install` "
                     "(%.120s)",
                     error->sentence);
            return;
        }
    if (strcmp(error->sqlstate, "42501") == 0)
        snprintf(ret_text, size,
                 "the gateway's role lacks the rights of eventgate_gateway: run `GRANT eventgate_gateway TO ROLE` "
                 "(%.120s)",
                 error->sentence);
    else
        snprintf(ret_text, size, "%s", error->sentence);
}

/* --- attaching -----------------------------------------------------------------------------------------------------
 */

static struct eg_bytes int8_of(uint64_t value, char at[8])
{
    for (size_t i = 0; i < 8; i++)
        at[i] = (char)(value >> (56 - 8 * i));
    return (struct eg_bytes){at, 8};
}

void eg_log_send_attach(struct eg_connection *connection, uint64_t least)
{
    char bytes[8];
    struct eg_bytes value = int8_of(least, bytes);
    eg_connection_prepare(connection, "", attach_sql, 1); /* unnamed: it may be sent again in the session */
    eg_connection_send(connection, "", &value, 1);
}

/* Jumps that lead nowhere are none: the first incarnation begins where nothing was. */
static struct eg_log_jumps *read_jumps(struct eg_bytes froms, struct eg_bytes tos)
{
    size_t from_count, to_count, kept = 0;
    const char *from, *to;
    if (eg_pg_array_read_int8(froms, &from_count, &from) != 0 || eg_pg_array_read_int8(tos, &to_count, &to) != 0 ||
        from_count != to_count)
        return NULL;
    struct eg_log_jumps *jumps = eg_log_jumps_new(from_count);
    for (size_t i = 0; jumps && i < from_count; i++) {
        const struct eg_log_jump jump = {(uint64_t)eg_pg_array_int8(from, i), (uint64_t)eg_pg_array_int8(to, i)};
        if (jump.from < jump.to)
            jumps->jumps[kept++] = jump;
    }
    if (jumps)
        jumps->count = kept;
    return jumps;
}

int eg_log_read_attached(const struct eg_result *result, struct eg_log_attached *ret_attached,
                         struct eg_error *ret_error)
{
    ret_error->sqlstate[0] = '\0';
    bool attached = eg_result_count(result) == 1;
    int64_t asked = attached ? eg_result_integer(result, 0, 0) : 0;
    int64_t version = attached ? eg_result_integer(result, 0, 6) : 0;
    struct eg_bytes tag = {NULL, 0}, mark = {NULL, 0};
    if (version >= EG_LOG_VERSION_LEAST && asked <= EG_LOG_VERSION) {
        tag = eg_result_bytes(result, 0, 1);
        mark = eg_result_bytes(result, 0, 2);
    } else {
        snprintf(ret_error->sentence, sizeof(ret_error->sentence),
                 version < EG_LOG_VERSION_LEAST
                     ? "the database has version %d of the schema eventgate, and this gateway needs "
                       "%d: run `pg_eventgate schema upgrade`"
                     : "the database's schema eventgate is for gateways that know version %d of it, and this one "
                       "knows only %d: use a newer pg_eventgate",
                 (int)(version < EG_LOG_VERSION_LEAST ? version : asked),
                 version < EG_LOG_VERSION_LEAST ? EG_LOG_VERSION_LEAST : EG_LOG_VERSION);
        return -EINVAL;
    }
    struct eg_log_jumps *jumps = read_jumps(eg_result_bytes(result, 0, 4), eg_result_bytes(result, 0, 5));
    if (!jumps || tag.length == 0 || tag.length > EG_CURSOR_TAG_MAX || mark.length >= EG_LOG_MARK_SIZE) {
        eg_log_jumps_unref(jumps);
        snprintf(ret_error->sentence, sizeof(ret_error->sentence), "out of memory, or not an eventgate schema");
        return -EINVAL;
    }
    snprintf(ret_attached->tag, sizeof(ret_attached->tag), "%s", tag.data);
    snprintf(ret_attached->mark, sizeof(ret_attached->mark), "%s", mark.data ? mark.data : "");
    ret_attached->head = (uint64_t)eg_result_integer(result, 0, 3);
    ret_attached->jumps = jumps;
    return 0;
}

/* --- rows ----------------------------------------------------------------------------------------------------------
 */

int eg_log_read_head(const struct eg_result *result, struct eg_log_head *ret_head)
{
    if (eg_result_count(result) == 0 || eg_result_columns(result) <= DATA || eg_result_bytes(result, 0, TIME).data)
        return -EINVAL;
    struct eg_bytes pruned = eg_result_bytes(result, 0, TYPE);
    ret_head->position = (uint64_t)eg_result_integer(result, 0, POSITION);
    ret_head->mark = eg_result_bytes(result, 0, CHANNEL);
    ret_head->pruned = pruned.data ? strtoull(pruned.data, NULL, 10) : 0;
    ret_head->cut = eg_result_bytes(result, 0, TRACE).data != NULL;
    return 0;
}

int64_t eg_log_read_time(const struct eg_result *result, size_t row, size_t column)
{
    return eg_result_bytes(result, row, column).data ? eg_result_integer(result, row, column) + POSTGRES_EPOCH_US : 0;
}

void eg_log_read_row(const struct eg_result *result, size_t row, struct eg_log_row *ret_row)
{
    ret_row->position = (uint64_t)eg_result_integer(result, row, POSITION);
    ret_row->channel = eg_result_bytes(result, row, CHANNEL);
    ret_row->type = eg_result_bytes(result, row, TYPE);
    ret_row->trace = eg_result_bytes(result, row, TRACE);
    ret_row->data = eg_result_bytes(result, row, DATA);
    ret_row->appended_us = eg_log_read_time(result, row, TIME);
    ret_row->bytes = (uint32_t)eg_result_integer(result, row, BYTES);
}

/* --- asking --------------------------------------------------------------------------------------------------------
 */

void eg_log_prepare_tail(struct eg_connection *connection)
{
    eg_connection_prepare(connection, "tail", tail_sql, 3);
}

void eg_log_prepare_pages(struct eg_connection *connection)
{
    eg_connection_prepare(connection, "one", one_sql, 4);
    eg_connection_prepare(connection, "many", many_sql, 9);
}

/* The three parameters that all have. */
struct numbers {
    char after[8], rows[8], bytes[8];
};

static void set_numbers(struct numbers *numbers, struct eg_bytes values[3], uint64_t after, uint64_t rows,
                        uint64_t bytes)
{
    values[0] = int8_of(after, numbers->after);
    values[1] = int8_of(rows, numbers->rows);
    values[2] = int8_of(bytes, numbers->bytes);
}

void eg_log_send_tail(struct eg_connection *connection, uint64_t after)
{
    struct numbers numbers;
    struct eg_bytes values[3];
    set_numbers(&numbers, values, after, EG_LOG_TAIL_ROWS, EG_LOG_TAIL_BYTES);
    eg_connection_send(connection, "tail", values, 3);
}

/* What stands before the pattern's first `*`: "" or whole levels, with the slash behind them. */
static size_t prefix_length(struct eg_bytes pattern)
{
    const char *star = memchr(pattern.data, '*', pattern.length);
    return star ? (size_t)(star - pattern.data) : pattern.length;
}

/* What is added of a name to one of the arrays. */
enum part { NAMES, LEAST, BOUNDS, REGEXES, ROOT_REGEXES, PART_COUNT };

static bool has_part(struct eg_bytes name, enum part part)
{
    if (!eg_pattern_is_wild(name.data, name.length))
        return part == NAMES;
    return prefix_length(name) == 0 ? part == ROOT_REGEXES : part != NAMES && part != ROOT_REGEXES;
}

static void add_part(struct eg_buffer *buffer, struct eg_bytes name, enum part part)
{
    struct eg_buffer text = EG_BUFFER_INIT;
    size_t prefix = prefix_length(name);
    switch (part) {
    case NAMES:
        eg_buffer_add(&text, name.data, name.length);
        break;
    case LEAST:
        eg_buffer_add(&text, name.data, prefix);
        break;
    case BOUNDS: /* the slash's successor: all that begins with the prefix sorts below, byte by byte */
        eg_buffer_add(&text, name.data, prefix - 1);
        eg_buffer_add_string(&text, "0");
        break;
    default:
        eg_buffer_add_string(&text, "^");
        eg_log_add_regex(&text, name.data, name.length);
        eg_buffer_add_string(&text, "$");
        break;
    }
    eg_pg_array_add(buffer, (struct eg_bytes){text.data, text.length});
    buffer->failed = buffer->failed || text.failed;
    eg_buffer_done(&text);
}

static void add_array(struct eg_buffer *buffer, const struct eg_log_selection *selection, enum part part)
{
    size_t count = 0;
    for (size_t i = 0; i < selection->count; i++)
        count += has_part(selection->names[i], part);
    eg_pg_array_begin(buffer, EG_PG_TEXT, count);
    for (size_t i = 0; i < selection->count; i++)
        if (has_part(selection->names[i], part))
            add_part(buffer, selection->names[i], part);
}

static int send_many(struct eg_connection *connection, const struct eg_log_selection *selection,
                     struct eg_bytes set_regex, struct eg_bytes values[9])
{
    struct eg_buffer arrays = EG_BUFFER_INIT;
    size_t ends[PART_COUNT], start = 0;
    for (enum part part = 0; part < PART_COUNT; part++) {
        add_array(&arrays, selection, part);
        ends[part] = arrays.length;
    }
    for (enum part part = 0; !arrays.failed && part < PART_COUNT; part++) {
        values[3 + part] = (struct eg_bytes){arrays.data + start, ends[part] - start};
        start = ends[part];
    }
    values[8] = set_regex;
    if (!arrays.failed)
        eg_connection_send(connection, "many", values, 9);
    int error = arrays.failed ? -ENOMEM : 0;
    eg_buffer_done(&arrays);
    return error;
}

/* One name: the statement for it alone will do. */
static bool is_one(const struct eg_log_selection *selection)
{
    return selection->count == 1 && !eg_pattern_is_wild(selection->names[0].data, selection->names[0].length);
}

struct eg_log_bounds eg_log_bounds_of(const struct eg_log_selection *selection)
{
    if (is_one(selection))
        return (struct eg_log_bounds){EG_LOG_PAGE_ROWS, EG_LOG_PAGE_BYTES};
    return (struct eg_log_bounds){EG_LOG_PAGES_ROWS, EG_LOG_PAGES_BYTES};
}

int eg_log_send_page(struct eg_connection *connection, const struct eg_log_selection *selection, uint64_t after,
                     struct eg_bytes set_regex)
{
    struct numbers numbers;
    struct eg_bytes values[9];
    const struct eg_log_bounds bounds = eg_log_bounds_of(selection);
    set_numbers(&numbers, values, after, bounds.rows, bounds.bytes);
    if (!is_one(selection))
        return send_many(connection, selection, set_regex, values);
    values[3] = selection->names[0];
    eg_connection_send(connection, "one", values, 4);
    return 0;
}

void eg_log_add_regex(struct eg_buffer *buffer, const char *pattern, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (pattern[i] != '*') {
            if (strchr(".^$+?()[]{}|\\", pattern[i]))
                eg_buffer_add_string(buffer, "\\");
            eg_buffer_add(buffer, &pattern[i], 1);
        } else if (i + 1 < length && pattern[i + 1] == '*') {
            eg_buffer_add_string(buffer, ".+");
            i++;
        } else {
            eg_buffer_add_string(buffer, "[^/]+");
        }
    }
}

void eg_log_set_regex(const struct eg_config_set *set, struct eg_buffer *buffer)
{
    eg_buffer_add_string(buffer, "^(?:");
    for (size_t i = 0; i < set->durable_count; i++) {
        if (i > 0)
            eg_buffer_add_string(buffer, "|");
        eg_log_add_regex(buffer, set->durable[i].text, set->durable[i].length);
    }
    eg_buffer_add_string(buffer, ")$");
}

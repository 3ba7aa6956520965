/*
 * What the gateway asks of schema eventgate: the SQL texts, their parameters, and how their results are read. Postgres
 * thread.
 *
 * A result of the log begins with a head row: the mark of the incarnation and the log's head in the snapshot of that
 * same statement, so that rows of another incarnation than the one attached to are never taken for its. All statements
 * are prepared once a session, with plans that use the indexes whatever the statistics say (eg_log_settings).
 */
#ifndef EG_LOG_QUERY_H
#define EG_LOG_QUERY_H

#include "eventgate/buffer.h"
#include "eventgate/connection.h"
#include "eventgate/log_jumps.h"
#include "eventgate/log_page.h"

/* A schema works with this program if its version (eventgate.version()) is at least the first one, and the version that
 * gateways have to know for it (eventgate.gateway_version()) is at most the second, which is the program's own. */
#define EG_LOG_VERSION_LEAST 1
#define EG_LOG_VERSION 3
/* Bounds of a result, that at least one row passes. */
#define EG_LOG_TAIL_ROWS 2000u
#define EG_LOG_TAIL_BYTES 4000000u
#define EG_LOG_PAGE_ROWS 500u
#define EG_LOG_PAGE_BYTES 500000u
/* Of a read that makes several pages, since it asks more than one channel. */
#define EG_LOG_PAGES_ROWS 8000u
#define EG_LOG_PAGES_BYTES 4000000u
#define EG_LOG_MARK_SIZE 64u
/* The mark of the statement's snapshot, as eventgate.mark() has it, without the cost of calling a function. */
#define EG_LOG_MARK_SQL                                                                                                \
    "(SELECT pg_catalog.concat(i.number, '.', i.xmin) FROM eventgate.incarnation AS i "                                \
    "ORDER BY i.number DESC LIMIT 1)"

/* For eg_connection_hooks.settings, NUL-terminated: timeouts shorter than the connection's own deadline, so that it is
 * PostgreSQL that gives up, and says so. */
void eg_log_settings(const struct eg_config_set *set, struct eg_buffer *buffer);

/* The sentence of an error for who runs the gateway: what to do where the schema or a right is missing. */
void eg_log_explain(const struct eg_error *error, char *ret_text, size_t size);

/* --- attaching --- */

struct eg_log_attached {
    char tag[EG_CURSOR_TAG_MAX + 1];
    char mark[EG_LOG_MARK_SIZE];
    uint64_t head;
    struct eg_log_jumps *jumps; /* a reference: the caller's */
};
/* Prepares and sends; a sync has to follow. `least`: the highest position seen; the log will run beyond it. */
void eg_log_send_attach(struct eg_connection *connection, uint64_t least);
/* 0, or -EINVAL with a sentence: a schema that is too old or too new for us, or out of memory. */
int eg_log_read_attached(const struct eg_result *result, struct eg_log_attached *ret_attached,
                         struct eg_error *ret_error) EG_MUST_CHECK;

/* --- rows --- */

struct eg_log_row {
    uint64_t position;
    struct eg_bytes channel, type, trace, data; /* NUL-terminated; type and trace may be NULL */
    int64_t appended_us;                        /* wall clock, since 1970 */
    uint32_t bytes;                             /* that it counts against a result's bound */
};
struct eg_log_head {
    uint64_t position;
    struct eg_bytes mark;
    uint64_t pruned; /* of a page: the greatest position of its channels that retention has dropped */
    bool cut;        /* of a page: there is more behind its last row, though it has fewer rows than it may */
};
/* Row 0 of every result that has rows; -EINVAL: it isn't. */
int eg_log_read_head(const struct eg_result *result, struct eg_log_head *ret_head) EG_MUST_CHECK;
/* The others, from 1 on. */
void eg_log_read_row(const struct eg_result *result, size_t row, struct eg_log_row *ret_row);

/* A column with a time: wall clock, microseconds since 1970; 0 for NULL. */
int64_t eg_log_read_time(const struct eg_result *result, size_t row, size_t column);

/* --- asking --- */

/* The rows behind a position, of all channels. The head row has no position and no pruned. */
void eg_log_prepare_tail(struct eg_connection *connection);
void eg_log_send_tail(struct eg_connection *connection, uint64_t after);

/* The rows of a selection behind a position: the first ones in order, without a hole. `set_regex` (of
 * eg_log_set_regex) keeps patterns to the set's channels. -ENOMEM: nothing was sent. */
void eg_log_prepare_pages(struct eg_connection *connection);
int eg_log_send_page(struct eg_connection *connection, const struct eg_log_selection *selection, uint64_t after,
                     struct eg_bytes set_regex) EG_MUST_CHECK;

/* The bounds of that result. */
struct eg_log_bounds {
    uint64_t rows, bytes;
};
struct eg_log_bounds eg_log_bounds_of(const struct eg_log_selection *selection);

/* Appends a regular expression (PostgreSQL's) that matches the names that the pattern does. */
void eg_log_add_regex(struct eg_buffer *buffer, const char *pattern, size_t length);
/* The same for all durable channels of a set. */
void eg_log_set_regex(const struct eg_config_set *set, struct eg_buffer *buffer);

#endif

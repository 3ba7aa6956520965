/*
 * One libpq connection that is kept up: connecting, checking, commands with a deadline, heartbeats, and starting over.
 * The only module that knows libpq. Postgres thread.
 *
 * Connecting can block (libpq resolves names and reads files), so each attempt runs on a short-lived thread of its own,
 * which hands the finished connection over. From then on everything is non-blocking.
 */
#ifndef EG_CONNECTION_H
#define EG_CONNECTION_H

#include <stdbool.h>

#include "eventgate/common.h"
#include "eventgate/config.h"
#include "eventgate/loop.h"

/* What is seen to be free before libpq looks for notifications in what it has read. */
#define EG_NOTIFICATIONS_MEMORY_BYTES 65536u

struct eg_connection;

struct pg_result;

/* What a command came to. Borrowed for the call. */
struct eg_result {
    enum { EG_RESULT_OK, EG_RESULT_ERROR, EG_RESULT_SYNC } kind; /* SYNC: the end of a pipelined transaction */
    const char *value;                                           /* first column of the first row, or NULL */
    const struct pg_result *rows; /* OK: what the command returned, for the functions below; else NULL */
    const struct eg_error *error; /* with ERROR */
};

/* The rows of a result that has `rows`. Columns count from 0, and exist; so does the row. Bytes are borrowed like the
 * result, and NUL-terminated; NULL is no bytes at `data` NULL. Values of eg_connection_send() are in binary form. */
size_t eg_result_count(const struct eg_result *result);
size_t eg_result_columns(const struct eg_result *result);
struct eg_bytes eg_result_bytes(const struct eg_result *result, size_t row, size_t column);
/* A binary integer of 2, 4 or 8 bytes, or timestamp; 0 for NULL. */
int64_t eg_result_integer(const struct eg_result *result, size_t row, size_t column);
const char *eg_result_column_name(const struct eg_result *result, size_t column);

struct eg_connection_hooks {
    void *context;
    void (*ready)(void *context); /* connected and checked: commands can be sent */
    /* A notification. NUL-terminated; called before the result of any command that was answered after it. */
    void (*notified)(void *context, const char *channel, const char *payload);
    void (*drained)(void *context); /* all notifications that had arrived have been passed on; may be NULL */
    void (*result)(void *context, const struct eg_result *result);
    void (*finished)(void *context); /* a plain command (eg_connection_query) is over: another one can be sent */
    void (*idle)(void *context);     /* nothing has been under way for heartbeat_ms */
    void (*lost)(void *context); /* after `ready`: the connection is gone, and so is everything that was under way */
    /* The state has changed; `problem`: the last failure since the connection was settled, a sentence, or NULL. */
    void (*state)(void *context, const char *state, const char *problem);
    /* More columns of the SELECT that a session begins with, for set_config(), each after a comma; NULL: none. Borrowed
     * like the context. */
    const char *settings;
};

/* `purpose`: one word, for the log and application_name; static. Starts connecting in the loop's next turn. `set`
 * is borrowed. NULL: out of memory. */
struct eg_connection *eg_connection_new(struct eg_loop *loop, const struct eg_config_set *set, const char *purpose,
                                        const struct eg_connection_hooks *hooks);
void eg_connection_free(struct eg_connection *connection);

bool eg_connection_is_ready(const struct eg_connection *connection);

/* The process of PostgreSQL that serves it; 0: none. */
int eg_connection_session(const struct eg_connection *connection);
/* While a notification is passed on: the process that sent it. */
int eg_connection_notifier(const struct eg_connection *connection);
/* Is the database's encoding UTF-8, so that every text comes back as it was sent? */
bool eg_connection_keeps_utf8(const struct eg_connection *connection);

/* It does what it is for: the next failure is a new one, and its back-off begins anew. Until then each attempt that
 * fails, even after `ready`, waits longer than the one before. */
void eg_connection_settle(struct eg_connection *connection);

/* Sends one query string (simple protocol; several statements are one transaction). Only when none is under way. */
void eg_connection_query(struct eg_connection *connection, const char *sql);

/* Pipelining, from the first call for the rest of the session: prepare; send with parameters in binary form (at most
 * EG_PARAMETERS_MAX; `data` NULL is NULL), for a result in binary form; end a transaction. Every failure of these shows
 * up as the connection's loss. */
#define EG_PARAMETERS_MAX 12
void eg_connection_prepare(struct eg_connection *connection, const char *name, const char *sql, int parameters);
void eg_connection_send(struct eg_connection *connection, const char *name, const struct eg_bytes *values, int count);
void eg_connection_sync(struct eg_connection *connection);
/* Writes out what has been sent, as far as the socket takes it. */
void eg_connection_flush(struct eg_connection *connection);

/* Appends the name as a quoted identifier. */
void eg_connection_quote(struct eg_connection *connection, struct eg_buffer *sql, const char *name, size_t length);

/* Gives the connection up, and starts over. `problem` is a sentence. */
void eg_connection_fail(struct eg_connection *connection, const char *problem);

/* What the log may have of an error: its sentence, or NULL where PostgreSQL, or a trigger, may quote data in it
 * (classes 22, 23, P0). Any thread. */
const char *eg_connection_loggable(const struct eg_error *error);

/* Is this a connection string that libpq understands? 0, or -EINVAL with a sentence, without what libpq quotes of it,
 * since that may be a password. Any thread. */
int eg_connection_check_conninfo(const char *conninfo, struct eg_error *ret_error) EG_MUST_CHECK;

#endif

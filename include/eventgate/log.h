/*
 * Structured logging: one line is one event, as `key=value` text or JSON, to standard error.
 *
 * Once eg_log_start() has run, a thread of its own does the writing: callers only copy the line into a bounded queue,
 * so that a stalled pipe or disk never stalls a loop. When the queue is full, lines are dropped and counted, and the
 * count is logged as soon as there is room. Before the start, and after the stop, lines are written directly.
 * All functions may be called on any thread.
 */
#ifndef EG_LOG_H
#define EG_LOG_H

#include <stdbool.h>

#include "eventgate/common.h"

enum eg_log_level { EG_LOG_ERROR, EG_LOG_WARN, EG_LOG_INFO, EG_LOG_DEBUG };
enum eg_log_format { EG_LOG_TEXT, EG_LOG_JSON };

struct eg_log_field {
    const char *key; /* NULL ends a list of fields */
    enum { EG_LOG_FIELD_STRING, EG_LOG_FIELD_INTEGER } kind;
    const char *string; /* NULL is left out of the line */
    int64_t integer;
};

#define EG_LOG_STR(key, value) ((struct eg_log_field){(key), EG_LOG_FIELD_STRING, (value), 0})
#define EG_LOG_INT(key, value) ((struct eg_log_field){(key), EG_LOG_FIELD_INTEGER, NULL, (int64_t)(value)})
#define EG_LOG_END ((struct eg_log_field){NULL, EG_LOG_FIELD_STRING, NULL, 0})

/*
 * Logs `message` (a fixed phrase, in lower case) with its fields:
 *     eg_log(EG_LOG_WARN, "connection lost", EG_LOG_STR("set", name), EG_LOG_INT("retry_ms", 200));
 * Strings are borrowed for the call and escaped; never pass a token, a password or a payload.
 */
#define eg_log(level, ...) EG_LOG_CALL(level, __VA_ARGS__, EG_LOG_END)
#define EG_LOG_CALL(level, message, ...) eg_log_fields((level), (message), (const struct eg_log_field[]){__VA_ARGS__})
void eg_log_fields(enum eg_log_level level, const char *message, const struct eg_log_field *fields);

/* Would a line of this level be written? */
bool eg_log_has(enum eg_log_level level);

/* Lines above `level` are left out. May be called at any time (reload). */
void eg_log_configure(enum eg_log_level level, enum eg_log_format format);

/* Starts the writing thread (signals blocked in it). 0 or a negative errno. Main thread. */
int eg_log_start(void) EG_MUST_CHECK;

/* Writes what is queued (waiting at most a second for a stalled reader) and ends the thread. Main thread. */
void eg_log_stop(void);

/* How many lines were dropped because the queue was full, since the start. */
uint64_t eg_log_dropped(void);

#endif

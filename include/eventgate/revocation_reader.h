/*
 * Reads eventgate.revocation of a set's database, on a connection of its own: whole at the start of each session, then
 * what has changed, woken by a NOTIFY that is only a hint. Postgres thread.
 */
#ifndef EG_REVOCATION_READER_H
#define EG_REVOCATION_READER_H

#include <stdbool.h>

#include "eventgate/config.h"
#include "eventgate/loop.h"
#include "eventgate/metrics.h"

/* `before_us` of a revocation that was taken back. */
#define EG_REVOCATION_NONE INT64_MIN

/* Who is told. */
struct eg_revocation_sink {
    void *context;
    /* All that there are will be told next; those that won't be are no more. What was told so far holds until then. */
    void (*begin)(void *context);
    /* Tokens of `subject` (borrowed) issued before this time, in microseconds since 1970 (INT64_MAX: all), are revoked.
     * -ENOMEM, -ENOSPC: the session is given up, and another one begins with all of them. */
    int (*revoked)(void *context, struct eg_bytes subject, int64_t before_us) EG_MUST_CHECK;
    /* What there was has been told. `whole`: all of it, since `begin`. */
    void (*told)(void *context, bool whole);
};

struct eg_revocation_reader;

/* `set` (borrowed) outlives it. NULL: out of memory. */
struct eg_revocation_reader *eg_revocation_reader_new(struct eg_loop *loop, const struct eg_config_set *set,
                                                      struct eg_metrics *metrics, struct eg_revocation_sink sink);
void eg_revocation_reader_free(struct eg_revocation_reader *reader);

#endif

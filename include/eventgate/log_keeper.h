/*
 * Keeps the log of a set's database in order: calls eventgate.maintain() every few seconds, on a connection of its own.
 * Any number of gateways and pg_cron may do so at once; the database sees to it that one works. Postgres thread.
 */
#ifndef EG_LOG_KEEPER_H
#define EG_LOG_KEEPER_H

#include "eventgate/config.h"
#include "eventgate/loop.h"
#include "eventgate/metrics.h"

struct eg_log_keeper;

/* `set` (borrowed) outlives it. NULL: out of memory. */
struct eg_log_keeper *eg_log_keeper_new(struct eg_loop *loop, const struct eg_config_set *set,
                                        struct eg_metrics *metrics);
void eg_log_keeper_free(struct eg_log_keeper *keeper);

#endif

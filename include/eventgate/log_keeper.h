/*
 * Keeps the log of a set's database in order: calls eventgate.maintain() every few seconds, on a connection of its own,
 * and then looks, for the metrics, at the log as a whole: how far it reaches, how large it is, how far behind its head
 * this gateway reads. Any number of gateways and pg_cron may maintain at once; the database sees to it that one works.
 * Postgres thread.
 */
#ifndef EG_LOG_KEEPER_H
#define EG_LOG_KEEPER_H

#include "eventgate/config.h"
#include "eventgate/loop.h"
#include "eventgate/metrics.h"
#include "eventgate/order.h"

struct eg_log_keeper;

/* `set` and `order` (borrowed; the reader's) outlive it. NULL: out of memory. */
struct eg_log_keeper *eg_log_keeper_new(struct eg_loop *loop, const struct eg_config_set *set,
                                        const struct eg_order *order, struct eg_metrics *metrics);
void eg_log_keeper_free(struct eg_log_keeper *keeper);

#endif

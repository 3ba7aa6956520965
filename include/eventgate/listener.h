/*
 * A set's LISTEN connection: a state machine that keeps every wanted channel LISTENed, turns notifications into events
 * in commit order, and says when something may have been missed. All functions: Postgres thread.
 */
#ifndef EG_LISTENER_H
#define EG_LISTENER_H

#include "eventgate/config.h"
#include "eventgate/feed.h"
#include "eventgate/loop.h"
#include "eventgate/metrics.h"
#include "eventgate/order.h"

struct eg_listener;

/* Starts connecting at once. `set` and `order` (borrowed) outlive it. NULL: out of memory. */
struct eg_listener *eg_listener_new(struct eg_loop *loop, const struct eg_config_set *set, uint32_t workers,
                                    struct eg_order *order, struct eg_metrics *metrics, struct eg_feed_sink sink);
void eg_listener_free(struct eg_listener *listener);

/* The set has other channels or bounds, but the same connection. Those that it lists from now on are LISTENed; those
 * that it doesn't any more are UNLISTENed as soon as no worker wants them. `set` (borrowed) is used from now on. */
void eg_listener_configure(struct eg_listener *listener, const struct eg_config_set *set);

/*
 * A worker has its first subscriber of a channel that matches a pattern of the set: answered by EG_FEED_LISTENED with
 * this `want` number once it is LISTENed (at once if it is; after the reconnect if there is no connection), or by
 * EG_FEED_REFUSED (max_channels; for good where the database's encoding lacks a character of the name). The name is
 * valid and at most 63 bytes.
 */
void eg_listener_want(struct eg_listener *listener, uint32_t worker, const char *name, size_t length, uint64_t want);

/* The worker's last subscriber of it has gone. When no worker wants it for linger_ms, it is UNLISTENed. */
void eg_listener_unwant(struct eg_listener *listener, uint32_t worker, const char *name, size_t length);

#endif

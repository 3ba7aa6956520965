/*
 * A set's order: the one counter of places that its live events (listener) and its durable events (log reader) share,
 * and what the cursor of a place is made of. Postgres thread.
 *
 * The live half of a cursor is there only in a set with live channels, the log's half only in one with durable ones,
 * and each from its first session on. `position` never passes an event of the set that has no place yet.
 */
#ifndef EG_ORDER_H
#define EG_ORDER_H

#include "eventgate/config.h"
#include "eventgate/cursor.h"
#include "eventgate/set_status.h"

struct eg_order {
    struct eg_set_status *status;
    bool live, durable; /* which kinds of channels the set has */
    struct eg_epoch epoch;
    uint64_t head; /* the last place given out */
    char tag[EG_CURSOR_TAG_MAX + 1];
    uint64_t position;   /* up to which the log has been read */
    int64_t appended_us; /* when the last of these events was appended: wall clock, µs since 1970; 0: none yet */
};

/* `status` is borrowed. */
void eg_order_init(struct eg_order *order, const struct eg_config_set *set, struct eg_set_status *status);

/* A new session of the listener: a new epoch, which begins at the place that it takes. */
void eg_order_begin_epoch(struct eg_order *order);

/* The log has been read up to `position`. */
void eg_order_set_log(struct eg_order *order, const char *tag, uint64_t position);

/* The cursor of a place beyond `head`, at the position where reading the log stands. */
struct eg_cursor eg_order_cursor(const struct eg_order *order, uint64_t place);

/* Tells the set's status of `head`: before anything up to there is fed. */
void eg_order_store(const struct eg_order *order);

#endif

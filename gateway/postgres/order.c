/*
 * The counter of a set's places.
 */
#include "eventgate/order.h"

#include <stdio.h>
#include <string.h>

void eg_order_init(struct eg_order *order, const struct eg_config_set *set, struct eg_set_status *status)
{
    memset(order, 0, sizeof(*order));
    order->status = status;
    order->live = set->live_count > 0;
    order->durable = set->durable_count > 0;
}

void eg_order_begin_epoch(struct eg_order *order)
{
    order->epoch = eg_epoch_new();
    order->head++;
    eg_order_store(order);
}

void eg_order_set_log(struct eg_order *order, const char *tag, uint64_t position)
{
    if (tag != order->tag)
        snprintf(order->tag, sizeof(order->tag), "%s", tag);
    order->position = position;
    eg_set_status_set_log(order->status, order->tag, position);
}

struct eg_cursor eg_order_cursor(const struct eg_order *order, uint64_t place)
{
    struct eg_cursor cursor;
    memset(&cursor, 0, sizeof(cursor));
    if (order->durable && order->tag[0]) {
        memcpy(cursor.tag, order->tag, sizeof(cursor.tag));
        cursor.has_position = true;
        cursor.position = order->position;
    }
    if (order->live && order->epoch.text[0]) {
        cursor.has_live = true;
        cursor.epoch = order->epoch;
        cursor.place = place;
    }
    return cursor;
}

void eg_order_store(const struct eg_order *order)
{
    eg_set_status_set_head(order->status, &order->epoch, order->head);
}

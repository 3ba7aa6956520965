/*
 * Times from arrival to socket, a clock reading for many sends. The subscribers of a turn mostly are sent the same
 * events, so that a few arrivals stand for all of them.
 */
#include "eventgate/delivery_times.h"

#include "eventgate/loop.h"

void eg_delivery_times_settle(struct eg_delivery_times *times, struct eg_metrics *metrics)
{
    if (times->count == 0)
        return;
    uint64_t now_us = eg_monotonic_us();
    for (uint32_t i = 0; i < times->count; i++) {
        uint64_t arrived_us = times->arrivals[i].arrived_us;
        eg_metrics_observe(metrics, EG_METRIC_DELIVERY, now_us > arrived_us ? now_us - arrived_us : 0,
                           times->arrivals[i].events);
    }
    times->count = times->sends = 0;
}

void eg_delivery_times_note(struct eg_delivery_times *times, struct eg_metrics *metrics, uint64_t arrived_us,
                            size_t events)
{
    uint32_t last = times->count - 1;
    if (arrived_us == 0 || events == 0)
        return;
    if (times->count > 0 && times->arrivals[last].arrived_us == arrived_us) {
        times->arrivals[last].events += events;
    } else {
        if (times->count == EG_DELIVERY_ARRIVALS)
            eg_delivery_times_settle(times, metrics);
        times->arrivals[times->count].arrived_us = arrived_us;
        times->arrivals[times->count++].events = events;
    }
    if (++times->sends >= EG_DELIVERY_SENDS)
        eg_delivery_times_settle(times, metrics);
}

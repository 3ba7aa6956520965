/*
 * How long it took from the wake-up that brought an event to the call that hands it to a subscriber's socket, for a set
 * on one worker. The clock is read once for every EG_DELIVERY_SENDS sends, or once a turn if there were fewer, so that
 * a send costs a compare and an addition. The worker's thread.
 */
#ifndef EG_DELIVERY_TIMES_H
#define EG_DELIVERY_TIMES_H

#include <stddef.h>
#include <stdint.h>

struct eg_metrics;

#define EG_DELIVERY_SENDS 64u
#define EG_DELIVERY_ARRIVALS 8u

/* Zero-initialise. */
struct eg_delivery_times {
    uint32_t sends; /* since the clock was read */
    uint32_t count;
    struct {
        uint64_t arrived_us;
        uint64_t events;
    } arrivals[EG_DELIVERY_ARRIVALS]; /* what these have sent, by when it arrived */
};

/* A send has just handed over so many events, of which the oldest arrived then (eg_monotonic_us(); 0: not known, and
 * not counted). Counts in `metrics` when it is time to. */
void eg_delivery_times_note(struct eg_delivery_times *times, struct eg_metrics *metrics, uint64_t arrived_us,
                            size_t events);

/* Counts all that was noted. Cheap if nothing was. */
void eg_delivery_times_settle(struct eg_delivery_times *times, struct eg_metrics *metrics);

#endif

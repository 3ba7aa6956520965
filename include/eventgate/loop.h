/*
 * An epoll loop of one thread: descriptors, timers, and a wake-up from other threads.
 *
 * A turn: wait; call `ready` of each descriptor that has something; fire due timers; call the owner's `turn` hook,
 * where it takes its mailboxes and does the work that they and the callbacks left behind; then run the functions that
 * were deferred in this turn. What a callback frees may still have an event pending in the same turn: free it by
 * eg_loop_defer(), which runs after all of them.
 * Everything but eg_loop_wake() and eg_loop_stop() is for the loop's own thread (or before it runs).
 */
#ifndef EG_LOOP_H
#define EG_LOOP_H

#include <stdbool.h>
#include <sys/epoll.h>

#include "eventgate/common.h"
#include "eventgate/metrics.h"

struct eg_loop;

/* Embedded in whatever owns a descriptor. */
struct eg_watch {
    void (*ready)(struct eg_watch *watch, uint32_t epoll_events);
};

/* Embedded; zero-initialise. Armed at most once at a time. */
struct eg_timer {
    void (*fire)(struct eg_timer *timer);
    uint64_t due_ms;
    size_t heap_index; /* 0: not armed */
};

/* Embedded; zero-initialise. */
struct eg_deferred {
    void (*run)(struct eg_deferred *deferred);
    struct eg_deferred *next;
};

struct eg_loop *eg_loop_new(void); /* NULL: errno says why */
void eg_loop_free(struct eg_loop *loop);

/* `turn` is called once at the end of each turn; may be NULL. */
void eg_loop_on_turn(struct eg_loop *loop, void (*turn)(void *context), void *context);

/* 0 or a negative errno. `events`: EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLEXCLUSIVE, EPOLLET. The watch is borrowed. */
int eg_loop_add(struct eg_loop *loop, int fd, uint32_t events, struct eg_watch *watch) EG_MUST_CHECK;
int eg_loop_change(struct eg_loop *loop, int fd, uint32_t events, struct eg_watch *watch) EG_MUST_CHECK;
/* Call it before closing `fd`. The watch is not called again, not even for events of this turn. */
void eg_loop_remove(struct eg_loop *loop, int fd, struct eg_watch *watch);
/* The same when a library has closed the descriptor already, and its number may belong to another thread by now. */
void eg_loop_forget(struct eg_loop *loop, const struct eg_watch *watch);

/* Arms (or re-arms) the timer for `due_ms` of eg_loop_now_ms(). 0 or -ENOMEM. */
int eg_timer_set(struct eg_loop *loop, struct eg_timer *timer, uint64_t due_ms) EG_MUST_CHECK;
void eg_timer_cancel(struct eg_loop *loop, struct eg_timer *timer);

/* Runs `deferred` when the turn is over. */
void eg_loop_defer(struct eg_loop *loop, struct eg_deferred *deferred);
/* It won't be run, if it was going to be: its owner goes. Walks all that are deferred in this turn. */
void eg_loop_undefer(struct eg_loop *loop, const struct eg_deferred *deferred);

/* Makes the next wait return at once: there is more to do. */
void eg_loop_again(struct eg_loop *loop);

/* After this turn other threads that wait for the processor have it first. For work that comes in great amounts and
 * that nobody is in a hurry for: a thread that just goes on has the processor for the scheduler's whole slice, some ms,
 * and so has each of the others; live events would wait for all of these. It is for reading the log back alone: beside
 * a process that never waits for anything, a thread that yields gets less than half of its share. */
void eg_loop_yield(struct eg_loop *loop);

/* Monotonic ms and µs, read once a turn (after the wait). */
uint64_t eg_loop_now_ms(const struct eg_loop *loop);
uint64_t eg_loop_now_us(const struct eg_loop *loop);

/* Runs until eg_loop_stop(). */
void eg_loop_run(struct eg_loop *loop);

/* One turn, waiting at most `timeout_ms` (-1: without bound). For tests and start-up checks. */
void eg_loop_turn(struct eg_loop *loop, int timeout_ms);

/* Any thread. Wakes are coalesced: one write for all that come before the loop runs again. Called from a callback of
 * another loop, it is woken when that returns. */
void eg_loop_wake(struct eg_loop *loop);
void eg_loop_stop(struct eg_loop *loop);
/* Has eg_loop_stop() been called? It may still be in its last turn. Any thread. */
bool eg_loop_is_stopped(const struct eg_loop *loop);

/* Turns so far. Any thread. */
uint64_t eg_loop_turns(const struct eg_loop *loop);

/* From now on counts in `metrics`, which must outlive the loop's last turn: how long each turn takes without the
 * waiting, in the histogram `turn`, and how much later than it was due each timer fires, in `delay`. Before it runs. */
void eg_loop_measure(struct eg_loop *loop, struct eg_metrics *metrics, enum eg_metric turn, enum eg_metric delay);

/* Monotonic clock, ms and µs; wall clock, µs since 1970. Any thread. */
uint64_t eg_monotonic_ms(void);
uint64_t eg_monotonic_us(void);
int64_t eg_wall_us(void);

#endif

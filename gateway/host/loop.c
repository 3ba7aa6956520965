/*
 * An epoll loop with timers in a binary heap and a coalesced wake-up.
 *
 * The events of a turn stand in `batch`; removing a watch strikes it from what is left of the batch, so it is never
 * called again. Heap: index 0 is unused, so that a timer's heap_index 0 means "not armed".
 */
#include "eventgate/loop.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define BATCH_EVENTS 512
#define LATER_MAX 64u

struct eg_loop {
    int epoll_fd;
    int wake_fd;
    struct eg_watch wake_watch;
    _Atomic bool woken; /* the wake descriptor has been written and not read yet */
    _Atomic bool stopped;
    bool again, yields;
    uint64_t now_us;
    void (*turn)(void *context);
    void *turn_context;
    struct epoll_event batch[BATCH_EVENTS];
    int batch_count;
    struct eg_timer **heap;
    size_t heap_count, heap_capacity;
    struct eg_deferred *deferred;
    _Atomic uint64_t turns;
    struct eg_metrics *metrics; /* or NULL */
    enum eg_metric turn_metric, delay_metric;
};

/*
 * The loops that a callback of this thread's own loop has woken: they are, when it returns. Woken at its first message,
 * a thread on the same processor would run at once, find one, and have to be woken anew for each of the others.
 */
static _Thread_local struct {
    bool running; /* a callback is */
    size_t count;
    struct eg_loop *loops[LATER_MAX];
} later;

uint64_t eg_monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t eg_monotonic_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

int64_t eg_wall_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* --- waking ------------------------------------------------------------------------------------------------------ */

/* The flag falls before the owner looks at its mailboxes: who posts later writes again. */
static void wake_ready(struct eg_watch *watch, uint32_t epoll_events)
{
    struct eg_loop *loop = EG_CONTAINER_OF(watch, struct eg_loop, wake_watch);
    uint64_t count;
    (void)epoll_events;
    if (read(loop->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        return;
    atomic_store(&loop->woken, false);
}

static void wake_now(struct eg_loop *loop)
{
    static const uint64_t one = 1;
    while (write(loop->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

void eg_loop_wake(struct eg_loop *loop)
{
    if (atomic_exchange(&loop->woken, true))
        return;
    if (later.running && later.count < LATER_MAX)
        later.loops[later.count++] = loop;
    else
        wake_now(loop);
}

static void wake_later(void)
{
    for (size_t i = 0; i < later.count; i++)
        wake_now(later.loops[i]);
    later.count = 0;
}

void eg_loop_stop(struct eg_loop *loop)
{
    atomic_store(&loop->stopped, true);
    wake_now(loop); /* who stops it may wait for it in the same callback */
}

/* --- making and freeing ------------------------------------------------------------------------------------------ */

struct eg_loop *eg_loop_new(void)
{
    struct eg_loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        return NULL;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->wake_watch.ready = wake_ready;
    loop->now_us = eg_monotonic_us();
    if (loop->epoll_fd < 0 || loop->wake_fd < 0 || eg_loop_add(loop, loop->wake_fd, EPOLLIN, &loop->wake_watch) != 0) {
        int error = errno;
        eg_loop_free(loop);
        errno = error;
        return NULL;
    }
    return loop;
}

void eg_loop_free(struct eg_loop *loop)
{
    if (!loop)
        return;
    if (loop->wake_fd >= 0)
        close(loop->wake_fd);
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    free(loop->heap);
    free(loop);
}

void eg_loop_on_turn(struct eg_loop *loop, void (*turn)(void *context), void *context)
{
    loop->turn = turn;
    loop->turn_context = context;
}

/* --- descriptors ------------------------------------------------------------------------------------------------- */

static int control(struct eg_loop *loop, int operation, int fd, uint32_t events, struct eg_watch *watch)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(loop->epoll_fd, operation, fd, &event) == 0 ? 0 : -errno;
}

int eg_loop_add(struct eg_loop *loop, int fd, uint32_t events, struct eg_watch *watch)
{
    return control(loop, EPOLL_CTL_ADD, fd, events, watch);
}

int eg_loop_change(struct eg_loop *loop, int fd, uint32_t events, struct eg_watch *watch)
{
    return control(loop, EPOLL_CTL_MOD, fd, events, watch);
}

void eg_loop_remove(struct eg_loop *loop, int fd, struct eg_watch *watch)
{
    control(loop, EPOLL_CTL_DEL, fd, 0, NULL);
    eg_loop_forget(loop, watch);
}

void eg_loop_forget(struct eg_loop *loop, const struct eg_watch *watch)
{
    for (int i = 0; i < loop->batch_count; i++)
        if (loop->batch[i].data.ptr == watch)
            loop->batch[i].data.ptr = NULL;
}

/* --- timers ------------------------------------------------------------------------------------------------------ */

static void place(struct eg_loop *loop, struct eg_timer *timer, size_t index)
{
    loop->heap[index] = timer;
    timer->heap_index = index;
}

static void sift_up(struct eg_loop *loop, struct eg_timer *timer, size_t index)
{
    for (; index > 1 && loop->heap[index / 2]->due_ms > timer->due_ms; index /= 2)
        place(loop, loop->heap[index / 2], index);
    place(loop, timer, index);
}

static void sift_down(struct eg_loop *loop, struct eg_timer *timer, size_t index)
{
    for (;;) {
        size_t child = 2 * index;
        if (child > loop->heap_count)
            break;
        if (child < loop->heap_count && loop->heap[child + 1]->due_ms < loop->heap[child]->due_ms)
            child++;
        if (loop->heap[child]->due_ms >= timer->due_ms)
            break;
        place(loop, loop->heap[child], index);
        index = child;
    }
    place(loop, timer, index);
}

int eg_timer_set(struct eg_loop *loop, struct eg_timer *timer, uint64_t due_ms)
{
    eg_timer_cancel(loop, timer);
    if (loop->heap_count + 1 >= loop->heap_capacity) {
        size_t capacity = loop->heap_capacity ? 2 * loop->heap_capacity : 16;
        struct eg_timer **heap = reallocarray(loop->heap, capacity, sizeof(struct eg_timer *));
        if (!heap)
            return -ENOMEM;
        loop->heap = heap;
        loop->heap_capacity = capacity;
    }
    timer->due_ms = due_ms;
    sift_up(loop, timer, ++loop->heap_count);
    return 0;
}

void eg_timer_cancel(struct eg_loop *loop, struct eg_timer *timer)
{
    size_t index = timer->heap_index;
    if (index == 0)
        return;
    timer->heap_index = 0;
    struct eg_timer *last = loop->heap[loop->heap_count--];
    if (last == timer)
        return;
    if (index > 1 && loop->heap[index / 2]->due_ms > last->due_ms)
        sift_up(loop, last, index);
    else
        sift_down(loop, last, index);
}

static void fire_timers(struct eg_loop *loop)
{
    uint64_t now_ms = eg_loop_now_ms(loop);
    while (loop->heap_count > 0 && loop->heap[1]->due_ms <= now_ms) {
        struct eg_timer *timer = loop->heap[1];
        eg_timer_cancel(loop, timer);
        if (loop->metrics)
            eg_metrics_observe(loop->metrics, loop->delay_metric, (now_ms - timer->due_ms) * 1000, 1);
        timer->fire(timer);
    }
}

/* --- turns ------------------------------------------------------------------------------------------------------- */

void eg_loop_defer(struct eg_loop *loop, struct eg_deferred *deferred)
{
    deferred->next = loop->deferred;
    loop->deferred = deferred;
}

void eg_loop_undefer(struct eg_loop *loop, const struct eg_deferred *deferred)
{
    struct eg_deferred **at = &loop->deferred;
    while (*at && *at != deferred)
        at = &(*at)->next;
    if (*at)
        *at = deferred->next;
}

static void run_deferred(struct eg_loop *loop)
{
    while (loop->deferred) {
        struct eg_deferred *deferred = loop->deferred;
        loop->deferred = deferred->next;
        deferred->run(deferred);
        wake_later();
    }
}

void eg_loop_again(struct eg_loop *loop)
{
    loop->again = true;
}

void eg_loop_yield(struct eg_loop *loop)
{
    loop->yields = true;
}

uint64_t eg_loop_now_ms(const struct eg_loop *loop)
{
    return loop->now_us / 1000;
}

uint64_t eg_loop_now_us(const struct eg_loop *loop)
{
    return loop->now_us;
}

static int wait_ms(struct eg_loop *loop, int timeout_ms)
{
    if (loop->again)
        return 0;
    if (loop->heap_count == 0)
        return timeout_ms;
    uint64_t now_ms = eg_monotonic_ms(), due_ms = loop->heap[1]->due_ms;
    uint64_t left_ms = due_ms > now_ms ? due_ms - now_ms : 0;
    if (timeout_ms >= 0 && left_ms > (uint64_t)timeout_ms)
        return timeout_ms;
    return left_ms > 60000 ? 60000 : (int)left_ms;
}

uint64_t eg_loop_turns(const struct eg_loop *loop)
{
    return atomic_load_explicit(&loop->turns, memory_order_relaxed);
}

void eg_loop_measure(struct eg_loop *loop, struct eg_metrics *metrics, enum eg_metric turn, enum eg_metric delay)
{
    loop->metrics = metrics;
    loop->turn_metric = turn;
    loop->delay_metric = delay;
}

void eg_loop_turn(struct eg_loop *loop, int timeout_ms)
{
    int count = epoll_wait(loop->epoll_fd, loop->batch, BATCH_EVENTS, wait_ms(loop, timeout_ms));
    loop->now_us = eg_monotonic_us();
    loop->again = false;
    loop->batch_count = count > 0 ? count : 0;
    later.running = true;
    for (int i = 0; i < loop->batch_count; i++) {
        struct eg_watch *watch = loop->batch[i].data.ptr;
        if (watch)
            watch->ready(watch, loop->batch[i].events);
        wake_later();
    }
    loop->batch_count = 0;
    fire_timers(loop);
    wake_later();
    if (loop->turn)
        loop->turn(loop->turn_context);
    wake_later();
    run_deferred(loop);
    later.running = false;
    atomic_fetch_add_explicit(&loop->turns, 1, memory_order_relaxed);
    if (loop->metrics)
        eg_metrics_observe(loop->metrics, loop->turn_metric, eg_monotonic_us() - loop->now_us, 1);
    if (loop->yields)
        sched_yield();
    loop->yields = false;
}

bool eg_loop_is_stopped(const struct eg_loop *loop)
{
    return atomic_load(&loop->stopped);
}

void eg_loop_run(struct eg_loop *loop)
{
    while (!atomic_load(&loop->stopped))
        eg_loop_turn(loop, -1);
}

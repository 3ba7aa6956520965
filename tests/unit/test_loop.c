/* The loop's turns: descriptors, timers, deferred work, and waking from other threads. */
#include "eventgate/loop.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 20000
#define TIMERS 500
#define WAKES 20000

static struct eg_loop *loop;

static int set_up(void **state)
{
    (void)state;
    loop = eg_loop_new();
    return loop ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    eg_loop_free(loop);
    return 0;
}

/* --- descriptors ------------------------------------------------------------------------------------------------- */

/* One end of a socket pair; its other end is `peer`. */
struct end {
    struct eg_watch watch;
    struct eg_deferred deferred;
    int fd, peer;
    int calls, calls_when_closed;
    uint32_t events;
    struct end *victim; /* removed by the first call */
};

static int frees;
static struct end *freed;

static void end_gone(struct eg_deferred *deferred)
{
    freed = EG_CONTAINER_OF(deferred, struct end, deferred);
    assert_int_equal(freed->calls, freed->calls_when_closed);
    free(freed);
    frees++;
}

static void end_close(struct end *end)
{
    eg_loop_remove(loop, end->fd, &end->watch);
    close(end->fd);
    close(end->peer);
    end->calls_when_closed = end->calls;
    eg_loop_defer(loop, &end->deferred);
}

static void end_ready(struct eg_watch *watch, uint32_t epoll_events)
{
    struct end *end = EG_CONTAINER_OF(watch, struct end, watch);
    end->calls++;
    end->events |= epoll_events;
    if (end->victim)
        end_close(end->victim);
    end->victim = NULL;
}

static struct end *end_new(uint32_t events)
{
    struct end *end = calloc(1, sizeof(*end));
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    end->fd = fds[0];
    end->peer = fds[1];
    end->watch.ready = end_ready;
    end->deferred.run = end_gone;
    assert_int_equal(eg_loop_add(loop, end->fd, events, &end->watch), 0);
    return end;
}

static void a_ready_descriptor_is_called_as_long_as_it_is_ready(void **state)
{
    struct end *end = end_new(EPOLLIN | EPOLLRDHUP);
    char byte;
    (void)state;
    eg_loop_turn(loop, 0);
    assert_int_equal(end->calls, 0);
    assert_int_equal(write(end->peer, "x", 1), 1);
    eg_loop_turn(loop, DEADLINE_MS);
    eg_loop_turn(loop, DEADLINE_MS);
    assert_int_equal(end->calls, 2);
    assert_int_equal(end->events, EPOLLIN);
    assert_int_equal(read(end->fd, &byte, 1), 1);
    eg_loop_turn(loop, 0);
    assert_int_equal(end->calls, 2);
    shutdown(end->peer, SHUT_WR);
    eg_loop_turn(loop, DEADLINE_MS);
    assert_true(end->events & EPOLLRDHUP);
    end_close(end);
    eg_loop_turn(loop, 0);
}

static void a_change_takes_effect(void **state)
{
    struct end *end = end_new(EPOLLIN);
    (void)state;
    eg_loop_turn(loop, 0);
    assert_int_equal(end->calls, 0);
    assert_int_equal(eg_loop_change(loop, end->fd, EPOLLOUT, &end->watch), 0);
    eg_loop_turn(loop, DEADLINE_MS);
    assert_int_equal(end->events, EPOLLOUT);
    assert_int_equal(eg_loop_change(loop, end->fd, 0, &end->watch), 0);
    eg_loop_turn(loop, 0);
    assert_int_equal(end->calls, 1);
    end_close(end);
    eg_loop_turn(loop, 0);
}

static void errors_are_the_system_s(void **state)
{
    struct end *end = end_new(EPOLLIN);
    (void)state;
    assert_int_equal(eg_loop_add(loop, end->fd, EPOLLIN, &end->watch), -EEXIST);
    assert_int_equal(eg_loop_change(loop, end->peer, EPOLLIN, &end->watch), -ENOENT);
    assert_int_equal(eg_loop_add(loop, -1, EPOLLIN, &end->watch), -EBADF);
    end_close(end);
    eg_loop_turn(loop, 0);
}

/* Whichever of the two comes first in the batch removes the other, whose event is already there. */
static void a_removed_watch_is_not_called_for_an_event_of_the_same_turn(void **state)
{
    struct end *a = end_new(EPOLLIN), *b = end_new(EPOLLIN);
    (void)state;
    a->victim = b;
    b->victim = a;
    frees = 0;
    assert_int_equal(write(a->peer, "x", 1), 1);
    assert_int_equal(write(b->peer, "x", 1), 1);
    eg_loop_turn(loop, DEADLINE_MS);
    assert_int_equal(frees, 1);
    struct end *left = freed == a ? b : a;
    assert_int_equal(left->calls, 1);
    end_close(left);
    eg_loop_turn(loop, 0);
}

/* --- timers ------------------------------------------------------------------------------------------------------ */

struct alarm {
    struct eg_timer timer;
    int fired;
    struct alarm *cancels;
    uint64_t again_ms; /* armed anew for this time when it fires */
};

static uint64_t last_due_ms;
static int fired;

static void alarm_fire(struct eg_timer *timer)
{
    struct alarm *alarm = EG_CONTAINER_OF(timer, struct alarm, timer);
    assert_int_equal(timer->heap_index, 0);
    assert_true(timer->due_ms >= last_due_ms);
    assert_true(timer->due_ms <= eg_loop_now_ms(loop));
    last_due_ms = timer->due_ms;
    alarm->fired++;
    fired++;
    if (alarm->cancels)
        eg_timer_cancel(loop, &alarm->cancels->timer);
    if (alarm->again_ms)
        assert_int_equal(eg_timer_set(loop, timer, alarm->again_ms), 0);
}

static void timers_fire_in_order_and_only_when_due(void **state)
{
    static struct alarm alarms[TIMERS];
    uint64_t now_ms = eg_loop_now_ms(loop);
    int due = 0;
    (void)state;
    memset(alarms, 0, sizeof(alarms));
    last_due_ms = 0;
    fired = 0;
    srandom(1);
    for (int i = 0; i < TIMERS; i++) { /* set, some moved, some cancelled */
        alarms[i].timer.fire = alarm_fire;
        assert_int_equal(eg_timer_set(loop, &alarms[i].timer, (uint64_t)random() % now_ms), 0);
    }
    for (int i = 0; i < TIMERS; i += 3)
        assert_int_equal(
            eg_timer_set(loop, &alarms[i].timer, random() % 2 ? now_ms + 3600000 : 1 + (uint64_t)random() % now_ms), 0);
    for (int i = 0; i < TIMERS; i += 5)
        eg_timer_cancel(loop, &alarms[i].timer);
    for (int i = 0; i < TIMERS; i++)
        due += alarms[i].timer.heap_index != 0 && alarms[i].timer.due_ms <= now_ms;
    assert_in_range(due, TIMERS / 2, TIMERS - TIMERS / 5);
    eg_loop_turn(loop, DEADLINE_MS);
    assert_int_equal(fired, due);
    for (int i = 0; i < TIMERS; i++) {
        bool late = alarms[i].timer.heap_index != 0;
        assert_int_equal(alarms[i].fired, !late && i % 5 != 0);
        eg_timer_cancel(loop, &alarms[i].timer);
        eg_timer_cancel(loop, &alarms[i].timer);
    }
    eg_loop_turn(loop, 0);
    assert_int_equal(fired, due);
}

static void the_wait_ends_when_the_first_timer_is_due(void **state)
{
    struct alarm soon = {.timer.fire = alarm_fire}, late = {.timer.fire = alarm_fire};
    (void)state;
    last_due_ms = 0;
    uint64_t due_ms = eg_monotonic_ms() + 20;
    assert_int_equal(eg_timer_set(loop, &late.timer, due_ms + 3600000), 0);
    assert_int_equal(eg_timer_set(loop, &soon.timer, due_ms), 0);
    uint64_t deadline_ms = due_ms + DEADLINE_MS;
    while (!soon.fired && eg_monotonic_ms() < deadline_ms)
        eg_loop_turn(loop, -1);
    assert_int_equal(soon.fired, 1);
    assert_int_equal(late.fired, 0);
    eg_timer_cancel(loop, &late.timer);
}

static void a_timer_may_cancel_another_that_is_due_too(void **state)
{
    struct alarm second = {.timer.fire = alarm_fire}, first = {.timer.fire = alarm_fire, .cancels = &second};
    (void)state;
    last_due_ms = 0;
    assert_int_equal(eg_timer_set(loop, &second.timer, 2), 0);
    assert_int_equal(eg_timer_set(loop, &first.timer, 1), 0);
    eg_loop_turn(loop, 0);
    assert_int_equal(first.fired, 1);
    assert_int_equal(second.fired, 0);
}

static void a_timer_may_arm_itself_again(void **state)
{
    struct alarm alarm = {.timer.fire = alarm_fire, .again_ms = eg_monotonic_ms() + 3600000};
    (void)state;
    last_due_ms = 0;
    assert_int_equal(eg_timer_set(loop, &alarm.timer, 1), 0);
    eg_loop_turn(loop, 0);
    assert_int_equal(alarm.fired, 1);
    assert_int_not_equal(alarm.timer.heap_index, 0);
    eg_timer_cancel(loop, &alarm.timer);
}

/* --- the turn ---------------------------------------------------------------------------------------------------- */

static char order[16];

static void note(char step)
{
    size_t length = strlen(order);
    assert_true(length + 1 < sizeof(order));
    order[length] = step;
}

struct job {
    struct eg_deferred deferred;
    struct job *next;
};

static void job_run(struct eg_deferred *deferred)
{
    struct job *job = EG_CONTAINER_OF(deferred, struct job, deferred);
    note('d');
    if (job->next)
        eg_loop_defer(loop, &job->next->deferred);
}

static void noting_ready(struct eg_watch *watch, uint32_t epoll_events)
{
    (void)watch;
    (void)epoll_events;
    note('r');
}

static void noting_fire(struct eg_timer *timer)
{
    (void)timer;
    note('f');
}

static void noting_turn(void *context)
{
    note('t');
    if (context)
        eg_loop_defer(loop, &((struct job *)context)->deferred);
}

static void what_is_deferred_no_more_is_not_run(void **state)
{
    struct job jobs[3] = {{.deferred.run = job_run}, {.deferred.run = job_run}, {.deferred.run = job_run}};
    (void)state;
    memset(order, 0, sizeof(order));
    for (int i = 0; i < 3; i++)
        eg_loop_defer(loop, &jobs[i].deferred);
    eg_loop_undefer(loop, &jobs[1].deferred);
    eg_loop_undefer(loop, &jobs[1].deferred); /* it isn't there */
    eg_loop_turn(loop, 0);
    assert_string_equal(order, "dd");
}

static void a_turn_is_ready_then_timers_then_hook_then_deferred(void **state)
{
    struct job last = {.deferred.run = job_run}, first = {.deferred.run = job_run, .next = &last};
    struct eg_timer timer = {.fire = noting_fire};
    struct end *end = end_new(EPOLLOUT);
    (void)state;
    memset(order, 0, sizeof(order));
    end->watch.ready = noting_ready;
    eg_loop_on_turn(loop, noting_turn, &first);
    assert_int_equal(eg_timer_set(loop, &timer, 1), 0);
    eg_loop_turn(loop, DEADLINE_MS);
    assert_string_equal(order, "rftdd"); /* what is deferred by deferred work runs in the same turn */
    eg_loop_on_turn(loop, NULL, NULL);
    end_close(end);
    eg_loop_turn(loop, 0);
}

static void again_makes_the_next_turn_start_at_once(void **state)
{
    (void)state;
    memset(order, 0, sizeof(order));
    eg_loop_on_turn(loop, noting_turn, NULL);
    eg_loop_again(loop);
    eg_loop_turn(loop, -1); /* would wait for ever */
    assert_string_equal(order, "t");
}

static void time_stands_still_within_a_turn_and_goes_on_with_the_next(void **state)
{
    (void)state;
    eg_loop_turn(loop, 0);
    uint64_t before_ms = eg_loop_now_ms(loop), deadline_ms = eg_monotonic_ms() + DEADLINE_MS;
    while (eg_monotonic_ms() <= before_ms + 1 && eg_monotonic_ms() < deadline_ms)
        ;
    assert_int_equal(eg_loop_now_ms(loop), before_ms);
    eg_loop_turn(loop, 0);
    assert_true(eg_loop_now_ms(loop) > before_ms);
    assert_true(eg_wall_us() > INT64_C(1700000000) * 1000000);
}

static int64_t observed(enum eg_metric histogram)
{
    int64_t count = 0;
    for (unsigned i = 0; i <= EG_HISTOGRAM_BOUNDS; i++)
        count += eg_metrics_sum(histogram + (enum eg_metric)i);
    return count;
}

static int64_t observed_us(enum eg_metric histogram)
{
    return eg_metrics_sum(histogram + (enum eg_metric)(EG_HISTOGRAM_NUMBERS - 1));
}

static void take_five_ms(struct eg_timer *timer)
{
    uint64_t end_us = eg_monotonic_us() + 5000;
    (void)timer;
    while (eg_monotonic_us() < end_us)
        ;
}

static void turns_and_late_timers_are_measured(void **state)
{
    struct eg_metrics *metrics = eg_metrics_new(NULL);
    struct eg_timer first = {.fire = take_five_ms}, late = {.fire = take_five_ms};
    (void)state;
    eg_loop_turn(loop, 0);
    assert_int_equal(observed(EG_METRIC_TURN_WORKER), 0);
    eg_loop_measure(loop, metrics, EG_METRIC_TURN_WORKER, EG_METRIC_DELAY_WORKER);
    eg_loop_turn(loop, 0);
    assert_int_equal(observed(EG_METRIC_TURN_WORKER), 1);
    assert_int_equal(observed(EG_METRIC_DELAY_WORKER), 0);
    assert_int_equal(eg_timer_set(loop, &first, eg_loop_now_ms(loop)), 0);
    assert_int_equal(eg_timer_set(loop, &late, eg_loop_now_ms(loop) + 1), 0);
    uint64_t due_us = (eg_loop_now_ms(loop) + 1) * 1000;
    take_five_ms(NULL);
    eg_loop_turn(loop, 0); /* at least 4 ms too late for the second one */
    assert_int_equal(observed(EG_METRIC_TURN_WORKER), 2);
    assert_true(observed_us(EG_METRIC_TURN_WORKER) >= 10000);
    assert_int_equal(observed(EG_METRIC_DELAY_WORKER), 2);
    assert_true(observed_us(EG_METRIC_DELAY_WORKER) >= (int64_t)(eg_loop_now_us(loop) - due_us) / 1000 * 1000);
    assert_true(observed_us(EG_METRIC_DELAY_WORKER) >= 4000);
    eg_loop_measure(loop, NULL, 0, 0);
    eg_metrics_free(metrics);
}

/* --- other threads ----------------------------------------------------------------------------------------------- */

static _Atomic int posted;
static int seen;

static void *post_and_wake(void *context)
{
    (void)context;
    for (int i = 0; i < WAKES; i++) {
        atomic_fetch_add(&posted, 1);
        eg_loop_wake(loop);
    }
    return NULL;
}

/* Stops when all has been seen; a wake that got lost would leave the loop waiting. */
static void look(void *context)
{
    (void)context;
    seen = atomic_load(&posted);
    if (seen == 2 * WAKES)
        eg_loop_stop(loop);
}

static void no_wake_is_lost(void **state)
{
    pthread_t threads[2];
    (void)state;
    atomic_store(&posted, 0);
    seen = 0;
    eg_loop_on_turn(loop, look, NULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_and_wake, NULL), 0);
    eg_loop_run(loop);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(seen, 2 * WAKES);
}

static void wakes_before_a_turn_are_one(void **state)
{
    (void)state;
    memset(order, 0, sizeof(order));
    eg_loop_on_turn(loop, noting_turn, NULL);
    for (int i = 0; i < 10; i++)
        eg_loop_wake(loop);
    eg_loop_turn(loop, DEADLINE_MS);
    eg_loop_turn(loop, 0);
    assert_string_equal(order, "tt");
    eg_loop_wake(loop); /* it can be woken again */
    eg_loop_turn(loop, -1);
    assert_string_equal(order, "ttt");
}

static struct eg_loop *other_loop;
static pthread_t other_thread;

static void *run_other(void *context)
{
    (void)context;
    eg_loop_run(other_loop);
    return NULL;
}

static void wake_other_often(void *context)
{
    (void)context;
    for (int i = 0; i < 3; i++)
        eg_loop_wake(other_loop);
}

static void stop_other_and_wait(void *context)
{
    wake_other_often(context);
    eg_loop_stop(other_loop);
    pthread_join(other_thread, NULL);
}

static void a_loop_that_a_callback_has_woken_wakes_when_that_returns(void **state)
{
    (void)state;
    other_loop = eg_loop_new();
    eg_loop_on_turn(loop, wake_other_often, NULL);
    for (int i = 0; i < 3; i++) {
        eg_loop_turn(loop, 0);
        eg_loop_turn(other_loop, -1); /* would wait for ever */
    }
    eg_loop_free(other_loop);
}

static void a_callback_may_stop_a_loop_and_wait_for_it(void **state)
{
    (void)state;
    other_loop = eg_loop_new();
    assert_int_equal(pthread_create(&other_thread, NULL, run_other, NULL), 0);
    eg_loop_on_turn(loop, stop_other_and_wait, NULL);
    eg_loop_turn(loop, 0);
    eg_loop_free(other_loop);
}

static void a_stop_before_the_run_is_kept(void **state)
{
    struct eg_metrics *metrics = eg_metrics_new(NULL);
    (void)state;
    eg_loop_measure(loop, metrics, EG_METRIC_TURN_WORKER, EG_METRIC_DELAY_WORKER);
    eg_loop_stop(loop);
    eg_loop_run(loop);
    assert_int_equal(observed(EG_METRIC_TURN_WORKER), 0);
    eg_loop_measure(loop, NULL, 0, 0);
    eg_metrics_free(metrics);
}

static void freeing_nothing(void **state)
{
    (void)state;
    eg_loop_free(NULL);
}

#define IN_LOOP(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_LOOP(a_ready_descriptor_is_called_as_long_as_it_is_ready),
        IN_LOOP(a_change_takes_effect),
        IN_LOOP(errors_are_the_system_s),
        IN_LOOP(a_removed_watch_is_not_called_for_an_event_of_the_same_turn),
        IN_LOOP(timers_fire_in_order_and_only_when_due),
        IN_LOOP(the_wait_ends_when_the_first_timer_is_due),
        IN_LOOP(a_timer_may_cancel_another_that_is_due_too),
        IN_LOOP(a_timer_may_arm_itself_again),
        IN_LOOP(a_turn_is_ready_then_timers_then_hook_then_deferred),
        IN_LOOP(what_is_deferred_no_more_is_not_run),
        IN_LOOP(again_makes_the_next_turn_start_at_once),
        IN_LOOP(time_stands_still_within_a_turn_and_goes_on_with_the_next),
        IN_LOOP(turns_and_late_timers_are_measured),
        IN_LOOP(no_wake_is_lost),
        IN_LOOP(wakes_before_a_turn_are_one),
        IN_LOOP(a_loop_that_a_callback_has_woken_wakes_when_that_returns),
        IN_LOOP(a_callback_may_stop_a_loop_and_wait_for_it),
        IN_LOOP(a_stop_before_the_run_is_kept),
        cmocka_unit_test(freeing_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * A timer on the main loop, TICK_MS or a quarter of the watchdog's time apart. At each tick, what the manager doesn't
 * know yet is told (a datagram that didn't fit into its queue is sent again), and the loops are looked at.
 *
 * The watchdog: after each WATCHDOG=1 all loops are woken, and how many turns each had made is noted. The next one is
 * due after a quarter of its time, if every one of them has turned since. So a loop that is busy may miss ticks, and
 * one that hangs stops it all, the main loop included, on which this runs.
 */
#include "eventgate/supervision.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/log.h"

#define TICK_MS UINT64_C(1000)
/* What is to be done after a drain's own time. */
#define STOPPING_SPARE_MS UINT64_C(10000)
#define STATUS_MAX 512u

enum phase { STARTING, READY, STOPPING, HANDED_OVER };

struct watched {
    struct eg_loop *loop;
    const char *name;
    uint64_t turns; /* when WATCHDOG=1 was said last */
};

struct eg_supervision {
    struct eg_notify notify;
    struct eg_loop *loop;
    struct eg_timer timer;
    void (*describe)(void *context, struct eg_buffer *text);
    void *context;
    enum phase phase;
    bool told; /* of the phase */
    uint64_t stopping_ms;
    char status[STATUS_MAX]; /* as it was told last */

    uint64_t watchdog_ms; /* 0: none */
    uint64_t alive_ms;    /* when WATCHDOG=1 was said last */
    bool complained;      /* about what hangs since then */
    struct watched *watched;
    size_t count;
};

static void tick(struct eg_timer *timer);

/* --- what is told ------------------------------------------------------------------------------------------------ */

/* One line, whatever a message of PostgreSQL in it has. */
static void add_status(struct eg_supervision *supervision, char *ret_status)
{
    struct eg_buffer text = EG_BUFFER_INIT;
    supervision->describe(supervision->context, &text);
    int length = text.length < STATUS_MAX ? (int)text.length : (int)STATUS_MAX - 1;
    snprintf(ret_status, STATUS_MAX, "%.*s", text.failed ? 0 : length, text.data ? text.data : "");
    eg_buffer_done(&text);
    for (char *at = ret_status; *at; at++)
        if ((unsigned char)*at < ' ')
            *at = ' ';
}

static void tell_phase(struct eg_supervision *supervision)
{
    char state[80];
    if (supervision->told || supervision->phase == STARTING)
        return;
    if (supervision->phase == READY)
        snprintf(state, sizeof(state), "READY=1");
    else
        snprintf(state, sizeof(state), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64, supervision->stopping_ms * 1000);
    supervision->told = eg_notify_send(&supervision->notify, state) == 0;
}

static void tell_status(struct eg_supervision *supervision)
{
    char status[STATUS_MAX], state[STATUS_MAX + sizeof("STATUS=")];
    if (supervision->phase == STARTING)
        return;
    add_status(supervision, status);
    if (strcmp(status, supervision->status) == 0)
        return;
    snprintf(state, sizeof(state), "STATUS=%s", status);
    if (eg_notify_send(&supervision->notify, state) == 0)
        memcpy(supervision->status, status, sizeof(status));
}

static void enter(struct eg_supervision *supervision, enum phase phase)
{
    supervision->phase = phase;
    supervision->told = false;
    if (supervision->notify.fd < 0)
        return;
    tell_phase(supervision);
    tell_status(supervision);
}

/* --- the watchdog ------------------------------------------------------------------------------------------------ */

static bool hangs(const struct watched *watched)
{
    return eg_loop_turns(watched->loop) == watched->turns && !eg_loop_is_stopped(watched->loop);
}

static void complain(struct eg_supervision *supervision, const struct watched *watched, uint64_t silent_ms)
{
    if (supervision->complained || silent_ms < supervision->watchdog_ms / 2)
        return;
    supervision->complained = true;
    eg_log(EG_LOG_ERROR, "a thread hangs: the watchdog is not served", EG_LOG_STR("thread", watched->name),
           EG_LOG_INT("silent_ms", silent_ms));
}

static void say_alive(struct eg_supervision *supervision)
{
    uint64_t now_ms = eg_loop_now_ms(supervision->loop);
    if (eg_notify_send(&supervision->notify, "WATCHDOG=1") != 0)
        return;
    supervision->alive_ms = now_ms;
    supervision->complained = false;
    for (size_t i = 0; i < supervision->count; i++) {
        struct watched *watched = &supervision->watched[i];
        watched->turns = eg_loop_turns(watched->loop);
        eg_loop_wake(watched->loop);
    }
}

static void serve_watchdog(struct eg_supervision *supervision)
{
    uint64_t silent_ms = eg_loop_now_ms(supervision->loop) - supervision->alive_ms;
    bool all_turn = true;
    if (supervision->watchdog_ms == 0 || supervision->phase == STARTING || silent_ms < supervision->watchdog_ms / 4)
        return;
    for (size_t i = 0; i < supervision->count; i++)
        if (hangs(&supervision->watched[i])) {
            complain(supervision, &supervision->watched[i], silent_ms);
            all_turn = false;
        }
    if (all_turn)
        say_alive(supervision);
}

/* --- the timer --------------------------------------------------------------------------------------------------- */

static void arm(struct eg_supervision *supervision)
{
    uint64_t tick_ms = TICK_MS;
    if (supervision->watchdog_ms > 0 && supervision->watchdog_ms / 4 < tick_ms)
        tick_ms = supervision->watchdog_ms < 4 ? 1 : supervision->watchdog_ms / 4;
    if (eg_timer_set(supervision->loop, &supervision->timer, eg_loop_now_ms(supervision->loop) + tick_ms) != 0)
        eg_log(EG_LOG_ERROR, "no memory for telling the service manager");
}

static void tick(struct eg_timer *timer)
{
    struct eg_supervision *supervision = EG_CONTAINER_OF(timer, struct eg_supervision, timer);
    tell_phase(supervision);
    tell_status(supervision);
    serve_watchdog(supervision);
    arm(supervision);
}

/* --- what is called ---------------------------------------------------------------------------------------------- */

struct eg_supervision *eg_supervision_new(struct eg_loop *loop, void (*describe)(void *context, struct eg_buffer *text),
                                          void *context)
{
    struct eg_supervision *supervision = calloc(1, sizeof(*supervision));
    if (!supervision)
        return NULL;
    supervision->loop = loop;
    supervision->timer.fire = tick;
    supervision->describe = describe;
    supervision->context = context;
    int error = eg_notify_open(&supervision->notify);
    if (error)
        eg_log(EG_LOG_WARN, "the service manager cannot be told anything (NOTIFY_SOCKET)",
               EG_LOG_STR("error", strerror(-error)));
    supervision->watchdog_ms = supervision->notify.fd >= 0 ? eg_notify_watchdog_ms() : 0;
    return supervision;
}

void eg_supervision_free(struct eg_supervision *supervision)
{
    if (!supervision)
        return;
    eg_timer_cancel(supervision->loop, &supervision->timer);
    eg_notify_close(&supervision->notify);
    free(supervision->watched);
    free(supervision);
}

int eg_supervision_watch(struct eg_supervision *supervision, struct eg_loop *watched, const char *name)
{
    struct watched *grown = reallocarray(supervision->watched, supervision->count + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    supervision->watched = grown;
    grown[supervision->count++] = (struct watched){.loop = watched, .name = name};
    return 0;
}

void eg_supervision_ready(struct eg_supervision *supervision)
{
    enter(supervision, READY);
    if (supervision->notify.fd < 0)
        return;
    supervision->alive_ms = eg_loop_now_ms(supervision->loop);
    if (supervision->watchdog_ms > 0)
        say_alive(supervision);
    arm(supervision);
}

void eg_supervision_reloading(struct eg_supervision *supervision)
{
    char state[80];
    if (supervision->phase != READY)
        return;
    /* systemd orders the message by this (sd_notify(3), MONOTONIC_USEC). */
    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, eg_monotonic_us());
    eg_notify_send(&supervision->notify, state);
}

void eg_supervision_reloaded(struct eg_supervision *supervision)
{
    if (supervision->phase == READY)
        enter(supervision, READY);
}

void eg_supervision_stopping(struct eg_supervision *supervision, uint64_t timeout_ms)
{
    supervision->stopping_ms = timeout_ms + STOPPING_SPARE_MS;
    enter(supervision, STOPPING);
}

void eg_supervision_hand_over(struct eg_supervision *supervision, pid_t pid)
{
    char state[40];
    snprintf(state, sizeof(state), "MAINPID=%ld", (long)pid);
    if (eg_notify_send(&supervision->notify, state) != 0)
        eg_log(EG_LOG_ERROR, "the service manager is not told of the new process", EG_LOG_STR("state", state));
    eg_timer_cancel(supervision->loop, &supervision->timer);
    supervision->phase = HANDED_OVER;
}

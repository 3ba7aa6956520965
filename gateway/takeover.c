/*
 * What the process that an upgrade starts does: it makes ready, accepts nothing until the one before it says so, and
 * then serves on that one's sockets.
 */
#include "eventgate/gateway_internal.h"
#include "eventgate/log.h"
#include "eventgate/reach.h"

#define LOOK_EVERY_MS 10u
#define TELL_EVERY_MS 100u

static struct eg_gateway *gateway_of(struct eg_takeover *takeover)
{
    return EG_CONTAINER_OF(takeover, struct eg_gateway, takeover);
}

/* What the old process goes by if this one isn't ready in time. */
static void tell_reach(struct eg_takeover *takeover)
{
    struct eg_gateway *gateway = gateway_of(takeover);
    const struct eg_config *config = gateway->config;
    struct eg_buffer text = EG_BUFFER_INIT;
    uint64_t now_ms = eg_loop_now_ms(gateway->loop);
    if (now_ms < takeover->tell_ms)
        return;
    takeover->tell_ms = now_ms + TELL_EVERY_MS;
    for (size_t i = 0; i < config->set_count; i++) {
        struct eg_set_facts facts = eg_set_status_read(&gateway->shared.statuses[i]);
        if (config->sets[i].name)
            eg_reach_add(&text, config->sets[i].name, eg_reached_by(&facts) | eg_reach_unneeded(&config->sets[i]));
    }
    eg_reach_add(&text, EG_REACH_REVOCATIONS, eg_revocations_known(gateway->shared.revocations));
    eg_predecessor_tell_reach(&takeover->predecessor, &text);
    eg_buffer_done(&text);
}

static void look(struct eg_timer *timer)
{
    struct eg_takeover *takeover = EG_CONTAINER_OF(timer, struct eg_takeover, look);
    struct eg_gateway *gateway = gateway_of(takeover);
    tell_reach(takeover);
    if (eg_gateway_is_ready(gateway))
        eg_predecessor_tell(&takeover->predecessor, EG_SUCCESSOR_READY);
    else if (eg_timer_set(gateway->loop, timer, eg_loop_now_ms(gateway->loop) + LOOK_EVERY_MS) != 0)
        eg_log(EG_LOG_WARN, "no memory for a timer: the process that hands over is not told when this one is ready");
}

static void serve(struct eg_predecessor *predecessor)
{
    struct eg_takeover *takeover = EG_CONTAINER_OF(predecessor, struct eg_takeover, predecessor);
    struct eg_gateway *gateway = gateway_of(takeover);
    eg_timer_cancel(gateway->loop, &takeover->look);
    eg_log(EG_LOG_INFO, "taking over");
    eg_gateway_serve(gateway);
}

int eg_takeover_begin(struct eg_gateway *gateway)
{
    struct eg_takeover *takeover = &gateway->takeover;
    int fd = gateway->listening.predecessor;
    takeover->predecessor.serve = serve;
    takeover->look.fire = look;
    int error = eg_predecessor_take(&takeover->predecessor, gateway->loop, fd);
    if (error)
        return error;
    gateway->listening.predecessor = 0;
    eg_predecessor_tell(&takeover->predecessor, EG_SUCCESSOR_STARTED);
    look(&takeover->look);
    return 0;
}

void eg_takeover_done(struct eg_takeover *takeover)
{
    eg_predecessor_done(&takeover->predecessor);
}

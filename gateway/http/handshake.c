/*
 * Handshakes.
 */
#include "eventgate/handshake.h"

#include <errno.h>
#include <stdlib.h>

#include "eventgate/log.h"

void eg_handshake_end(struct eg_handshake *handshake, int error)
{
    eg_loop_remove(handshake->loop, handshake->wire->fd, &handshake->watch);
    handshake->over(handshake, error);
    free(handshake);
}

static void ready(struct eg_watch *watch, uint32_t epoll_events)
{
    struct eg_handshake *handshake = EG_CONTAINER_OF(watch, struct eg_handshake, watch);
    const char *problem = NULL;
    uint32_t events = 0;
    (void)epoll_events;
    if (*handshake->steps >= EG_HANDSHAKES_PER_TURN)
        return; /* it is still ready in the next turn */
    ++*handshake->steps;
    int error = eg_wire_handshake(handshake->wire, &events, &problem);
    if (error == -EAGAIN) {
        error = events == handshake->events
                    ? 0
                    : eg_loop_change(handshake->loop, handshake->wire->fd, events, &handshake->watch);
        handshake->events = events;
        if (!error)
            return;
    }
    if (error)
        eg_log(EG_LOG_DEBUG, "TLS handshake failed", EG_LOG_STR("error", problem));
    eg_handshake_end(handshake, error);
}

int eg_handshake_begin(struct eg_loop *loop, struct eg_wire *wire, unsigned *steps,
                       void (*over)(struct eg_handshake *handshake, int error), void *context,
                       struct eg_handshake **ret_handshake)
{
    struct eg_handshake *handshake = calloc(1, sizeof(*handshake));
    if (!handshake)
        return -ENOMEM;
    *handshake = (struct eg_handshake){.watch = {ready},
                                       .loop = loop,
                                       .wire = wire,
                                       .events = EPOLLIN,
                                       .steps = steps,
                                       .over = over,
                                       .context = context};
    int error = eg_loop_add(loop, wire->fd, EPOLLIN, &handshake->watch);
    if (error)
        free(handshake);
    else
        *ret_handshake = handshake;
    return error;
}

/*
 * The process that hands over to this one.
 */
#include "eventgate/predecessor.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "eventgate/log.h"
#include "eventgate/successor.h"

static void ready(struct eg_watch *watch, uint32_t epoll_events)
{
    struct eg_predecessor *predecessor = EG_CONTAINER_OF(watch, struct eg_predecessor, watch);
    char message;
    (void)epoll_events;
    ssize_t got = recv(predecessor->fd, &message, 1, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got != 1)
        eg_log(EG_LOG_WARN, "the process that was to hand over is gone: serving");
    eg_predecessor_done(predecessor);
    predecessor->serve(predecessor);
}

int eg_predecessor_take(struct eg_predecessor *predecessor, struct eg_loop *loop, int fd)
{
    predecessor->watch.ready = ready;
    int error = eg_loop_add(loop, fd, EPOLLIN, &predecessor->watch);
    if (error)
        return error;
    predecessor->loop = loop;
    predecessor->fd = fd;
    return 0;
}

void eg_predecessor_tell(struct eg_predecessor *predecessor, char message)
{
    /* If it is gone, `ready` hears of it. */
    if (predecessor->fd > 0 && send(predecessor->fd, &message, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
        eg_log(EG_LOG_WARN, "the process that is to hand over does not listen");
}

void eg_predecessor_tell_reach(struct eg_predecessor *predecessor, const struct eg_buffer *text)
{
    struct eg_buffer whole = EG_BUFFER_INIT;
    eg_buffer_add(&whole, &(char){EG_SUCCESSOR_REACHES}, 1);
    eg_buffer_add(&whole, text->data, text->length);
    eg_buffer_add(&whole, &(char){EG_SUCCESSOR_REACH}, 1);
    if (predecessor->fd > 0 && !whole.failed && !text->failed)
        (void)!send(predecessor->fd, whole.data, whole.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    eg_buffer_done(&whole);
}

void eg_predecessor_done(struct eg_predecessor *predecessor)
{
    if (predecessor->fd <= 0)
        return;
    eg_loop_remove(predecessor->loop, predecessor->fd, &predecessor->watch);
    close(predecessor->fd);
    predecessor->fd = 0;
}

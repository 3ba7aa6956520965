/*
 * An upgrade, from the new process's side (successor.h): the process that hands over is told how far this one is, and
 * says when it is to serve.
 */
#ifndef EG_PREDECESSOR_H
#define EG_PREDECESSOR_H

#include "eventgate/buffer.h"
#include "eventgate/loop.h"

/* Embedded; zero-initialise, then fill in the hook. Main thread. */
struct eg_predecessor {
    /* Serve: it has said so, or it is gone. Called once. */
    void (*serve)(struct eg_predecessor *predecessor);
    /* Its own. */
    struct eg_loop *loop;
    struct eg_watch watch;
    int fd; /* 0: there is none, or no more */
};

/* Takes over `fd` (struct eg_listening's). 0 or a negative errno. */
int eg_predecessor_take(struct eg_predecessor *predecessor, struct eg_loop *loop, int fd) EG_MUST_CHECK;
/* Says EG_SUCCESSOR_STARTED or EG_SUCCESSOR_READY. */
void eg_predecessor_tell(struct eg_predecessor *predecessor, char message);
/* Says what is reached (reach.h). Where there is no room for it, the next one will do. */
void eg_predecessor_tell_reach(struct eg_predecessor *predecessor, const struct eg_buffer *text);
/* Lets go of it, if there is one. */
void eg_predecessor_done(struct eg_predecessor *predecessor);

#endif

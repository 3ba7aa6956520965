/*
 * A mailbox: messages from any thread to the owner of a loop. The whole queue is swapped out under the lock and worked
 * on without it; the loop is woken only by the first message since then, and by those that can wait only when the owner
 * isn't going to look by itself.
 */
#ifndef EG_MAILBOX_H
#define EG_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>

#include "eventgate/common.h"
#include "eventgate/loop.h"

/* Embedded in whatever is sent; who posts it gives it away. */
struct eg_message {
    struct eg_message *next;
    void (*deliver)(struct eg_message *message, void *context); /* called on the owner's thread, which then owns it */
};

struct eg_mailbox {
    pthread_mutex_t lock;
    struct eg_message *first, **last; /* guarded by lock, like the next two */
    bool called;                      /* the loop has been woken since the last look */
    uint32_t waiting;                 /* messages that have not woken it */
    struct eg_loop *loop;             /* of the owner; borrowed */
};

void eg_mailbox_init(struct eg_mailbox *mailbox, struct eg_loop *loop);
/* The mailbox must be empty. */
void eg_mailbox_done(struct eg_mailbox *mailbox);

/* Any thread. */
void eg_mailbox_post(struct eg_mailbox *mailbox, struct eg_message *message);

/*
 * The same for a message that can wait while `soon`, one of the owner's flags, says that the owner is about to look by
 * itself; but a good many together wake it.
 */
void eg_mailbox_post_unhurried(struct eg_mailbox *mailbox, struct eg_message *message, const bool *soon);

/* Sets such a flag. When it falls, and something has come meanwhile, the loop turns again. Owner's thread. */
void eg_mailbox_look_soon(struct eg_mailbox *mailbox, bool *soon, bool value);

/* Takes all messages and delivers them in order; returns their number. Owner's thread. */
size_t eg_mailbox_deliver(struct eg_mailbox *mailbox, void *context);

#endif

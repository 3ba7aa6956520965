/*
 * A mailbox: messages from any thread to the owner of a loop. The whole queue is swapped out under the lock and worked
 * on without it; the loop is woken only when the queue was empty.
 */
#ifndef EG_MAILBOX_H
#define EG_MAILBOX_H

#include <pthread.h>

#include "eventgate/common.h"
#include "eventgate/loop.h"

/* Embedded in whatever is sent; who posts it gives it away. */
struct eg_message {
    struct eg_message *next;
    void (*deliver)(struct eg_message *message, void *context); /* called on the owner's thread, which then owns it */
};

struct eg_mailbox {
    pthread_mutex_t lock;
    struct eg_message *first, **last; /* guarded by lock */
    struct eg_loop *loop;             /* of the owner; borrowed */
};

void eg_mailbox_init(struct eg_mailbox *mailbox, struct eg_loop *loop);
/* The mailbox must be empty. */
void eg_mailbox_done(struct eg_mailbox *mailbox);

/* Any thread. */
void eg_mailbox_post(struct eg_mailbox *mailbox, struct eg_message *message);

/* Takes all messages and delivers them in order; returns their number. Owner's thread. */
size_t eg_mailbox_deliver(struct eg_mailbox *mailbox, void *context);

#endif

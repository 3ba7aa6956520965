/*
 * A mailbox: a linked list swapped out whole.
 */
#include "eventgate/mailbox.h"

#include <stdbool.h>

void eg_mailbox_init(struct eg_mailbox *mailbox, struct eg_loop *loop)
{
    pthread_mutex_init(&mailbox->lock, NULL);
    mailbox->first = NULL;
    mailbox->last = &mailbox->first;
    mailbox->loop = loop;
}

void eg_mailbox_done(struct eg_mailbox *mailbox)
{
    pthread_mutex_destroy(&mailbox->lock);
}

void eg_mailbox_post(struct eg_mailbox *mailbox, struct eg_message *message)
{
    message->next = NULL;
    pthread_mutex_lock(&mailbox->lock);
    bool was_empty = !mailbox->first;
    *mailbox->last = message;
    mailbox->last = &message->next;
    pthread_mutex_unlock(&mailbox->lock);
    if (was_empty)
        eg_loop_wake(mailbox->loop);
}

size_t eg_mailbox_deliver(struct eg_mailbox *mailbox, void *context)
{
    size_t count = 0;
    pthread_mutex_lock(&mailbox->lock);
    struct eg_message *message = mailbox->first;
    mailbox->first = NULL;
    mailbox->last = &mailbox->first;
    pthread_mutex_unlock(&mailbox->lock);
    while (message) {
        struct eg_message *next = message->next; /* delivering may free it */
        message->deliver(message, context);
        message = next;
        count++;
    }
    return count;
}

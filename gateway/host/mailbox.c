/*
 * A mailbox: a linked list swapped out whole.
 */
#include "eventgate/mailbox.h"

/* Messages that can wait, but not more of them than this. */
#define WAITING_MAX 64u

void eg_mailbox_init(struct eg_mailbox *mailbox, struct eg_loop *loop)
{
    pthread_mutex_init(&mailbox->lock, NULL);
    mailbox->first = NULL;
    mailbox->last = &mailbox->first;
    mailbox->called = false;
    mailbox->waiting = 0;
    mailbox->loop = loop;
}

void eg_mailbox_done(struct eg_mailbox *mailbox)
{
    pthread_mutex_destroy(&mailbox->lock);
}

static void post(struct eg_mailbox *mailbox, struct eg_message *message, const bool *soon)
{
    message->next = NULL;
    pthread_mutex_lock(&mailbox->lock);
    *mailbox->last = message;
    mailbox->last = &message->next;
    bool can_wait = soon && *soon && ++mailbox->waiting < WAITING_MAX;
    bool call = !can_wait && !mailbox->called;
    mailbox->called = mailbox->called || call;
    pthread_mutex_unlock(&mailbox->lock);
    if (call)
        eg_loop_wake(mailbox->loop);
}

void eg_mailbox_post(struct eg_mailbox *mailbox, struct eg_message *message)
{
    post(mailbox, message, NULL);
}

void eg_mailbox_post_unhurried(struct eg_mailbox *mailbox, struct eg_message *message, const bool *soon)
{
    post(mailbox, message, soon);
}

void eg_mailbox_look_soon(struct eg_mailbox *mailbox, bool *soon, bool value)
{
    pthread_mutex_lock(&mailbox->lock);
    *soon = value;
    bool again = !value && mailbox->first && !mailbox->called;
    pthread_mutex_unlock(&mailbox->lock);
    if (again)
        eg_loop_again(mailbox->loop);
}

size_t eg_mailbox_deliver(struct eg_mailbox *mailbox, void *context)
{
    size_t count = 0;
    pthread_mutex_lock(&mailbox->lock);
    struct eg_message *message = mailbox->first;
    mailbox->first = NULL;
    mailbox->last = &mailbox->first;
    mailbox->called = false;
    mailbox->waiting = 0;
    pthread_mutex_unlock(&mailbox->lock);
    while (message) {
        struct eg_message *next = message->next; /* delivering may free it */
        message->deliver(message, context);
        message = next;
        count++;
    }
    return count;
}

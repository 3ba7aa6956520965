/* Messages between threads: order, completeness, and what delivering may do. */
#include "eventgate/mailbox.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define THREADS 4
#define MESSAGES 20000

struct letter {
    struct eg_message message;
    int sender, number;
};

struct box {
    struct eg_mailbox mailbox;
    struct eg_loop *loop;
    int next[THREADS]; /* number expected from each sender */
    int received;
    int replies; /* posted into the box itself while it is being delivered */
};

static void receive(struct eg_message *message, void *context);

static struct letter *letter_new(int sender, int number)
{
    struct letter *letter = calloc(1, sizeof(*letter));
    letter->message.deliver = receive;
    letter->sender = sender;
    letter->number = number;
    return letter;
}

static void receive(struct eg_message *message, void *context)
{
    struct letter *letter = EG_CONTAINER_OF(message, struct letter, message);
    struct box *box = context;
    assert_int_equal(letter->number, box->next[letter->sender]++);
    box->received++;
    if (box->replies > 0) {
        box->replies--;
        letter->number = box->next[letter->sender];
        eg_mailbox_post(&box->mailbox, message); /* delivered: it is ours to send again */
    } else {
        free(letter);
    }
}

static int set_up(void **state)
{
    struct box *box = calloc(1, sizeof(*box));
    box->loop = eg_loop_new();
    eg_mailbox_init(&box->mailbox, box->loop);
    *state = box;
    return box->loop ? 0 : -1;
}

static int tear_down(void **state)
{
    struct box *box = *state;
    eg_mailbox_done(&box->mailbox);
    eg_loop_free(box->loop);
    free(box);
    return 0;
}

static void messages_are_delivered_in_order_once(void **state)
{
    struct box *box = *state;
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), 0);
    for (int i = 0; i < 3; i++)
        eg_mailbox_post(&box->mailbox, &letter_new(0, i)->message);
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), 3);
    assert_int_equal(box->received, 3);
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), 0);
    eg_mailbox_post(&box->mailbox, &letter_new(0, 3)->message);
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), 1);
}

static void the_first_message_wakes_the_loop(void **state)
{
    struct box *box = *state;
    eg_mailbox_post(&box->mailbox, &letter_new(0, 0)->message);
    eg_mailbox_post(&box->mailbox, &letter_new(0, 1)->message);
    eg_loop_turn(box->loop, -1); /* would wait for ever */
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), 2);
    eg_mailbox_post(&box->mailbox, &letter_new(0, 2)->message);
    eg_loop_turn(box->loop, -1);
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), 1);
}

/* A callback that posts into its own box would deadlock under a lock, and never end if it were delivered at once. */
static void what_is_posted_while_delivering_comes_the_next_time(void **state)
{
    struct box *box = *state;
    box->replies = 2;
    eg_mailbox_post(&box->mailbox, &letter_new(0, 0)->message);
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), 1);
    eg_loop_turn(box->loop, -1);
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), 1);
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), 1);
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), 0);
    assert_int_equal(box->received, 3);
}

static _Thread_local int wakes; /* of loops, by this thread */

void __real_eg_loop_wake(struct eg_loop *loop);
void __wrap_eg_loop_wake(struct eg_loop *loop);

void __wrap_eg_loop_wake(struct eg_loop *loop)
{
    wakes++;
    __real_eg_loop_wake(loop);
}

static void a_message_that_can_wait_waits_while_the_owner_looks_by_itself(void **state)
{
    struct box *box = *state;
    bool soon = false;
    wakes = 0;
    eg_mailbox_post_unhurried(&box->mailbox, &letter_new(0, 0)->message, &soon);
    assert_int_equal(wakes, 1);
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), 1);
    eg_mailbox_look_soon(&box->mailbox, &soon, true);
    eg_mailbox_post_unhurried(&box->mailbox, &letter_new(0, 1)->message, &soon);
    assert_int_equal(wakes, 1);
    eg_mailbox_post(&box->mailbox, &letter_new(0, 2)->message); /* this one can't */
    assert_int_equal(wakes, 2);
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), 2);
}

static void who_stops_looking_looks_once_more(void **state)
{
    struct box *box = *state;
    bool soon = false;
    eg_mailbox_look_soon(&box->mailbox, &soon, true);
    eg_mailbox_post_unhurried(&box->mailbox, &letter_new(0, 0)->message, &soon);
    eg_mailbox_look_soon(&box->mailbox, &soon, false);
    eg_loop_turn(box->loop, -1); /* would wait for ever */
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), 1);
}

static void a_good_many_messages_that_can_wait_wake_the_loop(void **state)
{
    struct box *box = *state;
    bool soon = false;
    int count = 0;
    eg_mailbox_look_soon(&box->mailbox, &soon, true);
    for (wakes = 0; wakes == 0;)
        eg_mailbox_post_unhurried(&box->mailbox, &letter_new(0, count++)->message, &soon);
    assert_in_range(count, 2, 1000);
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), count);
}

struct sender {
    struct box *box;
    int number;
    pthread_t thread;
};

static void *send_all(void *context)
{
    struct sender *sender = context;
    for (int i = 0; i < MESSAGES; i++)
        eg_mailbox_post(&sender->box->mailbox, &letter_new(sender->number, i)->message);
    return NULL;
}

/* Stops when all have come; a wake that got lost would leave the loop waiting. */
static void take(void *context)
{
    struct box *box = context;
    eg_mailbox_deliver(&box->mailbox, box);
    if (box->received == THREADS * MESSAGES)
        eg_loop_stop(box->loop);
}

static void threads_keep_their_order_and_lose_nothing(void **state)
{
    struct box *box = *state;
    struct sender senders[THREADS];
    eg_loop_on_turn(box->loop, take, box);
    for (int i = 0; i < THREADS; i++) {
        senders[i] = (struct sender){.box = box, .number = i};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
    eg_loop_run(box->loop);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(senders[i].thread, NULL);
        assert_int_equal(box->next[i], MESSAGES);
    }
    assert_int_equal(eg_mailbox_deliver(&box->mailbox, box), 0);
}

#define IN_BOX(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_BOX(messages_are_delivered_in_order_once),
        IN_BOX(the_first_message_wakes_the_loop),
        IN_BOX(what_is_posted_while_delivering_comes_the_next_time),
        IN_BOX(a_message_that_can_wait_waits_while_the_owner_looks_by_itself),
        IN_BOX(who_stops_looking_looks_once_more),
        IN_BOX(a_good_many_messages_that_can_wait_wake_the_loop),
        IN_BOX(threads_keep_their_order_and_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

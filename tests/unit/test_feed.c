/* Order, bounds and references of a feed, and a listener and a worker at once. */
#include "eventgate/feed.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WORKER = 1, WORKERS = 2 };

static struct eg_channel *channel_named(const char *name)
{
    struct eg_channel *channel = eg_channel_new(name, strlen(name), false, WORKERS);
    assert_non_null(channel);
    return channel;
}

static bool push_event(struct eg_feed *feed, struct eg_channel *channel, uint64_t place, const char *payload)
{
    struct eg_event *event =
        eg_event_new_live(channel, &(struct eg_cursor){.has_live = true, .epoch = {"mzxw6ytboi"}, .place = place},
                          payload, strlen(payload), 0);
    assert_non_null(event);
    bool was_empty =
        eg_feed_push(feed, &(struct eg_feed_item){.kind = EG_FEED_EVENT, .place = place, .event = event}, 1);
    eg_event_unref(event);
    return was_empty;
}

static bool push_control(struct eg_feed *feed, enum eg_feed_kind kind, struct eg_channel *channel, uint64_t place)
{
    return eg_feed_push(feed, &(struct eg_feed_item){.kind = kind, .place = place, .channel = channel}, 1);
}

struct expected {
    enum eg_feed_kind kind;
    uint64_t place;
    const struct eg_channel *channel; /* of a DROPPED */
};

static void assert_taken(struct eg_feed *feed, const struct expected *expected, size_t count)
{
    struct eg_feed_item *items;
    assert_int_equal(eg_feed_take(feed, &items), count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(items[i].kind, expected[i].kind);
        assert_int_equal(items[i].place, expected[i].place);
        assert_int_equal(items[i].event != NULL, items[i].kind == EG_FEED_EVENT);
        if (items[i].kind == EG_FEED_DROPPED)
            assert_ptr_equal(items[i].channel, expected[i].channel);
        eg_feed_item_done(&items[i]);
    }
}

#define ASSERT_TAKEN(feed, ...)                                                                                        \
    assert_taken(feed, (const struct expected[]){__VA_ARGS__},                                                         \
                 sizeof((const struct expected[]){__VA_ARGS__}) / sizeof(struct expected))

static void assert_drained(struct eg_feed *feed)
{
    struct eg_feed_item *items;
    assert_int_equal(eg_feed_take(feed, &items), 0);
}

static void items_come_in_order_with_all_they_carry(void **state)
{
    struct eg_feed *feed = eg_feed_new(WORKER, 100, 1 << 20);
    struct eg_channel *channel = channel_named("a");
    struct eg_feed_item *items;
    char name[] = "x/y";
    (void)state;
    const struct eg_feed_item pushed[] = {
        {.kind = EG_FEED_BREAK, .place = 1, .epoch = {"mzxw6ytboi"}},
        {.kind = EG_FEED_LISTENED, .place = 1, .want = 7, .channel = channel},
        {.kind = EG_FEED_REFUSED, .want = 8, .name = name, .refusal = "is refused"},
    };
    assert_true(eg_feed_push(feed, pushed, 3));
    assert_false(push_event(feed, channel, 2, "payload"));
    memset(name, '!', 3); /* the feed has its own copy */
    assert_int_equal(eg_feed_take(feed, &items), 4);
    assert_int_equal(items[0].kind, EG_FEED_BREAK);
    assert_string_equal(items[0].epoch.text, "mzxw6ytboi");
    assert_int_equal(items[1].want, 7);
    assert_ptr_equal(items[1].channel, channel);
    assert_string_equal(items[2].name, "x/y");
    assert_string_equal(items[2].refusal, "is refused");
    assert_int_equal(items[2].want, 8);
    assert_memory_equal(items[3].event->payload.data, "payload", 7);
    assert_int_equal(channel->references, 3); /* ours, the item's, the event's */
    for (size_t i = 0; i < 4; i++)
        eg_feed_item_done(&items[i]);
    assert_int_equal(channel->references, 1);
    assert_int_equal(eg_feed_dropped(feed), 0);
    eg_feed_free(feed);
    eg_channel_unref(channel);
}

static void the_worker_is_woken_once_for_each_take(void **state)
{
    struct eg_feed *feed = eg_feed_new(WORKER, 100, 1 << 20);
    struct eg_channel *channel = channel_named("a");
    (void)state;
    assert_drained(feed);
    for (uint64_t round = 0; round < 3; round++) {
        assert_true(push_event(feed, channel, 2 * round + 1, ""));
        assert_false(push_event(feed, channel, 2 * round + 2, ""));
        ASSERT_TAKEN(feed, {EG_FEED_EVENT, 2 * round + 1, NULL}, {EG_FEED_EVENT, 2 * round + 2, NULL});
        assert_drained(feed);
    }
    eg_feed_free(feed);
    eg_channel_unref(channel);
}

static void the_oldest_events_are_dropped_and_told_first(void **state)
{
    struct eg_feed *feed = eg_feed_new(WORKER, 2, 1 << 20);
    struct eg_channel *a = channel_named("a"), *b = channel_named("b"), *c = channel_named("c");
    (void)state;
    push_event(feed, a, 1, "");
    push_control(feed, EG_FEED_LISTENED, c, 1);
    push_event(feed, a, 2, "");
    push_event(feed, b, 3, "");
    push_control(feed, EG_FEED_BREAK, NULL, 4);
    push_event(feed, c, 5, "");
    push_event(feed, a, 6, "");
    assert_int_equal(eg_feed_dropped(feed), 3);
    assert_int_equal(a->slots[WORKER].dropped, 2); /* one item for a channel, whatever it lost */
    assert_int_equal(c->slots[WORKER].dropped, 0);
    ASSERT_TAKEN(feed, {EG_FEED_DROPPED, 3, b}, {EG_FEED_DROPPED, 2, a}, {EG_FEED_LISTENED, 1, NULL},
                 {EG_FEED_BREAK, 4, NULL}, {EG_FEED_EVENT, 5, NULL}, {EG_FEED_EVENT, 6, NULL});
    assert_int_equal(a->references + b->references + c->references, 3);

    /* It was told: nothing is left of it. */
    push_event(feed, a, 7, "");
    ASSERT_TAKEN(feed, {EG_FEED_EVENT, 7, NULL});
    push_event(feed, a, 8, "");
    push_event(feed, a, 9, "");
    push_event(feed, a, 10, "");
    ASSERT_TAKEN(feed, {EG_FEED_DROPPED, 8, a}, {EG_FEED_EVENT, 9, NULL}, {EG_FEED_EVENT, 10, NULL});
    assert_int_equal(eg_feed_dropped(feed), 4);
    assert_int_equal(a->slots[0].dropped, 0); /* another worker's slot is not ours */
    eg_feed_free(feed);
    eg_channel_unref(a);
    eg_channel_unref(b);
    eg_channel_unref(c);
}

static void bytes_are_bounded_but_the_newest_stays(void **state)
{
    struct eg_channel *channel = channel_named("a");
    char payload[4001];
    memset(payload, 'x', 4000);
    payload[4000] = '\0';
    struct eg_feed *feed = eg_feed_new(WORKER, 100, 20000);
    (void)state;
    push_event(feed, channel, 1, payload); /* about 8,200 bytes each */
    push_event(feed, channel, 2, payload);
    assert_int_equal(eg_feed_dropped(feed), 0);
    push_event(feed, channel, 3, payload);
    ASSERT_TAKEN(feed, {EG_FEED_DROPPED, 1, channel}, {EG_FEED_EVENT, 2, NULL}, {EG_FEED_EVENT, 3, NULL});
    push_event(feed, channel, 4, payload); /* taken bytes don't count */
    push_event(feed, channel, 5, payload);
    ASSERT_TAKEN(feed, {EG_FEED_EVENT, 4, NULL}, {EG_FEED_EVENT, 5, NULL});
    eg_feed_free(feed);

    feed = eg_feed_new(WORKER, 100, 10);
    push_event(feed, channel, 6, payload);
    push_event(feed, channel, 7, payload);
    ASSERT_TAKEN(feed, {EG_FEED_DROPPED, 6, channel}, {EG_FEED_EVENT, 7, NULL});
    eg_feed_free(feed);
    eg_channel_unref(channel);
}

static void what_is_no_event_is_never_dropped(void **state)
{
    enum { CONTROLS = 500, EVENTS = 5000 };
    struct eg_feed *feed = eg_feed_new(WORKER, 3, 1 << 20);
    struct eg_channel *channel = channel_named("a");
    struct eg_feed_item *items;
    (void)state;
    uint64_t place = 0;
    for (int i = 0; i < CONTROLS; i++) {
        push_control(feed, i % 2 ? EG_FEED_LISTENED : EG_FEED_BREAK, i % 2 ? channel : NULL, ++place);
        for (int k = 0; k < EVENTS / CONTROLS; k++)
            push_event(feed, channel, ++place, "");
    }
    assert_int_equal(eg_feed_dropped(feed), EVENTS - 3);
    size_t count = eg_feed_take(feed, &items);
    assert_int_equal(count, 1 + CONTROLS + 3);
    assert_int_equal(items[0].kind, EG_FEED_DROPPED);
    assert_int_equal(items[0].place, place - 3);
    for (size_t i = 1; i <= CONTROLS; i++) {
        assert_int_equal(items[i].kind, i % 2 ? EG_FEED_BREAK : EG_FEED_LISTENED);
        assert_true(items[i].place > items[i - 1].place || i == 1);
    }
    for (size_t i = 0; i < count; i++)
        eg_feed_item_done(&items[i]);
    assert_int_equal(channel->references, 1);
    eg_feed_free(feed);
    eg_channel_unref(channel);
}

/* A worker that is stuck: each event is read on its own, and the next drops it. */
static void one_item_tells_how_far_the_log_has_been_read(void **state)
{
    enum { READS = 5000 };
    struct eg_feed *feed = eg_feed_new(WORKER, 2, 1 << 20);
    struct eg_log_jumps *jumps = eg_log_jumps_new(0);
    struct eg_channel *channel = channel_named("a");
    struct eg_feed_item *items;
    (void)state;
    eg_feed_push(feed, &(struct eg_feed_item){.kind = EG_FEED_LOG, .position = 1, .tag = "tag", .jumps = jumps}, 1);
    for (uint64_t i = 1; i <= READS; i++) {
        push_event(feed, channel, i, "");
        eg_feed_push(feed, &(struct eg_feed_item){.kind = EG_FEED_LOG, .position = 10 * i}, 1);
        eg_feed_push(feed, &(struct eg_feed_item){.kind = EG_FEED_LOG, .position = 10 * i + 5}, 1);
    }
    size_t count = eg_feed_take(feed, &items);
    assert_int_equal(count, 7);
    assert_int_equal(items[0].kind, EG_FEED_DROPPED);
    assert_ptr_equal(items[1].jumps, jumps); /* says more */
    assert_int_equal(items[1].position, 1);
    const uint64_t positions[] = {10 * (READS - 2) + 5, 10 * (READS - 1) + 5, 10 * READS + 5};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(positions); i++) {
        assert_int_equal(items[2 + 2 * i].kind, EG_FEED_LOG);
        assert_int_equal(items[2 + 2 * i].position, positions[i]);
        assert_true(i == 0 || items[1 + 2 * i].event);
    }
    for (size_t i = 0; i < count; i++)
        eg_feed_item_done(&items[i]);
    eg_feed_free(feed);
    eg_log_jumps_unref(jumps);
    eg_channel_unref(channel);
}

/* More channels lose events than the array has places to begin with. */
static void every_channel_is_told_its_own_loss(void **state)
{
    enum { CHANNELS = 900 };
    struct eg_feed *feed = eg_feed_new(WORKER, 1, 1 << 20);
    struct eg_channel *channels[CHANNELS];
    struct eg_feed_item *items;
    (void)state;
    for (uint64_t i = 0; i < CHANNELS; i++) {
        channels[i] = channel_named("a");
        push_event(feed, channels[i], i + 1, "");
    }
    push_event(feed, channels[0], CHANNELS + 1, "");
    size_t count = eg_feed_take(feed, &items);
    assert_int_equal(count, CHANNELS + 1);
    for (size_t i = 0; i < CHANNELS; i++) {
        assert_int_equal(items[i].kind, EG_FEED_DROPPED);
        assert_ptr_equal(items[i].channel, channels[items[i].place - 1]);
    }
    assert_int_equal(items[CHANNELS].place, CHANNELS + 1);
    for (size_t i = 0; i < count; i++)
        eg_feed_item_done(&items[i]);
    eg_feed_free(feed);
    for (size_t i = 0; i < CHANNELS; i++) {
        assert_int_equal(channels[i]->references, 1);
        eg_channel_unref(channels[i]);
    }
}

static void freeing_lets_go_of_everything(void **state)
{
    struct eg_channel *channel = channel_named("a");
    struct eg_feed *feed = eg_feed_new(WORKER, 2, 1 << 20);
    (void)state;
    for (uint64_t place = 1; place < 6; place++)
        push_event(feed, channel, place, "");
    push_control(feed, EG_FEED_UNLISTENED, channel, 0);
    eg_feed_push(feed, &(struct eg_feed_item){.kind = EG_FEED_REFUSED, .name = (char[]){"x"}}, 1);
    eg_feed_free(feed);
    assert_int_equal(channel->references, 1);
    eg_channel_unref(channel);
    eg_feed_free(NULL);
}

/* --- a listener and a worker ------------------------------------------------------------------------------------- */

enum { PLACES = 200000, CHANNELS = 5 };

struct race {
    struct eg_feed *feed;
    struct eg_channel *channels[CHANNELS];
    atomic_bool done;
};

static void *listen_and_push(void *argument)
{
    struct race *race = argument;
    uint32_t random = 1;
    for (uint64_t place = 1; place <= PLACES;) {
        struct eg_feed_item batch[16];
        size_t count = 0;
        random = random * 1664525 + 1013904223;
        for (size_t wanted = 1 + (random >> 28); count < wanted && place <= PLACES; place++, count++) {
            struct eg_channel *channel = race->channels[place % CHANNELS];
            batch[count] = (struct eg_feed_item){.kind = EG_FEED_EVENT, .place = place};
            batch[count].event = eg_event_new_live(
                channel, &(struct eg_cursor){.has_live = true, .epoch = {"mzxw6ytboi"}, .place = place}, "1", 1, 0);
        }
        eg_feed_push(race->feed, batch, count);
        for (size_t i = 0; i < count; i++)
            eg_event_unref(batch[i].event);
    }
    race->done = true;
    return NULL;
}

/* Each place arrives once and in order, or its channel was told beforehand that it won't. */
static void nothing_is_lost_in_silence_between_threads(void **state)
{
    struct race race = {.feed = eg_feed_new(WORKER, 64, 1 << 20)};
    uint64_t last = 0, told[CHANNELS] = {0}, received = 0;
    pthread_t listener;
    (void)state;
    for (size_t i = 0; i < CHANNELS; i++)
        race.channels[i] = channel_named("a");
    assert_int_equal(pthread_create(&listener, NULL, listen_and_push, &race), 0);
    for (bool done = false; !done;) {
        struct eg_feed_item *items;
        done = race.done; /* before the take: nothing is pushed after it */
        size_t count = eg_feed_take(race.feed, &items);
        for (size_t i = 0; i < count; i++) {
            if (items[i].kind == EG_FEED_DROPPED) {
                told[items[i].place % CHANNELS] = items[i].place;
            } else {
                for (uint64_t place = last + 1; place < items[i].place; place++)
                    if (told[place % CHANNELS] < place)
                        fail_msg("place %lu is lost", (unsigned long)place);
                assert_true(items[i].place > last);
                last = items[i].place;
                received++;
            }
            eg_feed_item_done(&items[i]);
        }
        if (count == 0)
            sched_yield();
    }
    pthread_join(listener, NULL);
    assert_int_equal(last, PLACES);
    assert_int_equal(received + eg_feed_dropped(race.feed), PLACES);
    eg_feed_free(race.feed);
    for (size_t i = 0; i < CHANNELS; i++) {
        assert_int_equal(race.channels[i]->references, 1);
        eg_channel_unref(race.channels[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_in_order_with_all_they_carry),
        cmocka_unit_test(the_worker_is_woken_once_for_each_take),
        cmocka_unit_test(the_oldest_events_are_dropped_and_told_first),
        cmocka_unit_test(bytes_are_bounded_but_the_newest_stays),
        cmocka_unit_test(what_is_no_event_is_never_dropped),
        cmocka_unit_test(one_item_tells_how_far_the_log_has_been_read),
        cmocka_unit_test(every_channel_is_told_its_own_loss),
        cmocka_unit_test(freeing_lets_go_of_everything),
        cmocka_unit_test(nothing_is_lost_in_silence_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

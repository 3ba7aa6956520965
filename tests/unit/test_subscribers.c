/* Who becomes dirty, from where on, and what a walk over the journal finds. */
#include "eventgate/subscribers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct eg_journal *journal;
    struct eg_subscribers *subscribers;
    struct eg_journal_channel *a, *b, *c;
    struct eg_epoch epoch;
    uint64_t head;
};

static int flushed;

static void flush(struct eg_subscriber *subscriber)
{
    flushed++;
    subscriber->lagging = false;
}

static struct eg_journal_channel *listen_to(struct fixture *fixture, const char *name)
{
    struct eg_channel *channel = eg_channel_new(name, strlen(name), true, 1);
    assert_non_null(channel);
    struct eg_journal_channel *local = eg_journal_listened(fixture->journal, channel, fixture->head);
    assert_non_null(local);
    eg_channel_unref(channel);
    return local;
}

static void add_break(struct fixture *fixture)
{
    fixture->epoch = eg_epoch_new();
    assert_int_equal(eg_journal_append_break(fixture->journal, fixture->epoch, ++fixture->head), 0);
    eg_subscribers_mark_all(fixture->subscribers, fixture->head, 0);
}

static void publish(struct fixture *fixture, struct eg_journal_channel *channel)
{
    struct eg_event *event = eg_event_new_live(
        channel->channel, &(struct eg_cursor){.has_live = true, .epoch = fixture->epoch, .place = ++fixture->head}, "1",
        1, 0);
    assert_non_null(event);
    assert_int_equal(eg_journal_append_event(fixture->journal, event), 0);
    eg_subscribers_mark(fixture->subscribers, channel, fixture->head, 0);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    fixture->journal = eg_journal_new(0, 16, 1 << 20);
    fixture->subscribers = eg_subscribers_new(fixture->journal);
    add_break(fixture);
    fixture->a = listen_to(fixture, "a");
    fixture->b = listen_to(fixture, "b");
    fixture->c = listen_to(fixture, "c");
    flushed = 0;
    *state = fixture;
    return 0;
}

static void forget(struct eg_journal_channel *channel, void *context)
{
    (void)context;
    eg_subscribers_forget(channel);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    eg_subscribers_free(fixture->subscribers);
    eg_journal_visit_channels(fixture->journal, forget, NULL);
    eg_journal_free(fixture->journal);
    free(fixture);
    return 0;
}

static void only_the_channels_subscribers_become_dirty_and_only_once(void **state)
{
    struct fixture *fixture = *state;
    struct eg_subscriber one = {.flush = flush, .hears_live = true}, two = {.flush = flush, .hears_live = true};
    assert_int_equal(eg_subscribers_add(fixture->subscribers, &one, &fixture->a, 1,
                                        (struct eg_subscriber_start){.place = fixture->head}),
                     0);
    assert_int_equal(eg_subscribers_add(fixture->subscribers, &two, &fixture->b, 1,
                                        (struct eg_subscriber_start){.place = fixture->head}),
                     0);
    assert_false(one.lagging);
    publish(fixture, fixture->c);
    assert_false(one.lagging || two.lagging);
    publish(fixture, fixture->a);
    uint64_t first = fixture->head;
    publish(fixture, fixture->a);
    assert_true(one.lagging);
    assert_int_equal(one.next, first);
    assert_false(two.lagging);
    assert_false(eg_subscribers_flush(fixture->subscribers));
    assert_int_equal(flushed, 1);
    eg_subscribers_remove(fixture->subscribers, &one);
    eg_subscribers_remove(fixture->subscribers, &two);
    assert_int_equal(eg_subscribers_count(fixture->subscribers), 0);
}

static void a_late_subscriber_is_lagging_from_its_place(void **state)
{
    struct fixture *fixture = *state;
    struct eg_subscriber late = {.flush = flush, .hears_live = true};
    uint64_t place = fixture->head;
    publish(fixture, fixture->b);
    publish(fixture, fixture->a);
    assert_int_equal(
        eg_subscribers_add(fixture->subscribers, &late, &fixture->a, 1, (struct eg_subscriber_start){.place = place}),
        0);
    assert_true(late.lagging);
    assert_int_equal(eg_subscriber_place(&late, fixture->journal), place);
    assert_int_equal(eg_subscriber_find(&late, fixture->journal, late.next), fixture->head);
    eg_subscribers_remove(fixture->subscribers, &late);
}

static void a_walk_finds_the_channels_events_and_every_break(void **state)
{
    struct fixture *fixture = *state;
    struct eg_subscriber one = {.flush = flush, .hears_live = true}, both = {.flush = flush, .hears_live = true};
    struct eg_journal_channel *channels[] = {fixture->a, fixture->b};
    uint64_t start = fixture->head;
    assert_int_equal(
        eg_subscribers_add(fixture->subscribers, &one, channels, 1, (struct eg_subscriber_start){.place = start}), 0);
    assert_int_equal(
        eg_subscribers_add(fixture->subscribers, &both, channels, 2, (struct eg_subscriber_start){.place = start}), 0);
    publish(fixture, fixture->a); /* start + 1 */
    publish(fixture, fixture->c);
    publish(fixture, fixture->b); /* + 3 */
    add_break(fixture);           /* + 4 */
    publish(fixture, fixture->a); /* + 5 */
    publish(fixture, fixture->a); /* + 6 */
    const uint64_t for_one[] = {1, 4, 5, 6}, for_both[] = {1, 3, 4, 5, 6};
    uint64_t at = eg_subscriber_find(&one, fixture->journal, start + 1);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(for_one); i++, at = eg_subscriber_following(&one, fixture->journal, at))
        assert_int_equal(at, start + for_one[i]);
    assert_int_equal(at, 0);
    at = eg_subscriber_find(&both, fixture->journal, start + 1);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(for_both); i++, at = eg_subscriber_following(&both, fixture->journal, at))
        assert_int_equal(at, start + for_both[i]);
    assert_int_equal(at, 0);
    eg_subscribers_remove(fixture->subscribers, &one);
    eg_subscribers_remove(fixture->subscribers, &both);
}

static void a_break_marks_everybody(void **state)
{
    struct fixture *fixture = *state;
    struct eg_subscriber one = {.flush = flush, .hears_live = true}, two = {.flush = flush, .hears_live = true};
    assert_int_equal(eg_subscribers_add(fixture->subscribers, &one, &fixture->a, 1,
                                        (struct eg_subscriber_start){.place = fixture->head}),
                     0);
    assert_int_equal(eg_subscribers_add(fixture->subscribers, &two, &fixture->b, 1,
                                        (struct eg_subscriber_start){.place = fixture->head}),
                     0);
    add_break(fixture);
    assert_true(one.lagging && two.lagging);
    assert_int_equal(one.next, fixture->head);
    eg_subscribers_remove(fixture->subscribers, &one); /* while dirty */
    assert_false(eg_subscribers_flush(fixture->subscribers));
    assert_int_equal(flushed, 1);
    eg_subscribers_remove(fixture->subscribers, &two);
}

static void many_leave_in_any_order(void **state)
{
    struct fixture *fixture = *state;
    enum { COUNT = 200 };
    static struct eg_subscriber many[COUNT];
    struct eg_journal_channel *channels[] = {fixture->a, fixture->b};
    memset(many, 0, sizeof(many));
    for (int i = 0; i < COUNT; i++) {
        many[i] = (struct eg_subscriber){.flush = flush, .hears_live = true};
        assert_int_equal(eg_subscribers_add(fixture->subscribers, &many[i], channels, 2,
                                            (struct eg_subscriber_start){.place = fixture->head}),
                         0);
    }
    for (int i = 0; i < COUNT; i += 3)
        eg_subscribers_remove(fixture->subscribers, &many[i]);
    publish(fixture, fixture->b);
    publish(fixture, fixture->a);
    assert_false(eg_subscribers_flush(fixture->subscribers));
    assert_int_equal(flushed, COUNT - (COUNT + 2) / 3);
    assert_int_equal(eg_subscribers_audience(fixture->a), COUNT - (COUNT + 2) / 3);
    for (int i = COUNT - 1; i >= 0; i--)
        if (i % 3 != 0)
            eg_subscribers_remove(fixture->subscribers, &many[i]);
    assert_int_equal(eg_subscribers_audience(fixture->a), 0);
    assert_int_equal(atomic_load(&fixture->a->channel->subscribers), 0);
}

static struct eg_subscribers *the_index;

static void make_dirty_again(struct eg_subscriber *subscriber)
{
    flushed++;
    eg_subscribers_dirty(the_index, subscriber);
}

static void what_becomes_dirty_in_a_flush_waits_for_the_next(void **state)
{
    struct fixture *fixture = *state;
    struct eg_subscriber again = {.flush = make_dirty_again};
    the_index = fixture->subscribers;
    assert_int_equal(eg_subscribers_add(fixture->subscribers, &again, &fixture->a, 1,
                                        (struct eg_subscriber_start){.place = fixture->head}),
                     0);
    publish(fixture, fixture->a);
    assert_true(eg_subscribers_flush(fixture->subscribers));
    assert_int_equal(flushed, 1);
    assert_true(eg_subscribers_flush(fixture->subscribers));
    assert_int_equal(flushed, 2);
    eg_subscribers_remove(fixture->subscribers, &again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_the_channels_subscribers_become_dirty_and_only_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_late_subscriber_is_lagging_from_its_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_walk_finds_the_channels_events_and_every_break, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_break_marks_everybody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_leave_in_any_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_becomes_dirty_in_a_flush_waits_for_the_next, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

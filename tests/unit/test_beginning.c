/* Where a subscription of one live and one durable channel begins, for every kind of cursor, and what it is told. */
#include "eventgate/beginning.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { JOURNAL_EVENTS = 8 };

struct fixture {
    struct eg_set_status status;
    struct eg_worker_set set;
    struct eg_channel *live, *durable;
    struct eg_journal_channel *locals[2];
    struct eg_log_selection *selection;
    struct eg_hold both, only_live, only_durable;
    struct eg_epoch epoch;
    uint64_t head;
    struct eg_subscription_request request;
    struct eg_beginning begun;
};

static struct eg_journal_channel *listen_to(struct fixture *fixture, struct eg_channel *channel, bool durable)
{
    struct eg_journal_channel *local = eg_journal_listened(fixture->set.journal, channel, durable ? 0 : fixture->head);
    struct eg_holding *holding = calloc(1, sizeof(*holding));
    holding->durable = durable;
    local->holding = holding;
    return local;
}

static void add_break(struct fixture *fixture)
{
    fixture->epoch = eg_epoch_new();
    assert_int_equal(eg_journal_append_break(fixture->set.journal, fixture->epoch, ++fixture->head), 0);
    eg_set_status_set_head(&fixture->status, &fixture->epoch, fixture->head);
}

static struct eg_cursor place_of(const struct fixture *fixture, uint64_t place)
{
    return (struct eg_cursor){.has_live = true, .epoch = fixture->epoch, .place = place};
}

static uint64_t publish_live(struct fixture *fixture)
{
    const struct eg_cursor cursor = place_of(fixture, ++fixture->head);
    assert_int_equal(
        eg_journal_append_event(fixture->set.journal, eg_event_new_live(fixture->live, &cursor, "1", 1, 0)), 0);
    eg_set_status_set_head(&fixture->status, &fixture->epoch, fixture->head);
    return fixture->head;
}

static uint64_t publish_durable(struct fixture *fixture, uint64_t position)
{
    struct eg_event_row row = {.cursor = place_of(fixture, ++fixture->head), .place = fixture->head, .data = {"1", 1}};
    memcpy(row.cursor.tag, "tag", 4);
    row.cursor.has_position = true;
    row.cursor.position = position;
    assert_int_equal(eg_journal_append_event(fixture->set.journal, eg_event_new_durable(fixture->durable, &row)), 0);
    eg_set_status_set_head(&fixture->status, &fixture->epoch, fixture->head);
    return fixture->head;
}

/* The log of `tag` has been read up to there, and has jumped there. */
static void set_log(struct fixture *fixture, const char *tag, uint64_t position, uint64_t from, uint64_t to)
{
    struct eg_log_jumps *jumps = eg_log_jumps_new(to > 0);
    if (to > 0)
        jumps->jumps[0] = (struct eg_log_jump){from, to};
    eg_journal_set_log(fixture->set.journal, tag, position, jumps);
    eg_log_jumps_unref(jumps);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_int_equal(eg_set_status_init(&fixture->status), 0);
    fixture->set.status = &fixture->status;
    fixture->set.journal = eg_journal_new(0, JOURNAL_EVENTS, 1 << 20);
    add_break(fixture);
    fixture->live = eg_channel_new("live", 4, true, 1);
    fixture->durable = eg_channel_new("durable", 7, true, 1);
    fixture->locals[0] = listen_to(fixture, fixture->live, false);
    fixture->locals[1] = listen_to(fixture, fixture->durable, true);
    fixture->selection = eg_log_selection_new(&(struct eg_bytes){"durable", 7}, 1);
    fixture->both = (struct eg_hold){fixture->locals, 2, 1, fixture->selection};
    fixture->only_live = (struct eg_hold){fixture->locals, 1, 1, NULL};
    fixture->only_durable = (struct eg_hold){fixture->locals + 1, 1, 0, fixture->selection};
    set_log(fixture, "tag", 100, 0, 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    eg_beginning_done(&fixture->begun);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(fixture->locals); i++)
        free(fixture->locals[i]->holding);
    eg_journal_free(fixture->set.journal);
    eg_log_selection_unref(fixture->selection);
    eg_channel_unref(fixture->live);
    eg_channel_unref(fixture->durable);
    eg_set_status_done(&fixture->status);
    free(fixture);
    return 0;
}

static int decide(struct fixture *fixture, const struct eg_hold *hold, bool looked)
{
    eg_beginning_done(&fixture->begun);
    return eg_beginning_decide(&fixture->set, hold, &fixture->request, looked, &fixture->begun);
}

static void come_with(struct fixture *fixture, const char *text)
{
    fixture->request.after = EG_AFTER_CURSOR;
    assert_int_equal(eg_cursor_parse(text, strlen(text), &fixture->request.cursor), 0);
}

static void come_with_both(struct fixture *fixture, uint64_t position, uint64_t place)
{
    fixture->request.after = EG_AFTER_CURSOR;
    fixture->request.cursor = place_of(fixture, place);
    memcpy(fixture->request.cursor.tag, "tag", 4);
    fixture->request.cursor.has_position = true;
    fixture->request.cursor.position = position;
}

static void assert_begins(const struct fixture *fixture, uint64_t place, uint64_t position)
{
    assert_int_equal(fixture->begun.start.place, place);
    assert_int_equal(fixture->begun.start.position, position);
    assert_string_equal(fixture->begun.tag, "tag");
}

static void assert_exact(struct fixture *fixture, const struct eg_hold *hold, uint64_t place, uint64_t position)
{
    assert_int_equal(decide(fixture, hold, false), 0);
    assert_begins(fixture, place, position);
    assert_false(fixture->begun.missed.is_gap);
}

/* `names`: "l", "d", or both. */
static void assert_gap(const struct fixture *fixture, enum eg_gap_reason reason, const char *names)
{
    const struct eg_missed *missed = &fixture->begun.missed;
    assert_true(missed->is_gap);
    assert_int_equal(missed->reason, reason);
    assert_int_equal(missed->count, strlen(names));
    for (size_t i = 0; i < missed->count; i++)
        assert_int_equal(missed->names[i].data[0], names[i]);
}

static void now_is_the_head(void **state)
{
    struct fixture *fixture = *state;
    publish_live(fixture);
    publish_durable(fixture, 105);
    fixture->request.after = EG_AFTER_NOW;
    assert_exact(fixture, &fixture->both, fixture->head, 105);
}

static void all_that_there_is_is_no_gap(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 2 * JOURNAL_EVENTS; i++)
        publish_live(fixture);
    fixture->request.after = EG_AFTER_EARLIEST;
    assert_exact(fixture, &fixture->both, fixture->head - JOURNAL_EVENTS, 0);
    assert_true(fixture->begun.asked_for_all);
}

static void both_places_are_taken_as_they_are(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = publish_live(fixture);
    publish_durable(fixture, 105);
    publish_live(fixture);
    come_with_both(fixture, 102, first);
    assert_exact(fixture, &fixture->both, first, 102);
    come_with_both(fixture, 105, first);
    assert_exact(fixture, &fixture->both, first, 105);
    come_with_both(fixture, 3, first); /* the log has it */
    assert_exact(fixture, &fixture->both, first, 3);
}

static void a_position_alone_is_a_gap_of_live_channels_only(void **state)
{
    struct fixture *fixture = *state;
    publish_live(fixture);
    come_with(fixture, "tag.42");
    assert_exact(fixture, &fixture->only_durable, fixture->head, 42);
    assert_int_equal(decide(fixture, &fixture->both, false), 0);
    assert_begins(fixture, fixture->head, 42);
    assert_gap(fixture, EG_GAP_RECONNECT, "l");
    assert_int_equal(fixture->begun.missed.position, 42);
}

static void a_live_events_id_tells_both_places(void **state)
{
    struct fixture *fixture = *state;
    publish_durable(fixture, 105);
    uint64_t live = publish_live(fixture);
    publish_durable(fixture, 107);
    fixture->request.after = EG_AFTER_CURSOR;
    fixture->request.cursor = place_of(fixture, live);
    assert_exact(fixture, &fixture->both, live, 105);
    for (int i = 0; i < 2 * JOURNAL_EVENTS; i++)
        publish_live(fixture);
    assert_int_equal(decide(fixture, &fixture->both, false), 0);
    assert_begins(fixture, fixture->head - JOURNAL_EVENTS, 107);
    assert_gap(fixture, EG_GAP_UNKNOWN, "ld");
}

static void another_logs_cursor_and_nonsense_are_unknown(void **state)
{
    struct fixture *fixture = *state;
    come_with(fixture, "other.42");
    assert_int_equal(decide(fixture, &fixture->both, false), 0);
    assert_begins(fixture, fixture->head, 100);
    assert_gap(fixture, EG_GAP_UNKNOWN, "ld");
    fixture->request.after = EG_AFTER_NONSENSE;
    assert_int_equal(decide(fixture, &fixture->only_durable, false), 0);
    assert_begins(fixture, fixture->head, 100);
    assert_gap(fixture, EG_GAP_UNKNOWN, "d");
}

static void what_lies_ahead_is_looked_for(void **state)
{
    struct fixture *fixture = *state;
    come_with(fixture, "tag.120");
    assert_int_equal(decide(fixture, &fixture->only_durable, false), -EINPROGRESS);
    eg_journal_set_log(fixture->set.journal, "tag", 120, NULL);
    assert_int_equal(decide(fixture, &fixture->only_durable, true), 0);
    assert_exact(fixture, &fixture->only_durable, fixture->head, 120);
    come_with(fixture, "tag.130");
    assert_int_equal(decide(fixture, &fixture->only_durable, true), 0); /* it isn't there */
    assert_begins(fixture, fixture->head, 120);
    assert_gap(fixture, EG_GAP_FAILOVER, "d");
    come_with_both(fixture, 100, fixture->head + 1);
    assert_int_equal(decide(fixture, &fixture->both, false), 0);
    assert_gap(fixture, EG_GAP_RECONNECT, "l");
    eg_set_status_set_head(&fixture->status, &fixture->epoch, fixture->head + 1); /* another worker has it */
    assert_int_equal(decide(fixture, &fixture->both, false), -EAGAIN);
}

static void both_ends_of_a_jump_are_the_same_place(void **state)
{
    struct fixture *fixture = *state;
    set_log(fixture, "tag", 150, 150, 5000);
    come_with(fixture, "tag.150");
    assert_exact(fixture, &fixture->only_durable, fixture->head, 5000);
    come_with(fixture, "tag.5000"); /* from a gateway that has read beyond the jump */
    assert_exact(fixture, &fixture->only_durable, fixture->head, 5000);
    come_with(fixture, "tag.5001");
    assert_int_equal(decide(fixture, &fixture->only_durable, false), -EINPROGRESS);
}

static void inside_of_a_jump_is_one_gap(void **state)
{
    struct fixture *fixture = *state;
    set_log(fixture, "tag", 150, 150, 5000);
    come_with(fixture, "tag.151");
    assert_int_equal(decide(fixture, &fixture->only_durable, false), 0);
    assert_begins(fixture, fixture->head, 5000);
    assert_gap(fixture, EG_GAP_FAILOVER, "d");
    assert_int_equal(fixture->begun.missed.position, 5000);
    set_log(fixture, "tag", 150, 160, 5000); /* what is before the jump is still being read */
    come_with(fixture, "tag.4999");
    assert_int_equal(decide(fixture, &fixture->only_durable, false), -EINPROGRESS);
    assert_int_equal(decide(fixture, &fixture->only_durable, true), 0);
    assert_gap(fixture, EG_GAP_FAILOVER, "d");
    assert_int_equal(fixture->begun.start.position, 150);
}

static void who_has_been_passed_by_misses_what_was_of_its_live_channels(void **state)
{
    struct fixture *fixture = *state;
    struct eg_missed missed;
    uint64_t before = fixture->head, place;
    uint64_t live = publish_live(fixture);
    for (uint64_t position = 101; position < 101 + 2 * JOURNAL_EVENTS; position++)
        publish_durable(fixture, position);
    uint64_t least = eg_journal_tail(fixture->set.journal) - 1;
    assert_int_equal(eg_missed_since(&fixture->set, &fixture->both, before, EG_GAP_SLOW, &missed, &place), 0);
    assert_true(missed.is_gap);
    assert_int_equal(missed.count, 1);
    assert_int_equal(missed.place, live);
    assert_int_equal(place, least);
    eg_missed_done(&missed);
    assert_int_equal(eg_missed_since(&fixture->set, &fixture->both, live, EG_GAP_SLOW, &missed, &place), 0);
    assert_false(missed.is_gap);
    assert_int_equal(place, least);
    eg_missed_done(&missed);
    assert_int_equal(eg_missed_all(&fixture->both, EG_DURABLE, EG_GAP_FAILOVER, 7, 8, &missed), 0);
    assert_true(missed.is_gap && missed.place == 7 && missed.position == 8);
    assert_int_equal(missed.count, 1);
    assert_memory_equal(missed.names[0].data, "durable", 7);
    eg_missed_done(&missed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(now_is_the_head),
        TEST(all_that_there_is_is_no_gap),
        TEST(both_places_are_taken_as_they_are),
        TEST(a_position_alone_is_a_gap_of_live_channels_only),
        TEST(a_live_events_id_tells_both_places),
        TEST(another_logs_cursor_and_nonsense_are_unknown),
        TEST(what_lies_ahead_is_looked_for),
        TEST(both_ends_of_a_jump_are_the_same_place),
        TEST(inside_of_a_jump_is_one_gap),
        TEST(who_has_been_passed_by_misses_what_was_of_its_live_channels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

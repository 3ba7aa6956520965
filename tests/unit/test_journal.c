/* What a journal holds and what it says is missing: by example, and against a naive model of everything that happened.
 */
#include "eventgate/journal.h"

#include <stdio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WORKER = 1, WORKERS = 2 };

struct fixture {
    struct eg_journal *journal;
    struct eg_epoch epoch;
    uint64_t head;
};

static struct fixture fixture_new(size_t max_events, size_t max_bytes)
{
    struct fixture fixture = {.journal = eg_journal_new(WORKER, max_events, max_bytes)};
    assert_non_null(fixture.journal);
    return fixture;
}

static struct eg_journal_channel *find(const struct fixture *fixture, const char *name)
{
    return eg_journal_channel(fixture->journal, name, strlen(name), false);
}

static struct eg_channel *listen_to(struct fixture *fixture, const char *name)
{
    struct eg_channel *channel = eg_channel_new(name, strlen(name), false, WORKERS);
    assert_non_null(channel);
    assert_non_null(eg_journal_listened(fixture->journal, channel, fixture->head));
    return channel;
}

static void add_break(struct fixture *fixture)
{
    fixture->epoch = eg_epoch_new();
    assert_int_equal(eg_journal_append_break(fixture->journal, fixture->epoch, ++fixture->head), 0);
}

static size_t publish_text(struct fixture *fixture, struct eg_channel *channel, const char *text)
{
    struct eg_event *event = eg_event_new_live(
        channel, &(struct eg_cursor){.has_live = true, .epoch = fixture->epoch, .place = ++fixture->head}, text,
        strlen(text), 0);
    assert_non_null(event);
    size_t bytes = eg_event_bytes(event);
    assert_int_equal(eg_journal_append_event(fixture->journal, event), 0);
    return bytes;
}

static uint64_t publish(struct fixture *fixture, struct eg_channel *channel)
{
    publish_text(fixture, channel, "1");
    return fixture->head;
}

static uint64_t floor_of(const struct fixture *fixture, const char *name)
{
    return eg_journal_floor(fixture->journal, find(fixture, name));
}

static void assert_held(const struct fixture *fixture, uint64_t tail, uint64_t head)
{
    assert_int_equal(eg_journal_tail(fixture->journal), tail);
    assert_int_equal(eg_journal_head(fixture->journal), head);
    assert_null(eg_journal_at(fixture->journal, tail - 1));
    assert_null(eg_journal_at(fixture->journal, head + 1));
    for (uint64_t place = tail; place <= head; place++)
        assert_non_null(eg_journal_at(fixture->journal, place));
}

static void it_begins_empty_and_with_a_break(void **state)
{
    struct fixture fixture = fixture_new(8, 1 << 20);
    struct eg_cursor cursor;
    char text[EG_CURSOR_SIZE];
    (void)state;
    assert_held(&fixture, 1, 0);
    eg_journal_cursor(fixture.journal, 0, 0, &cursor);
    eg_cursor_format(&cursor, text);
    assert_string_equal(text, "0");
    add_break(&fixture);
    assert_held(&fixture, 1, 1);
    assert_null(eg_journal_at(fixture.journal, 1)->event);
    assert_true(eg_journal_at(fixture.journal, 1)->kind == EG_ENTRY_BREAK);
    assert_int_equal(eg_journal_last_break(fixture.journal), 1);
    eg_journal_free(fixture.journal);
    eg_journal_free(NULL);
}

static void it_may_begin_late(void **state)
{
    struct fixture fixture = fixture_new(8, 1 << 20);
    (void)state;
    fixture.head = 999;
    add_break(&fixture);
    assert_held(&fixture, 1000, 1000);
    eg_journal_free(fixture.journal);
}

static void entries_link_events_of_a_channel(void **state)
{
    struct fixture fixture = fixture_new(100, 1 << 20);
    (void)state;
    add_break(&fixture);
    struct eg_channel *a = listen_to(&fixture, "a"), *b = listen_to(&fixture, "b");
    uint64_t a1 = publish(&fixture, a), b1 = publish(&fixture, b), a2 = publish(&fixture, a);
    assert_int_equal(eg_journal_at(fixture.journal, a1)->next, a2);
    assert_int_equal(eg_journal_at(fixture.journal, b1)->next, 0);
    assert_int_equal(eg_journal_at(fixture.journal, a2)->next, 0);
    assert_ptr_equal(eg_journal_at(fixture.journal, b1)->event->channel, b);
    assert_int_equal(find(&fixture, "a")->last, a2);
    eg_channel_unref(a);
    eg_channel_unref(b);
    eg_journal_free(fixture.journal);
}

/* The ring has gone round since the channel's last event: its entry belongs to another now. */
static void a_trimmed_event_is_not_linked(void **state)
{
    enum { CAPACITY = 64 };
    struct fixture fixture = fixture_new(CAPACITY, 1 << 20);
    (void)state;
    add_break(&fixture);
    struct eg_channel *quiet = listen_to(&fixture, "quiet"), *busy = listen_to(&fixture, "busy");
    uint64_t first = publish(&fixture, quiet);
    while (fixture.head < first + CAPACITY + 5)
        publish(&fixture, busy);
    uint64_t second = publish(&fixture, quiet);
    for (uint64_t place = eg_journal_tail(fixture.journal); place < second - 1; place++)
        assert_int_equal(eg_journal_at(fixture.journal, place)->next, place + 1);
    assert_int_equal(eg_journal_at(fixture.journal, second - 1)->next, 0);
    eg_channel_unref(quiet);
    eg_channel_unref(busy);
    eg_journal_free(fixture.journal);
}

static void a_busy_neighbour_trims_but_nothing_is_missing(void **state)
{
    struct fixture fixture = fixture_new(4, 1 << 20);
    (void)state;
    add_break(&fixture);
    struct eg_channel *quiet = listen_to(&fixture, "quiet"), *busy = listen_to(&fixture, "busy");
    uint64_t only = publish(&fixture, quiet);
    for (int i = 0; i < 100; i++)
        publish(&fixture, busy);
    assert_held(&fixture, fixture.head - 3, fixture.head);
    assert_int_equal(floor_of(&fixture, "quiet"), only); /* who has had it misses nothing */
    assert_int_equal(floor_of(&fixture, "busy"), fixture.head - 4);
    eg_channel_unref(quiet);
    eg_channel_unref(busy);
    eg_journal_free(fixture.journal);
}

static void a_trimmed_break_concerns_everybody(void **state)
{
    struct fixture fixture = fixture_new(4, 1 << 20);
    (void)state;
    add_break(&fixture);
    struct eg_channel *quiet = listen_to(&fixture, "quiet"), *busy = listen_to(&fixture, "busy");
    for (int i = 0; i < 10; i++)
        publish(&fixture, busy);
    add_break(&fixture);
    uint64_t second = fixture.head;
    assert_int_equal(floor_of(&fixture, "quiet"), 1); /* held: a reader walks over it */
    for (int i = 0; i < 3; i++)
        publish(&fixture, busy);
    assert_int_equal(eg_journal_tail(fixture.journal), second);
    assert_int_equal(floor_of(&fixture, "quiet"), 1);
    publish(&fixture, busy);
    assert_int_equal(floor_of(&fixture, "quiet"), second);
    assert_int_equal(eg_journal_last_break(fixture.journal), second);
    eg_channel_unref(quiet);
    eg_channel_unref(busy);
    eg_journal_free(fixture.journal);
}

static void bytes_are_bounded_and_counted(void **state)
{
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    struct fixture fixture = fixture_new(1000, 10000);
    size_t bytes = 0;
    (void)state;
    fixture.head = 1000; /* so that all places have as many digits */
    add_break(&fixture);
    struct eg_channel *a = listen_to(&fixture, "a");
    for (int i = 0; i < 50; i++) {
        bytes = publish_text(&fixture, a, text);
        assert_true(eg_journal_bytes(fixture.journal) <= 10000);
        assert_int_equal(eg_journal_bytes(fixture.journal) % bytes, 0);
    }
    assert_int_equal(eg_journal_bytes(fixture.journal), 10000 / bytes * bytes);
    eg_journal_set_bounds(fixture.journal, 1000, 2 * bytes);
    assert_held(&fixture, fixture.head - 1, fixture.head);
    eg_journal_set_bounds(fixture.journal, 1000, 1); /* the newest stays */
    assert_held(&fixture, fixture.head, fixture.head);
    publish_text(&fixture, a, text);
    assert_held(&fixture, fixture.head, fixture.head);
    eg_journal_set_bounds(fixture.journal, 3, 1 << 20);
    for (int i = 0; i < 10; i++)
        publish_text(&fixture, a, text);
    assert_held(&fixture, fixture.head - 2, fixture.head);
    assert_int_equal(a->references, 2 + 3); /* ours, the local one, the events */
    eg_journal_free(fixture.journal);
    assert_int_equal(a->references, 1);
    eg_channel_unref(a);
}

static void a_drop_is_a_hole_and_only_its_channels_miss_it(void **state)
{
    struct fixture fixture = fixture_new(100, 1 << 20);
    (void)state;
    add_break(&fixture);
    struct eg_channel *a = listen_to(&fixture, "a"), *b = listen_to(&fixture, "b");
    uint64_t a1 = publish(&fixture, a), b1 = publish(&fixture, b);
    uint64_t dropped = fixture.head += 10;
    eg_journal_mark_dropped(fixture.journal, a, dropped, 0);
    assert_int_equal(floor_of(&fixture, "a"), dropped);
    uint64_t b2 = publish(&fixture, b);
    /* What lay before the hole is trimmed, which must not hide the later drop. */
    assert_held(&fixture, b2, b2);
    assert_true(a1 < dropped);
    assert_int_equal(floor_of(&fixture, "a"), dropped);
    assert_int_equal(floor_of(&fixture, "b"), b1);
    eg_channel_unref(a);
    eg_channel_unref(b);
    eg_journal_free(fixture.journal);
}

static void a_drop_told_before_the_listen_still_counts(void **state)
{
    struct fixture fixture = fixture_new(100, 1 << 20);
    (void)state;
    add_break(&fixture);
    struct eg_channel *a = eg_channel_new("a", 1, false, WORKERS);
    eg_journal_mark_dropped(fixture.journal, a, 20, 0);
    assert_non_null(eg_journal_listened(fixture.journal, a, 10));
    fixture.head = 20;
    publish(&fixture, a);
    assert_int_equal(floor_of(&fixture, "a"), 20);
    eg_channel_unref(a);
    eg_journal_free(fixture.journal);
}

static void an_unknown_channel_takes_its_place(void **state)
{
    struct fixture fixture = fixture_new(100, 1 << 20);
    struct eg_channel *stranger = eg_channel_new("stranger", 8, false, WORKERS);
    (void)state;
    add_break(&fixture);
    struct eg_channel *a = listen_to(&fixture, "a");
    uint64_t a1 = publish(&fixture, a);
    uint64_t between = publish(&fixture, stranger);
    uint64_t a2 = publish(&fixture, a);
    assert_held(&fixture, 1, a2);
    assert_int_equal(eg_journal_at(fixture.journal, a1)->next, a2);
    assert_int_equal(eg_journal_at(fixture.journal, between)->next, 0);
    assert_null(find(&fixture, "stranger"));
    eg_journal_free(fixture.journal);
    eg_channel_unref(a);
    eg_channel_unref(stranger);
}

static void channels_are_found_by_name_and_dropped(void **state)
{
    struct fixture fixture = fixture_new(100, 1 << 20);
    size_t length;
    char name[24];
    (void)state;
    assert_null(find(&fixture, "a"));
    for (int i = 0; i < 2000; i++) { /* the hash grows */
        snprintf(name, sizeof(name), "channel/%d", i);
        assert_non_null(eg_journal_channel(fixture.journal, name, strlen(name), true));
    }
    struct eg_journal_channel *channel = find(&fixture, "channel/1234");
    assert_non_null(channel);
    assert_null(channel->channel);
    assert_ptr_equal(eg_journal_channel(fixture.journal, "channel/1234", 12, true), channel);
    assert_string_equal(eg_journal_channel_name(channel, &length), "channel/1234");
    assert_int_equal(length, 12);
    eg_journal_channel_drop(fixture.journal, channel);
    assert_null(find(&fixture, "channel/1234"));
    assert_non_null(find(&fixture, "channel/123"));
    eg_journal_free(fixture.journal);
}

static void dropping_a_channel_clears_its_slot(void **state)
{
    struct fixture fixture = fixture_new(100, 1 << 20);
    (void)state;
    add_break(&fixture);
    struct eg_channel *a = listen_to(&fixture, "a");
    assert_ptr_equal(a->slots[WORKER].local, find(&fixture, "a"));
    assert_null(a->slots[0].local);
    publish(&fixture, a);
    eg_journal_channel_drop(fixture.journal, find(&fixture, "a"));
    assert_null(a->slots[WORKER].local);
    assert_int_equal(a->references, 2); /* ours and the event's */
    publish(&fixture, a);               /* one that was still under way */
    eg_journal_free(fixture.journal);
    assert_int_equal(a->references, 1);
    eg_channel_unref(a);
}

static void listening_anew_starts_anew(void **state)
{
    struct fixture fixture = fixture_new(100, 1 << 20);
    (void)state;
    add_break(&fixture);
    struct eg_channel *old = listen_to(&fixture, "a");
    uint64_t before = publish(&fixture, old);
    struct eg_journal_channel *local = find(&fixture, "a");
    assert_ptr_equal(eg_journal_unlistened(fixture.journal, old), local);
    assert_null(local->channel);
    assert_null(eg_journal_unlistened(fixture.journal, old));
    struct eg_channel *other = listen_to(&fixture, "b");
    publish(&fixture, other);
    struct eg_channel *new = listen_to(&fixture, "a");
    assert_ptr_equal(find(&fixture, "a"), local);
    assert_ptr_equal(local->channel, new);
    assert_int_equal(floor_of(&fixture, "a"), fixture.head);
    publish(&fixture, new);
    assert_int_equal(eg_journal_at(fixture.journal, before)->next, 0); /* not across the break in listening */
    assert_int_equal(old->references, 2);                              /* ours and its event's */
    /* Told again, it has been LISTENed since the first time. */
    uint64_t since = local->since;
    assert_ptr_equal(eg_journal_listened(fixture.journal, new, fixture.head), local);
    assert_int_equal(local->since, since);
    eg_journal_free(fixture.journal);
    eg_channel_unref(old);
    eg_channel_unref(other);
    eg_channel_unref(new);
}

static void a_listen_may_take_a_place_that_concerns_nobody(void **state)
{
    struct fixture fixture = fixture_new(100, 1 << 20);
    (void)state;
    add_break(&fixture);
    struct eg_channel *a = listen_to(&fixture, "a");
    uint64_t first = publish(&fixture, a), mark = ++fixture.head;
    struct eg_channel *b = listen_to(&fixture, "b");
    assert_held(&fixture, 1, mark);
    assert_null(eg_journal_at(fixture.journal, mark)->event);
    assert_false(eg_journal_at(fixture.journal, mark)->kind == EG_ENTRY_BREAK);
    assert_int_equal(eg_journal_last_break(fixture.journal), 1);
    assert_int_equal(floor_of(&fixture, "a"), 1);
    assert_int_equal(floor_of(&fixture, "b"), mark);
    assert_int_equal(eg_journal_at(fixture.journal, first)->next, 0);
    assert_int_equal(publish(&fixture, a), mark + 1);
    assert_int_equal(eg_journal_at(fixture.journal, first)->next, mark + 1);
    eg_channel_unref(a);
    eg_channel_unref(b);
    eg_journal_free(fixture.journal);
}

static void a_listen_without_unlisten_takes_over(void **state)
{
    struct fixture fixture = fixture_new(100, 1 << 20);
    (void)state;
    add_break(&fixture);
    struct eg_channel *old = listen_to(&fixture, "a"), *new = listen_to(&fixture, "a");
    assert_null(old->slots[WORKER].local);
    assert_int_equal(old->references, 1);
    assert_ptr_equal(new->slots[WORKER].local, find(&fixture, "a"));
    eg_journal_free(fixture.journal);
    assert_null(new->slots[WORKER].local);
    eg_channel_unref(old);
    eg_channel_unref(new);
}

static void visit(struct eg_journal_channel *channel, void *context)
{
    size_t length;
    strcat(context, eg_journal_channel_name(channel, &length));
}

static void all_channels_can_be_visited(void **state)
{
    struct fixture fixture = fixture_new(100, 1 << 20);
    char names[16] = "";
    (void)state;
    eg_journal_visit_channels(fixture.journal, visit, names);
    assert_string_equal(names, "");
    assert_non_null(eg_journal_channel(fixture.journal, "a", 1, true));
    assert_non_null(eg_journal_channel(fixture.journal, "b", 1, true));
    eg_journal_visit_channels(fixture.journal, visit, names);
    assert_string_equal(names, "ab");
    eg_journal_free(fixture.journal);
}

/* --- cursors ----------------------------------------------------------------------------------------------------- */

static enum eg_journal_lookup look_up(const struct fixture *fixture, struct eg_epoch epoch, uint64_t place,
                                      const struct eg_epoch *shared_epoch, uint64_t shared_head, uint64_t *ret_place)
{
    struct eg_cursor cursor = {.has_live = true, .epoch = epoch, .place = place};
    return eg_journal_find(fixture->journal, &cursor, shared_epoch, shared_head, ret_place);
}

static void a_cursor_is_known_within_its_epoch(void **state)
{
    struct fixture fixture = fixture_new(4, 1 << 20);
    uint64_t place = 0;
    (void)state;
    add_break(&fixture);
    struct eg_epoch first = fixture.epoch;
    struct eg_channel *a = listen_to(&fixture, "a");
    for (int i = 0; i < 9; i++)
        publish(&fixture, a);
    add_break(&fixture); /* at 11 */
    publish(&fixture, a);
    struct eg_epoch second = fixture.epoch;
    assert_int_equal(look_up(&fixture, first, 1, &second, 12, &place), EG_JOURNAL_KNOWN); /* trimmed, but known */
    assert_int_equal(place, 1);
    assert_int_equal(look_up(&fixture, first, 10, &second, 12, &place), EG_JOURNAL_KNOWN);
    assert_int_equal(place, 10);
    assert_int_equal(look_up(&fixture, second, 11, &second, 12, &place), EG_JOURNAL_KNOWN);
    assert_int_equal(look_up(&fixture, second, 12, &second, 12, &place), EG_JOURNAL_KNOWN);
    assert_int_equal(place, 12);
    assert_int_equal(look_up(&fixture, first, 0, &second, 12, &place), EG_JOURNAL_ALIEN);
    assert_int_equal(look_up(&fixture, first, 11, &second, 12, &place), EG_JOURNAL_ALIEN);
    assert_int_equal(look_up(&fixture, second, 10, &second, 12, &place), EG_JOURNAL_ALIEN);
    assert_int_equal(look_up(&fixture, second, 13, &second, 12, &place), EG_JOURNAL_ALIEN); /* a lie */
    assert_int_equal(look_up(&fixture, eg_epoch_new(), 12, &second, 12, &place), EG_JOURNAL_ALIEN);
    assert_int_equal(place, 12); /* untouched */
    eg_channel_unref(a);
    eg_journal_free(fixture.journal);
}

static void a_faster_worker_s_cursor_is_ahead(void **state)
{
    struct fixture fixture = fixture_new(4, 1 << 20);
    struct eg_epoch next = eg_epoch_new();
    uint64_t place = 0;
    (void)state;
    assert_int_equal(look_up(&fixture, next, 1, &next, 1, &place), EG_JOURNAL_AHEAD); /* nothing here yet */
    add_break(&fixture);
    struct eg_epoch first = fixture.epoch;
    assert_int_equal(look_up(&fixture, first, 5, &first, 5, &place), EG_JOURNAL_AHEAD);
    assert_int_equal(look_up(&fixture, first, 6, &first, 5, &place), EG_JOURNAL_ALIEN);
    /* The listener has gone on to another epoch, of which nothing is here yet. */
    assert_int_equal(look_up(&fixture, next, 7, &next, 8, &place), EG_JOURNAL_AHEAD);
    assert_int_equal(look_up(&fixture, first, 5, &next, 8, &place), EG_JOURNAL_AHEAD);
    assert_int_equal(look_up(&fixture, eg_epoch_new(), 5, &next, 8, &place), EG_JOURNAL_ALIEN);
    eg_journal_free(fixture.journal);
}

static void sixty_four_epochs_are_remembered(void **state)
{
    enum { BREAKS = 80, REMEMBERED = 64 };
    struct fixture fixture = fixture_new(1000, 1 << 20);
    struct eg_epoch epochs[BREAKS + 1];
    struct eg_cursor cursor;
    uint64_t place;
    (void)state;
    for (int i = 1; i <= BREAKS; i++) {
        add_break(&fixture);
        epochs[i] = fixture.epoch;
    }
    for (uint64_t i = 1; i <= BREAKS; i++) {
        bool remembered = i > BREAKS - REMEMBERED;
        assert_int_equal(look_up(&fixture, epochs[i], i, &fixture.epoch, BREAKS, &place),
                         remembered ? EG_JOURNAL_KNOWN : EG_JOURNAL_ALIEN);
        eg_journal_cursor(fixture.journal, i, 0, &cursor);
        assert_int_equal(cursor.place, i);
        assert_string_equal(cursor.epoch.text, epochs[remembered ? i : BREAKS - REMEMBERED + 1].text);
        /* What isn't remembered never comes back as another place: its reader gets a gap. */
        assert_int_equal(eg_journal_find(fixture.journal, &cursor, &fixture.epoch, BREAKS, &place),
                         remembered ? EG_JOURNAL_KNOWN : EG_JOURNAL_ALIEN);
    }
    eg_journal_cursor(fixture.journal, BREAKS + 100, 0, &cursor); /* beyond head */
    assert_int_equal(cursor.place, BREAKS);
    eg_journal_free(fixture.journal);
}

/* --- against a model --------------------------------------------------------------------------------------------- */

enum { MODEL_CHANNELS = 6, MODEL_PLACES = 3000, MODEL_ROUNDS = 40 };

/* Everything that ever happened, by place: a break, an event, or (neither) a mark of a LISTEN. */
struct happened {
    bool is_break;
    bool dropped;
    struct eg_channel *channel; /* of an event; a reference */
    bool known;                 /* the worker knew the channel */
    size_t bytes;
};

struct model {
    struct fixture fixture;
    size_t max_events, max_bytes;
    uint64_t tail;
    struct happened happened[MODEL_PLACES + 1];
    struct eg_channel *channels[MODEL_CHANNELS]; /* as last LISTENed; NULL: not now */
    uint64_t since[MODEL_CHANNELS];
    uint64_t breaks[MODEL_PLACES];
    size_t break_count;
    uint32_t random;
};

static uint32_t draw(struct model *model, uint32_t bound)
{
    model->random = model->random * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)model->random * bound) >> 32);
}

static const char *model_name(size_t channel)
{
    static const char *const names[MODEL_CHANNELS] = {"a", "b", "c", "d", "e", "f"};
    return names[channel];
}

static void model_trim(struct model *model)
{
    for (;;) {
        size_t count = model->fixture.head + 1 - model->tail, bytes = 0;
        for (uint64_t place = model->tail; place <= model->fixture.head; place++)
            bytes += model->happened[place].bytes;
        if (count <= 1 || (count <= model->max_events && bytes <= model->max_bytes))
            return;
        model->tail++;
    }
}

static void model_listen(struct model *model, size_t number)
{
    model->fixture.head += draw(model, 2); /* with a mark of its own, or without */
    model->channels[number] = listen_to(&model->fixture, model_name(number));
    model->since[number] = model->fixture.head;
    model_trim(model);
}

static void model_unlisten(struct model *model, size_t number)
{
    struct eg_journal_channel *local = eg_journal_unlistened(model->fixture.journal, model->channels[number]);
    if (local && draw(model, 2))
        eg_journal_channel_drop(model->fixture.journal, local);
    eg_channel_unref(model->channels[number]);
    model->channels[number] = NULL;
}

static void model_publish(struct model *model)
{
    static const char text[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    struct eg_channel *channel = model->channels[draw(model, MODEL_CHANNELS)];
    bool known = channel != NULL;
    channel = known ? eg_channel_ref(channel) : eg_channel_new("stranger", 8, false, WORKERS);
    size_t bytes = publish_text(&model->fixture, channel, text + draw(model, sizeof(text)));
    model->happened[model->fixture.head] = (struct happened){.channel = channel, .known = known, .bytes = bytes};
    model_trim(model);
}

static void model_break(struct model *model)
{
    add_break(&model->fixture);
    model->happened[model->fixture.head] = (struct happened){.is_break = true};
    model->breaks[model->break_count++] = model->fixture.head;
    model_trim(model);
}

/* A run of events that the feed dropped: each channel is told its last one, then the places go on behind the hole. */
static void model_drop(struct model *model)
{
    uint64_t last[MODEL_CHANNELS] = {0};
    struct fixture *fixture = &model->fixture;
    uint64_t before = fixture->head;
    for (uint32_t count = 1 + draw(model, 8); count > 0; count--) {
        size_t number = draw(model, MODEL_CHANNELS);
        if (!model->channels[number])
            continue;
        last[number] = ++fixture->head;
        model->happened[fixture->head] =
            (struct happened){.dropped = true, .channel = eg_channel_ref(model->channels[number])};
    }
    for (size_t number = 0; number < MODEL_CHANNELS; number++)
        if (last[number])
            eg_journal_mark_dropped(fixture->journal, model->channels[number], last[number], 0);
    if (fixture->head > before)
        model->tail = fixture->head + 1;
    if (draw(model, 4))
        model_publish(model);
    else
        model_break(model);
}

static void model_bounds(struct model *model)
{
    model->max_events = 1 + draw(model, 200);
    model->max_bytes = draw(model, 4) ? 1 << 20 : 300 + draw(model, 20000);
    eg_journal_set_bounds(model->fixture.journal, model->max_events, model->max_bytes);
    model_trim(model);
}

static void model_step(struct model *model)
{
    uint32_t what = draw(model, 100);
    size_t number = draw(model, MODEL_CHANNELS);
    if (what < 3)
        model_break(model);
    else if (what < 6)
        model_drop(model);
    else if (what < 7)
        model_bounds(model);
    else if (what < 12 && model->channels[number])
        model_unlisten(model, number);
    else if (what < 18 && !model->channels[number])
        model_listen(model, number);
    else
        model_publish(model);
}

/* Would a reader who has had everything of the channel up to `place` miss something, going on with what is held? */
static bool model_missing(const struct model *model, size_t number, uint64_t place)
{
    if (place < model->since[number])
        return true;
    for (uint64_t later = place + 1; later <= model->fixture.head; later++) {
        const struct happened *happened = &model->happened[later];
        bool concerns = happened->is_break || happened->channel == model->channels[number];
        if (concerns && (happened->dropped || later < model->tail))
            return true;
    }
    return false;
}

static void check_held(const struct model *model)
{
    const struct eg_journal *journal = model->fixture.journal;
    size_t bytes = 0;
    assert_held(&model->fixture, model->tail, model->fixture.head);
    for (uint64_t place = model->tail; place <= model->fixture.head; place++) {
        const struct happened *happened = &model->happened[place];
        const struct eg_journal_entry *entry = eg_journal_at(journal, place);
        uint64_t next = place + 1;
        while (next <= model->fixture.head && model->happened[next].channel != happened->channel)
            next++;
        assert_int_equal(entry->kind == EG_ENTRY_BREAK, happened->is_break);
        assert_int_equal(entry->event == NULL, happened->channel == NULL);
        if (entry->event) {
            assert_ptr_equal(entry->event->channel, happened->channel);
            assert_int_equal(entry->event->place, place);
            assert_int_equal(entry->next, happened->known && next <= model->fixture.head ? next : 0);
        }
        bytes += happened->bytes;
    }
    assert_int_equal(eg_journal_bytes(journal), bytes);
}

static void check_floors(struct model *model)
{
    for (size_t number = 0; number < MODEL_CHANNELS; number++) {
        if (!model->channels[number])
            continue;
        uint64_t floor = floor_of(&model->fixture, model_name(number));
        for (int i = 0; i < 5; i++) {
            uint64_t place = draw(model, (uint32_t)model->fixture.head + 1);
            assert_int_equal(place < floor, model_missing(model, number, place));
        }
        assert_false(model_missing(model, number, floor));
        assert_true(floor == 0 || model_missing(model, number, floor - 1));
    }
}

static void check_cursors(struct model *model)
{
    struct eg_cursor cursor;
    uint64_t place = 1 + draw(model, (uint32_t)model->fixture.head), found = 0;
    size_t oldest = model->break_count > 64 ? model->break_count - 64 : 0;
    eg_journal_cursor(model->fixture.journal, place, 0, &cursor);
    enum eg_journal_lookup lookup =
        eg_journal_find(model->fixture.journal, &cursor, &model->fixture.epoch, model->fixture.head, &found);
    assert_int_equal(lookup, place >= model->breaks[oldest] ? EG_JOURNAL_KNOWN : EG_JOURNAL_ALIEN);
    assert_int_equal(found, lookup == EG_JOURNAL_KNOWN ? place : 0);
    assert_int_equal(eg_journal_last_break(model->fixture.journal), model->breaks[model->break_count - 1]);
}

static void model_done(struct model *model)
{
    eg_journal_free(model->fixture.journal);
    for (uint64_t place = 1; place <= model->fixture.head; place++)
        eg_channel_unref(model->happened[place].channel);
    for (size_t number = 0; number < MODEL_CHANNELS; number++) {
        if (model->channels[number])
            assert_int_equal(model->channels[number]->references, 1);
        eg_channel_unref(model->channels[number]);
    }
}

static void it_says_what_a_model_of_everything_says(void **state)
{
    static struct model model;
    (void)state;
    for (uint32_t seed = 1; seed <= MODEL_ROUNDS; seed++) {
        memset(&model, 0, sizeof(model));
        model.random = seed;
        model.max_events = 16;
        model.max_bytes = 1 << 20;
        model.tail = 1;
        model.fixture = fixture_new(model.max_events, model.max_bytes);
        model_break(&model);
        while (model.fixture.head < MODEL_PLACES - 10) {
            model_step(&model);
            if (draw(&model, 8) == 0) {
                check_held(&model);
                check_floors(&model);
                check_cursors(&model);
            }
        }
        model_done(&model);
    }
}

/* --- the log -------------------------------------------------------------------------------------------------------
 */

static uint64_t publish_at(struct fixture *fixture, struct eg_channel *channel, uint64_t position)
{
    const struct eg_event_row row = {.cursor = {.tag = "tag", .has_position = true, .position = position},
                                     .place = ++fixture->head,
                                     .data = {"1", 1}};
    assert_int_equal(eg_journal_append_event(fixture->journal, eg_event_new_durable(channel, &row)), 0);
    return fixture->head;
}

static void entries_have_the_position_that_the_log_was_read_to(void **state)
{
    struct fixture fixture = fixture_new(4, 1 << 20);
    (void)state;
    add_break(&fixture);
    struct eg_channel *a = listen_to(&fixture, "a"), *d = listen_to(&fixture, "d");
    assert_string_equal(eg_journal_tag(fixture.journal), "");
    eg_journal_set_log(fixture.journal, "tag", 100, NULL);
    assert_string_equal(eg_journal_tag(fixture.journal), "tag");
    assert_int_equal(eg_journal_log_floor(fixture.journal), 100);
    uint64_t first = publish_at(&fixture, d, 105), live = publish(&fixture, a);
    eg_journal_set_log(fixture.journal, "tag", 110, NULL);
    uint64_t second = publish_at(&fixture, d, 120);
    assert_int_equal(eg_journal_position(fixture.journal), 120);
    assert_int_equal(eg_journal_position_at(fixture.journal, first), 105);
    assert_int_equal(eg_journal_position_at(fixture.journal, live), 105);
    assert_int_equal(eg_journal_position_at(fixture.journal, second), 120);
    eg_journal_set_log(fixture.journal, "tag", 130, NULL);
    assert_int_equal(eg_journal_position_at(fixture.journal, second), 130); /* nothing has come since */
    const uint64_t behind[][2] = {{104, first}, {105, second}, {119, second}, {120, second + 1}, {500, second + 1}};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(behind); i++)
        assert_int_equal(eg_journal_place_behind(fixture.journal, behind[i][0]), behind[i][1]);
    publish(&fixture, a); /* trims the break */
    assert_int_equal(eg_journal_log_floor(fixture.journal), 100);
    publish(&fixture, a);
    assert_int_equal(eg_journal_log_floor(fixture.journal), 105);
    assert_int_equal(eg_journal_position_at(fixture.journal, first), 105); /* the tail's predecessor */
    assert_int_equal(eg_journal_place_behind(fixture.journal, 105), second);
    eg_channel_unref(a);
    eg_channel_unref(d);
    eg_journal_free(fixture.journal);
}

static void a_lost_tail_is_an_entry_and_part_of_the_floor(void **state)
{
    struct fixture fixture = fixture_new(2, 1 << 20);
    (void)state;
    struct eg_channel *d = listen_to(&fixture, "d");
    eg_journal_set_log(fixture.journal, "tag", 100, NULL);
    publish_at(&fixture, d, 101);
    uint64_t lost = ++fixture.head;
    assert_int_equal(eg_journal_append_log_break(fixture.journal, lost, 5000), 0);
    assert_int_equal(eg_journal_last_break(fixture.journal), lost);
    assert_true(eg_journal_at(fixture.journal, lost)->kind == EG_ENTRY_LOG_BREAK);
    assert_int_equal(eg_journal_at(fixture.journal, lost)->position, 5000);
    assert_int_equal(eg_journal_place_behind(fixture.journal, 101), lost);
    publish_at(&fixture, d, 5001);
    assert_int_equal(eg_journal_log_floor(fixture.journal), 101);
    publish_at(&fixture, d, 5002);
    assert_int_equal(eg_journal_log_floor(fixture.journal), 5000);
    eg_channel_unref(d);
    eg_journal_free(fixture.journal);
}

static void the_first_log_leaves_live_events_where_they_are(void **state)
{
    struct fixture fixture = fixture_new(8, 1 << 20);
    (void)state;
    add_break(&fixture);
    struct eg_channel *a = listen_to(&fixture, "a"), *d = listen_to(&fixture, "d");
    uint64_t before = publish(&fixture, a);
    eg_journal_set_log(fixture.journal, "tag", 100, NULL);
    assert_held(&fixture, 1, before);
    assert_int_equal(floor_of(&fixture, "a"), 1);
    assert_int_equal(eg_journal_position_at(fixture.journal, before - 1), 100);
    assert_int_equal(eg_journal_log_floor(fixture.journal), 100);
    publish_at(&fixture, d, 101);
    eg_journal_set_log(fixture.journal, "other", 7, NULL); /* its positions mean nothing any more */
    assert_held(&fixture, fixture.head + 1, fixture.head);
    assert_int_equal(eg_journal_log_floor(fixture.journal), 7);
    assert_int_equal(eg_journal_position(fixture.journal), 7);
    assert_int_equal(floor_of(&fixture, "a"), before);
    eg_channel_unref(a);
    eg_channel_unref(d);
    eg_journal_free(fixture.journal);
}

static void what_the_feed_drops_of_the_log_is_below_the_floor(void **state)
{
    struct fixture fixture = fixture_new(8, 1 << 20);
    (void)state;
    struct eg_channel *d = listen_to(&fixture, "d");
    eg_journal_set_log(fixture.journal, "tag", 100, NULL);
    publish_at(&fixture, d, 101);
    fixture.head += 3;
    eg_journal_mark_dropped(fixture.journal, d, fixture.head, 104);
    assert_int_equal(eg_journal_log_floor(fixture.journal), 104);
    publish_at(&fixture, d, 105);
    assert_int_equal(eg_journal_log_floor(fixture.journal), 104);
    /* Told before the worker hears that the log is another one. */
    fixture.head += 3;
    eg_journal_mark_dropped(fixture.journal, d, fixture.head, 13);
    eg_journal_set_log(fixture.journal, "other", 10, NULL);
    assert_int_equal(eg_journal_log_floor(fixture.journal), 10);
    publish_at(&fixture, d, 14);
    assert_int_equal(eg_journal_log_floor(fixture.journal), 13);
    eg_channel_unref(d);
    eg_journal_free(fixture.journal);
}

static void a_durable_event_of_an_unknown_channel_is_not_covered(void **state)
{
    struct fixture fixture = fixture_new(8, 1 << 20);
    struct eg_channel *stranger = eg_channel_new("stranger", 8, false, WORKERS);
    (void)state;
    eg_journal_set_log(fixture.journal, "tag", 100, NULL);
    publish_at(&fixture, stranger, 101);
    assert_held(&fixture, fixture.head, fixture.head);
    assert_int_equal(eg_journal_log_floor(fixture.journal), 101);
    eg_journal_free(fixture.journal);
    eg_channel_unref(stranger);
}

static void assert_covered_by(const struct eg_journal_channel *name, const struct eg_journal_channel *one,
                              const struct eg_journal_channel *other)
{
    bool has_one = !one, has_other = !other;
    assert_int_equal(name->covering_count, (one != NULL) + (other != NULL));
    for (uint32_t i = 0; i < name->covering_count; i++) {
        has_one = has_one || name->covering[i] == one;
        has_other = has_other || name->covering[i] == other;
    }
    assert_true(has_one && has_other);
}

static struct eg_journal_channel *make(const struct fixture *fixture, const char *name)
{
    struct eg_journal_channel *channel = eg_journal_channel(fixture->journal, name, strlen(name), true);
    assert_non_null(channel);
    return channel;
}

static void names_know_the_patterns_that_match_them(void **state)
{
    struct fixture fixture = fixture_new(8, 1 << 20);
    char text[24];
    (void)state;
    const struct eg_journal_channel *before = make(&fixture, "order/1");
    struct eg_journal_channel *all = make(&fixture, "order/**"), *level = make(&fixture, "order/*");
    const struct eg_journal_channel *after = make(&fixture, "order/2"), *deep = make(&fixture, "order/2/x"),
                                    *no = make(&fixture, "orders");
    assert_true(all->is_wild && level->is_wild && !before->is_wild);
    assert_covered_by(before, all, level);
    assert_covered_by(after, all, level);
    assert_covered_by(deep, all, NULL);
    assert_covered_by(no, NULL, NULL);
    assert_covered_by(level, NULL, NULL);
    eg_journal_channel_drop(fixture.journal, all);
    assert_covered_by(before, level, NULL);
    assert_covered_by(deep, NULL, NULL);
    const struct eg_journal_channel *third = make(&fixture, "order/3");
    assert_covered_by(third, level, NULL);
    for (int i = 0; i < 100; i++) { /* the list grows and shrinks */
        snprintf(text, sizeof(text), "*/%d", i % 10);
        struct eg_journal_channel *pattern = make(&fixture, text);
        assert_covered_by(before, level, i % 10 == 1 ? pattern : NULL);
        if (i % 10 != 1)
            eg_journal_channel_drop(fixture.journal, pattern);
        else
            eg_journal_channel_drop(fixture.journal, find(&fixture, "*/1"));
    }
    assert_covered_by(before, level, NULL);
    eg_journal_free(fixture.journal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_begins_empty_and_with_a_break),
        cmocka_unit_test(it_may_begin_late),
        cmocka_unit_test(entries_link_events_of_a_channel),
        cmocka_unit_test(a_trimmed_event_is_not_linked),
        cmocka_unit_test(a_busy_neighbour_trims_but_nothing_is_missing),
        cmocka_unit_test(a_trimmed_break_concerns_everybody),
        cmocka_unit_test(bytes_are_bounded_and_counted),
        cmocka_unit_test(a_drop_is_a_hole_and_only_its_channels_miss_it),
        cmocka_unit_test(a_drop_told_before_the_listen_still_counts),
        cmocka_unit_test(an_unknown_channel_takes_its_place),
        cmocka_unit_test(channels_are_found_by_name_and_dropped),
        cmocka_unit_test(dropping_a_channel_clears_its_slot),
        cmocka_unit_test(listening_anew_starts_anew),
        cmocka_unit_test(a_listen_may_take_a_place_that_concerns_nobody),
        cmocka_unit_test(a_listen_without_unlisten_takes_over),
        cmocka_unit_test(all_channels_can_be_visited),
        cmocka_unit_test(a_cursor_is_known_within_its_epoch),
        cmocka_unit_test(a_faster_worker_s_cursor_is_ahead),
        cmocka_unit_test(sixty_four_epochs_are_remembered),
        cmocka_unit_test(it_says_what_a_model_of_everything_says),
        cmocka_unit_test(entries_have_the_position_that_the_log_was_read_to),
        cmocka_unit_test(a_lost_tail_is_an_entry_and_part_of_the_floor),
        cmocka_unit_test(the_first_log_leaves_live_events_where_they_are),
        cmocka_unit_test(what_the_feed_drops_of_the_log_is_below_the_floor),
        cmocka_unit_test(a_durable_event_of_an_unknown_channel_is_not_covered),
        cmocka_unit_test(names_know_the_patterns_that_match_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

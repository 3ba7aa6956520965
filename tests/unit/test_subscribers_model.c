/* Subscribers of both kinds of channels against a naive model: a log, a journal that is fed from it and trimmed, and
 * subscribers that begin at any two places, are slow, fall behind, read pages, join, and resume with their cursors.
 * Each must get each of its events once and in order, or a gap in its place, and no gap where nothing is missing. */
#include "eventgate/subscribers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventgate/log_jumps.h"

enum {
    LIVE = 3,    /* channels, of both kinds */
    DURABLE = 4, /* d/0 ... */
    PATTERN = LIVE + DURABLE,
    CHANNELS,
    SUBSCRIBERS = 6,
    JOURNAL_EVENTS = 12,
    PAGE_ROWS = 5,
    LOG_MAX = 20000,
    LIVE_MAX = 40000,
    JUMPS_MAX = 64,
};

struct row {
    uint64_t position;
    int channel; /* LIVE ...; -1: of another set */
    bool lost;   /* with the log's tail */
};

struct happening {
    uint64_t place;
    int channel; /* -1: a break */
};

struct reader {
    struct eg_subscriber subscriber;
    bool has[CHANNELS];
    struct eg_event *half; /* a part of it is out */
    uint64_t page_upto;    /* with `page`: of the page that it holds */
    size_t page_next;      /* row */
    bool page;
    /* What it has had or been told is missing. */
    uint64_t had_position;
    uint64_t had_place[LIVE];
    size_t events, gaps, joins, pages;
};

struct world {
    struct eg_journal *journal;
    struct eg_subscribers *subscribers;
    struct eg_channel *channels[PATTERN];
    struct eg_journal_channel *locals[CHANNELS];
    struct eg_epoch epoch;
    uint64_t head;
    struct row rows[LOG_MAX];
    size_t row_count, fed; /* rows, and how many of them the log's reader has read */
    uint64_t position, last_fed;
    struct happening happenings[LIVE_MAX];
    size_t happening_count;
    struct eg_log_jump jumps[JUMPS_MAX];
    size_t jump_count;
    struct reader readers[SUBSCRIBERS];
};

static unsigned seed;

static unsigned any(unsigned below)
{
    seed = seed * 1103515245u + 12345u;
    return (seed >> 8) % below;
}

static void flush_nothing(struct eg_subscriber *subscriber)
{
    (void)subscriber;
}

/* --- what is due ---------------------------------------------------------------------------------------------------
 */

static bool wants_row(const struct reader *reader, const struct row *row)
{
    return row->channel >= LIVE && !row->lost && (reader->has[row->channel] || reader->has[PATTERN]);
}

/* Nothing of the log in (had, upto] is still due. */
static void assert_had_log(const struct world *world, const struct reader *reader, uint64_t upto)
{
    for (size_t i = world->row_count; i-- > 0 && world->rows[i].position > reader->had_position;)
        if (world->rows[i].position <= upto && wants_row(reader, &world->rows[i]))
            fail_msg("position %lu of channel %d is passed by", world->rows[i].position, world->rows[i].channel);
}

static const struct happening *next_due(const struct world *world, int channel, uint64_t after, uint64_t upto)
{
    for (size_t i = 0; i < world->happening_count; i++) {
        const struct happening *happening = &world->happenings[i];
        if (happening->place > after && happening->place <= upto &&
            (happening->channel == channel || happening->channel < 0))
            return happening;
    }
    return NULL;
}

static void assert_cursor(const struct world *world, const struct reader *reader, const struct eg_cursor *cursor)
{
    if (reader->subscriber.hears_log)
        assert_had_log(world, reader, cursor->position);
    for (int i = 0; i < LIVE; i++)
        if (reader->has[i] && next_due(world, i, reader->had_place[i], cursor->place))
            fail_msg("a live event of channel %d is passed by", i);
}

/* Gets an event, with the cursor that it is sent with. */
static void get(const struct world *world, struct reader *reader, const struct eg_event *event,
                const struct eg_cursor *cursor)
{
    reader->events++;
    if (event->durable) {
        assert_true(event->cursor.position > reader->had_position); /* in order, and none twice */
        assert_had_log(world, reader, event->cursor.position - 1);
        reader->had_position = event->cursor.position;
    } else {
        int channel = event->channel->name[0] - 'a';
        assert_true(reader->has[channel]);
        assert_true(event->place > reader->had_place[channel]);
        assert_null(next_due(world, channel, reader->had_place[channel], event->place - 1));
        reader->had_place[channel] = event->place;
    }
    assert_cursor(world, reader, cursor);
}

static void live_gap(const struct world *world, struct reader *reader, int channel, uint64_t upto)
{
    reader->gaps++;
    assert_non_null(next_due(world, channel, reader->had_place[channel], upto));
    reader->had_place[channel] = upto;
}

/* The log has lost what it had behind a jump's `from`. */
static void log_gap(const struct world *world, struct reader *reader, uint64_t upto)
{
    bool due = false;
    reader->gaps++;
    for (size_t i = 0; i < world->jump_count; i++)
        due = due || (world->jumps[i].to > reader->had_position && world->jumps[i].to <= upto);
    assert_true(due);
    assert_had_log(world, reader, upto); /* only what is no longer there is missing */
    reader->had_position = upto;
}

/* --- what a stream does --------------------------------------------------------------------------------------------
 */

static const struct eg_log_jumps *jumps_of(const struct world *world)
{
    return eg_journal_jumps(world->journal);
}

static void read_page(const struct world *world, struct reader *reader)
{
    struct eg_subscriber *subscriber = &reader->subscriber;
    const struct eg_log_jump *inside = eg_log_jumps_inside(jumps_of(world), subscriber->position);
    size_t first = 0, rows = 0;
    reader->pages++;
    if (inside) {
        log_gap(world, reader, inside->to);
        subscriber->position = inside->to;
    }
    while (first < world->row_count && world->rows[first].position <= subscriber->position)
        first++;
    reader->page_next = first;
    while (first < world->row_count && rows < PAGE_ROWS)
        rows += wants_row(reader, &world->rows[first++]);
    reader->page_upto = first > 0 ? world->rows[first - 1].position : 0;
    if (first == world->row_count && world->jump_count > 0 &&
        reader->page_upto < world->jumps[world->jump_count - 1].to)
        reader->page_upto = world->jumps[world->jump_count - 1].to;
    reader->page = true;
}

static void send_page(const struct world *world, struct reader *reader, int *budget)
{
    struct eg_subscriber *subscriber = &reader->subscriber;
    struct eg_cursor cursor;
    eg_subscriber_cursor(subscriber, world->journal, subscriber->next - 1, &cursor);
    for (; *budget > 0 && reader->page_next < world->row_count; reader->page_next++) {
        const struct row *row = &world->rows[reader->page_next];
        if (row->position > reader->page_upto)
            break;
        if (!wants_row(reader, row))
            continue;
        cursor.position = row->position;
        (*budget)--;
        get(world, reader, &(struct eg_event){.durable = true, .cursor = {.position = row->position}}, &cursor);
        subscriber->position = row->position;
    }
    if (*budget == 0) {
        reader->page = false;
        return;
    }
    if (subscriber->position < reader->page_upto)
        subscriber->position = reader->page_upto;
    reader->page = false;
}

static void walk_over_break(const struct world *world, struct reader *reader, uint64_t place)
{
    struct eg_subscriber *subscriber = &reader->subscriber;
    bool live = eg_journal_at(world->journal, place)->kind == EG_ENTRY_BREAK;
    eg_subscriber_advance(subscriber, world->journal, place);
    for (int i = 0; live && i < LIVE; i++)
        if (reader->has[i])
            live_gap(world, reader, i, place);
    if (!live)
        log_gap(world, reader, subscriber->position);
}

/* One entry of the journal; false: there is none. */
static bool walk(const struct world *world, struct reader *reader)
{
    struct eg_subscriber *subscriber = &reader->subscriber;
    struct eg_cursor cursor;
    uint64_t at = eg_subscriber_find(subscriber, world->journal, subscriber->next);
    if (at == 0) {
        if (subscriber->behind)
            eg_subscriber_advance(subscriber, world->journal, eg_journal_head(world->journal));
        else
            subscriber->lagging = false;
        return false;
    }
    const struct eg_journal_entry *entry = eg_journal_at(world->journal, at);
    if (entry->kind != EG_ENTRY_EVENT) {
        subscriber->next = at;
        walk_over_break(world, reader, at);
        return true;
    }
    if (!subscriber->behind && any(8) == 0) {
        reader->half = eg_event_ref(entry->event);
        subscriber->next = at;
        return true;
    }
    if (eg_subscriber_is_steady(subscriber, world->journal, at))
        cursor = entry->event->cursor;
    else
        eg_subscriber_cursor(subscriber, world->journal, at, &cursor);
    get(world, reader, entry->event, &cursor);
    eg_subscriber_advance(subscriber, world->journal, at);
    return true;
}

static void pass_by(const struct world *world, struct reader *reader)
{
    struct eg_subscriber *subscriber = &reader->subscriber;
    uint64_t place = subscriber->next - 1, first = UINT64_MAX, least = eg_journal_tail(world->journal) - 1;
    if (place < subscriber->live_after)
        place = subscriber->live_after;
    for (int i = 0; i < LIVE; i++) {
        if (!reader->has[i])
            continue;
        uint64_t floor = eg_journal_floor(world->journal, world->locals[i]);
        if (floor > place)
            live_gap(world, reader, i, floor);
        if (first > (floor > place ? floor : place))
            first = floor > place ? floor : place;
    }
    eg_subscriber_pass(subscriber, world->journal, first != UINT64_MAX && first > least ? first : least);
}

static void send_half(const struct world *world, struct reader *reader)
{
    struct eg_subscriber *subscriber = &reader->subscriber;
    eg_subscriber_advance(subscriber, world->journal, subscriber->next);
    if (subscriber->position < reader->half->cursor.position)
        subscriber->position = reader->half->cursor.position;
    if (reader->half->durable) {
        assert_true(reader->half->cursor.position > reader->had_position);
        reader->had_position = reader->half->cursor.position;
    } else {
        int channel = reader->half->channel->name[0] - 'a';
        assert_true(reader->half->place > reader->had_place[channel]);
        reader->had_place[channel] = reader->half->place;
    }
    reader->events++;
    eg_event_unref(reader->half);
    reader->half = NULL;
}

/* Sends until it has everything, or as much as the budget. */
static void flush(const struct world *world, struct reader *reader, int budget)
{
    struct eg_subscriber *subscriber = &reader->subscriber;
    const struct eg_journal *journal = world->journal;
    struct eg_cursor cursor;
    for (int rounds = 0; subscriber->lagging && budget > 0; rounds++) {
        assert_in_range(rounds, 0, 10000);
        budget--;
        if (reader->half) {
            send_half(world, reader);
            continue;
        }
        if (eg_subscriber_lacks_log(subscriber, journal))
            eg_subscriber_fall_behind(subscriber);
        if (subscriber->next < eg_journal_tail(journal) && (subscriber->hears_live || !subscriber->behind)) {
            pass_by(world, reader);
        } else if (!subscriber->behind) {
            walk(world, reader);
        } else if (!reader->page && !eg_subscriber_join(subscriber, journal)) {
            reader->joins++;
            subscriber->lagging = subscriber->next <= eg_journal_head(journal);
        } else {
            if (!reader->page)
                read_page(world, reader);
            else if (any(2))
                send_page(world, reader, &budget);
            if (subscriber->hears_live)
                walk(world, reader);
            if (any(4) == 0)
                break;
        }
        if (!reader->half) {
            eg_subscriber_cursor(subscriber, journal, eg_subscriber_place(subscriber, journal), &cursor);
            assert_cursor(world, reader, &cursor);
        }
    }
}

/* --- what happens --------------------------------------------------------------------------------------------------
 */

static void happen(struct world *world, int channel)
{
    assert_in_range(world->happening_count, 0, LIVE_MAX - 1);
    world->happenings[world->happening_count++] = (struct happening){world->head, channel};
}

static void append(struct world *world, struct eg_event *event, int channel)
{
    uint64_t position = eg_journal_position(world->journal);
    assert_int_equal(eg_journal_append_event(world->journal, event), 0);
    eg_subscribers_mark(world->subscribers, world->locals[channel], world->head, position);
}

static struct eg_event *live_event(struct world *world, int channel)
{
    world->head++;
    happen(world, channel);
    return eg_event_new_live(world->channels[channel],
                             &(struct eg_cursor){.tag = "tagtag",
                                                 .has_position = true,
                                                 .position = world->position,
                                                 .has_live = true,
                                                 .epoch = world->epoch,
                                                 .place = world->head},
                             "1", 1, 0);
}

static void commit_row(struct world *world)
{
    const struct row *last = world->row_count > 0 ? &world->rows[world->row_count - 1] : NULL;
    uint64_t position = last ? last->position : 0;
    if (world->jump_count > 0 && position < world->jumps[world->jump_count - 1].to)
        position = world->jumps[world->jump_count - 1].to;
    assert_in_range(world->row_count, 0, LOG_MAX - 1);
    world->rows[world->row_count++] =
        (struct row){position + 1 + any(3), any(5) == 0 ? -1 : (int)(LIVE + any(DURABLE)), false};
}

/* The reader reads the next row; NULL: none, or none of the set. */
static struct eg_event *read_row(struct world *world, int *ret_channel)
{
    while (world->fed < world->row_count && world->rows[world->fed].lost)
        world->fed++;
    if (world->fed == world->row_count)
        return NULL;
    const struct row *row = &world->rows[world->fed++];
    world->position = row->position;
    if (row->channel < 0)
        return NULL;
    *ret_channel = row->channel;
    world->last_fed = row->position;
    world->head++;
    return eg_event_new_durable(world->channels[row->channel],
                                &(struct eg_event_row){.cursor = {.tag = "tagtag",
                                                                  .has_position = true,
                                                                  .position = row->position,
                                                                  .has_live = true,
                                                                  .epoch = world->epoch,
                                                                  .place = world->head},
                                                       .place = world->head,
                                                       .data = {"1", 1}});
}

static void feed_row(struct world *world)
{
    int channel;
    struct eg_event *event = read_row(world, &channel);
    if (event)
        append(world, event, channel);
    if (any(2))
        eg_journal_set_log(world->journal, "tagtag", world->position, NULL);
}

static void drop(struct world *world, struct eg_event *event)
{
    uint64_t seen = eg_journal_head(world->journal), position = eg_journal_position(world->journal);
    eg_journal_mark_dropped(world->journal, event->channel, event->place, event->durable ? event->cursor.position : 0);
    if (event->durable)
        eg_subscribers_mark_all(world->subscribers, seen + 1, position);
    else
        eg_subscribers_mark(world->subscribers, event->channel->slots[0].local, seen + 1, position);
    eg_event_unref(event);
}

/* The feed has been full; an event always follows. */
static void feed_with_drops(struct world *world)
{
    int channel;
    for (unsigned i = any(4) + 1; i > 0; i--) {
        struct eg_event *event = any(2) ? read_row(world, &channel) : live_event(world, (int)any(LIVE));
        if (event)
            drop(world, event);
    }
    channel = (int)any(LIVE);
    append(world, live_event(world, channel), channel);
}

static void add_break(struct world *world)
{
    uint64_t position = eg_journal_position(world->journal);
    world->epoch = eg_epoch_new();
    world->head++;
    happen(world, -1);
    assert_int_equal(eg_journal_append_break(world->journal, world->epoch, world->head), 0);
    eg_subscribers_mark_all(world->subscribers, world->head, position);
}

static void tell_jumps(struct world *world)
{
    struct eg_log_jumps *jumps = eg_log_jumps_new(world->jump_count);
    memcpy(jumps->jumps, world->jumps, world->jump_count * sizeof(*world->jumps));
    eg_journal_set_log(world->journal, "tagtag", world->position, jumps);
    eg_log_jumps_unref(jumps);
}

/* A failover: the last rows are lost, or none, and positions jump. */
static void fail_over(struct world *world)
{
    uint64_t from = 0, head = 0, position = eg_journal_position(world->journal);
    if (world->jump_count == JUMPS_MAX || world->row_count == 0)
        return;
    head = world->rows[world->row_count - 1].position;
    for (unsigned i = any(6); i > 0 && world->row_count > i && !world->rows[world->row_count - i].lost; i--)
        world->rows[world->row_count - i].lost = true;
    for (size_t i = 0; i < world->row_count; i++)
        if (!world->rows[i].lost)
            from = world->rows[i].position;
    if (world->jump_count > 0 && from < world->jumps[world->jump_count - 1].to)
        from = world->jumps[world->jump_count - 1].to;
    if (head < from)
        head = from;
    world->jumps[world->jump_count++] = (struct eg_log_jump){from, head + 1000};
    if (world->position > from) {
        world->position = head + 1000;
        if (world->last_fed > from) {
            assert_int_equal(eg_journal_append_log_break(world->journal, ++world->head, world->position), 0);
            eg_subscribers_mark_all(world->subscribers, world->head, position);
        }
        world->last_fed = world->position;
    } else if (world->position == from) {
        world->position = head + 1000;
    }
    tell_jumps(world);
    for (int i = 0; i < SUBSCRIBERS; i++)
        world->readers[i].page = false; /* a page that is read anew */
}

/* --- subscribers that come and go ----------------------------------------------------------------------------------
 */

static void begin(struct world *world, struct reader *reader, const struct eg_cursor *cursor)
{
    struct eg_journal_channel *channels[CHANNELS];
    struct eg_subscriber_start start = {cursor->place, cursor->position};
    uint32_t count = 0;
    uint64_t tail = eg_journal_tail(world->journal);
    for (int i = 0; i < CHANNELS; i++)
        if (reader->has[i])
            channels[count++] = world->locals[i];
    for (int i = 0; i < LIVE; i++) {
        reader->had_place[i] = cursor->place;
        if (reader->has[i] && eg_journal_floor(world->journal, world->locals[i]) > cursor->place)
            live_gap(world, reader, i, eg_journal_floor(world->journal, world->locals[i]));
    }
    if (start.place + 1 < tail)
        start.place = tail - 1;
    reader->had_position = cursor->position;
    const struct eg_log_jump *inside = eg_log_jumps_inside(jumps_of(world), cursor->position);
    if (inside && reader->subscriber.hears_log)
        log_gap(world, reader, inside->to);
    start.position = inside ? inside->to : eg_log_jumps_follow(jumps_of(world), cursor->position);
    assert_int_equal(eg_subscribers_add(world->subscribers, &reader->subscriber, channels, count, start), 0);
    struct eg_cursor first;
    eg_subscriber_cursor(&reader->subscriber, world->journal, reader->subscriber.next - 1, &first);
    assert_cursor(world, reader, &first);
}

static void subscribe(struct world *world, struct reader *reader)
{
    *reader = (struct reader){.subscriber = {.flush = flush_nothing}};
    unsigned kinds = 1 + any(3);
    for (int i = 0; i < CHANNELS; i++)
        reader->has[i] = (kinds & (i < LIVE ? 1 : 2)) && i != PATTERN && any(2);
    reader->has[PATTERN] = (kinds & 2) && any(2);
    if (kinds & 1)
        reader->has[any(LIVE)] = true;
    if (kinds & 2)
        reader->has[LIVE + any(DURABLE + 1)] = true;
    reader->subscriber.hears_live = kinds & 1;
    reader->subscriber.hears_log = kinds & 2;
    struct eg_cursor cursor = {.place = world->head - any(3 * JOURNAL_EVENTS) % world->head};
    if (world->row_count > 0)
        cursor.position = world->rows[world->row_count - 1 - any(100) % world->row_count].position;
    begin(world, reader, &cursor);
}

static void leave(struct world *world, struct reader *reader)
{
    eg_event_unref(reader->half);
    reader->half = NULL;
    eg_subscribers_remove(world->subscribers, &reader->subscriber);
}

static void resume(struct world *world, struct reader *reader)
{
    struct eg_cursor cursor;
    const struct eg_subscriber old = reader->subscriber;
    if (!old.lagging)
        eg_subscriber_catch_up(&reader->subscriber, world->journal);
    eg_subscriber_cursor(&reader->subscriber, world->journal, eg_subscriber_place(&reader->subscriber, world->journal),
                         &cursor);
    leave(world, reader);
    reader->page = false;
    reader->subscriber =
        (struct eg_subscriber){.flush = flush_nothing, .hears_live = old.hears_live, .hears_log = old.hears_log};
    begin(world, reader, &cursor);
}

/* --- the test ------------------------------------------------------------------------------------------------------
 */

static struct world *world_new(void)
{
    struct world *world = calloc(1, sizeof(*world));
    char name[8];
    world->journal = eg_journal_new(0, JOURNAL_EVENTS, 1 << 20);
    world->subscribers = eg_subscribers_new(world->journal);
    add_break(world);
    for (int i = 0; i < PATTERN; i++) {
        snprintf(name, sizeof(name), i < LIVE ? "%c" : "d/%d", i < LIVE ? 'a' + i : i - LIVE);
        world->channels[i] = eg_channel_new(name, strlen(name), true, 1);
        world->locals[i] = eg_journal_listened(world->journal, world->channels[i], i < LIVE ? world->head : 0);
    }
    world->locals[PATTERN] = eg_journal_channel(world->journal, "d/*", 3, true);
    tell_jumps(world);
    for (int i = 0; i < SUBSCRIBERS; i++)
        subscribe(world, &world->readers[i]);
    return world;
}

static void forget(struct eg_journal_channel *channel, void *context)
{
    (void)context;
    eg_subscribers_forget(channel);
}

static void world_free(struct world *world)
{
    for (int i = 0; i < SUBSCRIBERS; i++)
        leave(world, &world->readers[i]);
    eg_subscribers_free(world->subscribers);
    eg_journal_visit_channels(world->journal, forget, NULL);
    eg_journal_free(world->journal);
    for (int i = 0; i < PATTERN; i++)
        eg_channel_unref(world->channels[i]);
    free(world);
}

static void step(struct world *world)
{
    struct reader *reader = &world->readers[any(SUBSCRIBERS)];
    unsigned dice = any(200);
    int channel = (int)any(LIVE);
    if (dice < 50)
        commit_row(world);
    else if (dice < 95)
        feed_row(world);
    else if (dice < 125)
        append(world, live_event(world, channel), channel);
    else if (dice < 127)
        add_break(world);
    else if (dice < 128)
        fail_over(world);
    else if (dice < 131)
        feed_with_drops(world);
    else if (dice < 135)
        resume(world, reader);
    else if (dice < 136) {
        leave(world, reader);
        subscribe(world, reader);
    } else
        flush(world, reader, (int)any(12) + 1);
    eg_subscribers_flush(world->subscribers); /* what is dirty is known by `lagging`, too */
}

static void each_gets_its_events_once_and_in_order(void **state)
{
    size_t events = 0, gaps = 0, joins = 0, pages = 0;
    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        seed = round;
        struct world *world = world_new();
        for (int i = 0; i < 4000; i++)
            step(world);
        while (world->fed < world->row_count)
            feed_row(world);
        eg_journal_set_log(world->journal, "tagtag", world->position, NULL);
        for (int i = 0; i < SUBSCRIBERS; i++) {
            struct reader *reader = &world->readers[i];
            while (reader->subscriber.lagging)
                flush(world, reader, 100);
            if (reader->subscriber.hears_log)
                assert_had_log(world, reader, UINT64_MAX);
            for (int c = 0; c < LIVE; c++)
                assert_true(!reader->has[c] || !next_due(world, c, reader->had_place[c], UINT64_MAX));
            events += reader->events;
            gaps += reader->gaps;
            joins += reader->joins;
            pages += reader->pages;
        }
        world_free(world);
    }
    printf("%zu events, %zu gaps, %zu pages, joined %zu times\n", events, gaps, pages, joins);
    assert_true(events > 10000 && gaps > 1000 && joins > 100 && pages > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_gets_its_events_once_and_in_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

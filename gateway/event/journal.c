/*
 * A set's bounded history on one worker.
 *
 * A ring of entries whose capacity is a power of two and grows up to what the bounds allow; the entry of place N stands
 * at N modulo the capacity. Places are without holes: where the feed dropped something, everything before it is
 * trimmed. Channels are found by name in a hash; an event finds its own by the slot that its channel keeps for this
 * worker.
 */
#include "eventgate/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "eventgate/pattern.h"

#define FIRST_CAPACITY 64u
#define EPOCHS_REMEMBERED 64u
#define PATTERNS_GROW 8u

struct named_channel {
    struct eg_journal_channel base; /* first member: the two share their address */
    UT_hash_handle hh;
    size_t name_length;
    char name[];
};

struct epoch_start {
    struct eg_epoch epoch;
    uint64_t place;
};

struct eg_journal {
    uint32_t worker;
    size_t max_events, max_bytes;
    struct eg_journal_entry *entries;
    size_t capacity; /* 0 or a power of two */
    uint64_t tail, head;
    size_t bytes;
    uint64_t break_trimmed; /* the last break that was trimmed */
    uint64_t last_break;
    struct epoch_start epochs[EPOCHS_REMEMBERED]; /* a ring; the newest is number epoch_count - 1 */
    uint64_t epoch_count;
    struct named_channel *channels;
    struct eg_journal_channel **patterns; /* those of `channels` that are wild */
    uint32_t pattern_count;

    char tag[EG_CURSOR_TAG_MAX + 1];
    uint64_t position;         /* up to which the log has been read */
    uint64_t log_floor;        /* durable events up to there may be missing */
    uint64_t trimmed_position; /* of the last entry that was trimmed */
    uint64_t dropped;          /* place of the last durable event that the feed is known to have dropped */
    struct eg_log_jumps *jumps;
};

static struct eg_journal_entry *entry_at(const struct eg_journal *journal, uint64_t place)
{
    return &journal->entries[place & (journal->capacity - 1)];
}

static struct eg_journal_channel *local_of(const struct eg_journal *journal, const struct eg_channel *channel)
{
    return channel->slots[journal->worker].local;
}

static size_t count_of(const struct eg_journal *journal)
{
    return (size_t)(journal->head + 1 - journal->tail);
}

/* A place below which something is missing only ever rises: the feed may have told of a later one already. */
static void raise_to(uint64_t *place, uint64_t to)
{
    if (*place < to)
        *place = to;
}

/* --- trimming ---------------------------------------------------------------------------------------------------- */

static void trim_one(struct eg_journal *journal)
{
    uint64_t place = journal->tail++;
    struct eg_journal_entry *entry = entry_at(journal, place);
    raise_to(&journal->trimmed_position, entry->position);
    if (entry->kind == EG_ENTRY_BREAK)
        raise_to(&journal->break_trimmed, place);
    if (entry->kind == EG_ENTRY_LOG_BREAK || (entry->event && entry->event->durable))
        raise_to(&journal->log_floor, entry->position);
    if (!entry->event)
        return;
    struct eg_journal_channel *channel = local_of(journal, entry->event->channel);
    if (channel)
        raise_to(&channel->trimmed, place);
    journal->bytes -= eg_event_bytes(entry->event);
    eg_event_unref(entry->event);
    entry->event = NULL;
}

static void trim_before(struct eg_journal *journal, uint64_t place)
{
    while (journal->tail < place && journal->tail <= journal->head)
        trim_one(journal);
}

/* Keeps the newest entry whatever its size: the bound is for what is kept beside it. */
static void trim_to_bounds(struct eg_journal *journal)
{
    while (count_of(journal) > 1 && (count_of(journal) > journal->max_events || journal->bytes > journal->max_bytes))
        trim_one(journal);
}

/* --- appending --------------------------------------------------------------------------------------------------- */

/* Makes room for one more entry. -ENOMEM only if not even the oldest can give way. */
static int make_room(struct eg_journal *journal)
{
    size_t count = count_of(journal);
    if (count < journal->capacity)
        return 0;
    size_t capacity = journal->capacity ? 2 * journal->capacity : FIRST_CAPACITY;
    struct eg_journal_entry *entries = calloc(capacity, sizeof(*entries));
    if (!entries) {
        if (count == 0)
            return -ENOMEM;
        trim_one(journal);
        return 0;
    }
    for (uint64_t place = journal->tail; place <= journal->head; place++)
        entries[place & (capacity - 1)] = *entry_at(journal, place);
    free(journal->entries);
    journal->entries = entries;
    journal->capacity = capacity;
    return 0;
}

/* Takes the next place. Where places were skipped, what lies before the hole goes. */
static int append(struct eg_journal *journal, uint64_t place, enum eg_entry_kind kind, struct eg_event *event)
{
    if (count_of(journal) >= journal->max_events && count_of(journal) > 0)
        trim_one(journal);
    if (place != journal->head + 1) {
        trim_before(journal, place);
        journal->tail = place;
        journal->head = place - 1;
    }
    int error = make_room(journal);
    if (error) { /* a hole: the place counts as trimmed */
        journal->tail = place + 1;
        journal->head = place;
        return error;
    }
    journal->head = place;
    *entry_at(journal, place) = (struct eg_journal_entry){.kind = kind, .event = event, .position = journal->position};
    return 0;
}

int eg_journal_append_event(struct eg_journal *journal, struct eg_event *event)
{
    struct eg_journal_channel *channel = local_of(journal, event->channel);
    uint64_t place = event->place;
    uint64_t position = event->cursor.position;
    if (journal->dropped > journal->head && journal->dropped < place) /* in another log than it was told of, perhaps */
        raise_to(&journal->log_floor, event->durable ? position - 1 : position);
    if (event->durable)
        raise_to(&journal->position, position);
    if (event->durable && !channel) /* who wants it can't be told, for lack of memory: they read the log */
        raise_to(&journal->log_floor, position);
    int error = append(journal, place, EG_ENTRY_EVENT, event);
    if (error) {
        if (event->durable)
            raise_to(&journal->log_floor, position);
        if (channel)
            raise_to(&channel->trimmed, place);
        eg_event_unref(event);
        return error;
    }
    journal->bytes += eg_event_bytes(event);
    if (channel) {
        if (channel->last >= journal->tail)
            entry_at(journal, channel->last)->next = place;
        channel->last = place;
    }
    trim_to_bounds(journal);
    return 0;
}

int eg_journal_append_break(struct eg_journal *journal, struct eg_epoch epoch, uint64_t place)
{
    journal->epochs[journal->epoch_count++ % EPOCHS_REMEMBERED] = (struct epoch_start){epoch, place};
    journal->last_break = place;
    int error = append(journal, place, EG_ENTRY_BREAK, NULL);
    if (error)
        raise_to(&journal->break_trimmed, place);
    else
        trim_to_bounds(journal);
    return error;
}

int eg_journal_append_log_break(struct eg_journal *journal, uint64_t place, uint64_t position)
{
    raise_to(&journal->position, position);
    journal->last_break = place;
    int error = append(journal, place, EG_ENTRY_LOG_BREAK, NULL);
    if (error)
        raise_to(&journal->log_floor, position);
    else
        trim_to_bounds(journal);
    return error;
}

void eg_journal_mark_dropped(struct eg_journal *journal, struct eg_channel *channel, uint64_t place, uint64_t position)
{
    if (position > 0) {
        raise_to(&journal->dropped, place);
        raise_to(&journal->log_floor, position);
        return;
    }
    struct eg_journal_channel *local = eg_journal_channel(journal, channel->name, channel->name_length, true);
    raise_to(local ? &local->trimmed : &journal->break_trimmed, place);
}

/* --- channels ---------------------------------------------------------------------------------------------------- */

static uint64_t new_id(void)
{
    static _Atomic uint64_t ids;
    return ++ids;
}

static bool push(struct eg_journal_channel ***array, uint32_t *count, struct eg_journal_channel *channel)
{
    if (*count % PATTERNS_GROW == 0) {
        struct eg_journal_channel **grown = reallocarray(*array, *count + PATTERNS_GROW, sizeof(*grown));
        if (!grown)
            return false;
        *array = grown;
    }
    (*array)[(*count)++] = channel;
    return true;
}

static void take_out(struct eg_journal_channel **array, uint32_t *count, const struct eg_journal_channel *channel)
{
    for (uint32_t i = 0; i < *count; i++)
        if (array[i] == channel) {
            array[i] = array[--*count];
            return;
        }
}

static bool cover(struct eg_journal_channel *pattern, struct named_channel *name)
{
    const struct named_channel *wild = (const struct named_channel *)(const void *)pattern;
    return !eg_pattern_matches(wild->name, wild->name_length, name->name, name->name_length) ||
           push(&name->base.covering, &name->base.covering_count, pattern);
}

static void uncover(struct eg_journal *journal, const struct eg_journal_channel *pattern)
{
    for (struct named_channel *name = journal->channels; name; name = name->hh.next)
        take_out(name->base.covering, &name->base.covering_count, pattern);
    take_out(journal->patterns, &journal->pattern_count, pattern);
}

/* Every name knows the patterns that match it, whichever came first. */
static bool connect(struct eg_journal *journal, struct named_channel *channel)
{
    bool connected = true;
    if (!channel->base.is_wild) {
        for (uint32_t i = 0; connected && i < journal->pattern_count; i++)
            connected = cover(journal->patterns[i], channel);
        return connected;
    }
    for (struct named_channel *name = journal->channels; connected && name; name = name->hh.next)
        connected = name->base.is_wild || cover(&channel->base, name);
    connected = connected && push(&journal->patterns, &journal->pattern_count, &channel->base);
    if (!connected)
        uncover(journal, &channel->base);
    return connected;
}

struct eg_journal_channel *eg_journal_channel(struct eg_journal *journal, const char *name, size_t length, bool make)
{
    struct named_channel *channel;
    HASH_FIND(hh, journal->channels, name, length, channel);
    if (channel || !make)
        return channel ? &channel->base : NULL;
    channel = calloc(1, sizeof(*channel) + length + 1);
    if (!channel)
        return NULL;
    channel->base.id = new_id();
    channel->base.is_wild = eg_pattern_is_wild(name, length);
    memcpy(channel->name, name, length);
    channel->name_length = length;
    if (connect(journal, channel)) {
        HASH_ADD_KEYPTR(hh, journal->channels, channel->name, length, channel);
        if (channel->hh.tbl)
            return &channel->base;
        uncover(journal, &channel->base); /* uthash ran out of memory */
    }
    free(channel->base.covering);
    free(channel);
    return NULL;
}

const char *eg_journal_channel_name(const struct eg_journal_channel *channel, size_t *ret_length)
{
    const struct named_channel *named = (const struct named_channel *)(const void *)channel;
    *ret_length = named->name_length;
    return named->name;
}

static void detach(struct eg_journal *journal, struct eg_journal_channel *channel)
{
    if (!channel->channel)
        return;
    channel->channel->slots[journal->worker].local = NULL;
    eg_channel_unref(channel->channel);
    channel->channel = NULL;
}

void eg_journal_channel_drop(struct eg_journal *journal, struct eg_journal_channel *channel)
{
    struct named_channel *named = (struct named_channel *)(void *)channel;
    detach(journal, channel);
    HASH_DEL(journal->channels, named);
    if (channel->is_wild)
        uncover(journal, channel);
    free(channel->covering);
    free(named);
}

struct eg_journal_channel *eg_journal_listened(struct eg_journal *journal, struct eg_channel *channel, uint64_t since)
{
    /* Out of memory for the mark, the journal is empty, and `since` is behind every cursor all the same. */
    if (since > journal->head && append(journal, since, EG_ENTRY_MARK, NULL) == 0)
        trim_to_bounds(journal);
    struct eg_journal_channel *local = eg_journal_channel(journal, channel->name, channel->name_length, true);
    if (!local || local->channel == channel)
        return local;
    detach(journal, local);
    local->id = new_id();
    local->channel = eg_channel_ref(channel);
    local->since = since;
    local->last = 0; /* `trimmed` stays: what the feed dropped is told before it tells of the LISTEN */
    channel->slots[journal->worker].local = local;
    return local;
}

struct eg_journal_channel *eg_journal_unlistened(struct eg_journal *journal, struct eg_channel *channel)
{
    struct eg_journal_channel *local = local_of(journal, channel);
    if (local)
        detach(journal, local);
    return local;
}

void eg_journal_visit_channels(struct eg_journal *journal,
                               void (*visit)(struct eg_journal_channel *channel, void *context), void *context)
{
    struct named_channel *channel, *next;
    HASH_ITER (hh, journal->channels, channel, next)
        visit(&channel->base, context);
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

uint64_t eg_journal_tail(const struct eg_journal *journal)
{
    return journal->tail;
}

uint64_t eg_journal_head(const struct eg_journal *journal)
{
    return journal->head;
}

uint64_t eg_journal_bytes(const struct eg_journal *journal)
{
    return journal->bytes;
}

struct eg_journal_channel *eg_journal_channel_of(const struct eg_journal *journal, const struct eg_event *event)
{
    return local_of(journal, event->channel);
}

uint64_t eg_journal_last_break(const struct eg_journal *journal)
{
    return journal->last_break;
}

const struct eg_journal_entry *eg_journal_at(const struct eg_journal *journal, uint64_t place)
{
    return place >= journal->tail && place <= journal->head ? entry_at(journal, place) : NULL;
}

uint64_t eg_journal_floor(const struct eg_journal *journal, const struct eg_journal_channel *channel)
{
    uint64_t floor = channel->since;
    if (channel->trimmed > floor)
        floor = channel->trimmed;
    if (journal->break_trimmed > floor)
        floor = journal->break_trimmed;
    return floor;
}

/* The number of the epoch in force at `place`; the oldest one remembered for places before it. */
static uint64_t epoch_number_at(const struct eg_journal *journal, uint64_t place)
{
    uint64_t oldest = journal->epoch_count > EPOCHS_REMEMBERED ? journal->epoch_count - EPOCHS_REMEMBERED : 0;
    uint64_t number = journal->epoch_count - 1;
    while (number > oldest && journal->epochs[number % EPOCHS_REMEMBERED].place > place)
        number--;
    return number;
}

void eg_journal_cursor(const struct eg_journal *journal, uint64_t place, uint64_t position,
                       struct eg_cursor *ret_cursor)
{
    if (place > journal->head)
        place = journal->head;
    *ret_cursor = (struct eg_cursor){.has_position = true};
    if (journal->tag[0]) {
        memcpy(ret_cursor->tag, journal->tag, sizeof(ret_cursor->tag));
        ret_cursor->position = position;
    }
    if (journal->epoch_count == 0)
        return;
    ret_cursor->has_live = true;
    ret_cursor->epoch = journal->epochs[epoch_number_at(journal, place) % EPOCHS_REMEMBERED].epoch;
    ret_cursor->place = place;
}

static bool same_epoch(const struct eg_epoch *a, const struct eg_epoch *b)
{
    return memcmp(a->text, b->text, EG_EPOCH_LENGTH) == 0;
}

/* Will the cursor's place still come here? This worker may be late by a part of its own newest epoch, or by the break
 * that begins the listener's. */
static bool is_ahead(const struct eg_journal *journal, const struct eg_cursor *cursor,
                     const struct eg_epoch *shared_epoch, uint64_t shared_head)
{
    const struct eg_epoch *newest = shared_epoch;
    if (journal->epoch_count > 0)
        newest = &journal->epochs[(journal->epoch_count - 1) % EPOCHS_REMEMBERED].epoch;
    return (same_epoch(&cursor->epoch, shared_epoch) || same_epoch(&cursor->epoch, newest)) &&
           cursor->place > journal->head && cursor->place <= shared_head;
}

enum eg_journal_lookup eg_journal_find(const struct eg_journal *journal, const struct eg_cursor *cursor,
                                       const struct eg_epoch *shared_epoch, uint64_t shared_head, uint64_t *ret_place)
{
    uint64_t oldest = journal->epoch_count > EPOCHS_REMEMBERED ? journal->epoch_count - EPOCHS_REMEMBERED : 0;
    for (uint64_t number = journal->epoch_count; number-- > oldest;) {
        const struct epoch_start *start = &journal->epochs[number % EPOCHS_REMEMBERED];
        if (!same_epoch(&start->epoch, &cursor->epoch))
            continue;
        bool newest = number + 1 == journal->epoch_count;
        uint64_t end = newest ? journal->head : journal->epochs[(number + 1) % EPOCHS_REMEMBERED].place - 1;
        if (cursor->place < start->place)
            return EG_JOURNAL_ALIEN;
        if (cursor->place <= end) {
            *ret_place = cursor->place;
            return EG_JOURNAL_KNOWN;
        }
        break;
    }
    return is_ahead(journal, cursor, shared_epoch, shared_head) ? EG_JOURNAL_AHEAD : EG_JOURNAL_ALIEN;
}

/* --- the log ----------------------------------------------------------------------------------------------------- */

void eg_journal_set_log(struct eg_journal *journal, const char *tag, uint64_t position, struct eg_log_jumps *jumps)
{
    if (strcmp(journal->tag, tag) != 0) {
        if (journal->tag[0])
            trim_before(journal, journal->head + 1);
        for (uint64_t place = journal->tail; place <= journal->head; place++)
            entry_at(journal, place)->position = position; /* live ones, from before there was a log */
        snprintf(journal->tag, sizeof(journal->tag), "%s", tag);
        journal->position = journal->log_floor = journal->trimmed_position = position;
    }
    raise_to(&journal->position, position);
    if (!jumps)
        return;
    eg_log_jumps_unref(journal->jumps);
    journal->jumps = eg_log_jumps_ref(jumps);
}

const char *eg_journal_tag(const struct eg_journal *journal)
{
    return journal->tag;
}

uint64_t eg_journal_position(const struct eg_journal *journal)
{
    return journal->position;
}

uint64_t eg_journal_log_floor(const struct eg_journal *journal)
{
    return journal->log_floor;
}

const struct eg_log_jumps *eg_journal_jumps(const struct eg_journal *journal)
{
    return journal->jumps;
}

uint64_t eg_journal_position_at(const struct eg_journal *journal, uint64_t place)
{
    if (place >= journal->head)
        return journal->position;
    return place < journal->tail ? journal->trimmed_position : entry_at(journal, place)->position;
}

uint64_t eg_journal_place_behind(const struct eg_journal *journal, uint64_t position)
{
    uint64_t low = journal->tail, high = journal->head + 1;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (entry_at(journal, middle)->position <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- making and freeing ------------------------------------------------------------------------------------------ */

struct eg_journal *eg_journal_new(uint32_t worker, size_t max_events, size_t max_bytes)
{
    struct eg_journal *journal = calloc(1, sizeof(*journal));
    if (!journal)
        return NULL;
    journal->worker = worker;
    journal->max_events = max_events;
    journal->max_bytes = max_bytes;
    journal->tail = 1;
    return journal;
}

void eg_journal_free(struct eg_journal *journal)
{
    if (!journal)
        return;
    trim_before(journal, UINT64_MAX);
    struct named_channel *channel = journal->channels, *next;
    HASH_CLEAR(hh, journal->channels); /* of the table alone: the channels stay linked */
    for (; channel; channel = next) {
        next = channel->hh.next;
        detach(journal, &channel->base);
        free(channel->base.covering);
        free(channel);
    }
    free(journal->patterns);
    eg_log_jumps_unref(journal->jumps);
    free(journal->entries);
    free(journal);
}

void eg_journal_set_bounds(struct eg_journal *journal, size_t max_events, size_t max_bytes)
{
    journal->max_events = max_events;
    journal->max_bytes = max_bytes;
    if (count_of(journal) > 0)
        trim_to_bounds(journal);
}

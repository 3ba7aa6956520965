/*
 * The table of listened channels.
 *
 * Invariant: a channel is in the list that list_of() says, so what that depends on changes only in move_to(), or while
 * the channel is in no list that depends on it.
 */
#include "eventgate/listened.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct entry {
    struct eg_listened base; /* first member: the two share their address */
    UT_hash_handle hh;
    TAILQ_ENTRY(entry) link;
    bool lingering;
    bool *wanted_by; /* one a worker; behind the wants, which are behind the name */
    char name[];
};

TAILQ_HEAD(list, entry);

struct eg_listened_table {
    uint32_t workers;
    struct entry *entries; /* hash by name */
    struct list lists[EG_LIST_COUNT];
};

static struct entry *entry_of(const struct eg_listened *listened)
{
    return (struct entry *)(uintptr_t)listened;
}

static struct eg_listened *base_of(struct entry *entry)
{
    return entry ? &entry->base : NULL;
}

/* --- lists ------------------------------------------------------------------------------------------------------- */

bool eg_listened_is_known(const struct eg_listened *listened)
{
    return listened->permanent || listened->channel;
}

static struct list *list_of(struct eg_listened_table *table, const struct entry *entry)
{
    if (entry->lingering)
        return &table->lists[EG_LIST_LINGERING];
    if (entry->base.state == EG_LISTENED_WANTED)
        return &table->lists[eg_listened_is_known(&entry->base) ? EG_LIST_KNOWN : EG_LIST_ASKED];
    return entry->base.state == EG_LISTENED_LISTENED ? NULL : &table->lists[EG_LIST_UNDER_WAY];
}

static void leave_list(struct eg_listened_table *table, struct entry *entry)
{
    struct list *list = list_of(table, entry);
    if (list)
        TAILQ_REMOVE(list, entry, link);
}

static void move_to(struct eg_listened_table *table, struct entry *entry, enum eg_listened_state state, bool lingering)
{
    leave_list(table, entry);
    entry->base.state = state;
    entry->lingering = lingering;
    struct list *list = list_of(table, entry);
    if (list)
        TAILQ_INSERT_TAIL(list, entry, link);
}

struct eg_listened *eg_listened_first(const struct eg_listened_table *table, enum eg_listened_list list)
{
    return base_of(TAILQ_FIRST(&table->lists[list]));
}

void eg_listened_move(struct eg_listened_table *table, struct eg_listened *listened, enum eg_listened_state state)
{
    move_to(table, entry_of(listened), state, false);
}

/* --- who wants it ------------------------------------------------------------------------------------------------ */

void eg_listened_want(struct eg_listened_table *table, struct eg_listened *listened, uint32_t worker, uint64_t want)
{
    struct entry *entry = entry_of(listened);
    if (!entry->wanted_by[worker]) {
        entry->wanted_by[worker] = true;
        listened->wanting++;
    }
    listened->wants[worker] = want;
    if (entry->lingering)
        move_to(table, entry, listened->state, false);
}

bool eg_listened_unwant(struct eg_listened *listened, uint32_t worker)
{
    struct entry *entry = entry_of(listened);
    if (!entry->wanted_by[worker])
        return false;
    entry->wanted_by[worker] = false;
    listened->wants[worker] = 0;
    return --listened->wanting == 0 && !listened->permanent;
}

void eg_listened_set_permanent(struct eg_listened_table *table, struct eg_listened *listened, bool permanent)
{
    struct entry *entry = entry_of(listened);
    leave_list(table, entry);
    listened->permanent = permanent;
    entry->lingering = entry->lingering && !permanent;
    struct list *list = list_of(table, entry);
    if (list)
        TAILQ_INSERT_TAIL(list, entry, link);
}

/* It stands at the end of those that linger: behind the last that leaves no later. */
static void sort_in(struct eg_listened_table *table, struct entry *entry)
{
    struct list *list = &table->lists[EG_LIST_LINGERING];
    struct entry *before = TAILQ_PREV(entry, list, link);
    while (before && before->base.leave_ms > entry->base.leave_ms)
        before = TAILQ_PREV(before, list, link);
    TAILQ_REMOVE(list, entry, link);
    if (before)
        TAILQ_INSERT_AFTER(list, before, entry, link);
    else
        TAILQ_INSERT_HEAD(list, entry, link);
}

void eg_listened_leave(struct eg_listened_table *table, struct eg_listened *listened, uint64_t leave_ms)
{
    if (listened->state == EG_LISTENED_WANTED && !eg_listened_is_known(listened)) {
        eg_listened_remove(table, listened);
    } else if (listened->state == EG_LISTENED_LISTENED) {
        listened->leave_ms = leave_ms;
        move_to(table, entry_of(listened), EG_LISTENED_LISTENED, true);
        sort_in(table, entry_of(listened));
    }
}

/* --- the table --------------------------------------------------------------------------------------------------- */

size_t eg_listened_count(const struct eg_listened_table *table)
{
    return HASH_COUNT(table->entries);
}

struct eg_listened *eg_listened_find(const struct eg_listened_table *table, const char *name, size_t length)
{
    struct entry *entry;
    HASH_FIND(hh, table->entries, name, length, entry);
    return base_of(entry);
}

struct eg_listened *eg_listened_next(const struct eg_listened_table *table, const struct eg_listened *listened)
{
    return base_of(listened ? entry_of(listened)->hh.next : table->entries);
}

static size_t round_up(size_t bytes)
{
    return (bytes + sizeof(uint64_t) - 1) / sizeof(uint64_t) * sizeof(uint64_t);
}

struct eg_listened *eg_listened_add(struct eg_listened_table *table, const char *name, size_t length, bool permanent)
{
    size_t text = round_up(sizeof(struct entry) + length + 1);
    struct entry *entry = calloc(1, text + table->workers * (sizeof(*entry->base.wants) + sizeof(*entry->wanted_by)));
    if (!entry)
        return NULL;
    memcpy(entry->name, name, length);
    entry->wanted_by = (bool *)((char *)entry + text + table->workers * sizeof(*entry->base.wants));
    entry->base.wants = (uint64_t *)(void *)((char *)entry + text);
    entry->base.name = entry->name;
    entry->base.name_length = length;
    entry->base.permanent = permanent;
    HASH_ADD_KEYPTR(hh, table->entries, entry->name, length, entry);
    if (!entry->hh.tbl) {
        free(entry);
        return NULL;
    }
    TAILQ_INSERT_TAIL(list_of(table, entry), entry, link);
    return &entry->base;
}

void eg_listened_remove(struct eg_listened_table *table, struct eg_listened *listened)
{
    struct entry *entry = entry_of(listened);
    leave_list(table, entry);
    HASH_DEL(table->entries, entry);
    eg_channel_unref(listened->channel);
    free(entry);
}

struct eg_listened_table *eg_listened_table_new(uint32_t workers)
{
    struct eg_listened_table *table = calloc(1, sizeof(*table));
    if (!table)
        return NULL;
    table->workers = workers;
    for (size_t list = 0; list < EG_LIST_COUNT; list++)
        TAILQ_INIT(&table->lists[list]);
    return table;
}

void eg_listened_table_free(struct eg_listened_table *table)
{
    if (!table)
        return;
    while (table->entries)
        eg_listened_remove(table, &table->entries->base);
    free(table);
}

/*
 * One LISTENed channel, shared by all threads: its name, and a private slot for each worker.
 *
 * Made by the listener when it LISTENs, dropped by it on UNLISTEN (a channel that is LISTENed again is a new object).
 * Events hold a reference to their channel, so it outlives every event of it. The table of a set's channels is for
 * listings (admin endpoints); it is written by the listener and read by any thread under its lock.
 */
#ifndef EG_CHANNEL_H
#define EG_CHANNEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "eventgate/common.h"

struct eg_channel_slot {
    void *local;                     /* owned by the worker: its eg_journal_channel, or NULL */
    uint64_t dropped;                /* guarded by the worker's feed: last place dropped there, 0 none */
    uint64_t dropped_position;       /* guarded by the worker's feed: durable: its position in the log */
    struct eg_channel *next_dropped; /* guarded by the worker's feed */
};

struct eg_channel {
    _Atomic uint32_t references;
    _Atomic int64_t subscribers; /* on all workers; each worker adds and subtracts its own */
    _Atomic uint64_t events;     /* received; written by the listener */
    bool permanent;              /* listed by name in the configuration: LISTENed for good */
    uint32_t slot_count;
    size_t name_length;
    char *name; /* NUL-terminated; lives behind the slots */
    struct eg_channel_slot slots[];
};

/* A channel with one reference and a slot a worker. NULL: out of memory. */
struct eg_channel *eg_channel_new(const char *name, size_t name_length, bool permanent, uint32_t workers);
struct eg_channel *eg_channel_ref(struct eg_channel *channel);
void eg_channel_unref(struct eg_channel *channel);

/* A set's channels, for listings. Holds a reference of each. */
struct eg_channel_table;
struct eg_channel_table *eg_channel_table_new(void);
void eg_channel_table_free(struct eg_channel_table *table);
int eg_channel_table_add(struct eg_channel_table *table, struct eg_channel *channel) EG_MUST_CHECK;
void eg_channel_table_remove(struct eg_channel_table *table, struct eg_channel *channel);
size_t eg_channel_table_count(struct eg_channel_table *table);

/* Calls `visit` for at most `limit` channels, in the order of their LISTEN, under the table's lock: it must not block
 * or call back into the table. */
void eg_channel_table_visit(struct eg_channel_table *table, size_t limit,
                            void (*visit)(void *context, const struct eg_channel *channel), void *context);

#endif

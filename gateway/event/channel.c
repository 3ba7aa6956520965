/*
 * Shared channels and the table of a set's channels.
 */
#include "eventgate/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct eg_channel *eg_channel_new(const char *name, size_t name_length, bool permanent, uint32_t workers)
{
    size_t slots = workers * sizeof(struct eg_channel_slot);
    struct eg_channel *channel = calloc(1, sizeof(*channel) + slots + name_length + 1);
    if (!channel)
        return NULL;
    channel->references = 1;
    channel->permanent = permanent;
    channel->slot_count = workers;
    channel->name_length = name_length;
    channel->name = (char *)channel + sizeof(*channel) + slots;
    memcpy(channel->name, name, name_length);
    return channel;
}

struct eg_channel *eg_channel_ref(struct eg_channel *channel)
{
    atomic_fetch_add_explicit(&channel->references, 1, memory_order_relaxed);
    return channel;
}

void eg_channel_unref(struct eg_channel *channel)
{
    if (channel && atomic_fetch_sub_explicit(&channel->references, 1, memory_order_acq_rel) == 1)
        free(channel);
}

struct eg_channel_table {
    pthread_mutex_t lock;
    struct eg_channel **channels; /* guarded by lock, like all below */
    size_t count, capacity;
};

struct eg_channel_table *eg_channel_table_new(void)
{
    struct eg_channel_table *table = calloc(1, sizeof(*table));
    if (table && pthread_mutex_init(&table->lock, NULL) != 0) {
        free(table);
        return NULL;
    }
    return table;
}

void eg_channel_table_free(struct eg_channel_table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->count; i++)
        eg_channel_unref(table->channels[i]);
    free(table->channels);
    pthread_mutex_destroy(&table->lock);
    free(table);
}

int eg_channel_table_add(struct eg_channel_table *table, struct eg_channel *channel)
{
    int error = 0;
    pthread_mutex_lock(&table->lock);
    if (table->count == table->capacity) {
        size_t capacity = table->capacity ? 2 * table->capacity : 16;
        struct eg_channel **channels = reallocarray(table->channels, capacity, sizeof(struct eg_channel *));
        if (channels) {
            table->channels = channels;
            table->capacity = capacity;
        } else {
            error = -ENOMEM;
        }
    }
    if (!error)
        table->channels[table->count++] = eg_channel_ref(channel);
    pthread_mutex_unlock(&table->lock);
    return error;
}

void eg_channel_table_remove(struct eg_channel_table *table, struct eg_channel *channel)
{
    pthread_mutex_lock(&table->lock);
    for (size_t i = 0; i < table->count; i++) {
        if (table->channels[i] != channel)
            continue;
        memmove(&table->channels[i], &table->channels[i + 1], (table->count - i - 1) * sizeof(struct eg_channel *));
        table->count--;
        eg_channel_unref(channel);
        break;
    }
    pthread_mutex_unlock(&table->lock);
}

size_t eg_channel_table_count(struct eg_channel_table *table)
{
    pthread_mutex_lock(&table->lock);
    size_t count = table->count;
    pthread_mutex_unlock(&table->lock);
    return count;
}

void eg_channel_table_visit(struct eg_channel_table *table, size_t limit,
                            void (*visit)(void *context, const struct eg_channel *channel), void *context)
{
    pthread_mutex_lock(&table->lock);
    for (size_t i = 0; i < table->count && i < limit; i++)
        visit(context, table->channels[i]);
    pthread_mutex_unlock(&table->lock);
}

/*
 * A hash by name, and a list by the last event.
 */
#include "eventgate/log_channels.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "eventgate/pattern.h"

/* How many are looked at for one to forget: those in use longest unused are rare, and a walk over all is too long. */
#define FORGET_TRIES 16

struct entry {
    struct eg_channel *channel; /* a reference */
    UT_hash_handle hh;
    TAILQ_ENTRY(entry) link;
};

struct eg_log_channels {
    const struct eg_config_set *set;
    uint32_t workers;
    struct eg_channel_table *listing;
    struct eg_feed_sink sink;
    struct entry *entries;    /* hash by name */
    TAILQ_HEAD(, entry) used; /* the longest unused first */
};

struct eg_log_channels *eg_log_channels_new(const struct eg_config_set *set, uint32_t workers,
                                            struct eg_channel_table *listing, struct eg_feed_sink sink)
{
    struct eg_log_channels *channels = calloc(1, sizeof(*channels));
    if (!channels)
        return NULL;
    channels->set = set;
    channels->workers = workers;
    channels->listing = listing;
    channels->sink = sink;
    TAILQ_INIT(&channels->used);
    return channels;
}

void eg_log_channels_configure(struct eg_log_channels *channels, const struct eg_config_set *set)
{
    channels->set = set;
}

static void drop(struct eg_log_channels *channels, struct entry *entry)
{
    HASH_DEL(channels->entries, entry);
    TAILQ_REMOVE(&channels->used, entry, link);
    eg_channel_unref(entry->channel);
    free(entry);
}

void eg_log_channels_free(struct eg_log_channels *channels)
{
    if (!channels)
        return;
    while (channels->entries)
        drop(channels, channels->entries);
    free(channels);
}

static void tell(const struct eg_log_channels *channels, enum eg_feed_kind kind, struct eg_channel *channel)
{
    const struct eg_feed_item item = {.kind = kind, .channel = channel};
    channels->sink.feed(channels->sink.context, -1, &item, 1);
}

/* Does nobody refer to it but the entry, the listing, and the workers for as long as it is announced? */
static bool is_unused(const struct eg_log_channels *channels, const struct entry *entry)
{
    return atomic_load(&entry->channel->references) <= 2 + channels->workers;
}

static void forget_some(struct eg_log_channels *channels)
{
    struct entry *entry = TAILQ_FIRST(&channels->used);
    for (int tries = 0; entry && channels->entries && tries < FORGET_TRIES &&
                        HASH_COUNT(channels->entries) >= channels->set->max_channels;
         tries++) {
        struct entry *next = TAILQ_NEXT(entry, link);
        if (is_unused(channels, entry)) {
            eg_channel_table_remove(channels->listing, entry->channel);
            tell(channels, EG_FEED_UNLISTENED, entry->channel);
            drop(channels, entry);
        }
        entry = next;
    }
}

static const struct eg_config_channel *config_of(const struct eg_config_set *set, struct eg_bytes name)
{
    for (size_t i = 0; i < set->durable_count; i++)
        if (eg_pattern_matches(set->durable[i].text, set->durable[i].length, name.data, name.length))
            return &set->durable[i];
    return NULL;
}

static struct entry *add(struct eg_log_channels *channels, struct eg_bytes name, bool permanent)
{
    struct entry *entry = calloc(1, sizeof(*entry));
    if (!entry)
        return NULL;
    entry->channel = eg_channel_new(name.data, name.length, permanent, channels->workers);
    if (!entry->channel || eg_channel_table_add(channels->listing, entry->channel) != 0)
        goto failed;
    HASH_ADD_KEYPTR(hh, channels->entries, entry->channel->name, entry->channel->name_length, entry);
    if (!entry->hh.tbl) {
        eg_channel_table_remove(channels->listing, entry->channel);
        goto failed;
    }
    TAILQ_INSERT_TAIL(&channels->used, entry, link);
    return entry;
failed:
    eg_channel_unref(entry->channel);
    free(entry);
    return NULL;
}

int eg_log_channels_find(struct eg_log_channels *channels, struct eg_bytes name, void (*before)(void *context),
                         void *context, struct eg_channel **ret_channel)
{
    struct entry *entry;
    HASH_FIND(hh, channels->entries, name.data, name.length, entry);
    if (entry) {
        TAILQ_REMOVE(&channels->used, entry, link);
        TAILQ_INSERT_TAIL(&channels->used, entry, link);
    } else {
        const struct eg_config_channel *config = config_of(channels->set, name);
        *ret_channel = NULL;
        if (!config)
            return 0;
        before(context);
        forget_some(channels);
        entry = add(channels, name, !config->wild);
        if (!entry)
            return -ENOMEM;
        tell(channels, EG_FEED_LISTENED, entry->channel);
    }
    *ret_channel = entry->channel;
    return 0;
}

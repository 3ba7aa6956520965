/*
 * Connections counted by address, in a hash behind a lock.
 */
#include "eventgate/address_counts.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct address_count {
    struct eg_address_key key;
    uint32_t count;
    UT_hash_handle hh;
};

struct eg_intake_counts {
    pthread_mutex_t lock;
    struct address_count *addresses; /* guarded by lock, like total */
    uint32_t total;
};

struct eg_intake_counts *eg_intake_counts_new(void)
{
    struct eg_intake_counts *counts = calloc(1, sizeof(*counts));
    if (counts && pthread_mutex_init(&counts->lock, NULL) != 0) {
        free(counts);
        return NULL;
    }
    return counts;
}

void eg_intake_counts_free(struct eg_intake_counts *counts)
{
    if (!counts)
        return;
    struct address_count *address, *next;
    HASH_ITER (hh, counts->addresses, address, next) {
        HASH_DEL(counts->addresses, address);
        free(address);
    }
    pthread_mutex_destroy(&counts->lock);
    free(counts);
}

uint32_t eg_intake_counts_total(struct eg_intake_counts *counts)
{
    pthread_mutex_lock(&counts->lock);
    uint32_t total = counts->total;
    pthread_mutex_unlock(&counts->lock);
    return total;
}

static struct address_count *find_or_make(struct eg_intake_counts *counts, const struct eg_address_key *key)
{
    struct address_count *address;
    HASH_FIND(hh, counts->addresses, key, sizeof(*key), address);
    if (address)
        return address;
    address = calloc(1, sizeof(*address));
    if (!address)
        return NULL;
    address->key = *key;
    HASH_ADD(hh, counts->addresses, key, sizeof(*key), address);
    if (address->hh.tbl)
        return address;
    free(address);
    return NULL;
}

/* With the lock. */
static int add(struct eg_intake_counts *counts, const union eg_address *address, uint32_t max_per_address)
{
    struct eg_address_key key = eg_address_key(address);
    struct address_count *count = find_or_make(counts, &key);
    if (!count)
        return -ENOMEM;
    if (count->count >= max_per_address)
        return -EDQUOT;
    count->count++;
    return 0;
}

/* With the lock. Returns false if there is none of it. */
static bool take_away(struct eg_intake_counts *counts, const union eg_address *address)
{
    struct eg_address_key key = eg_address_key(address);
    struct address_count *count;
    HASH_FIND(hh, counts->addresses, &key, sizeof(key), count);
    if (!count)
        return false;
    if (--count->count == 0) {
        HASH_DEL(counts->addresses, count);
        free(count);
    }
    return true;
}

int eg_intake_counts_add(struct eg_intake_counts *counts, const union eg_address *address, uint32_t max,
                         uint32_t max_per_address)
{
    pthread_mutex_lock(&counts->lock);
    int error = counts->total < max ? add(counts, address, max_per_address) : -EUSERS;
    if (!error)
        counts->total++;
    pthread_mutex_unlock(&counts->lock);
    return error;
}

void eg_intake_counts_remove(struct eg_intake_counts *counts, const union eg_address *address)
{
    pthread_mutex_lock(&counts->lock);
    if (take_away(counts, address))
        counts->total--;
    pthread_mutex_unlock(&counts->lock);
}

int eg_intake_counts_add_request(struct eg_intake_counts *counts, const union eg_address *address,
                                 uint32_t max_per_address)
{
    pthread_mutex_lock(&counts->lock);
    int error = add(counts, address, max_per_address);
    pthread_mutex_unlock(&counts->lock);
    return error;
}

void eg_intake_counts_remove_request(struct eg_intake_counts *counts, const union eg_address *address)
{
    pthread_mutex_lock(&counts->lock);
    take_away(counts, address);
    pthread_mutex_unlock(&counts->lock);
}

/*
 * Connections counted by address, in a hash behind a lock.
 */
#include "eventgate/address_counts.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* An IPv4 address, or the network part of an IPv6 address: a customer has at least a /64. */
struct key {
    unsigned char bytes[9]; /* family, address */
};

struct address_count {
    struct key key;
    uint32_t count;
    UT_hash_handle hh;
};

struct eg_intake_counts {
    pthread_mutex_t lock;
    struct address_count *addresses; /* guarded by lock, like total */
    uint32_t total;
};

static struct key key_of(const union eg_address *address)
{
    struct key key;
    memset(&key, 0, sizeof(key));
    key.bytes[0] = (unsigned char)address->any.sa_family;
    if (address->any.sa_family == AF_INET)
        memcpy(key.bytes + 1, &address->in.sin_addr, 4);
    else if (address->any.sa_family == AF_INET6)
        memcpy(key.bytes + 1, &address->in6.sin6_addr, 8);
    return key;
}

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

static struct address_count *find_or_make(struct eg_intake_counts *counts, const struct key *key)
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

int eg_intake_counts_add(struct eg_intake_counts *counts, const union eg_address *address, uint32_t max,
                         uint32_t max_per_address)
{
    struct key key = key_of(address);
    int error = 0;
    pthread_mutex_lock(&counts->lock);
    struct address_count *count = counts->total < max ? find_or_make(counts, &key) : NULL;
    if (counts->total >= max)
        error = -EUSERS;
    else if (!count)
        error = -ENOMEM;
    else if (count->count >= max_per_address)
        error = -EDQUOT;
    if (!error) {
        count->count++;
        counts->total++;
    }
    pthread_mutex_unlock(&counts->lock);
    return error;
}

void eg_intake_counts_remove(struct eg_intake_counts *counts, const union eg_address *address)
{
    struct key key = key_of(address);
    struct address_count *count;
    pthread_mutex_lock(&counts->lock);
    HASH_FIND(hh, counts->addresses, &key, sizeof(key), count);
    if (count) {
        counts->total--;
        if (--count->count == 0) {
            HASH_DEL(counts->addresses, count);
            free(count);
        }
    }
    pthread_mutex_unlock(&counts->lock);
}

/*
 * Token buckets in a table of sets of places: a key's hash says which set, where any place will do. A lock guards some
 * of the sets.
 */
#include "eventgate/rate_limits.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/backoff.h"

#define SETS 4096u
#define PLACES 16u
#define LOCKS 64u
#define NS_PER_HOUR UINT64_C(3600000000000)
#define NS_PER_MS UINT64_C(1000000)

struct bucket {
    uint64_t hash;
    uint64_t full_ns; /* when it will be full; in the past: it is, and the place is free */
};

struct lock {
    _Alignas(64) pthread_mutex_t mutex; /* in a cache line of its own */
};

struct eg_rate_limits {
    uint64_t secret[2];
    _Atomic uint64_t forgotten;
    struct bucket *buckets; /* SETS * PLACES; guarded by the lock of their set */
    struct lock locks[LOCKS];
};

/* --- SipHash-2-4 (https://www.aumasson.jp/siphash/siphash.pdf) ------------------------------------------------------
 */

static uint64_t rotated(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

static void sip_rounds(uint64_t v[4], int count)
{
    while (count-- > 0) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotated(v[1], 13) ^ v[0];
        v[3] = rotated(v[3], 16) ^ v[2];
        v[0] = rotated(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotated(v[1], 17) ^ v[2];
        v[3] = rotated(v[3], 21) ^ v[0];
        v[2] = rotated(v[2], 32);
    }
}

static uint64_t hash_of(const uint64_t secret[2], const void *key, size_t length)
{
    const unsigned char *bytes = key;
    uint64_t v[4] = {secret[0] ^ UINT64_C(0x736f6d6570736575), secret[1] ^ UINT64_C(0x646f72616e646f6d),
                     secret[0] ^ UINT64_C(0x6c7967656e657261), secret[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t last = (uint64_t)length << 56;
    for (size_t at = 0; at + 8 <= length; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, sizeof(word));
        v[3] ^= word;
        sip_rounds(v, 2);
        v[0] ^= word;
    }
    for (size_t i = 0; i < length % 8; i++)
        last |= (uint64_t)bytes[length - length % 8 + i] << (8 * i);
    v[3] ^= last;
    sip_rounds(v, 2);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* --- the table ------------------------------------------------------------------------------------------------------
 */

struct eg_rate_limits *eg_rate_limits_new(void)
{
    struct eg_rate_limits *limits = aligned_alloc(_Alignof(struct eg_rate_limits), sizeof(*limits));
    if (!limits)
        return NULL;
    memset(limits, 0, sizeof(*limits));
    limits->buckets = calloc((size_t)SETS * PLACES, sizeof(struct bucket));
    if (!limits->buckets) {
        free(limits);
        return NULL;
    }
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_init(&limits->locks[i].mutex, NULL); /* of this kind it never fails */
    eg_random_bytes(limits->secret, sizeof(limits->secret));
    return limits;
}

void eg_rate_limits_free(struct eg_rate_limits *limits)
{
    if (!limits)
        return;
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&limits->locks[i].mutex);
    free(limits->buckets);
    free(limits);
}

/* Its bucket, or the place of the one that is the closest to full, made full. With the lock. */
static struct bucket *find_bucket(struct eg_rate_limits *limits, uint64_t hash, uint64_t now_ns)
{
    struct bucket *set = &limits->buckets[hash % SETS * PLACES];
    struct bucket *fullest = set;
    for (size_t i = 0; i < PLACES; i++) {
        if (set[i].hash == hash)
            return &set[i];
        if (set[i].full_ns < fullest->full_ns)
            fullest = &set[i];
    }
    if (fullest->full_ns > now_ns)
        atomic_fetch_add_explicit(&limits->forgotten, 1, memory_order_relaxed);
    *fullest = (struct bucket){hash, now_ns};
    return fullest;
}

static int take(struct bucket *bucket, struct eg_rate rate, uint32_t amount, uint64_t now_ns, uint64_t *ret_wait_ms)
{
    uint64_t token_ns = NS_PER_HOUR / rate.per_hour;
    uint64_t latest_ns = now_ns + rate.burst * token_ns; /* it is empty then */
    uint64_t full_ns = bucket->full_ns > now_ns ? bucket->full_ns : now_ns;
    if (full_ns > latest_ns)
        full_ns = latest_ns; /* the rate has been raised, or the burst lowered */
    bucket->full_ns = full_ns;
    full_ns += amount * token_ns;
    if (full_ns <= latest_ns) {
        bucket->full_ns = full_ns;
        return 0;
    }
    *ret_wait_ms = (full_ns - latest_ns + NS_PER_MS - 1) / NS_PER_MS;
    return -EAGAIN;
}

int eg_rate_limits_take(struct eg_rate_limits *limits, struct eg_rate rate, const void *key, size_t length,
                        uint32_t amount, uint64_t now_ms, uint64_t *ret_wait_ms)
{
    if (rate.per_hour == 0)
        return 0;
    if (amount > rate.burst)
        return -E2BIG;
    uint64_t hash = hash_of(limits->secret, key, length);
    pthread_mutex_t *mutex = &limits->locks[hash % LOCKS].mutex; /* SETS is a multiple of LOCKS */
    pthread_mutex_lock(mutex);
    struct bucket *bucket = find_bucket(limits, hash, now_ms * NS_PER_MS);
    int result = take(bucket, rate, amount, now_ms * NS_PER_MS, ret_wait_ms);
    pthread_mutex_unlock(mutex);
    return result;
}

uint64_t eg_rate_limits_forgotten(struct eg_rate_limits *limits)
{
    return atomic_load_explicit(&limits->forgotten, memory_order_relaxed);
}

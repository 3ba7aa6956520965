/*
 * The revoked subjects, in a hash behind a lock that readers share: each request with a token looks here.
 */
#include "eventgate/revocations.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define US_PER_S 1000000

struct revocation {
    int64_t before_s; /* tokens issued in an earlier second are revoked */
    UT_hash_handle hh;
    char subject[];
};

struct eg_revocations {
    pthread_rwlock_t lock;
    struct revocation *subjects; /* guarded by lock */
    atomic_uint awaited;         /* databases that have not been read yet */
};

struct eg_revocations *eg_revocations_new(void)
{
    struct eg_revocations *revocations = calloc(1, sizeof(*revocations));
    if (revocations && pthread_rwlock_init(&revocations->lock, NULL) != 0) {
        free(revocations);
        return NULL;
    }
    return revocations;
}

void eg_revocations_free(struct eg_revocations *revocations)
{
    if (!revocations)
        return;
    struct revocation *revocation, *next;
    HASH_ITER (hh, revocations->subjects, revocation, next) {
        HASH_DEL(revocations->subjects, revocation);
        free(revocation);
    }
    pthread_rwlock_destroy(&revocations->lock);
    free(revocations);
}

void eg_revocations_expect(struct eg_revocations *revocations)
{
    atomic_fetch_add_explicit(&revocations->awaited, 1, memory_order_relaxed);
}

void eg_revocations_arrived(struct eg_revocations *revocations)
{
    atomic_fetch_sub_explicit(&revocations->awaited, 1, memory_order_release);
}

bool eg_revocations_known(const struct eg_revocations *revocations)
{
    return atomic_load_explicit(&revocations->awaited, memory_order_acquire) == 0;
}

static int64_t whole_seconds_up(int64_t us)
{
    return us / US_PER_S + (us % US_PER_S > 0);
}

static int insert(struct eg_revocations *revocations, const char *subject, size_t length, int64_t before_s)
{
    struct revocation *revocation = calloc(1, sizeof(*revocation) + length + 1);
    if (!revocation)
        return -ENOMEM;
    memcpy(revocation->subject, subject, length);
    revocation->before_s = before_s;
    HASH_ADD_KEYPTR(hh, revocations->subjects, revocation->subject, length, revocation);
    if (!revocation->hh.tbl) {
        free(revocation);
        return -ENOMEM;
    }
    return 0;
}

int eg_revocations_add(struct eg_revocations *revocations, const char *subject, size_t length, int64_t before_us)
{
    struct revocation *revocation;
    int64_t before_s = whole_seconds_up(before_us);
    int error = 0;
    pthread_rwlock_wrlock(&revocations->lock);
    HASH_FIND(hh, revocations->subjects, subject, length, revocation);
    if (!revocation)
        error = insert(revocations, subject, length, before_s);
    else if (before_s > revocation->before_s)
        revocation->before_s = before_s;
    pthread_rwlock_unlock(&revocations->lock);
    return error;
}

bool eg_revocations_has(struct eg_revocations *revocations, const struct eg_grants *grants)
{
    struct revocation *revocation;
    const char *subject = eg_grants_subject(grants);
    if (!*subject)
        return false;
    pthread_rwlock_rdlock(&revocations->lock);
    HASH_FIND(hh, revocations->subjects, subject, strlen(subject), revocation);
    bool revoked = revocation && eg_grants_issued_s(grants) < revocation->before_s;
    pthread_rwlock_unlock(&revocations->lock);
    return revoked;
}

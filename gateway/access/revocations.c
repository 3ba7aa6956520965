/*
 * The revoked subjects of each database, in hashes behind a lock that readers share: each request with a token looks
 * there. A database that is being read whole fills a second hash, which nobody looks at until it takes the first one's
 * place.
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

struct database {
    struct revocation *known, *coming; /* `coming`: while it is being read whole */
    bool reading, read;
    bool unused; /* forgotten */
};

struct eg_revocations {
    pthread_rwlock_t lock;
    struct database *databases; /* guarded by lock, like all below */
    int count;
    atomic_uint awaited; /* databases that have not been read yet */
    atomic_bool unread;  /* one that cannot be read at all */
};

static void free_all(struct revocation *revocations)
{
    struct revocation *revocation, *next;
    HASH_ITER (hh, revocations, revocation, next) {
        HASH_DEL(revocations, revocation);
        free(revocation);
    }
}

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
    for (int i = 0; i < revocations->count; i++) {
        free_all(revocations->databases[i].known);
        free_all(revocations->databases[i].coming);
    }
    free(revocations->databases);
    pthread_rwlock_destroy(&revocations->lock);
    free(revocations);
}

int eg_revocations_expect(struct eg_revocations *revocations, bool awaited)
{
    int number = 0;
    pthread_rwlock_wrlock(&revocations->lock);
    while (number < revocations->count && !revocations->databases[number].unused)
        number++;
    struct database *databases =
        reallocarray(revocations->databases, (size_t)revocations->count + 1, sizeof(*databases));
    if (databases) {
        revocations->databases = databases;
        revocations->count += number == revocations->count;
        databases[number] = (struct database){.read = !awaited};
        atomic_fetch_add_explicit(&revocations->awaited, awaited, memory_order_release);
    }
    pthread_rwlock_unlock(&revocations->lock);
    return databases ? number : -ENOMEM;
}

bool eg_revocations_known(const struct eg_revocations *revocations)
{
    return atomic_load_explicit(&revocations->awaited, memory_order_acquire) == 0 &&
           !atomic_load_explicit(&revocations->unread, memory_order_acquire);
}

void eg_revocations_miss(struct eg_revocations *revocations, bool unread)
{
    atomic_store_explicit(&revocations->unread, unread, memory_order_release);
}

void eg_revocations_begin(struct eg_revocations *revocations, int number)
{
    pthread_rwlock_wrlock(&revocations->lock);
    struct database *database = &revocations->databases[number];
    struct revocation *forgotten = database->coming;
    database->coming = NULL;
    database->reading = true;
    pthread_rwlock_unlock(&revocations->lock);
    free_all(forgotten);
}

void eg_revocations_end(struct eg_revocations *revocations, int number)
{
    pthread_rwlock_wrlock(&revocations->lock);
    struct database *database = &revocations->databases[number];
    struct revocation *old = database->known;
    database->known = database->coming;
    database->coming = NULL;
    database->reading = false;
    if (!database->read)
        atomic_fetch_sub_explicit(&revocations->awaited, 1, memory_order_release);
    database->read = true;
    pthread_rwlock_unlock(&revocations->lock);
    free_all(old);
}

void eg_revocations_forget(struct eg_revocations *revocations, int number)
{
    pthread_rwlock_wrlock(&revocations->lock);
    struct database *database = &revocations->databases[number];
    struct database old = *database;
    *database = (struct database){.read = true, .unused = true};
    if (!old.read)
        atomic_fetch_sub_explicit(&revocations->awaited, 1, memory_order_release);
    pthread_rwlock_unlock(&revocations->lock);
    free_all(old.known);
    free_all(old.coming);
}

/* --- setting -------------------------------------------------------------------------------------------------------
 */

static int64_t whole_seconds_up(int64_t us)
{
    return us / US_PER_S + (us % US_PER_S > 0);
}

/* Locked. */
static size_t count_all(const struct eg_revocations *revocations)
{
    size_t count = 0;
    for (int i = 0; i < revocations->count; i++)
        count += HASH_COUNT(revocations->databases[i].known) + HASH_COUNT(revocations->databases[i].coming);
    return count;
}

static int insert(struct revocation **hash, struct eg_bytes subject, int64_t before_s)
{
    struct revocation *revocation = calloc(1, sizeof(*revocation) + subject.length + 1);
    if (!revocation)
        return -ENOMEM;
    if (subject.length > 0)
        memcpy(revocation->subject, subject.data, subject.length);
    revocation->before_s = before_s;
    HASH_ADD_KEYPTR(hh, *hash, revocation->subject, subject.length, revocation);
    if (!revocation->hh.tbl) {
        free(revocation);
        return -ENOMEM;
    }
    return 0;
}

/* Locked. */
static int set(struct eg_revocations *revocations, int number, struct eg_bytes subject, int64_t before_us)
{
    struct database *database = &revocations->databases[number];
    struct revocation **hash = database->reading ? &database->coming : &database->known, *revocation;
    HASH_FIND(hh, *hash, subject.data, subject.length, revocation);
    if (revocation && before_us == EG_REVOCATIONS_NOT) {
        HASH_DEL(*hash, revocation);
        free(revocation);
    } else if (revocation) {
        revocation->before_s = whole_seconds_up(before_us);
    } else if (before_us != EG_REVOCATIONS_NOT) {
        return count_all(revocations) < EG_REVOCATIONS_MAX ? insert(hash, subject, whole_seconds_up(before_us))
                                                           : -ENOSPC;
    }
    return 0;
}

int eg_revocations_set(struct eg_revocations *revocations, int number, struct eg_bytes subject, int64_t before_us)
{
    pthread_rwlock_wrlock(&revocations->lock);
    int error = set(revocations, number, subject, before_us);
    pthread_rwlock_unlock(&revocations->lock);
    return error;
}

/* --- asking --------------------------------------------------------------------------------------------------------
 */

bool eg_revocations_has(struct eg_revocations *revocations, const struct eg_grants *grants)
{
    const char *subject = eg_grants_subject(grants);
    size_t length = strlen(subject);
    bool revoked = false;
    if (length == 0)
        return false;
    pthread_rwlock_rdlock(&revocations->lock);
    for (int i = 0; !revoked && i < revocations->count; i++) {
        struct revocation *revocation;
        HASH_FIND(hh, revocations->databases[i].known, subject, length, revocation);
        revoked = revocation && eg_grants_issued_s(grants) < revocation->before_s;
    }
    pthread_rwlock_unlock(&revocations->lock);
    return revoked;
}

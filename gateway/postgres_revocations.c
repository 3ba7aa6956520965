/*
 * Reading which tokens have been revoked: a set does so for all sets of its database.
 *
 * When that set goes, another one of the database begins before it ends, under a number of its own that supersedes the
 * first one. What the first one has read counts until the other has read it all, so that no token is good in between.
 */
#include <errno.h>
#include <stdlib.h>

#include "eventgate/log.h"
#include "eventgate/postgres_side_internal.h"

static struct eg_revocations *revocations_of(const struct eg_postgres_set *set)
{
    return set->side->shared->revocations;
}

static void begin(void *context)
{
    const struct eg_postgres_set *set = context;
    eg_revocations_begin(revocations_of(set), set->revoking);
}

static int revoked(void *context, struct eg_bytes subject, int64_t before_us)
{
    const struct eg_postgres_set *set = context;
    return eg_revocations_set(revocations_of(set), set->revoking, subject, before_us);
}

static void told(void *context, bool whole)
{
    struct eg_postgres_set *set = context;
    const struct eg_postgres_side *side = set->side;
    if (whole) {
        eg_revocations_end(revocations_of(set), set->revoking);
        set->has_read = true;
    }
    if (set->inherited && set->has_read) {
        eg_revocations_forget(revocations_of(set), set->supersedes);
        set->supersedes = -1;
        set->inherited = false;
    }
    for (uint32_t i = 0; i < side->shared->worker_count; i++)
        eg_worker_heed_revocations(side->workers[i]);
}

static void grant_revocations(struct eg_postgres_set *set, const struct eg_postgres_wish *wish)
{
    set->revoking = wish->revocations.number;
    set->supersedes = wish->revocations.supersedes;
    set->revocations = eg_revocation_reader_new(set->side->loop, set->config, set->metrics,
                                                (struct eg_revocation_sink){set, begin, revoked, told});
    if (!set->revocations) /* and no token is taken */
        eg_log(EG_LOG_ERROR, "no memory for reading revocations", EG_LOG_STR("set", set->config->name));
}

bool eg_postgres_side_revokes(const struct eg_config_set *set)
{
    return set->revocations == EG_REVOCATIONS_ON || (set->revocations == EG_REVOCATIONS_AUTO && set->durable_count > 0);
}

int eg_postgres_side_read_revocations(struct eg_postgres_side *side, uint32_t place, int supersedes)
{
    struct eg_postgres_wish *wish = eg_postgres_wish_new(place, 0, grant_revocations, NULL, 0);
    int number = wish ? eg_revocations_expect(side->shared->revocations, supersedes < 0) : -ENOMEM;
    if (number < 0) {
        free(wish);
        return number;
    }
    wish->revocations.number = number;
    wish->revocations.supersedes = supersedes;
    eg_mailbox_post(&side->mailbox, &wish->message);
    return number;
}

/* The set that reads the same database under a number which supersedes this one's; NULL: none. */
static struct eg_postgres_set *heir_of(const struct eg_postgres_set *set)
{
    struct eg_postgres_side *side = set->side;
    for (uint32_t i = 0; i < side->set_count; i++)
        if (side->sets[i].side && side->sets[i].supersedes == set->revoking)
            return &side->sets[i];
    return NULL;
}

void eg_postgres_forget_revocations(struct eg_postgres_set *set)
{
    if (set->inherited)
        eg_revocations_forget(revocations_of(set), set->supersedes);
    if (set->revoking < 0)
        return;
    struct eg_postgres_set *heir = heir_of(set);
    if (heir && !heir->has_read) {
        heir->inherited = true;
        return;
    }
    if (heir)
        heir->supersedes = -1;
    eg_revocations_forget(revocations_of(set), set->revoking);
}

/*
 * The Postgres thread: what each set has there, and how the workers' wishes get to it.
 *
 * From PostgreSQL to the workers: feeds, one for each worker and set. From the workers to PostgreSQL: the mailbox, with
 * wants, publications, looks and requests for pages of the log, whose answers return through the worker's mailbox or
 * its feed.
 */
#include "eventgate/postgres_side.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "eventgate/appender.h"
#include "eventgate/listener.h"
#include "eventgate/log.h"
#include "eventgate/log_keeper.h"
#include "eventgate/log_pager.h"
#include "eventgate/log_reader.h"
#include "eventgate/order.h"
#include "eventgate/publisher.h"
#include "eventgate/revocation_reader.h"

/* The thread never blocks; should it all the same, it must not keep the process from ending. */
#define STOP_S 5

/* One channel set; what it has no channels for is NULL. */
struct set {
    struct eg_postgres_side *side;
    uint32_t index;
    struct eg_metrics *metrics;
    struct eg_order order;
    struct eg_listener *listener;
    struct eg_publisher *publisher;
    struct eg_log_reader *reader;
    struct eg_log_pager *pager;
    struct eg_appender *appender;
    bool appending; /* and so its next publications needn't wake the thread; guarded by the mailbox's lock */
    struct eg_log_keeper *keeper;
    struct eg_revocation_reader *revocations;
    int revoking; /* its database's number among the revocations; -1: they aren't read */
};

struct eg_postgres_side {
    const struct eg_worker_shared *shared;
    struct eg_worker *const *workers; /* shared->worker_count of them */
    struct eg_metrics *metrics;       /* of the loop */
    struct eg_loop *loop;
    struct eg_mailbox mailbox;
    struct set *sets;
    pthread_t thread;
    bool started;
};

/* --- from PostgreSQL to the workers --------------------------------------------------------------------------------
 */

static void feed(void *context, int worker, const struct eg_feed_item *items, size_t count)
{
    const struct set *set = context;
    const struct eg_postgres_side *side = set->side;
    for (uint32_t i = 0; i < side->shared->worker_count; i++)
        if ((worker < 0 || worker == (int)i) &&
            eg_feed_push(eg_worker_feed(side->workers[i], set->index), items, count))
            eg_loop_wake(side->workers[i]->loop);
}

static void attached(void *context)
{
    const struct set *set = context;
    if (set->pager) /* else it is still being made */
        eg_log_pager_attached(set->pager);
}

/* --- wishes --------------------------------------------------------------------------------------------------------
 */

/* What a worker wants of a set. */
struct wish {
    struct eg_message message;
    void (*grant)(struct set *set, const struct wish *wish);
    uint32_t set, worker;
    uint64_t number;
    union {
        struct eg_publication *publication;
        struct eg_log_request *request;
        size_t name_length;
    };
    char name[]; /* NUL-terminated */
};

static void deliver(struct eg_message *message, void *context)
{
    struct wish *wish = EG_CONTAINER_OF(message, struct wish, message);
    const struct eg_postgres_side *side = context;
    wish->grant(&side->sets[wish->set], wish);
    free(wish);
}

/* NULL: out of memory. */
static struct wish *wish_new(uint32_t set, uint32_t worker, void (*grant)(struct set *set, const struct wish *wish),
                             const char *name, size_t length)
{
    struct wish *wish = calloc(1, sizeof(*wish) + length + 1);
    if (!wish)
        return NULL;
    wish->message.deliver = deliver;
    wish->grant = grant;
    wish->set = set;
    wish->worker = worker;
    if (length > 0)
        memcpy(wish->name, name, length);
    return wish;
}

static void grant_want(struct set *set, const struct wish *wish)
{
    eg_listener_want(set->listener, wish->worker, wish->name, wish->name_length, wish->number);
}

static void grant_unwant(struct set *set, const struct wish *wish)
{
    eg_listener_unwant(set->listener, wish->worker, wish->name, wish->name_length);
}

int eg_postgres_side_want(struct eg_postgres_side *side, uint32_t set, uint32_t worker, const char *name, size_t length,
                          uint64_t want, void **ret_unwant)
{
    struct wish *wish = wish_new(set, worker, grant_want, name, length);
    struct wish *unwant = wish_new(set, worker, grant_unwant, name, length);
    if (!wish || !unwant) {
        free(wish);
        free(unwant);
        return -ENOMEM;
    }
    wish->number = want;
    wish->name_length = unwant->name_length = length;
    *ret_unwant = unwant;
    eg_mailbox_post(&side->mailbox, &wish->message);
    return 0;
}

void eg_postgres_side_unwant(struct eg_postgres_side *side, void *unwant)
{
    eg_mailbox_post(&side->mailbox, &((struct wish *)unwant)->message);
}

static void grant_look(struct set *set, const struct wish *wish)
{
    eg_log_reader_look(set->reader, wish->worker, wish->number);
}

int eg_postgres_side_look(struct eg_postgres_side *side, uint32_t set, uint32_t worker, uint64_t number)
{
    struct wish *wish = wish_new(set, worker, grant_look, NULL, 0);
    if (!wish)
        return -ENOMEM;
    wish->number = number;
    eg_mailbox_post(&side->mailbox, &wish->message);
    return 0;
}

static void grant_page(struct set *set, const struct wish *wish)
{
    eg_log_pager_read(set->pager, wish->request);
}

void eg_postgres_side_read_log(struct eg_postgres_side *side, uint32_t set, struct eg_log_request *request)
{
    struct wish *wish = wish_new(set, 0, grant_page, NULL, 0);
    if (!wish) {
        request->page = NULL;
        request->gap_to = 0;
        request->done(request);
        return;
    }
    wish->request = request;
    eg_mailbox_post(&side->mailbox, &wish->message);
}

static void grant_publication(struct set *set, const struct wish *wish)
{
    if (wish->publication->durable)
        eg_appender_submit(set->appender, wish->publication);
    else
        eg_publisher_submit(set->publisher, wish->publication);
}

void eg_postgres_side_publish(struct eg_postgres_side *side, struct eg_publication *publication)
{
    struct wish *wish = wish_new(publication->set, 0, grant_publication, NULL, 0);
    if (!wish) {
        eg_postgres_side_release(side, publication->set, publication->durable, publication->count, publication->bytes);
        for (size_t i = 0; i < publication->count; i++)
            publication->items[i].outcome = EG_OUTCOME_UNAVAILABLE;
        publication->done(publication);
        return;
    }
    wish->publication = publication;
    if (publication->durable)
        eg_mailbox_post_unhurried(&side->mailbox, &wish->message, &side->sets[publication->set].appending);
    else
        eg_mailbox_post(&side->mailbox, &wish->message);
}

int eg_postgres_side_admit(struct eg_postgres_side *side, uint32_t set, bool durable, size_t items, size_t bytes)
{
    const struct set *of = &side->sets[set];
    return durable ? eg_appender_admit(of->appender, items, bytes) : eg_publisher_admit(of->publisher, items, bytes);
}

void eg_postgres_side_release(struct eg_postgres_side *side, uint32_t set, bool durable, size_t items, size_t bytes)
{
    const struct set *of = &side->sets[set];
    if (durable)
        eg_appender_release(of->appender, items, bytes);
    else
        eg_publisher_release(of->publisher, items, bytes);
}

/* --- revocations ---------------------------------------------------------------------------------------------------
 */

static void revocations_begin(void *context)
{
    const struct set *set = context;
    eg_revocations_begin(set->side->shared->revocations, set->revoking);
}

static int revoked(void *context, struct eg_bytes subject, int64_t before_us)
{
    const struct set *set = context;
    return eg_revocations_set(set->side->shared->revocations, set->revoking, subject, before_us);
}

static void revocations_told(void *context, bool whole)
{
    const struct set *set = context;
    const struct eg_postgres_side *side = set->side;
    if (whole)
        eg_revocations_end(side->shared->revocations, set->revoking);
    for (uint32_t i = 0; i < side->shared->worker_count; i++)
        eg_worker_heed_revocations(side->workers[i]);
}

static void grant_revocations(struct set *set, const struct wish *wish)
{
    const struct eg_config_set *config = &set->side->shared->config->sets[set->index];
    (void)wish;
    set->revocations =
        eg_revocation_reader_new(set->side->loop, config, set->metrics,
                                 (struct eg_revocation_sink){set, revocations_begin, revoked, revocations_told});
    if (!set->revocations) /* and no token is taken */
        eg_log(EG_LOG_ERROR, "no memory for reading revocations", EG_LOG_STR("set", config->name));
}

static bool has_revocations(const struct eg_config_set *set)
{
    return set->revocations == EG_REVOCATIONS_ON || (set->revocations == EG_REVOCATIONS_AUTO && set->durable_count > 0);
}

/* Are they those of a set before it? */
static bool is_read_already(const struct eg_config *config, uint32_t index)
{
    for (uint32_t i = 0; i < index; i++)
        if (has_revocations(&config->sets[i]) && strcmp(config->sets[i].postgres, config->sets[index].postgres) == 0)
            return true;
    return false;
}

int eg_postgres_side_read_revocations(struct eg_postgres_side *side)
{
    const struct eg_config *config = side->shared->config;
    for (uint32_t i = 0; i < config->set_count; i++) {
        struct set *set = &side->sets[i];
        if (set->revoking >= 0 || !has_revocations(&config->sets[i]) || is_read_already(config, i))
            continue;
        struct wish *wish = wish_new(i, 0, grant_revocations, NULL, 0);
        int number = wish ? eg_revocations_expect(side->shared->revocations) : -ENOMEM;
        if (number < 0) {
            free(wish);
            return number;
        }
        set->revoking = number;
        eg_mailbox_post(&side->mailbox, &wish->message);
    }
    return 0;
}

/* --- the thread ----------------------------------------------------------------------------------------------------
 */

static void turn(void *context)
{
    struct eg_postgres_side *side = context;
    eg_mailbox_deliver(&side->mailbox, side);
    for (size_t i = 0; i < side->shared->config->set_count; i++) {
        struct set *set = &side->sets[i];
        bool busy = set->appender && eg_appender_is_busy(set->appender);
        if (busy != set->appending)
            eg_mailbox_look_soon(&side->mailbox, &set->appending, busy);
    }
}

static void *run(void *context)
{
    const struct eg_postgres_side *side = context;
    pthread_setname_np(pthread_self(), "postgres");
    eg_loop_run(side->loop);
    return NULL;
}

struct eg_loop *eg_postgres_side_loop(const struct eg_postgres_side *side)
{
    return side->loop;
}

int eg_postgres_side_start(struct eg_postgres_side *side)
{
    int error = pthread_create(&side->thread, NULL, run, side);
    side->started = error == 0;
    return -error;
}

int eg_postgres_side_stop(struct eg_postgres_side *side)
{
    struct timespec until;
    if (!side || !side->started)
        return 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_S;
    eg_loop_stop(side->loop);
    int error = pthread_timedjoin_np(side->thread, NULL, &until);
    side->started = error != 0;
    return -error;
}

/* --- making and freeing --------------------------------------------------------------------------------------------
 */

static bool make_live(struct set *set, const struct eg_config_set *config, struct eg_set_status *status)
{
    const struct eg_postgres_side *side = set->side;
    set->listener = eg_listener_new(side->loop, config, side->shared->worker_count, &set->order, set->metrics,
                                    (struct eg_feed_sink){feed, set});
    set->publisher = eg_publisher_new(side->loop, config, status, set->metrics);
    return set->listener && set->publisher;
}

static bool make_durable(struct set *set, const struct eg_config_set *config, struct eg_set_status *status)
{
    const struct eg_postgres_side *side = set->side;
    set->reader = eg_log_reader_new(side->loop, config, side->shared->worker_count, &set->order, set->metrics,
                                    (struct eg_feed_sink){feed, set}, attached, set);
    if (set->reader)
        set->pager = eg_log_pager_new(side->loop, config, &set->order, set->reader, set->metrics);
    set->appender = eg_appender_new(side->loop, config, status, set->metrics);
    if (set->appender && set->reader)
        eg_appender_feed(set->appender, set->reader);
    set->keeper = eg_log_keeper_new(side->loop, config, &set->order, set->metrics);
    return set->reader && set->pager && set->appender && set->keeper;
}

static bool make_set(struct eg_postgres_side *side, uint32_t index)
{
    struct set *set = &side->sets[index];
    const struct eg_config_set *config = &side->shared->config->sets[index];
    struct eg_set_status *status = &side->shared->statuses[index];
    set->side = side;
    set->index = index;
    set->revoking = -1;
    set->metrics = eg_metrics_new(config->name);
    eg_order_init(&set->order, config, status);
    return set->metrics && (config->live_count == 0 || make_live(set, config, status)) &&
           (config->durable_count == 0 || make_durable(set, config, status));
}

struct eg_postgres_side *eg_postgres_side_new(const struct eg_worker_shared *shared, struct eg_worker *const *workers)
{
    struct eg_postgres_side *side = calloc(1, sizeof(*side));
    if (!side)
        return NULL;
    size_t count = shared->config->set_count;
    side->shared = shared;
    side->workers = workers;
    side->sets = calloc(count, sizeof(*side->sets));
    side->loop = eg_loop_new();
    side->metrics = eg_metrics_new(NULL);
    bool made = side->sets && side->loop && side->metrics;
    if (made) {
        eg_loop_measure(side->loop, side->metrics, EG_METRIC_TURN_POSTGRES, EG_METRIC_DELAY_POSTGRES);
        eg_mailbox_init(&side->mailbox, side->loop);
        eg_loop_on_turn(side->loop, turn, side);
    }
    for (uint32_t i = 0; made && i < count; i++)
        made = make_set(side, i);
    if (made)
        return side;
    eg_postgres_side_free(side);
    return NULL;
}

void eg_postgres_side_free(struct eg_postgres_side *side)
{
    if (!side)
        return;
    size_t count = side->sets ? side->shared->config->set_count : 0;
    bool has_mailbox = side->sets && side->loop && side->metrics;
    if (has_mailbox)
        eg_mailbox_deliver(&side->mailbox, side); /* what came while the thread stopped */
    for (size_t i = 0; i < count; i++) {
        struct set *set = &side->sets[i];
        eg_revocation_reader_free(set->revocations);
        eg_log_keeper_free(set->keeper);
        eg_appender_free(set->appender);
        eg_log_pager_free(set->pager);
        eg_log_reader_free(set->reader);
        eg_publisher_free(set->publisher);
        eg_listener_free(set->listener);
        eg_metrics_free(set->metrics);
    }
    if (has_mailbox)
        eg_mailbox_done(&side->mailbox);
    free(side->sets);
    eg_loop_free(side->loop);
    eg_metrics_free(side->metrics);
    free(side);
}

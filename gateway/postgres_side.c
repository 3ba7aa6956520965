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

#include "eventgate/log.h"
#include "eventgate/postgres_side_internal.h"

/* The thread never blocks; should it all the same, it must not keep the process from ending. */
#define STOP_S 5

/* --- wishes --------------------------------------------------------------------------------------------------------
 */

static void deliver(struct eg_message *message, void *context)
{
    struct eg_postgres_wish *wish = EG_CONTAINER_OF(message, struct eg_postgres_wish, message);
    const struct eg_postgres_side *side = context;
    wish->grant(&side->sets[wish->set], wish);
    free(wish);
}

/* NULL: out of memory. */
struct eg_postgres_wish *eg_postgres_wish_new(uint32_t set, uint32_t worker,
                                              void (*grant)(struct eg_postgres_set *set,
                                                            const struct eg_postgres_wish *wish),
                                              const char *name, size_t length)
{
    struct eg_postgres_wish *wish = calloc(1, sizeof(*wish) + length + 1);
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

static void grant_want(struct eg_postgres_set *set, const struct eg_postgres_wish *wish)
{
    eg_listener_want(set->listener, wish->worker, wish->name, wish->name_length, wish->number);
}

static void grant_unwant(struct eg_postgres_set *set, const struct eg_postgres_wish *wish)
{
    eg_listener_unwant(set->listener, wish->worker, wish->name, wish->name_length);
}

int eg_postgres_side_want(struct eg_postgres_side *side, uint32_t set, uint32_t worker, const char *name, size_t length,
                          uint64_t want, void **ret_unwant)
{
    struct eg_postgres_wish *wish = eg_postgres_wish_new(set, worker, grant_want, name, length);
    struct eg_postgres_wish *unwant = eg_postgres_wish_new(set, worker, grant_unwant, name, length);
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
    eg_mailbox_post(&side->mailbox, &((struct eg_postgres_wish *)unwant)->message);
}

static void grant_look(struct eg_postgres_set *set, const struct eg_postgres_wish *wish)
{
    eg_log_reader_look(set->reader, wish->worker, wish->number);
}

int eg_postgres_side_look(struct eg_postgres_side *side, uint32_t set, uint32_t worker, uint64_t number)
{
    struct eg_postgres_wish *wish = eg_postgres_wish_new(set, worker, grant_look, NULL, 0);
    if (!wish)
        return -ENOMEM;
    wish->number = number;
    eg_mailbox_post(&side->mailbox, &wish->message);
    return 0;
}

static void grant_page(struct eg_postgres_set *set, const struct eg_postgres_wish *wish)
{
    eg_log_pager_read(set->pager, wish->request);
}

void eg_postgres_side_read_log(struct eg_postgres_side *side, uint32_t set, struct eg_log_request *request)
{
    struct eg_postgres_wish *wish = eg_postgres_wish_new(set, 0, grant_page, NULL, 0);
    if (!wish) {
        request->page = NULL;
        request->gap_to = 0;
        request->done(request);
        return;
    }
    wish->request = request;
    eg_mailbox_post(&side->mailbox, &wish->message);
}

static void grant_publication(struct eg_postgres_set *set, const struct eg_postgres_wish *wish)
{
    if (wish->publication->durable)
        eg_appender_submit(set->appender, wish->publication);
    else
        eg_publisher_submit(set->publisher, wish->publication);
}

void eg_postgres_side_publish(struct eg_postgres_side *side, struct eg_publication *publication)
{
    struct eg_postgres_wish *wish = eg_postgres_wish_new(publication->set, 0, grant_publication, NULL, 0);
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
    const struct eg_postgres_set *of = &side->sets[set];
    return durable ? eg_appender_admit(of->appender, items, bytes) : eg_publisher_admit(of->publisher, items, bytes);
}

void eg_postgres_side_release(struct eg_postgres_side *side, uint32_t set, bool durable, size_t items, size_t bytes)
{
    const struct eg_postgres_set *of = &side->sets[set];
    if (durable)
        eg_appender_release(of->appender, items, bytes);
    else
        eg_publisher_release(of->publisher, items, bytes);
}

/* --- the thread ----------------------------------------------------------------------------------------------------
 */

static void turn(void *context)
{
    struct eg_postgres_side *side = context;
    eg_mailbox_deliver(&side->mailbox, side);
    for (size_t i = 0; i < side->set_count; i++) {
        struct eg_postgres_set *set = &side->sets[i];
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

struct eg_postgres_side *eg_postgres_side_new(const struct eg_worker_shared *shared, struct eg_worker *const *workers,
                                              struct eg_postgres_side_hooks hooks)
{
    struct eg_postgres_side *side = calloc(1, sizeof(*side));
    if (!side)
        return NULL;
    side->shared = shared;
    side->workers = workers;
    side->hooks = hooks;
    side->sets = calloc(shared->place_count, sizeof(*side->sets));
    side->loop = eg_loop_new();
    side->metrics = eg_metrics_new(NULL);
    bool made = side->sets && side->loop && side->metrics;
    if (made) {
        eg_loop_measure(side->loop, side->metrics, EG_METRIC_TURN_POSTGRES, EG_METRIC_DELAY_POSTGRES);
        eg_mailbox_init(&side->mailbox, side->loop);
        eg_loop_on_turn(side->loop, turn, side);
    }
    for (uint32_t i = 0; made && i < shared->config->set_count; i++) {
        struct eg_feed **feeds = calloc(shared->worker_count, sizeof(struct eg_feed *));
        for (uint32_t w = 0; feeds && w < shared->worker_count; w++)
            feeds[w] = workers[w]->sets[i]->feed;
        made = feeds && eg_postgres_set_make(side, i, eg_config_ref(shared->config), feeds);
    }
    if (made)
        return side;
    eg_postgres_side_free(side);
    return NULL;
}

void eg_postgres_side_free(struct eg_postgres_side *side)
{
    if (!side)
        return;
    bool has_mailbox = side->sets && side->loop && side->metrics;
    if (has_mailbox)
        eg_mailbox_deliver(&side->mailbox, side); /* what came while the thread stopped */
    for (uint32_t i = 0; side->sets && i < side->set_count; i++)
        eg_postgres_set_done(&side->sets[i]);
    if (has_mailbox)
        eg_mailbox_done(&side->mailbox);
    free(side->sets);
    eg_loop_free(side->loop);
    eg_metrics_free(side->metrics);
    free(side);
}

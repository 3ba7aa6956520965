/*
 * What a set has on the Postgres thread, and how sets come and go there: by the same mailbox as everything else, so
 * that a set is closed behind whatever was wished of it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/log.h"
#include "eventgate/postgres_side_internal.h"

/* --- from PostgreSQL to the workers --------------------------------------------------------------------------------
 */

static void feed(void *context, int worker, const struct eg_feed_item *items, size_t count)
{
    const struct eg_postgres_set *set = context;
    const struct eg_postgres_side *side = set->side;
    for (uint32_t i = 0; i < side->shared->worker_count; i++)
        if ((worker < 0 || worker == (int)i) && eg_feed_push(set->feeds[i], items, count))
            eg_loop_wake(side->workers[i]->loop);
}

static void attached(void *context)
{
    const struct eg_postgres_set *set = context;
    if (set->pager) /* else it is still being made */
        eg_log_pager_attached(set->pager);
}

/* --- making and freeing --------------------------------------------------------------------------------------------
 */

static bool make_live(struct eg_postgres_set *set, const struct eg_config_set *config, struct eg_set_status *status)
{
    const struct eg_postgres_side *side = set->side;
    set->listener = eg_listener_new(side->loop, config, side->shared->worker_count, &set->order, set->metrics,
                                    (struct eg_feed_sink){feed, set});
    set->publisher = eg_publisher_new(side->loop, config, status, set->metrics);
    return set->listener && set->publisher;
}

static bool make_durable(struct eg_postgres_set *set, const struct eg_config_set *config, struct eg_set_status *status)
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

bool eg_postgres_set_make(struct eg_postgres_side *side, uint32_t place, struct eg_config *config,
                          struct eg_feed **feeds)
{
    struct eg_postgres_set *set = &side->sets[place];
    const struct eg_config_set *row = &config->sets[place];
    struct eg_set_status *status = &side->shared->statuses[place];
    *set = (struct eg_postgres_set){.side = side,
                                    .index = place,
                                    .whole = config,
                                    .config = row,
                                    .feeds = feeds,
                                    .metrics = eg_metrics_new(row->name),
                                    .revoking = -1,
                                    .supersedes = -1};
    if (place >= side->set_count)
        side->set_count = place + 1;
    eg_order_init(&set->order, row, status);
    return set->metrics && (row->live_count == 0 || make_live(set, row, status)) &&
           (row->durable_count == 0 || make_durable(set, row, status));
}

void eg_postgres_set_done(struct eg_postgres_set *set)
{
    eg_revocation_reader_free(set->revocations);
    eg_log_keeper_free(set->keeper);
    eg_appender_free(set->appender);
    eg_log_pager_free(set->pager);
    eg_log_reader_free(set->reader);
    eg_publisher_free(set->publisher);
    eg_listener_free(set->listener);
    eg_metrics_free(set->metrics);
    free(set->feeds);
    eg_config_free(set->latest);
    eg_config_free(set->whole);
    *set = (struct eg_postgres_set){.revoking = -1, .supersedes = -1};
}

/* --- coming and going ----------------------------------------------------------------------------------------------
 */

struct eg_postgres_opening {
    struct eg_message message;
    uint32_t place;
    struct eg_config *config; /* a reference */
    struct eg_feed **feeds;
};

static void open_set(struct eg_message *message, void *context)
{
    struct eg_postgres_opening *opening = EG_CONTAINER_OF(message, struct eg_postgres_opening, message);
    struct eg_postgres_side *side = context;
    uint32_t place = opening->place;
    bool made = eg_postgres_set_make(side, place, opening->config, opening->feeds);
    if (!made)
        eg_postgres_set_done(&side->sets[place]);
    free(opening);
    side->hooks.opened(side->hooks.context, place, made);
}

struct eg_postgres_opening *eg_postgres_opening_new(const struct eg_postgres_side *side, struct eg_config *config,
                                                    uint32_t place)
{
    struct eg_postgres_opening *opening = calloc(1, sizeof(*opening));
    if (!opening)
        return NULL;
    opening->message.deliver = open_set;
    opening->place = place;
    opening->config = eg_config_ref(config);
    opening->feeds = calloc(side->shared->worker_count, sizeof(struct eg_feed *));
    if (opening->feeds)
        return opening;
    eg_postgres_opening_free(opening);
    return NULL;
}

void eg_postgres_opening_feed(struct eg_postgres_opening *opening, uint32_t worker, struct eg_feed *fed)
{
    opening->feeds[worker] = fed;
}

void eg_postgres_opening_free(struct eg_postgres_opening *opening)
{
    if (!opening)
        return;
    eg_config_free(opening->config);
    free(opening->feeds);
    free(opening);
}

void eg_postgres_side_open(struct eg_postgres_side *side, struct eg_postgres_opening *opening)
{
    eg_mailbox_post(&side->mailbox, &opening->message);
}

struct eg_postgres_closing {
    struct eg_message message;
    uint32_t place;
};

static void close_set(struct eg_message *message, void *context)
{
    struct eg_postgres_closing *closing = EG_CONTAINER_OF(message, struct eg_postgres_closing, message);
    struct eg_postgres_side *side = context;
    uint32_t place = closing->place;
    eg_postgres_forget_revocations(&side->sets[place]);
    eg_postgres_set_done(&side->sets[place]);
    free(closing);
    side->hooks.closed(side->hooks.context, place);
}

struct eg_postgres_closing *eg_postgres_closing_new(uint32_t place)
{
    struct eg_postgres_closing *closing = calloc(1, sizeof(*closing));
    if (!closing)
        return NULL;
    closing->message.deliver = close_set;
    closing->place = place;
    return closing;
}

void eg_postgres_closing_free(struct eg_postgres_closing *closing)
{
    free(closing);
}

void eg_postgres_side_close(struct eg_postgres_side *side, struct eg_postgres_closing *closing)
{
    eg_mailbox_post(&side->mailbox, &closing->message);
}

struct eg_postgres_configuring {
    struct eg_message message;
    uint32_t place;
    struct eg_config *config; /* a reference */
};

/* What is read at each use takes the new row; what was made of the old one keeps that, where they are the same. */
static void configure_set(struct eg_message *message, void *context)
{
    struct eg_postgres_configuring *configuring = EG_CONTAINER_OF(message, struct eg_postgres_configuring, message);
    struct eg_postgres_side *side = context;
    struct eg_postgres_set *set = &side->sets[configuring->place];
    const struct eg_config_set *row = &configuring->config->sets[configuring->place];
    if (set->listener)
        eg_listener_configure(set->listener, row);
    if (set->publisher)
        eg_publisher_bound(set->publisher, row);
    if (set->appender)
        eg_appender_bound(set->appender, row);
    if (set->reader)
        eg_log_reader_configure(set->reader, row);
    eg_config_free(set->latest);
    set->latest = configuring->config;
    free(configuring);
}

struct eg_postgres_configuring *eg_postgres_configuring_new(struct eg_config *config, uint32_t place)
{
    struct eg_postgres_configuring *configuring = calloc(1, sizeof(*configuring));
    if (!configuring)
        return NULL;
    configuring->message.deliver = configure_set;
    configuring->place = place;
    configuring->config = eg_config_ref(config);
    return configuring;
}

void eg_postgres_configuring_free(struct eg_postgres_configuring *configuring)
{
    if (!configuring)
        return;
    eg_config_free(configuring->config);
    free(configuring);
}

void eg_postgres_side_configure(struct eg_postgres_side *side, struct eg_postgres_configuring *configuring)
{
    eg_mailbox_post(&side->mailbox, &configuring->message);
}

/*
 * What operators and tools ask: is it alive, is it ready, what is configured, and what is going on.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/identity.h"
#include "eventgate/log.h"
#include "eventgate/policy.h"
#include "eventgate/revocations.h"
#include "eventgate/process.h"
#include "eventgate/subscribe.h"
#include "eventgate/worker.h"

/* Channels shown of each set; the rest is counted. For a client that may not see them all, so many are looked at. */
#define CHANNELS_SHOWN_MAX 1000u
#define CHANNELS_LOOKED_AT_MAX 10000u

static void reply_json(struct eg_exchange *exchange, unsigned status, struct eg_buffer *body)
{
    eg_buffer_add_string(body, "\n");
    eg_exchange_reply(exchange, status, "application/json", body,
                      status == 503 ? (struct eg_header[]){{"Retry-After", "1"}, {NULL, NULL}} : NULL);
}

static void add_string(struct eg_buffer *body, const char *text)
{
    eg_buffer_add_json_string(body, text, strlen(text));
}

/* The first set, or that behind `set`, which are in the configuration; others are about to go. */
static const struct eg_worker_set *next_served(const struct eg_worker *worker, const struct eg_worker_set *set)
{
    do
        set = eg_worker_next_set(worker, set);
    while (set && set->leaving);
    return set;
}

static const char *boolean(bool value)
{
    return value ? "true" : "false";
}

/* Appends the name of a set and what the connections do that it has; the object stays open. */
static void begin_set(struct eg_buffer *body, const struct eg_config_set *set, const struct eg_set_facts *facts)
{
    eg_buffer_add_string(body, "{\"name\":");
    add_string(body, set->name);
    if (set->live_count > 0)
        eg_buffer_add_format(body, ",\"listening\":%s,\"publishing\":%s,\"listener\":\"%s\",\"publisher\":\"%s\"",
                             boolean(facts->listening), boolean(facts->publishing), facts->listener_state,
                             facts->publisher_state);
    if (set->durable_count > 0)
        eg_buffer_add_format(body, ",\"reading\":%s,\"appending\":%s,\"reader\":\"%s\",\"appender\":\"%s\"",
                             boolean(facts->reading), boolean(facts->appending), facts->reader_state,
                             facts->appender_state);
}

/* Appends what is wrong with it, if anything is, and closes the object. */
static void end_set(struct eg_buffer *body, const struct eg_set_facts *facts)
{
    if (facts->problem[0]) {
        eg_buffer_add_string(body, ",\"problem\":");
        add_string(body, facts->problem);
    }
    if (facts->log_problem[0]) {
        eg_buffer_add_string(body, ",\"log_problem\":");
        add_string(body, facts->log_problem);
    }
    eg_buffer_add_string(body, "}");
}

/* --- health ------------------------------------------------------------------------------------------------------ */

/* Ready: every set is, what is revoked is known, and the gateway isn't draining, unless another process serves in its
 * place: then who asks, over a connection that is still this one's, wants to know of the address. */
static void handle_ready(struct eg_worker *worker, struct eg_exchange *exchange, bool details)
{
    const struct eg_worker_shared *shared = worker->shared;
    const struct eg_worker_set *set = NULL;
    struct eg_buffer sets = EG_BUFFER_INIT, body = EG_BUFFER_INIT;
    bool draining = atomic_load(&shared->draining) && !atomic_load(&shared->handed_over);
    bool known = eg_revocations_known(shared->revocations); /* else no token is taken */
    bool ready = !draining && known;
    while ((set = next_served(worker, set))) {
        struct eg_set_facts facts = eg_set_status_read(set->status);
        ready = ready && eg_set_facts_ready(&facts, set->config);
        eg_buffer_add_string(&sets, sets.length > 0 ? "," : "");
        begin_set(&sets, set->config, &facts);
        end_set(&sets, &facts);
    }
    eg_buffer_add_format(&body, "{\"status\":\"%s\"", ready ? "ready" : draining ? "draining" : "not ready");
    if (details) {
        eg_buffer_add_format(&body, ",\"version\":\"" EG_VERSION "\",\"uptime_seconds\":%" PRId64 ",\"sets\":[",
                             (eg_wall_us() - shared->started_us) / 1000000);
        eg_buffer_add(&body, sets.data, sets.length);
        eg_buffer_add_format(&body, "],\"revocations_known\":%s", boolean(known));
    }
    eg_buffer_add_string(&body, "}");
    body.failed = body.failed || sets.failed;
    eg_buffer_done(&sets);
    reply_json(exchange, ready ? 200 : 503, &body);
}

static void handle_live(struct eg_exchange *exchange)
{
    struct eg_buffer body = EG_BUFFER_INIT;
    eg_buffer_add_string(&body, "{\"status\":\"alive\"}");
    reply_json(exchange, 200, &body);
}

/* --- listings ---------------------------------------------------------------------------------------------------- */

struct listing {
    struct eg_buffer *body;
    const struct eg_config *config;
    const struct eg_config_set *set;
    bool *seen; /* of the set's durable list: it has a row; NULL: nobody asks */
    bool listening, reading;
    const struct eg_exchange *exchange; /* whose grants decide what is shown; NULL: everything is */
    uint32_t set_index, count, patterns;
    size_t shown; /* of the set's table */
    size_t more;
};

static bool may_show(const struct listing *listing, struct eg_bytes name)
{
    return !listing->exchange || eg_identity_allows(listing->exchange, EG_RIGHT_SUBSCRIBE, listing->set_index, name);
}

/* `channel`: NULL if it is not in the table, and so has no counts. */
static void add_row(struct listing *listing, struct eg_bytes name, bool durable, const struct eg_channel *channel)
{
    struct eg_buffer *body = listing->body;
    eg_buffer_add_string(body, listing->count++ ? ",{\"name\":" : "{\"name\":");
    eg_buffer_add_json_string(body, name.data, name.length);
    eg_buffer_add_format(body, ",\"set\":\"%s\",\"kind\":\"%s\",\"listening\":%s,\"subscribers\":", listing->set->name,
                         durable ? "durable" : "live", boolean(durable ? listing->reading : listing->listening));
    if (channel)
        eg_buffer_add_format(body, "%" PRId64 ",\"events\":%" PRIu64 "}",
                             atomic_load_explicit(&channel->subscribers, memory_order_relaxed),
                             atomic_load_explicit(&channel->events, memory_order_relaxed));
    else
        eg_buffer_add_string(body, "null,\"events\":0}");
}

static void add_channel(void *context, const struct eg_channel *channel)
{
    struct listing *listing = context;
    const struct eg_config_set *set = listing->set;
    if (!may_show(listing, (struct eg_bytes){channel->name, channel->name_length}))
        return;
    if (listing->shown == CHANNELS_SHOWN_MAX) {
        listing->more++;
        return;
    }
    listing->shown++;
    bool durable = eg_config_find(listing->config, channel->name, channel->name_length).durable;
    for (size_t i = 0; durable && listing->seen && i < set->durable_count; i++)
        if (set->durable[i].length == channel->name_length &&
            memcmp(set->durable[i].text, channel->name, channel->name_length) == 0)
            listing->seen[i] = true;
    add_row(listing, (struct eg_bytes){channel->name, channel->name_length}, durable, channel);
}

static void add_channels_of_set(struct listing *listing, struct eg_set_status *status)
{
    const struct eg_config_set *set = listing->set;
    size_t there = eg_channel_table_count(status->channels);
    size_t limit = listing->exchange ? CHANNELS_LOOKED_AT_MAX : CHANNELS_SHOWN_MAX;
    struct eg_set_facts facts = eg_set_status_read(status);
    listing->listening = facts.listening;
    listing->reading = facts.reading;
    listing->shown = 0;
    listing->seen = there < CHANNELS_SHOWN_MAX ? calloc(set->durable_count + 1, sizeof(bool)) : NULL;
    eg_channel_table_visit(status->channels, limit, add_channel, listing);
    /* Of durable channels, only those that have had an event are in the table. */
    for (size_t i = 0; listing->seen && i < set->durable_count && i < CHANNELS_SHOWN_MAX; i++) {
        struct eg_bytes name = {set->durable[i].text, set->durable[i].length};
        if (!set->durable[i].wild && !listing->seen[i] && may_show(listing, name))
            add_row(listing, name, true, NULL);
    }
    free(listing->seen);
    listing->seen = NULL;
    listing->more += !listing->exchange && there > limit ? there - limit : 0;
}

static void add_patterns(struct listing *listing, bool durable)
{
    const struct eg_config_set *set = listing->set;
    const struct eg_config_channel *list = durable ? set->durable : set->live;
    for (size_t i = 0; i < (durable ? set->durable_count : set->live_count); i++) {
        if (!list[i].wild || !may_show(listing, (struct eg_bytes){list[i].text, list[i].length}))
            continue;
        eg_buffer_add_string(listing->body, listing->patterns++ ? ",{\"pattern\":" : "{\"pattern\":");
        eg_buffer_add_json_string(listing->body, list[i].text, list[i].length);
        eg_buffer_add_format(listing->body, ",\"set\":\"%s\",\"kind\":\"%s\"}", set->name,
                             durable ? "durable" : "live");
    }
}

/* The channels that are LISTENed (or will be, while the database is away) or read from the log, and the patterns that
 * others may match, as far as one may subscribe to them. */
static void handle_channels(struct eg_worker *worker, struct eg_exchange *exchange)
{
    struct eg_buffer body = EG_BUFFER_INIT;
    struct listing listing = {.body = &body, .config = worker->config};
    const struct eg_worker_set *set = NULL;
    listing.exchange = eg_identity_allows_admin(exchange) ? NULL : exchange;
    eg_buffer_add_string(&body, "{\"channels\":[");
    while ((set = next_served(worker, set))) {
        listing.set = set->config;
        listing.set_index = set->index;
        add_channels_of_set(&listing, set->status);
    }
    eg_buffer_add_string(&body, "],\"patterns\":[");
    while ((set = next_served(worker, set))) {
        listing.set = set->config;
        listing.set_index = set->index;
        add_patterns(&listing, false);
        add_patterns(&listing, true);
    }
    eg_buffer_add_format(&body, "],\"not_shown\":%zu}", listing.more);
    reply_json(exchange, 200, &body);
}

/* The cursor of the place up to which everything has been read; null before anything has. */
static void add_head(struct eg_buffer *body, const struct eg_config_set *set, const struct eg_set_facts *facts)
{
    char head[EG_CURSOR_SIZE];
    struct eg_cursor cursor = {.epoch = facts->epoch, .place = facts->head, .position = facts->position};
    bool live = set->live_count > 0, durable = set->durable_count > 0;
    cursor.has_live = live;
    cursor.has_position = durable;
    memcpy(cursor.tag, facts->tag, sizeof(cursor.tag));
    eg_buffer_add_string(body, ",\"head\":");
    if ((live && facts->head == 0) || (durable && !facts->tag[0])) {
        eg_buffer_add_string(body, "null");
        return;
    }
    eg_cursor_format(&cursor, head);
    add_string(body, head);
}

static void add_set(struct eg_buffer *body, const struct eg_worker_set *set)
{
    struct eg_set_facts facts = eg_set_status_read(set->status);
    begin_set(body, set->config, &facts);
    add_head(body, set->config, &facts);
    if (set->config->durable_count > 0)
        eg_buffer_add_format(body, ",\"log\":\"%s\",\"position\":%" PRIu64, facts.tag, facts.position);
    eg_buffer_add_format(
        body,
        ",\"channels\":%zu,\"reconnects\":%" PRIu64 ",\"notification_queue_usage\":%.6f,"
        "\"journal\":{\"events\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"lag\":%" PRIu64 "}",
        eg_channel_table_count(set->status->channels), facts.reconnects, facts.queue_usage > 0 ? facts.queue_usage : 0,
        eg_journal_head(set->journal) + 1 - eg_journal_tail(set->journal), eg_journal_bytes(set->journal),
        facts.head > eg_journal_head(set->journal) ? facts.head - eg_journal_head(set->journal) : 0);
    end_set(body, &facts);
}

static void handle_sets(struct eg_worker *worker, struct eg_exchange *exchange)
{
    struct eg_buffer body = EG_BUFFER_INIT;
    const struct eg_worker_set *set = NULL;
    const char *comma = "";
    eg_buffer_add_string(&body, "{\"sets\":[");
    while ((set = next_served(worker, set))) {
        eg_buffer_add_string(&body, comma);
        add_set(&body, set);
        comma = ",";
    }
    eg_buffer_add_string(&body, "]}");
    reply_json(exchange, 200, &body);
}

/* --- metrics ----------------------------------------------------------------------------------------------------- */

static void handle_metrics(struct eg_worker *worker, struct eg_exchange *exchange)
{
    struct eg_buffer body = EG_BUFFER_INIT;
    int64_t forgotten = 0;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(worker->shared->rates); i++)
        forgotten += (int64_t)eg_rate_limits_forgotten(worker->shared->rates[i]);
    eg_metrics_set_total(worker->metrics, EG_METRIC_RATES_FORGOTTEN, forgotten);
    eg_metrics_set_total(worker->metrics, EG_METRIC_LINES_DROPPED, (int64_t)eg_log_dropped());
    eg_metrics_set_total(worker->metrics, EG_METRIC_CONNECTIONS_LIMIT, worker->settings.max_connections);
    eg_process_measure(worker->metrics, worker->shared->started_us);
    eg_metrics_render(&body);
    eg_exchange_reply(exchange, 200, "text/plain; version=0.0.4; charset=utf-8", &body, NULL);
}

/* Answers, and returns false, where one needs a grant that isn't there. */
static bool may_ask(struct eg_exchange *exchange)
{
    if (exchange->route == EG_ROUTE_LIVEZ || exchange->route == EG_ROUTE_READYZ ||
        exchange->route == EG_ROUTE_HEALTHZ || eg_identity_allows_admin(exchange))
        return true;
    bool listing = exchange->route == EG_ROUTE_CHANNELS && eg_exchange_policy_now(exchange)->has_keys;
    if (listing && eg_identity_allows_something(exchange, EG_RIGHT_SUBSCRIBE, EG_ANY_SET))
        return true;
    if (listing)
        eg_identity_refuse(exchange, "The list shows what one may subscribe to, and that is nothing here.");
    else
        eg_identity_refuse(exchange, "This is for operators: it takes a token that grants admin, or an address of "
                                     "admin_listen.");
    return false;
}

void eg_admin_handle(struct eg_worker *worker, struct eg_exchange *exchange)
{
    if (!may_ask(exchange))
        return;
    switch (exchange->route) {
    case EG_ROUTE_LIVEZ:
        handle_live(exchange);
        break;
    case EG_ROUTE_READYZ:
        handle_ready(worker, exchange, false);
        break;
    case EG_ROUTE_HEALTHZ:
        handle_ready(worker, exchange, eg_identity_allows_admin(exchange));
        break;
    case EG_ROUTE_CHANNELS:
        handle_channels(worker, exchange);
        break;
    case EG_ROUTE_SETS:
        handle_sets(worker, exchange);
        break;
    default:
        handle_metrics(worker, exchange);
        break;
    }
}

/*
 * What operators and tools ask: is it alive, is it ready, what is configured, and what is going on.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "eventgate/log.h"
#include "eventgate/subscribe.h"
#include "eventgate/worker.h"

/* Channels shown of each set; the rest is counted. */
#define CHANNELS_SHOWN_MAX 1000u

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

static const char *boolean(bool value)
{
    return value ? "true" : "false";
}

/* --- health ------------------------------------------------------------------------------------------------------ */

static void add_set_health(struct eg_buffer *body, const char *name, const struct eg_set_facts *facts)
{
    eg_buffer_add_string(body, "{\"name\":");
    add_string(body, name);
    eg_buffer_add_format(body, ",\"listening\":%s,\"publishing\":%s,\"listener\":\"%s\",\"publisher\":\"%s\"",
                         boolean(facts->listening), boolean(facts->publishing), facts->listener_state,
                         facts->publisher_state);
    if (facts->problem[0]) {
        eg_buffer_add_string(body, ",\"problem\":");
        add_string(body, facts->problem);
    }
    eg_buffer_add_string(body, "}");
}

/* Ready: every set listens and can publish, and the gateway isn't draining. */
static void handle_ready(struct eg_worker *worker, struct eg_exchange *exchange, bool details)
{
    const struct eg_worker_shared *shared = worker->shared;
    struct eg_buffer sets = EG_BUFFER_INIT, body = EG_BUFFER_INIT;
    bool draining = atomic_load_explicit(&shared->draining, memory_order_relaxed);
    bool ready = !draining;
    for (uint32_t i = 0; i < worker->set_count; i++) {
        struct eg_set_facts facts = eg_set_status_read(&shared->statuses[i]);
        ready = ready && facts.listening && facts.publishing;
        eg_buffer_add_string(&sets, i ? "," : "");
        add_set_health(&sets, worker->sets[i].config->name, &facts);
    }
    eg_buffer_add_format(&body, "{\"status\":\"%s\"", ready ? "ready" : draining ? "draining" : "not ready");
    if (details) {
        eg_buffer_add_format(&body, ",\"version\":\"" EG_VERSION "\",\"uptime_seconds\":%" PRId64 ",\"sets\":[",
                             (eg_wall_us() - shared->started_us) / 1000000);
        eg_buffer_add(&body, sets.data, sets.length);
        eg_buffer_add_string(&body, "]");
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
    const char *set;
    bool listening;
    uint32_t count;
};

static void add_channel(void *context, const struct eg_channel *channel)
{
    struct listing *listing = context;
    struct eg_buffer *body = listing->body;
    eg_buffer_add_string(body, listing->count++ ? ",{\"name\":" : "{\"name\":");
    eg_buffer_add_json_string(body, channel->name, channel->name_length);
    eg_buffer_add_format(
        body, ",\"set\":\"%s\",\"kind\":\"live\",\"listening\":%s,\"subscribers\":%" PRId64 ",\"events\":%" PRIu64 "}",
        listing->set, boolean(listing->listening), atomic_load_explicit(&channel->subscribers, memory_order_relaxed),
        atomic_load_explicit(&channel->events, memory_order_relaxed));
}

static void add_patterns(struct eg_buffer *body, const struct eg_config_set *set, uint32_t *count)
{
    for (size_t i = 0; i < set->live_count; i++) {
        if (!set->live[i].wild)
            continue;
        eg_buffer_add_string(body, (*count)++ ? ",{\"pattern\":" : "{\"pattern\":");
        eg_buffer_add_json_string(body, set->live[i].text, set->live[i].length);
        eg_buffer_add_format(body, ",\"set\":\"%s\",\"kind\":\"live\"}", set->name);
    }
}

/* The channels that are LISTENed (or will be, while the database is away), and the patterns that others may match. */
static void handle_channels(struct eg_worker *worker, struct eg_exchange *exchange)
{
    struct eg_buffer body = EG_BUFFER_INIT;
    struct listing listing = {.body = &body};
    uint32_t patterns = 0;
    size_t more = 0;
    eg_buffer_add_string(&body, "{\"channels\":[");
    for (uint32_t i = 0; i < worker->set_count; i++) {
        struct eg_set_status *status = &worker->shared->statuses[i];
        size_t there = eg_channel_table_count(status->channels);
        listing.set = worker->sets[i].config->name;
        listing.listening = eg_set_status_read(status).listening;
        eg_channel_table_visit(status->channels, CHANNELS_SHOWN_MAX, add_channel, &listing);
        more += there > CHANNELS_SHOWN_MAX ? there - CHANNELS_SHOWN_MAX : 0;
    }
    eg_buffer_add_string(&body, "],\"patterns\":[");
    for (uint32_t i = 0; i < worker->set_count; i++)
        add_patterns(&body, worker->sets[i].config, &patterns);
    eg_buffer_add_format(&body, "],\"not_shown\":%zu}", more);
    reply_json(exchange, 200, &body);
}

static void add_set(struct eg_worker *worker, struct eg_buffer *body, uint32_t index)
{
    const struct eg_worker_set *set = &worker->sets[index];
    struct eg_set_facts facts = eg_set_status_read(set->status);
    struct eg_cursor cursor = {.has_live = true, .epoch = facts.epoch, .place = facts.head};
    char head[EG_CURSOR_SIZE] = "";
    if (facts.head > 0)
        eg_cursor_format(&cursor, head);
    eg_buffer_add_string(body, "{\"name\":");
    add_string(body, set->config->name);
    eg_buffer_add_format(body, ",\"listening\":%s,\"publishing\":%s,\"listener\":\"%s\",\"publisher\":\"%s\",\"head\":",
                         boolean(facts.listening), boolean(facts.publishing), facts.listener_state,
                         facts.publisher_state);
    if (head[0])
        add_string(body, head);
    else
        eg_buffer_add_string(body, "null");
    eg_buffer_add_format(
        body,
        ",\"channels\":%zu,\"reconnects\":%" PRIu64 ",\"notification_queue_usage\":%.6f,"
        "\"journal\":{\"events\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"lag\":%" PRIu64 "}",
        eg_channel_table_count(set->status->channels), facts.reconnects, facts.queue_usage > 0 ? facts.queue_usage : 0,
        eg_journal_head(set->journal) + 1 - eg_journal_tail(set->journal), eg_journal_bytes(set->journal),
        facts.head > eg_journal_head(set->journal) ? facts.head - eg_journal_head(set->journal) : 0);
    if (facts.problem[0]) {
        eg_buffer_add_string(body, ",\"problem\":");
        add_string(body, facts.problem);
    }
    eg_buffer_add_string(body, "}");
}

static void handle_sets(struct eg_worker *worker, struct eg_exchange *exchange)
{
    struct eg_buffer body = EG_BUFFER_INIT;
    eg_buffer_add_string(&body, "{\"sets\":[");
    for (uint32_t i = 0; i < worker->set_count; i++) {
        eg_buffer_add_string(&body, i ? "," : "");
        add_set(worker, &body, i);
    }
    eg_buffer_add_string(&body, "]}");
    reply_json(exchange, 200, &body);
}

/* --- metrics ----------------------------------------------------------------------------------------------------- */

/* From /proc/self/statm (proc(5)), which is memory, not a disk. */
static int64_t resident_bytes(void)
{
    long long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (!statm)
        return 0;
    if (fscanf(statm, "%*s %lld", &pages) != 1)
        pages = 0;
    fclose(statm);
    return pages * sysconf(_SC_PAGESIZE);
}

static void handle_metrics(struct eg_worker *worker, struct eg_exchange *exchange)
{
    struct eg_buffer body = EG_BUFFER_INIT;
    /* Values of the whole process belong to no block: whoever is asked corrects the sum in its own. */
    eg_metrics_add(worker->metrics, EG_METRIC_MEMORY, resident_bytes() - eg_metrics_sum(EG_METRIC_MEMORY));
    eg_metrics_add(worker->metrics, EG_METRIC_LOG_DROPPED,
                   (int64_t)eg_log_dropped() - eg_metrics_sum(EG_METRIC_LOG_DROPPED));
    eg_metrics_render(&body);
    eg_exchange_reply(exchange, 200, "text/plain; version=0.0.4; charset=utf-8", &body, NULL);
}

void eg_admin_handle(struct eg_worker *worker, struct eg_exchange *exchange)
{
    switch (exchange->route) {
    case EG_ROUTE_LIVEZ:
        handle_live(exchange);
        break;
    case EG_ROUTE_READYZ:
        handle_ready(worker, exchange, false);
        break;
    case EG_ROUTE_HEALTHZ:
        handle_ready(worker, exchange, true);
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

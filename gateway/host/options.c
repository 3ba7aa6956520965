/*
 * The table of options, and their values from text.
 */
#include "eventgate/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/listening.h"
#include "eventgate/pattern.h"

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const log_formats[] = {"text", "json", NULL};

#define IN_CONFIG(member) offsetof(struct eg_config, member)
#define IN_SET(member) offsetof(struct eg_config_set, member)
#define HOUR UINT64_C(3600000)
#define GIB (UINT64_C(1) << 30)

/* name, scope, type, offset, default, least, most, choices, reloads, placeholder, help */
const struct eg_option eg_options[] = {
    {"listen", EG_OPTION_GATEWAY, EG_OPTION_LISTEN, 0, "127.0.0.1:8080", 0, 0, NULL, false, "ADDRESS:PORT,...",
     "Addresses to serve on: 127.0.0.1:8080, [::1]:8080, or :8080 for all. Ignored when sockets are inherited "
     "(LISTEN_FDS)."},
    {"workers", EG_OPTION_GATEWAY, EG_OPTION_COUNT, IN_CONFIG(workers), "0", 0, 64, NULL, false, "N",
     "Worker threads; 0: one a core."},
    {"log_level", EG_OPTION_GATEWAY, EG_OPTION_CHOICE, IN_CONFIG(settings.log_level), "info", 0, 0, log_levels, true,
     "LEVEL", "error, warn, info, or debug."},
    {"log_format", EG_OPTION_GATEWAY, EG_OPTION_CHOICE, IN_CONFIG(log_format), "text", 0, 0, log_formats, false,
     "FORMAT", "text or json."},
    {"heartbeat", EG_OPTION_GATEWAY, EG_OPTION_TIME, IN_CONFIG(settings.heartbeat_ms), "15s", 100, HOUR, NULL, true,
     "TIME", "How often an idle stream gets a heartbeat, or its cursor if that has moved."},
    {"retry", EG_OPTION_GATEWAY, EG_OPTION_TIME, IN_CONFIG(settings.retry_ms), "3s", 1, HOUR, NULL, true, "TIME",
     "After what time a browser reconnects (SSE's retry:)."},
    {"subscribe_timeout", EG_OPTION_GATEWAY, EG_OPTION_TIME, IN_CONFIG(settings.subscribe_timeout_ms), "10s", 1, HOUR,
     NULL, true, "TIME", "How long a new subscription waits for its LISTEN while the database is away."},
    {"header_timeout", EG_OPTION_GATEWAY, EG_OPTION_TIME, IN_CONFIG(settings.header_timeout_ms), "10s", 10, HOUR, NULL,
     true, "TIME", "Deadline for the head of a request, from its first byte or the connection's start."},
    {"body_timeout", EG_OPTION_GATEWAY, EG_OPTION_TIME, IN_CONFIG(settings.body_timeout_ms), "30s", 10, HOUR, NULL,
     true, "TIME", "Deadline for the body of a request, from the end of its head."},
    {"idle_timeout", EG_OPTION_GATEWAY, EG_OPTION_TIME, IN_CONFIG(settings.idle_timeout_ms), "1min", 10, HOUR, NULL,
     true, "TIME", "How long a connection is kept for a next request."},
    {"drain_timeout", EG_OPTION_GATEWAY, EG_OPTION_TIME, IN_CONFIG(settings.drain_timeout_ms), "10s", 1, HOUR, NULL,
     true, "TIME", "How long a drain (SIGTERM) may take before what is left is closed."},
    {"max_connections", EG_OPTION_GATEWAY, EG_OPTION_COUNT, IN_CONFIG(settings.max_connections), "16000", 4, 1000000,
     NULL, true, "N", "Client connections, streams included; streams leave 64 of them free for probes and publishers."},
    {"max_connections_per_address", EG_OPTION_GATEWAY, EG_OPTION_COUNT, IN_CONFIG(settings.max_connections_per_address),
     "10000", 1, 1000000, NULL, true, "N", "Client connections from one IPv4 address or IPv6 /64 network."},
    {"max_channels_per_stream", EG_OPTION_GATEWAY, EG_OPTION_COUNT, IN_CONFIG(settings.max_channels_per_stream), "100",
     1, 1000, NULL, true, "N", "Channels and patterns in one subscription."},
    {"max_header", EG_OPTION_GATEWAY, EG_OPTION_SIZE, IN_CONFIG(settings.max_header_bytes), "16kB", 1024, 1 << 20, NULL,
     false, "SIZE", "Request line and headers of one request."},
    {"max_body", EG_OPTION_GATEWAY, EG_OPTION_SIZE, IN_CONFIG(settings.max_body_bytes), "1MB", 1, GIB, NULL, true,
     "SIZE", "Body of one request."},
    {"max_batch_items", EG_OPTION_GATEWAY, EG_OPTION_COUNT, IN_CONFIG(settings.max_batch_items), "1000", 1, 100000,
     NULL, true, "N", "Events in one batch."},
    {"max_bodies", EG_OPTION_GATEWAY, EG_OPTION_SIZE, IN_CONFIG(settings.max_bodies_bytes), "64MB", 1, 3 * GIB, NULL,
     true, "SIZE", "Bodies of all requests that are under way."},

    {"postgres", EG_OPTION_SET, EG_OPTION_STRING, IN_SET(postgres), "", 0, 0, NULL, false, "CONNINFO",
     "libpq connection string or URI, of a primary and not of a pooler. Default: DATABASE_URL, else PGHOST and so on."},
    {"live", EG_OPTION_SET, EG_OPTION_LIVE, 0, "", 0, 0, NULL, false, "NAME,PATTERN,...",
     "The live channels: names (LISTENed from the start) and patterns (* one level, ** the rest)."},
    {"durable", EG_OPTION_SET, EG_OPTION_DURABLE, 0, "", 0, 0, NULL, false, "NAME,PATTERN,...",
     "The durable channels, whose events the database's log keeps: names and patterns (schema: pg_eventgate schema "
     "install)."},
    {"linger", EG_OPTION_SET, EG_OPTION_TIME, IN_SET(linger_ms), "1min", 0, 24 * HOUR, NULL, false, "TIME",
     "How long a channel of a pattern stays LISTENed after its last subscriber."},
    {"journal_events", EG_OPTION_SET, EG_OPTION_COUNT, IN_SET(journal_events), "65536", 16, 1 << 24, NULL, false, "N",
     "Events kept in memory for subscribers that come back or read slowly."},
    {"journal_bytes", EG_OPTION_SET, EG_OPTION_SIZE_64, IN_SET(journal_bytes), "64MB", 65536, 1024 * GIB, NULL, false,
     "SIZE", "Bytes of these events."},
    {"max_channels", EG_OPTION_SET, EG_OPTION_COUNT, IN_SET(max_channels), "10000", 1, 1000000, NULL, false, "N",
     "Channels LISTENed at once; also how many durable channels are remembered while nobody subscribes to them."},
    {"publish_queue", EG_OPTION_SET, EG_OPTION_COUNT, IN_SET(publish_queue), "10000", 1, 10000000, NULL, false, "N",
     "Events of POSTs that wait for the database or are under way; live and durable ones have a queue each."},
    {"publish_queue_bytes", EG_OPTION_SET, EG_OPTION_SIZE_64, IN_SET(publish_queue_bytes), "64MB", 8192, 1024 * GIB,
     NULL, false, "SIZE", "Bytes of these events."},
    {"postgres_heartbeat", EG_OPTION_SET, EG_OPTION_TIME, IN_SET(heartbeat_ms), "5s", 50, HOUR, NULL, false, "TIME",
     "How often an idle connection to PostgreSQL is tried with a query."},
    {"query_timeout", EG_OPTION_SET, EG_OPTION_TIME, IN_SET(query_timeout_ms), "3s", 50, HOUR, NULL, false, "TIME",
     "Deadline of each query; after it the connection is given up."},
    {"connect_timeout", EG_OPTION_SET, EG_OPTION_TIME, IN_SET(connect_timeout_ms), "5s", 1000, HOUR, NULL, false,
     "TIME", "Deadline of each host while connecting, unless the conninfo says otherwise."},
};
const size_t eg_option_count = EG_ARRAY_LENGTH(eg_options);

/* --- names ---------------------------------------------------------------------------------------------------------
 */

const struct eg_option *eg_option_find(enum eg_option_scope scope, const char *name, size_t length)
{
    for (size_t i = 0; i < eg_option_count; i++)
        if (eg_options[i].scope == scope && strlen(eg_options[i].name) == length &&
            strncmp(eg_options[i].name, name, length) == 0)
            return &eg_options[i];
    return NULL;
}

/* Levenshtein distance, for names of up to 63 bytes. */
static size_t distance(const char *a, const char *b)
{
    size_t row[64], b_length = strlen(b);
    if (b_length >= EG_ARRAY_LENGTH(row))
        return SIZE_MAX;
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; *a; i++, a++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t cost = diagonal + (*a != b[j - 1]);
            diagonal = row[j];
            size_t shift = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            row[j] = cost < shift ? cost : shift;
        }
    }
    return row[b_length];
}

const struct eg_option *eg_option_nearest(enum eg_option_scope scope, const char *name)
{
    const struct eg_option *nearest = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < eg_option_count; i++) {
        size_t far = eg_options[i].scope == scope ? distance(eg_options[i].name, name) : SIZE_MAX;
        if (!nearest || far < best) {
            nearest = &eg_options[i];
            best = far;
        }
    }
    return nearest;
}

bool eg_option_is_list(const struct eg_option *option)
{
    return option->type == EG_OPTION_LISTEN || option->type == EG_OPTION_LIVE || option->type == EG_OPTION_DURABLE;
}

void eg_option_flag(const struct eg_option *option, char *ret_text, size_t size)
{
    snprintf(ret_text, size, "--%s", option->name);
    for (char *at = ret_text; *at; at++)
        if (*at == '_')
            *at = '-';
}

void eg_option_variable(const struct eg_option *option, char *ret_text, size_t size)
{
    snprintf(ret_text, size, "EVENTGATE_%s", option->name);
    for (char *at = ret_text; *at; at++)
        if (*at >= 'a' && *at <= 'z')
            *at = (char)(*at - 'a' + 'A');
}

/* --- values --------------------------------------------------------------------------------------------------------
 */

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit time_units[] = {{"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", HOUR}, {NULL, 0}};
static const struct unit size_units[] = {{"", 1}, {"B", 1}, {"kB", 1024}, {"MB", 1u << 20}, {"GB", GIB}, {NULL, 0}};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

static int refuse(struct eg_error *error, const char *format, const char *text, const char *right)
{
    error->sqlstate[0] = '\0';
    snprintf(error->sentence, sizeof(error->sentence), format, text, right);
    return -EINVAL;
}

static const struct unit *units_of(enum eg_option_type type)
{
    return type == EG_OPTION_TIME ? time_units : type == EG_OPTION_COUNT ? no_units : size_units;
}

/* The largest unit in which the value is a whole number. */
static void format_number(uint64_t value, const struct unit *units, char *text, size_t size)
{
    const struct unit *best = units;
    for (const struct unit *unit = units; unit->name; unit++)
        if (value % unit->factor == 0 && value >= unit->factor && unit->factor >= best->factor)
            best = unit;
    snprintf(text, size, "%" PRIu64 "%s", value / best->factor, best->name);
}

static int read_number(const struct eg_option *option, const char *text, uint64_t *ret_value, struct eg_error *error)
{
    const struct unit *units = units_of(option->type);
    char right[120], least[32], most[32], *end;
    format_number(option->least, units, least, sizeof(least));
    format_number(option->most, units, most, sizeof(most));
    snprintf(right, sizeof(right), "a %s from %s to %s",
             option->type == EG_OPTION_TIME    ? "time (500ms, 15s, 2min, 1h)"
             : option->type == EG_OPTION_COUNT ? "whole number"
                                               : "size (512, 16kB, 64MB, 1GB)",
             least, most);
    if (*text < '0' || *text > '9')
        return refuse(error, "\"%s\" is not %s.", text, right);
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    while (*end == ' ')
        end++;
    const struct unit *unit = units;
    while (unit->name && strcmp(unit->name, end) != 0)
        unit++;
    if (!unit->name || errno || number > UINT64_MAX / unit->factor || number * unit->factor < option->least ||
        number * unit->factor > option->most)
        return refuse(error, "\"%s\" is not %s.", text, right);
    *ret_value = number * unit->factor;
    return 0;
}

static int read_choice(const struct eg_option *option, const char *text, uint32_t *ret_value, struct eg_error *error)
{
    for (uint32_t i = 0; option->choices[i]; i++) {
        if (strcmp(option->choices[i], text) != 0)
            continue;
        *ret_value = i;
        return 0;
    }
    return refuse(error, "\"%s\" is not one of: %s", text, option->help);
}

/* Cuts the next item off a comma-separated list, without the spaces around it; false at the end. */
static bool next_item(const char **list, struct eg_bytes *ret_item)
{
    static const char spaces[] = " \t\r\n";
    const char *at = *list;
    if (!at)
        return false;
    size_t length = strcspn(at, ",");
    *list = at[length] == ',' ? at + length + 1 : NULL;
    while (length > 0 && strchr(spaces, *at))
        at++, length--;
    while (length > 0 && strchr(spaces, at[length - 1]))
        length--;
    *ret_item = (struct eg_bytes){at, length};
    return true;
}

static void free_listen(struct eg_config *config)
{
    for (size_t i = 0; i < config->listen_count; i++)
        free(config->listen[i]);
    free(config->listen);
    config->listen = NULL;
    config->listen_count = 0;
}

static int read_listen(struct eg_config *config, const char *text, struct eg_error *error)
{
    struct eg_bytes item;
    free_listen(config);
    while (next_item(&text, &item)) {
        char **grown = reallocarray(config->listen, config->listen_count + 1, sizeof(char *));
        if (!grown)
            return -ENOMEM;
        config->listen = grown;
        char *address = strndup(item.data, item.length);
        if (!address)
            return -ENOMEM;
        config->listen[config->listen_count++] = address;
        const char *problem = eg_listening_problem(address);
        if (problem)
            return refuse(error, "\"%s\" %s.", address, problem);
    }
    return 0;
}

/* One of a set's lists of channels. */
struct channels {
    struct eg_config_channel **list;
    size_t *count;
};

static struct channels channels_of(struct eg_config_set *set, enum eg_option_type type)
{
    return type == EG_OPTION_LIVE ? (struct channels){&set->live, &set->live_count}
                                  : (struct channels){&set->durable, &set->durable_count};
}

static void free_channels(struct channels channels)
{
    for (size_t i = 0; i < *channels.count; i++)
        free((*channels.list)[i].text);
    free(*channels.list);
    *channels.list = NULL;
    *channels.count = 0;
}

static int read_channels(struct eg_config_set *set, enum eg_option_type type, const char *text, struct eg_error *error)
{
    struct channels channels = channels_of(set, type);
    struct eg_bytes item;
    free_channels(channels);
    while (next_item(&text, &item)) {
        struct eg_config_channel *grown = reallocarray(*channels.list, *channels.count + 1, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        *channels.list = grown;
        char *channel = strndup(item.data, item.length);
        if (!channel)
            return -ENOMEM;
        bool wild = eg_pattern_is_wild(channel, item.length);
        grown[(*channels.count)++] = (struct eg_config_channel){channel, item.length, wild};
        const char *problem = eg_pattern_problem(channel, item.length);
        if (problem)
            return refuse(error, "The channel \"%s\" %s. Channels are separated by commas, their levels by /.", channel,
                          problem);
        if (type == EG_OPTION_LIVE && !wild && item.length > EG_LIVE_CHANNEL_MAX_BYTES)
            return refuse(error, "The channel \"%s\" is longer than %s.", channel,
                          "63 bytes, PostgreSQL's limit for the names of LISTEN and NOTIFY");
    }
    return 0;
}

int eg_option_set(const struct eg_option *option, void *target, const char *text, struct eg_error *ret_error)
{
    void *member = (char *)target + option->offset;
    uint64_t number;
    int error;
    switch (option->type) {
    case EG_OPTION_CHOICE:
        return read_choice(option, text, member, ret_error);
    case EG_OPTION_LISTEN:
        return read_listen(target, text, ret_error);
    case EG_OPTION_LIVE:
    case EG_OPTION_DURABLE:
        return read_channels(target, option->type, text, ret_error);
    case EG_OPTION_STRING:
        free(*(char **)member);
        *(char **)member = strdup(text);
        return *(char **)member ? 0 : -ENOMEM;
    case EG_OPTION_SIZE_64:
        return read_number(option, text, member, ret_error);
    case EG_OPTION_COUNT:
    case EG_OPTION_TIME:
    case EG_OPTION_SIZE:
        break;
    }
    error = read_number(option, text, &number, ret_error);
    if (!error)
        *(uint32_t *)member = (uint32_t)number;
    return error;
}

static bool same_listen(const struct eg_config *a, const struct eg_config *b)
{
    bool same = a->listen_count == b->listen_count;
    for (size_t i = 0; same && i < a->listen_count; i++)
        same = strcmp(a->listen[i], b->listen[i]) == 0;
    return same;
}

static bool same_channels(const struct eg_config_channel *a, size_t a_count, const struct eg_config_channel *b,
                          size_t b_count)
{
    bool same = a_count == b_count;
    for (size_t i = 0; same && i < a_count; i++)
        same = strcmp(a[i].text, b[i].text) == 0;
    return same;
}

bool eg_option_same(const struct eg_option *option, const void *a, const void *b)
{
    const char *in_a = (const char *)a + option->offset, *in_b = (const char *)b + option->offset;
    const struct eg_config_set *set_a = a, *set_b = b; /* with the options of a set */
    switch (option->type) {
    case EG_OPTION_LISTEN:
        return same_listen(a, b);
    case EG_OPTION_LIVE:
        return same_channels(set_a->live, set_a->live_count, set_b->live, set_b->live_count);
    case EG_OPTION_DURABLE:
        return same_channels(set_a->durable, set_a->durable_count, set_b->durable, set_b->durable_count);
    case EG_OPTION_STRING:
        return strcmp(*(char *const *)(const void *)in_a, *(char *const *)(const void *)in_b) == 0;
    case EG_OPTION_SIZE_64:
        return memcmp(in_a, in_b, sizeof(uint64_t)) == 0;
    default:
        return memcmp(in_a, in_b, sizeof(uint32_t)) == 0;
    }
}

void eg_options_done(enum eg_option_scope scope, void *target)
{
    for (size_t i = 0; i < eg_option_count; i++) {
        if (eg_options[i].scope != scope)
            continue;
        if (eg_options[i].type == EG_OPTION_STRING)
            free(*(char **)(void *)((char *)target + eg_options[i].offset));
        else if (eg_options[i].type == EG_OPTION_LISTEN)
            free_listen(target);
        else if (eg_option_is_list(&eg_options[i]))
            free_channels(channels_of(target, eg_options[i].type));
    }
}

/*
 * The table of options, and their names. What they have for values is option_values.c's.
 */
#include "eventgate/options.h"

#include <stdio.h>
#include <string.h>

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const log_formats[] = {"text", "json", NULL};
static const char *const log_requests[] = {"none", "traced", "all", NULL};
static const char *const revocation_choices[] = {"auto", "on", "off", NULL};
static const char *const claims_dialects[] = {"eventgate", "mercure", "postgres-websockets", NULL};
static const char *const expiries[] = {"required", "optional", NULL};

#define IN_CONFIG(member) offsetof(struct eg_config, member)
#define IN_SET(member) offsetof(struct eg_config_set, member)
#define HOUR UINT64_C(3600000)
#define GIB (UINT64_C(1) << 30)
#define RATE_MOST (UINT64_C(1000000) * 3600) /* a million in a second */

/* name, scope, type, offset, default, least, most, choices, reloads, placeholder, help */
const struct eg_option eg_options[] = {
    {"listen", EG_OPTION_GATEWAY, EG_OPTION_LISTEN, IN_CONFIG(listen), "127.0.0.1:8080", 0, 0, NULL, false,
     "ADDRESS:PORT,...",
     "Addresses to serve on: 127.0.0.1:8080, [::1]:8080, or :8080 for all; with TLS: tls:127.0.0.1:8443. Ignored when "
     "sockets are inherited (LISTEN_FDS; one named tls is served with TLS)."},
    {"tls_certificate", EG_OPTION_GATEWAY, EG_OPTION_STRING, IN_CONFIG(tls_certificate), "", 0, 0, NULL, true, "FILE",
     "Certificate for TLS with the chain behind it, as a PEM file. Read again at SIGHUP."},
    {"tls_key", EG_OPTION_GATEWAY, EG_OPTION_STRING, IN_CONFIG(tls_key), "", 0, 0, NULL, true, "FILE",
     "Its key, as a PEM file without a passphrase."},
    {"workers", EG_OPTION_GATEWAY, EG_OPTION_COUNT, IN_CONFIG(workers), "0", 0, 64, NULL, false, "N",
     "Worker threads; 0: one a core."},
    {"log_level", EG_OPTION_GATEWAY, EG_OPTION_CHOICE, IN_CONFIG(settings.log_level), "info", 0, 0, log_levels, true,
     "LEVEL", "error, warn, info, or debug."},
    {"log_format", EG_OPTION_GATEWAY, EG_OPTION_CHOICE, IN_CONFIG(log_format), "text", 0, 0, log_formats, false,
     "FORMAT", "text or json."},
    {"log_requests", EG_OPTION_GATEWAY, EG_OPTION_CHOICE, IN_CONFIG(settings.log_requests), "traced", 0, 0,
     log_requests, true, "WHICH",
     "Which requests have a line at level info: none, traced (to publish or subscribe, with the flag sampled in their "
     "traceparent), or all."},
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
    {"upgrade_timeout", EG_OPTION_GATEWAY, EG_OPTION_TIME, IN_CONFIG(settings.upgrade_timeout_ms), "30s", 100, HOUR,
     NULL, true, "TIME",
     "How long an upgrade (SIGUSR2) may take until the new process is ready, before it is given up."},
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
    {"publish_rate", EG_OPTION_GATEWAY, EG_OPTION_RATE, IN_CONFIG(settings.publish_rate), "0", 0, RATE_MOST, NULL, true,
     "RATE", "Events that one subject, else one address, may publish: 100/s, 30/min, 10/h; 0: no limit."},
    {"publish_burst", EG_OPTION_GATEWAY, EG_OPTION_COUNT, IN_CONFIG(settings.publish_burst), "0", 0, 1000000, NULL,
     true, "N", "How many of them at once; 0: what the rate gives in a second."},
    {"subscribe_rate", EG_OPTION_GATEWAY, EG_OPTION_RATE, IN_CONFIG(settings.subscribe_rate), "0", 0, RATE_MOST, NULL,
     true, "RATE", "Subscriptions and long-polls that one subject, else one address, may begin; 0: no limit."},
    {"subscribe_burst", EG_OPTION_GATEWAY, EG_OPTION_COUNT, IN_CONFIG(settings.subscribe_burst), "0", 0, 1000000, NULL,
     true, "N", "How many of them at once; 0: what the rate gives in a second."},
    {"trusted_proxies", EG_OPTION_GATEWAY, EG_OPTION_NETWORKS, IN_CONFIG(settings.trusted_proxies), "", 0, 0, NULL,
     true, "ADDRESS,NETWORK,...",
     "Proxies whose X-Forwarded-For is believed: 127.0.0.1, 10.0.0.0/8, 2001:db8::/32, or unix for Unix sockets."},

    {"keys", EG_OPTION_GATEWAY, EG_OPTION_LIST, IN_CONFIG(access.keys), "", 0, 0, NULL, true, "FILE,...",
     "Files with keys of tokens: PEM public keys, JWK, JWKS, or shared secrets (HS256:/etc/secret). An algorithm in "
     "front binds the key to it. None: everybody may do everything."},
    {"token_issuer", EG_OPTION_GATEWAY, EG_OPTION_LIST, IN_CONFIG(access.issuers), "", 0, 0, NULL, true, "NAME,...",
     "Issuers (iss) whose tokens count; none: any."},
    {"token_audience", EG_OPTION_GATEWAY, EG_OPTION_LIST, IN_CONFIG(access.audiences), "", 0, 0, NULL, true, "NAME,...",
     "Audiences (aud) of which a token must have one; none: any."},
    {"token_claims", EG_OPTION_GATEWAY, EG_OPTION_CHOICES, IN_CONFIG(access.dialects), "eventgate", 0, 0,
     claims_dialects, true, "KIND,...", "Whose claims grant something: eventgate, mercure, postgres-websockets."},
    {"token_claim", EG_OPTION_GATEWAY, EG_OPTION_STRING, IN_CONFIG(access.claim), "eventgate", 0, 0, NULL, true, "NAME",
     "Name of the claim that grants: {\"subscribe\": [...], \"publish\": [...], \"admin\": true}."},
    {"token_expiry", EG_OPTION_GATEWAY, EG_OPTION_CHOICE, IN_CONFIG(access.expiry), "required", 0, 0, expiries, true,
     "CHOICE", "required, or optional: a token without exp is then good for ever."},
    {"token_leeway", EG_OPTION_GATEWAY, EG_OPTION_TIME, IN_CONFIG(access.leeway_ms), "5s", 0, 600000, NULL, true,
     "TIME", "How far the clocks of issuers may differ from ours."},
    {"token_cookie", EG_OPTION_GATEWAY, EG_OPTION_STRING, IN_CONFIG(access.cookie), "eventgate_token", 0, 0, NULL, true,
     "NAME", "Cookie that a token may come in; empty: none."},
    {"allowed_origins", EG_OPTION_GATEWAY, EG_OPTION_ORIGINS, IN_CONFIG(access.origins), "", 0, 0, NULL, true,
     "ORIGIN,...",
     "Origins whose pages may use the gateway (CORS): https://app.example, https://*.example, or * for all, without "
     "cookies."},
    {"allowed_hosts", EG_OPTION_GATEWAY, EG_OPTION_HOSTS, IN_CONFIG(access.hosts), "", 0, 0, NULL, true, "HOST,...",
     "Names that the gateway is reached by (Host): events.example, *.example, 192.0.2.1:8080, or * for all. Default: "
     "all with keys or --insecure, else those of this machine."},
    {"admin_listen", EG_OPTION_GATEWAY, EG_OPTION_LISTEN, IN_CONFIG(admin_listen), "", 0, 0, NULL, false,
     "ADDRESS:PORT,...",
     "Addresses for operators: /metrics, /channels and /sets need no token there, and elsewhere one that grants "
     "admin."},
    {"insecure", EG_OPTION_GATEWAY, EG_OPTION_FLAG, IN_CONFIG(insecure), "no", 0, 0, NULL, false, "yes|no",
     "Serve other machines without keys: everybody may do everything."},

    {"postgres", EG_OPTION_SET, EG_OPTION_STRING, IN_SET(postgres), "", 0, 0, NULL, true, "CONNINFO",
     "libpq connection string or URI, of a primary and not of a pooler. Default: DATABASE_URL, else PGHOST and so on."},
    {"live", EG_OPTION_SET, EG_OPTION_LIVE, 0, "", 0, 0, NULL, true, "NAME,PATTERN,...",
     "The live channels: names (LISTENed from the start) and patterns (* one level, ** the rest)."},
    {"durable", EG_OPTION_SET, EG_OPTION_DURABLE, 0, "", 0, 0, NULL, true, "NAME,PATTERN,...",
     "The durable channels, whose events the database's log keeps: names and patterns (schema: pg_eventgate schema "
     "install)."},
    {"linger", EG_OPTION_SET, EG_OPTION_TIME, IN_SET(linger_ms), "1min", 0, 24 * HOUR, NULL, true, "TIME",
     "How long a channel of a pattern stays LISTENed after its last subscriber."},
    {"journal_events", EG_OPTION_SET, EG_OPTION_COUNT, IN_SET(journal_events), "65536", 16, 1 << 24, NULL, true, "N",
     "Events kept in memory for subscribers that come back or read slowly."},
    {"journal_bytes", EG_OPTION_SET, EG_OPTION_SIZE_64, IN_SET(journal_bytes), "64MB", 65536, 1024 * GIB, NULL, true,
     "SIZE", "Bytes of these events."},
    {"max_channels", EG_OPTION_SET, EG_OPTION_COUNT, IN_SET(max_channels), "10000", 1, 1000000, NULL, true, "N",
     "Channels LISTENed at once; also how many durable channels are remembered while nobody subscribes to them."},
    {"publish_queue", EG_OPTION_SET, EG_OPTION_COUNT, IN_SET(publish_queue), "10000", 1, 10000000, NULL, true, "N",
     "Events of POSTs that wait for the database or are under way; live and durable ones have a queue each."},
    {"publish_queue_bytes", EG_OPTION_SET, EG_OPTION_SIZE_64, IN_SET(publish_queue_bytes), "64MB", 8192, 1024 * GIB,
     NULL, true, "SIZE", "Bytes of these events."},
    {"postgres_heartbeat", EG_OPTION_SET, EG_OPTION_TIME, IN_SET(heartbeat_ms), "5s", 50, HOUR, NULL, true, "TIME",
     "How often an idle connection to PostgreSQL is tried with a query."},
    {"query_timeout", EG_OPTION_SET, EG_OPTION_TIME, IN_SET(query_timeout_ms), "3s", 50, HOUR, NULL, true, "TIME",
     "Deadline of each query; after it the connection is given up."},
    {"connect_timeout", EG_OPTION_SET, EG_OPTION_TIME, IN_SET(connect_timeout_ms), "5s", 1000, HOUR, NULL, true, "TIME",
     "Deadline of each host while connecting, unless the conninfo says otherwise."},
    {"revocations", EG_OPTION_SET, EG_OPTION_CHOICE, IN_SET(revocations), "auto", 0, 0, revocation_choices, true,
     "CHOICE",
     "on, off, or auto: with keys, is a token refused that this database revokes (eventgate.revoke())? auto: if the "
     "set "
     "has durable channels."},
    {"anonymous_subscribe", EG_OPTION_SET, EG_OPTION_PATTERNS, IN_SET(anonymous_subscribe), "", 0, 0, NULL, true,
     "PATTERN,...", "What everybody may subscribe to, without a token (with keys)."},
    {"anonymous_publish", EG_OPTION_SET, EG_OPTION_PATTERNS, IN_SET(anonymous_publish), "", 0, 0, NULL, true,
     "PATTERN,...", "What everybody may publish to, without a token (with keys)."},
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
    size_t best = (strlen(name) + 2) / 3; /* further away it would be a guess */
    for (size_t i = 0; i < eg_option_count; i++) {
        size_t far = eg_options[i].scope == scope ? distance(eg_options[i].name, name) : SIZE_MAX;
        if (far < best || (far == best && !nearest)) {
            nearest = &eg_options[i];
            best = far;
        }
    }
    return nearest;
}

bool eg_option_is_list(const struct eg_option *option)
{
    return option->type >= EG_OPTION_CHOICES;
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

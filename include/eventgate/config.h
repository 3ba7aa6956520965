/*
 * The configuration: one table of options drives INI file, environment, flags, --help, reload and the reference in the
 * README.
 *
 * Order: default < file < environment < flags. Options of scope GATEWAY stand in `[gateway]`, options of scope SET in
 * `[set NAME]`; flags and environment variables of scope SET belong to the set `default`, made when one of them is
 * given. Without any set, nothing can be served: an error that shows the shortest command line. A set without
 * `postgres` uses DATABASE_URL if it is set, else libpq's own defaults and PG* variables.
 */
#ifndef EG_CONFIG_H
#define EG_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>

#include "eventgate/buffer.h"
#include "eventgate/common.h"
#include "eventgate/log.h"
#include "eventgate/networks.h"

/* What may change while the gateway runs; copied to whoever uses it. Times in ms, sizes in bytes. */
struct eg_settings {
    uint32_t log_level;    /* enum eg_log_level */
    uint32_t log_requests; /* enum eg_log_requests */
    uint32_t heartbeat_ms;
    uint32_t retry_ms;             /* EventSource's `retry:` */
    uint32_t subscribe_timeout_ms; /* how long a subscription waits for its LISTEN */
    uint32_t header_timeout_ms;
    uint32_t body_timeout_ms;
    uint32_t idle_timeout_ms;
    uint32_t drain_timeout_ms;
    uint32_t upgrade_timeout_ms;
    uint32_t max_connections; /* all sockets of clients, taken ones included */
    uint32_t max_connections_per_address;
    uint32_t max_channels_per_stream;
    uint32_t max_header_bytes;
    uint32_t max_body_bytes;
    uint32_t max_batch_items;
    uint32_t max_bodies_bytes; /* budget that all request bodies share */
    uint32_t publish_rate;     /* events per hour of one client; 0: no limit */
    uint32_t publish_burst;    /* 0: what the rate gives in a second */
    uint32_t subscribe_rate;   /* subscriptions and long-polls */
    uint32_t subscribe_burst;
    struct eg_networks trusted_proxies;
};

struct eg_config_list {
    char **items; /* owned, and each of them */
    size_t count;
};

/* Who may do what; for the main thread alone, which makes a policy of it (policy.h). */
struct eg_config_access {
    struct eg_config_list keys; /* "FILE" or "ALGORITHM:FILE" */
    struct eg_config_list issuers, audiences;
    uint32_t dialects; /* bit set of enum eg_claims_dialect */
    char *claim;
    uint32_t expiry; /* 0: required, 1: optional */
    uint32_t leeway_ms;
    char *cookie; /* "": none */
    struct eg_config_list origins, hosts;
};

struct eg_config_channel {
    char *text; /* owned; name or pattern */
    size_t length;
    bool wild;
};

enum eg_config_revocations { EG_REVOCATIONS_AUTO, EG_REVOCATIONS_ON, EG_REVOCATIONS_OFF };

struct eg_config_set {
    char *name;     /* 1 to 32 of [a-z0-9_-]; NULL: a hole (config_change.h) */
    char *postgres; /* conninfo or URI; "" for libpq's defaults */
    struct eg_config_channel *live;
    size_t live_count;
    struct eg_config_channel *durable; /* names and patterns of channels that the database's log keeps */
    size_t durable_count;
    uint32_t linger_ms;
    uint32_t journal_events;
    uint64_t journal_bytes;
    uint32_t max_channels;  /* LISTENed at once */
    uint32_t publish_queue; /* items waiting or under way */
    uint64_t publish_queue_bytes;
    uint32_t heartbeat_ms;     /* between heartbeat queries; config key postgres_heartbeat */
    uint32_t query_timeout_ms; /* deadline of each query on the LISTEN and publish connections */
    uint32_t connect_timeout_ms;
    uint32_t revocations;                                         /* enum eg_config_revocations */
    struct eg_config_list anonymous_subscribe, anonymous_publish; /* patterns; for the main thread alone */
};

struct eg_config {
    _Atomic uint32_t references;
    struct eg_config_list listen; /* addresses as given: "127.0.0.1:8080", "[::1]:8080", ":8080", "tls:[::1]:443" */
    struct eg_config_list admin_listen;
    char *tls_certificate; /* path, or "" */
    char *tls_key;         /* the same */
    uint32_t insecure;
    uint32_t workers;    /* resolved: never 0 */
    uint32_t log_format; /* enum eg_log_format */
    struct eg_settings settings;
    struct eg_config_access access;
    struct eg_config_set *sets;
    size_t set_count;
    char *file; /* path or NULL */
};

enum eg_config_action { EG_CONFIG_RUN, EG_CONFIG_CHECK, EG_CONFIG_HELP, EG_CONFIG_VERSION };

/*
 * Reads file, environment and flags. 0, or -EINVAL with a sentence that names where (`gateway.conf:12: [set shop]
 * live:`, `EVENTGATE_LISTEN:`, `--listen:`), what is wrong and what would be right; -ENOMEM. HELP and VERSION return
 * without reading the file. `ret_config` is held once: eg_config_free(). May read files: never on a loop that
 * serves.
 */
int eg_config_load(int argc, char *const *argv, char *const *environment, struct eg_config **ret_config,
                   enum eg_config_action *ret_action, struct eg_error *ret_error) EG_MUST_CHECK;
struct eg_config *eg_config_ref(struct eg_config *config);
void eg_config_free(struct eg_config *config); /* lets go of a reference; NULL is let be */

/* The same from the text of a file alone. */
int eg_config_parse(const char *text, size_t length, struct eg_config **ret_config,
                    struct eg_error *ret_error) EG_MUST_CHECK;

/*
 * Finds the set of that name (1 to 32 of [a-z0-9_-]; copied), or appends one with the defaults, which moves `sets`.
 * 0 or -ENOMEM. For those who read a source of the configuration.
 */
int eg_config_make_set(struct eg_config *config, const char *name, struct eg_config_set **ret_set,
                       struct eg_error *ret_error) EG_MUST_CHECK;

/* The text of --help, and a Markdown table of all options (for the README, which a test compares). */
void eg_config_help(struct eg_buffer *buffer);
void eg_config_markdown(struct eg_buffer *buffer);

/* What a name is in the configuration. */
struct eg_config_place {
    int set;      /* index into `sets`, or -1: no set has it */
    bool durable; /* else live */
    bool exact;   /* listed by name, not by a pattern */
};
struct eg_config_place eg_config_find(const struct eg_config *config, const char *channel, size_t length);

#endif

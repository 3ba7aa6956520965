/* The configuration: its three sources, their order, what is refused and how it is said. */
#include "eventgate/config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "eventgate/options.h"

#define LIST(...)                                                                                                      \
    (char *[])                                                                                                         \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }
#define FLAGS(...) LIST("pg_eventgate", __VA_ARGS__)
#define NO_VARIABLES ((char *[]){NULL})

static struct eg_error error;
static enum eg_config_action action;

/* --- reading ----------------------------------------------------------------------------------------------------- */

static struct eg_config *parsed(const char *text)
{
    struct eg_config *config = NULL;
    int result = eg_config_parse(text, strlen(text), &config, &error);
    if (result)
        fail_msg("refused: %s", error.sentence);
    return config;
}

static void assert_told(const char *told)
{
    if (!strstr(error.sentence, told))
        fail_msg("\"%s\" is not in: %s", told, error.sentence);
}

/* The text is refused, with a sentence that has `told` in it. */
static void assert_refused(const char *text, const char *told)
{
    struct eg_config *config = NULL;
    if (eg_config_parse(text, strlen(text), &config, &error) == 0)
        fail_msg("taken: %s", text);
    assert_null(config);
    assert_told(told);
}

static int argument_count(char *const *arguments)
{
    int count = 0;
    while (arguments[count])
        count++;
    return count;
}

static struct eg_config *loaded(char *const *flags, char *const *variables)
{
    struct eg_config *config = NULL;
    int result = eg_config_load(argument_count(flags), flags, variables, &config, &action, &error);
    if (result)
        fail_msg("refused: %s", error.sentence);
    return config;
}

static void assert_not_loaded(char *const *flags, char *const *variables, const char *told)
{
    struct eg_config *config = NULL;
    assert_int_equal(eg_config_load(argument_count(flags), flags, variables, &config, &action, &error), -EINVAL);
    assert_null(config);
    assert_told(told);
}

/* A file with this text; its name is good until the next one. */
static char *file_with(const char *text)
{
    static char name[64];
    snprintf(name, sizeof(name), "/tmp/test_config.XXXXXX");
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    return name;
}

/* --- values ------------------------------------------------------------------------------------------------------ */

static void the_defaults(void **state)
{
    struct eg_config *config = parsed("[set shop]\nlive = orders\n");
    const struct eg_settings *settings = &config->settings;
    const struct eg_config_set *set = &config->sets[0];
    (void)state;
    assert_int_equal(config->listen.count, 1);
    assert_string_equal(config->listen.items[0], "127.0.0.1:8080");
    assert_in_range(config->workers, 1, 64);
    assert_int_equal(config->log_format, EG_LOG_TEXT);
    assert_null(config->file);
    assert_int_equal(settings->log_level, EG_LOG_INFO);
    assert_int_equal(settings->heartbeat_ms, 15000);
    assert_int_equal(settings->retry_ms, 3000);
    assert_int_equal(settings->subscribe_timeout_ms, 10000);
    assert_int_equal(settings->header_timeout_ms, 10000);
    assert_int_equal(settings->body_timeout_ms, 30000);
    assert_int_equal(settings->idle_timeout_ms, 60000);
    assert_int_equal(settings->drain_timeout_ms, 10000);
    assert_int_equal(settings->max_connections, 16000);
    assert_int_equal(settings->max_connections_per_address, 10000);
    assert_int_equal(settings->max_channels_per_stream, 100);
    assert_int_equal(settings->max_header_bytes, 16384);
    assert_int_equal(settings->max_body_bytes, 1048576);
    assert_int_equal(settings->max_batch_items, 1000);
    assert_int_equal(settings->max_bodies_bytes, 64 << 20);
    assert_int_equal(config->set_count, 1);
    assert_string_equal(set->name, "shop");
    assert_string_equal(set->postgres, "");
    assert_int_equal(set->linger_ms, 60000);
    assert_int_equal(set->journal_events, 65536);
    assert_int_equal(set->journal_bytes, 64 << 20);
    assert_int_equal(set->max_channels, 10000);
    assert_int_equal(set->publish_queue, 10000);
    assert_int_equal(set->publish_queue_bytes, 64 << 20);
    assert_int_equal(set->heartbeat_ms, 5000);
    assert_int_equal(set->query_timeout_ms, 3000);
    assert_int_equal(set->connect_timeout_ms, 5000);
    eg_config_free(config);
}

static void a_whole_file(void **state)
{
    struct eg_config *config = parsed("; a comment\n# another; with a semicolon ; inside\n\n"
                                      "[gateway]\r\nlisten = 127.0.0.1:80, [::1]:80 ,:81\r\nlog_format=json\n"
                                      "log_level = debug\nmax_body = 2MB\nworkers = 3\n"
                                      "[set shop]\npostgres = host=db dbname=shop password=a;b\n"
                                      "live = orders, chat/*, t/**\ndurable = order/**,\n audit\njournal_bytes = 5GB\n"
                                      "[set  other_2-x]\ndurable = other\nlinger = 500ms\n");
    (void)state;
    assert_int_equal(config->listen.count, 3);
    assert_string_equal(config->listen.items[1], "[::1]:80");
    assert_string_equal(config->listen.items[2], ":81");
    assert_int_equal(config->log_format, EG_LOG_JSON);
    assert_int_equal(config->settings.log_level, EG_LOG_DEBUG);
    assert_int_equal(config->settings.max_body_bytes, 2 << 20);
    assert_int_equal(config->workers, 3);
    assert_int_equal(config->set_count, 2);
    assert_string_equal(config->sets[0].postgres, "host=db dbname=shop password=a;b");
    assert_int_equal(config->sets[0].live_count, 3);
    assert_string_equal(config->sets[0].live[0].text, "orders");
    assert_false(config->sets[0].live[0].wild);
    assert_string_equal(config->sets[0].live[1].text, "chat/*");
    assert_int_equal(config->sets[0].live[1].length, 6);
    assert_true(config->sets[0].live[1].wild);
    assert_int_equal(config->sets[0].durable_count, 2);
    assert_string_equal(config->sets[0].durable[0].text, "order/**");
    assert_true(config->sets[0].durable[0].wild);
    assert_string_equal(config->sets[0].durable[1].text, "audit");
    assert_false(config->sets[0].durable[1].wild);
    assert_int_equal(config->sets[0].durable[1].length, 5);
    assert_int_equal(config->sets[1].live_count, 0);
    assert_int_equal(config->sets[1].durable_count, 1);
    assert_true(config->sets[0].journal_bytes == UINT64_C(5) << 30);
    assert_string_equal(config->sets[1].name, "other_2-x");
    assert_int_equal(config->sets[1].linger_ms, 500);
    eg_config_free(config);
}

static void numbers_and_their_units(void **state)
{
    static const struct {
        const char *line;
        uint32_t heartbeat_ms, max_body_bytes;
    } cases[] = {
        {"heartbeat = 100ms", 100, 1 << 20},  {"heartbeat = 2min", 120000, 1 << 20},
        {"heartbeat = 1h", 3600000, 1 << 20}, {"heartbeat = 15 s", 15000, 1 << 20},
        {"max_body = 1", 15000, 1},           {"max_body = 512B", 15000, 512},
        {"max_body = 64kB", 15000, 65536},    {"max_body = 1GB", 15000, 1 << 30},
        {"max_body = 007", 15000, 7},
    };
    char text[200];
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(cases); i++) {
        snprintf(text, sizeof(text), "[set shop]\nlive = orders\n[gateway]\n%s", cases[i].line);
        struct eg_config *config = parsed(text);
        assert_int_equal(config->settings.heartbeat_ms, cases[i].heartbeat_ms);
        assert_int_equal(config->settings.max_body_bytes, cases[i].max_body_bytes);
        eg_config_free(config);
    }
}

static void values_that_are_refused(void **state)
{
    static const struct {
        const char *line, *told;
    } cases[] = {
        {"heartbeat = 15", "15s"},
        {"heartbeat = 99ms", "100ms to 1h"},
        {"heartbeat = 61min", "100ms to 1h"},
        {"heartbeat = -5s", "-5s"},
        {"heartbeat = 1.5s", "1.5s"},
        {"heartbeat = 15S", "15S"},
        {"heartbeat = 15kB", "15kB"},
        {"heartbeat =", "\"\""},
        {"heartbeat = 15s 16s", "15s 16s"},
        {"heartbeat = 18446744073709551616s", "18446744073709551616s"},
        {"heartbeat = 18446744073709552s", "18446744073709552s"}, /* 384ms, if it wrapped */
        {"max_body = 0", "\"0\" is not a size"},
        {"max_body = 1kb", "1kb"},
        {"max_body = 5GB", "5GB"},
        {"max_connections = 1kB", "whole number from 4 to"},
        {"max_connections = 0x10", "0x10"},
        {"max_connections = many", "many"},
        {"workers = 65", "from 0 to 64"},
        {"log_level = loud", "error, warn, info, or debug"},
        {"log_level = INFO", "INFO"},
        {"log_format = xml", "text or json"},
        {"listen = 127.0.0.1", "port"},
        {"listen = localhost:80", "numeric address"},
        {"listen =", "port"},
        {"listen = 127.0.0.1:80,", "port"},
    };
    char text[200];
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(cases); i++) {
        char key[80], where[120];
        snprintf(key, sizeof(key), "%.*s", (int)strcspn(cases[i].line, " "), cases[i].line);
        snprintf(text, sizeof(text), "[set shop]\nlive = orders\n[gateway]\n%s\n", cases[i].line);
        snprintf(where, sizeof(where), "text:4: [gateway] %s: ", key);
        assert_refused(text, cases[i].told);
        assert_told(where);
    }
}

static void channels_that_are_refused(void **state)
{
    char text[300], longest[65];
    (void)state;
    assert_refused("[set a]\nlinger = 1s\n", "the set a has no channels");
    assert_refused("[set a]\nlive = x,,y\n", "[set a] live: ");
    assert_refused("[set a]\nlive = x,\n", "text:2: ");
    assert_refused("[set a]\nlive =\n", "live: ");
    assert_refused("[set a]\nlive = a//b\n", "a//b");
    assert_refused("[set a]\nlive = a/b*\n", "a/b*");
    assert_refused("[set a]\nlive = **/b\n", "**/b");
    assert_refused("[set a]\nlive = ../b\n", "../b");
    assert_refused("[set a]\nlive = caf\xe9\n", "live: ");
    memset(longest, 'n', 64);
    longest[64] = '\0';
    snprintf(text, sizeof(text), "[set a]\nlive = %s\n", longest);
    assert_refused(text, "63 bytes");
    snprintf(text, sizeof(text), "[set a]\nlive = %s\n", longest + 1);
    eg_config_free(parsed(text));
    snprintf(text, sizeof(text), "[set a]\nlive = %s/*\n", longest); /* the names that it matches may be too long */
    eg_config_free(parsed(text));
}

static void durable_channels_that_are_refused(void **state)
{
    char longest[202];
    (void)state;
    assert_refused("[set a]\ndurable = x,,y\n", "text:2: [set a] durable: ");
    assert_refused("[set a]\ndurable =\n", "durable: ");
    assert_refused("[set a]\ndurable = order/x**\n", "order/x**");
    assert_refused("[set a]\ndurable = a\ndurable = b\n", "text:3: [set a] durable: is given a second time");
    assert_refused("[set a]\ndurable = a\n b\n", "a list goes on only behind a comma");
    assert_refused("[gateway]\ndurable = a\n", "a section [set NAME]");
    memset(longest, 'n', 201);
    longest[201] = '\0';
    assert_not_loaded(LIST("pg_eventgate"), LIST("DURABLE=x", "EVENTGATE_DURABLE=,"), "EVENTGATE_DURABLE: ");
    assert_not_loaded(FLAGS("--durable", longest), NO_VARIABLES, "200 bytes");
    struct eg_config *config = loaded(FLAGS("--durable", longest + 1), NO_VARIABLES); /* longer than NOTIFY's names */
    assert_int_equal(config->sets[0].durable[0].length, 200);
    assert_int_equal(config->sets[0].live_count, 0);
    eg_config_free(config);
}

static void channels_are_either_live_or_durable(void **state)
{
    (void)state;
    assert_refused("[set a]\nlive = x\ndurable = x\n",
                   "the live \"x\" and the durable \"x\" of the set a have channels in common");
    assert_refused("[set a]\nlive = y, order/1\ndurable = audit, order/**\n",
                   "\"order/1\" and the durable \"order/**\"");
    assert_refused("[set a]\nlive = x\n[set b]\nlive = y\ndurable = *\n",
                   "the live \"x\" of the set a and the durable \"*\" of the set b");
    assert_refused("[set a]\ndurable = x/**\n[set b]\nlive = */1\n",
                   "the durable \"x/**\" of the set a and the live \"*/1\" of the set b");
    assert_refused("[set a]\ndurable = x\n[set b]\nlive = y\ndurable = x\n",
                   "\"x\" of the set a and \"x\" of the set b have channels in common: a channel belongs to one set");
    eg_config_free(parsed("[set a]\nlive = x\ndurable = x/**, x/y, x/*\n[set b]\ndurable = y\nlive = z\n"));
}

static void channels_that_overlap_across_sets_are_refused(void **state)
{
    (void)state;
    assert_refused("[set a]\nlive = x/*\n[set b]\nlive = y, x/1\n", "\"x/*\" of the set a and \"x/1\" of the set b");
    assert_refused("[set a]\nlive = x\n[set b]\nlive = x\n", "\"x\" of the set b");
    assert_refused("[set a]\nlive = */b\n[set b]\nlive = a/*\n", "channels in common");
    assert_refused("[set a]\nlive = a\n[set b]\nlive = b\n[set c]\nlive = a/**, b\n", "set b and \"b\" of the set c");
    eg_config_free(parsed("[set a]\nlive = x, x/*, x/1\n[set b]\nlive = x/*/*\n"));
}

/* --- environment and flags --------------------------------------------------------------------------------------- */

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    assert_not_loaded(FLAGS("--config", "/nonexistent/gateway.conf"), NO_VARIABLES, "/nonexistent/gateway.conf: ");
    assert_not_loaded(FLAGS("--config", "/", "--live", "x"), NO_VARIABLES, "/: cannot be read");
}

static void flags_alone(void **state)
{
    struct eg_config *config = loaded(FLAGS("--postgres", "dbname=shop", "--live", "orders,chat/*",
                                            "--listen=127.0.0.1:0", "--max-body", "2kB", "--log-level=warn"),
                                      NO_VARIABLES);
    (void)state;
    assert_int_equal(action, EG_CONFIG_RUN);
    assert_int_equal(config->set_count, 1);
    assert_string_equal(config->sets[0].name, "default");
    assert_string_equal(config->sets[0].postgres, "dbname=shop");
    assert_int_equal(config->sets[0].live_count, 2);
    assert_string_equal(config->listen.items[0], "127.0.0.1:0");
    assert_int_equal(config->settings.max_body_bytes, 2048);
    assert_int_equal(config->settings.log_level, EG_LOG_WARN);
    eg_config_free(config);
}

static void flags_that_are_refused(void **state)
{
    (void)state;
    assert_not_loaded(FLAGS("--nonsense", "1"), NO_VARIABLES, "--nonsense");
    assert_not_loaded(FLAGS("--live", "x", "stray"), NO_VARIABLES, "stray");
    assert_not_loaded(FLAGS("--live", "x", "-x"), NO_VARIABLES, "-x");
    assert_not_loaded(FLAGS("--live", "x", "--"), NO_VARIABLES, "--");
    assert_not_loaded(FLAGS("--live"), NO_VARIABLES, "--live: needs a value");
    assert_not_loaded(FLAGS("--live", "--check-config"), NO_VARIABLES, "--live: needs a value");
    assert_not_loaded(FLAGS("-c"), NO_VARIABLES, "-c: needs a value");
    assert_not_loaded(FLAGS("--check-config=yes", "--live", "x"), NO_VARIABLES, "takes no value");
    assert_not_loaded(FLAGS("--live", "x", "--workers", "many"), NO_VARIABLES, "--workers: \"many\"");
    assert_not_loaded(
        FLAGS("--live", "x", "--max-connections-per-address-and-something-that-is-longer-than-a-flag", "1"),
        NO_VARIABLES, "--max-connections-per-address-and");
    assert_not_loaded(LIST("pg_eventgate"), NO_VARIABLES, "pg_eventgate --postgres");
    assert_not_loaded(FLAGS("--postgres", "dbname=shop"), NO_VARIABLES, "no channels");
}

static void a_value_may_begin_with_a_dash_or_be_empty(void **state)
{
    struct eg_config *config = loaded(FLAGS("--live", "-x", "--postgres", ""), NO_VARIABLES);
    (void)state;
    assert_string_equal(config->sets[0].live[0].text, "-x");
    assert_string_equal(config->sets[0].postgres, "");
    eg_config_free(config);
    config = loaded(FLAGS("--live=--x", "--postgres=host=a dbname=b"), NO_VARIABLES);
    assert_string_equal(config->sets[0].live[0].text, "--x");
    assert_string_equal(config->sets[0].postgres, "host=a dbname=b");
    eg_config_free(config);
}

static void a_flag_given_twice_counts_the_last_time(void **state)
{
    struct eg_config *config =
        loaded(FLAGS("--live", "x,y", "--live", "z", "--listen", ":1", "--listen", ":2"), NO_VARIABLES);
    (void)state;
    assert_int_equal(config->sets[0].live_count, 1);
    assert_string_equal(config->sets[0].live[0].text, "z");
    assert_int_equal(config->listen.count, 1);
    assert_string_equal(config->listen.items[0], ":2");
    eg_config_free(config);
}

static void actions_need_no_configuration(void **state)
{
    static const struct {
        char *flag;
        enum eg_config_action action;
    } cases[] = {{"--help", EG_CONFIG_HELP},
                 {"-h", EG_CONFIG_HELP},
                 {"--version", EG_CONFIG_VERSION},
                 {"-V", EG_CONFIG_VERSION}};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(cases); i++) {
        struct eg_config *config = NULL;
        char *const *flags = FLAGS("--config", "/nonexistent", cases[i].flag);
        assert_int_equal(eg_config_load(4, flags, NO_VARIABLES, &config, &action, &error), 0);
        assert_null(config);
        assert_int_equal(action, cases[i].action);
    }
    struct eg_config *config = loaded(FLAGS("--check-config", "--live", "x"), NO_VARIABLES);
    assert_int_equal(action, EG_CONFIG_CHECK);
    eg_config_free(config);
}

static void flags_go_before_environment_before_file(void **state)
{
    char *name = file_with("[gateway]\nmax_body = 1kB\nmax_batch_items = 1\nworkers = 1\n[set default]\nlive = file\n"
                           "linger = 1s\n[set more]\nlive = more\n");
    char config_variable[100];
    (void)state;
    snprintf(config_variable, sizeof(config_variable), "EVENTGATE_CONFIG=%s", name);
    struct eg_config *config = loaded(FLAGS("--workers", "3", "--linger", "3s"),
                                      LIST("EVENTGATE_WORKERS=2", "EVENTGATE_MAX_BATCH_ITEMS=2", "EVENTGATE_LINGER=2s",
                                           "EVENTGATE_LIVE=variable", config_variable, "EVENTGATE_WORKERSX=9", "X=1"));
    assert_int_equal(config->settings.max_body_bytes, 1024);
    assert_int_equal(config->settings.max_batch_items, 2);
    assert_int_equal(config->workers, 3);
    assert_int_equal(config->set_count, 2);
    assert_string_equal(config->sets[0].live[0].text, "variable");
    assert_int_equal(config->sets[0].linger_ms, 3000);
    assert_string_equal(config->file, name);
    eg_config_free(config);
    assert_not_loaded(FLAGS("-c", "/nonexistent"), LIST(config_variable), "/nonexistent");
    config = loaded(FLAGS("-c", name), LIST("EVENTGATE_CONFIG=/nonexistent"));
    assert_string_equal(config->sets[1].name, "more");
    eg_config_free(config);
    unlink(name);
}

static void variables_that_are_refused(void **state)
{
    (void)state;
    assert_not_loaded(FLAGS("--live", "x"), LIST("EVENTGATE_WORKERS=many"), "EVENTGATE_WORKERS: \"many\"");
    assert_not_loaded(LIST("pg_eventgate"), LIST("EVENTGATE_LIVE="), "EVENTGATE_LIVE: ");
}

static void database_url_is_for_sets_without_postgres(void **state)
{
    char *name = file_with("[set a]\nlive = a\n[set b]\nlive = b\npostgres = dbname=b\n");
    (void)state;
    struct eg_config *config = loaded(FLAGS("--config", name), LIST("DATABASE_URL=postgresql:///url"));
    assert_string_equal(config->sets[0].postgres, "postgresql:///url");
    assert_string_equal(config->sets[1].postgres, "dbname=b");
    eg_config_free(config);
    unlink(name);
    config = loaded(FLAGS("--live", "x"), LIST("DATABASE_URL=postgresql:///url", "EVENTGATE_POSTGRES=dbname=c"));
    assert_string_equal(config->sets[0].postgres, "dbname=c");
    eg_config_free(config);
}

/* --- in use ------------------------------------------------------------------------------------------------------ */

static void rates_are_of_a_second_a_minute_or_an_hour(void **state)
{
    struct eg_config *config = parsed("[gateway]\npublish_rate = 100\nsubscribe_rate = 30/min\n[set x]\nlive = x\n");
    (void)state;
    assert_int_equal(config->settings.publish_rate, 360000);
    assert_int_equal(config->settings.subscribe_rate, 1800);
    eg_config_free(config);
    config = parsed("[gateway]\npublish_rate = 7/s\nsubscribe_rate = 9/h\n[set x]\nlive = x\n");
    assert_int_equal(config->settings.publish_rate, 25200);
    assert_int_equal(config->settings.subscribe_rate, 9);
    eg_config_free(config);
    assert_refused("[gateway]\npublish_rate = 1/d\n[set x]\nlive = x\n",
                   "\"1/d\" is not a rate (100/s, 30/min, 10/h) from 0/h to 1000000/s.");
}

static void trusted_proxies_are_addresses_and_networks(void **state)
{
    struct eg_config *a = parsed("[gateway]\ntrusted_proxies = 10.0.0.0/8, ::1, unix\n[set x]\nlive = x\n");
    (void)state;
    assert_int_equal(a->settings.trusted_proxies.count, 3);
    eg_config_free(a);
    assert_refused("[gateway]\ntrusted_proxies = 10.0.0.0/8, proxy\n[set x]\nlive = x\n", "\"proxy\" is no address");
    assert_refused("[gateway]\ntrusted_proxies = 10.0.0.1/8\n[set x]\nlive = x\n", "write 10.0.0.0/8, not 10.1.2.3/8");
    assert_refused("[gateway]\ntrusted_proxies = 10.0.0.1,\n[set x]\nlive = x\n", "\"\" is no address");
}

static int find(const struct eg_config *config, const char *channel, bool *ret_exact)
{
    struct eg_config_place place = eg_config_find(config, channel, strlen(channel));
    *ret_exact = place.exact;
    return place.set;
}

static void lists_flags_and_choices(void **state)
{
    struct eg_config *config =
        parsed("[gateway]\nkeys = a, HS256:b\ntoken_issuer =\ntoken_claims = mercure, eventgate\ninsecure = on\n"
               "allowed_origins = https://*.example,\n *\n[set a]\nlive = x\nanonymous_publish = x, y/**\n");
    (void)state;
    assert_int_equal(config->access.keys.count, 2);
    assert_string_equal(config->access.keys.items[1], "HS256:b");
    assert_int_equal(config->access.issuers.count, 0);
    assert_int_equal(config->access.dialects, 3);
    assert_int_equal(config->insecure, 1);
    assert_string_equal(config->access.origins.items[1], "*");
    assert_string_equal(config->sets[0].anonymous_publish.items[1], "y/**");
    assert_int_equal(config->sets[0].anonymous_subscribe.count, 0);
    assert_string_equal(config->access.cookie, "eventgate_token");
    eg_config_free(config);
    assert_refused("[gateway]\nkeys = a,,b\n", "\"\" is empty");
    assert_refused("[gateway]\nlisten =\n", "needs a port");
    assert_refused("[gateway]\ninsecure = perhaps\n", "neither yes nor no");
    assert_refused("[gateway]\ntoken_claims = eventgate, ours\n", "\"ours\" is not one of");
    assert_refused("[gateway]\nallowed_origins = app.example\n", "is no origin");
    assert_refused("[gateway]\nallowed_hosts = a/b\n", "is no host");
    assert_refused("[gateway]\nadmin_listen = nowhere\n", "needs a port");
    assert_refused("[set a]\nlive = x\nanonymous_subscribe = a//b\n", "empty level");
}

static void insecure_is_a_flag_with_and_without_a_value(void **state)
{
    static const struct {
        char *flags[4];
        uint32_t insecure;
    } rows[] = {{{"--insecure", "--live", "x", NULL}, 1},
                {{"--live", "x", "--insecure", NULL}, 1},
                {{"--live", "x", "--insecure=no", NULL}, 0},
                {{"--live=x", "--insecure", "off", NULL}, 0}};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        char *const *flags = rows[i].flags;
        struct eg_config *config = loaded(FLAGS(flags[0], flags[1], flags[2]), NO_VARIABLES);
        assert_int_equal(config->insecure, rows[i].insecure);
        eg_config_free(config);
    }
}

static void the_set_of_a_channel(void **state)
{
    struct eg_config *config = parsed("[set a]\nlive = x/*, x/1, y\ndurable = d/*, d/1\n[set b]\nlive = z/**\n");
    bool exact = true;
    (void)state;
    assert_int_equal(find(config, "x/2", &exact), 0);
    assert_false(exact);
    assert_int_equal(find(config, "x/1", &exact), 0); /* listed, though a pattern stands before it */
    assert_true(exact);
    assert_int_equal(find(config, "y", &exact), 0);
    assert_true(exact);
    assert_int_equal(find(config, "z/1/2", &exact), 1);
    assert_false(exact);
    struct eg_config_place place = eg_config_find(config, "d/1", 3);
    assert_int_equal(place.set, 0);
    assert_true(place.durable);
    assert_true(place.exact);
    place = eg_config_find(config, "d/2", 3);
    assert_true(place.durable);
    assert_false(place.exact);
    assert_false(eg_config_find(config, "y", 1).durable);
    exact = true;
    assert_int_equal(find(config, "z", &exact), -1);
    assert_false(exact);
    assert_int_equal(find(config, "x/1/2", &exact), -1);
    assert_int_equal(eg_config_find(config, "y and more", 1).set, 0); /* the length counts */
    eg_config_free(config);
}

/* --- texts ------------------------------------------------------------------------------------------------------- */

static void the_table_of_options_is_sound(void **state)
{
    (void)state;
    assert_true(eg_option_count <= 64); /* a bit each in a set of 64 */
    for (size_t i = 0; i < eg_option_count; i++) {
        const struct eg_option *option = &eg_options[i];
        assert_int_equal(strspn(option->name, "abcdefghijklmnopqrstuvwxyz_"), strlen(option->name));
        assert_null(strstr(option->name, "_ms"));
        assert_null(strstr(option->help, "|")); /* it would break the Markdown table */
        assert_int_equal(option->help[strlen(option->help) - 1], '.');
        assert_ptr_equal(eg_option_find(option->scope, option->name, strlen(option->name)), option);
        assert_null(eg_option_find(!option->scope, option->name, strlen(option->name))); /* flags have no scope */
        assert_ptr_equal(eg_option_nearest(option->scope, option->name), option);
        bool is_setting = option->scope == EG_OPTION_GATEWAY &&
                          option->offset >= offsetof(struct eg_config, settings) &&
                          option->offset < offsetof(struct eg_config, settings) + sizeof(struct eg_settings);
        if (is_setting) /* they are copied */
            assert_true(option->type != EG_OPTION_STRING && option->type < EG_OPTION_LIST);
    }
}

static void help_and_reference_name_every_option(void **state)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    (void)state;
    eg_config_help(&buffer);
    char *help = eg_buffer_take(&buffer, NULL), *rest = help, text[100];
    eg_config_markdown(&buffer);
    char *markdown = eg_buffer_take(&buffer, NULL);
    for (size_t i = 0; i < eg_option_count; i++) {
        eg_option_flag(&eg_options[i], text, sizeof(text));
        if (!strstr(help, text))
            fail_msg("no %s in the help", text);
        snprintf(text, sizeof(text), "\n| `%s` |", eg_options[i].name);
        if (!strstr(markdown, text))
            fail_msg("no %s in the reference", eg_options[i].name);
    }
    assert_non_null(strstr(help, "--live 'orders,chat/*' --listen 127.0.0.1:8080"));
    assert_non_null(strstr(help, "143"));
    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        assert_true(strlen(line) <= 100);
        assert_true(*line == '\0' || line[strlen(line) - 1] != ' ');
    }
    free(help);
    free(markdown);
}

static void freeing_nothing(void **state)
{
    (void)state;
    eg_config_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults),
        cmocka_unit_test(a_whole_file),
        cmocka_unit_test(numbers_and_their_units),
        cmocka_unit_test(values_that_are_refused),
        cmocka_unit_test(channels_that_are_refused),
        cmocka_unit_test(durable_channels_that_are_refused),
        cmocka_unit_test(channels_are_either_live_or_durable),
        cmocka_unit_test(channels_that_overlap_across_sets_are_refused),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(flags_alone),
        cmocka_unit_test(flags_that_are_refused),
        cmocka_unit_test(a_value_may_begin_with_a_dash_or_be_empty),
        cmocka_unit_test(a_flag_given_twice_counts_the_last_time),
        cmocka_unit_test(actions_need_no_configuration),
        cmocka_unit_test(flags_go_before_environment_before_file),
        cmocka_unit_test(variables_that_are_refused),
        cmocka_unit_test(database_url_is_for_sets_without_postgres),
        cmocka_unit_test(rates_are_of_a_second_a_minute_or_an_hour),
        cmocka_unit_test(trusted_proxies_are_addresses_and_networks),
        cmocka_unit_test(lists_flags_and_choices),
        cmocka_unit_test(insecure_is_a_flag_with_and_without_a_value),
        cmocka_unit_test(the_set_of_a_channel),
        cmocka_unit_test(the_table_of_options_is_sound),
        cmocka_unit_test(help_and_reference_name_every_option),
        cmocka_unit_test(freeing_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

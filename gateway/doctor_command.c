/*
 * `pg_eventgate doctor`: its command line, and what is looked at in which order.
 */
#include "eventgate/doctor_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "eventgate/client_options.h"
#include "eventgate/connection.h"
#include "eventgate/doctor.h"
#include "eventgate/gateway.h"

#define COMMAND "doctor"
#define HEARTBEAT_MS 15000
/* Connections of a gateway to the database of a set, for its live and its durable channels. */
#define LIVE_CONNECTIONS 2u
#define DURABLE_CONNECTIONS 4u

enum { EXIT_USAGE = 2 };

/* What the command line says. The gateway's own flags are kept apart. */
struct doctor {
    struct eg_call_target target;
    const char *channel, *origin;
    bool json, quick, long_poll, help;
    char **own, **gateways; /* arguments, each with the program's name in front */
    int own_count, gateways_count;
};

/* --- the command line -------------------------------------------------------------------------------------------- */

/* Is it one of the doctor's own flags, and does its value stand behind it? */
static bool is_own(const char *argument, bool *ret_has_value)
{
    static const struct {
        const char *name;
        bool has_value;
    } flags[] = {{"--url", true},    {"-u", true},           {"--channel", true},    {"--origin", true},
                 {"--cacert", true}, {"--token-file", true}, {"--no-verify", false}, {"--json", false},
                 {"--quick", false}, {"--long-poll", false}, {"--help", false},      {"-h", false}};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(flags); i++) {
        size_t length = strlen(flags[i].name);
        if (strncmp(argument, flags[i].name, length) != 0 || (argument[length] != '\0' && argument[length] != '='))
            continue;
        *ret_has_value = flags[i].has_value && argument[length] == '\0';
        return true;
    }
    return false;
}

static void sort(int argc, char *const *argv, struct doctor *doctor)
{
    doctor->own[doctor->own_count++] = argv[0];
    doctor->own[doctor->own_count++] = argv[1];
    doctor->gateways[doctor->gateways_count++] = argv[0];
    for (int i = 2; i < argc; i++) {
        bool has_value;
        if (!is_own(argv[i], &has_value)) {
            doctor->gateways[doctor->gateways_count++] = argv[i];
            continue;
        }
        doctor->own[doctor->own_count++] = argv[i];
        if (has_value && i + 1 < argc)
            doctor->own[doctor->own_count++] = argv[++i];
    }
}

/* 0, or an exit status. */
static int read_command(int argc, char *const *argv, char *const *environment, struct doctor *doctor)
{
    char *const *words;
    size_t word_count;
    eg_client_defaults(environment, &doctor->target);
    doctor->target.url = NULL; /* a gateway's URL is looked at if it is asked for */
    doctor->own = calloc((size_t)argc + 1, sizeof(char *));
    doctor->gateways = calloc((size_t)argc + 1, sizeof(char *));
    if (!doctor->own || !doctor->gateways)
        return EXIT_FAILURE;
    sort(argc, argv, doctor);
    const struct eg_flag flags[] = {EG_CLIENT_FLAGS(doctor->target),
                                    {"channel", 0, EG_FLAG_TEXT, &doctor->channel},
                                    {"origin", 0, EG_FLAG_TEXT, &doctor->origin},
                                    {"json", 0, EG_FLAG_YES, &doctor->json},
                                    {"quick", 0, EG_FLAG_YES, &doctor->quick},
                                    {"long-poll", 0, EG_FLAG_YES, &doctor->long_poll}};
    if (eg_flags_read(doctor->own_count, doctor->own, flags, EG_ARRAY_LENGTH(flags), &words, &word_count,
                      &doctor->help) != 0)
        return EXIT_USAGE;
    if (doctor->target.url && !eg_client_check(COMMAND, &doctor->target))
        return EXIT_USAGE;
    return 0;
}

/* --- what is looked at -------------------------------------------------------------------------------------------- */

/* A channel to try a stream with: one that is listed by name, else one that a pattern matches. */
static void choose_channel(const struct eg_config *config, struct eg_buffer *ret_name)
{
    const struct eg_config_channel *chosen = NULL;
    for (size_t s = 0; s < config->set_count; s++) {
        const struct eg_config_set *set = &config->sets[s];
        const struct eg_config_channel *lists[] = {set->live, set->durable};
        const size_t counts[] = {set->live_count, set->durable_count};
        for (size_t l = 0; l < EG_ARRAY_LENGTH(lists); l++)
            for (size_t i = 0; i < counts[l]; i++)
                if (!chosen || (chosen->wild && !lists[l][i].wild))
                    chosen = &lists[l][i];
    }
    for (size_t i = 0; chosen && i < chosen->length; i++) {
        if (chosen->text[i] != '*')
            eg_buffer_add(ret_name, &chosen->text[i], 1);
        else if (i + 1 == chosen->length || chosen->text[i + 1] != '*')
            eg_buffer_add_string(ret_name, "doctor");
    }
    eg_buffer_add(ret_name, "", 1);
}

static void check_url(struct eg_report *report, const struct doctor *doctor, const struct eg_config *config)
{
    struct eg_buffer channel = EG_BUFFER_INIT;
    if (config)
        choose_channel(config, &channel);
    const struct eg_doctor_url url = {.target = &doctor->target,
                                      .channel = doctor->channel                   ? doctor->channel
                                                 : channel.failed || !channel.data ? "doctor"
                                                                                   : channel.data,
                                      .origin = doctor->origin,
                                      .heartbeat_ms = config ? config->settings.heartbeat_ms : HEARTBEAT_MS,
                                      .quick = doctor->quick,
                                      .long_poll = doctor->long_poll,
                                      .trusts_a_proxy = !config || config->settings.trusted_proxies.count > 0};
    eg_doctor_proxy(report, &url);
    eg_buffer_done(&channel);
}

static void check_configuration(struct eg_report *report, const struct eg_config *config)
{
    struct eg_error error;
    const char *file = config->file ? config->file : "configuration";
    if (eg_gateway_check(config, &error) != 0)
        eg_report_add(report, EG_ERROR, "configuration", file, "A gateway doesn't start with it; correct it first.",
                      "%s", error.sentence);
    else
        eg_report_add(report, EG_FINE, "configuration", file, NULL, "valid: %zu channel set%s, %u workers",
                      config->set_count, config->set_count == 1 ? "" : "s", config->workers);
}

/* `running`: how many files a gateway that runs may open; 0: it isn't known. */
static void check_process(struct eg_report *report, const struct eg_config *config, uint64_t running)
{
    struct rlimit limit = {.rlim_max = 0};
    struct eg_doctor_files files = {.of_running = running > 0, .open_files = running};
    if (running == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0)
        files.open_files = limit.rlim_max; /* a gateway raises its own to the most */
    files.room = eg_gateway_room(config, files.open_files);
    eg_doctor_process(report, config, &files);
}

static bool reads_revocations(const struct eg_config *config, const struct eg_config_set *set)
{
    return config->access.keys.count > 0 && (set->revocations == EG_REVOCATIONS_ON ||
                                             (set->revocations == EG_REVOCATIONS_AUTO && set->durable_count > 0));
}

static unsigned connections_of(const struct eg_config *config, const struct eg_config_set *set)
{
    return (set->live_count > 0 ? LIVE_CONNECTIONS : 0) + (set->durable_count > 0 ? DURABLE_CONNECTIONS : 0) +
           reads_revocations(config, set);
}

/* Each connection string once, for all the sets that have it. */
static void check_databases(struct eg_report *report, const struct eg_config *config)
{
    struct eg_error error;
    for (size_t i = 0; i < config->set_count; i++) {
        const struct eg_config_set *first = &config->sets[i];
        struct eg_doctor_database database = {.conninfo = first->postgres,
                                              .connect_timeout_ms = first->connect_timeout_ms,
                                              .query_timeout_ms = first->query_timeout_ms};
        size_t count = 0, length = 0;
        bool done = false;
        for (size_t j = 0; j < config->set_count; j++) {
            const struct eg_config_set *set = &config->sets[j];
            if (strcmp(set->postgres, first->postgres) != 0)
                continue;
            done |= j < i;
            database.sets++;
            database.durable |= set->durable_count > 0;
            database.revocations |= reads_revocations(config, set);
            database.needed += connections_of(config, set);
            if (length < sizeof(database.subject) / 2)
                length += (size_t)snprintf(database.subject + length, sizeof(database.subject) - length, "%s%s",
                                           count++ ? ", " : "set ", set->name);
        }
        if (!done && eg_connection_check_conninfo(first->postgres, &error) == 0) /* else it has been told */
            eg_doctor_look_at_database(report, &database);
    }
}

/* Is it the command line that is wrong, and not what it leads to? */
static bool is_usage(const struct eg_error *error)
{
    return error->sentence[0] == '-' || strstr(error->sentence, "neither a command nor a flag") != NULL;
}

static int examine(struct doctor *doctor, char *const *environment)
{
    struct eg_report report = {.json = false};
    struct eg_config *config = NULL;
    struct eg_error error;
    enum eg_config_action action;
    int result = eg_config_load(doctor->gateways_count, doctor->gateways, environment, &config, &action, &error);
    bool url_alone = result && doctor->target.url && doctor->gateways_count == 1;
    if (result && !url_alone && is_usage(&error))
        return eg_complain(COMMAND, "%s", error.sentence);
    eg_report_begin(&report, doctor->json);
    if (result && !url_alone)
        eg_report_add(
            &report, EG_ERROR, "configuration", "configuration",
            "A gateway doesn't start with it. Give the doctor what the gateway is given: --config FILE, or the "
            "same flags and environment.",
            "%s", error.sentence);
    if (config) {
        check_configuration(&report, config);
        check_process(&report, config, eg_doctor_access(&report, config, &doctor->target));
        check_databases(&report, config);
    }
    if (doctor->target.url)
        check_url(&report, doctor, config);
    eg_config_free(config);
    bool printed = eg_report_end(&report);
    return report.counts[EG_ERROR] == 0 && printed ? EXIT_SUCCESS : EXIT_FAILURE;
}

int eg_doctor_command(int argc, char *const *argv, char *const *environment)
{
    struct doctor doctor = {.json = false};
    int result = read_command(argc, argv, environment, &doctor);
    if (!result)
        result = doctor.help ? eg_usage_print(COMMAND) : examine(&doctor, environment);
    free(doctor.own);
    free(doctor.gateways);
    return result;
}

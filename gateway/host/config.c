/*
 * The configuration from its three sources: file, environment, flags.
 *
 * All of them end in eg_option_set(); what differs is how an error says where it stands.
 */
#include "eventgate/config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eventgate/config_file.h"
#include "eventgate/options.h"
#include "eventgate/pattern.h"

#define DEFAULT_SET "default"
#define EXAMPLE "pg_eventgate --postgres 'dbname=shop' --live 'orders,chat/*'"

static int fail(struct eg_error *error, const char *format, ...) EG_PRINTF(2, 3);

static int fail(struct eg_error *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    error->sqlstate[0] = '\0';
    vsnprintf(error->sentence, sizeof(error->sentence), format, arguments);
    va_end(arguments);
    return -EINVAL;
}

static int no_memory(struct eg_error *error)
{
    fail(error, "out of memory");
    return -ENOMEM;
}

/* --- sets ----------------------------------------------------------------------------------------------------------
 */

static int set_defaults(enum eg_option_scope scope, void *target, struct eg_error *error)
{
    for (size_t i = 0; i < eg_option_count; i++) {
        const struct eg_option *option = &eg_options[i];
        if (option->scope != scope || (eg_option_is_list(option) && !*option->initial))
            continue;
        int result = eg_option_set(option, target, option->initial, error);
        if (result)
            return result;
    }
    return 0;
}

int eg_config_make_set(struct eg_config *config, const char *name, struct eg_config_set **ret_set,
                       struct eg_error *ret_error)
{
    for (size_t i = 0; i < config->set_count; i++)
        if (strcmp(config->sets[i].name, name) == 0) {
            *ret_set = &config->sets[i];
            return 0;
        }
    struct eg_config_set *grown = reallocarray(config->sets, config->set_count + 1, sizeof(*grown));
    if (!grown)
        return no_memory(ret_error);
    config->sets = grown;
    struct eg_config_set *set = &config->sets[config->set_count];
    memset(set, 0, sizeof(*set));
    set->name = strdup(name);
    if (!set->name)
        return no_memory(ret_error);
    config->set_count++;
    *ret_set = set;
    return set_defaults(EG_OPTION_SET, set, ret_error);
}

/* Where an option of this scope belongs when it comes from a flag or a variable. */
static int default_target(struct eg_config *config, enum eg_option_scope scope, void **ret_target,
                          struct eg_error *error)
{
    struct eg_config_set *set = NULL;
    *ret_target = config;
    if (scope == EG_OPTION_GATEWAY)
        return 0;
    int result = eg_config_make_set(config, DEFAULT_SET, &set, error);
    *ret_target = set;
    return result;
}

static int set_from(struct eg_config *config, const struct eg_option *option, const char *where, const char *value,
                    struct eg_error *error)
{
    void *target;
    struct eg_error inner;
    int result = default_target(config, option->scope, &target, error);
    if (result)
        return result;
    result = eg_option_set(option, target, value, &inner);
    if (result == -EINVAL)
        return fail(error, "%s: %.440s", where, inner.sentence);
    return result ? no_memory(error) : 0;
}

/* --- environment and flags -----------------------------------------------------------------------------------------
 */

static const char *variable(char *const *environment, const char *name)
{
    size_t length = strlen(name);
    for (; environment && *environment; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

static int read_environment(struct eg_config *config, char *const *environment, struct eg_error *error)
{
    for (size_t i = 0; i < eg_option_count; i++) {
        char name[80];
        eg_option_variable(&eg_options[i], name, sizeof(name));
        const char *value = variable(environment, name);
        int result = value ? set_from(config, &eg_options[i], name, value, error) : 0;
        if (result)
            return result;
    }
    return 0;
}

/* A flag taken apart: "--name=value", "--name value", "-c value". */
struct flag {
    char name[64]; /* with underscores, without dashes */
    const char *text;
    const char *value; /* NULL: none (yet) */
};

static void take_apart(const char *argument, struct flag *ret_flag)
{
    static const char *const letters[][2] = {{"-c", "config"}, {"-h", "help"}, {"-V", "version"}};
    memset(ret_flag, 0, sizeof(*ret_flag));
    ret_flag->text = argument;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(letters); i++)
        if (strcmp(argument, letters[i][0]) == 0)
            snprintf(ret_flag->name, sizeof(ret_flag->name), "%s", letters[i][1]);
    if (strncmp(argument, "--", 2) != 0)
        return;
    const char *equals = strchr(argument, '=');
    size_t length = equals ? (size_t)(equals - argument) - 2 : strlen(argument) - 2;
    if (length >= sizeof(ret_flag->name))
        return;
    memcpy(ret_flag->name, argument + 2, length);
    for (char *at = ret_flag->name; *at; at++)
        if (*at == '-')
            *at = '_';
    ret_flag->value = equals ? equals + 1 : NULL;
}

static bool is_action(const struct flag *flag, enum eg_config_action *ret_action)
{
    static const struct {
        const char *name;
        enum eg_config_action action;
    } actions[] = {{"help", EG_CONFIG_HELP}, {"version", EG_CONFIG_VERSION}, {"check_config", EG_CONFIG_CHECK}};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(actions); i++) {
        if (strcmp(flag->name, actions[i].name) != 0)
            continue;
        *ret_action = actions[i].action;
        return true;
    }
    return false;
}

static const struct eg_option *option_of(const struct flag *flag)
{
    const struct eg_option *option = eg_option_find(EG_OPTION_GATEWAY, flag->name, strlen(flag->name));
    return option ? option : eg_option_find(EG_OPTION_SET, flag->name, strlen(flag->name));
}

static int unknown_flag(const struct flag *flag, struct eg_error *error)
{
    if (flag->name[0] == '\0')
        return fail(error, "%s: neither a command nor a flag; --help shows them all.", flag->text);
    return fail(error, "%s: there is no such flag; --help shows them all.", flag->text);
}

/* Walks the arguments, twice: first for the actions and --config (`config` NULL), then for the options. */
static int read_flags(struct eg_config *config, int argc, char *const *argv, const char **file,
                      enum eg_config_action *action, struct eg_error *error)
{
    for (int i = 1; i < argc; i++) {
        struct flag flag;
        take_apart(argv[i], &flag);
        if (is_action(&flag, action)) {
            if (flag.value)
                return fail(error, "%s: takes no value.", flag.text);
            continue;
        }
        bool is_file = strcmp(flag.name, "config") == 0;
        const struct eg_option *option = option_of(&flag);
        if (!option && !is_file)
            return unknown_flag(&flag, error);
        bool is_yes = option && option->type == EG_OPTION_FLAG;
        if (!flag.value && i + 1 < argc && strncmp(argv[i + 1], is_yes ? "-" : "--", is_yes ? 1 : 2) != 0)
            flag.value = argv[++i];
        if (!flag.value && is_yes)
            flag.value = "yes";
        if (!flag.value)
            return fail(error, "%s: needs a value.", flag.text);
        if (is_file)
            *file = flag.value;
        char name[80];
        if (option)
            eg_option_flag(option, name, sizeof(name));
        int result = option && config ? set_from(config, option, name, flag.value, error) : 0;
        if (result)
            return result;
    }
    return 0;
}

/* --- the whole -----------------------------------------------------------------------------------------------------
 */

/* One of the two lists of a set. */
struct channel_list {
    const struct eg_config_set *set;
    const struct eg_config_channel *channels;
    size_t count;
    bool durable;
};

/* The live list of every set stands at an even index, its durable one behind it. */
static struct channel_list list_at(const struct eg_config *config, size_t index)
{
    const struct eg_config_set *set = &config->sets[index / 2];
    return index % 2 ? (struct channel_list){set, set->durable, set->durable_count, true}
                     : (struct channel_list){set, set->live, set->live_count, false};
}

static int overlap(const struct eg_config *config, const struct channel_list *a, const char *in_a,
                   const struct channel_list *b, const char *in_b, struct eg_error *error)
{
    static const char *const kinds[] = {"live", "durable"};
    const char *file = config->file ? config->file : "", *colon = config->file ? ": " : "";
    if (a->set == b->set)
        return fail(error,
                    "%.200s%sthe live \"%.60s\" and the durable \"%.60s\" of the set %s have channels in common: a "
                    "channel is either live or durable.",
                    file, colon, in_a, in_b, a->set->name);
    if (a->durable != b->durable)
        return fail(error,
                    "%.200s%sthe %s \"%.60s\" of the set %s and the %s \"%.60s\" of the set %s have channels in "
                    "common: a channel belongs to one set, and is either live or durable.",
                    file, colon, kinds[a->durable], in_a, a->set->name, kinds[b->durable], in_b, b->set->name);
    return fail(error,
                "%.200s%s\"%.60s\" of the set %s and \"%.60s\" of the set %s have channels in common: a channel "
                "belongs to one set.",
                file, colon, in_a, a->set->name, in_b, b->set->name);
}

static int check_lists(const struct eg_config *config, const struct channel_list *a, const struct channel_list *b,
                       struct eg_error *error)
{
    for (size_t i = 0; i < a->count; i++)
        for (size_t j = 0; j < b->count; j++) {
            const struct eg_config_channel *in_a = &a->channels[i], *in_b = &b->channels[j];
            if (eg_pattern_overlaps(in_a->text, in_a->length, in_b->text, in_b->length))
                return overlap(config, a, in_a->text, b, in_b->text, error);
        }
    return 0;
}

/* Within one list channels may overlap: a channel of a pattern is listed by name to be LISTENed from the start. */
static int check_overlaps(const struct eg_config *config, struct eg_error *error)
{
    for (size_t s = 0; s < 2 * config->set_count; s++)
        for (size_t t = s + 1; t < 2 * config->set_count; t++) {
            struct channel_list a = list_at(config, s), b = list_at(config, t);
            int result = check_lists(config, &a, &b, error);
            if (result)
                return result;
        }
    return 0;
}

static int check(struct eg_config *config, char *const *environment, struct eg_error *error)
{
    const char *url = variable(environment, "DATABASE_URL");
    const char *file = config->file ? config->file : "", *colon = config->file ? ": " : "";
    if (config->set_count == 0 && config->file)
        return fail(error, "%.200s: no channels: there is no section [set NAME], so nothing could be served.", file);
    if (config->set_count == 0)
        return fail(error, "no channels: nothing could be served. The shortest command line: " EXAMPLE
                           ", or give a file with --config.");
    for (size_t i = 0; i < config->set_count; i++) {
        struct eg_config_set *set = &config->sets[i];
        if (set->live_count + set->durable_count == 0)
            return fail(error,
                        "%.200s%sthe set %s has no channels: list some with live (--live 'orders,chat/*') or durable "
                        "(--durable 'order/**').",
                        file, colon, set->name);
        if (set->postgres[0] || !url)
            continue;
        free(set->postgres);
        set->postgres = strdup(url);
        if (!set->postgres)
            return no_memory(error);
    }
    if (config->workers == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        config->workers = cores < 1 ? 1 : cores > 64 ? 64 : (uint32_t)cores;
    }
    return check_overlaps(config, error);
}

static int load(struct eg_config *config, const char *file, int argc, char *const *argv, char *const *environment,
                struct eg_error *error)
{
    enum eg_config_action action;
    int result = set_defaults(EG_OPTION_GATEWAY, config, error);
    if (!result && file)
        result = eg_config_file_read(config, file, error);
    if (!result)
        result = read_environment(config, environment, error);
    if (!result)
        result = read_flags(config, argc, argv, &file, &action, error);
    return result ? result : check(config, environment, error);
}

static struct eg_config *new_config(void)
{
    struct eg_config *config = calloc(1, sizeof(*config));
    if (config)
        config->references = 1;
    return config;
}

int eg_config_load(int argc, char *const *argv, char *const *environment, struct eg_config **ret_config,
                   enum eg_config_action *ret_action, struct eg_error *ret_error)
{
    const char *file = variable(environment, "EVENTGATE_CONFIG");
    *ret_action = EG_CONFIG_RUN;
    int result = read_flags(NULL, argc, argv, &file, ret_action, ret_error);
    if (result || *ret_action == EG_CONFIG_HELP || *ret_action == EG_CONFIG_VERSION)
        return result;
    struct eg_config *config = new_config();
    if (!config)
        return no_memory(ret_error);
    result = load(config, file, argc, argv, environment, ret_error);
    if (result)
        eg_config_free(config);
    else
        *ret_config = config;
    return result;
}

int eg_config_parse(const char *text, size_t length, struct eg_config **ret_config, struct eg_error *ret_error)
{
    struct eg_config *config = new_config();
    int result = config ? set_defaults(EG_OPTION_GATEWAY, config, ret_error) : no_memory(ret_error);
    if (!result)
        result = eg_config_file_parse(config, "text", text, length, ret_error);
    if (!result)
        result = check(config, NULL, ret_error);
    if (result)
        eg_config_free(config);
    else
        *ret_config = config;
    return result;
}

struct eg_config *eg_config_ref(struct eg_config *config)
{
    atomic_fetch_add_explicit(&config->references, 1, memory_order_relaxed);
    return config;
}

void eg_config_free(struct eg_config *config)
{
    if (!config || atomic_fetch_sub_explicit(&config->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < config->set_count; i++) {
        eg_options_done(EG_OPTION_SET, &config->sets[i]);
        free(config->sets[i].name);
    }
    free(config->sets);
    eg_options_done(EG_OPTION_GATEWAY, config);
    free(config->file);
    free(config);
}

/* --- asking --------------------------------------------------------------------------------------------------------
 */

/* Looks the name up in one of a set's lists; true if it is listed by name. */
static bool find_in(const struct eg_config_channel *list, size_t count, const char *channel, size_t length,
                    struct eg_config_place here, struct eg_config_place *place)
{
    for (size_t i = 0; i < count; i++) {
        if (!eg_pattern_matches(list[i].text, list[i].length, channel, length))
            continue;
        *place = here;
        place->exact = !list[i].wild;
        if (place->exact)
            return true;
    }
    return false;
}

struct eg_config_place eg_config_find(const struct eg_config *config, const char *channel, size_t length)
{
    struct eg_config_place place = {.set = -1};
    for (size_t s = 0; s < config->set_count; s++) {
        const struct eg_config_set *set = &config->sets[s];
        struct eg_config_place here = {.set = (int)s};
        if (find_in(set->live, set->live_count, channel, length, here, &place))
            break;
        here.durable = true;
        if (find_in(set->durable, set->durable_count, channel, length, here, &place))
            break;
    }
    return place;
}

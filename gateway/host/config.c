/*
 * The configuration from its three sources: file, environment, flags.
 *
 * All of them end in eg_option_set(); what differs is how an error says where it stands. inih reads the lines, but
 * through our own reader, which counts them, and refuses what inih would cut without a word: lines longer than its
 * buffer, and values with an inline comment.
 */
#include "eventgate/config.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eventgate/options.h"
#include "eventgate/pattern.h"

#define DEFAULT_SET "default"
#define SET_NAME_MAX 32
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
        if (option->scope != scope || (option->type == EG_OPTION_CHANNELS && !*option->initial))
            continue;
        int result = eg_option_set(option, target, option->initial, error);
        if (result)
            return result;
    }
    return 0;
}

/* Finds the set of that name, or makes it. */
static int find_or_make_set(struct eg_config *config, const char *name, struct eg_config_set **ret_set,
                            struct eg_error *error)
{
    for (size_t i = 0; i < config->set_count; i++)
        if (strcmp(config->sets[i].name, name) == 0) {
            *ret_set = &config->sets[i];
            return 0;
        }
    struct eg_config_set *grown = reallocarray(config->sets, config->set_count + 1, sizeof(*grown));
    if (!grown)
        return no_memory(error);
    config->sets = grown;
    struct eg_config_set *set = &config->sets[config->set_count];
    memset(set, 0, sizeof(*set));
    set->name = strdup(name);
    if (!set->name)
        return no_memory(error);
    config->set_count++;
    *ret_set = set;
    return set_defaults(EG_OPTION_SET, set, error);
}

/* Where an option of this scope belongs when it comes from a flag or a variable. */
static int default_target(struct eg_config *config, enum eg_option_scope scope, void **ret_target,
                          struct eg_error *error)
{
    struct eg_config_set *set = NULL;
    *ret_target = config;
    if (scope == EG_OPTION_GATEWAY)
        return 0;
    int result = find_or_make_set(config, DEFAULT_SET, &set, error);
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

/* --- the file ------------------------------------------------------------------------------------------------------
 */

struct file {
    struct eg_config *config;
    struct eg_error *error;
    const char *name;
    FILE *stream;
    int line;
    int result;
    const struct eg_option *last_option; /* for continuation lines */
    int last_line;
    char section[64];
    struct eg_buffer value; /* of the option being read, all its lines */
    void *target;
    bool continuation;     /* the line last read began with a space */
    uint64_t seen_gateway; /* bit set of options; sets keep theirs in seen_sets */
    uint64_t *seen_sets;
    size_t seen_set_count;
};

static int file_fail(struct file *file, int line, const char *key, const char *sentence)
{
    if (!file->result)
        file->result = fail(file->error, "%.120s:%d: %s%s%s%s%.300s", file->name, line, file->section[0] ? "[" : "",
                            file->section, file->section[0] ? "] " : "", key, sentence);
    return 0;
}

/* The option whose lines have been gathered is complete. */
static int finish_option(struct file *file)
{
    struct eg_error inner;
    char key[80];
    if (!file->last_option)
        return 0;
    const struct eg_option *option = file->last_option;
    file->last_option = NULL;
    eg_buffer_add(&file->value, "", 1);
    if (file->value.failed)
        return no_memory(file->error);
    int result = eg_option_set(option, file->target, file->value.data, &inner);
    snprintf(key, sizeof(key), "%s: ", option->name);
    if (result == -EINVAL)
        file_fail(file, file->last_line, key, inner.sentence);
    else if (result)
        file->result = no_memory(file->error);
    return file->result;
}

static bool valid_set_name(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");
    return length > 0 && length <= SET_NAME_MAX && name[length] == '\0';
}

/* Where the section's options go, or NULL (and the error). */
static void *section_target(struct file *file, enum eg_option_scope *ret_scope)
{
    struct eg_config_set *set;
    if (strcmp(file->section, "gateway") == 0) {
        *ret_scope = EG_OPTION_GATEWAY;
        return file->config;
    }
    *ret_scope = EG_OPTION_SET;
    if (strncmp(file->section, "set ", 4) != 0) {
        file_fail(file, file->line, "", "sections are [gateway] and [set NAME].");
        return NULL;
    }
    const char *name = file->section + 4 + strspn(file->section + 4, " ");
    if (!valid_set_name(name)) {
        file_fail(file, file->line, "", "the name of a set is 1 to 32 of a-z, 0-9, _ and -.");
        return NULL;
    }
    file->result = find_or_make_set(file->config, name, &set, file->error);
    return file->result ? NULL : set;
}

/* A line that begins a section: its options are complete, and its name must be one. */
static bool enter_section(struct file *file, const char *line)
{
    enum eg_option_scope scope;
    size_t length = strcspn(line + 1, "]\r\n");
    if (finish_option(file))
        return false;
    snprintf(file->section, sizeof(file->section), "%.*s", (int)(length < 60 ? length : 60), line + 1);
    return section_target(file, &scope) != NULL;
}

/* inih's reader: like fgets(). */
static char *read_line(char *text, int size, void *stream)
{
    struct file *file = stream;
    if (file->result || !fgets(text, size, file->stream))
        return NULL;
    file->line++;
    size_t length = strlen(text);
    if (length == (size_t)size - 1 && text[length - 1] != '\n' && !feof(file->stream)) {
        char sentence[160];
        snprintf(sentence, sizeof(sentence),
                 "the line is longer than %d bytes; continue a long value on the next line, which begins with a space.",
                 size - 2);
        file_fail(file, file->line, "", sentence);
        return NULL;
    }
    const char *start = text + strspn(text, " \t");
    file->continuation = start > text;
    if (*start == '[' && !enter_section(file, start))
        return NULL;
    if (*start != ';' && *start != '#' && strstr(start, " ;")) {
        file_fail(file, file->line, "", "\" ;\" would cut the value there; put comments on lines of their own.");
        return NULL;
    }
    return text;
}

/* The options already seen in the section. */
static uint64_t *seen_in(struct file *file, enum eg_option_scope scope, const struct eg_config_set *set)
{
    if (scope == EG_OPTION_GATEWAY)
        return &file->seen_gateway;
    size_t index = (size_t)(set - file->config->sets);
    if (index >= file->seen_set_count) {
        uint64_t *grown = reallocarray(file->seen_sets, index + 1, sizeof(*grown));
        if (!grown)
            return NULL;
        memset(grown + file->seen_set_count, 0, (index + 1 - file->seen_set_count) * sizeof(*grown));
        file->seen_sets = grown;
        file->seen_set_count = index + 1;
    }
    return &file->seen_sets[index];
}

static int begin_option(struct file *file, const char *key, const char *value)
{
    enum eg_option_scope scope;
    file->target = section_target(file, &scope);
    if (!file->target)
        return file->result;
    const struct eg_option *option = eg_option_find(scope, key, strlen(key));
    char text[200];
    if (!option) {
        const struct eg_option *other = eg_option_find(!scope, key, strlen(key));
        if (other)
            snprintf(text, sizeof(text), "\"%.60s\" belongs in %s.", key,
                     scope == EG_OPTION_GATEWAY ? "a section [set NAME]" : "the section [gateway]");
        else
            snprintf(text, sizeof(text), "there is no option \"%.60s\"; did you mean \"%s\"?", key,
                     eg_option_nearest(scope, key)->name);
        return file_fail(file, file->line, "", text);
    }
    uint64_t *seen = seen_in(file, scope, file->target);
    uint64_t bit = UINT64_C(1) << (option - eg_options);
    if (!seen)
        return file->result = no_memory(file->error);
    if (*seen & bit) {
        snprintf(text, sizeof(text),
                 "%s: is given a second time; continue a long value on the next line, which begins "
                 "with a space.",
                 option->name);
        return file_fail(file, file->line, "", text);
    }
    *seen |= bit;
    file->last_option = option;
    file->last_line = file->line;
    eg_buffer_clear(&file->value);
    eg_buffer_add_string(&file->value, value);
    return 0;
}

/* inih's handler: called for each `key = value`, and for each continuation line with the same key. */
static int take_value(void *context, const char *section, const char *key, const char *value)
{
    struct file *file = context;
    bool continues = file->last_option && strcmp(file->section, section) == 0 &&
                     strcmp(file->last_option->name, key) == 0 && file->continuation;
    if (continues) {
        eg_buffer_add_string(&file->value, " ");
        eg_buffer_add_string(&file->value, value);
        return 1;
    }
    if (finish_option(file))
        return 0;
    begin_option(file, key, value);
    return file->result == 0;
}

static int parse_stream(struct eg_config *config, FILE *stream, const char *name, struct eg_error *error)
{
    struct file file = {.config = config, .error = error, .name = name, .stream = stream, .value = EG_BUFFER_INIT};
    int line = ini_parse_stream(read_line, &file, take_value, &file);
    if (!file.result)
        finish_option(&file);
    if (!file.result && line > 0) {
        file.section[0] = '\0';
        file_fail(&file, line, "", "neither \"[section]\" nor \"key = value\".");
    }
    if (!file.result && line < 0)
        file.result = no_memory(error);
    eg_buffer_done(&file.value);
    free(file.seen_sets);
    return file.result;
}

static int read_file(struct eg_config *config, const char *name, struct eg_error *error)
{
    FILE *stream = fopen(name, "re");
    if (!stream)
        return fail(error, "%s: cannot be read: %s", name, strerror(errno));
    config->file = strdup(name);
    int result = config->file ? parse_stream(config, stream, name, error) : no_memory(error);
    fclose(stream);
    return result;
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
        return fail(error, "%s: not a flag; pg_eventgate takes flags only (--help shows them).", flag->text);
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
        if (!flag.value && i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0)
            flag.value = argv[++i];
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

static int check_overlaps(const struct eg_config *config, struct eg_error *error)
{
    for (size_t s = 0; s < config->set_count; s++)
        for (size_t t = s + 1; t < config->set_count; t++)
            for (size_t i = 0; i < config->sets[s].live_count; i++)
                for (size_t j = 0; j < config->sets[t].live_count; j++) {
                    const struct eg_config_channel *a = &config->sets[s].live[i], *b = &config->sets[t].live[j];
                    if (eg_pattern_overlaps(a->text, a->length, b->text, b->length))
                        return fail(error,
                                    "%.200s%s\"%.60s\" of the set %s and \"%.60s\" of the set %s have channels in "
                                    "common: a channel belongs to one set.",
                                    config->file ? config->file : "", config->file ? ": " : "", a->text,
                                    config->sets[s].name, b->text, config->sets[t].name);
                }
    return 0;
}

static int check(struct eg_config *config, char *const *environment, struct eg_error *error)
{
    const char *url = variable(environment, "DATABASE_URL");
    if (config->set_count == 0)
        return fail(error, "no channels: nothing could be served. The shortest command line: " EXAMPLE
                           ", or give a file with --config.");
    for (size_t i = 0; i < config->set_count; i++) {
        struct eg_config_set *set = &config->sets[i];
        if (set->live_count == 0)
            return fail(error, "the set %s has no channels: list some with live (--live 'orders,chat/*').", set->name);
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
        result = read_file(config, file, error);
    if (!result)
        result = read_environment(config, environment, error);
    if (!result)
        result = read_flags(config, argc, argv, &file, &action, error);
    return result ? result : check(config, environment, error);
}

int eg_config_load(int argc, char *const *argv, char *const *environment, struct eg_config **ret_config,
                   enum eg_config_action *ret_action, struct eg_error *ret_error)
{
    const char *file = variable(environment, "EVENTGATE_CONFIG");
    *ret_action = EG_CONFIG_RUN;
    int result = read_flags(NULL, argc, argv, &file, ret_action, ret_error);
    if (result || *ret_action == EG_CONFIG_HELP || *ret_action == EG_CONFIG_VERSION)
        return result;
    struct eg_config *config = calloc(1, sizeof(*config));
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
    struct eg_config *config = calloc(1, sizeof(*config));
    FILE *stream = length ? fmemopen((void *)(uintptr_t)text, length, "r") : fopen("/dev/null", "re");
    int result = config && stream ? set_defaults(EG_OPTION_GATEWAY, config, ret_error) : no_memory(ret_error);
    if (!result)
        result = parse_stream(config, stream, "text", ret_error);
    if (!result)
        result = check(config, NULL, ret_error);
    if (stream)
        fclose(stream);
    if (result)
        eg_config_free(config);
    else
        *ret_config = config;
    return result;
}

void eg_config_free(struct eg_config *config)
{
    if (!config)
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

/* --- in use --------------------------------------------------------------------------------------------------------
 */

static const struct eg_config_set *set_named(const struct eg_config *config, const char *name)
{
    for (size_t i = 0; i < config->set_count; i++)
        if (strcmp(config->sets[i].name, name) == 0)
            return &config->sets[i];
    return NULL;
}

static void compare_sets(const struct eg_config *a, const struct eg_config *b,
                         void (*changed)(void *context, const char *option, bool now), void *context)
{
    char name[128];
    for (size_t s = 0; s < a->set_count; s++) {
        const struct eg_config_set *other = set_named(b, a->sets[s].name);
        snprintf(name, sizeof(name), "[set %s]", a->sets[s].name);
        if (!other)
            changed(context, name, false);
        for (size_t i = 0; other && i < eg_option_count; i++) {
            snprintf(name, sizeof(name), "[set %s] %s", a->sets[s].name, eg_options[i].name);
            if (eg_options[i].scope == EG_OPTION_SET && !eg_option_same(&eg_options[i], &a->sets[s], other))
                changed(context, name, false);
        }
    }
}

void eg_config_reload(const struct eg_config *in_use, const struct eg_config *loaded, struct eg_settings *settings,
                      void (*changed)(void *context, const char *option, bool now), void *context)
{
    char name[128];
    struct eg_settings settings_now = *settings;
    for (size_t i = 0; i < eg_option_count; i++) {
        const struct eg_option *option = &eg_options[i];
        if (option->scope != EG_OPTION_GATEWAY)
            continue;
        if (!eg_option_same(option, in_use, loaded)) {
            snprintf(name, sizeof(name), "[gateway] %s", option->name);
            changed(context, name, option->reloads);
        }
        if (option->reloads)
            memcpy((char *)&settings_now + (option->offset - offsetof(struct eg_config, settings)),
                   (const char *)loaded + option->offset, sizeof(uint32_t));
    }
    compare_sets(in_use, loaded, changed, context);
    for (size_t s = 0; s < loaded->set_count; s++)
        if (!set_named(in_use, loaded->sets[s].name)) {
            snprintf(name, sizeof(name), "[set %s]", loaded->sets[s].name);
            changed(context, name, false);
        }
    *settings = settings_now;
}

int eg_config_find_set(const struct eg_config *config, const char *channel, size_t length, bool *ret_exact)
{
    int found = -1;
    *ret_exact = false;
    for (size_t s = 0; s < config->set_count && !*ret_exact; s++)
        for (size_t i = 0; i < config->sets[s].live_count; i++) {
            const struct eg_config_channel *live = &config->sets[s].live[i];
            if (!eg_pattern_matches(live->text, live->length, channel, length))
                continue;
            found = (int)s;
            if (!live->wild) {
                *ret_exact = true;
                break;
            }
        }
    return found;
}

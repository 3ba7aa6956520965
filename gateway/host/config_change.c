/*
 * From one configuration to the next.
 */
#include "eventgate/config_change.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/options.h"

static const struct eg_config_set *set_named(const struct eg_config *config, const char *name)
{
    for (size_t i = 0; i < config->set_count; i++)
        if (config->sets[i].name && strcmp(config->sets[i].name, name) == 0)
            return &config->sets[i];
    return NULL;
}

static void tell_set(const struct eg_config_set *set, const struct eg_config_set *next, eg_config_told told,
                     void *context)
{
    char name[128];
    for (size_t i = 0; i < eg_option_count; i++) {
        const struct eg_option *option = &eg_options[i];
        if (option->scope != EG_OPTION_SET || eg_option_same(option, set, next))
            continue;
        snprintf(name, sizeof(name), "[set %s] %s", set->name, option->name);
        told(context, name, option->reloads);
    }
}

static void tell_sets(const struct eg_config *a, const struct eg_config *b, eg_config_told told, void *context)
{
    char name[128];
    for (size_t i = 0; i < a->set_count; i++) {
        if (!a->sets[i].name)
            continue;
        const struct eg_config_set *next = set_named(b, a->sets[i].name);
        snprintf(name, sizeof(name), "[set %s]", a->sets[i].name);
        if (next)
            tell_set(&a->sets[i], next, told, context);
        else
            told(context, name, true);
    }
    for (size_t i = 0; i < b->set_count; i++) {
        if (!b->sets[i].name || set_named(a, b->sets[i].name))
            continue;
        snprintf(name, sizeof(name), "[set %s]", b->sets[i].name);
        told(context, name, true);
    }
}

void eg_config_compare(const struct eg_config *in_use, const struct eg_config *loaded, eg_config_told told,
                       void *context)
{
    char name[128];
    for (size_t i = 0; i < eg_option_count; i++) {
        const struct eg_option *option = &eg_options[i];
        if (option->scope != EG_OPTION_GATEWAY || eg_option_same(option, in_use, loaded))
            continue;
        snprintf(name, sizeof(name), "[gateway] %s", option->name);
        told(context, name, option->reloads);
    }
    tell_sets(in_use, loaded, told, context);
}

int eg_config_keep(struct eg_config *loaded, const struct eg_config *in_use)
{
    for (size_t i = 0; i < eg_option_count; i++) {
        const struct eg_option *option = &eg_options[i];
        int error = option->scope == EG_OPTION_GATEWAY && !option->reloads ? eg_option_copy(option, loaded, in_use) : 0;
        if (error)
            return error;
    }
    return 0;
}

/* Those that what runs of a set takes over as it is. All others are of its connections. */
static bool is_taken_over(const struct eg_option *option)
{
    static const char *const names[] = {"live",         "linger",        "journal_events",     "journal_bytes",
                                        "max_channels", "publish_queue", "publish_queue_bytes"};
    bool found = option->type == EG_OPTION_PATTERNS;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(names); i++)
        found = found || strcmp(option->name, names[i]) == 0;
    return found;
}

bool eg_config_set_goes_on(const struct eg_config_set *set, const struct eg_config_set *next)
{
    if ((set->live_count > 0) != (next->live_count > 0))
        return false;
    for (size_t i = 0; i < eg_option_count; i++)
        if (eg_options[i].scope == EG_OPTION_SET && !is_taken_over(&eg_options[i]) &&
            !eg_option_same(&eg_options[i], set, next))
            return false;
    return true;
}

bool eg_config_same_live(const struct eg_config_set *a, const struct eg_config_set *b)
{
    return eg_option_same(eg_option_find(EG_OPTION_SET, "live", sizeof("live") - 1), a, b);
}

int eg_config_arrange(struct eg_config *config, const size_t *places, size_t count)
{
    struct eg_config_set *arranged = calloc(count, sizeof(*arranged));
    if (!arranged)
        return -ENOMEM;
    for (size_t i = 0; i < config->set_count; i++)
        arranged[places[i]] = config->sets[i];
    free(config->sets);
    config->sets = arranged;
    config->set_count = count;
    return 0;
}

/*
 * The values of options: from text, compared, exchanged, and freed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/listening.h"
#include "eventgate/networks.h"
#include "eventgate/options.h"
#include "eventgate/origin.h"
#include "eventgate/pattern.h"

#define HOUR UINT64_C(3600000)
#define GIB (UINT64_C(1) << 30)

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit time_units[] = {{"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", HOUR}, {NULL, 0}};
static const struct unit size_units[] = {{"", 1}, {"B", 1}, {"kB", 1024}, {"MB", 1u << 20}, {"GB", GIB}, {NULL, 0}};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};
static const struct unit rate_units[] = {{"/h", 1}, {"/min", 60}, {"", 3600}, {"/s", 3600}, {NULL, 0}};

static int refuse(struct eg_error *error, const char *format, const char *text, const char *right)
{
    error->sqlstate[0] = '\0';
    snprintf(error->sentence, sizeof(error->sentence), format, text, right);
    return -EINVAL;
}

static const struct unit *units_of(enum eg_option_type type)
{
    switch (type) {
    case EG_OPTION_TIME:
        return time_units;
    case EG_OPTION_COUNT:
        return no_units;
    case EG_OPTION_RATE:
        return rate_units;
    default:
        return size_units;
    }
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
             : option->type == EG_OPTION_RATE  ? "rate (100/s, 30/min, 10/h)"
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

static int read_choices(const struct eg_option *option, const char *text, uint32_t *ret_value, struct eg_error *error)
{
    char word[64];
    struct eg_bytes item;
    uint32_t bits = 0, index = 0;
    while (next_item(&text, &item)) {
        snprintf(word, sizeof(word), "%.*s", (int)(item.length < 60 ? item.length : 60), item.data);
        if (read_choice(option, word, &index, error) != 0)
            return -EINVAL;
        bits |= UINT32_C(1) << index;
    }
    *ret_value = bits;
    return 0;
}

static int read_flag(const char *text, uint32_t *ret_value, struct eg_error *error)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
    for (uint32_t i = 0; i < EG_ARRAY_LENGTH(words); i++) {
        if (strcmp(words[i], text) != 0)
            continue;
        *ret_value = i % 2;
        return 0;
    }
    return refuse(error, "\"%s\" is neither %s.", text, "yes nor no");
}

/* NULL, or what is wrong with one item of a list, as the end of a sentence. */
static const char *item_problem(enum eg_option_type type, const char *item)
{
    switch (type) {
    case EG_OPTION_LISTEN:
        return eg_listening_problem(item);
    case EG_OPTION_PATTERNS:
        return eg_pattern_problem(item, strlen(item));
    case EG_OPTION_ORIGINS:
        return eg_origin_problem(item);
    case EG_OPTION_HOSTS:
        return eg_host_problem(item);
    default:
        return item[0] ? NULL : "is empty";
    }
}

static void free_list(struct eg_config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct eg_config_list){NULL, 0};
}

static int add_item(const struct eg_option *option, struct eg_config_list *list, struct eg_bytes bytes,
                    struct eg_error *error)
{
    char **grown = reallocarray(list->items, list->count + 1, sizeof(char *));
    if (!grown)
        return -ENOMEM;
    list->items = grown;
    char *item = strndup(bytes.data, bytes.length);
    if (!item)
        return -ENOMEM;
    list->items[list->count++] = item;
    const char *problem = item_problem(option->type, item);
    return problem ? refuse(error, "\"%s\" %s.", item, problem) : 0;
}

/* No text at all is a list without items, where that may be. */
static int read_list(const struct eg_option *option, struct eg_config_list *list, const char *text,
                     struct eg_error *error)
{
    struct eg_bytes item;
    int result = 0;
    free_list(list);
    if (!option->initial[0] && !text[strspn(text, " \t\r\n")])
        return 0;
    while (!result && next_item(&text, &item))
        result = add_item(option, list, item, error);
    return result;
}

static int read_networks(struct eg_networks *networks, const char *text, struct eg_error *error)
{
    struct eg_bytes item;
    char word[80];
    memset(networks, 0, sizeof(*networks));
    if (!text[strspn(text, " \t\r\n")])
        return 0;
    while (next_item(&text, &item)) {
        snprintf(word, sizeof(word), "%.*s", (int)(item.length < 79 ? item.length : 79), item.data);
        if (networks->count == EG_NETWORKS_MAX)
            return refuse(error, "\"%s\" is one too many: there may be %s.", word, "64 addresses and networks");
        const char *problem = eg_network_read(item.data, item.length, &networks->list[networks->count]);
        if (problem)
            return refuse(error, "\"%s\" %s.", word, problem);
        networks->count++;
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
    case EG_OPTION_CHOICES:
        return read_choices(option, text, member, ret_error);
    case EG_OPTION_FLAG:
        return read_flag(text, member, ret_error);
    case EG_OPTION_LIST:
    case EG_OPTION_LISTEN:
    case EG_OPTION_PATTERNS:
    case EG_OPTION_ORIGINS:
    case EG_OPTION_HOSTS:
        return read_list(option, member, text, ret_error);
    case EG_OPTION_NETWORKS:
        return read_networks(member, text, ret_error);
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
    case EG_OPTION_RATE:
        break;
    }
    error = read_number(option, text, &number, ret_error);
    if (!error)
        *(uint32_t *)member = (uint32_t)number;
    return error;
}

static bool same_list(const struct eg_config_list *a, const struct eg_config_list *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = strcmp(a->items[i], b->items[i]) == 0;
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

static bool is_plain_list(enum eg_option_type type)
{
    return type >= EG_OPTION_LIST;
}

size_t eg_option_size(const struct eg_option *option)
{
    switch (option->type) {
    case EG_OPTION_STRING:
        return sizeof(char *);
    case EG_OPTION_SIZE_64:
        return sizeof(uint64_t);
    case EG_OPTION_NETWORKS:
        return sizeof(struct eg_networks);
    default:
        return is_plain_list(option->type) ? sizeof(struct eg_config_list) : sizeof(uint32_t);
    }
}

bool eg_option_same(const struct eg_option *option, const void *a, const void *b)
{
    const char *in_a = (const char *)a + option->offset, *in_b = (const char *)b + option->offset;
    const struct eg_config_set *set_a = a, *set_b = b; /* with the options of a set */
    switch (option->type) {
    case EG_OPTION_LIVE:
        return same_channels(set_a->live, set_a->live_count, set_b->live, set_b->live_count);
    case EG_OPTION_DURABLE:
        return same_channels(set_a->durable, set_a->durable_count, set_b->durable, set_b->durable_count);
    case EG_OPTION_STRING:
        return strcmp(*(char *const *)(const void *)in_a, *(char *const *)(const void *)in_b) == 0;
    default:
        return is_plain_list(option->type) ? same_list((const void *)in_a, (const void *)in_b)
                                           : memcmp(in_a, in_b, eg_option_size(option)) == 0;
    }
}

static int copy_list(struct eg_config_list *to, const struct eg_config_list *from)
{
    free_list(to);
    *to = (struct eg_config_list){calloc(from->count + 1, sizeof(char *)), 0};
    if (!to->items)
        return -ENOMEM;
    for (; to->count < from->count; to->count++) {
        to->items[to->count] = strdup(from->items[to->count]);
        if (!to->items[to->count])
            return -ENOMEM;
    }
    return 0;
}

int eg_option_copy(const struct eg_option *option, void *to, const void *from)
{
    char *in_to = (char *)to + option->offset;
    const char *in_from = (const char *)from + option->offset;
    if (is_plain_list(option->type))
        return copy_list((void *)in_to, (const void *)in_from);
    if (option->type != EG_OPTION_STRING) {
        memcpy(in_to, in_from, eg_option_size(option));
        return 0;
    }
    char *copy = strdup(*(char *const *)(const void *)in_from);
    if (!copy)
        return -ENOMEM;
    free(*(char **)(void *)in_to);
    *(char **)(void *)in_to = copy;
    return 0;
}

void eg_options_done(enum eg_option_scope scope, void *target)
{
    for (size_t i = 0; i < eg_option_count; i++) {
        const struct eg_option *option = &eg_options[i];
        void *member = (char *)target + option->offset;
        if (option->scope != scope)
            continue;
        if (option->type == EG_OPTION_STRING)
            free(*(char **)member);
        else if (is_plain_list(option->type))
            free_list(member);
        else if (option->type == EG_OPTION_LIVE || option->type == EG_OPTION_DURABLE)
            free_channels(channels_of(target, option->type));
    }
}

/* The text of an INI file: what is taken is in bounds, and means the same when it is written out and read again. */
#include "eventgate/config.h"
#include "eventgate/config_change.h"

#include <errno.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/listening.h"
#include "eventgate/options.h"
#include "eventgate/pattern.h"

#define LINE_BYTES 180 /* longer values can't be written on one line */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static uint64_t number_of(const struct eg_option *option, const void *target)
{
    uint64_t wide;
    uint32_t number;
    memcpy(&number, (const char *)target + option->offset, sizeof(number));
    if (option->type != EG_OPTION_SIZE_64)
        return number;
    memcpy(&wide, (const char *)target + option->offset, sizeof(wide));
    return wide;
}

static void check_channels(const struct eg_config *config, size_t index, bool durable)
{
    const struct eg_config_set *set = &config->sets[index];
    const struct eg_config_channel *channels = durable ? set->durable : set->live;
    for (size_t i = 0; i < (durable ? set->durable_count : set->live_count); i++) {
        const struct eg_config_channel *channel = &channels[i];
        check(channel->length == strlen(channel->text));
        check(eg_pattern_problem(channel->text, channel->length) == NULL);
        check(channel->wild == eg_pattern_is_wild(channel->text, channel->length));
        check(durable || channel->wild || channel->length <= EG_LIVE_CHANNEL_MAX_BYTES);
        if (channel->wild)
            continue;
        struct eg_config_place place = eg_config_find(config, channel->text, channel->length);
        check(place.set == (int)index && place.durable == durable && place.exact);
    }
}

/* Adds the list to `buffer`; false if one of its channels can't stand on a line of its own. */
static bool write_channels(struct eg_buffer *buffer, const char *name, const struct eg_config_channel *channels,
                           size_t count)
{
    if (count > 0)
        eg_buffer_add_format(buffer, "%s =\n", name);
    for (size_t i = 0; i < count; i++) {
        const struct eg_config_channel *channel = &channels[i];
        if (channel->length > LINE_BYTES || strchr(";#", channel->text[0]))
            return false;
        eg_buffer_add_format(buffer, "%s %s\n", i > 0 ? " ,\n" : "", channel->text);
    }
    return true;
}

static bool write_list(struct eg_buffer *buffer, const char *name, const struct eg_config_list *list)
{
    bool whole = true;
    eg_buffer_add_format(buffer, "%s =\n", name);
    for (size_t i = 0; i < list->count; i++) {
        whole &= strlen(list->items[i]) <= LINE_BYTES;
        eg_buffer_add_format(buffer, " %s%s\n", list->items[i], i + 1 < list->count ? "," : "");
    }
    return whole;
}

static void write_networks(struct eg_buffer *buffer, const char *name, const struct eg_networks *networks)
{
    eg_buffer_add_format(buffer, "%s =\n", name);
    for (uint32_t i = 0; i < networks->count; i++) {
        const struct eg_network *network = &networks->list[i];
        char text[INET6_ADDRSTRLEN] = "unix";
        if (network->family != AF_UNIX)
            check(inet_ntop(network->family, network->bytes, text, sizeof(text)) != NULL);
        eg_buffer_add_format(buffer, " %s", text);
        if (network->family != AF_UNIX)
            eg_buffer_add_format(buffer, "/%u", network->prefix);
        eg_buffer_add_string(buffer, i + 1 < networks->count ? ",\n" : "\n");
    }
}

static bool write_choices(struct eg_buffer *buffer, const struct eg_option *option, uint64_t bits)
{
    bool any = false;
    eg_buffer_add_format(buffer, "%s = ", option->name);
    for (size_t i = 0; option->choices[i]; i++)
        if (bits & (UINT64_C(1) << i)) {
            eg_buffer_add_format(buffer, "%s%s", any ? ", " : "", option->choices[i]);
            any = true;
        }
    eg_buffer_add_string(buffer, "\n");
    return any;
}

static bool write_option(struct eg_buffer *buffer, const struct eg_option *option, const struct eg_config *config,
                         const struct eg_config_set *set)
{
    const void *target = option->scope == EG_OPTION_SET ? (const void *)set : config;
    const char *text;
    switch (option->type) {
    case EG_OPTION_LIVE:
        return write_channels(buffer, option->name, set->live, set->live_count);
    case EG_OPTION_DURABLE:
        return write_channels(buffer, option->name, set->durable, set->durable_count);
    case EG_OPTION_LIST:
    case EG_OPTION_LISTEN:
    case EG_OPTION_PATTERNS:
    case EG_OPTION_ORIGINS:
    case EG_OPTION_HOSTS:
        return write_list(buffer, option->name, (const void *)((const char *)target + option->offset));
    case EG_OPTION_STRING:
        text = *(char *const *)(const void *)((const char *)target + option->offset);
        eg_buffer_add_format(buffer, "%s =%s\n", option->name, text);
        return strlen(text) <= LINE_BYTES;
    case EG_OPTION_NETWORKS:
        write_networks(buffer, option->name, (const void *)((const char *)target + option->offset));
        return true;
    case EG_OPTION_CHOICES:
        return write_choices(buffer, option, number_of(option, target));
    case EG_OPTION_FLAG:
        eg_buffer_add_format(buffer, "%s = %s\n", option->name, number_of(option, target) ? "yes" : "no");
        return true;
    case EG_OPTION_CHOICE:
        eg_buffer_add_format(buffer, "%s = %s\n", option->name, option->choices[number_of(option, target)]);
        return true;
    default:
        check(number_of(option, target) >= option->least && number_of(option, target) <= option->most);
        eg_buffer_add_format(buffer, "%s = ", option->name);
        eg_buffer_add_unsigned(buffer, number_of(option, target));
        eg_buffer_add_string(buffer, option->type == EG_OPTION_TIME   ? "ms\n"
                                     : option->type == EG_OPTION_RATE ? "/h\n"
                                                                      : "\n");
        return true;
    }
}

/* False if it can't be written as a file. */
static bool write_config(struct eg_buffer *buffer, const struct eg_config *config)
{
    bool whole = true;
    eg_buffer_add_string(buffer, "[gateway]\n");
    for (size_t i = 0; i < eg_option_count; i++)
        if (eg_options[i].scope == EG_OPTION_GATEWAY)
            whole &= write_option(buffer, &eg_options[i], config, NULL);
    for (size_t s = 0; s < config->set_count; s++) {
        eg_buffer_add_format(buffer, "[set %s]\n", config->sets[s].name);
        for (size_t i = 0; i < eg_option_count; i++)
            if (eg_options[i].scope == EG_OPTION_SET)
                whole &= write_option(buffer, &eg_options[i], config, &config->sets[s]);
    }
    return whole;
}

static void changed(void *context, const char *option, bool now)
{
    (void)context;
    (void)option;
    (void)now;
    abort();
}

static void check_same_when_written(const struct eg_config *config)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    struct eg_config *again;
    struct eg_error error;
    if (write_config(&buffer, config)) {
        check(eg_config_parse(buffer.data, buffer.length, &again, &error) == 0);
        check(again->set_count == config->set_count);
        eg_config_compare(config, again, changed, NULL);
        eg_config_free(again);
    }
    eg_buffer_done(&buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct eg_config *config = NULL;
    struct eg_error error = {"", ""};
    int result = eg_config_parse((const char *)data, size, &config, &error);
    if (result) {
        check(result == -EINVAL && config == NULL);
        check(error.sentence[0] != '\0' && memchr(error.sentence, '\0', sizeof(error.sentence)) != NULL);
        return 0;
    }
    check(config->listen.count > 0 && config->workers > 0 && config->set_count > 0);
    for (size_t i = 0; i < config->listen.count; i++)
        check(eg_listening_problem(config->listen.items[i]) == NULL);
    for (size_t s = 0; s < config->set_count; s++) {
        check(config->sets[s].live_count + config->sets[s].durable_count > 0);
        check_channels(config, s, false);
        check_channels(config, s, true);
    }
    check_same_when_written(config);
    eg_config_free(config);
    return 0;
}

/*
 * From the names and patterns of a subscription to channels of one set.
 *
 * Names come first, since they decide the set; then each pattern is resolved within it, or, if there were only
 * patterns, within the one set that it matches anything of.
 */
#include "eventgate/selection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_SET UINT32_MAX

static bool is_wild(struct eg_bytes pattern)
{
    return eg_pattern_is_wild(pattern.data, pattern.length);
}

static bool same(struct eg_bytes a, struct eg_bytes b)
{
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static int select_channel(struct eg_selection *selection, struct eg_selected_channel channel)
{
    for (size_t i = 0; i < selection->count; i++)
        if (same(selection->channels[i].name, channel.name))
            return 0;
    struct eg_selected_channel *grown =
        reallocarray(selection->channels, selection->count + 1, sizeof(*selection->channels));
    if (!grown)
        return -ENOMEM;
    selection->channels = grown;
    selection->channels[selection->count++] = channel;
    return 0;
}

static int refuse(struct eg_selection *selection, const char *format, struct eg_bytes pattern, const char *rest)
{
    selection->refusal.problem = EG_PROBLEM_BAD_CHANNEL;
    snprintf(selection->refusal.detail, sizeof(selection->refusal.detail), format, (int)pattern.length, pattern.data,
             rest);
    return -EINVAL;
}

static int select_name(const struct eg_config *config, struct eg_selection *selection, struct eg_bytes name)
{
    struct eg_config_place place = eg_config_find(config, name.data, name.length);
    int set = place.set;
    if (set < 0 || (!place.durable && name.length > EG_LIVE_CHANNEL_MAX_BYTES)) {
        selection->unknown = name;
        return -ENOENT;
    }
    if (selection->set == NO_SET)
        selection->set = (uint32_t)set;
    if (selection->set != (uint32_t)set)
        return refuse(selection,
                      "\"%.*s\" is of another channel set than the channels before it: one stream reads from one set. "
                      "Open a stream for each set (GET /channels shows which is where).%s",
                      name, "");
    return select_channel(selection, (struct eg_selected_channel){name, place.durable, place.exact});
}

static bool has_match(const struct eg_config_channel *list, size_t count, struct eg_bytes pattern)
{
    for (size_t i = 0; i < count; i++)
        if (eg_pattern_overlaps(pattern.data, pattern.length, list[i].text, list[i].length))
            return true;
    return false;
}

static bool set_has_match(const struct eg_config_set *set, struct eg_bytes pattern)
{
    return has_match(set->live, set->live_count, pattern) || has_match(set->durable, set->durable_count, pattern);
}

/* Finds the one set that the pattern reaches into. */
static int find_set(const struct eg_config *config, struct eg_selection *selection, struct eg_bytes pattern)
{
    for (uint32_t i = 0; i < config->set_count; i++) {
        if (!set_has_match(&config->sets[i], pattern))
            continue;
        if (selection->set != NO_SET)
            return refuse(
                selection,
                "\"%.*s\" matches channels of several sets: one stream reads from one set. Narrow the pattern, or "
                "name the channels (GET /channels lists them).%s",
                pattern, "");
        selection->set = i;
    }
    if (selection->set == NO_SET) {
        selection->unknown = pattern;
        return -ENOENT;
    }
    return 0;
}

static int select_pattern(const struct eg_config *config, struct eg_selection *selection, struct eg_bytes pattern)
{
    if (selection->set == NO_SET) {
        int error = find_set(config, selection, pattern);
        if (error)
            return error;
    }
    const struct eg_config_set *set = &config->sets[selection->set];
    bool matched = has_match(set->durable, set->durable_count, pattern);
    int error = matched ? select_channel(selection, (struct eg_selected_channel){pattern, true, false}) : 0;
    if (error)
        return error;
    for (size_t i = 0; i < set->live_count; i++) {
        const struct eg_config_channel *live = &set->live[i];
        if (!eg_pattern_overlaps(pattern.data, pattern.length, live->text, live->length))
            continue;
        if (live->wild)
            return refuse(
                selection,
                "\"%.*s\" reaches into the live channels \"%s\", which PostgreSQL can only LISTEN to by name: name "
                "each channel that you want (channel=a&channel=b).",
                pattern, live->text);
        matched = true;
        error = select_channel(selection,
                               (struct eg_selected_channel){(struct eg_bytes){live->text, live->length}, false, true});
        if (error)
            return error;
    }
    if (matched)
        return 0;
    selection->unknown = pattern;
    return -ENOENT;
}

int eg_selection_make(const struct eg_config *config, const struct eg_subscription_request *request,
                      struct eg_selection *ret_selection)
{
    struct eg_selection selection = {.set = NO_SET};
    int error = 0;
    for (size_t i = 0; !error && i < request->channel_count; i++)
        if (!is_wild(request->channels[i]))
            error = select_name(config, &selection, request->channels[i]);
    for (size_t i = 0; !error && i < request->channel_count; i++)
        if (is_wild(request->channels[i]))
            error = select_pattern(config, &selection, request->channels[i]);
    if (error) {
        free(selection.channels);
        selection.channels = NULL;
        selection.count = 0;
    }
    *ret_selection = selection;
    return error;
}

void eg_selection_done(struct eg_selection *selection)
{
    free(selection->channels);
    selection->channels = NULL;
    selection->count = 0;
}

/*
 * The channels that are LISTENed to, and what the set says of them.
 */
#include <string.h>

#include "eventgate/listened.h"
#include "eventgate/pattern.h"

bool eg_listened_is_of(const struct eg_listened *listened, const struct eg_config_set *set)
{
    for (size_t i = 0; i < set->live_count; i++)
        if (eg_pattern_matches(set->live[i].text, set->live[i].length, listened->name, listened->name_length))
            return true;
    return false;
}

bool eg_listened_is_listed(const struct eg_listened *listened, const struct eg_config_set *set)
{
    for (size_t i = 0; i < set->live_count; i++)
        if (!set->live[i].wild && set->live[i].length == listened->name_length &&
            memcmp(set->live[i].text, listened->name, listened->name_length) == 0)
            return true;
    return false;
}

bool eg_listened_add_listed(struct eg_listened_table *table, const struct eg_config_set *set)
{
    bool made = true;
    for (size_t i = 0; made && i < set->live_count; i++) {
        const struct eg_config_channel *live = &set->live[i];
        struct eg_listened *listened = live->wild ? NULL : eg_listened_find(table, live->text, live->length);
        if (listened && !listened->permanent)
            eg_listened_set_permanent(table, listened, true);
        else if (!listened && !live->wild)
            made = eg_listened_add(table, live->text, live->length, true) != NULL;
    }
    return made;
}

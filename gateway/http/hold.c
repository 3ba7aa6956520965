/*
 * Holding channels.
 *
 * Holding a channel that the set lists by name costs nothing; holding one that it gives by a pattern asks the listener
 * for it when this worker's first holder comes (a want), and says so when the last has gone (an unwant). Only the
 * listener's answer to the latest want makes the channel confirmed: an UNLISTEN that was under way when the want was
 * sent can therefore never be overlooked. Durable channels, and patterns of them, need nobody's answer.
 */
#include "eventgate/hold.h"

#include <stdlib.h>
#include <string.h>

static void drop_if_unused(struct eg_worker_set *set, struct eg_journal_channel *channel)
{
    struct eg_holding *holding = channel->holding;
    if (channel->channel || (holding && holding->holders > 0))
        return;
    free(holding);
    channel->holding = NULL;
    eg_subscribers_forget(channel);
    eg_journal_channel_drop(set->journal, channel);
}

/* Asks the listener for the channel, if it has to be asked. False: out of memory. */
static bool want_channel(struct eg_worker_set *set, const struct eg_bytes *name, struct eg_holding *holding)
{
    const struct eg_worker_port *port = &set->worker->shared->port;
    holding->confirmed = holding->exact;
    if (holding->exact)
        return true;
    holding->want = ++set->next_want;
    return port->want(port->context, set->index, set->worker->index, name->data, name->length, holding->want,
                      &holding->unwant) == 0;
}

struct eg_journal_channel *eg_hold_channel(struct eg_worker_set *set, const struct eg_selected_channel *selected)
{
    struct eg_journal_channel *channel =
        eg_journal_channel(set->journal, selected->name.data, selected->name.length, true);
    if (!channel)
        return NULL;
    struct eg_holding *holding = channel->holding;
    if (!holding)
        holding = channel->holding = calloc(1, sizeof(*holding));
    if (holding && holding->holders == 0) {
        holding->refusal = NULL;
        holding->durable = selected->durable;
        holding->exact = selected->exact || selected->durable;
    }
    if (!holding || (holding->holders == 0 && !want_channel(set, &selected->name, holding))) {
        drop_if_unused(set, channel);
        return NULL;
    }
    holding->holders++;
    return channel;
}

static void let_channel_go(struct eg_worker_set *set, struct eg_journal_channel *channel)
{
    struct eg_holding *holding = channel->holding;
    if (--holding->holders > 0)
        return;
    if (!holding->exact) {
        const struct eg_worker_port *port = &set->worker->shared->port;
        holding->confirmed = false;
        port->unwant(port->context, holding->unwant);
        holding->unwant = NULL;
    }
    drop_if_unused(set, channel);
}

void eg_hold_listened(struct eg_worker_set *set, struct eg_journal_channel *channel, uint64_t want)
{
    struct eg_holding *holding = channel->holding;
    set->changed = true;
    if (holding && want != 0 && holding->want == want)
        holding->confirmed = true;
}

void eg_hold_refused(struct eg_worker_set *set, const struct eg_feed_item *item)
{
    struct eg_journal_channel *channel = eg_journal_channel(set->journal, item->name, strlen(item->name), false);
    struct eg_holding *holding = channel ? channel->holding : NULL;
    if (!holding || holding->want != item->want)
        return;
    holding->refusal = item->refusal;
    holding->final = item->final;
    set->changed = true;
}

void eg_hold_unlistened(struct eg_worker_set *set, struct eg_journal_channel *channel)
{
    drop_if_unused(set, channel);
}

bool eg_hold_is_of(const struct eg_hold *hold, const struct eg_config *config, uint32_t set)
{
    for (uint32_t i = 0; i < hold->count; i++) {
        const struct eg_holding *holding = hold->channels[i]->holding;
        size_t length;
        const char *name = eg_journal_channel_name(hold->channels[i], &length);
        if (holding->durable)
            continue;
        struct eg_config_place place = eg_config_find(config, name, length);
        if (place.set != (int)set || place.durable || (holding->exact && !place.exact))
            return false;
    }
    return true;
}

bool eg_hold_is_granted(const struct eg_hold *hold, const struct eg_policy *policy, const struct eg_grants *grants,
                        uint32_t set)
{
    for (uint32_t i = 0; i < hold->count; i++) {
        struct eg_bytes name;
        name.data = eg_journal_channel_name(hold->channels[i], &name.length);
        if (!eg_policy_still_allows(policy, grants, EG_RIGHT_SUBSCRIBE, set, name))
            return false;
    }
    return true;
}

void eg_hold_release(struct eg_worker_set *set, struct eg_hold *hold)
{
    for (uint32_t i = 0; i < hold->count; i++)
        let_channel_go(set, hold->channels[i]);
    free(hold->channels);
    eg_log_selection_unref(hold->selection);
    *hold = (struct eg_hold){.channels = NULL};
}

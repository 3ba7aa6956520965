/*
 * What a subscription means: from the names and patterns that were asked for to channels of one set. A pure function of
 * the configuration; any thread.
 */
#ifndef EG_SELECTION_H
#define EG_SELECTION_H

#include "eventgate/config.h"
#include "eventgate/request.h"

struct eg_selected_channel {
    struct eg_bytes name; /* borrowed from the request or the configuration; of durable channels also a pattern */
    bool durable;         /* else live */
    bool exact;           /* the set lists it by name */
};

struct eg_selection {
    uint32_t set;
    struct eg_selected_channel *channels; /* owned; without repeats */
    size_t count;
    struct eg_bytes unknown;   /* with -ENOENT: the name that no set has */
    struct eg_refusal refusal; /* with -EINVAL */
};

/*
 * All channels must be of one set. A pattern stands for itself where it can match durable channels, and for the live
 * names that the set lists; it must match something, and must not reach into a live pattern of the set, since
 * PostgreSQL can't LISTEN to a pattern: those channels would be missed in silence. 0, -ENOENT (a name outside of every
 * set, or a live one over 63 bytes), -EINVAL (refusal), -ENOMEM.
 */
int eg_selection_make(const struct eg_config *config, const struct eg_subscription_request *request,
                      struct eg_selection *ret_selection) EG_MUST_CHECK;
void eg_selection_done(struct eg_selection *selection);

#endif

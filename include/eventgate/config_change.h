/*
 * What becomes of a configuration that is in use when another one has been loaded. A configuration that runs is never
 * changed: another takes its place, and whoever still uses it has a reference.
 *
 * What runs of a set has a number on all threads, its place in `sets`. In the configuration that follows it has the
 * same place; places that no set has are holes there: all of their members are 0.
 */
#ifndef EG_CONFIG_CHANGE_H
#define EG_CONFIG_CHANGE_H

#include "eventgate/config.h"

/* An option's full name, or a set's ("[gateway] retry", "[set shop] live", "[set shop]"), and whether its change takes
 * effect now. */
typedef void (*eg_config_told)(void *context, const char *name, bool now);

/* Calls `told` for each difference. Sets are compared by name. */
void eg_config_compare(const struct eg_config *in_use, const struct eg_config *loaded, eg_config_told told,
                       void *context);

/* Gives `loaded` the values in use of what can't change while the gateway runs. 0 or -ENOMEM. */
int eg_config_keep(struct eg_config *loaded, const struct eg_config *in_use) EG_MUST_CHECK;

/* Can what runs of the set go on as `next`: with other live channels and bounds, perhaps, but the same connections and
 * kinds of channels? What everybody may do (anonymous_...) is the policy's. */
bool eg_config_set_goes_on(const struct eg_config_set *set, const struct eg_config_set *next);

/* Are their live channels the same? */
bool eg_config_same_live(const struct eg_config_set *a, const struct eg_config_set *b);

/* Moves the sets to these places (one for each, all different), of which there are `count`. 0 or -ENOMEM. */
int eg_config_arrange(struct eg_config *config, const size_t *places, size_t count) EG_MUST_CHECK;

#endif

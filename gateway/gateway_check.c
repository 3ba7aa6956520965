/*
 * What a configuration may be that is right by itself.
 */
#include <errno.h>
#include <stdio.h>

#include "eventgate/connection.h"
#include "eventgate/gateway.h"
#include "eventgate/gateway_internal.h"
#include "eventgate/policy.h"

bool eg_gateway_is_exposed(const struct eg_gateway *gateway, const struct eg_policy *policy)
{
    bool exposed = false;
    for (size_t i = 0; i < gateway->listening.count; i++)
        exposed = exposed || !gateway->listening.sockets[i].local;
    return exposed && !policy->has_keys && !gateway->config->insecure;
}

static int check_conninfo(const struct eg_config *config, const struct eg_config_set *set, struct eg_error *ret_error)
{
    struct eg_error inner;
    if (eg_connection_check_conninfo(set->postgres, &inner) == 0)
        return 0;
    ret_error->sqlstate[0] = '\0';
    snprintf(ret_error->sentence, sizeof(ret_error->sentence), "%.200s%s[set %s] postgres: %.200s",
             config->file ? config->file : "", config->file ? ": " : "", set->name, inner.sentence);
    return -EINVAL;
}

int eg_gateway_check_sets(const struct eg_config *config, struct eg_error *ret_error)
{
    int result = 0;
    for (size_t i = 0; !result && i < config->set_count; i++)
        result = check_conninfo(config, &config->sets[i], ret_error);
    return result;
}

static int check_exposure(const struct eg_config *config, struct eg_error *ret_error)
{
    const struct eg_config_list *lists[] = {eg_listening_inherits() ? NULL : &config->listen, &config->admin_listen};
    if (config->access.keys.count > 0 || config->insecure)
        return 0;
    for (size_t l = 0; l < EG_ARRAY_LENGTH(lists); l++)
        for (size_t i = 0; lists[l] && i < lists[l]->count; i++) {
            if (eg_listening_is_local(lists[l]->items[i]))
                continue;
            ret_error->sqlstate[0] = '\0';
            snprintf(ret_error->sentence, sizeof(ret_error->sentence), "%.60s: %s", lists[l]->items[i], EG_EXPOSED);
            return -EINVAL;
        }
    return 0;
}

int eg_gateway_check(const struct eg_config *config, struct eg_error *ret_error)
{
    struct eg_policy *policy;
    struct eg_tls *tls;
    int result = eg_gateway_check_sets(config, ret_error);
    if (!result)
        result = check_exposure(config, ret_error);
    if (!result && !(result = eg_policy_load(config, config, &policy, ret_error)))
        eg_policy_unref(policy);
    if (!result && !(result = eg_certificate_load(config, eg_certificate_is_needed(config), &tls, ret_error)))
        eg_tls_unref(tls);
    return result;
}

/*
 * SIGHUP: the configuration is loaded anew. Either all that it says is good, and what may change at run time does, or
 * nothing changes. Sets that are new are opened first (places.c), which takes the Postgres thread a moment; another
 * SIGHUP meanwhile loads it once more.
 */
#include <errno.h>
#include <string.h>

#include "eventgate/config_change.h"
#include "eventgate/gateway_internal.h"
#include "eventgate/log.h"
#include "eventgate/policy.h"

/* What changes is known before it is certain that anything does: a byte for `now`, and the name with its NUL. */
static void note_change(void *context, const char *option, bool now)
{
    eg_buffer_add(context, now ? "y" : "n", 1);
    eg_buffer_add(context, option, strlen(option) + 1);
}

static void log_changes(const struct eg_buffer *noted)
{
    for (const char *at = noted->data; !noted->failed && at && at < noted->data + noted->length; at += strlen(at) + 1) {
        if (*at == 'y')
            eg_log(EG_LOG_INFO, "reloaded", EG_LOG_STR("option", at + 1));
        else
            eg_log(EG_LOG_WARN, "changed in the configuration, takes effect after an upgrade or a restart",
                   EG_LOG_STR("option", at + 1));
    }
}

static void not_reloaded(const char *sentence)
{
    eg_log(EG_LOG_ERROR, "configuration not reloaded, nothing has changed", EG_LOG_STR("error", sentence));
}

/* Connections that there are keep the certificate that they began with. */
static void use_certificate(struct eg_gateway *gateway, struct eg_tls *tls)
{
    for (uint32_t i = 0; i < gateway->shared.worker_count; i++)
        if (eg_worker_use_tls(gateway->workers[i], tls) != 0)
            eg_log(EG_LOG_ERROR, "no memory for the new certificate", EG_LOG_INT("worker", i));
    eg_certificate_use(&gateway->certificate, tls, gateway->loop);
}

/* --- loading ------------------------------------------------------------------------------------------------------ */

/* Whatever can be wrong with it; leaves the change whole, or nothing. */
static int make_change(struct eg_gateway *gateway, struct eg_config *loaded, struct eg_error *error)
{
    struct eg_change *change = &gateway->change;
    change->config = loaded;
    *error = (struct eg_error){"", "out of memory"};
    eg_config_compare(gateway->config, loaded, note_change, &change->noted);
    int result = eg_gateway_check_sets(loaded, error);
    if (!result)
        result = eg_config_keep(loaded, gateway->config);
    if (!result)
        result = eg_places_arrange(gateway, loaded, error);
    if (!result)
        result = eg_policy_load(loaded, loaded, &change->policy, error);
    if (!result)
        result = eg_certificate_load(loaded, gateway->certificate.tls != NULL, &change->tls, error);
    if (!result && eg_gateway_is_exposed(gateway, change->policy)) {
        *error = (struct eg_error){"", EG_EXPOSED};
        result = -EACCES;
    }
    if (result)
        return result;
    change->policy->revocations = gateway->shared.revocations;
    if (eg_gateway_fit_connections(loaded) != 0)
        loaded->settings.max_connections = EG_LEAST_CONNECTIONS;
    eg_gateway_widen_descriptors(loaded); /* once, rather than again and again as clients come */
    return eg_places_prepare(gateway);
}

static void load_anew(struct eg_gateway *gateway)
{
    struct eg_config *loaded;
    struct eg_error error;
    enum eg_config_action action;
    if (eg_config_load(gateway->argc, gateway->argv, gateway->environment, &loaded, &action, &error) != 0) {
        not_reloaded(error.sentence);
        eg_supervision_reloaded(gateway->supervision);
    } else if (make_change(gateway, loaded, &error) != 0) {
        eg_change_done(gateway);
        not_reloaded(error.sentence);
        eg_supervision_reloaded(gateway->supervision);
    } else {
        eg_places_open(gateway);
    }
}

void eg_gateway_reload(struct eg_gateway *gateway)
{
    gateway->change.again = gateway->change.config != NULL;
    if (gateway->change.again)
        return;
    eg_supervision_reloading(gateway->supervision);
    load_anew(gateway);
}

/* --- its effect --------------------------------------------------------------------------------------------------- */

/* Nothing can fail any more. */
static void use(struct eg_gateway *gateway)
{
    struct eg_change *change = &gateway->change;
    struct eg_config *before = gateway->config;
    size_t keys = eg_keyring_count(change->policy->keyring);
    bool has_keys = change->policy->has_keys;
    struct eg_tls *tls = change->tls;
    log_changes(&change->noted);
    gateway->config = eg_config_ref(change->config);
    eg_config_free(before);
    eg_log_configure(gateway->config->settings.log_level, gateway->config->log_format);
    change->tls = NULL;
    eg_places_apply(gateway);
    if (tls)
        use_certificate(gateway, tls);
    bool unread = has_keys && eg_places_read_revocations(gateway) != 0;
    eg_revocations_miss(gateway->shared.revocations, unread);
    if (unread)
        eg_log(EG_LOG_ERROR, "no memory for reading revocations: no token is taken until another SIGHUP");
    eg_log(EG_LOG_INFO, "configuration reloaded", EG_LOG_INT("keys", keys));
}

void eg_gateway_reloaded(struct eg_gateway *gateway, bool opened)
{
    bool again = gateway->change.again;
    gateway->change.again = false;
    if (opened) {
        use(gateway);
    } else {
        eg_places_give_up(gateway);
        not_reloaded("out of memory");
    }
    eg_supervision_reloaded(gateway->supervision);
    if (again)
        eg_gateway_reload(gateway);
}

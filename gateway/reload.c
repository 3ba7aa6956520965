/*
 * SIGHUP: the configuration is loaded anew. Either all that it says is good, and what may change at run time does, or
 * nothing changes.
 */
#include "eventgate/gateway_internal.h"
#include "eventgate/log.h"
#include "eventgate/policy.h"

static void log_change(void *context, const char *option, bool now)
{
    (void)context;
    if (now)
        eg_log(EG_LOG_INFO, "reloaded", EG_LOG_STR("option", option));
    else
        eg_log(EG_LOG_WARN, "changed in the configuration, takes effect after a restart", EG_LOG_STR("option", option));
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

/* Takes over what may change, the policy, and the certificate if there is TLS. */
static void use(struct eg_gateway *gateway, struct eg_config *loaded, struct eg_policy *policy, struct eg_tls *tls)
{
    struct eg_config *config = gateway->config;
    policy->revocations = gateway->shared.revocations;
    if (policy->has_keys && eg_postgres_side_read_revocations(gateway->postgres) != 0)
        eg_log(EG_LOG_ERROR, "no memory for reading revocations");
    eg_config_reload(config, loaded, &config->settings, log_change, NULL);
    eg_config_adopt(config, loaded);
    if (eg_gateway_fit_connections(config) != 0)
        config->settings.max_connections = EG_LEAST_CONNECTIONS;
    eg_log_configure(config->settings.log_level, config->log_format);
    for (uint32_t i = 0; i < gateway->shared.worker_count; i++)
        if (eg_worker_configure(gateway->workers[i], &config->settings, policy) != 0)
            eg_log(EG_LOG_ERROR, "no memory for new settings", EG_LOG_INT("worker", i));
    if (tls)
        use_certificate(gateway, tls);
    eg_log(EG_LOG_INFO, "configuration reloaded", EG_LOG_INT("keys", eg_keyring_count(policy->keyring)));
}

static void load_anew(struct eg_gateway *gateway)
{
    struct eg_config *loaded;
    struct eg_policy *policy = NULL;
    struct eg_tls *tls = NULL;
    struct eg_error error;
    enum eg_config_action action;
    if (eg_config_load(gateway->argc, gateway->argv, gateway->environment, &loaded, &action, &error) != 0) {
        not_reloaded(error.sentence);
        return;
    }
    if (eg_policy_load(loaded, gateway->config, &policy, &error) != 0 ||
        eg_certificate_load(loaded, gateway->certificate.tls != NULL, &tls, &error) != 0) {
        not_reloaded(error.sentence);
    } else if (eg_gateway_is_exposed(gateway, policy)) {
        not_reloaded(EG_EXPOSED);
        eg_tls_unref(tls);
    } else {
        use(gateway, loaded, policy, tls);
    }
    eg_policy_unref(policy);
    eg_config_free(loaded);
}

void eg_gateway_reload(struct eg_gateway *gateway)
{
    eg_supervision_reloading(gateway->supervision);
    load_anew(gateway);
    eg_supervision_reloaded(gateway->supervision);
}

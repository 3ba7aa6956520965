/*
 * The certificate in use.
 */
#include "eventgate/certificate.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "eventgate/listening.h"
#include "eventgate/log.h"

/* When its end is a matter for a warning, and how often it is looked at. */
#define WARN_BEFORE_S (INT64_C(14) * 24 * 3600)
#define LOOK_EVERY_MS (UINT64_C(12) * 3600 * 1000)

bool eg_certificate_is_needed(const struct eg_config *config)
{
    bool needed = eg_listening_need_tls(config->listen.items, config->listen.count);
    for (size_t i = 0; i < config->admin_listen.count; i++)
        needed |= eg_listening_is_tls(config->admin_listen.items[i]);
    return needed;
}

static int fail(struct eg_error *error, const char *sentence)
{
    error->sqlstate[0] = '\0';
    snprintf(error->sentence, sizeof(error->sentence), "%s", sentence);
    return -EINVAL;
}

int eg_certificate_load(const struct eg_config *config, bool needed, struct eg_tls **ret_tls,
                        struct eg_error *ret_error)
{
    bool has_certificate = config->tls_certificate[0] != '\0', has_key = config->tls_key[0] != '\0';
    if (needed && !has_certificate)
        return fail(ret_error, "tls_certificate is missing: an address of TLS (tls:) needs a certificate and its key, "
                               "as PEM files (tls_certificate, tls_key).");
    if (has_certificate && !has_key)
        return fail(ret_error, "tls_key is missing: the certificate (tls_certificate) needs its key, as a PEM file.");
    if (!needed) {
        *ret_tls = NULL;
        return 0;
    }
    return eg_tls_load(config->tls_certificate, config->tls_key, ret_tls, ret_error);
}

/* Says until when it is valid if that is worth a warning, or `always`. */
static void tell(const struct eg_certificate *certificate, bool always)
{
    int64_t now = eg_wall_us() / 1000000, until = eg_tls_valid_until(certificate->tls);
    struct tm date;
    char text[32] = "";
    time_t at = (time_t)until;
    if (gmtime_r(&at, &date))
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &date);
    if (eg_tls_valid_from(certificate->tls) > now)
        eg_log(EG_LOG_WARN, "the TLS certificate is not valid yet: is the clock right?", EG_LOG_STR("until", text));
    else if (until <= now)
        eg_log(EG_LOG_WARN,
               "the TLS certificate has expired: clients refuse it; put a new one in its place and send "
               "SIGHUP",
               EG_LOG_STR("until", text));
    else if (until - now < WARN_BEFORE_S)
        eg_log(EG_LOG_WARN, "the TLS certificate is about to expire: put a new one in its place and send SIGHUP",
               EG_LOG_STR("until", text));
    else if (always)
        eg_log(EG_LOG_INFO, "TLS certificate loaded", EG_LOG_STR("until", text));
}

static void arm(struct eg_certificate *certificate)
{
    if (eg_timer_set(certificate->loop, &certificate->timer, eg_loop_now_ms(certificate->loop) + LOOK_EVERY_MS) != 0)
        eg_log(EG_LOG_WARN, "no memory for the certificate's timer");
}

static void look(struct eg_timer *timer)
{
    struct eg_certificate *certificate = EG_CONTAINER_OF(timer, struct eg_certificate, timer);
    tell(certificate, false);
    arm(certificate);
}

void eg_certificate_use(struct eg_certificate *certificate, struct eg_tls *tls, struct eg_loop *loop)
{
    eg_tls_unref(certificate->tls);
    certificate->tls = tls;
    certificate->loop = loop;
    certificate->timer.fire = look;
    if (!certificate->metrics)
        certificate->metrics = eg_metrics_new(NULL);
    if (certificate->metrics)
        eg_metrics_set(certificate->metrics, EG_METRIC_CERTIFICATE_END, eg_tls_valid_until(tls));
    tell(certificate, true);
    arm(certificate);
}

void eg_certificate_done(struct eg_certificate *certificate)
{
    if (certificate->loop)
        eg_timer_cancel(certificate->loop, &certificate->timer);
    eg_metrics_free(certificate->metrics);
    eg_tls_unref(certificate->tls);
    *certificate = (struct eg_certificate){.tls = NULL};
}

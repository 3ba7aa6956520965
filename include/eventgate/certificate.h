/*
 * The certificate that the gateway serves TLS with: loaded at start and at reload, watched for its end. The main
 * thread.
 */
#ifndef EG_CERTIFICATE_H
#define EG_CERTIFICATE_H

#include <stdbool.h>

#include "eventgate/config.h"
#include "eventgate/loop.h"
#include "eventgate/metrics.h"
#include "eventgate/tls.h"

/* Zero-initialise. */
struct eg_certificate {
    struct eg_tls *tls; /* a reference; NULL: no TLS */
    struct eg_metrics *metrics;
    struct eg_loop *loop;
    struct eg_timer timer;
};

/*
 * Loads what the configuration names. `needed`: there are addresses of TLS. 0: `ret_tls` is owned by the caller, NULL
 * where TLS isn't needed; or -EINVAL, -ENOMEM or the system's errno with a sentence that names the option.
 */
int eg_certificate_load(const struct eg_config *config, bool needed, struct eg_tls **ret_tls,
                        struct eg_error *ret_error) EG_MUST_CHECK;

/* Is any address of the configuration, or inherited socket, one of TLS? Before the sockets are opened. */
bool eg_certificate_is_needed(const struct eg_config *config);

/* Takes the reference over, logs until when the certificate is valid, and goes on warning by a timer of `loop` when
 * that is over or soon will be. */
void eg_certificate_use(struct eg_certificate *certificate, struct eg_tls *tls, struct eg_loop *loop);

void eg_certificate_done(struct eg_certificate *certificate);

#endif

/*
 * What TLS is served with: a certificate with its chain, its key, the versions that are allowed. Immutable and counted,
 * so that connections keep what they began with while new ones begin with what was loaded last.
 */
#ifndef EG_TLS_H
#define EG_TLS_H

#include <stdbool.h>

#include "eventgate/common.h"

struct gnutls_session_int; /* what a gnutls_session_t points to */
struct eg_tls;

/*
 * Reads the certificate, followed by its chain, and the key of it, from PEM files of at most 1 MiB each. 0; -EINVAL, or
 * the system's errno, with a sentence that names the option (tls_certificate, tls_key) and the file: not readable, no
 * PEM, an encrypted key, a certificate and a key that don't belong together; -ENOMEM. One that has expired is taken.
 * Reads files: the main thread.
 */
int eg_tls_load(const char *certificate_path, const char *key_path, struct eg_tls **ret_tls,
                struct eg_error *ret_error) EG_MUST_CHECK;

/* Any thread. */
struct eg_tls *eg_tls_ref(struct eg_tls *tls);
void eg_tls_unref(struct eg_tls *tls); /* takes NULL */

/* What is seen to be free before GnuTLS is let near a handshake or a key: libtasn1, and Nettle with GMP, which it works
 * with, crash or end the process when they get no memory. A step takes less than 150 kB (with ffdhe8192 and an RSA key
 * of 8,192 bits; 6 kB with the curves). */
#define EG_TLS_MEMORY_BYTES 262144u
bool eg_tls_has_memory(void);

/* From when to when the certificate is valid, in seconds since 1970. */
int64_t eg_tls_valid_from(const struct eg_tls *tls);
int64_t eg_tls_valid_until(const struct eg_tls *tls);

/* Makes a server's session one that uses it; the session must end before it is let go of. 0, or a GnuTLS error. For
 * wire.c. */
int eg_tls_apply(struct eg_tls *tls, struct gnutls_session_int *session) EG_MUST_CHECK;

#endif

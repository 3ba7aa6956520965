/* Certificates for tests, made by GnuTLS, in a folder of the test's own. */
#ifndef TLS_FIXTURE_H
#define TLS_FIXTURE_H

#include "eventgate/tls.h"

struct tls_fixture {
    char folder[64];
    char certificate[96], key[96]; /* paths */
};

void tls_fixture_make(struct tls_fixture *fixture);
void tls_fixture_remove(struct tls_fixture *fixture);

/* Puts a new pair in its place, valid for so many days from yesterday on. */
void tls_fixture_renew(struct tls_fixture *fixture, int days);

/* Writes one of its files. */
void tls_fixture_write(const char *path, const char *text);

/* Loads the pair, which must be good. */
struct eg_tls *tls_fixture_load(const struct tls_fixture *fixture);

#endif

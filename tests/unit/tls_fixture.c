#include "tls_fixture.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { DAY = 24 * 3600 };

void tls_fixture_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

void tls_fixture_renew(struct tls_fixture *fixture, int days)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t certificate;
    gnutls_datum_t text;
    time_t yesterday = time(NULL) - DAY;
    assert_int_equal(gnutls_x509_privkey_init(&key), 0);
    assert_int_equal(
        gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0), 0);
    assert_int_equal(gnutls_x509_crt_init(&certificate), 0);
    assert_int_equal(gnutls_x509_crt_set_version(certificate, 3), 0);
    assert_int_equal(gnutls_x509_crt_set_serial(certificate, "\1", 1), 0);
    assert_int_equal(gnutls_x509_crt_set_activation_time(certificate, yesterday), 0);
    assert_int_equal(gnutls_x509_crt_set_expiration_time(certificate, yesterday + (time_t)days * DAY), 0);
    assert_int_equal(gnutls_x509_crt_set_dn(certificate, "CN=localhost", NULL), 0);
    assert_int_equal(gnutls_x509_crt_set_key(certificate, key), 0);
    assert_int_equal(gnutls_x509_crt_sign2(certificate, certificate, key, GNUTLS_DIG_SHA256, 0), 0);
    assert_int_equal(gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &text), 0);
    tls_fixture_write(fixture->certificate, (char *)text.data);
    gnutls_free(text.data);
    assert_int_equal(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &text), 0);
    tls_fixture_write(fixture->key, (char *)text.data);
    gnutls_free(text.data);
    gnutls_x509_crt_deinit(certificate);
    gnutls_x509_privkey_deinit(key);
}

void tls_fixture_make(struct tls_fixture *fixture)
{
    snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/eventgate-test-tls-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    snprintf(fixture->certificate, sizeof(fixture->certificate), "%s/certificate.pem", fixture->folder);
    snprintf(fixture->key, sizeof(fixture->key), "%s/key.pem", fixture->folder);
    tls_fixture_renew(fixture, 30);
}

void tls_fixture_remove(struct tls_fixture *fixture)
{
    unlink(fixture->certificate);
    unlink(fixture->key);
    rmdir(fixture->folder);
}

struct eg_tls *tls_fixture_load(const struct tls_fixture *fixture)
{
    struct eg_tls *tls = NULL;
    struct eg_error error;
    if (eg_tls_load(fixture->certificate, fixture->key, &tls, &error) != 0)
        fail_msg("%s", error.sentence);
    return tls;
}

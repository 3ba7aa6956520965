/*
 * Certificates and keys.
 *
 * TLS 1.2 is the oldest version that is spoken, with the server's preferences. Sessions may be resumed by tickets
 * (RFC 5077, RFC 8446), which saves the signature when many clients come back at once; the key that tickets are
 * encrypted with is the process's, so that they outlive a reload of the certificate.
 */
#include "eventgate/tls.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "eventgate/file.h"

#define FILE_BYTES_MAX (1u << 20)
#define CHAIN_MAX 16u

struct eg_tls {
    _Atomic uint32_t references;
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priorities;
    int64_t valid_from, valid_until;
};

static gnutls_datum_t ticket_key; /* of the process; never freed */
static pthread_once_t ticket_key_once = PTHREAD_ONCE_INIT;

static void make_ticket_key(void)
{
    if (gnutls_session_ticket_key_generate(&ticket_key) != GNUTLS_E_SUCCESS)
        ticket_key.size = 0; /* nobody resumes */
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static int fail(struct eg_error *error, const char *option, const char *path, const char *problem, int number)
{
    error->sqlstate[0] = '\0';
    snprintf(error->sentence, sizeof(error->sentence), "%s: %.200s %s", option, path, problem);
    return number;
}

/* The file as a string, which is to be wiped and freed by forget(). */
static int read_file(const char *option, const char *path, gnutls_datum_t *ret_text, struct eg_error *error)
{
    char problem[160];
    unsigned char *text = malloc(FILE_BYTES_MAX + 1);
    if (!text)
        return -ENOMEM;
    FILE *file = eg_file_open_regular(path);
    size_t length = file ? fread(text, 1, FILE_BYTES_MAX + 1, file) : 0;
    int number = !file || ferror(file) ? errno : 0;
    if (file)
        fclose(file);
    *ret_text = (gnutls_datum_t){text, (unsigned)length};
    if (number) {
        snprintf(problem, sizeof(problem), "cannot be read: %s.", eg_file_problem(number));
        return fail(error, option, path, problem, -number);
    }
    if (length > FILE_BYTES_MAX)
        return fail(error, option, path, "is larger than 1 MB, and so not what it should be.", -EINVAL);
    text[length] = '\0';
    return 0;
}

static void forget(gnutls_datum_t *text)
{
    if (text->data)
        gnutls_memset(text->data, 0, text->size);
    free(text->data);
    *text = (gnutls_datum_t){NULL, 0};
}

/* --- making ------------------------------------------------------------------------------------------------------ */

static int read_dates(struct eg_tls *tls, const char *path, const gnutls_datum_t *certificate, struct eg_error *error)
{
    gnutls_x509_crt_t chain[CHAIN_MAX];
    unsigned count = CHAIN_MAX;
    int found = gnutls_x509_crt_list_import(chain, &count, certificate, GNUTLS_X509_FMT_PEM, 0);
    if (found == GNUTLS_E_MEMORY_ERROR)
        return -ENOMEM;
    if (found == GNUTLS_E_SHORT_MEMORY_BUFFER)
        return fail(error, "tls_certificate", path, "has more than 16 certificates.", -EINVAL);
    if (found <= 0)
        return fail(error, "tls_certificate", path, "has no certificate in PEM form (\"-----BEGIN CERTIFICATE-----\").",
                    -EINVAL);
    tls->valid_from = gnutls_x509_crt_get_activation_time(chain[0]);
    tls->valid_until = gnutls_x509_crt_get_expiration_time(chain[0]);
    for (int i = 0; i < found; i++)
        gnutls_x509_crt_deinit(chain[i]);
    return 0;
}

/* Is the key readable at all? What else is wrong then is between the two. */
static int check_key(const char *path, const gnutls_datum_t *text, struct eg_error *error)
{
    gnutls_x509_privkey_t key;
    int found = gnutls_x509_privkey_init(&key);
    if (found != GNUTLS_E_SUCCESS)
        return -ENOMEM;
    found = gnutls_x509_privkey_import2(key, text, GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_x509_privkey_deinit(key);
    if (found == GNUTLS_E_SUCCESS)
        return 0;
    if (found == GNUTLS_E_DECRYPTION_FAILED || strstr((const char *)text->data, "ENCRYPTED"))
        return fail(error, "tls_key", path,
                    "is encrypted. Give a key without a passphrase (openssl pkey -in KEY -out NEW).", -EINVAL);
    return fail(error, "tls_key", path, "has no private key in PEM form (\"-----BEGIN PRIVATE KEY-----\").", -EINVAL);
}

static int set_up(struct eg_tls *tls, const char *certificate_path, const gnutls_datum_t *certificate,
                  const gnutls_datum_t *key, struct eg_error *error)
{
    char problem[200];
    if (gnutls_certificate_allocate_credentials(&tls->credentials) != GNUTLS_E_SUCCESS ||
        gnutls_priority_init(&tls->priorities, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE", NULL) !=
            GNUTLS_E_SUCCESS)
        return -ENOMEM;
    int result = gnutls_certificate_set_x509_key_mem2(tls->credentials, certificate, key, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (result >= 0)
        return 0;
    if (result == GNUTLS_E_MEMORY_ERROR)
        return -ENOMEM;
    if (result == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
        return fail(error, "tls_certificate", certificate_path,
                    "does not belong to the key (tls_key). Its own certificate comes first, then the chain.", -EINVAL);
    snprintf(problem, sizeof(problem), "cannot be used: %s", gnutls_strerror(result));
    return fail(error, "tls_certificate", certificate_path, problem, -EINVAL);
}

int eg_tls_load(const char *certificate_path, const char *key_path, struct eg_tls **ret_tls, struct eg_error *ret_error)
{
    gnutls_datum_t certificate = {NULL, 0}, key = {NULL, 0};
    *ret_error = (struct eg_error){"", "out of memory"};
    struct eg_tls *tls = eg_tls_has_memory() ? calloc(1, sizeof(*tls)) : NULL;
    if (!tls)
        return -ENOMEM;
    tls->references = 1;
    pthread_once(&ticket_key_once, make_ticket_key);
    int error = read_file("tls_certificate", certificate_path, &certificate, ret_error);
    if (!error)
        error = read_file("tls_key", key_path, &key, ret_error);
    if (!error)
        error = read_dates(tls, certificate_path, &certificate, ret_error);
    if (!error)
        error = check_key(key_path, &key, ret_error);
    if (!error)
        error = set_up(tls, certificate_path, &certificate, &key, ret_error);
    forget(&certificate);
    forget(&key);
    if (error)
        eg_tls_unref(tls);
    else
        *ret_tls = tls;
    return error;
}

struct eg_tls *eg_tls_ref(struct eg_tls *tls)
{
    atomic_fetch_add_explicit(&tls->references, 1, memory_order_relaxed);
    return tls;
}

void eg_tls_unref(struct eg_tls *tls)
{
    if (!tls || atomic_fetch_sub_explicit(&tls->references, 1, memory_order_acq_rel) > 1)
        return;
    if (tls->credentials)
        gnutls_certificate_free_credentials(tls->credentials);
    if (tls->priorities)
        gnutls_priority_deinit(tls->priorities);
    free(tls);
}

bool eg_tls_has_memory(void)
{
    void *volatile memory = malloc(EG_TLS_MEMORY_BYTES);
    free(memory);
    return memory != NULL;
}

/* --- using ------------------------------------------------------------------------------------------------------- */

int64_t eg_tls_valid_from(const struct eg_tls *tls)
{
    return tls->valid_from;
}

int64_t eg_tls_valid_until(const struct eg_tls *tls)
{
    return tls->valid_until;
}

int eg_tls_apply(struct eg_tls *tls, struct gnutls_session_int *session)
{
    static unsigned char http_1_1[] = "http/1.1", http_1_0[] = "http/1.0";
    static const gnutls_datum_t protocols[] = {{http_1_1, sizeof(http_1_1) - 1}, {http_1_0, sizeof(http_1_0) - 1}};
    int error = gnutls_priority_set(session, tls->priorities);
    if (error == GNUTLS_E_SUCCESS)
        error = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, tls->credentials);
    if (error == GNUTLS_E_SUCCESS) /* a client that wants none of them is told so (RFC 7301) */
        error = gnutls_alpn_set_protocols(session, protocols, EG_ARRAY_LENGTH(protocols), GNUTLS_ALPN_MANDATORY);
    if (error == GNUTLS_E_SUCCESS && ticket_key.size > 0)
        error = gnutls_session_ticket_enable_server(session, &ticket_key);
    return error;
}

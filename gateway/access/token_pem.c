/*
 * Keys in PEM: public keys and certificates, several in a file.
 */
#include "eventgate/token_internal.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#define NUMBER_MAX_BYTES 2048 /* RSA of 16,384 bits, which OpenSSL takes at most */

static EVP_PKEY *key_of(const char *name, const unsigned char *data, long length)
{
    if (strcmp(name, PEM_STRING_PUBLIC) == 0)
        return d2i_PUBKEY(NULL, &data, length);
    if (strcmp(name, PEM_STRING_RSA_PUBLIC) == 0)
        return d2i_PublicKey(EVP_PKEY_RSA, NULL, &data, length);
    if (strcmp(name, PEM_STRING_X509) != 0)
        return NULL;
    X509 *certificate = d2i_X509(NULL, &data, length);
    EVP_PKEY *key = certificate ? X509_get_pubkey(certificate) : NULL;
    X509_free(certificate);
    return key;
}

/* A number of the key, big-endian, in `size` bytes, or (0) in as many as it has. */
static bool number_of(const EVP_PKEY *key, const char *name, size_t size, unsigned char *to, struct eg_bytes *ret)
{
    BIGNUM *number = NULL;
    bool good = EVP_PKEY_get_bn_param(key, name, &number) == 1 && BN_num_bytes(number) <= NUMBER_MAX_BYTES;
    int length = good ? BN_bn2binpad(number, to, size ? (int)size : BN_num_bytes(number)) : -1;
    BN_free(number);
    *ret = (struct eg_bytes){(const char *)to, length > 0 ? (size_t)length : 0};
    return length > 0;
}

static int add_rsa(const struct eg_token_key_source *source, const EVP_PKEY *key)
{
    unsigned char n[NUMBER_MAX_BYTES], e[NUMBER_MAX_BYTES];
    struct eg_bytes modulus, exponent;
    if (!number_of(key, OSSL_PKEY_PARAM_RSA_N, 0, n, &modulus) ||
        !number_of(key, OSSL_PKEY_PARAM_RSA_E, 0, e, &exponent))
        return eg_token_key_refused(source, "the RSA key can't be read; export it anew");
    return eg_token_add_rsa(source, modulus, exponent);
}

static int add_ec(const struct eg_token_key_source *source, const EVP_PKEY *key)
{
    char group[40];
    unsigned char x_bytes[NUMBER_MAX_BYTES], y_bytes[NUMBER_MAX_BYTES];
    struct eg_bytes x, y;
    const struct eg_token_algorithm *of_curve = NULL;
    if (EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group), NULL) == 1)
        of_curve = eg_token_algorithm_of_curve(group);
    if (!of_curve || !number_of(key, OSSL_PKEY_PARAM_EC_PUB_X, of_curve->coordinate_bytes, x_bytes, &x) ||
        !number_of(key, OSSL_PKEY_PARAM_EC_PUB_Y, of_curve->coordinate_bytes, y_bytes, &y))
        return eg_token_key_refused(source, "the key is on a curve other than P-256, P-384 and P-521");
    return eg_token_add_ec(source, of_curve, x, y);
}

static int add_block(const struct eg_token_key_source *file, const char *name, const unsigned char *data, long length)
{
    struct eg_token_key_source source = *file;
    if (strstr(name, "PRIVATE KEY"))
        return eg_token_key_refused(file, "there is a private key in it; give the gateway the public half alone: "
                                          "openssl pkey -pubout -in FILE");
    EVP_PKEY *key = key_of(name, data, length);
    int result;
    switch (key ? EVP_PKEY_get_base_id(key) : EVP_PKEY_NONE) {
    case EVP_PKEY_RSA_PSS:
        if (!source.algorithm)
            source.algorithm = eg_token_algorithm("PS256");
        result = add_rsa(&source, key);
        break;
    case EVP_PKEY_RSA:
        result = add_rsa(&source, key);
        break;
    case EVP_PKEY_EC:
        result = add_ec(&source, key);
        break;
    default:
        result = eg_token_key_refused(file, "the block \"%s\" is no public key or certificate of RSA or EC", name);
    }
    EVP_PKEY_free(key);
    return result;
}

int eg_token_add_pem(const struct eg_token_key_source *source, const char *text, size_t length)
{
    BIO *bio = length <= INT32_MAX ? BIO_new_mem_buf(text, (int)length) : NULL;
    char *name, *header;
    unsigned char *data;
    long data_length;
    size_t before = source->keyring->count;
    int result = bio ? 0 : -ENOMEM;
    while (!result && PEM_read_bio(bio, &name, &header, &data, &data_length) == 1) {
        result = add_block(source, name, data, data_length);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(data);
    }
    if (!result && (source->keyring->count == before || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE))
        result = eg_token_key_refused(source, "its PEM is damaged; export the key anew");
    BIO_free(bio);
    ERR_clear_error();
    return result;
}

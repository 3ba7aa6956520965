/*
 * Keys that belong to a subject.
 */
#include "eventgate/token_scope.h"

#include <openssl/evp.h>
#include <string.h>

#define MARK "for "

/* Of the subject, a NUL, which it can't have, and the key. */
static bool digest(const char *subject, struct eg_bytes key, unsigned char ret_digest[EVP_MAX_MD_SIZE],
                   unsigned *ret_length)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool made = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(context, subject, strlen(subject) + 1) == 1 &&
                EVP_DigestUpdate(context, key.data, key.length) == 1 &&
                EVP_DigestFinal_ex(context, ret_digest, ret_length) == 1;
    EVP_MD_CTX_free(context);
    return made;
}

size_t eg_token_scope_key(const char *subject, struct eg_bytes key, char ret_key[EG_SCOPED_KEY_MAX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    size_t mark = strlen(MARK);
    if (!subject[0] && (key.length < mark || memcmp(key.data, MARK, mark) != 0)) {
        memcpy(ret_key, key.data, key.length);
        return key.length;
    }
    if (!digest(subject, key, bytes, &length))
        return 0;
    for (size_t i = 0; i < mark; i++)
        ret_key[i] = MARK[i];
    for (size_t i = 0; i < length; i++) {
        ret_key[mark + 2 * i] = digits[bytes[i] >> 4];
        ret_key[mark + 2 * i + 1] = digits[bytes[i] & 15];
    }
    return mark + 2 * (size_t)length;
}

/*
 * The first byte chooses: `t`, a token against a keyring; `s`, header and claims, parted by a line feed, in a token
 * that is signed rightly; `k`, a key file, its algorithm chosen by the next byte.
 */
#include "eventgate/token.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#define NOW_S 1700000000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char secret[] = "0123456789abcdefghijklmnopqrstuv";
static const char keys[] =
    "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"e\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},"
    "{\"kty\":\"RSA\",\"kid\":\"r\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-"
    "4qPCJrcS2mJP"
    "MEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-"
    "bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-"
    "KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_"
    "h9iaGNj8q2ethFkML"
    "s91kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}]}";

static void check(bool holds)
{
    if (!holds)
        abort();
}

static const struct eg_keyring *keyring(void)
{
    static struct eg_keyring *ring;
    struct eg_error error;
    if (!ring) {
        ring = eg_keyring_new();
        check(ring && !eg_keyring_add(ring, "secret", secret, strlen(secret), "HS256", &error));
        check(!eg_keyring_add(ring, "keys", keys, strlen(keys), NULL, &error));
    }
    return ring;
}

static enum eg_token_fault verify(const char *token, size_t length)
{
    static const char *const issuers[] = {"joe"}, *const audiences[] = {"events"};
    static unsigned turn;
    struct eg_token_rules rules = {.keyring = keyring(),
                                   .issuers = issuers,
                                   .audiences = audiences,
                                   .claim = "eventgate",
                                   .dialects = {true, true, true},
                                   .leeway_s = 5};
    struct eg_grants *grants = NULL;
    rules.issuer_count = ++turn % 4 == 0;
    rules.audience_count = turn % 4 == 1;
    enum eg_token_fault fault = eg_token_verify(&rules, token, length, NOW_S, &grants);
    check(fault < EG_TOKEN_FAULT_COUNT && fault != EG_TOKEN_OUT_OF_MEMORY);
    check((fault == EG_TOKEN_GOOD) == (grants != NULL));
    if (grants) {
        check(eg_grants_expires_s(grants) > NOW_S);
        check(eg_grants_issued_s(grants) <= NOW_S + 5);
        check(eg_grants_allow_any(grants, EG_RIGHT_PUBLISH) || !eg_grants_allow(grants, EG_RIGHT_PUBLISH, "a", 1));
    }
    eg_grants_unref(grants);
    return fault;
}

static size_t add_base64url(char *to, const void *bytes, size_t length)
{
    size_t end = (size_t)EVP_EncodeBlock((unsigned char *)to, bytes, (int)length);
    while (end > 0 && to[end - 1] == '=')
        end--;
    for (size_t i = 0; i < end; i++)
        to[i] = to[i] == '+' ? '-' : to[i] == '/' ? '_' : to[i];
    return end;
}

static void verify_signed(const char *text, size_t size)
{
    const char *newline = memchr(text, '\n', size);
    if (!newline)
        return;
    char *token = malloc(2 * size + 100);
    size_t header_length = (size_t)(newline - text), length = add_base64url(token, text, header_length);
    unsigned char mac[32];
    token[length++] = '.';
    length += add_base64url(token + length, newline + 1, size - header_length - 1);
    check(HMAC(EVP_sha256(), secret, (int)strlen(secret), (unsigned char *)token, length, mac, NULL) != NULL);
    token[length++] = '.';
    length += add_base64url(token + length, mac, sizeof(mac));
    enum eg_token_fault fault = verify(token, length);
    token[length - 5] = token[length - 5] == 'A' ? 'B' : 'A';
    check(verify(token, length) != EG_TOKEN_GOOD);
    check(fault != EG_TOKEN_GOOD || memmem(text, header_length, "alg", 3));
    free(token);
}

static void read_keys(const char *text, size_t size)
{
    static const char *const algorithms[] = {NULL, "HS256", "HS512", "RS256", "PS384", "ES256", "ES512", "none"};
    struct eg_keyring *ring = eg_keyring_new();
    struct eg_error error = {.sentence = ""};
    check(ring != NULL);
    int result = eg_keyring_add(ring, "file", text + 1, size - 1, algorithms[(unsigned char)text[0] % 8], &error);
    check(result == 0 || result == -EINVAL);
    check((result == 0) == (error.sentence[0] == '\0'));
    check(result != 0 || eg_keyring_count(ring) > 0);
    eg_keyring_unref(ring);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data + 1;
    if (size > 1 && data[0] == 't')
        (void)verify(text, size - 1);
    else if (size > 1 && data[0] == 's')
        verify_signed(text, size - 1);
    else if (size > 1 && data[0] == 'k')
        read_keys(text, size - 1);
    return 0;
}

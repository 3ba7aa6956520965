/* Verifying tokens: the examples of RFC 7515, each algorithm, and each way to be refused. */
#include "eventgate/token.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "token_fixture.h"

#define GRANT "{\"eventgate\":{\"subscribe\":[\"a\"]}}"

/* The linker puts these before the module's own allocations (those that it makes for cjose, jansson and OpenSSL
 * included). */
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

static long allocations_left = -1; /* -1: as many as are wanted */

static bool may_allocate(void)
{
    return allocations_left < 0 || allocations_left-- > 0;
}

void *__wrap_malloc(size_t size)
{
    return may_allocate() ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t count, size_t size)
{
    return may_allocate() ? __real_calloc(count, size) : NULL;
}

static struct eg_token_rules rules_of(const struct eg_keyring *ring)
{
    return (struct eg_token_rules){.keyring = ring, .claim = "eventgate", .dialects = {true}};
}

static enum eg_token_fault verify_at(const struct eg_keyring *ring, const char *token, int64_t now_s)
{
    struct eg_token_rules rules = rules_of(ring);
    struct eg_grants *grants = NULL;
    enum eg_token_fault fault = eg_token_verify(&rules, token, strlen(token), now_s, &grants);
    assert_int_equal(fault == EG_TOKEN_GOOD, grants != NULL);
    eg_grants_unref(grants);
    return fault;
}

/* Takes the token. */
static enum eg_token_fault verify(const struct eg_keyring *ring, char *token)
{
    enum eg_token_fault fault = verify_at(ring, token, TOKEN_NOW);
    free(token);
    return fault;
}

static struct eg_keyring *ring_of(const char *algorithm)
{
    char *jwk = token_fixture_jwk(algorithm, "");
    struct eg_keyring *ring = token_fixture_ring(jwk, algorithm);
    free(jwk);
    return ring;
}

/* --- RFC 7515, appendix A --- */

#define RFC_CLAIMS "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#define RFC_EXPIRES_S 1300819380

struct example {
    const char *jwk, *token;
};

static const struct example rfc_examples[] = {
    {"{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-"
     "1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"}",
     "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." RFC_CLAIMS ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
    {"{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-"
     "4qPCJrcS2mJPMEzP1Pt0Bm4"
     "d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS"
     "-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91"
     "kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"}",
     "eyJhbGciOiJSUzI1NiJ9." RFC_CLAIMS ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc"
     "_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07"
     "Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rq"
     "Vt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"},
    {"{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
     "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
     "eyJhbGciOiJFUzI1NiJ9." RFC_CLAIMS
     ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
};

static void verifies_the_examples_of_rfc_7515(void **state)
{
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rfc_examples); i++) {
        struct eg_keyring *ring = token_fixture_ring(rfc_examples[i].jwk, NULL);
        assert_int_equal(verify_at(ring, rfc_examples[i].token, RFC_EXPIRES_S - 1), EG_TOKEN_NO_GRANTS);
        assert_int_equal(verify_at(ring, rfc_examples[i].token, RFC_EXPIRES_S), EG_TOKEN_EXPIRED);
        eg_keyring_unref(ring);
    }
}

/* Appendix A.4, whose payload is no JSON: that shows only once the signature is right. */
static void verifies_the_example_with_es512(void **state)
{
    static const char jwk[] =
        "{\"kty\":\"EC\",\"crv\":\"P-521\","
        "\"x\":\"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk\","
        "\"y\":\"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2\"}";
    static const char signed_part[] = "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.";
    static const char signature[] = "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-"
                                    "KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZC"
                                    "PEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn";
    struct eg_keyring *ring = token_fixture_ring(jwk, NULL);
    char token[300];
    (void)state;
    snprintf(token, sizeof(token), "%s%s", signed_part, signature);
    assert_int_equal(verify_at(ring, token, TOKEN_NOW), EG_TOKEN_MALFORMED);
    token[strlen(signed_part) + 20] ^= 1;
    assert_int_equal(verify_at(ring, token, TOKEN_NOW), EG_TOKEN_SIGNATURE);
    eg_keyring_unref(ring);
}

static void refuses_the_unsecured_example(void **state)
{
    struct eg_keyring *ring = ring_of("HS256");
    (void)state;
    assert_int_equal(verify_at(ring, "eyJhbGciOiJub25lIn0." RFC_CLAIMS ".", 0), EG_TOKEN_ALGORITHM);
    eg_keyring_unref(ring);
}

/* --- algorithms --- */

static char *damaged(const char *token, const char *part_end, long step)
{
    char *copy = strdup(token);
    char *at = copy + (part_end - token) + step;
    *at = *at == 'A' ? 'B' : 'A';
    return copy;
}

static void verifies_each_algorithm(void **state)
{
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(token_algorithms); i++) {
        struct eg_keyring *ring = ring_of(token_algorithms[i]);
        char *token = token_fixture_token(token_algorithms[i], GRANT);
        assert_int_equal(verify_at(ring, token, TOKEN_NOW), EG_TOKEN_GOOD);
        assert_int_equal(verify(ring, damaged(token, strrchr(token, '.'), 1)), EG_TOKEN_SIGNATURE);
        assert_int_equal(verify(ring, damaged(token, strchr(token, '.'), 5)), EG_TOKEN_SIGNATURE);
        assert_int_equal(verify(ring, token_fixture_token(token_algorithms[(i + 1) % 12], GRANT)),
                         EG_TOKEN_UNKNOWN_KEY);
        eg_keyring_unref(ring);
        free(token);
    }
}

/* A signature of a wrong length, empty, longer, or as DER. */
static void refuses_signatures_of_another_form(void **state)
{
    static const char *const others[] = {"", "AA", "AAAA",
                                         "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}; /* 32 bytes */
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(token_algorithms); i++) {
        struct eg_keyring *ring = ring_of(token_algorithms[i]);
        char *token = token_fixture_token(token_algorithms[i], GRANT), *other;
        int signed_length = (int)(strrchr(token, '.') - token);
        for (size_t j = 0; j < EG_ARRAY_LENGTH(others); j++) {
            assert_true(asprintf(&other, "%.*s.%s", signed_length, token, others[j]) > 0);
            assert_int_equal(verify(ring, other), EG_TOKEN_SIGNATURE);
        }
        token[signed_length] = '\0';
        if (token_algorithms[i][0] == 'E') {
            char *der = token_fixture_raw_signature(token_algorithms[i], token);
            assert_true(asprintf(&other, "%s.%s", token, der) > 0);
            assert_int_equal(verify(ring, other), EG_TOKEN_SIGNATURE);
            free(der);
        }
        free(token);
        eg_keyring_unref(ring);
    }
}

/* All zeros: r = s = 0 (CVE-2022-21449), an RSA signature of 0, an empty HMAC. */
static void refuses_signatures_of_zeros(void **state)
{
    static const unsigned char zeros[256];
    static const size_t lengths[] = {32, 48, 64, 256, 256, 256, 256, 256, 256, 64, 96, 132};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(token_algorithms); i++) {
        struct eg_keyring *ring = ring_of(token_algorithms[i]);
        char *token = token_fixture_token(token_algorithms[i], GRANT), *other;
        char *signature = token_fixture_base64url(zeros, lengths[i]);
        assert_true(asprintf(&other, "%.*s.%s", (int)(strrchr(token, '.') - token), token, signature) > 0);
        assert_int_equal(verify(ring, other), EG_TOKEN_SIGNATURE);
        free(signature);
        free(token);
        eg_keyring_unref(ring);
    }
}

/* HS256 with the text of the RSA key as its secret: with the key's id, or without. */
static void an_rsa_key_is_no_shared_secret(void **state)
{
    char *pem = token_fixture_pem("RS256"), *jwk = token_fixture_jwk("RS256", "\"kid\":\"r\",");
    struct eg_bytes body = {GRANT, strlen(GRANT)};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        const char *text = i % 2 ? pem : jwk;
        struct eg_keyring *ring = token_fixture_ring(text, NULL);
        const char *header = i < 2 ? "{\"alg\":\"HS256\"}" : "{\"alg\":\"HS256\",\"kid\":\"r\"}";
        char *signed_part = token_fixture_compact((struct eg_bytes){header, strlen(header)}, body, NULL), *token;
        char *signature = token_fixture_hs256((struct eg_bytes){text, strlen(text)}, signed_part);
        assert_true(asprintf(&token, "%s.%s", signed_part, signature) > 0);
        assert_int_equal(verify(ring, token), i < 2 ? EG_TOKEN_UNKNOWN_KEY : EG_TOKEN_ALGORITHM);
        free(signed_part);
        free(signature);
        eg_keyring_unref(ring);
    }
    free(pem);
    free(jwk);
}

static void refuses_what_is_no_algorithm(void **state)
{
    static const char *const headers[] = {"{\"alg\":\"none\"}",    "{\"alg\":\"None\"}",
                                          "{\"alg\":\"hs256\"}",   "{\"alg\":\"\"}",
                                          "{\"alg\":\"EdDSA\"}",   "{\"alg\":\"HS256 \"}",
                                          "{\"alg\":1}",           "{\"alg\":null}",
                                          "{\"alg\":[\"HS256\"]}", "{}",
                                          "{\"Alg\":\"HS256\"}",   "{\"alg\":\"A128KW\"}"};
    struct eg_keyring *ring = ring_of("HS256");
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(headers); i++) {
        struct eg_bytes head = {headers[i], strlen(headers[i])}, body = {GRANT, strlen(GRANT)};
        assert_int_equal(verify(ring, token_fixture_sign("HS256", headers[i], GRANT)), EG_TOKEN_ALGORITHM);
        assert_int_equal(verify(ring, token_fixture_compact(head, body, "")), EG_TOKEN_ALGORITHM);
    }
    eg_keyring_unref(ring);
}

/* --- headers --- */

static void refuses_critical_headers(void **state)
{
    static const char *const members[] = {"\"crit\":[\"exp\"]", "\"crit\":[]",
                                          "\"crit\":null",      "\"crit\":[\"b64\"],\"b64\":false",
                                          "\"b64\":false",      "\"b64\":0"};
    struct eg_keyring *ring = ring_of("HS256");
    char header[100];
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(members); i++) {
        snprintf(header, sizeof(header), "{\"alg\":\"HS256\",%s}", members[i]);
        assert_int_equal(verify(ring, token_fixture_sign("HS256", header, GRANT)), EG_TOKEN_CRITICAL);
    }
    assert_int_equal(verify(ring, token_fixture_sign("HS256", "{\"alg\":\"HS256\",\"b64\":true}", GRANT)),
                     EG_TOKEN_GOOD);
    eg_keyring_unref(ring);
}

/* A key that comes with the token is nobody's. */
static void believes_no_key_of_the_header(void **state)
{
    char *own = token_fixture_jwk("ES256", ""), *header;
    struct eg_keyring *ring = ring_of("HS256"), *both;
    (void)state;
    assert_true(
        asprintf(&header,
                 "{\"alg\":\"ES256\",\"jwk\":%s,\"jku\":\"https://127.0.0.1:1/keys\",\"x5u\":\"https://127.0.0.1:1/"
                 "x\",\"x5c\":[\"AAAA\"]}",
                 own) > 0);
    assert_int_equal(verify(ring, token_fixture_sign("ES256", header, GRANT)), EG_TOKEN_UNKNOWN_KEY);
    both = token_fixture_ring(own, NULL); /* where the key is known, they are passed over */
    assert_int_equal(verify(both, token_fixture_sign("ES256", header, GRANT)), EG_TOKEN_GOOD);
    eg_keyring_unref(ring);
    eg_keyring_unref(both);
    free(header);
    free(own);
}

static void finds_the_key_by_its_id(void **state)
{
    char *first = token_fixture_jwk("ES256", "\"kid\":\"2025\","),
         *second = token_fixture_jwk("RS256", "\"kid\":\"2026\","), *set;
    assert_true(asprintf(&set, "{\"keys\":[%s,%s]}", first, second) > 0);
    struct eg_keyring *ring = token_fixture_ring(set, NULL);
    (void)state;
    assert_int_equal(eg_keyring_count(ring), 2);
    assert_int_equal(verify(ring, token_fixture_sign("ES256", "{\"alg\":\"ES256\",\"kid\":\"2025\"}", GRANT)),
                     EG_TOKEN_GOOD);
    assert_int_equal(verify(ring, token_fixture_sign("RS256", "{\"alg\":\"RS256\",\"kid\":\"2026\"}", GRANT)),
                     EG_TOKEN_GOOD);
    assert_int_equal(verify(ring, token_fixture_sign("RS256", "{\"alg\":\"RS256\",\"kid\":\"2025\"}", GRANT)),
                     EG_TOKEN_ALGORITHM);
    assert_int_equal(verify(ring, token_fixture_sign("RS256", "{\"alg\":\"RS256\",\"kid\":\"2027\"}", GRANT)),
                     EG_TOKEN_UNKNOWN_KEY);
    assert_int_equal(verify(ring, token_fixture_sign("RS256", "{\"alg\":\"RS256\",\"kid\":7}", GRANT)),
                     EG_TOKEN_MALFORMED);
    assert_int_equal(verify(ring, token_fixture_token("RS256", GRANT)), EG_TOKEN_GOOD); /* by its algorithm */
    eg_keyring_unref(ring);
    free(set);
    free(first);
    free(second);
}

/* Several keys of one algorithm, as in a rotation: a token without an id is tried with each. */
static void tries_all_keys_of_the_algorithm(void **state)
{
    static const char other[] =
        "{\"kty\":\"oct\",\"kid\":\"old\",\"k\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}";
    struct eg_keyring *ring = token_fixture_ring(other, NULL);
    struct eg_bytes secret = token_fixture_secret("HS256");
    struct eg_error error;
    (void)state;
    assert_int_equal(verify(ring, token_fixture_token("HS256", GRANT)), EG_TOKEN_SIGNATURE);
    assert_int_equal(eg_keyring_add(ring, "new", secret.data, secret.length, "HS256", &error), 0);
    assert_int_equal(verify(ring, token_fixture_token("HS256", GRANT)), EG_TOKEN_GOOD);
    /* The key without an id serves all ids that no other key has. */
    assert_int_equal(verify(ring, token_fixture_sign("HS256", "{\"alg\":\"HS256\",\"kid\":\"new\"}", GRANT)),
                     EG_TOKEN_GOOD);
    assert_int_equal(verify(ring, token_fixture_sign("HS256", "{\"alg\":\"HS256\",\"kid\":\"old\"}", GRANT)),
                     EG_TOKEN_SIGNATURE);
    eg_keyring_unref(ring);
}

/* --- form --- */

static void refuses_what_is_no_token(void **state)
{
    static const char *const tokens[] = {
        "",
        ".",
        "..",
        "...",
        "a",
        "a.b",
        "a.b.c",
        "eyJhbGciOiJIUzI1NiJ9",

        ".e30.AA",
        "eyJhbGciOiJIUzI1NiJ9.e30.AA.AA",
        "eyJhbGciOiJIUzI1NiJ9.e30.AA.AA.AA",
        "W10.e30.AA",
        "Im5vIg.e30.AA",
    };
    struct eg_keyring *ring = ring_of("HS256");
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(tokens); i++)
        assert_int_equal(verify_at(ring, tokens[i], TOKEN_NOW), EG_TOKEN_MALFORMED);
    eg_keyring_unref(ring);
}

/* Each byte of each part replaced by one that base64url doesn't have, bits left over, padding. */
static void takes_base64url_strictly(void **state)
{
    static const char strangers[] = "=+/ \n\t,\x80\xff!";
    struct eg_keyring *ring = ring_of("HS256");
    char *token = token_fixture_token("HS256", GRANT), *other;
    (void)state;
    for (const char *at = token; *at; at++)
        for (size_t i = 0; *at != '.' && i < strlen(strangers); i++) {
            other = strdup(token);
            other[at - token] = strangers[i];
            assert_int_equal(verify(ring, other), EG_TOKEN_MALFORMED);
        }
    other = strdup(token);
    char *last = other + strlen(other) - 1; /* 43 characters for 32 bytes: two bits are left over */
    (*last)++;
    assert_int_equal(verify(ring, other), EG_TOKEN_MALFORMED);
    assert_true(asprintf(&other, "%s=", token) > 0);
    assert_int_equal(verify(ring, other), EG_TOKEN_MALFORMED);
    assert_true(asprintf(&other, "%sA", token) > 0);
    assert_int_equal(verify(ring, other), EG_TOKEN_SIGNATURE);                       /* 33 bytes */
    assert_int_equal(verify_at(ring, "A===.e30.AA", TOKEN_NOW), EG_TOKEN_MALFORMED); /* cjose aborts at that one */
    free(token);
    eg_keyring_unref(ring);
}

static void a_zero_byte_ends_nothing(void **state)
{
    struct eg_keyring *ring = ring_of("HS256");
    struct eg_token_rules rules = rules_of(ring);
    struct eg_grants *grants;
    char *token = token_fixture_token("HS256", GRANT), longer[1000];
    size_t length = strlen(token);
    (void)state;
    memset(longer, 0, sizeof(longer));
    memcpy(longer, token, length);
    assert_int_equal(eg_token_verify(&rules, longer, length + 1, TOKEN_NOW, &grants), EG_TOKEN_MALFORMED);
    assert_int_equal(eg_token_verify(&rules, longer, length, TOKEN_NOW, &grants), EG_TOKEN_GOOD);
    eg_grants_unref(grants);
    free(token);
    struct eg_bytes header = {"{\"alg\":\"HS256\"}\0", 16}, claims = {GRANT "\0", strlen(GRANT) + 1};
    assert_int_equal(verify(ring, token_fixture_compact(header, claims, "AAAA")), EG_TOKEN_MALFORMED);
    assert_int_equal(verify(ring, token_fixture_sign("HS256", "{\"alg\":\"HS256\\u0000\"}", GRANT)),
                     EG_TOKEN_MALFORMED);
    assert_int_equal(verify(ring, token_fixture_token("HS256", "{\"sub\":\"a\\u0000b\"}")), EG_TOKEN_MALFORMED);
    eg_keyring_unref(ring);
}

static void refuses_bad_json(void **state)
{
    static const char *const texts[] = {"",
                                        "null",
                                        "[]",
                                        "\"{}\"",
                                        "{",
                                        "{}}",
                                        "{} {}",
                                        "{\"a\":1,}",
                                        "{\"a\":1,\"a\":2}",
                                        "{\"a\":{\"b\":1,\"b\":1}}",
                                        "{\"exp\":1e400}",
                                        "{\"a\":\"\xff\"}",
                                        "{\"a\":\"\\ud800\"}",
                                        "\xef\xbb\xbf{}",
                                        "{'a':1}",
                                        "{\"a\":01}",
                                        "{\"a\":NaN}",
                                        "{\"a\":\"\n\"}"};
    struct eg_keyring *ring = ring_of("HS256");
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(texts); i++) {
        assert_int_equal(verify(ring, token_fixture_token("HS256", texts[i])), EG_TOKEN_MALFORMED);
        assert_int_equal(verify(ring, token_fixture_sign("HS256", texts[i], GRANT)), EG_TOKEN_MALFORMED);
    }
    assert_int_equal(verify(ring, token_fixture_sign("HS256", "{\"alg\":\"HS256\",\"alg\":\"HS256\"}", GRANT)),
                     EG_TOKEN_MALFORMED);
    assert_int_equal(verify(ring, token_fixture_token("HS256", "{\"exp\":1,\"exp\":9999999999}")), EG_TOKEN_MALFORMED);
    eg_keyring_unref(ring);
}

static char *nested(size_t depth)
{
    char *text = calloc(1, 2 * depth + 20);
    strcpy(text, "{\"a\":");
    memset(text + strlen(text), '[', depth - 1);
    memset(text + strlen(text), ']', depth - 1);
    return strcat(text, "}");
}

static void bounds_the_depth_of_json(void **state)
{
    static const size_t depths[] = {16, 17, 2000};
    struct eg_keyring *ring = ring_of("HS256");
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(depths); i++) {
        char *text = nested(depths[i]);
        assert_int_equal(verify(ring, token_fixture_token("HS256", text)),
                         depths[i] == 16 ? EG_TOKEN_NO_GRANTS : EG_TOKEN_MALFORMED);
        assert_int_equal(verify(ring, token_fixture_sign("HS256", text, GRANT)),
                         depths[i] == 16 ? EG_TOKEN_ALGORITHM : EG_TOKEN_MALFORMED);
        free(text);
    }
    /* Brackets in strings are no levels. */
    assert_int_equal(verify(ring, token_fixture_token("HS256", "{\"a\\\"\":\"[[[[[[[[[[[[[[[[[[[[\\\"[\"}")),
                     EG_TOKEN_NO_GRANTS);
    eg_keyring_unref(ring);
}

static void bounds_the_length(void **state)
{
    struct eg_keyring *ring = ring_of("HS256");
    (void)state;
    for (size_t length = 6020; length < 6120; length++) {
        char claims[6200];
        memset(claims, 'x', sizeof(claims));
        memcpy(claims, "{\"a\":\"", 6);
        strcpy(claims + length, "\"}");
        char *token = token_fixture_token("HS256", claims);
        bool fits = strlen(token) <= EG_TOKEN_MAX_BYTES;
        assert_int_equal(verify(ring, token), fits ? EG_TOKEN_NO_GRANTS : EG_TOKEN_MALFORMED);
    }
    eg_keyring_unref(ring);
}

/* What costs the most memory: thousands of empty arrays. The pad has room for them in what is signed; a header, which
 * anybody can send, has room for a chain of certificates. */
static void bears_the_costliest_json(void **state)
{
    struct eg_keyring *ring = ring_of("HS256");
    char text[6010] = "{\"alg\":\"HS256\",\"a\":[[]";
    (void)state;
    while (strlen(text) < 6000)
        strcat(text, ",[]");
    strcat(text, "]}");
    assert_int_equal(verify(ring, token_fixture_sign("HS256", text, "{}")), EG_TOKEN_MALFORMED);
    assert_int_equal(verify(ring, token_fixture_token("HS256", text)), EG_TOKEN_NO_GRANTS);
    strcpy(text, "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"x5c\":[\"\"");
    for (int i = 0; i < 50; i++)
        strcat(text, ",\"MIIC\"");
    strcat(text, "]}");
    assert_int_equal(verify(ring, token_fixture_sign("HS256", text, "{}")), EG_TOKEN_NO_GRANTS);
    eg_keyring_unref(ring);
}

/* --- memory and threads --- */

static void survives_each_failing_allocation(void **state)
{
    static const char claims[] = "{\"sub\":\"alice\",\"eventgate\":{\"subscribe\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}}";
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(token_algorithms); i++) {
        struct eg_keyring *ring = ring_of(token_algorithms[i]);
        struct eg_token_rules rules = rules_of(ring);
        char *token = token_fixture_token(token_algorithms[i], claims);
        enum eg_token_fault fault = EG_TOKEN_OUT_OF_MEMORY;
        bool failed = true;
        long count;
        for (count = 0; failed; count++) {
            struct eg_grants *grants = NULL;
            allocations_left = count;
            fault = eg_token_verify(&rules, token, strlen(token), TOKEN_NOW, &grants);
            failed = allocations_left < 0;
            allocations_left = -1;
            assert_true(fault == EG_TOKEN_GOOD || fault == EG_TOKEN_OUT_OF_MEMORY);
            eg_grants_unref(grants);
            assert_true(count < 1000);
        }
        assert_int_equal(fault, EG_TOKEN_GOOD);
        assert_true(count > 3); /* the pad, something of OpenSSL's, and the grants at least */
        free(token);
        eg_keyring_unref(ring);
    }
}

/* What cjose allocates lives as long as a token, but OpenSSL keeps some of it. */
static void openssl_gets_memory_for_good(void **state)
{
    CRYPTO_malloc_fn allocate;
    CRYPTO_realloc_fn reallocate;
    CRYPTO_free_fn give_back;
    (void)state;
    CRYPTO_get_mem_functions(&allocate, &reallocate, &give_back);
    assert_true(allocate != CRYPTO_malloc && reallocate != CRYPTO_realloc && give_back != CRYPTO_free);
    void *memory = reallocate(reallocate(NULL, 1, "", 0), 100000, "", 0);
    assert_non_null(memory);
    assert_null(reallocate(memory, 0, "", 0));
    assert_null(allocate(0, "", 0));
}

struct shared {
    struct eg_keyring *ring;
    char *tokens[12];
};

static void *verify_all(void *context)
{
    struct shared *shared = context;
    struct eg_keyring *ring = eg_keyring_ref(shared->ring);
    for (size_t i = 0; i < 24; i++)
        assert_int_equal(verify_at(ring, shared->tokens[i % 12], TOKEN_NOW), EG_TOKEN_GOOD);
    eg_keyring_unref(ring);
    return NULL;
}

static void is_used_by_several_threads(void **state)
{
    struct shared shared = {.ring = eg_keyring_new()};
    pthread_t threads[3];
    (void)state;
    for (size_t i = 0; i < 12; i++) {
        struct eg_error error;
        char *jwk = token_fixture_jwk(token_algorithms[i], "");
        assert_int_equal(eg_keyring_add(shared.ring, "k", jwk, strlen(jwk), token_algorithms[i], &error), 0);
        free(jwk);
        shared.tokens[i] = token_fixture_token(token_algorithms[i], GRANT);
    }
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, verify_all, &shared), 0);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 12; i++)
        free(shared.tokens[i]);
    eg_keyring_unref(shared.ring);
}

static void names_each_fault(void **state)
{
    (void)state;
    for (enum eg_token_fault fault = 0; fault < EG_TOKEN_FAULT_COUNT; fault++)
        for (enum eg_token_fault other = 0; other < fault; other++)
            assert_string_not_equal(eg_token_fault_name(fault), eg_token_fault_name(other));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verifies_the_examples_of_rfc_7515),
        cmocka_unit_test(verifies_the_example_with_es512),
        cmocka_unit_test(refuses_the_unsecured_example),
        cmocka_unit_test(verifies_each_algorithm),
        cmocka_unit_test(refuses_signatures_of_another_form),
        cmocka_unit_test(refuses_signatures_of_zeros),
        cmocka_unit_test(an_rsa_key_is_no_shared_secret),
        cmocka_unit_test(refuses_what_is_no_algorithm),
        cmocka_unit_test(refuses_critical_headers),
        cmocka_unit_test(believes_no_key_of_the_header),
        cmocka_unit_test(finds_the_key_by_its_id),
        cmocka_unit_test(tries_all_keys_of_the_algorithm),
        cmocka_unit_test(refuses_what_is_no_token),
        cmocka_unit_test(takes_base64url_strictly),
        cmocka_unit_test(a_zero_byte_ends_nothing),
        cmocka_unit_test(refuses_bad_json),
        cmocka_unit_test(bounds_the_depth_of_json),
        cmocka_unit_test(bounds_the_length),
        cmocka_unit_test(bears_the_costliest_json),
        cmocka_unit_test(survives_each_failing_allocation),
        cmocka_unit_test(openssl_gets_memory_for_good),
        cmocka_unit_test(is_used_by_several_threads),
        cmocka_unit_test(names_each_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

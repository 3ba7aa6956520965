/* Key files: PEM, JWK, JWKS and secrets, and those that are refused. */
#include "eventgate/token.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "token_fixture.h"

#define GRANT "{\"eventgate\":{}}"

static bool verifies(const struct eg_keyring *ring, const char *algorithm)
{
    struct eg_token_rules rules = {.keyring = ring, .claim = "eventgate", .dialects = {true}};
    struct eg_grants *grants = NULL;
    char *token = token_fixture_token(algorithm, GRANT);
    enum eg_token_fault fault = eg_token_verify(&rules, token, strlen(token), TOKEN_NOW, &grants);
    eg_grants_unref(grants);
    free(token);
    return fault == EG_TOKEN_GOOD;
}

static void expect_verifies(const char *text, const char *algorithm, const char *expected)
{
    struct eg_keyring *ring = token_fixture_ring(text, algorithm);
    assert_true(verifies(ring, expected));
    eg_keyring_unref(ring);
}

static void expect_refused(const char *text, size_t length, const char *algorithm, const char *reason)
{
    struct eg_keyring *ring = eg_keyring_new();
    struct eg_error error = {.sentence = ""};
    int result = eg_keyring_add(ring, "/etc/keys", text, length, algorithm, &error);
    if (result != -EINVAL || strncmp(error.sentence, "/etc/keys: ", 11) != 0 || !strstr(error.sentence, reason))
        fail_msg("%.*s: %d, %s", (int)length, text, result, error.sentence);
    eg_keyring_unref(ring);
}

static void refused(const char *text, const char *algorithm, const char *reason)
{
    expect_refused(text, strlen(text), algorithm, reason);
}

static char *joined(const char *first, const char *second)
{
    char *text;
    assert_true(asprintf(&text, "%s%s", first, second) > 0);
    return text;
}

/* --- what is understood --- */

static void reads_pem(void **state)
{
    static const char *const initial[] = {"RS256", "ES256", "ES384", "ES512"};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        char *pem = token_fixture_pem(initial[i]);
        expect_verifies(pem, NULL, initial[i]);
        expect_verifies(pem, initial[i], initial[i]);
        free(pem);
    }
    char *pem = token_fixture_pem("RS256");
    for (size_t i = 3; i < 9; i++)
        expect_verifies(pem, token_algorithms[i], token_algorithms[i]);
    free(pem);
}

static void reads_several_blocks_of_pem(void **state)
{
    char *rsa = token_fixture_pem("RS256"), *ec = token_fixture_pem("ES384");
    char *both = joined("The key of 2025, and that of 2026:\n\n", rsa), *text = joined(both, ec);
    struct eg_keyring *ring = token_fixture_ring(text, NULL);
    (void)state;
    assert_int_equal(eg_keyring_count(ring), 2);
    assert_true(verifies(ring, "RS256") && verifies(ring, "ES384"));
    assert_false(verifies(ring, "RS384"));
    eg_keyring_unref(ring);
    free(rsa);
    free(ec);
    free(both);
    free(text);
}

static void reads_certificates_and_keys_in_pkcs_1(void **state)
{
    static const char make[] =
        "d=$(mktemp -d) && cd $d && openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout k -out c -days 1 2>e "
        "&& "
        "openssl rsa -in k -RSAPublicKey_out -out p 2>e && openssl genpkey -algorithm rsa-pss -pkeyopt "
        "rsa_keygen_bits:2048 2>e | openssl pkey -pubout -out q && cat c p q && rm -r $d";
    static char text[10000];
    FILE *made = popen(make, "r");
    (void)state;
    assert_non_null(made);
    assert_true(fread(text, 1, sizeof(text) - 1, made) > 0);
    assert_int_equal(pclose(made), 0);
    assert_non_null(strstr(text, "BEGIN CERTIFICATE"));
    assert_non_null(strstr(text, "BEGIN RSA PUBLIC KEY"));
    struct eg_keyring *ring = token_fixture_ring(text, NULL);
    assert_int_equal(eg_keyring_count(ring), 3);
    eg_keyring_unref(ring);
}

static void reads_a_jwk_of_each_type(void **state)
{
    static const char *const initial[] = {"HS256", "RS256", "ES256", "ES384", "ES512"};
    char members[60];
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        char *jwk = token_fixture_jwk(initial[i], "");
        expect_verifies(jwk, NULL, initial[i]);
        free(jwk);
    }
    for (size_t i = 0; i < 12; i++) {
        snprintf(members, sizeof(members), "\"use\":\"sig\",\"alg\":\"%s\",", token_algorithms[i]);
        char *jwk = token_fixture_jwk(token_algorithms[i], members);
        expect_verifies(jwk, NULL, token_algorithms[i]);
        expect_verifies(jwk, token_algorithms[i], token_algorithms[i]);
        free(jwk);
    }
    char *jwk = token_fixture_jwk("ES256", "\"key_ops\":[\"sign\",\"verify\"],");
    expect_verifies(jwk, NULL, "ES256");
    free(jwk);
}

static void takes_of_a_set_what_can_verify(void **state)
{
    char *signing = token_fixture_jwk("ES256", "\"kid\":\"a\","), *text;
    char *encrypting = token_fixture_jwk("RS256", "\"use\":\"enc\",\"kid\":\"b\",");
    (void)state;
    assert_true(
        asprintf(&text,
                 "\n {\"keys\":[%s,{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"},7,{\"kty\":\"EC\",\"crv\":"
                 "\"secp256k1\",\"x\":\"AA\",\"y\":\"AA\"},{\"kty\":\"RSA\",\"alg\":\"RSA-OAEP\"},"
                 "{\"kty\":\"RSA\",\"key_ops\":[\"encrypt\"]},{},%s]}",
                 encrypting, signing) > 0);
    struct eg_keyring *ring = token_fixture_ring(text, NULL);
    assert_int_equal(eg_keyring_count(ring), 1);
    assert_true(verifies(ring, "ES256"));
    eg_keyring_unref(ring);
    free(text);
    assert_true(asprintf(&text, "{\"keys\":[%s]}", encrypting) > 0);
    refused(text, NULL, "no key that could verify");
    refused(encrypting, NULL, "is not for verifying");
    refused("{\"keys\":[]}", NULL, "no key that could verify");
    free(text);
    free(signing);
    free(encrypting);
}

static void reads_a_raw_secret(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct eg_bytes secret = token_fixture_secret(token_algorithms[i]);
        char text[80];
        snprintf(text, sizeof(text), "%.*s", (int)secret.length, secret.data);
        expect_verifies(text, token_algorithms[i], token_algorithms[i]);
        strcat(text, "\n");
        expect_verifies(text, token_algorithms[i], token_algorithms[i]);
        text[strlen(text) - 1] = '\0';
        expect_verifies(strcat(text, "\r\n"), token_algorithms[i], token_algorithms[i]);
    }
}

/* Only the line feed that an editor puts at the end of a line is none of the secret. */
static void leaves_a_binary_secret_as_it_is(void **state)
{
    struct eg_keyring *ring = eg_keyring_new();
    struct eg_bytes head = {"{\"alg\":\"HS256\"}", 15}, body = {GRANT, strlen(GRANT)};
    struct eg_token_rules rules = {.keyring = ring, .claim = "eventgate", .dialects = {true}};
    struct eg_grants *grants = NULL;
    struct eg_error error;
    char secret[32], *signed_part = token_fixture_compact(head, body, NULL), *token;
    (void)state;
    memset(secret, 0, sizeof(secret));
    secret[31] = '\n';
    assert_int_equal(eg_keyring_add(ring, "k", secret, sizeof(secret), "HS256", &error), 0);
    char *signature = token_fixture_hs256((struct eg_bytes){secret, sizeof(secret)}, signed_part);
    assert_true(asprintf(&token, "%s.%s", signed_part, signature) > 0);
    assert_int_equal(eg_token_verify(&rules, token, strlen(token), TOKEN_NOW, &grants), EG_TOKEN_GOOD);
    eg_grants_unref(grants);
    free(token);
    free(signature);
    free(signed_part);
    eg_keyring_unref(ring);
}

/* --- what is refused --- */

static void refuses_what_is_no_key(void **state)
{
    (void)state;
    refused("", NULL, "nothing in it");
    refused(" \n", "HS256", "nothing in it");
    refused("a secret that is long enough, but for what?", NULL, "HS256:PATH");
    refused("a secret that is long enough, but for what?", "RS256", "HS256:PATH");
    refused("short", "HS256", "openssl rand");
    refused("0123456789abcdef0123456789abcdef", "HS512", "needs 64");
    refused("0123456789abcdef0123456789abcdef", "HS1024", "no algorithm \"HS1024\"");
    refused("0123456789abcdef0123456789abcdef", "none", "no algorithm \"none\"");
    refused("{\"no\":\"key\", but long enough for a secret}", "HS256", "neither one nor");
    refused("{\"kty\":\"oct\",\"kty\":\"oct\",\"k\":\"AA\"}", NULL, "neither one nor");
    refused("{\"keys\":{}}", NULL, "neither one nor");
    refused("{\"kty\":\"oct\"}", NULL, "\"k\" is not there");
    refused("{\"kty\":\"oct\",\"k\":\"AAA=\"}", NULL, "no base64url");
    refused("{\"kty\":\"oct\",\"k\":\"AAAA\"}", NULL, "3 bytes");
    refused("{\"kty\":\"oct\",\"kid\":1,\"k\":\"AAAA\"}", NULL, "(kid)");
    refused("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}", NULL, "(kty)");
    refused("{\"kty\":\"RSA\",\"e\":\"AQAB\"}", NULL, "\"n\" is not there");
    refused("{\"kty\":\"RSA\",\"n\":\"AQAB\"}", NULL, "\"e\" is not there");
    refused("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\",\"y\":\"AAAA\"}", NULL, "32 bytes each");
    refused("{\"kty\":\"EC\",\"crv\":\"P-512\",\"x\":\"AAAA\",\"y\":\"AAAA\"}", NULL, "curve");
}

static void refuses_a_point_that_is_not_on_the_curve(void **state)
{
    char zeros[44], text[300];
    (void)state;
    memset(zeros, 'A', 43);
    zeros[43] = '\0';
    snprintf(text, sizeof(text), "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"}", zeros, zeros);
    refused(text, NULL, "no point of P-256");
}

static void refuses_private_keys(void **state)
{
    char *pem = token_fixture_private_pem("RS256"), *jwk = token_fixture_jwk("ES256", "\"d\":\"AAAA\","), *set;
    (void)state;
    refused(pem, NULL, "private key");
    refused(pem, "HS256", "private key");
    refused("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", NULL, "private key");
    refused(jwk, NULL, "private key");
    assert_true(asprintf(&set, "{\"keys\":[%s]}", jwk) > 0);
    refused(set, NULL, "private key");
    free(set);
    free(jwk);
    free(pem);
}

/* A public key as the secret of HS256: everybody could sign. */
static void refuses_a_public_key_as_a_secret(void **state)
{
    char *pem = token_fixture_pem("RS256"), *ec = token_fixture_pem("ES256"), *jwk = token_fixture_jwk("RS256", "");
    (void)state;
    refused(pem, "HS256", "HS256 doesn't go with an RSA key");
    refused(ec, "HS256", "HS256 doesn't go with a key on P-256");
    refused(jwk, "HS256", "HS256 doesn't go with an RSA key");
    free(pem);
    free(ec);
    free(jwk);
}

static void one_key_has_one_algorithm_that_fits(void **state)
{
    char *rsa = token_fixture_jwk("RS256", "\"alg\":\"RS256\","), *ec = token_fixture_jwk("ES256", "");
    char *secret = token_fixture_jwk("HS256", ""), *wrong = token_fixture_jwk("ES256", "\"alg\":\"ES384\",");
    (void)state;
    refused(rsa, "PS256", "the key is for RS256, and the configuration says PS256");
    refused(ec, "ES384", "ES384 doesn't go with a key on P-256");
    refused(ec, "RS256", "RS256 doesn't go with a key on P-256");
    refused(secret, "RS256", "doesn't go with a shared secret");
    refused(wrong, NULL, "ES384 doesn't go with a key on P-256");
    free(rsa);
    free(ec);
    free(secret);
    free(wrong);
}

static void refuses_weak_rsa_keys(void **state)
{
    char n[342], text[500];
    (void)state;
    memset(n, '_', 171); /* 1,024 bits */
    n[170] = 'w';
    n[171] = '\0';
    snprintf(text, sizeof(text), "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\"}", n);
    refused(text, NULL, "2048");
    char *good = token_fixture_jwk("RS256", ""), *e = strstr(good, "AQAB");
    memcpy(e, "AAAB", 4); /* 1: everything is its own signature */
    refused(good, NULL, "0 good bits");
    memcpy(e, "AQAA", 4);
    refused(good, NULL, "0 good bits");
    free(good);
}

static void refuses_damaged_pem(void **state)
{
    char *pem = token_fixture_pem("RS256"), *twice = joined(pem, pem);
    (void)state;
    refused("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", NULL, "no public key or certificate");
    refused("-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n", NULL, "no public key or certificate");
    refused("-----BEGIN PUBLIC KEY-----\n!!\n", NULL, "damaged");
    expect_refused(pem, strlen(pem) / 2, NULL, "damaged");
    expect_refused(twice, strlen(twice) - 40, NULL, "damaged"); /* the second one */
    free(pem);
    free(twice);
}

static void refuses_ids_that_are_there_twice(void **state)
{
    char *first = token_fixture_jwk("ES256", "\"kid\":\"a\","), *second = token_fixture_jwk("RS256", "\"kid\":\"a\","),
         *set;
    (void)state;
    assert_true(asprintf(&set, "{\"keys\":[%s,%s]}", first, second) > 0);
    refused(set, NULL, "\"a\" is there twice");
    free(set);
    free(first);
    free(second);
}

static void refuses_more_keys_than_tokens_are_worth(void **state)
{
    struct eg_keyring *ring = eg_keyring_new();
    struct eg_bytes secret = token_fixture_secret("HS256");
    struct eg_error error;
    (void)state;
    for (size_t i = 0; i < EG_KEYRING_MAX_KEYS; i++)
        assert_int_equal(eg_keyring_add(ring, "k", secret.data, secret.length, "HS256", &error), 0);
    assert_int_equal(eg_keyring_add(ring, "k", secret.data, secret.length, "HS256", &error), -EINVAL);
    assert_non_null(strstr(error.sentence, "more than 32 keys"));
    eg_keyring_unref(ring);
    eg_keyring_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_pem),
        cmocka_unit_test(reads_several_blocks_of_pem),
        cmocka_unit_test(reads_certificates_and_keys_in_pkcs_1),
        cmocka_unit_test(reads_a_jwk_of_each_type),
        cmocka_unit_test(takes_of_a_set_what_can_verify),
        cmocka_unit_test(reads_a_raw_secret),
        cmocka_unit_test(leaves_a_binary_secret_as_it_is),
        cmocka_unit_test(refuses_what_is_no_key),
        cmocka_unit_test(refuses_a_point_that_is_not_on_the_curve),
        cmocka_unit_test(refuses_private_keys),
        cmocka_unit_test(refuses_a_public_key_as_a_secret),
        cmocka_unit_test(one_key_has_one_algorithm_that_fits),
        cmocka_unit_test(refuses_weak_rsa_keys),
        cmocka_unit_test(refuses_damaged_pem),
        cmocka_unit_test(refuses_ids_that_are_there_twice),
        cmocka_unit_test(refuses_more_keys_than_tokens_are_worth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* What claims a token may have, and what it grants by them. */
#include "eventgate/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "token_fixture.h"

static struct eg_keyring *ring;
static struct eg_token_rules rules;

static int make_rules(void **state)
{
    struct eg_bytes secret = token_fixture_secret("HS256");
    char text[33];
    snprintf(text, sizeof(text), "%.*s", (int)secret.length, secret.data);
    (void)state;
    ring = token_fixture_ring(text, "HS256");
    return 0;
}

static int default_rules(void **state)
{
    (void)state;
    rules = (struct eg_token_rules){.keyring = ring, .claim = "eventgate", .dialects = {true}};
    return 0;
}

static int drop_rules(void **state)
{
    (void)state;
    eg_keyring_unref(ring);
    return 0;
}

static enum eg_token_fault read_claims(const char *claims, struct eg_grants **ret_grants)
{
    char *token = token_fixture_token("HS256", claims);
    enum eg_token_fault fault = eg_token_verify(&rules, token, strlen(token), TOKEN_NOW, ret_grants);
    free(token);
    return fault;
}

static void expect(const char *claims, enum eg_token_fault expected)
{
    struct eg_grants *grants = NULL;
    enum eg_token_fault fault = read_claims(claims, &grants);
    if (fault != expected)
        fail_msg("%s: %s", claims, eg_token_fault_name(fault));
    eg_grants_unref(grants);
}

static struct eg_grants *granted(const char *claims)
{
    struct eg_grants *grants = NULL;
    enum eg_token_fault fault = read_claims(claims, &grants);
    if (fault)
        fail_msg("%s: %s", claims, eg_token_fault_name(fault));
    return grants;
}

/* Claims that grant, with others in front. */
static const char *with(const char *others)
{
    static char claims[EG_SUBJECT_MAX_BYTES + 100];
    snprintf(claims, sizeof(claims), "{%s\"eventgate\":{}}", others);
    return claims;
}

/* --- dates --- */

static void judges_the_expiry(void **state)
{
    (void)state;
    expect(with("\"exp\":1700000001,"), EG_TOKEN_GOOD);
    expect(with("\"exp\":1700000000,"), EG_TOKEN_EXPIRED);
    expect(with("\"exp\":1700000000.9,"), EG_TOKEN_EXPIRED); /* rounded down */
    expect(with("\"exp\":1700000001.1,"), EG_TOKEN_GOOD);
    expect(with("\"exp\":1.700000001e9,"), EG_TOKEN_GOOD);
    expect(with("\"exp\":0,"), EG_TOKEN_EXPIRED);
    expect(with("\"exp\":-1e300,"), EG_TOKEN_EXPIRED);
    expect(with("\"exp\":1e300,"), EG_TOKEN_GOOD);
    expect(with("\"exp\":99999999999999999999999999,"), EG_TOKEN_GOOD);
    expect(with("\"exp\":\"1700000001\","), EG_TOKEN_BAD_CLAIM);
    expect(with("\"exp\":null,"), EG_TOKEN_BAD_CLAIM);
    expect(with("\"exp\":true,"), EG_TOKEN_BAD_CLAIM);
    rules.leeway_s = 10;
    expect(with("\"exp\":1699999991,"), EG_TOKEN_GOOD);
    expect(with("\"exp\":1699999990,"), EG_TOKEN_EXPIRED);
}

static void demands_an_expiry_when_told_to(void **state)
{
    (void)state;
    expect(with(""), EG_TOKEN_GOOD);
    rules.needs_expiry = true;
    expect(with(""), EG_TOKEN_MISSING_CLAIM);
    expect(with("\"exp\":1700000001,"), EG_TOKEN_GOOD);
}

static void judges_the_beginning(void **state)
{
    static const char *const names[] = {"nbf", "iat"};
    char member[60];
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        rules.leeway_s = 0;
        snprintf(member, sizeof(member), "\"%s\":1700000000,", names[i]);
        expect(with(member), EG_TOKEN_GOOD);
        snprintf(member, sizeof(member), "\"%s\":1700000005,", names[i]);
        expect(with(member), EG_TOKEN_NOT_YET);
        snprintf(member, sizeof(member), "\"%s\":1e300,", names[i]);
        expect(with(member), EG_TOKEN_NOT_YET);
        snprintf(member, sizeof(member), "\"%s\":-1e300,", names[i]);
        expect(with(member), EG_TOKEN_GOOD);
        snprintf(member, sizeof(member), "\"%s\":\"now\",", names[i]);
        expect(with(member), EG_TOKEN_BAD_CLAIM);
        rules.leeway_s = 5;
        snprintf(member, sizeof(member), "\"%s\":1700000005,", names[i]);
        expect(with(member), EG_TOKEN_GOOD);
        snprintf(member, sizeof(member), "\"%s\":1700000006,", names[i]);
        expect(with(member), EG_TOKEN_NOT_YET);
    }
    rules.leeway_s = 0;
    expect(with("\"nbf\":1700000000.5,"), EG_TOKEN_NOT_YET);
    expect(with("\"iat\":1700000000.5,"), EG_TOKEN_GOOD);
}

static void hands_on_the_dates(void **state)
{
    struct eg_grants *grants = granted(with("\"iat\":1699999999.7,\"exp\":1700000100.7,\"sub\":\"alice\","));
    (void)state;
    assert_int_equal(eg_grants_issued_s(grants), 1699999999);
    assert_int_equal(eg_grants_expires_s(grants), 1700000100);
    assert_string_equal(eg_grants_subject(grants), "alice");
    eg_grants_unref(grants);
    grants = granted(with(""));
    assert_int_equal(eg_grants_issued_s(grants), EG_GRANTS_UNDATED);
    assert_int_equal(eg_grants_expires_s(grants), EG_GRANTS_NEVER);
    assert_string_equal(eg_grants_subject(grants), "");
    eg_grants_unref(grants);
}

static void a_token_in_its_leeway_lasts_until_its_end(void **state)
{
    struct eg_grants *grants;
    (void)state;
    rules.leeway_s = 30;
    grants = granted(with("\"exp\":1699999990,"));
    assert_int_equal(eg_grants_expires_s(grants), 1700000020);
    eg_grants_unref(grants);
    grants = granted(with("\"exp\":1700000010,"));
    assert_int_equal(eg_grants_expires_s(grants), 1700000010);
    eg_grants_unref(grants);
}

/* --- issuer, audience, subject --- */

static void judges_the_issuer(void **state)
{
    static const char *const issuers[] = {"https://a.example", "https://b.example"};
    (void)state;
    expect(with("\"iss\":\"anybody\","), EG_TOKEN_GOOD);
    expect(with("\"iss\":1,"), EG_TOKEN_BAD_CLAIM);
    rules.issuers = issuers;
    rules.issuer_count = 2;
    expect(with("\"iss\":\"https://b.example\","), EG_TOKEN_GOOD);
    expect(with("\"iss\":\"https://b.example/\","), EG_TOKEN_ISSUER);
    expect(with("\"iss\":\"\","), EG_TOKEN_ISSUER);
    expect(with("\"iss\":[\"https://b.example\"],"), EG_TOKEN_BAD_CLAIM);
    expect(with(""), EG_TOKEN_MISSING_CLAIM);
}

static void judges_the_audience(void **state)
{
    static const char *const audiences[] = {"events", "shop"};
    (void)state;
    expect(with("\"aud\":\"anything\","), EG_TOKEN_GOOD);
    expect(with("\"aud\":[1],"), EG_TOKEN_BAD_CLAIM);
    expect(with("\"aud\":{\"events\":true},"), EG_TOKEN_BAD_CLAIM);
    rules.audiences = audiences;
    rules.audience_count = 2;
    expect(with("\"aud\":\"shop\","), EG_TOKEN_GOOD);
    expect(with("\"aud\":[\"other\",\"events\"],"), EG_TOKEN_GOOD);
    expect(with("\"aud\":[\"events\",1],"), EG_TOKEN_BAD_CLAIM);
    expect(with("\"aud\":[\"other\"],"), EG_TOKEN_AUDIENCE);
    expect(with("\"aud\":[],"), EG_TOKEN_AUDIENCE);
    expect(with("\"aud\":\"Events\","), EG_TOKEN_AUDIENCE);
    expect(with(""), EG_TOKEN_MISSING_CLAIM);
}

static void a_subject_is_a_string(void **state)
{
    (void)state;
    expect(with("\"sub\":7,"), EG_TOKEN_BAD_CLAIM);
    expect(with("\"sub\":null,"), EG_TOKEN_BAD_CLAIM);
    expect(with("\"sub\":\"\","), EG_TOKEN_GOOD);
    for (int length = EG_SUBJECT_MAX_BYTES; length <= EG_SUBJECT_MAX_BYTES + 1; length++) {
        char member[EG_SUBJECT_MAX_BYTES + 20];
        snprintf(member, sizeof(member), "\"sub\":\"%0*d\",", length, 0);
        expect(with(member), length <= EG_SUBJECT_MAX_BYTES ? EG_TOKEN_GOOD : EG_TOKEN_BAD_CLAIM);
    }
}

/* --- grants --- */

static bool allows(const struct eg_grants *grants, enum eg_right right, const char *pattern)
{
    return eg_grants_allow(grants, right, pattern, strlen(pattern));
}

static void reads_its_own_claim(void **state)
{
    struct eg_grants *grants =
        granted("{\"eventgate\":{\"subscribe\":[\"order/**\",\"chat/*\"],\"publish\":[\"chat/1\"],\"admin\":true}}");
    (void)state;
    assert_true(allows(grants, EG_RIGHT_SUBSCRIBE, "order/**"));
    assert_true(allows(grants, EG_RIGHT_SUBSCRIBE, "chat/1"));
    assert_false(allows(grants, EG_RIGHT_PUBLISH, "chat/2"));
    assert_true(allows(grants, EG_RIGHT_PUBLISH, "chat/1"));
    assert_true(eg_grants_allow_admin(grants));
    eg_grants_unref(grants);
    grants = granted("{\"eventgate\":{\"admin\":false,\"more\":1}}");
    assert_false(eg_grants_allow_admin(grants));
    assert_false(eg_grants_allow_any(grants, EG_RIGHT_SUBSCRIBE));
    eg_grants_unref(grants);
}

static void refuses_grants_of_another_form(void **state)
{
    static const char *const claims[] = {
        "[]",
        "true",
        "null",
        "{\"subscribe\":\"a\"}",
        "{\"subscribe\":{}}",
        "{\"subscribe\":[1]}",
        "{\"subscribe\":[\"a\",null]}",
        "{\"subscribe\":[\"\"]}",
        "{\"subscribe\":[\"a//b\"]}",
        "{\"publish\":[\"a\",\"a/**/b\"]}",
        "{\"publish\":[\"a*\"]}",
        "{\"publish\":[\"a,b\"]}",
        "{\"admin\":1}",
        "{\"admin\":\"true\"}",
    };
    char text[200];
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(claims); i++) {
        snprintf(text, sizeof(text), "{\"eventgate\":%s}", claims[i]);
        expect(text, EG_TOKEN_BAD_CLAIM);
    }
}

static void needs_a_claim_that_grants(void **state)
{
    (void)state;
    expect("{}", EG_TOKEN_NO_GRANTS);
    expect("{\"mercure\":{\"subscribe\":[\"*\"]}}", EG_TOKEN_NO_GRANTS);
    expect("{\"mode\":\"r\",\"channels\":[\"a\"]}", EG_TOKEN_NO_GRANTS);
    rules.claim = "https://example.com/events";
    expect("{\"eventgate\":{}}", EG_TOKEN_NO_GRANTS);
    expect("{\"https://example.com/events\":{\"subscribe\":[\"a\"]}}", EG_TOKEN_GOOD);
    rules.dialects[EG_CLAIMS_EVENTGATE] = false;
    expect("{\"https://example.com/events\":{\"subscribe\":[\"a\"]}}", EG_TOKEN_NO_GRANTS);
}

static void reads_the_claim_of_mercure(void **state)
{
    struct eg_grants *grants;
    (void)state;
    rules.dialects[EG_CLAIMS_MERCURE] = true;
    grants = granted("{\"mercure\":{\"subscribe\":[\"*\"],\"publish\":[\"order/{id}/created\",\"{a}\",\"chat/{x_1}\"],"
                     "\"payload\":{\"x\":1}}}");
    assert_true(allows(grants, EG_RIGHT_SUBSCRIBE, "**"));
    assert_true(allows(grants, EG_RIGHT_PUBLISH, "order/*/created"));
    assert_true(allows(grants, EG_RIGHT_PUBLISH, "*"));
    assert_true(allows(grants, EG_RIGHT_PUBLISH, "chat/7"));
    assert_false(allows(grants, EG_RIGHT_PUBLISH, "order/7/8/created"));
    assert_false(allows(grants, EG_RIGHT_PUBLISH, "chat/7/8"));
    assert_false(eg_grants_allow_admin(grants));
    eg_grants_unref(grants);
    expect("{\"mercure\":{\"admin\":1}}", EG_TOKEN_GOOD);
}

static void refuses_selectors_that_patterns_cannot_say(void **state)
{
    static const char *const selectors[] = {"order/*",
                                            "**",
                                            "a/**",
                                            "{+path}",
                                            "a/{x*}",
                                            "a{x}",
                                            "{x}a",
                                            "{}",
                                            "{x,y}",
                                            "a/{x",
                                            "a/x}",
                                            "{x}{y}",
                                            "https://example.com/books/{id}",
                                            "",
                                            "/",
                                            "a/",
                                            "/a",
                                            "a//b",
                                            "{x:3}",
                                            "{?q}"};
    char text[200], longest[EG_ARRAY_LENGTH("{\"mercure\":{\"publish\":[\"\"]}}") + 300];
    (void)state;
    rules.dialects[EG_CLAIMS_MERCURE] = true;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(selectors); i++) {
        snprintf(text, sizeof(text), "{\"mercure\":{\"publish\":[\"%s\"]}}", selectors[i]);
        expect(text, EG_TOKEN_BAD_CLAIM);
    }
    for (int length = 198; length < 203; length++) {
        snprintf(longest, sizeof(longest), "{\"mercure\":{\"publish\":[\"%0*d\"]}}", length, 0);
        expect(longest, length <= 200 ? EG_TOKEN_GOOD : EG_TOKEN_BAD_CLAIM);
    }
}

static void reads_the_claims_of_postgres_websockets(void **state)
{
    struct eg_grants *grants;
    (void)state;
    rules.dialects[EG_CLAIMS_POSTGRES_WEBSOCKETS] = true;
    grants = granted("{\"mode\":\"r\",\"channels\":[\"a\",\"b\"]}");
    assert_true(allows(grants, EG_RIGHT_SUBSCRIBE, "b"));
    assert_false(allows(grants, EG_RIGHT_PUBLISH, "b"));
    eg_grants_unref(grants);
    grants = granted("{\"mode\":\"w\",\"channel\":\"a\"}");
    assert_false(allows(grants, EG_RIGHT_SUBSCRIBE, "a"));
    assert_true(allows(grants, EG_RIGHT_PUBLISH, "a"));
    eg_grants_unref(grants);
    grants = granted("{\"mode\":\"rw\",\"channel\":\"a\",\"channels\":[\"b\"]}");
    assert_true(allows(grants, EG_RIGHT_SUBSCRIBE, "a") && allows(grants, EG_RIGHT_SUBSCRIBE, "b"));
    assert_true(allows(grants, EG_RIGHT_PUBLISH, "a") && allows(grants, EG_RIGHT_PUBLISH, "b"));
    eg_grants_unref(grants);
    expect("{\"mode\":\"rw\"}", EG_TOKEN_NO_GRANTS);
    expect("{\"mode\":\"wr\",\"channel\":\"a\"}", EG_TOKEN_BAD_CLAIM);
    expect("{\"mode\":\"\",\"channel\":\"a\"}", EG_TOKEN_BAD_CLAIM);
    expect("{\"mode\":1,\"channel\":\"a\"}", EG_TOKEN_BAD_CLAIM);
    expect("{\"mode\":\"r\",\"channel\":1}", EG_TOKEN_BAD_CLAIM);
    expect("{\"mode\":\"r\",\"channels\":\"a\"}", EG_TOKEN_BAD_CLAIM);
    expect("{\"mode\":\"r\",\"channels\":[\"a/*\"]}", EG_TOKEN_BAD_CLAIM); /* there it is a name */
}

static void the_first_dialect_counts(void **state)
{
    struct eg_grants *grants;
    (void)state;
    rules.dialects[EG_CLAIMS_MERCURE] = rules.dialects[EG_CLAIMS_POSTGRES_WEBSOCKETS] = true;
    grants = granted("{\"mode\":\"r\",\"channel\":\"c\",\"mercure\":{\"subscribe\":[\"b\"]},"
                     "\"eventgate\":{\"subscribe\":[\"a\"]}}");
    assert_true(allows(grants, EG_RIGHT_SUBSCRIBE, "a"));
    assert_false(allows(grants, EG_RIGHT_SUBSCRIBE, "b"));
    assert_false(allows(grants, EG_RIGHT_SUBSCRIBE, "c"));
    eg_grants_unref(grants);
    grants = granted("{\"mode\":\"r\",\"channel\":\"c\",\"mercure\":{\"subscribe\":[\"b\"]}}");
    assert_true(allows(grants, EG_RIGHT_SUBSCRIBE, "b"));
    assert_false(allows(grants, EG_RIGHT_SUBSCRIBE, "c"));
    eg_grants_unref(grants);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(judges_the_expiry, default_rules),
        cmocka_unit_test_setup(demands_an_expiry_when_told_to, default_rules),
        cmocka_unit_test_setup(judges_the_beginning, default_rules),
        cmocka_unit_test_setup(hands_on_the_dates, default_rules),
        cmocka_unit_test_setup(a_token_in_its_leeway_lasts_until_its_end, default_rules),
        cmocka_unit_test_setup(judges_the_issuer, default_rules),
        cmocka_unit_test_setup(judges_the_audience, default_rules),
        cmocka_unit_test_setup(a_subject_is_a_string, default_rules),
        cmocka_unit_test_setup(reads_its_own_claim, default_rules),
        cmocka_unit_test_setup(refuses_grants_of_another_form, default_rules),
        cmocka_unit_test_setup(needs_a_claim_that_grants, default_rules),
        cmocka_unit_test_setup(reads_the_claim_of_mercure, default_rules),
        cmocka_unit_test_setup(refuses_selectors_that_patterns_cannot_say, default_rules),
        cmocka_unit_test_setup(reads_the_claims_of_postgres_websockets, default_rules),
        cmocka_unit_test_setup(the_first_dialect_counts, default_rules),
    };
    return cmocka_run_group_tests(tests, make_rules, drop_rules);
}

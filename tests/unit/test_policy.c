/* The snapshot of what decides, made of a configuration and the texts of keys. */
#include "eventgate/policy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SECRET "0123456789abcdef0123456789abcdef"
#define SET "[set one]\nlive = a\n[set two]\nlive = b\n"

static struct eg_config *config_of(const char *gateway, const char *sets)
{
    char text[2000];
    struct eg_config *config;
    struct eg_error error;
    snprintf(text, sizeof(text), "[gateway]\n%s%s", gateway, sets);
    if (eg_config_parse(text, strlen(text), &config, &error) != 0)
        fail_msg("%s", error.sentence);
    return config;
}

static int make(const char *gateway, const char *sets, bool keys, struct eg_policy **policy, struct eg_error *error)
{
    const struct eg_policy_keys key = {"secret", "HS256", SECRET, strlen(SECRET)};
    char text[1000];
    snprintf(text, sizeof(text), "%s%s", keys ? "keys = HS256:secret\n" : "", gateway);
    struct eg_config *config = config_of(text, sets);
    int result = eg_policy_new(config, config, &key, keys, policy, error);
    eg_config_free(config);
    return result;
}

static void it_owns_what_the_configuration_says(void **state)
{
    struct eg_policy *policy;
    struct eg_error error;
    (void)state;
    assert_int_equal(make("token_issuer = me, you\ntoken_audience = us\ntoken_claim = c\ntoken_leeway = 7s\n"
                          "token_claims = mercure, eventgate\ntoken_expiry = optional\ntoken_cookie = k\n"
                          "allowed_origins = https://app.example\nadmin_listen = 127.0.0.1:1\n",
                          SET "anonymous_subscribe = b\nanonymous_publish = b/*\n", true, &policy, &error),
                     0);
    const struct eg_token_rules *rules = &policy->rules;
    assert_true(policy->has_keys && policy->admin_apart && policy->any_host);
    assert_int_equal(eg_keyring_count(rules->keyring), 1);
    assert_int_equal(rules->issuer_count, 2);
    assert_string_equal(rules->issuers[1], "you");
    assert_int_equal(rules->audience_count, 1);
    assert_string_equal(rules->claim, "c");
    assert_int_equal(rules->leeway_s, 7);
    assert_true(rules->dialects[EG_CLAIMS_EVENTGATE] && rules->dialects[EG_CLAIMS_MERCURE]);
    assert_false(rules->dialects[EG_CLAIMS_POSTGRES_WEBSOCKETS] || rules->needs_expiry);
    assert_string_equal(policy->cookie, "k");
    assert_string_equal(eg_policy_origins(policy).origins[0], "https://app.example");
    assert_int_equal(policy->set_count, 2);
    assert_false(eg_grants_allow_any(policy->anonymous[0], EG_RIGHT_SUBSCRIBE));
    assert_true(eg_grants_allow(policy->anonymous[1], EG_RIGHT_PUBLISH, "b/c", 3));
    assert_false(eg_grants_allow_any(policy->nobody, EG_RIGHT_SUBSCRIBE));
    eg_policy_unref(eg_policy_ref(policy));
    eg_policy_unref(policy);
    eg_policy_unref(NULL);
}

static void the_sets_are_those_in_use(void **state)
{
    const struct eg_policy_keys key = {"secret", "HS256", SECRET, strlen(SECRET)};
    struct eg_config *in_use = config_of("", SET);
    struct eg_config *loaded = config_of("keys = HS256:secret\ninsecure = yes\nadmin_listen = 127.0.0.1:1\n",
                                         "[set three]\nlive = c\n[set two]\nlive = b\nanonymous_publish = b\n");
    struct eg_policy *policy;
    struct eg_error error;
    (void)state;
    assert_int_equal(eg_policy_new(loaded, in_use, &key, 1, &policy, &error), 0);
    assert_int_equal(policy->set_count, 2);
    assert_false(eg_grants_allow_any(policy->anonymous[0], EG_RIGHT_PUBLISH));
    assert_true(eg_grants_allow_any(policy->anonymous[1], EG_RIGHT_PUBLISH));
    assert_false(policy->admin_apart);
    eg_policy_unref(policy);
    eg_config_free(loaded);
    eg_config_free(in_use);
}

static void what_is_wrong_together(void **state)
{
    struct eg_policy *policy = NULL;
    struct eg_error error;
    (void)state;
    assert_int_equal(make("", SET "anonymous_subscribe = b\n", false, &policy, &error), -EINVAL);
    assert_non_null(strstr(error.sentence, "[set two]"));
    assert_int_equal(make("token_cookie = a b\n", SET, false, &policy, &error), -EINVAL);
    assert_non_null(strstr(error.sentence, "token_cookie"));
    assert_null(policy);
}

static void which_hosts_are_ours(void **state)
{
    static const struct {
        const char *gateway, *host;
        bool keys, allowed, admin_allowed;
    } rows[] = {
        {"", "localhost:80", false, true, true},
        {"", "evil.example", false, false, false},
        {"", NULL, false, true, true},
        {"", "evil.example", true, true, false},
        {"", "127.0.0.1:9090", true, true, true},
        {"insecure = yes\n", "evil.example", false, true, true},
        {"insecure = yes\n", "evil.example", true, true, false},
        {"allowed_hosts = *.example\n", "a.example", true, true, true},
        {"allowed_hosts = *.example\n", "localhost", true, false, true},
        {"allowed_hosts = *\n", "evil.test.", false, true, true},
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        struct eg_policy *policy;
        struct eg_error error;
        assert_int_equal(make(rows[i].gateway, SET, rows[i].keys, &policy, &error), 0);
        if (eg_policy_allows_host(policy, false, rows[i].host) != rows[i].allowed ||
            eg_policy_allows_host(policy, true, rows[i].host) != rows[i].admin_allowed)
            fail_msg("%s: %s", rows[i].gateway, rows[i].host ? rows[i].host : "(none)");
        eg_policy_unref(policy);
    }
}

static void keys_are_read_from_their_files(void **state)
{
    char name[] = "/tmp/test_policy.XXXXXX", text[200];
    struct eg_policy *policy;
    struct eg_error error;
    (void)state;
    int fd = mkstemp(name);
    assert_true(fd >= 0 && write(fd, SECRET, strlen(SECRET)) == (ssize_t)strlen(SECRET));
    close(fd);
    snprintf(text, sizeof(text), "keys = HS256:%s\n", name);
    struct eg_config *good = config_of(text, SET);
    assert_int_equal(eg_policy_load(good, good, &policy, &error), 0);
    assert_true(policy->has_keys);
    eg_policy_unref(policy);
    snprintf(text, sizeof(text), "keys = %s\n", name);
    struct eg_config *unclear = config_of(text, SET);
    assert_int_equal(eg_policy_load(unclear, unclear, &policy, &error), -EINVAL);
    assert_non_null(strstr(error.sentence, name));
    unlink(name);
    assert_int_equal(eg_policy_load(good, good, &policy, &error), -EINVAL);
    assert_non_null(strstr(error.sentence, "cannot be read"));
    eg_config_free(unclear);
    eg_config_free(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_owns_what_the_configuration_says),
        cmocka_unit_test(the_sets_are_those_in_use),
        cmocka_unit_test(what_is_wrong_together),
        cmocka_unit_test(which_hosts_are_ours),
        cmocka_unit_test(keys_are_read_from_their_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Where a request's token is, what it may, and for how long. */
#include "eventgate/identity.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "eventgate/backoff.h"
#include "eventgate/policy.h"

static int find(const char *authorization, const char *cookie, const char *name, const char *url,
                struct eg_presented *presented, struct eg_target *target)
{
    struct eg_refusal refusal;
    assert_int_equal(eg_target_parse(url, strlen(url), target, &refusal), 0);
    int result = eg_identity_find_token(authorization, cookie, name, target, presented, &refusal);
    if (result)
        assert_int_equal(refusal.problem, EG_PROBLEM_BAD_REQUEST);
    return result;
}

static void where_a_token_is(void **state)
{
    static const struct {
        const char *authorization, *cookie, *name, *url;
        enum eg_token_source source;
        const char *token;
    } rows[] = {
        {NULL, NULL, "t", "/events", EG_TOKEN_NOWHERE, ""},
        {"Bearer a.b.c", NULL, "t", "/events", EG_TOKEN_IN_HEADER, "a.b.c"},
        {"bearer   a.b.c", NULL, "t", "/events", EG_TOKEN_IN_HEADER, "a.b.c"},
        {"BEARER a b", NULL, "t", "/events", EG_TOKEN_IN_HEADER, "a"},
        {"Bearer", NULL, "t", "/events", EG_TOKEN_IN_HEADER, ""},
        {"Bearer ", NULL, "t", "/events", EG_TOKEN_IN_HEADER, ""},
        {"Bearerx a", NULL, "t", "/events", EG_TOKEN_NOWHERE, ""},
        {"Basic a", NULL, "t", "/events", EG_TOKEN_NOWHERE, ""},
        {NULL, "t=a.b.c", "t", "/events", EG_TOKEN_IN_COOKIE, "a.b.c"},
        {NULL, "a=b; t=a.b.c; c=d", "t", "/events", EG_TOKEN_IN_COOKIE, "a.b.c"},
        {NULL, "a=b;t=\"a.b.c\" ;c=d", "t", "/events", EG_TOKEN_IN_COOKIE, "a.b.c"},
        {NULL, "t=1; t=2", "t", "/events", EG_TOKEN_IN_COOKIE, "1"},
        {NULL, "tt=1; T=2; t", "t", "/events", EG_TOKEN_NOWHERE, ""},
        {NULL, "t=", "t", "/events?access_token=q", EG_TOKEN_IN_QUERY, "q"},
        {NULL, "t=\"\"", "t", "/events", EG_TOKEN_NOWHERE, ""},
        {NULL, "=1; t=2", "", "/events", EG_TOKEN_NOWHERE, ""},
        {NULL, "t=c", "t", "/events?access_token=q", EG_TOKEN_IN_COOKIE, "c"},
        {"Bearer h", "t=c", "t", "/events?access_token=q", EG_TOKEN_IN_HEADER, "h"},
        {"Basic h", NULL, "t", "/events?channel=x&access_token=q%2Eq", EG_TOKEN_IN_QUERY, "q.q"},
        {NULL, NULL, "t", "/events?access_token=", EG_TOKEN_IN_QUERY, ""},
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        struct eg_presented presented;
        struct eg_target target;
        assert_int_equal(find(rows[i].authorization, rows[i].cookie, rows[i].name, rows[i].url, &presented, &target),
                         0);
        if (presented.source != rows[i].source || presented.token.length != strlen(rows[i].token) ||
            memcmp(presented.token.data, rows[i].token, presented.token.length) != 0)
            fail_msg("row %zu: %d \"%.*s\"", i, presented.source, (int)presented.token.length, presented.token.data);
        eg_target_done(&target);
    }
}

static void two_in_the_query_are_refused(void **state)
{
    struct eg_presented presented;
    struct eg_target target;
    (void)state;
    assert_int_equal(find("Bearer a", NULL, "t", "/?access_token=a&access_token=a", &presented, &target), -EINVAL);
    eg_target_done(&target);
}

static struct eg_grants *grants_of(int64_t expires_s, const char *pattern)
{
    struct eg_grants *grants = eg_grants_new((struct eg_bytes){"ann", 3}, EG_GRANTS_UNDATED, expires_s);
    assert_non_null(grants);
    if (pattern)
        assert_int_equal(eg_grants_add(grants, EG_RIGHT_SUBSCRIBE, pattern, strlen(pattern)), 0);
    return grants;
}

static void what_everybody_may_is_of_its_set(void **state)
{
    struct eg_grants *anonymous[2] = {grants_of(EG_GRANTS_NEVER, "a/**"), grants_of(EG_GRANTS_NEVER, NULL)};
    struct eg_policy policy = {.has_keys = true, .anonymous = anonymous, .set_count = 2};
    struct eg_exchange exchange = {.policy = &policy, .grants = grants_of(EG_GRANTS_NEVER, "b")};
    struct eg_bytes a = {"a/x", 3}, b = {"b", 1}, c = {"c", 1};
    (void)state;
    assert_true(eg_identity_allows(&exchange, EG_RIGHT_SUBSCRIBE, 0, a));
    assert_false(eg_identity_allows(&exchange, EG_RIGHT_SUBSCRIBE, 1, a));
    assert_true(eg_identity_allows(&exchange, EG_RIGHT_SUBSCRIBE, EG_ANY_SET, a));
    assert_true(eg_identity_allows(&exchange, EG_RIGHT_SUBSCRIBE, 1, b));
    assert_false(eg_identity_allows(&exchange, EG_RIGHT_SUBSCRIBE, EG_ANY_SET, c));
    assert_false(eg_identity_allows(&exchange, EG_RIGHT_PUBLISH, EG_ANY_SET, b));
    assert_true(eg_identity_allows_something(&exchange, EG_RIGHT_SUBSCRIBE, 1));
    assert_false(eg_identity_allows_something(&exchange, EG_RIGHT_PUBLISH, EG_ANY_SET));
    eg_grants_unref(exchange.grants);
    exchange.grants = NULL; /* its head came before the keys */
    assert_true(eg_identity_allows(&exchange, EG_RIGHT_SUBSCRIBE, EG_ANY_SET, a));
    assert_false(eg_identity_allows(&exchange, EG_RIGHT_PUBLISH, EG_ANY_SET, c));
    assert_false(eg_identity_allows_something(&exchange, EG_RIGHT_PUBLISH, EG_ANY_SET));
    policy.has_keys = false;
    assert_true(eg_identity_allows(&exchange, EG_RIGHT_PUBLISH, EG_ANY_SET, c));
    assert_true(eg_identity_allows_something(&exchange, EG_RIGHT_PUBLISH, EG_ANY_SET));
    eg_grants_unref(anonymous[0]);
    eg_grants_unref(anonymous[1]);
}

static void who_may_ask_what_operators_ask(void **state)
{
    struct eg_policy policy = {.has_keys = false};
    struct eg_client client = {.admin = false};
    struct eg_exchange exchange = {.policy = &policy, .client = &client};
    (void)state;
    assert_true(eg_identity_allows_admin(&exchange));
    policy.admin_apart = true;
    assert_false(eg_identity_allows_admin(&exchange));
    client.admin = true;
    assert_true(eg_identity_allows_admin(&exchange));
    client.admin = false;
    policy.has_keys = true;
    assert_false(eg_identity_allows_admin(&exchange)); /* its head came before the keys */
    exchange.grants = grants_of(EG_GRANTS_NEVER, "**");
    assert_false(eg_identity_allows_admin(&exchange));
    eg_grants_set_admin(exchange.grants);
    assert_true(eg_identity_allows_admin(&exchange));
    eg_grants_unref(exchange.grants);
}

static void how_long_a_token_is_good(void **state)
{
    const struct eg_policy policy = {.rules = {.leeway_s = 10}};
    int64_t now_s = eg_wall_us() / 1000000;
    const struct {
        int64_t expires_s;
        uint64_t least_ms, most_ms;
    } rows[] = {{now_s - 20, 0, 0},
                {now_s, 0, 0}, /* the leeway is the token's, which has given it to its grants */
                {now_s + 60, 50000, 60000},
                {EG_GRANTS_NEVER, UINT64_MAX, UINT64_MAX},
                {INT64_MAX / 2, UINT64_MAX, UINT64_MAX},
                {0, 0, 0}};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        struct eg_grants *grants = grants_of(rows[i].expires_s, NULL);
        assert_in_range(eg_identity_left_ms(grants, &policy), rows[i].least_ms, rows[i].most_ms);
        eg_grants_unref(grants);
    }
    assert_true(eg_identity_left_ms(NULL, NULL) == UINT64_MAX);
}

static void a_revoked_token_is_good_no_longer(void **state)
{
    struct eg_revocations *revocations = eg_revocations_new();
    const struct eg_policy policy = {.revocations = revocations};
    struct eg_grants *grants = eg_grants_new((struct eg_bytes){"ann", 3}, 10, EG_GRANTS_NEVER);
    int database = eg_revocations_expect(revocations, true);
    (void)state;
    assert_true(eg_identity_left_ms(grants, &policy) == UINT64_MAX);
    assert_int_equal(eg_revocations_set(revocations, database, (struct eg_bytes){"ann", 3}, 11000000), 0);
    assert_int_equal(eg_identity_left_ms(grants, &policy), 0);
    assert_true(eg_identity_left_ms(NULL, &policy) == UINT64_MAX);
    eg_grants_unref(grants);
    eg_revocations_free(revocations);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_a_token_is),
        cmocka_unit_test(two_in_the_query_are_refused),
        cmocka_unit_test(what_everybody_may_is_of_its_set),
        cmocka_unit_test(who_may_ask_what_operators_ask),
        cmocka_unit_test(how_long_a_token_is_good),
        cmocka_unit_test(a_revoked_token_is_good_no_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

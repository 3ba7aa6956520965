/* Targets, routes, and the kinds of bodies. */
#include "eventgate/request.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void assert_target(const char *target, const char *path, const char *name, const char *value)
{
    struct eg_target parsed;
    struct eg_refusal refusal;
    assert_int_equal(eg_target_parse(target, strlen(target), &parsed, &refusal), 0);
    assert_string_equal(parsed.path.data, path);
    assert_int_equal(parsed.path.length, strlen(path));
    if (name) {
        assert_true(parsed.parameter_count > 0);
        assert_string_equal(parsed.parameters[parsed.parameter_count - 1].name.data, name);
        assert_string_equal(parsed.parameters[parsed.parameter_count - 1].value.data, value);
    } else {
        assert_int_equal(parsed.parameter_count, 0);
    }
    eg_target_done(&parsed);
}

static void targets_are_decoded(void **state)
{
    (void)state;
    assert_target("/", "/", NULL, NULL);
    assert_target("/channels/a%2Fb", "/channels/a/b", NULL, NULL);
    assert_target("/channels/caf%C3%A9", "/channels/caf\xc3\xa9", NULL, NULL);
    assert_target("/channels/a+b", "/channels/a+b", NULL, NULL);
    assert_target("/events?", "/events", NULL, NULL);
    assert_target("/events?channel=a+b", "/events", "channel", "a b");
    assert_target("/events?x=1&channel=a%2Bb", "/events", "channel", "a+b");
    assert_target("/events?&&a=b=c&", "/events", "a", "b=c");
    assert_target("/events?flag", "/events", "flag", "");
    assert_target("/events/", "/events/", NULL, NULL);
    assert_target("/channels/a%25", "/channels/a%", NULL, NULL);
}

static void bad_targets_are_refused_with_a_sentence(void **state)
{
    static const char *const targets[] = {"",       "a",        "/%",       "/%4",   "/a%zz",       "/a%00b",
                                          "/a%0Ab", "/a//b",    "/./a",     "/a/..", "/a/%2e%2e/b", "/%2E",
                                          "/%ff",   "/a?b=%80", "/a?%1f=b", "/a?b=%"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(targets); i++) {
        struct eg_target parsed;
        struct eg_refusal refusal;
        assert_int_equal(eg_target_parse(targets[i], strlen(targets[i]), &parsed, &refusal), -EINVAL);
        assert_int_equal(eg_problem_status(refusal.problem), 400);
        assert_true(strlen(refusal.detail) > 10);
    }
}

static void parameters_have_a_limit(void **state)
{
    static char target[4 * EG_REQUEST_MAX_PARAMETERS];
    struct eg_target parsed;
    struct eg_refusal refusal;
    (void)state;
    strcpy(target, "/a?");
    for (int i = 0; i < EG_REQUEST_MAX_PARAMETERS; i++)
        strcat(target, i ? "&b" : "b");
    assert_int_equal(eg_target_parse(target, strlen(target), &parsed, &refusal), 0);
    assert_int_equal(parsed.parameter_count, EG_REQUEST_MAX_PARAMETERS);
    eg_target_done(&parsed);
    strcat(target, "&b");
    assert_int_equal(eg_target_parse(target, strlen(target), &parsed, &refusal), -EINVAL);
}

static void routes_are_found(void **state)
{
    static const struct {
        const char *path;
        enum eg_route route;
        const char *channel;
    } rows[] = {{"/events", EG_ROUTE_EVENTS, ""},
                {"/channels", EG_ROUTE_CHANNELS, ""},
                {"/channels/a/b", EG_ROUTE_CHANNEL, "a/b"},
                {"/channels/", EG_ROUTE_NONE, ""},
                {"/sets", EG_ROUTE_SETS, ""},
                {"/livez", EG_ROUTE_LIVEZ, ""},
                {"/readyz", EG_ROUTE_READYZ, ""},
                {"/healthz", EG_ROUTE_HEALTHZ, ""},
                {"/metrics", EG_ROUTE_METRICS, ""},
                {"/openapi.json", EG_ROUTE_ASSET, ""},
                {"/openapi.json/", EG_ROUTE_NONE, ""},
                {"/{file}", EG_ROUTE_NONE, ""},
                {"/metrics/", EG_ROUTE_NONE, ""},
                {"/", EG_ROUTE_ASSET, ""},
                {"/playground/main.js", EG_ROUTE_ASSET, ""},
                {"/playground/", EG_ROUTE_NONE, ""},
                {"/eventsx", EG_ROUTE_NONE, ""}};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        struct eg_bytes channel;
        assert_int_equal(eg_route_find((struct eg_bytes){rows[i].path, strlen(rows[i].path)}, &channel), rows[i].route);
        assert_int_equal(channel.length, strlen(rows[i].channel));
        assert_memory_equal(channel.data, rows[i].channel, channel.length);
    }
    assert_non_null(strstr(eg_route_allow(EG_ROUTE_CHANNEL), "POST"));
    assert_null(strstr(eg_route_allow(EG_ROUTE_METRICS), "POST"));
}

static void bodies_have_a_kind(void **state)
{
    static const struct {
        const char *type, *encoding;
        int result;
        enum eg_body_kind kind;
    } rows[] = {{NULL, NULL, 0, EG_BODY_UNSAID},
                {"", NULL, 0, EG_BODY_UNSAID},
                {"application/json", NULL, 0, EG_BODY_JSON},
                {"Application/JSON; charset=UTF-8", "identity", 0, EG_BODY_JSON},
                {"application/activity+json", NULL, 0, EG_BODY_JSON},
                {"application/x-ndjson", NULL, 0, EG_BODY_NDJSON},
                {"application/jsonl", NULL, 0, EG_BODY_NDJSON},
                {"text/plain", NULL, 0, EG_BODY_TEXT},
                {"text/plain;charset=\"us-ascii\"", NULL, 0, EG_BODY_TEXT},
                {"application/x-www-form-urlencoded", NULL, 0, EG_BODY_UNSAID},
                {"text/plain; charset=latin1", NULL, -EINVAL, 0},
                {"application/octet-stream", NULL, -EINVAL, 0},
                {"multipart/form-data; boundary=x", NULL, -EINVAL, 0},
                {"application/json", "gzip", -EINVAL, 0}};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        enum eg_body_kind kind = EG_BODY_TEXT;
        struct eg_refusal refusal;
        assert_int_equal(eg_body_kind_read(rows[i].type, rows[i].encoding, &kind, &refusal), rows[i].result);
        if (rows[i].result == 0)
            assert_int_equal(kind, rows[i].kind);
        else
            assert_int_equal(eg_problem_status(refusal.problem), 415);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_are_decoded),     cmocka_unit_test(bad_targets_are_refused_with_a_sentence),
        cmocka_unit_test(parameters_have_a_limit), cmocka_unit_test(routes_are_found),
        cmocka_unit_test(bodies_have_a_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

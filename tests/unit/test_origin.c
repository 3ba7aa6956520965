/* Which origins and hosts there are, and which of them a list allows. */
#include "eventgate/origin.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void what_can_be_listed(void **state)
{
    static const char *const origins[] = {"*",
                                          "https://app.example",
                                          "http://localhost:3000",
                                          "https://*.example",
                                          "http://[::1]:81",
                                          "chrome-extension://abc",
                                          "HTTPS://App.Example"};
    static const char *const no_origins[] = {"",
                                             "null",
                                             "app.example",
                                             "https://",
                                             "://app.example",
                                             "https://app.example/",
                                             "https://app.example/page",
                                             "https://app.example:443",
                                             "http://app.example:80",
                                             "https://app.example:99999",
                                             "https://user@app.example",
                                             "https://*",
                                             "https://app.*",
                                             "https://*.*.example",
                                             "https://a..b",
                                             "https://[::1",
                                             "https://*.[::1]",
                                             "https://app.example https://b.example"};
    static const char *const hosts[] = {"*",        "events.example", "events.example:8080", "[::1]",
                                        "[::1]:80", "*.example",      "192.0.2.1:8080"};
    static const char *const no_hosts[] = {"",          ":80", "a:", "a:b", "::1", "[::1",
                                           "https://a", "a/b", "*.", ".a",  "a b"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(origins); i++)
        assert_null(eg_origin_problem(origins[i]));
    for (size_t i = 0; i < EG_ARRAY_LENGTH(no_origins); i++)
        assert_non_null(eg_origin_problem(no_origins[i]));
    for (size_t i = 0; i < EG_ARRAY_LENGTH(hosts); i++)
        assert_null(eg_host_problem(hosts[i]));
    for (size_t i = 0; i < EG_ARRAY_LENGTH(no_hosts); i++)
        assert_non_null(eg_host_problem(no_hosts[i]));
}

static void which_origins_a_pattern_allows(void **state)
{
    static const struct {
        const char *pattern, *origin;
        bool allowed;
    } rows[] = {
        {"https://app.example", "https://app.example", true},
        {"https://app.example", "HTTPS://APP.example", true},
        {"https://app.example", "http://app.example", false},
        {"https://app.example", "https://app.example:8443", false},
        {"https://app.example", "https://app.example.evil", false},
        {"https://app.example", "https://evilapp.example", false},
        {"https://app.example", "https://app.example/", false},
        {"https://app.example:8443", "https://app.example:8443", true},
        {"https://app.example:8443", "https://app.example", false},
        {"https://*.example", "https://app.example", true},
        {"https://*.example", "https://a.b.example", true},
        {"https://*.example", "https://example", false},
        {"https://*.example", "https://.example", false},
        {"https://*.example", "https://evilexample", false},
        {"https://*.example", "https://*.example", false},
        {"https://*.example", "https://app.example.evil", false},
        {"https://*.example", "null", false},
        {"https://*.example", "", false},
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++)
        if (eg_origin_matches(rows[i].pattern, rows[i].origin) != rows[i].allowed)
            fail_msg("%s and %s", rows[i].pattern, rows[i].origin);
}

static void which_hosts_a_pattern_allows(void **state)
{
    static const struct {
        const char *pattern, *host;
        bool allowed;
    } rows[] = {
        {"*", "anything", true},
        {"events.example", "events.example", true},
        {"events.example", "EVENTS.example:8080", true},
        {"events.example:8080", "events.example:8080", true},
        {"events.example:8080", "events.example", false},
        {"events.example:8080", "events.example:80", false},
        {"events.example", "events.example.", false},
        {"*.example", "events.example", true},
        {"*.example", "example", false},
        {"[::1]", "[::1]:8080", true},
        {"192.0.2.1", "192.0.2.1:8080", true},
        {"events.example", "", false},
        {"events.example", "events.example@evil", false},
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++)
        if (eg_host_matches(rows[i].pattern, rows[i].host) != rows[i].allowed)
            fail_msg("%s and %s", rows[i].pattern, rows[i].host);
}

static void no_stranger_has_a_private_host(void **state)
{
    static const char *const private[] = {
        "localhost",     "localhost:8080",    "127.0.0.1", "127.0.0.1:8080", "[::1]:80", "db1",
        "app.localhost", "gateway.test:8080", "10.0.0.1",  "nas.home.arpa",  "a.LOCAL"};
    static const char *const public[] = {"evil.example",
                                         "localhost.evil.example",
                                         "evil.example:8080",
                                         "127.0.0.1.evil",
                                         "localhost.",
                                         "evil.test.",
                                         "evilhome.arpa",
                                         "",
                                         "a b",
                                         "*.localhost"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(private); i++)
        if (!eg_host_is_private(private[i]))
            fail_msg("%s", private[i]);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(public); i++)
        if (eg_host_is_private(public[i]))
            fail_msg("%s", public[i]);
}

static void a_page_of_ours_has_our_host(void **state)
{
    static const struct {
        const char *origin, *host;
        bool same;
    } rows[] = {
        {"https://events.example", "events.example", true},
        {"https://events.example", "Events.Example:443", true},
        {"http://events.example", "events.example:443", false},
        {"http://127.0.0.1:8080", "127.0.0.1:8080", true},
        {"http://127.0.0.1:8081", "127.0.0.1:8080", false},
        {"http://localhost:8080", "127.0.0.1:8080", false},
        {"null", "null", false},
        {"https://events.example", "", false},
        {"https://*.example", "*.example", false},
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++)
        if (eg_origin_is_of_host(rows[i].origin, rows[i].host) != rows[i].same)
            fail_msg("%s and %s", rows[i].origin, rows[i].host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_can_be_listed),           cmocka_unit_test(which_origins_a_pattern_allows),
        cmocka_unit_test(which_hosts_a_pattern_allows), cmocka_unit_test(no_stranger_has_a_private_host),
        cmocka_unit_test(a_page_of_ours_has_our_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

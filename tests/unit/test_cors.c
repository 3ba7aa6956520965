/* What answers say to other origins, and which POSTs may have been a page's trick. */
#include "eventgate/cors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define APP "https://app.example"
#define EVIL "https://evil.example"

static const char *const some[] = {APP, "https://*.shop.example"}, *const all[] = {"*", APP};
static const struct eg_cors_list none = {NULL, 0}, listed = {some, 2}, any = {all, 2};

static const char *value_of(const struct eg_cors_headers *headers, const char *name)
{
    for (size_t i = 0; i < headers->count; i++)
        if (strcmp(headers->rows[i].name, name) == 0)
            return headers->rows[i].value;
    return NULL;
}

static void assert_is(const struct eg_cors_headers *headers, const char *name, const char *expected)
{
    const char *value = value_of(headers, name);
    if (expected && value)
        assert_string_equal(value, expected);
    else
        assert_true(value == expected);
}

static void who_may_read_an_answer(void **state)
{
    static const struct {
        const struct eg_cors_list *list;
        const char *origin, *allowed, *credentials, *vary;
    } rows[] = {
        {&none, APP, NULL, NULL, NULL},
        {&none, NULL, NULL, NULL, NULL},
        {&listed, NULL, NULL, NULL, "Origin"},
        {&listed, APP, APP, "true", "Origin"},
        {&listed, "https://a.shop.example", "https://a.shop.example", "true", "Origin"},
        {&listed, EVIL, NULL, NULL, "Origin"},
        {&listed, "null", NULL, NULL, "Origin"},
        {&any, NULL, NULL, NULL, "Origin"},
        {&any, APP, APP, "true", "Origin"},
        {&any, EVIL, "*", NULL, "Origin"},
        {&any, "null", "*", NULL, "Origin"},
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        const struct eg_cors_request request = {.origin = rows[i].origin, .host = "events.example"};
        struct eg_cors_headers headers = eg_cors_headers(*rows[i].list, &request, NULL);
        assert_is(&headers, "Access-Control-Allow-Origin", rows[i].allowed);
        assert_is(&headers, "Access-Control-Allow-Credentials", rows[i].credentials);
        assert_is(&headers, "Vary", rows[i].vary);
        assert_null(value_of(&headers, "Access-Control-Allow-Methods"));
        assert_true((value_of(&headers, "Access-Control-Expose-Headers") != NULL) == (rows[i].allowed != NULL));
    }
}

static void a_preflight_says_what_may_be_sent(void **state)
{
    (void)state;
    struct eg_cors_request request = {.origin = APP, .method = "POST"};
    struct eg_cors_headers headers = eg_cors_headers(listed, &request, "GET, POST");
    assert_int_equal(headers.count, 6);
    assert_is(&headers, "Access-Control-Allow-Methods", "GET, POST");
    assert_non_null(strstr(value_of(&headers, "Access-Control-Allow-Headers"), "Authorization"));
    assert_non_null(value_of(&headers, "Access-Control-Max-Age"));
    assert_non_null(strstr(value_of(&headers, "Vary"), "Access-Control-Request-Method"));
    request.origin = EVIL;
    headers = eg_cors_headers(listed, &request, "GET, POST");
    assert_int_equal(headers.count, 1);
    request = (struct eg_cors_request){.origin = APP};
    headers = eg_cors_headers(listed, &request, "GET, POST");
    assert_null(value_of(&headers, "Access-Control-Allow-Methods"));
}

static void which_posts_a_page_may_send(void **state)
{
    static const struct {
        const struct eg_cors_list *list;
        struct eg_cors_request request;
        bool by_cookie, otherwise;
    } rows[] = {
        {&listed, {.origin = NULL}, false, true},
        {&listed, {.origin = APP}, true, true},
        {&listed, {.origin = EVIL}, false, false},
        {&listed, {.origin = "null"}, false, false},
        {&listed, {.origin = "https://events.example", .host = "events.example"}, true, true},
        {&listed, {.origin = "https://events.example", .host = "events.example:8080"}, false, false},
        {&listed,
         {.origin = "http://events.example", .host = "events.example", .fetch_site = "cross-site"},
         false,
         false},
        {&listed, {.origin = EVIL, .fetch_site = "same-origin"}, true, true},
        {&listed, {.origin = EVIL, .fetch_site = "same-site"}, false, false},
        {&listed, {.fetch_site = "none"}, false, true},
        {&any, {.origin = EVIL}, false, true},
        {&any, {.origin = APP}, true, true},
        {&none, {.origin = APP}, false, false},
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        assert_true(eg_cors_may_post(*rows[i].list, &rows[i].request, true) == rows[i].by_cookie);
        assert_true(eg_cors_may_post(*rows[i].list, &rows[i].request, false) == rows[i].otherwise);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_may_read_an_answer),
        cmocka_unit_test(a_preflight_says_what_may_be_sent),
        cmocka_unit_test(which_posts_a_page_may_send),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

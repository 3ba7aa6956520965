/* What is asked of the log: regular expressions that mean what the patterns do, and errors that say what to do. */
#include "eventgate/log_query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "postgres_fixture.h"
#include "eventgate/pattern.h"
#include "eventgate/schema_script.h"

static const char *const patterns[] = {"a",       "a/*",        "a/**",     "*",         "**",   "*/b",
                                       "a/*/c",   "a.b/*",      "(x|y)/*",  "a+/[b]/**", "^$/*", "\\d/*",
                                       "{2}/?/*", "\xc3\xa9/*", "a_b/*/**", "***"};
static const char *const names[] = {"a",     "a/b",     "a/b/c",      "a/x/c",    "a/b/c/d",    "axb/c", "a.b/c",
                                    "x/b",   "(x|y)/1", "aa/[b]/c",   "aa/b/c",   "a+/[b]/c/d", "^$/1",  "5/1",
                                    "\\d/1", "{2}/?/x", "\xc3\xa9/1", "\xc3\xa9", "a_b/1/2",    "a_b/1", "ab/1/2"};

static void add_literal(struct eg_buffer *sql, const char *text)
{
    eg_buffer_add_string(sql, "'");
    eg_buffer_add_string(sql, text); /* none has a quote */
    eg_buffer_add_string(sql, "'");
}

static void a_regular_expression_matches_what_the_pattern_does(void **state)
{
    (void)state;
    for (size_t p = 0; p < EG_ARRAY_LENGTH(patterns); p++) {
        if (eg_pattern_problem(patterns[p], strlen(patterns[p])))
            continue;
        struct eg_buffer sql = EG_BUFFER_INIT, expected = EG_BUFFER_INIT;
        eg_buffer_add_string(&sql, "SELECT concat(");
        for (size_t n = 0; n < EG_ARRAY_LENGTH(names); n++) {
            bool matches = eg_pattern_matches(patterns[p], strlen(patterns[p]), names[n], strlen(names[n]));
            eg_buffer_add_string(&expected, matches ? "t" : "f");
            eg_buffer_add_string(&sql, n > 0 ? ", " : "");
            add_literal(&sql, names[n]);
            eg_buffer_add_string(&sql, " ~ '^");
            eg_log_add_regex(&sql, patterns[p], strlen(patterns[p]));
            eg_buffer_add_string(&sql, "$'");
        }
        eg_buffer_add_string(&sql, ")");
        eg_buffer_add(&sql, "", 1);
        eg_buffer_add(&expected, "", 1);
        char *found = postgres_ask("postgres", sql.data);
        if (strcmp(found, expected.data) != 0)
            fail_msg("%s: %s instead of %s", patterns[p], found, expected.data);
        free(found);
        eg_buffer_done(&sql);
        eg_buffer_done(&expected);
    }
}

static void the_sets_regular_expression_is_that_of_any(void **state)
{
    (void)state;
    struct eg_config_channel channels[] = {{"a/*", 3, true}, {"b.c", 3, false}};
    const struct eg_config_set set = {.durable = channels, .durable_count = 2};
    struct eg_buffer regex = EG_BUFFER_INIT;
    eg_log_set_regex(&set, &regex);
    static const char expected[] = "^(?:a/[^/]+|b\\.c)$";
    assert_int_equal(regex.length, strlen(expected));
    assert_memory_equal(regex.data, expected, strlen(expected));
    eg_buffer_done(&regex);
}

static void explain(const char *sqlstate, const char *part)
{
    struct eg_error error = {.sentence = "what PostgreSQL says"};
    char text[512];
    memcpy(error.sqlstate, sqlstate, sizeof(error.sqlstate));
    eg_log_explain(&error, text, sizeof(text));
    assert_non_null(strstr(text, "what PostgreSQL says"));
    assert_non_null(strstr(text, part));
}

static void errors_say_what_to_do(void **state)
{
    (void)state;
    explain("3F000", "pg_eventgate schema install");
    explain("42883", "pg_eventgate schema install");
    explain("42501", "GRANT eventgate_gateway");
    explain("57P01", "");
}

/* The session of a gateway that has vanished must not hold partitions until TCP gives up. */
static void sessions_have_timeouts(void **state)
{
    (void)state;
    const struct eg_config_set set = {.query_timeout_ms = 3000};
    struct eg_buffer settings = EG_BUFFER_INIT, sql = EG_BUFFER_INIT;
    eg_log_settings(&set, &settings);
    assert_non_null(strstr(settings.data, "'tcp_user_timeout', '6000'"));
    eg_buffer_add_string(&sql, "SELECT concat_ws(' '");
    eg_buffer_add_string(&sql, settings.data);
    eg_buffer_add(&sql, ")", 2);
    char *found = postgres_ask("postgres", sql.data);
    assert_non_null(strstr(found, "1500ms 2250ms 3s"));
    free(found);
    eg_buffer_done(&settings);
    eg_buffer_done(&sql);
}

/* What the program brings, it knows; and gateways that know the versions before 3 can work with it. */
static void the_schema_is_for_these_gateways_and_those_before(void **state)
{
    (void)state;
    assert_int_equal(eg_schema_version, EG_LOG_VERSION);
    postgres_install("postgres");
    char *found = postgres_ask("postgres", "SELECT version FROM eventgate.attach(0)");
    assert_string_equal(found, "2");
    free(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_regular_expression_matches_what_the_pattern_does),
        cmocka_unit_test(the_sets_regular_expression_is_that_of_any),
        cmocka_unit_test(errors_say_what_to_do),
        cmocka_unit_test(sessions_have_timeouts),
        cmocka_unit_test(the_schema_is_for_these_gateways_and_those_before),
    };
    eg_log_configure(EG_LOG_ERROR, EG_LOG_TEXT);
    return cmocka_run_group_tests(tests, postgres_start, postgres_stop);
}

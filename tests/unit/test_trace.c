/* Which traceparents are valid, and what they say. */
#include "eventgate/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define IDS "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"

static void traces(void **state)
{
    static const struct {
        const char *header, *trace; /* NULL: not valid */
    } cases[] = {
        {"00-" IDS "-01", "00-" IDS "-01"},
        {" 00-" IDS "-00\t", "00-" IDS "-00"},
        {"00-" IDS "-ff", "00-" IDS "-ff"},
        {"01-" IDS "-01", "00-" IDS "-01"}, /* a higher version, carried as the one we know */
        {"cc-" IDS "-01-what-the-future-brings", "00-" IDS "-01"},
        {"00-" IDS "-01-more", NULL},
        {"cc-" IDS "-01.more", NULL},
        {"cc-" IDS "-01x", NULL},
        {"ff-" IDS "-01", NULL},
        {"0-" IDS "-01", NULL},
        {"0X-" IDS "-01", NULL},
        {"00-" IDS "-0", NULL},
        {"00-" IDS "-0g", NULL},
        {"00-" IDS, NULL},
        {"00_" IDS "-01", NULL},
        {"00-" IDS "_01", NULL},
        {"00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", NULL}, /* capitals */
        {"00-4bf92f3577b34da6a3ce929d0e0e473600f067aa0ba902b7--01", NULL},
        {"00-00000000000000000000000000000000-00f067aa0ba902b7-01", NULL},
        {"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", NULL},
        {"", NULL},
        {"00-", NULL},
        {"   ", NULL},
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(cases); i++) {
        char trace[EG_TRACEPARENT_LENGTH + 1] = "untouched";
        bool valid = eg_traceparent_read((struct eg_bytes){cases[i].header, strlen(cases[i].header)}, trace);
        if (valid != (cases[i].trace != NULL))
            fail_msg("%s: %s", cases[i].header, valid ? "taken" : "not taken");
        assert_string_equal(trace, valid ? cases[i].trace : "untouched");
    }
}

static void bytes_need_no_end(void **state)
{
    char trace[EG_TRACEPARENT_LENGTH + 1], header[] = "00-" IDS "-01";
    (void)state;
    char *exact = malloc(EG_TRACEPARENT_LENGTH);
    assert_non_null(exact);
    memcpy(exact, header, EG_TRACEPARENT_LENGTH);
    assert_true(eg_traceparent_read((struct eg_bytes){exact, EG_TRACEPARENT_LENGTH}, trace));
    for (size_t length = 0; length < EG_TRACEPARENT_LENGTH; length++)
        assert_false(eg_traceparent_read((struct eg_bytes){exact, length}, trace));
    exact[10] = '\0';
    assert_false(eg_traceparent_read((struct eg_bytes){exact, EG_TRACEPARENT_LENGTH}, trace));
    free(exact);
    assert_false(eg_traceparent_read((struct eg_bytes){NULL, 0}, trace));
}

static void what_it_says(void **state)
{
    char id[EG_TRACE_ID_LENGTH + 1];
    (void)state;
    eg_traceparent_id("00-" IDS "-01", id);
    assert_string_equal(id, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_true(eg_traceparent_is_sampled("00-" IDS "-01"));
    assert_true(eg_traceparent_is_sampled("00-" IDS "-0b"));
    assert_true(eg_traceparent_is_sampled("00-" IDS "-ff"));
    assert_false(eg_traceparent_is_sampled("00-" IDS "-00"));
    assert_false(eg_traceparent_is_sampled("00-" IDS "-10"));
    assert_false(eg_traceparent_is_sampled("00-" IDS "-0a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(traces),
        cmocka_unit_test(bytes_need_no_end),
        cmocka_unit_test(what_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

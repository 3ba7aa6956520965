/* Findings as lines and as JSON; ages in words. */
#include "eventgate/doctor_report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "eventgate/doctor.h"
#include "eventgate/json.h"

/* What a report with three findings prints. */
static void print(bool json, char *ret_text, size_t size)
{
    struct eg_report report = {.json = false};
    int kept = dup(STDOUT_FILENO), pipes[2];
    assert_int_equal(pipe(pipes), 0);
    fflush(stdout);
    dup2(pipes[1], STDOUT_FILENO);
    eg_report_begin(&report, json);
    eg_report_add(&report, EG_FINE, "a", NULL, NULL, "%d is well", 1);
    eg_report_add(&report, EG_WARNING, "b", "set \"x\"", "Do it.", "two");
    eg_report_add(&report, EG_ERROR, "c", "y", NULL, "three");
    bool printed = eg_report_end(&report);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    close(pipes[1]);
    ssize_t length = read(pipes[0], ret_text, size - 1);
    close(pipes[0]);
    assert_true(printed && length > 0);
    ret_text[length] = '\0';
    assert_int_equal(report.counts[EG_ERROR], 1);
}

static void lines(void **state)
{
    char text[2000];
    (void)state;
    print(false, text, sizeof(text));
    assert_string_equal(text, "ok       1 is well\n"
                              "warning  set \"x\": two\n"
                              "         Do it.\n"
                              "error    y: three\n"
                              "\n"
                              "1 error, 1 warning, 1 ok: the errors keep it from doing what it is for.\n");
}

static void json(void **state)
{
    char text[2000];
    (void)state;
    print(true, text, sizeof(text));
    assert_int_equal(eg_json_check(text, strlen(text)), 0);
    assert_non_null(strstr(text,
                           "{\"result\":\"warning\",\"check\":\"b\",\"subject\":\"set \\\"x\\\"\",\"found\":\"two\","
                           "\"advice\":\"Do it.\"}"));
    assert_non_null(strstr(text, "\"errors\":1,\"warnings\":1,\"ok\":1"));
}

static void ages(void **state)
{
    static const struct {
        double seconds;
        const char *text;
    } rows[] = {{0.4, "0 s"}, {59, "59 s"}, {60, "1 min"}, {7200, "2 h"}, {86400, "24 h"}, {86400 * 3.4, "3 days"}};
    char text[32];
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_string_equal(eg_doctor_age(rows[i].seconds, text), rows[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(json),
        cmocka_unit_test(ages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Problem details. */
#include "eventgate/problem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventgate/json.h"

static void every_problem_is_json_with_its_status(void **state)
{
    (void)state;
    for (enum eg_problem problem = 0; problem < EG_PROBLEM_COUNT; problem++) {
        struct eg_buffer body = EG_BUFFER_INIT;
        assert_in_range(eg_problem_status(problem), 400, 599);
        eg_problem_add(&body, problem, "say \"please\"\n\x01", "0123");
        assert_int_equal(eg_json_check(body.data, body.length), 0);
        eg_buffer_add(&body, "", 1);
        assert_non_null(strstr(body.data, "\"type\":\"urn:pg-eventgate:problem:"));
        assert_non_null(strstr(body.data, "say \\\"please\\\"\\n\\u0001"));
        assert_non_null(strstr(body.data, "urn:pg-eventgate:request:0123"));
        eg_buffer_done(&body);
    }
}

static void whatever_the_detail_echoes_the_body_is_json(void **state)
{
    static const char *const details[] = {"\"text/\xff\" cannot be published.", "cut: \xe6\x97",
                                          "\xc0\x80\xed\xa0\x80"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(details); i++) {
        struct eg_buffer body = EG_BUFFER_INIT;
        eg_problem_add(&body, EG_PROBLEM_BAD_REQUEST, details[i], NULL);
        assert_int_equal(eg_json_check(body.data, body.length), 0);
        assert_non_null(memmem(body.data, body.length, "\xef\xbf\xbd", 3));
        eg_buffer_done(&body);
    }
}

static void a_whole_response_says_its_length(void **state)
{
    struct eg_buffer response = EG_BUFFER_INIT;
    (void)state;
    eg_problem_add_response(&response, EG_PROBLEM_TOO_MANY, "Wait.", "0123");
    eg_buffer_add(&response, "", 1);
    assert_int_equal(strncmp(response.data, "HTTP/1.1 429 Too Many Requests\r\n", 32), 0);
    assert_non_null(strstr(response.data, "\r\nRetry-After: "));
    assert_non_null(strstr(response.data, "\r\nX-Request-Id: 0123\r\n"));
    const char *body = strstr(response.data, "\r\n\r\n") + 4;
    assert_int_equal(strtoul(strstr(response.data, "Content-Length: ") + 16, NULL, 10), strlen(body));
    eg_buffer_done(&response);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_problem_is_json_with_its_status),
        cmocka_unit_test(whatever_the_detail_echoes_the_body_is_json),
        cmocka_unit_test(a_whole_response_says_its_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

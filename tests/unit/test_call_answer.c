/* What an answer says: headers, problems, when to come back; names in URLs. */
#include "eventgate/call.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct eg_call_answer answer_of(unsigned status, const char *head, const char *body)
{
    struct eg_call_answer answer = {.status = status};
    eg_buffer_add(&answer.head, head, strlen(head) + 1);
    eg_buffer_add_string(&answer.body, body);
    return answer;
}

static void headers(void **state)
{
    char value[12];
    struct eg_call_answer answer = answer_of(200, "a: 1\nab:  two words\na:3\nempty:\n", "");
    (void)state;
    assert_true(eg_call_header(&answer, "ab", value, sizeof(value)));
    assert_string_equal(value, "two words");
    assert_true(eg_call_header(&answer, "a", value, sizeof(value)));
    assert_string_equal(value, "3");
    assert_true(eg_call_header(&answer, "empty", value, sizeof(value)));
    assert_string_equal(value, "");
    assert_false(eg_call_header(&answer, "b", value, sizeof(value)));
    assert_string_equal(value, "");
    assert_true(eg_call_header(&answer, "ab", value, 4));
    assert_string_equal(value, "two");
    eg_call_answer_done(&answer);
}

static void when_to_come_back(void **state)
{
    static const struct {
        const char *head;
        uint32_t seconds;
    } rows[] = {{"retry-after: 7\n", 7},
                {"", 0},
                {"retry-after: Fri, 27 Nov 2026 12:00:00 GMT\n", 0},
                {"retry-after: 999999999\n", 86400}};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        struct eg_call_answer answer = answer_of(503, rows[i].head, "");
        assert_int_equal(eg_call_retry_after(&answer), rows[i].seconds);
        eg_call_answer_done(&answer);
    }
}

static void problems(void **state)
{
    char sentence[100], type[40];
    struct eg_call_answer answer =
        answer_of(404, "", "{\"type\":\"urn:pg-eventgate:problem:unknown-channel\",\"status\":404,\"detail\":\"No.\"}");
    (void)state;
    eg_call_problem(&answer, sentence, sizeof(sentence), type);
    assert_string_equal(sentence, "No.");
    assert_string_equal(type, "unknown-channel");
    eg_call_answer_done(&answer);
    answer = answer_of(502, "", "<html>Bad Gateway</html>");
    eg_call_problem(&answer, sentence, sizeof(sentence), type);
    assert_non_null(strstr(sentence, "HTTP 502"));
    assert_string_equal(type, "");
    eg_call_answer_done(&answer);
    answer = answer_of(301, "location: https://elsewhere.example/\n", "");
    eg_call_problem(&answer, sentence, sizeof(sentence), type);
    assert_non_null(strstr(sentence, "https://elsewhere.example/"));
    eg_call_answer_done(&answer);
}

static void names_in_urls(void **state)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    (void)state;
    eg_call_add_escaped(&buffer, "a-Z_0.~/ü *?&=%+", false);
    eg_buffer_add_string(&buffer, " ");
    eg_call_add_escaped(&buffer, "a/**", true);
    eg_buffer_add(&buffer, "", 1);
    assert_string_equal(buffer.data, "a-Z_0.~/%C3%BC%20%2A%3F%26%3D%25%2B a%2F%2A%2A");
    eg_buffer_done(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers),
        cmocka_unit_test(when_to_come_back),
        cmocka_unit_test(problems),
        cmocka_unit_test(names_in_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

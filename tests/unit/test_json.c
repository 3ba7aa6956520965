/* What is JSON, one line, and the body of a batch. */
#include "eventgate/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Bytes that end where their memory ends, so that the sanitizer sees each step too far. */
static char *exact(const char *data, size_t length)
{
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, data, length);
    return copy;
}

static bool valid(const char *text)
{
    char *copy = exact(text, strlen(text));
    bool result = eg_json_check(copy, strlen(text)) == 0;
    free(copy);
    return result;
}

static void accepts_json(void **state)
{
    static const char *const texts[] = {
        "{}",
        "[]",
        "null",
        "true",
        "false",
        "0",
        "-0",
        "0.10",
        "1e300",
        "1000000000000000000000000000000",
        "\"\"",
        "\"a\\u0000b\"",
        "\"\\ud83d\\udc18\"",
        "\"\xf0\x9f\x90\x98\"",
        " \t\r\n{ \"a\" : [ 1 , 2 ] }\n",
        "{\"a\":1,\"a\":2}",
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(texts); i++)
        assert_true(valid(texts[i]));
}

static void refuses_what_is_not_json(void **state)
{
    static const char *const texts[] = {"",
                                        " ",
                                        "hello",
                                        "[x] done",
                                        "{",
                                        "}",
                                        "{\"a\":}",
                                        "{a:1}",
                                        "[1,]",
                                        "01",
                                        "+1",
                                        ".5",
                                        "1.",
                                        "0x10",
                                        "NaN",
                                        "Infinity",
                                        "nul",
                                        "null null",
                                        "\"a",
                                        "'a'",
                                        "\"\n\"",
                                        "\"\\x41\"",
                                        "\"\xff\"",
                                        "\"\\u12\"",
                                        "tru",
                                        "-",
                                        "truefalse",
                                        "1e400",
                                        "\"\\ud800\"",
                                        "// 1",
                                        "\xef\xbb\xbf{}",
                                        "[1}",
                                        "\"\xc0\xaf\"",
                                        "\"\xe0\x80\xaf\"",
                                        "\"\xed\xa0\x80\"",
                                        "\"\xf4\x90\x80\x80\"",
                                        "\"\xe6\x97\""};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(texts); i++)
        if (valid(texts[i]))
            fail_msg("accepted: %s", texts[i]);
    assert_int_equal(eg_json_check("1\0", 2), -EINVAL);
    assert_int_equal(eg_json_check("\0", 1), -EINVAL);
    assert_int_equal(eg_json_check("{}\0{}", 5), -EINVAL);
    assert_int_equal(eg_json_check("[1,\0 2]", 7), -EINVAL);
}

static void nesting_is_bounded(void **state)
{
    enum { BOUND = 2048, TOO_DEEP = 100000 };
    char *text = malloc(2 * TOO_DEEP);
    (void)state;
    memset(text, '[', TOO_DEEP);
    memset(text + TOO_DEEP, ']', TOO_DEEP);
    assert_int_equal(eg_json_check(text + TOO_DEEP - (BOUND - 1), 2 * (BOUND - 1)), 0);
    assert_int_equal(eg_json_check(text, 2 * TOO_DEEP), -EINVAL);
    assert_int_equal(eg_json_check(text, TOO_DEEP), -EINVAL);
    free(text);
}

static void puts_json_on_one_line(void **state)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    static const char text[] = "{\r\n\t\"a\\n\": \"b c\" }\n", line[] = "{   \"a\\n\": \"b c\" } ";
    (void)state;
    eg_buffer_add_string(&buffer, "\n");
    eg_json_add_one_line(&buffer, text, sizeof(text) - 1);
    assert_int_equal(buffer.length, sizeof(line));
    assert_memory_equal(buffer.data, "\n", 1); /* what was there stays */
    assert_memory_equal(buffer.data + 1, line, sizeof(line) - 1);
    eg_buffer_done(&buffer);
}

/* --- batches --- */

static struct eg_json_batch batch_of(const char *body, bool ndjson)
{
    struct eg_json_batch batch;
    struct eg_error error = {.sentence = ""};
    char *copy = exact(body, strlen(body));
    int result = eg_json_batch_parse(copy, strlen(body), ndjson, 10, &batch, &error);
    memset(copy, '!', strlen(body)); /* nothing may point into it */
    free(copy);
    if (result)
        fail_msg("%s: %s", body, error.sentence);
    return batch;
}

static void assert_bytes(struct eg_bytes bytes, const char *text)
{
    assert_int_equal(bytes.length, strlen(text));
    assert_memory_equal(bytes.data, text, bytes.length);
}

/* The text of "data" of a batch of one, in both forms. */
static void assert_data(const char *value, const char *text)
{
    char body[512];
    for (int ndjson = 0; ndjson < 2; ndjson++) {
        strcpy(body, ndjson ? " {\"channel\":\"c\", \"data\" : " : " [ {\"channel\":\"c\", \"data\" : ");
        strcat(body, value);
        strcat(body, ndjson ? " } \n" : " } ] ");
        struct eg_json_batch batch = batch_of(body, ndjson);
        assert_int_equal(batch.count, 1);
        assert_bytes(batch.items[0].channel, "c");
        assert_bytes(batch.items[0].data, text);
        assert_int_equal(batch.items[0].json.length, strlen(value));
        eg_json_batch_done(&batch);
    }
}

static void data_keeps_its_own_bytes(void **state)
{
    static const char *const values[] = {"1000000000000000000000000000000",
                                         "0.10",
                                         "-0",
                                         "1E+2",
                                         "null",
                                         "true",
                                         "[]",
                                         "{}",
                                         "{\"b\":1,\"a\":[{\"data\":\"no\"}],\"\\u0061\\/\":\"}\\\"]\\\\\"}",
                                         "[ 1 ,\t2 ]",
                                         "{\"a\":1,\"a\":2}",
                                         "[0]"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(values); i++)
        assert_data(values[i], values[i]);
    assert_data("\"\"", "");
    assert_data("\"text\"", "text");
    assert_data("\"\\\"\\\\\\n\\u00e4\\ud83d\\udc18\"", "\"\\\n\xc3\xa4\xf0\x9f\x90\x98");
    assert_data("\"{\\\"not\\\":\\\"cut\\\"}\"", "{\"not\":\"cut\"}");
}

static void data_is_there_as_json_too(void **state)
{
    static const char body[] =
        "[{\"channel\":\"c\",\"data\": \"\\u00e9\\/ \" },{\"data\":[1 , 0.10],\"channel\":\"c\"}]";
    struct eg_json_batch batch;
    struct eg_error error;
    (void)state;
    assert_int_equal(eg_json_batch_parse(body, strlen(body), false, 3, &batch, &error), 0);
    assert_bytes(batch.items[0].json, "\"\\u00e9\\/ \"");
    assert_bytes(batch.items[0].data, "\xc3\xa9/ ");
    assert_bytes(batch.items[1].json, "[1 , 0.10]");
    eg_json_batch_done(&batch);
}

static void line_breaks_in_data_stay_in_an_array(void **state)
{
    struct eg_json_batch batch = batch_of("[{\"data\":{\n \"a\": 1\n},\"channel\":\"c\"}]", false);
    (void)state;
    assert_bytes(batch.items[0].data, "{\n \"a\": 1\n}");
    eg_json_batch_done(&batch);
}

static void items_keep_their_order_and_members(void **state)
{
    static const char *const bodies[] = {
        "[{\"channel\":\"a\",\"data\":1},{\"data\":[2],\"type\":\"t\",\"channel\":\"\\u0062\"},"
        "{\"key\":\"k\",\"channel\":\"c\",\"data\":\"3\",\"trace\":\"r\"}]",
        "{\"channel\":\"a\",\"data\":1}\r\n\n  \t\n{\"data\":[2],\"type\":\"t\",\"channel\":\"\\u0062\"}\n"
        "{\"key\":\"k\",\"channel\":\"c\",\"data\":\"3\",\"trace\":\"r\"}"};
    static const char *const channels[] = {"a", "b", "c"}, *const data[] = {"1", "[2]", "3"};
    (void)state;
    for (int ndjson = 0; ndjson < 2; ndjson++) {
        struct eg_json_batch batch = batch_of(bodies[ndjson], ndjson);
        assert_int_equal(batch.count, 3);
        for (size_t i = 0; i < 3; i++) {
            assert_bytes(batch.items[i].channel, channels[i]);
            assert_bytes(batch.items[i].data, data[i]);
            assert_int_equal(batch.items[i].has_type, i == 1);
            assert_int_equal(batch.items[i].has_key, i == 2);
            assert_bytes(batch.items[i].type, i == 1 ? "t" : "");
            assert_bytes(batch.items[i].key, i == 2 ? "k" : "");
            assert_int_equal(batch.items[i].has_trace, i == 2);
            assert_bytes(batch.items[i].trace, i == 2 ? "r" : "");
        }
        eg_json_batch_done(&batch);
        assert_int_equal(batch.count, 0);
        eg_json_batch_done(&batch);
    }
}

static void assert_refused(const char *body, bool ndjson, int expected, const char *says)
{
    struct eg_json_batch batch = {NULL, 77};
    struct eg_error error = {.sentence = ""};
    char *copy = exact(body, strlen(body));
    int result = eg_json_batch_parse(copy, strlen(body), ndjson, 3, &batch, &error);
    free(copy);
    if (result != expected || !strstr(error.sentence, says))
        fail_msg("%s: %d, %s", body, result, error.sentence);
    assert_int_equal(batch.count, 77); /* untouched */
}

static void refuses_and_names_the_item(void **state)
{
    static const struct {
        const char *item, *says;
    } bad[] = {
        {"1", "not an object"},
        {"[]", "not an object"},
        {"\"channel\"", "not an object"},
        {"{}", "no \"channel\""},
        {"{\"data\":1}", "no \"channel\""},
        {"{\"channel\":\"a\"}", "no \"data\""},
        {"{\"channel\":1,\"data\":1}", "not a string"},
        {"{\"channel\":null,\"data\":1}", "not a string"},
        {"{\"channel\":\"a\",\"data\":1,\"type\":2}", "not a string"},
        {"{\"channel\":\"a\",\"data\":1,\"key\":{}}", "not a string"},
        {"{\"channel\":\"a\",\"data\":1,\"id\":\"x\"}", "other than"},
        {"{\"channel\":\"a\",\"data\":1,\"data\":2}", "twice"},
        {"{\"channel\":\"a\",\"channel\":\"a\",\"data\":2}", "twice"},
        {"{\"channel\":\"a\",\"d\\u0061ta\":1,\"data\":2}", "twice"},
        {"{\"channel\":\"a\",\"d\\u0061ta\":1}", "escapes"},
    };
    char body[256];
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(bad); i++)
        for (int ndjson = 0; ndjson < 2; ndjson++) {
            strcpy(body, ndjson ? "{\"channel\":\"a\",\"data\":1}\n" : "[{\"channel\":\"a\",\"data\":1},");
            strcat(body, bad[i].item);
            strcat(body, ndjson ? "\n" : "]");
            assert_refused(body, ndjson, -EINVAL, bad[i].says);
            assert_refused(body, ndjson, -EINVAL, "Item 2");
        }
}

static void refuses_what_is_no_batch(void **state)
{
    static const char item[] = "{\"channel\":\"a\",\"data\":1}";
    char body[256];
    (void)state;
    assert_refused("", false, -EINVAL, "not valid JSON");
    assert_refused("", true, -EINVAL, "Item 1");
    assert_refused("[]", false, -EINVAL, "Item 1");
    assert_refused("\n \r\n", true, -EINVAL, "Item 1");
    assert_refused(item, false, -EINVAL, "array");
    assert_refused("7", false, -EINVAL, "not valid JSON");
    struct eg_json_batch batch;
    struct eg_error error;
    assert_int_equal(eg_json_batch_parse("[{\"channel\":\"a\",\"data\":1}]\0", 27, false, 3, &batch, &error), -EINVAL);
    assert_non_null(strstr(error.sentence, "NUL"));
    assert_refused("[{\"channel\":\"a\",\"data\":}]", false, -EINVAL, "not valid JSON");
    assert_refused("{\"channel\":\"a\",\"data\":1}\n{oops}\n", true, -EINVAL, "line 2");
    assert_refused("{\"channel\":\"a\",\n\"data\":1}\n", true, -EINVAL, "line 1");
    assert_refused("[{\"channel\":\"a\",\"data\":\"\xff\"}]", false, -EINVAL, "not valid JSON");
    for (int ndjson = 0; ndjson < 2; ndjson++) {
        strcpy(body, ndjson ? "" : "[");
        for (int i = 0; i < 4; i++) {
            strcat(body, i == 0 ? "" : ndjson ? "\n" : ",");
            strcat(body, item);
        }
        strcat(body, ndjson ? "" : "]");
        assert_refused(body, ndjson, -E2BIG, "at most 3");
    }
}

static void it_is_said_when_it_is_the_nesting(void **state)
{
    char deep[5000];
    struct eg_json_batch batch;
    struct eg_error error;
    (void)state;
    memset(deep, '[', sizeof(deep));
    assert_string_equal(eg_json_problem(deep, sizeof(deep)), EG_JSON_TOO_DEEP);
    assert_null(strstr(eg_json_problem(deep, 2048), "nested"));
    assert_null(strstr(eg_json_problem("", 0), "nested"));
    assert_null(strstr(eg_json_problem("{\"secret\"", 9), "secret"));
    for (int ndjson = 0; ndjson < 2; ndjson++) {
        assert_int_equal(eg_json_batch_parse(deep, sizeof(deep), ndjson, 10, &batch, &error), -EINVAL);
        assert_non_null(strstr(error.sentence, EG_JSON_TOO_DEEP));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_json),
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(it_is_said_when_it_is_the_nesting),
        cmocka_unit_test(puts_json_on_one_line),
        cmocka_unit_test(data_keeps_its_own_bytes),
        cmocka_unit_test(data_is_there_as_json_too),
        cmocka_unit_test(line_breaks_in_data_stay_in_an_array),
        cmocka_unit_test(items_keep_their_order_and_members),
        cmocka_unit_test(refuses_and_names_the_item),
        cmocka_unit_test(refuses_what_is_no_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

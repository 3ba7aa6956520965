/* The raw check of requests: what is good, what is bad and why, however the bytes are cut. */
#include "eventgate/head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct eg_head_limits limits = {.max_head_bytes = 1024, .max_body_bytes = 100};

#define GOOD "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

static size_t check(struct eg_head *head, const char *data, size_t length)
{
    char kept[4096];
    size_t kept_length, good = eg_head_check(head, &limits, data, length, kept, &kept_length);
    assert_true(kept_length <= good);
    return good;
}

/* Feeds `text` in pieces of `piece` bytes; returns how many passed. */
static size_t feed(struct eg_head *head, const char *text, size_t length, size_t piece)
{
    size_t passed = 0;
    memset(head, 0, sizeof(*head));
    for (size_t at = 0; at < length; at += piece) {
        size_t given = length - at < piece ? length - at : piece;
        size_t taken = check(head, text + at, given);
        passed += taken;
        if (taken < given)
            break;
    }
    return passed;
}

static const struct {
    const char *request;
    enum eg_problem problem;
} bad[] = {
    {"GET /a HTTP/1.1\r\n\r\n", EG_PROBLEM_BAD_REQUEST},                       /* no Host */
    {"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST}, /* two */
    {"GET /a HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/1.1\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST}, /* bare LF */
    {"GET /a HTTP/1.1\r\nHost: a\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/1.1\r\nHost: a\rb\r\n\r\n", EG_PROBLEM_BAD_REQUEST}, /* bare CR */
    {"GET /a HTTP/1.1\r\nHost: a\r\n\rX", EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", EG_PROBLEM_BAD_REQUEST}, /* fold */
    {"GET /a HTTP/1.1\r\nHost : a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/1.1\r\n: a\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {" GET /a HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GE(T /a HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/1.1 \r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/2.0\r\nHost: a\r\n\r\n", EG_PROBLEM_HTTP_VERSION},
    {"GET /a HTTP/1.2\r\nHost: a\r\n\r\n", EG_PROBLEM_HTTP_VERSION},
    {"GET /a FTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\nx", EG_PROBLEM_BAD_REQUEST},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", EG_PROBLEM_BAD_REQUEST},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", EG_PROBLEM_BAD_REQUEST},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\nx", EG_PROBLEM_BAD_REQUEST},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", EG_PROBLEM_TOO_LARGE},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", EG_PROBLEM_NOT_IMPLEMENTED},
    {"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", EG_PROBLEM_NOT_IMPLEMENTED},
    {"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunkedx\r\n\r\n", EG_PROBLEM_NOT_IMPLEMENTED},
    {"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", EG_PROBLEM_NOT_IMPLEMENTED},
    {"POST /a HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", EG_PROBLEM_EXPECTATION_FAILED},
    {"GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a?b=%0a HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a%7F HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a%2 HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a?%zz HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /. HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a/.. HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /../a HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a/./b HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a%2f%2e.?b HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a/.%2E%2Fb HTTP/1.1\r\nHost: a\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    /* libmicrohttpd takes a space behind the value for a part of it. */
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1 \r\n\r\nx", EG_PROBLEM_BAD_REQUEST},
    {"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked \r\n\r\n", EG_PROBLEM_NOT_IMPLEMENTED},
    {"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\t\r\n\r\n", EG_PROBLEM_NOT_IMPLEMENTED},
    {"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue \r\n\r\n", EG_PROBLEM_EXPECTATION_FAILED},
    {"GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/1.1\r\nHost: a@b\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/1.1\r\nHost: a,b\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    /* Fields that have one value. */
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Type: text/plain\r\n\r\n",
     EG_PROBLEM_BAD_REQUEST},
    {"POST /a HTTP/1.1\r\nHost: a\r\nContent-Encoding: identity\r\nContent-Encoding: gzip\r\n\r\n",
     EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nauthorization: b\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nCookie: a=c\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\nOrigin: http://b\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"POST /a HTTP/1.1\r\nHost: a\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
    {"GET /a HTTP/1.1\r\nHost: a\r\nLast-Event-ID: 1\r\nLast-Event-Id: 2\r\n\r\n", EG_PROBLEM_BAD_REQUEST},
};

static const char *const bad_chunks[] = {
    "x\r\n",          "\r\n",
    "5 6\nhello",     "5\nhello\r\n",
    "100000001\r\n",  "5\r\nhelloX\n",
    "5\r\nhello\rX",  "0\r\nA: b\r\n\r\n",
    "0\r\n\rX",       "5;\x01\r\nhello\r\n",
    "5 \r\nhello",    "00000000000000005\r\nhello",
    "5\t;a\r\nhello", "5; \n\r\nhello",
    "65\r\n",         "40\r\n0123456789012345678901234567890123456789012345678901234567890123\r\n40\r\n",
};

static void a_bad_head_is_refused_however_it_is_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(bad); i++) {
        size_t length = strlen(bad[i].request);
        struct eg_head whole;
        size_t passed = feed(&whole, bad[i].request, length, length);
        assert_int_equal(whole.stage, EG_HEAD_BAD);
        assert_int_equal(whole.problem, bad[i].problem);
        assert_non_null(whole.detail);
        assert_true(passed < length);
        for (size_t piece = 1; piece < length; piece++) {
            struct eg_head cut;
            assert_int_equal(feed(&cut, bad[i].request, length, piece), passed);
            assert_int_equal(cut.stage, EG_HEAD_BAD);
            assert_int_equal(cut.problem, bad[i].problem);
        }
    }
}

static void nothing_behind_a_bad_head_passes(void **state)
{
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(bad); i++) {
        char text[512];
        struct eg_head head;
        int length = snprintf(text, sizeof(text), "%s" GOOD, bad[i].request);
        size_t passed = feed(&head, text, (size_t)length, (size_t)length);
        assert_true(passed < strlen(bad[i].request));
        assert_int_equal(head.requests, 0);
        assert_int_equal(check(&head, GOOD, sizeof(GOOD) - 1), 0);
    }
}

static void a_good_request_before_a_bad_one_passes_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(bad); i++) {
        char text[512];
        struct eg_head head;
        int length = snprintf(text, sizeof(text), GOOD "%s", bad[i].request);
        size_t passed = feed(&head, text, (size_t)length, (size_t)length);
        assert_true(passed >= sizeof(GOOD) - 1);
        assert_int_equal(head.requests, 1);
        assert_int_equal(head.stage, EG_HEAD_BAD);
    }
}

static void bad_chunks_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(bad_chunks); i++) {
        char text[512];
        struct eg_head whole, cut;
        int length = snprintf(text, sizeof(text), "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%s",
                              bad_chunks[i]);
        size_t passed = feed(&whole, text, (size_t)length, (size_t)length);
        assert_int_equal(whole.stage, EG_HEAD_BAD);
        assert_int_equal(feed(&cut, text, (size_t)length, 1), passed);
        assert_int_equal(cut.problem, whole.problem);
    }
}

static const char *const good[] = {
    GOOD,
    "GET /a?b=c%20d HTTP/1.0\r\n\r\n",
    "GET /...a/.b/c.?d=../.&%2e/%2e%2e/? HTTP/1.0\r\n\r\n",
    "GET /...%2f..a%252e%2f.../%ff?%80 HTTP/1.0\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nhost:\r\n\r\n",
    "POST /a HTTP/1.1\r\nHOST: a\r\nContent-Length:  003\r\nExpect: 100-Continue\r\n\r\nabc",
    "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n5;a=b\r\nhello\r\n0003; c\r\nabc\r\n0\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: [::1]:8080\r\nX: 1\r\nX: 2\r\nContent-Typ: a\r\nContent-Types: b\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: a\r\nX-Long: \xc3\xa9\tb\r\nContent-Lengthy: x\r\n\r\n",
};

static void good_requests_pass_one_after_the_other_however_they_are_cut(void **state)
{
    (void)state;
    char text[2048] = "";
    for (size_t i = 0; i < EG_ARRAY_LENGTH(good); i++)
        strcat(text, good[i]);
    size_t length = strlen(text);
    for (size_t piece = 1; piece <= length; piece++) {
        struct eg_head head;
        assert_int_equal(feed(&head, text, length, piece), length);
        assert_int_equal(head.requests, EG_ARRAY_LENGTH(good));
        assert_int_equal(head.stage, EG_HEAD_IDLE);
    }
}

static void stages_follow_the_bytes(void **state)
{
    (void)state;
    struct eg_head head = {0};
    const char *text = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n";
    assert_int_equal(head.stage, EG_HEAD_IDLE);
    assert_int_equal(check(&head, text, 1), 1);
    assert_int_equal(head.stage, EG_HEAD_READING);
    assert_int_equal(check(&head, text + 1, strlen(text) - 1), strlen(text) - 1);
    assert_int_equal(head.stage, EG_HEAD_BODY);
    assert_int_equal(head.body_left, 2);
    assert_int_equal(check(&head, "x", 1), 1);
    assert_int_equal(head.stage, EG_HEAD_BODY);
    assert_int_equal(check(&head, "y", 1), 1);
    assert_int_equal(head.stage, EG_HEAD_IDLE);
}

static void a_head_has_a_limit(void **state)
{
    (void)state;
    static char text[4096];
    struct eg_head head;
    memset(text, 'x', sizeof(text));
    memcpy(text, "GET /", 5);
    assert_int_equal(feed(&head, text, sizeof(text), sizeof(text)), limits.max_head_bytes);
    assert_int_equal(head.problem, EG_PROBLEM_URI_TOO_LONG);
    memcpy(text, "GET / HTTP/1.1\r\nX: ", 19);
    assert_int_equal(feed(&head, text, sizeof(text), 100), limits.max_head_bytes);
    assert_int_equal(head.problem, EG_PROBLEM_HEADER_TOO_LARGE);
}

static void there_is_a_limit_to_the_number_of_fields(void **state)
{
    (void)state;
    char text[1024] = "GET / HTTP/1.1\r\nHost: a\r\n";
    struct eg_head head;
    for (unsigned i = 1; i < EG_HEAD_MAX_FIELDS; i++)
        strcat(text, "a:\r\n");
    size_t length = strlen(text);
    strcat(text, "\r\n");
    assert_int_equal(feed(&head, text, length + 2, length + 2), length + 2);
    assert_int_equal(head.requests, 1);
    strcpy(text + length, "b:\r\n\r\n");
    assert_int_equal(feed(&head, text, length + 6, 7), length);
    assert_int_equal(head.problem, EG_PROBLEM_HEADER_TOO_LARGE);
}

static void the_extensions_of_a_body_have_a_limit_together(void **state)
{
    (void)state;
    char text[2048] = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct eg_head head;
    for (int i = 0; i < 30; i++)
        strcat(text, "1;0123456789\r\nx\r\n");
    size_t length = strlen(text), passed = feed(&head, text, length, length);
    assert_true(passed < length);
    assert_int_equal(head.problem, EG_PROBLEM_BAD_REQUEST);
    assert_int_equal(feed(&head, text, length, 1), passed);
}

static void extensions_are_not_passed_on(void **state)
{
    (void)state;
    static const char text[] = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "5;a=b\r\nhe;lo\r\n1\r\n!\r\n0;c\r\n\r\n" GOOD,
                      expected[] = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                                   "5\r\nhe;lo\r\n1\r\n!\r\n0\r\n\r\n" GOOD;
    for (size_t piece = 1; piece < sizeof(text); piece++) {
        struct eg_head head = {0};
        char bytes[sizeof(text)], passed[sizeof(text)];
        size_t length = sizeof(text) - 1, passed_length = 0;
        memcpy(bytes, text, length);
        for (size_t at = 0; at < length; at += piece) {
            size_t given = length - at < piece ? length - at : piece, kept_length;
            assert_int_equal(eg_head_check(&head, &limits, bytes + at, given, bytes + at, &kept_length), given);
            memcpy(passed + passed_length, bytes + at, kept_length);
            passed_length += kept_length;
        }
        assert_int_equal(head.requests, 2);
        assert_int_equal(passed_length, sizeof(expected) - 1);
        assert_memory_equal(passed, expected, passed_length);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extensions_are_not_passed_on),
        cmocka_unit_test(there_is_a_limit_to_the_number_of_fields),
        cmocka_unit_test(the_extensions_of_a_body_have_a_limit_together),
        cmocka_unit_test(a_bad_head_is_refused_however_it_is_cut),
        cmocka_unit_test(nothing_behind_a_bad_head_passes),
        cmocka_unit_test(a_good_request_before_a_bad_one_passes_whole),
        cmocka_unit_test(bad_chunks_are_refused),
        cmocka_unit_test(good_requests_pass_one_after_the_other_however_they_are_cut),
        cmocka_unit_test(stages_follow_the_bytes),
        cmocka_unit_test(a_head_has_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

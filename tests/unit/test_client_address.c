/* X-Forwarded-For: whose request is it? */
#include "eventgate/client_address.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct eg_networks trusted;

static int trust(void **state)
{
    static const char *const texts[] = {"10.0.0.0/8", "2001:db8:ffff::/48"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(texts); i++)
        if (eg_network_read(texts[i], strlen(texts[i]), &trusted.list[trusted.count++]))
            return -1;
    return 0;
}

/* "" if it is refused. */
static const char *found(const char *forwarded)
{
    static char text[INET6_ADDRSTRLEN];
    union eg_address address;
    text[0] = '\0';
    int error = eg_client_address_find(&trusted, forwarded, strlen(forwarded), &address);
    if (!error)
        eg_address_text(&address, text);
    else
        assert_int_equal(error, -EINVAL);
    return text;
}

static void it_is_the_right_most_one_that_is_not_trusted(void **state)
{
    (void)state;
    assert_string_equal(found("203.0.113.9"), "203.0.113.9");
    assert_string_equal(found("203.0.113.9, 10.1.2.3"), "203.0.113.9");
    assert_string_equal(found("203.0.113.9 ,10.1.2.3,\t10.4.5.6 "), "203.0.113.9");
    assert_string_equal(found("2001:db8::1, 2001:db8:ffff::2"), "2001:db8::1");
}

static void what_stands_left_of_it_is_the_clients_own_word(void **state)
{
    (void)state;
    assert_string_equal(found("127.0.0.1, 203.0.113.9"), "203.0.113.9");
    assert_string_equal(found("10.9.9.9, 203.0.113.9, 10.1.2.3"), "203.0.113.9");
    assert_string_equal(found("<script>,, unknown, \"x\", 203.0.113.9, 10.1.2.3"), "203.0.113.9");
}

static void among_trusted_ones_it_is_the_left_most(void **state)
{
    (void)state;
    assert_string_equal(found("10.1.2.3"), "10.1.2.3");
    assert_string_equal(found("10.1.2.3, 10.4.5.6"), "10.1.2.3");
}

static void a_port_is_passed_over(void **state)
{
    (void)state;
    assert_string_equal(found("203.0.113.9:1234"), "203.0.113.9");
    assert_string_equal(found("[2001:db8::1]:1234, 10.1.2.3:80"), "2001:db8::1");
    assert_string_equal(found("[2001:db8::1]"), "2001:db8::1");
    assert_string_equal(found("::ffff:203.0.113.9"), "203.0.113.9");
}

static void what_had_to_be_read_and_is_no_address_is_refused(void **state)
{
    static const char *const texts[] = {"",
                                        " ",
                                        "unknown",
                                        "_hidden",
                                        "203.0.113.9,",
                                        "203.0.113.9, unknown, 10.1.2.3",
                                        ", 10.1.2.3",
                                        "203.0.113.9 203.0.113.8",
                                        "203.0.113.9:",
                                        "203.0.113.9:0",
                                        "203.0.113.9:65536",
                                        "203.0.113.9:http",
                                        "[203.0.113.9]",
                                        "[2001:db8::1",
                                        "[2001:db8::1]80",
                                        "[]",
                                        "[]:80",
                                        "2001:db8::1%eth0",
                                        "203.0.113.9/32",
                                        "for=203.0.113.9",
                                        "\"203.0.113.9\""};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(texts); i++)
        assert_string_equal(found(texts[i]), "");
}

static void a_long_header_is_read_as_far_as_it_has_to_be(void **state)
{
    static char text[20000];
    (void)state;
    strcpy(text, "203.0.113.9");
    for (size_t length = strlen(text); length < sizeof(text) - 20; length += 10)
        strcpy(text + length, ", 10.1.2.3");
    assert_string_equal(found(text), "203.0.113.9");
    memset(text, ',', sizeof(text) - 1);
    assert_string_equal(found(text), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_right_most_one_that_is_not_trusted),
        cmocka_unit_test(what_stands_left_of_it_is_the_clients_own_word),
        cmocka_unit_test(among_trusted_ones_it_is_the_left_most),
        cmocka_unit_test(a_port_is_passed_over),
        cmocka_unit_test(what_had_to_be_read_and_is_no_address_is_refused),
        cmocka_unit_test(a_long_header_is_read_as_far_as_it_has_to_be),
    };
    return cmocka_run_group_tests(tests, trust, NULL);
}

/* Addresses: from text, to text, and what counts as one client. */
#include "eventgate/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void check_text(const char *text, const char *expected)
{
    union eg_address address;
    char again[INET6_ADDRSTRLEN];
    assert_true(eg_address_read(text, strlen(text), &address));
    eg_address_text(&address, again);
    assert_string_equal(again, expected);
}

static void addresses_are_read_and_written(void **state)
{
    (void)state;
    check_text("192.0.2.1", "192.0.2.1");
    check_text("2001:DB8::0:1", "2001:db8::1");
    check_text("::", "::");
    check_text("::ffff:192.0.2.1", "192.0.2.1");
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const texts[] = {
        "",           "1",        "1.2.3",      "1.2.3.4.5",      "1.2.3.256",   "01.2.3.4",      "1.2.3.4 ",
        "1.2.3.4:80", "[::1]",    "::1%lo",     "localhost",      "::ffff:1.2.", "2001:db8::/32", "unix",
        ":::",        "1.2.3.4,", "0x7f.0.0.1", "1.2.3.4\t5.6.7", "-1.2.3.4"};
    union eg_address address;
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(texts); i++)
        assert_false(eg_address_read(texts[i], strlen(texts[i]), &address));
    assert_false(eg_address_read("1.2.3.4\0", 8, &address));
}

static bool is_one_client(const char *a, const char *b)
{
    union eg_address in_a, in_b;
    assert_true(eg_address_read(a, strlen(a), &in_a));
    assert_true(eg_address_read(b, strlen(b), &in_b));
    struct eg_address_key of_a = eg_address_key(&in_a), of_b = eg_address_key(&in_b);
    return memcmp(of_a.bytes, of_b.bytes, sizeof(of_a.bytes)) == 0;
}

static void one_client_is_an_ipv4_address_or_an_ipv6_network(void **state)
{
    (void)state;
    assert_true(is_one_client("192.0.2.1", "::ffff:192.0.2.1"));
    assert_false(is_one_client("192.0.2.1", "192.0.2.2"));
    assert_true(is_one_client("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"));
    assert_false(is_one_client("2001:db8:0:1::1", "2001:db8:0:2::1"));
}

static void what_is_no_ip_address_has_its_family(void **state)
{
    union eg_address address = {.any.sa_family = AF_UNIX};
    char text[INET6_ADDRSTRLEN];
    (void)state;
    eg_address_text(&address, text);
    assert_string_equal(text, "unix");
    address.any.sa_family = AF_UNSPEC;
    eg_address_text(&address, text);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_and_written),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(one_client_is_an_ipv4_address_or_an_ipv6_network),
        cmocka_unit_test(what_is_no_ip_address_has_its_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

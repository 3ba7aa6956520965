/* Networks: from text, and what they have. */
#include "eventgate/networks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "eventgate/address.h"

static bool has(const char *network, const char *text)
{
    struct eg_networks networks = {.count = 1};
    union eg_address address = {.any.sa_family = AF_UNIX};
    assert_null(eg_network_read(network, strlen(network), &networks.list[0]));
    if (strcmp(text, "unix") != 0)
        assert_true(eg_address_read(text, strlen(text), &address));
    return eg_networks_have(&networks, &address);
}

static void a_network_has_what_begins_with_its_prefix(void **state)
{
    (void)state;
    assert_true(has("192.0.2.1", "192.0.2.1"));
    assert_true(has("192.0.2.1", "::ffff:192.0.2.1"));
    assert_false(has("192.0.2.1", "192.0.2.2"));
    assert_true(has("10.0.0.0/8", "10.255.255.255"));
    assert_false(has("10.0.0.0/8", "11.0.0.0"));
    assert_true(has("172.16.0.0/12", "172.31.255.255"));
    assert_false(has("172.16.0.0/12", "172.32.0.0"));
    assert_true(has("0.0.0.0/0", "203.0.113.9"));
    assert_false(has("0.0.0.0/0", "2001:db8::1"));
    assert_true(has("2001:db8::/33", "2001:db8:7fff::1"));
    assert_false(has("2001:db8::/33", "2001:db8:8000::1"));
    assert_true(has("::1", "::1"));
    assert_false(has("::/0", "127.0.0.1"));
    assert_true(has("unix", "unix"));
    assert_false(has("unix", "127.0.0.1"));
    assert_false(has("0.0.0.0/0", "unix"));
}

static void several_networks_have_what_one_of_them_has(void **state)
{
    struct eg_networks networks = {.count = 0};
    union eg_address address;
    (void)state;
    assert_true(eg_address_read("10.1.2.3", 8, &address));
    assert_false(eg_networks_have(&networks, &address));
    assert_null(eg_network_read("192.0.2.1", 9, &networks.list[networks.count++]));
    assert_false(eg_networks_have(&networks, &address));
    assert_null(eg_network_read("10.0.0.0/8", 10, &networks.list[networks.count++]));
    assert_true(eg_networks_have(&networks, &address));
}

static void what_is_no_network_is_refused_with_what_would_be_right(void **state)
{
    static const char *const texts[][2] = {{"", "no address"},         {"localhost", "no address"},
                                           {"10.0.0/8", "no address"}, {"unix:/run/x", "no address"},
                                           {"10.0.0.0/", "prefix"},    {"10.0.0.0/33", "prefix"},
                                           {"10.0.0.0/08", "prefix"},  {"10.0.0.0/8 ", "prefix"},
                                           {"::/129", "prefix"},       {"::/1000", "prefix"},
                                           {"10.0.0.0/-1", "prefix"},  {"10.1.2.3/8", "behind its prefix"},
                                           {"::1/64", "behind its"},   {"10.0.0.0/255.0.0.0", "prefix"},
                                           {"10.0.0.0/8/8", "prefix"}};
    struct eg_network network;
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(texts); i++) {
        const char *problem = eg_network_read(texts[i][0], strlen(texts[i][0]), &network);
        assert_non_null(problem);
        assert_non_null(strstr(problem, texts[i][1]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_network_has_what_begins_with_its_prefix),
        cmocka_unit_test(several_networks_have_what_one_of_them_has),
        cmocka_unit_test(what_is_no_network_is_refused_with_what_would_be_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Connections by address. */
#include "eventgate/address_counts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static union eg_address address_of(const char *text)
{
    union eg_address address;
    memset(&address, 0, sizeof(address));
    if (inet_pton(AF_INET, text, &address.in.sin_addr) == 1)
        address.any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &address.in6.sin6_addr) == 1)
        address.any.sa_family = AF_INET6;
    return address;
}

static int add(struct eg_intake_counts *counts, const char *text)
{
    union eg_address address = address_of(text);
    return eg_intake_counts_add(counts, &address, 5, 2);
}

static void take_away(struct eg_intake_counts *counts, const char *text)
{
    union eg_address address = address_of(text);
    eg_intake_counts_remove(counts, &address);
}

static void addresses_and_the_total_have_limits(void **state)
{
    struct eg_intake_counts *counts = eg_intake_counts_new();
    (void)state;
    assert_int_equal(add(counts, "10.0.0.1"), 0);
    assert_int_equal(add(counts, "10.0.0.1"), 0);
    assert_int_equal(add(counts, "10.0.0.1"), -EDQUOT);
    assert_int_equal(add(counts, "10.0.0.2"), 0);
    assert_int_equal(add(counts, "2001:db8::1"), 0);
    assert_int_equal(eg_intake_counts_total(counts), 4);
    take_away(counts, "10.0.0.1");
    assert_int_equal(add(counts, "10.0.0.1"), 0);
    assert_int_equal(add(counts, "2001:db8:0:1::1"), 0);
    assert_int_equal(add(counts, "10.0.0.3"), -EUSERS);
    assert_int_equal(eg_intake_counts_total(counts), 5);
    eg_intake_counts_free(counts);
}

static void an_ipv6_network_counts_as_one_address(void **state)
{
    struct eg_intake_counts *counts = eg_intake_counts_new();
    (void)state;
    assert_int_equal(add(counts, "2001:db8::1"), 0);
    assert_int_equal(add(counts, "2001:db8::2:3"), 0);
    assert_int_equal(add(counts, "2001:db8::4"), -EDQUOT);
    assert_int_equal(add(counts, "2001:db8:0:1::4"), 0);
    take_away(counts, "2001:db8::ffff"); /* of the same network */
    assert_int_equal(add(counts, "2001:db8::4"), 0);
    eg_intake_counts_free(counts);
}

static void a_request_of_a_proxy_counts_for_its_address_alone(void **state)
{
    struct eg_intake_counts *counts = eg_intake_counts_new();
    union eg_address address = address_of("10.0.0.1");
    (void)state;
    assert_int_equal(eg_intake_counts_add_request(counts, &address, 2), 0);
    assert_int_equal(add(counts, "10.0.0.1"), 0);
    assert_int_equal(eg_intake_counts_total(counts), 1);
    assert_int_equal(eg_intake_counts_add_request(counts, &address, 2), -EDQUOT);
    assert_int_equal(add(counts, "10.0.0.1"), -EDQUOT);
    eg_intake_counts_remove_request(counts, &address);
    assert_int_equal(eg_intake_counts_total(counts), 1);
    assert_int_equal(add(counts, "10.0.0.1"), 0);
    eg_intake_counts_free(counts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_and_the_total_have_limits),
        cmocka_unit_test(an_ipv6_network_counts_as_one_address),
        cmocka_unit_test(a_request_of_a_proxy_counts_for_its_address_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

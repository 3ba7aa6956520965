/* References of channels, and the table of them. */
#include "eventgate/channel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct eg_channel *channel_named(const char *name)
{
    struct eg_channel *channel = eg_channel_new(name, strlen(name), false, 3);
    assert_non_null(channel);
    return channel;
}

static void a_channel_has_its_name_and_clean_slots(void **state)
{
    struct eg_channel *channel = eg_channel_new("orders/1 and more", 8, true, 3);
    (void)state;
    assert_non_null(channel);
    assert_string_equal(channel->name, "orders/1");
    assert_int_equal(channel->name_length, 8);
    assert_true(channel->permanent);
    assert_int_equal(channel->slot_count, 3);
    for (uint32_t i = 0; i < channel->slot_count; i++) {
        assert_null(channel->slots[i].local);
        assert_int_equal(channel->slots[i].dropped, 0);
        assert_null(channel->slots[i].next_dropped);
    }
    channel->slots[2].dropped = UINT64_MAX;
    assert_string_equal(channel->name, "orders/1"); /* the slots end before it */
    eg_channel_unref(channel);
}

static void it_lives_as_long_as_a_reference(void **state)
{
    struct eg_channel *channel = channel_named("a");
    (void)state;
    assert_ptr_equal(eg_channel_ref(channel), channel);
    eg_channel_unref(channel);
    assert_string_equal(channel->name, "a");
    eg_channel_unref(channel);
    eg_channel_unref(NULL);
}

struct visited {
    char names[64];
};

static void visit(void *context, const struct eg_channel *channel)
{
    struct visited *visited = context;
    strcat(visited->names, channel->name);
}

static void assert_table(struct eg_channel_table *table, size_t limit, const char *names)
{
    struct visited visited = {""};
    eg_channel_table_visit(table, limit, visit, &visited);
    assert_string_equal(visited.names, names);
}

static void a_table_lists_in_order_up_to_a_limit(void **state)
{
    struct eg_channel_table *table = eg_channel_table_new();
    (void)state;
    assert_non_null(table);
    assert_table(table, 10, "");
    for (char name[] = "a"; name[0] <= 'z'; name[0]++) {
        struct eg_channel *channel = channel_named(name);
        assert_int_equal(eg_channel_table_add(table, channel), 0);
        eg_channel_unref(channel); /* the table's own reference keeps it */
    }
    assert_int_equal(eg_channel_table_count(table), 26);
    assert_table(table, 0, "");
    assert_table(table, 3, "abc");
    assert_table(table, 100, "abcdefghijklmnopqrstuvwxyz");
    eg_channel_table_free(table);
}

static void a_table_forgets_what_is_removed(void **state)
{
    struct eg_channel_table *table = eg_channel_table_new();
    struct eg_channel *channels[3] = {channel_named("a"), channel_named("b"), channel_named("c")};
    (void)state;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(eg_channel_table_add(table, channels[i]), 0);
    eg_channel_table_remove(table, channels[1]);
    assert_int_equal(channels[1]->references, 1);
    assert_table(table, 9, "ac");
    eg_channel_table_remove(table, channels[1]); /* not there: nothing happens */
    assert_int_equal(channels[1]->references, 1);
    eg_channel_table_remove(table, channels[2]);
    assert_table(table, 9, "a");
    assert_int_equal(eg_channel_table_add(table, channels[1]), 0);
    assert_table(table, 9, "ab");
    assert_int_equal(eg_channel_table_count(table), 2);
    eg_channel_table_free(table);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(channels[i]->references, 1);
        eg_channel_unref(channels[i]);
    }
    eg_channel_table_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_channel_has_its_name_and_clean_slots),
        cmocka_unit_test(it_lives_as_long_as_a_reference),
        cmocka_unit_test(a_table_lists_in_order_up_to_a_limit),
        cmocka_unit_test(a_table_forgets_what_is_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

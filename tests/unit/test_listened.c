/* The lists of a set's channels: where each stands, who wants it, and when it leaves. */
#include "eventgate/listened.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int set_up(void **state)
{
    *state = eg_listened_table_new(3);
    return *state ? 0 : -1;
}

static int tear_down(void **state)
{
    eg_listened_table_free(*state);
    return 0;
}

static struct eg_listened *add(struct eg_listened_table *table, const char *name, bool permanent)
{
    struct eg_listened *listened = eg_listened_add(table, name, strlen(name), permanent);
    assert_non_null(listened);
    return listened;
}

/* Its LISTEN is sent, and commits. */
static void listen_to(struct eg_listened_table *table, struct eg_listened *listened)
{
    eg_listened_move(table, listened, EG_LISTENED_LISTENING);
    eg_listened_move(table, listened, EG_LISTENED_LISTENED);
    listened->channel = eg_channel_new(listened->name, listened->name_length, listened->permanent, 3);
    assert_non_null(listened->channel);
}

/* Empties the list, whose channels are these, in this order. */
static void assert_list(struct eg_listened_table *table, enum eg_listened_list list, const char *names)
{
    char found[64] = "";
    struct eg_listened *listened;
    while ((listened = eg_listened_first(table, list))) {
        assert_true(strlen(found) + listened->name_length + 2 <= sizeof(found));
        strcat(strcat(found, listened->name), " ");
        eg_listened_remove(table, listened);
    }
    assert_string_equal(found, names);
}

static void a_channel_is_found_by_all_of_its_name(void **state)
{
    struct eg_listened_table *table = *state;
    struct eg_listened *listened = eg_listened_add(table, "ab/c", 2, false);
    assert_non_null(listened);
    assert_string_equal(listened->name, "ab");
    assert_int_equal(listened->name_length, 2);
    assert_ptr_equal(eg_listened_find(table, "abc", 2), listened);
    assert_null(eg_listened_find(table, "a", 1));
    assert_null(eg_listened_find(table, "abc", 3));
    assert_int_equal(eg_listened_count(table), 1);
    eg_listened_remove(table, listened);
    assert_null(eg_listened_find(table, "ab", 2));
    assert_int_equal(eg_listened_count(table), 0);
}

static void known_and_new_ones_are_wanted_in_the_order_of_their_coming(void **state)
{
    struct eg_listened_table *table = *state;
    add(table, "new1", false);
    add(table, "listed1", true);
    add(table, "listed2", true);
    add(table, "new2", false);
    struct eg_listened *before = add(table, "before", false);
    listen_to(table, before);
    eg_listened_move(table, before, EG_LISTENED_WANTED); /* the session was lost */
    assert_true(eg_listened_is_known(before));
    assert_false(eg_listened_is_known(eg_listened_find(table, "new1", 4)));
    assert_list(table, EG_LIST_KNOWN, "listed1 listed2 before ");
    assert_list(table, EG_LIST_ASKED, "new1 new2 ");
}

static void what_is_under_way_stands_in_the_order_of_the_command(void **state)
{
    struct eg_listened_table *table = *state;
    struct eg_listened *one = add(table, "one", false), *two = add(table, "two", true), *stays = add(table, "s", true);
    listen_to(table, two);
    listen_to(table, stays);
    eg_listened_move(table, two, EG_LISTENED_LEAVING);
    eg_listened_move(table, one, EG_LISTENED_LISTENING);
    assert_int_equal(one->state, EG_LISTENED_LISTENING);
    assert_list(table, EG_LIST_UNDER_WAY, "two one ");
    for (enum eg_listened_list list = 0; list < EG_LIST_COUNT; list++)
        assert_null(eg_listened_first(table, list));
    assert_int_equal(stays->state, EG_LISTENED_LISTENED);
}

static void it_should_leave_when_its_last_worker_wants_it_no_more(void **state)
{
    struct eg_listened_table *table = *state;
    struct eg_listened *listened = add(table, "a", false), *permanent = add(table, "p", true);
    assert_false(eg_listened_unwant(listened, 0));
    eg_listened_want(table, listened, 0, 11);
    eg_listened_want(table, listened, 2, 22);
    eg_listened_want(table, listened, 2, 23); /* asks again */
    assert_int_equal(listened->wanting, 2);
    assert_int_equal(listened->wants[0], 11);
    assert_int_equal(listened->wants[1], 0);
    assert_int_equal(listened->wants[2], 23);
    assert_false(eg_listened_unwant(listened, 2));
    assert_int_equal(listened->wants[2], 0);
    assert_false(eg_listened_unwant(listened, 2)); /* again */
    assert_int_equal(listened->wanting, 1);
    assert_true(eg_listened_unwant(listened, 0));
    assert_int_equal(listened->wants[0], 0);
    eg_listened_want(table, permanent, 0, 1);
    assert_false(eg_listened_unwant(permanent, 0));
}

static void what_is_listened_lingers_until_it_is_wanted_again(void **state)
{
    struct eg_listened_table *table = *state;
    const char *const names[] = {"a", "b", "c", "d"};
    struct eg_listened *all[EG_ARRAY_LENGTH(names)];
    for (size_t i = 0; i < EG_ARRAY_LENGTH(names); i++) {
        all[i] = add(table, names[i], false);
        listen_to(table, all[i]);
        eg_listened_leave(table, all[i], 100 + i);
    }
    assert_ptr_equal(eg_listened_first(table, EG_LIST_LINGERING), all[0]);
    assert_int_equal(all[0]->leave_ms, 100);
    eg_listened_want(table, all[0], 1, 7);
    assert_int_equal(all[0]->state, EG_LISTENED_LISTENED);
    assert_ptr_equal(eg_listened_first(table, EG_LIST_LINGERING), all[1]);
    eg_listened_move(table, all[2], EG_LISTENED_LEAVING);
    assert_true(eg_listened_unwant(all[0], 1));
    eg_listened_leave(table, all[0], 200);
    assert_int_equal(all[0]->leave_ms, 200);
    assert_list(table, EG_LIST_UNDER_WAY, "c ");
    assert_list(table, EG_LIST_LINGERING, "b d a ");
    assert_int_equal(eg_listened_count(table), 0);
}

static void only_a_new_one_that_was_not_sent_is_forgotten_at_once(void **state)
{
    struct eg_listened_table *table = *state;
    struct eg_listened *sent = add(table, "sent", false), *known = add(table, "known", false);
    eg_listened_leave(table, add(table, "new", false), 100);
    assert_null(eg_listened_find(table, "new", 3));
    eg_listened_move(table, sent, EG_LISTENED_LISTENING);
    eg_listened_leave(table, sent, 100);
    listen_to(table, known);
    eg_listened_move(table, known, EG_LISTENED_WANTED);
    eg_listened_leave(table, known, 100);
    assert_list(table, EG_LIST_LINGERING, "");
    assert_list(table, EG_LIST_UNDER_WAY, "sent ");
    assert_list(table, EG_LIST_KNOWN, "known ");
}

static void a_walk_passes_all_even_if_they_are_removed_meanwhile(void **state)
{
    struct eg_listened_table *table = *state;
    const char *const names[] = {"a", "b", "c"};
    size_t passed = 0;
    assert_null(eg_listened_next(table, NULL));
    for (size_t i = 0; i < EG_ARRAY_LENGTH(names); i++)
        listen_to(table, add(table, names[i], i == 1));
    struct eg_listened *next = eg_listened_next(table, NULL);
    while (next) {
        struct eg_listened *listened = next;
        next = eg_listened_next(table, listened);
        assert_string_equal(listened->name, names[passed++]);
        eg_listened_remove(table, listened);
    }
    assert_int_equal(passed, EG_ARRAY_LENGTH(names));
    assert_int_equal(eg_listened_count(table), 0);
}

static void those_that_linger_stand_by_the_time_when_they_leave(void **state)
{
    struct eg_listened_table *table = *state;
    static const struct {
        const char *name;
        uint64_t leave_ms;
    } rows[] = {{"b", 20}, {"c", 30}, {"a", 10}, {"d", 30}, {"z", 5}};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        struct eg_listened *listened = add(table, rows[i].name, false);
        listen_to(table, listened);
        eg_listened_leave(table, listened, rows[i].leave_ms);
    }
    assert_list(table, EG_LIST_LINGERING, "z a b c d ");
}

static void what_is_listed_changes(void **state)
{
    struct eg_listened_table *table = *state;
    struct eg_listened *lingers = add(table, "lingers", false), *listed = add(table, "listed", true);
    struct eg_listened *wanted = add(table, "wanted", false);
    listen_to(table, lingers);
    eg_listened_leave(table, lingers, 10);
    eg_listened_set_permanent(table, lingers, true);
    assert_null(eg_listened_first(table, EG_LIST_LINGERING));
    eg_listened_set_permanent(table, wanted, true);
    eg_listened_set_permanent(table, listed, false);
    assert_list(table, EG_LIST_KNOWN, "wanted ");
    assert_list(table, EG_LIST_ASKED, "listed ");
    eg_listened_remove(table, lingers);
}

static void what_the_set_has(void **state)
{
    struct eg_listened_table *table = *state;
    struct eg_config_channel live[] = {{"a", 1, false}, {"p/*", 3, true}, {"p/x", 3, false}};
    const struct eg_config_set set = {.live = live, .live_count = EG_ARRAY_LENGTH(live)};
    struct eg_listened *asked = add(table, "p/y", false), *other = add(table, "q", false);
    add(table, "p/x", false);
    assert_true(eg_listened_add_listed(table, &set));
    assert_true(eg_listened_add_listed(table, &set));
    assert_true(eg_listened_is_of(asked, &set) && !eg_listened_is_listed(asked, &set) && !asked->permanent);
    assert_false(eg_listened_is_of(other, &set) || eg_listened_is_listed(other, &set));
    assert_int_equal(eg_listened_count(table), 4);
    assert_list(table, EG_LIST_KNOWN, "a p/x ");
    assert_list(table, EG_LIST_ASKED, "p/y q ");
}

#define WITH_TABLE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TABLE(a_channel_is_found_by_all_of_its_name),
        WITH_TABLE(known_and_new_ones_are_wanted_in_the_order_of_their_coming),
        WITH_TABLE(what_is_under_way_stands_in_the_order_of_the_command),
        WITH_TABLE(it_should_leave_when_its_last_worker_wants_it_no_more),
        WITH_TABLE(what_is_listened_lingers_until_it_is_wanted_again),
        WITH_TABLE(only_a_new_one_that_was_not_sent_is_forgotten_at_once),
        WITH_TABLE(a_walk_passes_all_even_if_they_are_removed_meanwhile),
        WITH_TABLE(those_that_linger_stand_by_the_time_when_they_leave),
        WITH_TABLE(what_is_listed_changes),
        WITH_TABLE(what_the_set_has),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

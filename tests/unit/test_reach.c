/* What a process reaches of its sets, told and read. */
#include "eventgate/reach.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void each_set_is_found(void **state)
{
    struct eg_buffer text = EG_BUFFER_INIT;
    (void)state;
    assert_int_equal(eg_reach_find(&text, "one"), -1);
    eg_reach_add(&text, "one", EG_REACHED_LISTENER | EG_REACHED_PUBLISHER);
    eg_reach_add(&text, "onetwo", 15);
    eg_reach_add(&text, "none", 0);
    eg_reach_add(&text, EG_REACH_REVOCATIONS, 1);
    assert_int_equal(eg_reach_find(&text, "one"), 3);
    assert_int_equal(eg_reach_find(&text, "onetwo"), 15);
    assert_int_equal(eg_reach_find(&text, "none"), 0);
    assert_int_equal(eg_reach_find(&text, "two"), -1);
    assert_int_equal(eg_reach_find(&text, EG_REACH_REVOCATIONS), 1);
    for (size_t i = 0; i < text.length; i++)
        assert_non_null(strchr("0123456789abcdef:;", text.data[i]));
    eg_buffer_done(&text);
}

static void facts_are_what_is_up(void **state)
{
    (void)state;
    assert_int_equal(eg_reached_by(&(struct eg_set_facts){.listening = true}), EG_REACHED_LISTENER);
    assert_int_equal(eg_reached_by(&(struct eg_set_facts){.publishing = true, .reading = true, .appending = true}),
                     EG_REACHED_PUBLISHER | EG_REACHED_READER | EG_REACHED_APPENDER);
}

/* Which of them are needed is what makes a set ready. */
static void what_a_set_does_not_need_is_what_it_is_ready_without(void **state)
{
    (void)state;
    for (unsigned kinds = 0; kinds < 4; kinds++) {
        struct eg_config_set set = {.live_count = kinds & 1, .durable_count = kinds >> 1};
        for (unsigned reached = 0; reached < 16; reached++) {
            struct eg_set_facts facts = {.listening = reached & EG_REACHED_LISTENER,
                                         .publishing = reached & EG_REACHED_PUBLISHER,
                                         .reading = reached & EG_REACHED_READER,
                                         .appending = reached & EG_REACHED_APPENDER};
            assert_int_equal((eg_reached_by(&facts) | eg_reach_unneeded(&set)) == 15, eg_set_facts_ready(&facts, &set));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_set_is_found),
        cmocka_unit_test(facts_are_what_is_up),
        cmocka_unit_test(what_a_set_does_not_need_is_what_it_is_ready_without),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

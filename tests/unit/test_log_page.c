/* Which selections are equal, and where a reader goes on in a page. */
#include "eventgate/log_page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct eg_log_selection *selection_of(const char *one, const char *two, const char *three)
{
    const char *const texts[] = {one, two, three};
    struct eg_bytes names[3];
    size_t count = 0;
    for (size_t i = 0; i < 3; i++)
        if (texts[i])
            names[count++] = (struct eg_bytes){texts[i], strlen(texts[i])};
    struct eg_log_selection *selection = eg_log_selection_new(names, count);
    assert_non_null(selection);
    return selection;
}

static void a_selection_is_a_set_of_names(void **state)
{
    char name[] = "order/2";
    struct eg_log_selection *one = selection_of(name, "order/**", "a"), *two = selection_of("a", "order/2", "order/**"),
                            *fewer = selection_of("a", "order/2", "a"), *other = selection_of("a", "order/20", NULL);
    (void)state;
    name[0] = '!'; /* it has a copy */
    assert_int_equal(one->count, 3);
    assert_string_equal(one->names[0].data, "a");
    assert_string_equal(one->names[1].data, "order/**");
    assert_string_equal(one->names[2].data, "order/2");
    assert_int_equal(one->names[2].length, 7);
    assert_int_equal(fewer->count, 2);
    assert_true(eg_log_selection_equal(one, two) && eg_log_selection_equal(one, one));
    assert_false(eg_log_selection_equal(one, fewer) || eg_log_selection_equal(fewer, other));
    assert_ptr_equal(eg_log_selection_ref(one), one);
    eg_log_selection_unref(one);
    assert_int_equal(one->references, 1);
    eg_log_selection_unref(one);
    eg_log_selection_unref(two);
    eg_log_selection_unref(fewer);
    eg_log_selection_unref(other);
    eg_log_selection_unref(NULL);
}

static void a_reader_goes_on_at_the_first_event_behind_its_position(void **state)
{
    struct eg_channel *channel = eg_channel_new("a", 1, false, 0);
    struct eg_log_page *page = eg_log_page_new(3), *empty = eg_log_page_new(0);
    (void)state;
    for (uint64_t position = 10; position <= 30; position += 10)
        page->events[page->count++] = eg_event_new_durable(
            channel, &(struct eg_event_row){.cursor = {.tag = "tag", .has_position = true, .position = position},
                                            .data = {"1", 1}});
    const uint64_t found[][2] = {{0, 0}, {9, 0}, {10, 1}, {19, 1}, {20, 2}, {29, 2}, {30, 3}, {99, 3}};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(found); i++)
        assert_int_equal(eg_log_page_find(page, found[i][0]), found[i][1]);
    assert_int_equal(eg_log_page_find(empty, 0), 0);
    assert_int_equal(channel->references, 4);
    assert_ptr_equal(eg_log_page_ref(page), page);
    eg_log_page_unref(page);
    assert_int_equal(channel->references, 4);
    eg_log_page_unref(page); /* with its events */
    assert_int_equal(channel->references, 1);
    eg_log_page_unref(empty);
    eg_log_page_unref(NULL);
    eg_channel_unref(channel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_selection_is_a_set_of_names),
        cmocka_unit_test(a_reader_goes_on_at_the_first_event_behind_its_position),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

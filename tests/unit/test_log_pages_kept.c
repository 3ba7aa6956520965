/* Pages kept for sharing: found by what they have, and bounded. */
#include "eventgate/log_pages_kept.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct eg_log_selection *selection_of(const char *name)
{
    const struct eg_bytes bytes = {name, strlen(name)};
    struct eg_log_selection *selection = eg_log_selection_new(&bytes, 1);
    assert_non_null(selection);
    return selection;
}

static void keep(struct eg_log_pages_kept *kept, struct eg_log_selection *selection, uint64_t after, uint64_t upto,
                 size_t bytes)
{
    struct eg_log_page *page = eg_log_page_new(0);
    assert_non_null(page);
    page->after = after;
    page->upto = upto;
    page->bytes = bytes;
    eg_log_pages_keep(kept, selection, page, upto / 2);
    eg_log_page_unref(page);
}

static uint64_t found(struct eg_log_pages_kept *kept, const struct eg_log_selection *selection, uint64_t after)
{
    uint64_t pruned;
    const struct eg_log_page *page = eg_log_pages_find(kept, selection, after, &pruned);
    if (page)
        assert_int_equal(pruned, page->upto / 2);
    return page ? page->upto : 0;
}

static void a_page_is_found_by_what_it_has(void **state)
{
    (void)state;
    struct eg_log_pages_kept *kept = eg_log_pages_kept_new(1000);
    struct eg_log_selection *a = selection_of("a"), *again = selection_of("a"), *b = selection_of("b");
    keep(kept, a, 10, 20, 1);
    assert_int_equal(found(kept, again, 10), 20);
    assert_int_equal(found(kept, again, 19), 20);
    assert_int_equal(found(kept, again, 20), 0); /* what follows isn't in it */
    assert_int_equal(found(kept, again, 9), 0);
    assert_int_equal(found(kept, b, 10), 0);
    keep(kept, a, 20, 20, 1); /* of no use to anybody */
    assert_int_equal(eg_log_pages_kept_bytes(kept), 1);
    eg_log_selection_unref(a);
    eg_log_selection_unref(again);
    eg_log_selection_unref(b);
    eg_log_pages_kept_free(kept);
}

static void of_several_the_one_that_reaches_furthest_is_found(void **state)
{
    (void)state;
    struct eg_log_pages_kept *kept = eg_log_pages_kept_new(1000);
    struct eg_log_selection *a = selection_of("a"), *b = selection_of("b");
    keep(kept, a, 10, 20, 1);
    keep(kept, a, 12, 22, 1);
    keep(kept, b, 12, 99, 1);
    keep(kept, a, 11, 21, 1);
    for (int again = 0; again < 3; again++) {
        assert_int_equal(found(kept, a, 15), 22);
        assert_int_equal(found(kept, a, 11), 21);
        assert_int_equal(found(kept, a, 10), 20);
    }
    eg_log_selection_unref(a);
    eg_log_selection_unref(b);
    eg_log_pages_kept_free(kept);
}

static void the_longest_unused_is_forgotten(void **state)
{
    (void)state;
    struct eg_log_pages_kept *kept = eg_log_pages_kept_new(1000);
    struct eg_log_selection *a = selection_of("a");
    keep(kept, a, 0, 10, 400);
    keep(kept, a, 10, 20, 400);
    assert_int_equal(found(kept, a, 0), 10);
    keep(kept, a, 20, 30, 400);
    assert_int_equal(found(kept, a, 10), 0);
    assert_int_equal(found(kept, a, 0), 10);
    assert_int_equal(found(kept, a, 20), 30);
    assert_true(eg_log_pages_kept_bytes(kept) <= 1000);
    for (uint64_t i = 100; i < 10000; i++) /* of no bytes: their number is bounded, too */
        keep(kept, a, i, i + 1, 0);
    assert_int_equal(found(kept, a, 0), 0);
    eg_log_pages_forget(kept);
    assert_int_equal(eg_log_pages_kept_bytes(kept), 0);
    assert_int_equal(found(kept, a, 9999), 0);
    eg_log_selection_unref(a);
    eg_log_pages_kept_free(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_found_by_what_it_has),
        cmocka_unit_test(of_several_the_one_that_reaches_furthest_is_found),
        cmocka_unit_test(the_longest_unused_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

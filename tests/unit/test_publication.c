/* The one allocation of a publication. */
#include "eventgate/publication.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void items_and_text_are_zero_and_do_not_touch(void **state)
{
    char *text;
    struct eg_publication *publication = eg_publication_new(3, 5, &text);
    (void)state;
    assert_non_null(publication);
    assert_int_equal(publication->count, 3);
    assert_null(publication->next);
    assert_int_equal(publication->unfinished, 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(publication->items[i].outcome, EG_OUTCOME_PENDING);
        assert_null(publication->items[i].error);
        assert_int_equal(publication->items[i].payload.length, 0);
    }
    memset(publication->items, 0xff, 3 * sizeof(publication->items[0]));
    assert_memory_equal(text, "\0\0\0\0\0", 5);
    memset(publication->items, 0, 3 * sizeof(publication->items[0]));
    memset(text, 'x', 5);
    assert_null(publication->items[2].error);
    eg_publication_free(publication);
}

static void errors_are_freed_with_it(void **state)
{
    char *text;
    struct eg_publication *publication = eg_publication_new(2, 0, &text);
    (void)state;
    assert_non_null(publication);
    publication->items[1].error = calloc(1, sizeof(struct eg_error));
    eg_publication_free(publication);
    eg_publication_free(NULL);
}

static void an_impossible_size_is_out_of_memory(void **state)
{
    char *text;
    (void)state;
    assert_null(eg_publication_new(SIZE_MAX / sizeof(struct eg_publication_item), SIZE_MAX, &text));
    assert_null(eg_publication_new(SIZE_MAX, 0, &text));
    assert_null(eg_publication_new(0, SIZE_MAX, &text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_and_text_are_zero_and_do_not_touch),
        cmocka_unit_test(errors_are_freed_with_it),
        cmocka_unit_test(an_impossible_size_is_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

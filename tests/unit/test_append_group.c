/* Groups of units that share a transaction: what fits, and that their items are PENDING again when it fails. */
#include "eventgate/append_group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct eg_publication *publication_of(size_t count, size_t payload_bytes)
{
    static char payload[EG_APPEND_BYTES + 1];
    char *text;
    struct eg_publication *publication = eg_publication_new(count, 1, &text);
    assert_non_null(publication);
    for (size_t i = 0; i < count; i++) {
        publication->items[i].channel = (struct eg_bytes){"a", 1};
        publication->items[i].payload = (struct eg_bytes){payload, payload_bytes};
    }
    return publication;
}

static void a_group_holds_so_many_items(void **state)
{
    (void)state;
    struct eg_append_group *group = malloc(sizeof(*group));
    struct eg_publication *one = publication_of(1, 1), *many = publication_of(EG_APPEND_ITEMS, 1);
    assert_non_null(group);
    eg_append_group_init(group);
    for (size_t i = 0; i < EG_APPEND_ITEMS; i++) {
        assert_true(eg_append_group_fits(group, (struct eg_append_unit){one, 0, 1}));
        eg_append_group_add(group, (struct eg_append_unit){one, 0, 1});
    }
    assert_false(eg_append_group_fits(group, (struct eg_append_unit){one, 0, 1}));
    eg_append_group_init(group);
    eg_append_group_add(group, (struct eg_append_unit){one, 0, 1});
    assert_false(eg_append_group_fits(group, (struct eg_append_unit){many, 0, EG_APPEND_ITEMS})); /* never split */
    eg_publication_free(one);
    eg_publication_free(many);
    free(group);
}

static void a_group_holds_so_many_bytes_but_one_unit_always(void **state)
{
    (void)state;
    struct eg_append_group *group = malloc(sizeof(*group));
    struct eg_publication *large = publication_of(1, EG_APPEND_BYTES + 1), *small = publication_of(1, 1);
    assert_non_null(group);
    eg_append_group_init(group);
    assert_true(eg_append_group_fits(group, (struct eg_append_unit){large, 0, 1}));
    eg_append_group_add(group, (struct eg_append_unit){large, 0, 1});
    assert_false(eg_append_group_fits(group, (struct eg_append_unit){small, 0, 1}));
    eg_publication_free(large);
    eg_publication_free(small);
    free(group);
}

static void what_a_failed_transaction_said_is_forgotten(void **state)
{
    (void)state;
    struct eg_append_group *group = malloc(sizeof(*group));
    struct eg_publication *publication = publication_of(3, 1);
    assert_non_null(group);
    eg_append_group_init(group);
    eg_append_group_add(group, (struct eg_append_unit){publication, 1, 2});
    for (size_t i = 0; i < 3; i++) {
        publication->items[i].outcome = EG_OUTCOME_COMMITTED;
        publication->items[i].position = 7;
    }
    eg_append_group_forget(group);
    assert_int_equal(publication->items[0].position, 7); /* not of this group */
    for (size_t i = 1; i < 3; i++) {
        assert_int_equal(publication->items[i].outcome, EG_OUTCOME_PENDING);
        assert_int_equal(publication->items[i].position, 0);
    }
    eg_publication_free(publication);
    free(group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_holds_so_many_items),
        cmocka_unit_test(a_group_holds_so_many_bytes_but_one_unit_always),
        cmocka_unit_test(what_a_failed_transaction_said_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

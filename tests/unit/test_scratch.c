/* A scratch pad, its end, and what there is outside of it. */
#include "eventgate/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct work {
    size_t size, times;
    size_t done;
};

static void allocate(void *context)
{
    struct work *work = context;
    for (size_t i = 0; i < work->times; i++) {
        char *memory = eg_scratch_alloc(work->size);
        assert_int_equal((uintptr_t)memory % _Alignof(max_align_t), 0);
        memset(memory, 'x', work->size);
        work->done++;
    }
}

static void gives_what_is_asked_for(void **state)
{
    struct work work = {.size = 100, .times = 1000};
    (void)state;
    assert_true(eg_scratch_run(1 << 20, allocate, &work));
    assert_int_equal(work.done, 1000);
    work = (struct work){.size = 100000, .times = 5};
    assert_true(eg_scratch_run(1 << 20, allocate, &work));
    work = (struct work){.size = 0, .times = 3};
    assert_true(eg_scratch_run(1 << 20, allocate, &work));
}

static void leaves_the_work_when_the_pad_is_full(void **state)
{
    struct work work = {.size = 1000, .times = 1000};
    (void)state;
    assert_false(eg_scratch_run(100000, allocate, &work));
    assert_in_range(work.done, 50, 100);
    work = (struct work){.size = SIZE_MAX, .times = 1};
    assert_false(eg_scratch_run(SIZE_MAX, allocate, &work));
    work = (struct work){.size = 10, .times = 1};
    assert_true(eg_scratch_run(100000, allocate, &work)); /* and it can be used again */
}

static void reallocate(void *context)
{
    char *outer = *(char **)context, *inner = eg_scratch_alloc(4);
    memcpy(inner, "abc", 4);
    inner = eg_scratch_realloc(inner, 100000);
    assert_string_equal(inner, "abc");
    inner = eg_scratch_realloc(inner, 2);
    assert_memory_equal(inner, "ab", 2);
    eg_scratch_free(inner);
    assert_non_null(eg_scratch_realloc(NULL, 5));
    *(char **)context = eg_scratch_realloc(outer, 50);
    eg_scratch_free(NULL);
}

static void tells_its_own_memory_from_the_other(void **state)
{
    char *memory = eg_scratch_alloc(10);
    (void)state;
    strcpy(memory, "outside");
    assert_true(eg_scratch_run(1 << 20, reallocate, &memory));
    assert_string_equal(memory, "outside");
    memory = eg_scratch_realloc(memory, 1000);
    eg_scratch_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_what_is_asked_for),
        cmocka_unit_test(leaves_the_work_when_the_pad_is_full),
        cmocka_unit_test(tells_its_own_memory_from_the_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

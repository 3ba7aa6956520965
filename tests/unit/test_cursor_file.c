/* The cursor in a file: what is written is read back, and what is no cursor is told. */
#include "eventgate/cursor_file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/eventgate-test-cursor-XXXXXX";
static char path[100];

static int begin(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/cursor", folder);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder); /* nothing is left beside the file */
}

static void put(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void what_is_written_is_read_back(void **state)
{
    char cursor[EG_CURSOR_FILE_TEXT_MAX] = "x";
    (void)state;
    assert_int_equal(eg_cursor_file_read(path, cursor), 0);
    assert_string_equal(cursor, "");
    assert_int_equal(eg_cursor_file_write(path, "q3k9zt.1~mzxw6ytboi-2"), 0);
    assert_int_equal(eg_cursor_file_write(path, "q3k9zt.17"), 0);
    assert_int_equal(eg_cursor_file_read(path, cursor), 0);
    assert_string_equal(cursor, "q3k9zt.17");
}

static void a_place_by_sql_may_be_put_there(void **state)
{
    char cursor[EG_CURSOR_FILE_TEXT_MAX];
    (void)state;
    put("earliest\n");
    assert_int_equal(eg_cursor_file_read(path, cursor), 0);
    assert_string_equal(cursor, "earliest");
}

static void what_is_no_cursor_is_told(void **state)
{
    static const char *const garbage[] = {"two words\n", "word\n", "earliest 1\n", "now\n", "4711\n", "a.1\n\na.2\n"};
    char cursor[EG_CURSOR_FILE_TEXT_MAX], large[2000];
    (void)state;
    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        put(garbage[i]);
        assert_int_equal(eg_cursor_file_read(path, cursor), -EINVAL);
    }
    memset(large, 'a', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    put(large);
    assert_int_equal(eg_cursor_file_read(path, cursor), -EINVAL);
    assert_int_equal(eg_cursor_file_write("/nonexistent/cursor", "a"), -ENOENT);
    put("");
    assert_int_equal(eg_cursor_file_read(path, cursor), 0);
    assert_string_equal(cursor, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(a_place_by_sql_may_be_put_there),
        cmocka_unit_test(what_is_no_cursor_is_told),
    };
    return cmocka_run_group_tests(tests, begin, finish);
}

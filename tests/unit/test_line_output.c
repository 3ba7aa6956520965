/* Lines to a pipe, one by one as its reader takes them, and to files. */
#include "eventgate/line_output.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define LARGE 10000

static volatile sig_atomic_t stopped;
static int ends[2];

static int open_pipe(void **state)
{
    (void)state;
    return pipe2(ends, O_CLOEXEC);
}

static int close_pipe(void **state)
{
    (void)state;
    if (ends[0] >= 0)
        close(ends[0]);
    return close(ends[1]);
}

static void put(struct eg_line_output *output, const char *line)
{
    size_t written = 0;
    assert_int_equal(eg_line_output_write(output, line, strlen(line), &stopped, &written), 0);
    assert_int_equal(written, strlen(line));
}

static void take(size_t count)
{
    char bytes[LARGE];
    assert_int_equal(read(ends[0], bytes, count), (ssize_t)count);
}

static void a_line_has_arrived_when_it_is_taken(void **state)
{
    struct eg_line_output output;
    int before = fcntl(ends[1], F_GETPIPE_SZ);
    (void)state;
    eg_line_output_begin(&output, ends[1], true);
    assert_true(eg_line_output_arrived(&output));
    assert_int_equal(eg_line_output_wait(&output, 1000), 0);
    put(&output, "line\n");
    assert_false(eg_line_output_arrived(&output));
    assert_int_equal(eg_line_output_wait(&output, 0), -EAGAIN);
    take(4);
    assert_int_equal(eg_line_output_wait(&output, 1), -EAGAIN);
    take(1);
    assert_int_equal(eg_line_output_wait(&output, 0), 0);
    eg_line_output_end(&output);
    assert_int_equal(fcntl(ends[1], F_GETPIPE_SZ), before);
}

static void what_others_have_written_is_waited_for_too(void **state)
{
    static const char others[LARGE];
    struct eg_line_output output;
    (void)state;
    assert_int_equal(write(ends[1], others, LARGE), LARGE);
    eg_line_output_begin(&output, ends[1], true);
    assert_int_equal(eg_line_output_wait(&output, 10), -EAGAIN);
    take(LARGE);
    assert_int_equal(eg_line_output_wait(&output, 10), 0);
    eg_line_output_end(&output);
}

static void a_reader_that_is_gone_is_told(void **state)
{
    struct eg_line_output output;
    size_t written = 1;
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    eg_line_output_begin(&output, ends[1], true);
    put(&output, "line\n");
    assert_false(eg_line_output_is_unread(&output));
    close(ends[0]);
    ends[0] = -1;
    assert_true(eg_line_output_is_unread(&output));
    assert_false(eg_line_output_arrived(&output));
    assert_int_equal(eg_line_output_wait(&output, 1000), -EPIPE);
    assert_int_equal(eg_line_output_write(&output, "line\n", 5, &stopped, &written), -EPIPE);
    assert_int_equal(written, 0);
    eg_line_output_end(&output);
}

static void nobody_is_waited_for_who_was_not_to_be(void **state)
{
    struct eg_line_output output;
    (void)state;
    eg_line_output_begin(&output, ends[1], false);
    put(&output, "line\n");
    assert_true(eg_line_output_arrived(&output));
    assert_int_equal(eg_line_output_wait(&output, 1000), 0);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    eg_line_output_begin(&output, null, true);
    put(&output, "line\n");
    assert_int_equal(eg_line_output_wait(&output, 1000), 0);
    close(null);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_has_arrived_when_it_is_taken, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(what_others_have_written_is_waited_for_too, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(a_reader_that_is_gone_is_told, open_pipe, close_pipe),
        cmocka_unit_test_setup_teardown(nobody_is_waited_for_who_was_not_to_be, open_pipe, close_pipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Log lines as they arrive at standard error: their form, order, and what a reader that stalls does. */
#include "eventgate/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define TIME_LENGTH 24 /* 2026-01-31T12:00:00.123Z */
#define THREADS 4
#define LINES 500

static int real_stderr;

/* Standard error becomes a file; what is written is read with written(). */
static int capture(void **state)
{
    int file = memfd_create("log", 0);
    (void)state;
    real_stderr = dup(STDERR_FILENO);
    dup2(file, STDERR_FILENO);
    close(file);
    eg_log_configure(EG_LOG_INFO, EG_LOG_TEXT);
    return 0;
}

static int restore(void **state)
{
    (void)state;
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    return 0;
}

/* All that has been written, to be freed. */
static char *written(void)
{
    off_t size = lseek(STDERR_FILENO, 0, SEEK_END);
    assert_true(size >= 0);
    char *text = calloc(1, (size_t)size + 1);
    assert_int_equal(pread(STDERR_FILENO, text, (size_t)size, 0), size);
    return text;
}

/* The whole that has been written is one line, and this stands behind its time. */
static void assert_line(const char *expected)
{
    char *text = written();
    assert_true(strlen(text) > TIME_LENGTH);
    assert_string_equal(text + TIME_LENGTH, expected);
    free(text);
    assert_int_equal(ftruncate(STDERR_FILENO, 0), 0);
    lseek(STDERR_FILENO, 0, SEEK_SET);
}

static void a_text_line(void **state)
{
    (void)state;
    eg_log(EG_LOG_WARN, "connection lost", EG_LOG_STR("set", "shop"), EG_LOG_INT("retry_ms", 200));
    assert_line(" WARN  connection lost set=shop retry_ms=200\n");
    eg_log(EG_LOG_ERROR, "no fields");
    assert_line(" ERROR no fields\n");
    eg_log(EG_LOG_INFO, "numbers", EG_LOG_INT("least", INT64_MIN), EG_LOG_INT("most", INT64_MAX));
    assert_line(" INFO  numbers least=-9223372036854775808 most=9223372036854775807\n");
}

static void the_time_is_utc_with_milliseconds(void **state)
{
    struct tm calendar = {0};
    struct timespec before, after; /* time() is of a coarser clock, a tick behind */
    (void)state;
    setenv("TZ", "Asia/Tokyo", 1);
    tzset();
    clock_gettime(CLOCK_REALTIME, &before);
    eg_log(EG_LOG_INFO, "now");
    clock_gettime(CLOCK_REALTIME, &after);
    char *text = written(), *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &calendar);
    assert_non_null(end);
    assert_int_equal(*end, '.');
    assert_int_equal(strspn(end + 1, "0123456789"), 3);
    assert_int_equal(end[4], 'Z');
    assert_in_range(timegm(&calendar), before.tv_sec, after.tv_sec);
    free(text);
    unsetenv("TZ");
    tzset();
}

static void values_that_could_be_misread_are_quoted(void **state)
{
    (void)state;
    eg_log(EG_LOG_INFO, "x", EG_LOG_STR("a", "two words"), EG_LOG_STR("b", ""), EG_LOG_STR("c", "say \"it\""),
           EG_LOG_STR("d", "k=v"), EG_LOG_STR("e", "back\\slash"));
    assert_line(" INFO  x a=\"two words\" b=\"\" c=\"say \\\"it\\\"\" d=\"k=v\" e=\"back\\\\slash\"\n");
    eg_log(EG_LOG_INFO, "x", EG_LOG_STR("a", "line\nWARN forged\r\x1b[2J"), EG_LOG_STR("b", "h\xc3\xa9"));
    assert_line(" INFO  x a=\"line\\nWARN forged\\r\\u001b[2J\" b=h\xc3\xa9\n");
    eg_log(EG_LOG_INFO, "x",
           EG_LOG_STR("a", "1\x7f\xc2\x9b"
                           "2J"),
           EG_LOG_STR("b", "\xe2\x80\xa8\xc2\x85"), EG_LOG_STR("c", "\xe2\x80\xae\xe2\x81\xa6"),
           EG_LOG_STR("d", "\xc2\xa0\xe2\x80\xa6\xe2\x82\xac"));
    assert_line(" INFO  x a=\"1\\u007f\\u009b2J\" b=\"\\u2028\\u0085\" c=\"\\u202e\\u2066\""
                " d=\xc2\xa0\xe2\x80\xa6\xe2\x82\xac\n");
}

static void what_a_terminal_may_obey_is_escaped(void **state)
{
    (void)state;
    eg_log(EG_LOG_INFO, "x",
           EG_LOG_STR("a", "\xc2\x9b"
                           "31m"),
           EG_LOG_STR("b", "1\xe2\x80\xa8"
                           "2\xe2\x80\xa9"),
           EG_LOG_STR("c", "\x7f"), EG_LOG_STR("d", "\xc2\xa0\xe2\x80\xa6"));
    assert_line(" INFO  x a=\"\\u009b31m\" b=\"1\\u20282\\u2029\" c=\"\\u007f\" d=\xc2\xa0\xe2\x80\xa6\n");
    eg_log_configure(EG_LOG_DEBUG, EG_LOG_JSON);
    eg_log(EG_LOG_INFO, "x", EG_LOG_STR("a", "\xc2\x85\xe2\x80\xa8\x7f\xc3\xa9"));
    char *text = written();
    assert_non_null(strstr(text, "\"a\":\"\\u0085\\u2028\\u007f\xc3\xa9\"}\n"));
    free(text);
}

static void a_field_without_value_is_left_out(void **state)
{
    (void)state;
    eg_log(EG_LOG_INFO, "x", EG_LOG_STR("a", NULL), EG_LOG_INT("b", 0), EG_LOG_STR("c", NULL));
    assert_line(" INFO  x b=0\n");
}

static void a_json_line(void **state)
{
    (void)state;
    eg_log_configure(EG_LOG_DEBUG, EG_LOG_JSON);
    eg_log(EG_LOG_WARN, "connection lost", EG_LOG_STR("set", "sh\"op\n"), EG_LOG_INT("retry_ms", -2),
           EG_LOG_STR("none", NULL), EG_LOG_STR("empty", ""));
    char *text = written();
    assert_memory_equal(text, "{\"time\":\"", 9);
    assert_string_equal(text + 9 + TIME_LENGTH, "\",\"level\":\"warn\",\"message\":\"connection lost\","
                                                "\"set\":\"sh\\\"op\\n\",\"retry_ms\":-2,\"empty\":\"\"}\n");
    free(text);
}

static void bytes_that_are_not_utf8_do_not_break_the_line(void **state)
{
    (void)state;
    eg_log(EG_LOG_INFO, "x", EG_LOG_STR("a", "caf\xe9"), EG_LOG_STR("b", "\xed\xa0\x80"), EG_LOG_STR("c", "\xc3"),
           EG_LOG_STR("d", "\xf0\x9f\x90\x98\xff"));
    assert_line(" INFO  x a=\"caf\xef\xbf\xbd\" b=\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\" c=\"\xef\xbf\xbd\" "
                "d=\"\xf0\x9f\x90\x98\xef\xbf\xbd\"\n");
}

static void lines_above_the_level_are_left_out(void **state)
{
    (void)state;
    eg_log(EG_LOG_DEBUG, "unwanted");
    eg_log_configure(EG_LOG_ERROR, EG_LOG_TEXT);
    eg_log(EG_LOG_WARN, "unwanted");
    eg_log(EG_LOG_ERROR, "wanted");
    assert_line(" ERROR wanted\n");
    eg_log_configure(EG_LOG_DEBUG, EG_LOG_TEXT);
    eg_log(EG_LOG_DEBUG, "wanted");
    assert_line(" DEBUG wanted\n");
}

static void *log_lines(void *context)
{
    for (int line = 0; line < LINES; line++)
        eg_log(EG_LOG_INFO, "from a thread", EG_LOG_INT("thread", *(int *)context), EG_LOG_INT("line", line));
    return NULL;
}

static void the_thread_writes_whole_lines_in_the_order_of_each_caller(void **state)
{
    pthread_t threads[THREADS];
    int numbers[THREADS], next[THREADS] = {0};
    (void)state;
    assert_int_equal(eg_log_start(), 0);
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, log_lines, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    eg_log_stop();
    char *text = written(), *rest = text;
    for (char *line = strsep(&rest, "\n"); rest; line = strsep(&rest, "\n")) {
        int thread, number, end = 0;
        assert_int_equal(sscanf(line + TIME_LENGTH, " INFO  from a thread thread=%d line=%d%n", &thread, &number, &end),
                         2);
        assert_int_equal(line[TIME_LENGTH + end], '\0');
        assert_in_range(thread, 0, THREADS - 1);
        assert_int_equal(number, next[thread]++);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(next[i], LINES);
    assert_int_equal(eg_log_dropped(), 0);
    free(text);
}

static void after_the_stop_lines_are_written_directly_and_it_can_start_again(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        assert_int_equal(eg_log_start(), 0);
        eg_log(EG_LOG_INFO, "queued");
        eg_log_stop();
        assert_line(" INFO  queued\n");
        eg_log(EG_LOG_INFO, "direct");
        assert_line(" INFO  direct\n");
    }
    eg_log_stop();
}

static int64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Standard error becomes a pipe of one page; returns the end to read from. */
static int stall(void)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 4096);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    return ends[0];
}

/* Reads until the other end closes; returns the number of lines, of which `told` are said to be missing. */
static void *count_lines(void *context)
{
    FILE *stream = fdopen(*(int *)context, "r");
    static uint64_t counts[2];
    char *line = NULL, *lines;
    size_t size = 0;
    memset(counts, 0, sizeof(counts));
    while (getline(&line, &size, stream) > 0) {
        if (strstr(line, "log lines dropped") && (lines = strstr(line, " lines=")) != NULL)
            counts[1] += strtoull(lines + 7, NULL, 10);
        else
            counts[0]++;
    }
    free(line);
    fclose(stream);
    return counts;
}

static void a_stalled_reader_stalls_nobody_and_is_told_what_it_missed(void **state)
{
    static char text[1000];
    uint64_t sent = 0, *counts;
    pthread_t reader;
    int end = stall();
    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    uint64_t before = eg_log_dropped();
    assert_int_equal(eg_log_start(), 0);
    for (; eg_log_dropped() < before + 100 && sent < 100000; sent++)
        eg_log(EG_LOG_INFO, "much", EG_LOG_STR("text", text)); /* would hang if it waited for the reader */
    uint64_t dropped = eg_log_dropped() - before;
    assert_int_equal(dropped, 100);
    assert_true(sent > 500); /* there is a queue */
    assert_int_equal(pthread_create(&reader, NULL, count_lines, &end), 0);
    eg_log_stop();
    dup2(real_stderr, STDERR_FILENO); /* closes the pipe: the reader ends */
    pthread_join(reader, (void **)&counts);
    assert_int_equal(counts[0], sent - dropped);
    assert_int_equal(counts[1], dropped);
}

/* In a process of its own: the writing thread stays in write() for good. */
static void stop_with_nobody_reading(void)
{
    static char text[1000];
    memset(text, 'x', sizeof(text) - 1);
    stall();
    if (eg_log_start() != 0)
        _exit(2);
    for (int i = 0; i < 100; i++)
        eg_log(EG_LOG_INFO, "much", EG_LOG_STR("text", text));
    int64_t began_ms = monotonic_ms();
    eg_log_stop();
    int64_t took_ms = monotonic_ms() - began_ms;
    _exit(took_ms >= 900 && took_ms < 10000 ? 0 : 1);
}

static void the_stop_waits_a_second_for_a_stalled_reader(void **state)
{
    int status;
    (void)state;
    pid_t child = fork();
    if (child == 0)
        stop_with_nobody_reading();
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_reader_that_has_gone_is_no_reason_to_hang(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    close(stall());
    eg_log(EG_LOG_INFO, "to nobody");
    assert_int_equal(eg_log_start(), 0);
    eg_log(EG_LOG_INFO, "to nobody");
    eg_log_stop();
}

static void a_pipe_that_does_not_block_gets_every_line(void **state)
{
    uint64_t *counts;
    pthread_t reader;
    int end = stall();
    (void)state;
    fcntl(STDERR_FILENO, F_SETFL, fcntl(STDERR_FILENO, F_GETFL) | O_NONBLOCK);
    assert_int_equal(pthread_create(&reader, NULL, count_lines, &end), 0);
    assert_int_equal(eg_log_start(), 0);
    for (int i = 0; i < LINES; i++)
        eg_log(EG_LOG_INFO, "line of some length, so that the pipe of one page is filled many times");
    eg_log_stop();
    dup2(real_stderr, STDERR_FILENO);
    pthread_join(reader, (void **)&counts);
    assert_int_equal(counts[0], LINES);
}

#define CAPTURED(test) cmocka_unit_test_setup_teardown(test, capture, restore)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CAPTURED(a_text_line),
        CAPTURED(the_time_is_utc_with_milliseconds),
        CAPTURED(values_that_could_be_misread_are_quoted),
        CAPTURED(what_a_terminal_may_obey_is_escaped),
        CAPTURED(a_field_without_value_is_left_out),
        CAPTURED(a_json_line),
        CAPTURED(bytes_that_are_not_utf8_do_not_break_the_line),
        CAPTURED(lines_above_the_level_are_left_out),
        CAPTURED(the_thread_writes_whole_lines_in_the_order_of_each_caller),
        CAPTURED(after_the_stop_lines_are_written_directly_and_it_can_start_again),
        CAPTURED(a_stalled_reader_stalls_nobody_and_is_told_what_it_missed),
        CAPTURED(the_stop_waits_a_second_for_a_stalled_reader),
        CAPTURED(a_reader_that_has_gone_is_no_reason_to_hang),
        CAPTURED(a_pipe_that_does_not_block_gets_every_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

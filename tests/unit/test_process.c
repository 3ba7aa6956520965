/* What the kernel says of this very process. */
#include "eventgate/process.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void descriptors_are_counted_with_a_low_limit(void **state)
{
    struct rlimit limit, low;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int64_t count = eg_process_count_descriptors(128);
    low = (struct rlimit){100, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_true(count >= 3);
    assert_int_equal(eg_process_count_descriptors(128), count);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void it_tells_memory_descriptors_and_time(void **state)
{
    enum { OPENED = 100, BYTES = 64 << 20 };
    struct eg_metrics *metrics = eg_metrics_new(NULL);
    struct rlimit limit;
    int opened[OPENED];
    (void)state;
    eg_process_measure(metrics, 1234000000);
    int64_t memory = eg_metrics_sum(EG_METRIC_MEMORY), descriptors = eg_metrics_sum(EG_METRIC_OPEN_FDS),
            processor_us = eg_metrics_sum(EG_METRIC_CPU);
    assert_true(memory > 1000000 && eg_metrics_sum(EG_METRIC_VIRTUAL_MEMORY) > memory);
    assert_true(descriptors >= 3 && processor_us > 0);
    assert_int_equal(eg_metrics_sum(EG_METRIC_START_TIME), 1234000000);
    assert_int_equal(eg_metrics_sum(EG_METRIC_BUILD), 1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(eg_metrics_sum(EG_METRIC_MAX_FDS), limit.rlim_cur);
    volatile char *used = malloc(BYTES);
    assert_non_null(used);
    memset((void *)(uintptr_t)used, 1, BYTES);
    for (int i = 0; i < OPENED; i++)
        assert_true((opened[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
    eg_process_measure(metrics, 1234000000);
    assert_true(eg_metrics_sum(EG_METRIC_MEMORY) > memory + BYTES / 2);
    assert_int_equal(eg_metrics_sum(EG_METRIC_OPEN_FDS), descriptors + OPENED);
    assert_int_equal(eg_process_count_descriptors(1000), descriptors + OPENED);
    assert_int_equal(eg_process_count_descriptors(2), 2);
    assert_true(eg_metrics_sum(EG_METRIC_CPU) > processor_us);
    for (int i = 0; i < OPENED; i++)
        close(opened[i]);
    free((void *)(uintptr_t)used);
    eg_metrics_free(metrics);
}

/* Exits with the number of the first one that isn't as it should be, 0 if there is none. */
static void close_and_fill(unsigned closed)
{
    char byte = 'x';
    for (int fd = 0; fd <= 2; fd++)
        if (closed & (1u << fd))
            close(fd);
    if (eg_process_fill_standard() != 0)
        _exit(100);
    for (int fd = 0; fd <= 2; fd++) {
        ssize_t done = fd == 0 ? read(fd, &byte, 0) : write(fd, &byte, 0);
        if ((closed & (1u << fd)) ? done >= 0 || errno != EBADF || fcntl(fd, F_GETFD) != 0 : done < 0)
            _exit(fd + 1);
    }
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    _exit(next > 2 ? 0 : 101);
}

static void closed_standard_descriptors_are_taken_and_of_no_use(void **state)
{
    (void)state;
    for (unsigned closed = 0; closed < 8; closed++) {
        int status;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            close_and_fill(closed);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_are_counted_with_a_low_limit),
        cmocka_unit_test(it_tells_memory_descriptors_and_time),
        cmocka_unit_test(closed_standard_descriptors_are_taken_and_of_no_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Threads that signals are not given to: what is blocked in them, and that the caller's own mask stays. */
#include "eventgate/quiet_thread.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>

#include <cmocka.h>

static void *note_mask(void *context)
{
    pthread_sigmask(SIG_SETMASK, NULL, context);
    return NULL;
}

static void only_its_own_faults_reach_it(void **state)
{
    static const int blocked[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2, SIGCHLD, SIGPIPE, SIGABRT};
    static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    (void)state;
    pthread_t thread;
    sigset_t mask;
    sigemptyset(&mask);
    assert_int_equal(eg_quiet_thread_start(&thread, NULL, note_mask, &mask), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(blocked); i++)
        assert_int_equal(sigismember(&mask, blocked[i]), 1);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(open); i++)
        assert_int_equal(sigismember(&mask, open[i]), 0);
}

static void the_callers_mask_stays(void **state)
{
    (void)state;
    pthread_t thread;
    sigset_t own, mask;
    sigemptyset(&own);
    sigaddset(&own, SIGUSR1);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &own, NULL), 0);
    assert_int_equal(eg_quiet_thread_start(&thread, NULL, note_mask, &mask), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    note_mask(&mask);
    assert_int_equal(sigismember(&mask, SIGUSR1), 1);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_its_own_faults_reach_it),
        cmocka_unit_test(the_callers_mask_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

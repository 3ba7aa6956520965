#include "eventgate/quiet_thread.h"

#include <signal.h>

int eg_quiet_thread_start(pthread_t *ret_thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    sigset_t quiet, before;
    sigfillset(&quiet);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(faults); i++)
        sigdelset(&quiet, faults[i]);
    int error = pthread_sigmask(SIG_SETMASK, &quiet, &before);
    if (error)
        return -error;
    error = pthread_create(ret_thread, attributes, run, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}

/* Threads that signals are not given to. */
#ifndef EG_QUIET_THREAD_H
#define EG_QUIET_THREAD_H

#include <pthread.h>

#include "eventgate/common.h"

/*
 * pthread_create() with all signals blocked in the new thread but those that a fault of its own raises (SIGSEGV and the
 * like), which a sanitizer's handler is to see. `attributes` may be NULL. 0, or -errno. Any thread.
 */
EG_MUST_CHECK int eg_quiet_thread_start(pthread_t *ret_thread, const pthread_attr_t *attributes, void *(*run)(void *),
                                        void *context);

#endif

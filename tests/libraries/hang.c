/*
 * For LD_PRELOAD: a thread that hangs. As soon as the file HANG_WHEN exists, the thread named HANG_THREAD ("worker 0",
 * "postgres", "pg_eventgate") doesn't come back from waiting for events.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static void hang_if_told(void)
{
    const char *when = getenv("HANG_WHEN"), *thread = getenv("HANG_THREAD");
    char name[16] = "";
    if (!when || !thread || access(when, F_OK) != 0)
        return;
    pthread_getname_np(pthread_self(), name, sizeof(name));
    while (strcmp(name, thread) == 0)
        pause();
}

__attribute__((visibility("default"))) int epoll_wait(int fd, struct epoll_event *events, int most, int timeout_ms)
{
    int (*wait)(int, struct epoll_event *, int, int);
    *(void **)&wait = dlsym(RTLD_NEXT, "epoll_wait");
    int count = wait(fd, events, most, timeout_ms);
    hang_if_told();
    return count;
}

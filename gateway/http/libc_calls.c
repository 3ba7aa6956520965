/*
 * libc's own functions, found behind the program's.
 */
#include "eventgate/libc_calls.h"

#include <dlfcn.h>

/* The next definition of the name behind the program's own. */
static void *next_function(void *_Atomic *cache, const char *name)
{
    void *function = *cache;
    if (!function)
        *cache = function = dlsym(RTLD_NEXT, name);
    return function;
}

ssize_t eg_libc_recv(int fd, void *buffer, size_t length, int flags)
{
    static void *_Atomic cache;
    ssize_t (*function)(int, void *, size_t, int);
    *(void **)&function = next_function(&cache, "recv");
    return function(fd, buffer, length, flags);
}

ssize_t eg_libc_send(int fd, const void *data, size_t length, int flags)
{
    static void *_Atomic cache;
    ssize_t (*function)(int, const void *, size_t, int);
    *(void **)&function = next_function(&cache, "send");
    return function(fd, data, length, flags);
}

ssize_t eg_libc_sendmsg(int fd, const struct msghdr *message, int flags)
{
    static void *_Atomic cache;
    ssize_t (*function)(int, const struct msghdr *, int);
    *(void **)&function = next_function(&cache, "sendmsg");
    return function(fd, message, flags);
}

/*
 * Linked into the gateway: malloc() and its like, of the program and of every library that it loads, which fail when
 * they are told to. The test tells them through a file that both have mapped (EVENTGATE_TORTURE=PATH): allocations are
 * counted from when it is armed, and those from `first` to `last` fail. What called the one that failed last is noted.
 *
 * libpq 15 drops a notification for which it gets no memory, which nobody can notice. The gateway makes sure beforehand
 * that there is some (EG_NOTIFICATIONS_MEMORY_BYTES), and so do we: behind such a block, libpq's allocations don't
 * fail, up to the next one of somebody else in that thread.
 *
 * A strong symbol in the program is before that of any library, and before AddressSanitizer's weak one.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "eventgate/connection.h"

#ifdef EG_ADDRESS_SANITIZER
#define REAL(function) __interceptor_##function
#else
#define REAL(function) __libc_##function
#endif

#define CALLERS 24u

/* allocations.py knows the layout. */
struct control {
    _Atomic uint64_t first, last; /* which fail; 0: none is counted, and none fails */
    _Atomic uint64_t seen;        /* since `first` was set */
    _Atomic uint64_t failed;      /* since then */
    char thread[16];              /* only on threads whose name begins so */
    uint64_t callers[CALLERS];    /* addresses, of the last one that failed */
};

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t count, size_t size);
void *REAL(realloc)(void *old, size_t size);
void *REAL(memalign)(size_t alignment, size_t size);

static struct control *control;
static struct {
    uintptr_t from, to;
} libpq;
static _Thread_local size_t promised; /* to libpq */

/* AddressSanitizer ends the process where this has no memory in a thread that begins. */
static int (*real_getattr)(pthread_t thread, pthread_attr_t *attributes);
static _Thread_local bool sparing;

int pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes)
{
    if (!real_getattr) /* before any constructor */
        *(void **)&real_getattr = dlsym(RTLD_NEXT, "pthread_getattr_np");
    sparing = true;
    int error = real_getattr(thread, attributes);
    sparing = false;
    return error;
}

static int find_libpq(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size, (void)context;
    if (!strstr(info->dlpi_name, "/libpq.so"))
        return 0;
    for (size_t i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
            libpq.from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
            libpq.to = libpq.from + info->dlpi_phdr[i].p_memsz;
        }
    return 1;
}

__attribute__((constructor)) static void map_control(void)
{
    const char *path = getenv("EVENTGATE_TORTURE");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *callers[1];
    dl_iterate_phdr(find_libpq, NULL);
    backtrace(callers, 1); /* loads what it needs */
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        control = mapped;
}

static bool is_of_thread(void)
{
    char name[16] = "";
    if (control->thread[0] == '\0')
        return true;
    prctl(PR_GET_NAME, name);
    return strncmp(name, control->thread, strlen(control->thread)) == 0;
}

static bool is_promised(size_t size, uintptr_t caller)
{
    if (promised >= size && caller >= libpq.from && caller < libpq.to) {
        promised -= size;
        return true;
    }
    promised = 0;
    return false;
}

/* Is it this one's turn? */
__attribute__((noinline)) static bool fails(size_t size, const void *caller)
{
    uint64_t first = control ? atomic_load(&control->first) : 0;
    if (first == 0 || sparing || !is_of_thread() || is_promised(size, (uintptr_t)caller))
        return false;
    uint64_t number = atomic_fetch_add(&control->seen, 1) + 1;
    if (number < first || number > atomic_load(&control->last))
        return false;
    void *callers[CALLERS + 1];
    int count = backtrace(callers, CALLERS + 1);
    for (int i = 0; i < (int)CALLERS; i++) /* without this function */
        control->callers[i] = i + 1 < count ? (uintptr_t)callers[i + 1] : 0;
    atomic_fetch_add(&control->failed, 1);
    errno = ENOMEM;
    return true;
}

#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
    void *memory = fails(size, CALLER) ? NULL : REAL(malloc)(size);
    if (memory && size == EG_NOTIFICATIONS_MEMORY_BYTES)
        promised = size;
    return memory;
}

void *calloc(size_t count, size_t size)
{
    return fails(count * size, CALLER) ? NULL : REAL(calloc)(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(size, CALLER) ? NULL : REAL(realloc)(old, size);
}

void *reallocarray(void *old, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return fails(bytes, CALLER) ? NULL : REAL(realloc)(old, bytes);
}

void *memalign(size_t alignment, size_t size)
{
    return fails(size, CALLER) ? NULL : REAL(memalign)(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(size, CALLER) ? NULL : REAL(memalign)(alignment, size);
}

int posix_memalign(void **ret_memory, size_t alignment, size_t size)
{
    void *memory = fails(size, CALLER) ? NULL : REAL(memalign)(alignment, size);
    if (!memory)
        return ENOMEM;
    *ret_memory = memory;
    return 0;
}

static char *duplicate(const char *text, size_t length, const void *caller)
{
    char *copy = fails(length + 1, caller) ? NULL : REAL(malloc)(length + 1);
    if (copy) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}

char *strndup(const char *text, size_t length)
{
    return duplicate(text, strnlen(text, length), CALLER);
}

char *strdup(const char *text)
{
    return duplicate(text, strlen(text), CALLER);
}

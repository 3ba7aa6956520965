/*
 * Linked into the gateway: malloc() and its like, of the program and of every library that it loads, which fail when
 * they are told to. The test tells them through a file that both have mapped (EVENTGATE_TORTURE=PATH): allocations are
 * counted from when it is armed, and those from `first` to `last` fail. What called the one that failed last is noted.
 *
 * Some libraries don't bear it. libpq 15 drops a notification for which it gets no memory, which nobody can notice;
 * libtasn1, and Nettle with GMP, which GnuTLS works with, crash or end the process. The gateway makes sure beforehand
 * that there is some (EG_NOTIFICATIONS_MEMORY_BYTES, EG_TLS_MEMORY_BYTES), and so do we: behind such a block, their
 * allocations in that thread don't fail. libpq's up to the next one of somebody else; those of the others as long as
 * the function of the gateway runs that has made sure. GnuTLS's own fail, but for those that it makes for GMP.
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
#include "eventgate/tls.h"
#include "eventgate/wire.h"

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
enum library { LIBPQ, LIBTASN1, LIBGMP, LIBHOGWEED, LIBGNUTLS };
static struct {
    const char *path;
    uintptr_t from, to;
} libraries[] = {[LIBPQ] = {.path = "/libpq.so"},
                 [LIBTASN1] = {.path = "/libtasn1.so"},
                 [LIBGMP] = {.path = "/libgmp.so"},
                 [LIBHOGWEED] = {.path = "/libhogweed.so"},
                 [LIBGNUTLS] = {.path = "/libgnutls.so"}};
static _Thread_local size_t promised_libpq;
static _Thread_local bool promised_tls;

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

static int find_library(struct dl_phdr_info *info, size_t size, void *context)
{
    (void)size, (void)context;
    for (size_t l = 0; l < EG_ARRAY_LENGTH(libraries); l++)
        for (size_t i = 0; strstr(info->dlpi_name, libraries[l].path) && i < info->dlpi_phnum; i++)
            if (info->dlpi_phdr[i].p_type == PT_LOAD && info->dlpi_phdr[i].p_flags & PF_X) {
                libraries[l].from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
                libraries[l].to = libraries[l].from + info->dlpi_phdr[i].p_memsz;
            }
    return 0;
}

__attribute__((constructor)) static void map_control(void)
{
    const char *path = getenv("EVENTGATE_TORTURE");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *callers[1];
    dl_iterate_phdr(find_library, NULL);
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

static bool is_in(enum library library, const void *address)
{
    return (uintptr_t)address >= libraries[library].from && (uintptr_t)address < libraries[library].to;
}

static bool is_frail(const void *caller)
{
    return is_in(LIBTASN1, caller) || is_in(LIBGMP, caller) || is_in(LIBHOGWEED, caller);
}

/* By itself, or by the function of GnuTLS's that allocates for GMP. */
__attribute__((noinline)) static bool is_for_frail(const void *caller)
{
    void *callers[6];
    bool found = is_frail(caller);
    int count = is_in(LIBGNUTLS, caller) ? backtrace(callers, EG_ARRAY_LENGTH(callers)) : 0;
    for (int i = 0; i < count; i++)
        found = found || is_frail(callers[i]);
    return found;
}

static bool is_promised(size_t size, const void *caller)
{
    bool of_libpq = is_in(LIBPQ, caller) && promised_libpq >= size;
    promised_libpq = of_libpq ? promised_libpq - size : 0;
    return of_libpq || (promised_tls && is_for_frail(caller));
}

/* Is it this one's turn? */
__attribute__((noinline)) static bool fails(size_t size, const void *caller)
{
    uint64_t first = control ? atomic_load(&control->first) : 0;
    if (first == 0 || sparing || !is_of_thread() || is_promised(size, caller))
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
        promised_libpq = size;
    if (memory && size == EG_TLS_MEMORY_BYTES)
        promised_tls = true;
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

/* The linker puts these before the gateway's own. */
int __real_eg_wire_handshake(struct eg_wire *wire, uint32_t *ret_events, const char **ret_problem);
int __wrap_eg_wire_handshake(struct eg_wire *wire, uint32_t *ret_events, const char **ret_problem);
int __real_eg_tls_load(const char *certificate, const char *key, struct eg_tls **ret_tls, struct eg_error *ret_error);
int __wrap_eg_tls_load(const char *certificate, const char *key, struct eg_tls **ret_tls, struct eg_error *ret_error);

int __wrap_eg_wire_handshake(struct eg_wire *wire, uint32_t *ret_events, const char **ret_problem)
{
    int result = __real_eg_wire_handshake(wire, ret_events, ret_problem);
    promised_tls = false;
    return result;
}

int __wrap_eg_tls_load(const char *certificate, const char *key, struct eg_tls **ret_tls, struct eg_error *ret_error)
{
    int result = __real_eg_tls_load(certificate, key, ret_tls, ret_error);
    promised_tls = false;
    return result;
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

/*
 * The calls that libraries make on clients' descriptors.
 */
#include "eventgate/client_calls.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "eventgate/libc_calls.h"

static _Atomic(struct eg_client *) *table;
static size_t table_size;
static _Thread_local uint64_t reads;

/* Before main(): there are no threads yet. */
__attribute__((constructor)) static void make_table(void)
{
    struct rlimit limit;
    size_t size = 65536;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max != RLIM_INFINITY && limit.rlim_max < (1u << 20))
        size = (size_t)limit.rlim_max;
    table = calloc(size, sizeof(*table));
    table_size = table ? size : 0;
}

bool eg_client_has_room(int fd)
{
    return fd >= 0 && (size_t)fd < table_size;
}

void eg_client_enter(int fd, struct eg_client *client)
{
    atomic_store_explicit(&table[fd], client, memory_order_relaxed);
}

struct eg_client *eg_client_find(int fd)
{
    return eg_client_has_room(fd) ? atomic_load_explicit(&table[fd], memory_order_relaxed) : NULL;
}

uint64_t eg_client_reads(void)
{
    return reads;
}

static ssize_t with_errno(ssize_t result)
{
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

__attribute__((visibility("default"))) ssize_t recv(int fd, void *buffer, size_t length, int flags)
{
    struct eg_client *client = eg_client_find(fd);
    if (!client)
        return eg_libc_recv(fd, buffer, length, flags);
    reads++;
    return with_errno(eg_client_read(client, buffer, length));
}

/* The client whose bytes are not to go out as they are. */
static struct eg_client *client_of_tls(int fd)
{
    struct eg_client *client = eg_client_find(fd);
    return client && client->wire.tls ? client : NULL;
}

__attribute__((visibility("default"))) ssize_t send(int fd, const void *data, size_t length, int flags)
{
    struct eg_client *client = client_of_tls(fd);
    const struct iovec part = {(void *)(uintptr_t)data, length};
    if (!client)
        return eg_libc_send(fd, data, length, flags);
    return with_errno(eg_wire_offer(&client->wire, &part, 1));
}

__attribute__((visibility("default"))) ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct eg_client *client = client_of_tls(fd);
    if (!client)
        return eg_libc_sendmsg(fd, message, flags);
    return with_errno(eg_wire_offer(&client->wire, message->msg_iov, message->msg_iovlen));
}

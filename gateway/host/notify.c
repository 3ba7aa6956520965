/*
 * The protocol of sd_notify(3) and sd_watchdog_enabled(3).
 */
#include "eventgate/notify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int eg_notify_open(struct eg_notify *ret_notify)
{
    struct eg_notify notify = {.fd = -1, .address = {.sun_family = AF_UNIX}};
    const char *path = getenv("NOTIFY_SOCKET");
    size_t length = path ? strlen(path) : 0;
    *ret_notify = notify;
    if (length == 0)
        return 0;
    if ((path[0] != '/' && path[0] != '@') || length >= sizeof(notify.address.sun_path))
        return -EAFNOSUPPORT;
    memcpy(notify.address.sun_path, path, length);
    if (path[0] == '@')
        notify.address.sun_path[0] = '\0'; /* an abstract name, which ends with the address */
    notify.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    notify.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (notify.fd < 0)
        return -errno;
    *ret_notify = notify;
    return 0;
}

void eg_notify_close(struct eg_notify *notify)
{
    if (notify->fd >= 0)
        close(notify->fd);
    notify->fd = -1;
}

int eg_notify_send(const struct eg_notify *notify, const char *state)
{
    if (notify->fd < 0)
        return 0;
    ssize_t sent = sendto(notify->fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&notify->address,
                          notify->length);
    return sent < 0 ? -errno : 0;
}

uint64_t eg_notify_watchdog_ms(void)
{
    const char *pid = getenv("WATCHDOG_PID"), *usec = getenv("WATCHDOG_USEC");
    char *end;
    if (!usec || *usec < '0' || *usec > '9' || (pid && strtol(pid, NULL, 10) != (long)getpid()))
        return 0;
    uint64_t ms = strtoull(usec, &end, 10) / 1000;
    return *end == '\0' ? ms : 0;
}

/*
 * How many descriptors there are, and so how many connections there may be.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "eventgate/gateway.h"
#include "eventgate/gateway_internal.h"
#include "eventgate/log.h"

/* Descriptors beside the clients' connections: of the process, of a set (its connections to PostgreSQL, each with
 * another while it is being made), and of a worker (its loop, libmicrohttpd's) beside its listening sockets. */
#define OWN_DESCRIPTORS UINT64_C(32)
#define SET_DESCRIPTORS UINT64_C(16)
#define WORKER_DESCRIPTORS UINT64_C(8)
/* A stream has two while it is being taken: so many, or a quarter, may be at the same time. */
#define TAKING_DESCRIPTORS UINT64_C(512)

static uint64_t reserved_descriptors(const struct eg_config *config)
{
    return OWN_DESCRIPTORS + config->set_count * SET_DESCRIPTORS +
           config->workers * (WORKER_DESCRIPTORS + config->listen.count + config->admin_listen.count);
}

uint64_t eg_gateway_room(const struct eg_config *config, uint64_t open_files)
{
    uint64_t reserved = reserved_descriptors(config);
    if (open_files < reserved + EG_LEAST_CONNECTIONS)
        return 0;
    uint64_t room = open_files - reserved;
    return room - (room / 4 < TAKING_DESCRIPTORS ? room / 4 : TAKING_DESCRIPTORS);
}

int eg_gateway_fit_connections(struct eg_config *config)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    uint64_t room = eg_gateway_room(config, limit.rlim_cur);
    if (room == 0) {
        eg_log(EG_LOG_ERROR, "the limit of open files is too low (ulimit -n)", EG_LOG_INT("open_files", limit.rlim_cur),
               EG_LOG_INT("needed", reserved_descriptors(config) + EG_LEAST_CONNECTIONS));
        return -EMFILE;
    }
    if (config->settings.max_connections <= room)
        return 0;
    eg_log(EG_LOG_WARN, "max_connections lowered to what the limit of open files allows (ulimit -n)",
           EG_LOG_INT("max_connections", room), EG_LOG_INT("open_files", limit.rlim_cur));
    config->settings.max_connections = (uint32_t)room;
    return 0;
}

void eg_gateway_raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        eg_log(EG_LOG_WARN, "the limit of open files cannot be raised", EG_LOG_STR("error", strerror(errno)));
}

void eg_gateway_widen_descriptors(const struct eg_config *config)
{
    struct rlimit limit;
    uint64_t needed = reserved_descriptors(config) + TAKING_DESCRIPTORS + config->settings.max_connections;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    uint64_t last = (needed < limit.rlim_cur ? needed : limit.rlim_cur) - 1;
    /* A number that is free from there on; where there is none, the table is as large as it may be. */
    int fd = last < INT_MAX ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, (int)last) : -1;
    if (fd >= 0)
        close(fd);
}

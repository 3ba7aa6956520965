/*
 * Listening sockets: inherited (systemd's protocol, sd_listen_fds(3): LISTEN_PID, LISTEN_FDS from descriptor 3 on),
 * else opened by us, one for each address and worker with SO_REUSEPORT. An inherited socket is watched by all workers
 * (EPOLLEXCLUSIVE). They stay open in one place, so that an upgrade can hand them over.
 */
#ifndef EG_LISTENING_H
#define EG_LISTENING_H

#include "eventgate/common.h"

struct eg_listening_socket {
    int fd;           /* non-blocking, close-on-exec */
    int worker;       /* the worker it is for, or -1: all */
    char address[64]; /* as bound, "127.0.0.1:8080" */
};

struct eg_listening {
    struct eg_listening_socket *sockets; /* owned */
    size_t count;
};

/* Opens (or inherits) all sockets. Addresses: "HOST:PORT" with a numeric IPv4 or [IPv6] host, ":PORT" for all
 * addresses, port 0 for any (the same one on all workers). -EINVAL or the system's errno, with a sentence that names
 * the address. Main thread, at start. */
int eg_listening_open(char *const *addresses, size_t count, uint32_t workers, struct eg_listening *ret_listening,
                      struct eg_error *ret_error) EG_MUST_CHECK;

/* NULL if it is an address that eg_listening_open() understands, else what is wrong. */
const char *eg_listening_problem(const char *address);
void eg_listening_close(struct eg_listening *listening);

#endif

/*
 * Listening sockets: inherited (systemd's protocol, sd_listen_fds(3): LISTEN_PID, LISTEN_FDS from descriptor 3 on),
 * else opened by us, one for each address and worker with SO_REUSEPORT. An inherited socket is watched by all workers
 * (EPOLLEXCLUSIVE), and one of TLS if its name (LISTEN_FDNAMES, FileDescriptorName=) is "tls". They stay open in one
 * place, so that an upgrade can hand them over.
 */
#ifndef EG_LISTENING_H
#define EG_LISTENING_H

#include <stdbool.h>

#include "eventgate/common.h"

struct eg_listening_socket {
    int fd;     /* non-blocking, close-on-exec */
    int worker; /* the worker it is for, or -1: all */
    bool admin; /* what operators ask is served there without a token */
    bool local; /* nobody outside of this machine reaches it: loopback, or no network at all */
    bool tls;
    char address[64]; /* as bound, "127.0.0.1:8080" */
};

struct eg_listening {
    struct eg_listening_socket *sockets; /* owned */
    size_t count;
};

/* Opens (or inherits) all sockets. Addresses: "HOST:PORT" with a numeric IPv4 or [IPv6] host, ":PORT" for all
 * addresses, port 0 for any (the same one on all workers); with "tls:" in front, of TLS. -EINVAL or the system's errno,
 * with a sentence that names the address. Main thread, at start. */
int eg_listening_open(char *const *addresses, size_t count, uint32_t workers, struct eg_listening *ret_listening,
                      struct eg_error *ret_error) EG_MUST_CHECK;

/* Opens more of them, for operators, behind those that are there. Never inherited. */
int eg_listening_open_admin(char *const *addresses, size_t count, uint32_t workers, struct eg_listening *listening,
                            struct eg_error *ret_error) EG_MUST_CHECK;

/* Is it (valid) one that nobody outside of this machine reaches? */
bool eg_listening_is_local(const char *address);
/* Will eg_listening_open() inherit sockets, whatever the addresses? */
bool eg_listening_inherits(void);

/* Is it an address of TLS? */
bool eg_listening_is_tls(const char *address);

/* Are any of those that would be opened, or inherited, of TLS? */
bool eg_listening_need_tls(char *const *addresses, size_t count);

/* NULL if it is an address that eg_listening_open() understands, else what is wrong. */
const char *eg_listening_problem(const char *address);
void eg_listening_close(struct eg_listening *listening);

#endif

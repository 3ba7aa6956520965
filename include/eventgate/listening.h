/*
 * Listening sockets: inherited (systemd's protocol, sd_listen_fds(3): LISTEN_PID, LISTEN_FDS from descriptor 3 on),
 * else opened by us, one for each address and worker with SO_REUSEPORT. An inherited socket is watched by all workers
 * (EPOLLEXCLUSIVE), and one of TLS if its name (LISTEN_FDNAMES, FileDescriptorName=) is "tls".
 *
 * They stay open in one place, from which an upgrade hands them over (successor.h), by the same protocol: the names
 * then say what each of them is, the last descriptor is no socket but leads to the process that hands over, and instead
 * of LISTEN_PID, which nobody knows before the process is there, EG_HANDED_OVER_BY names its parent. What was handed
 * over for an address of the configuration takes the place of opening it: no connection that waits in it is lost. It
 * goes on belonging to its worker, or, if the number of workers has changed, to all. What is no longer wanted is
 * closed.
 */
#ifndef EG_LISTENING_H
#define EG_LISTENING_H

#include <stdbool.h>

#include "eventgate/buffer.h"
#include "eventgate/common.h"

/* The first descriptor that is passed on. */
#define EG_FIRST_INHERITED_FD 3
/* The environment variable with the process that hands its sockets over, to its child. */
#define EG_HANDED_OVER_BY "EVENTGATE_HANDED_OVER_BY"

struct eg_listening_socket {
    int fd;     /* non-blocking, close-on-exec */
    int worker; /* the worker it is for, or -1: all */
    bool admin; /* what operators ask is served there without a token */
    bool local; /* nobody outside of this machine reaches it: loopback, or no network at all */
    bool tls;
    bool given;       /* by a service manager: `listen` doesn't count */
    char address[64]; /* as bound, "127.0.0.1:8080" */
};

struct eg_listening {
    struct eg_listening_socket *sockets; /* owned */
    size_t count;
    struct eg_listening_socket *left; /* handed over, and not claimed yet */
    size_t left_count;
    int predecessor; /* leads to the process that hands over (predecessor.h); 0: there is none */
};

/* Opens (or inherits) all sockets. Addresses: "HOST:PORT" with a numeric IPv4 or [IPv6] host, ":PORT" for all
 * addresses, port 0 for any (the same one on all workers); with "tls:" in front, of TLS. -EINVAL or the system's errno,
 * with a sentence that names the address. Main thread, at start. */
int eg_listening_open(char *const *addresses, size_t count, uint32_t workers, struct eg_listening *ret_listening,
                      struct eg_error *ret_error) EG_MUST_CHECK;

/* Opens more of them, for operators, behind those that are there; of inherited ones, only those that were handed over
 * are claimed. Closes what is left of these. */
int eg_listening_open_admin(char *const *addresses, size_t count, uint32_t workers, struct eg_listening *listening,
                            struct eg_error *ret_error) EG_MUST_CHECK;

/* Is it (valid) one that nobody outside of this machine reaches? */
bool eg_listening_is_local(const char *address);
/* Will eg_listening_open() inherit sockets of a service manager, whatever the addresses? */
bool eg_listening_inherits(void);

/* Is it an address of TLS? */
bool eg_listening_is_tls(const char *address);

/* Are any of those that would be opened, or inherited, of TLS? */
bool eg_listening_need_tls(char *const *addresses, size_t count);

/* NULL if it is an address that eg_listening_open() understands, else what is wrong. */
const char *eg_listening_problem(const char *address);

/* Appends the names under which all of them are handed over, and that of the descriptor behind them. */
void eg_listening_names(const struct eg_listening *listening, struct eg_buffer *names);

/* Closes all of them, and `predecessor`. */
void eg_listening_close(struct eg_listening *listening);

#endif

/*
 * What a service manager is told: sd_notify(3)'s protocol, one datagram of NAME=VALUE lines to the socket that
 * NOTIFY_SOCKET names. Spoken here and not by libsystemd, because it is a dozen lines that systemd promises to keep,
 * the library would bring its decompressors into a process that faces the network, and its send may block.
 */
#ifndef EG_NOTIFY_H
#define EG_NOTIFY_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "eventgate/common.h"

/* Any thread may send; opened and closed by one. */
struct eg_notify {
    int fd; /* -1: there is nobody to tell */
    socklen_t length;
    struct sockaddr_un address;
};

#define EG_NOTIFY_INIT ((struct eg_notify){.fd = -1})

/* Where NOTIFY_SOCKET says, which stays in the environment. 0, also if it isn't set; -EAFNOSUPPORT: it is neither a
 * path nor an abstract name ("@..."); else the system's errno. */
int eg_notify_open(struct eg_notify *ret_notify) EG_MUST_CHECK;
void eg_notify_close(struct eg_notify *notify);

/* Sends `state`, lines without a last line break: "READY=1\nSTATUS=serving", "MAINPID=42". Never blocks: -EAGAIN if the
 * manager's queue is full, or the system's errno; 0 if there is nobody to tell. */
int eg_notify_send(const struct eg_notify *notify, const char *state);

/* How often at least WATCHDOG=1 is expected of this process, in ms; 0: it isn't. From WATCHDOG_USEC, unless
 * WATCHDOG_PID is another process: who hands over to another one takes that out of its environment. */
uint64_t eg_notify_watchdog_ms(void);

#endif

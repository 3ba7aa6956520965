/*
 * recv(), send() and sendmsg() of libc itself, for those who stand below the ones that the program defines
 * (client_calls.h). Any thread.
 */
#ifndef EG_LIBC_CALLS_H
#define EG_LIBC_CALLS_H

#include <sys/socket.h>

ssize_t eg_libc_recv(int fd, void *buffer, size_t length, int flags);
ssize_t eg_libc_send(int fd, const void *data, size_t length, int flags);
ssize_t eg_libc_sendmsg(int fd, const struct msghdr *message, int flags);

#endif

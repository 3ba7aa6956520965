/*
 * recv(), send() and sendmsg() as this program's libraries see them, for libmicrohttpd's sake: on the descriptor of a
 * client they read through the intake's check, and write through the client's TLS session if it has one; on any other
 * they are libc's. To find the client there is a table of the whole process: a descriptor belongs to one worker at a
 * time, so its entry is only written and followed on that worker's thread.
 */
#ifndef EG_CLIENT_CALLS_H
#define EG_CLIENT_CALLS_H

#include "eventgate/intake.h"

/* Has the table a place for that descriptor? */
bool eg_client_has_room(int fd);

/* The calls on `fd`, for which there is room, are the client's from now on; NULL: libc's. */
void eg_client_enter(int fd, struct eg_client *client);

/* The client of a descriptor, or NULL. */
struct eg_client *eg_client_find(int fd);

/* Reads of clients' sockets that recv(), as this program's libraries see it, has made on this thread. */
uint64_t eg_client_reads(void);

#endif

/*
 * What the files of the listening module share: listening.c (addresses, opening), listening_inherited.c (descriptors
 * that whoever started the program has passed on). For nobody else.
 */
#ifndef EG_LISTENING_INTERNAL_H
#define EG_LISTENING_INTERNAL_H

#include <sys/socket.h>

#include "eventgate/listening.h"

/* listening.c */

bool eg_listening_is_local_address(const struct sockaddr_storage *address);
void eg_listening_format(const struct sockaddr_storage *address, char *text, size_t size);
/* Writes the sentence "ADDRESS: cannot WHAT: ...". Returns -number. */
int eg_listening_failed(struct eg_error *error, const char *address, const char *what, int number);

/* listening_inherited.c */

/* Takes all descriptors that were passed to this process: `sockets` those of a service manager, `left` those of the
 * process before this one that it had opened itself, and `predecessor`. 0, also if there are none; -EINVAL, -ENOMEM.
 * Nobody who is started from here finds them any more. */
int eg_listening_inherit(struct eg_listening *listening, struct eg_error *error) EG_MUST_CHECK;

/* Is one of those that a service manager has passed of TLS? */
bool eg_listening_inherits_tls(void);

#endif

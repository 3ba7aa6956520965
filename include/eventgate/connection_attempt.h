/* One attempt to connect to PostgreSQL, on a thread of its own. A part of the connection module. */
#ifndef EG_CONNECTION_ATTEMPT_H
#define EG_CONNECTION_ATTEMPT_H

#include "eventgate/common.h"

struct pg_conn; /* libpq's PGconn */
struct eg_attempt;

/* Starts. Strings are copied. NULL: no memory, descriptor or thread. */
struct eg_attempt *eg_attempt_start(const char *conninfo, const char *application_name, uint32_t connect_timeout_ms);

/* Becomes readable when the attempt is over. */
int eg_attempt_fd(const struct eg_attempt *attempt);

/* The connection, good or bad, owned by the caller; NULL: out of memory. Once, after the attempt is over. */
struct pg_conn *eg_attempt_take(struct eg_attempt *attempt);

/* Lets the attempt go, whether it is over or not. */
void eg_attempt_drop(struct eg_attempt *attempt);

#endif

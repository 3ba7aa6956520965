/*
 * A connection for administration: everything blocks. For commands that run before any loop does, on the main thread.
 * A part of the connection module.
 */
#ifndef EG_CONNECTION_ADMIN_H
#define EG_CONNECTION_ADMIN_H

#include "eventgate/common.h"

struct eg_admin;

/* Connects with libpq's defaults and a deadline for each host. NULL with a sentence. */
struct eg_admin *eg_admin_connect(const char *conninfo, struct eg_error *ret_error);
void eg_admin_close(struct eg_admin *admin);

/* Runs one statement or several. 0, or -EIO with what PostgreSQL says: message, detail and hint. Warnings go to
 * standard error. */
int eg_admin_run(struct eg_admin *admin, const char *sql, struct eg_error *ret_error) EG_MUST_CHECK;

/* A column of the first row that the last run has returned; "" for NULL and where there is none. Good until the next
 * run. */
const char *eg_admin_value(const struct eg_admin *admin, int column);

#endif

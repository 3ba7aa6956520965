/*
 * A connection for administration: everything blocks. For commands that run before any loop does, on the main thread.
 * A part of the connection module.
 */
#ifndef EG_CONNECTION_ADMIN_H
#define EG_CONNECTION_ADMIN_H

#include <stdbool.h>

#include "eventgate/common.h"

struct eg_admin;

/* One of the hosts that a connection string names, all told. */
struct eg_admin_host {
    char host[256];    /* a name, an address, or the folder of a Unix socket; "": libpq's default folder */
    char hostaddr[64]; /* "" if it isn't given */
    char port[16];
};

/* What is known of a connection. */
struct eg_admin_facts {
    int server_version; /* 150004 */
    int session;        /* the process that serves it, as the server said when it began */
    bool is_local;      /* by a Unix socket */
    bool used_password;
    char tls[32];     /* "TLSv1.3", or "" */
    char address[64]; /* of the server; "" by a Unix socket */
    char port[16];
};

/* Connects with libpq's defaults and a deadline for each host. NULL with a sentence. */
struct eg_admin *eg_admin_connect(const char *conninfo, struct eg_error *ret_error);

/*
 * The hosts of a connection string, with what its service file and the environment say, in the order in which they are
 * tried. Owned by the caller: free(). 0, -ENOMEM, or -EINVAL with a sentence. May wait for the name of the first one.
 */
int eg_admin_hosts(const char *conninfo, struct eg_admin_host **ret_hosts, size_t *ret_count,
                   struct eg_error *ret_error) EG_MUST_CHECK;

/* Connects to this one alone, whatever kind of server it is. */
struct eg_admin *eg_admin_connect_host(const char *conninfo, const struct eg_admin_host *host, uint32_t timeout_ms,
                                       struct eg_error *ret_error);
struct eg_admin_facts eg_admin_facts(const struct eg_admin *admin);

void eg_admin_close(struct eg_admin *admin);

/* Runs one statement or several. 0, or -EIO with what PostgreSQL says: message, detail and hint. Warnings go to
 * standard error. */
int eg_admin_run(struct eg_admin *admin, const char *sql, struct eg_error *ret_error) EG_MUST_CHECK;

/* A column of the first row that the last run has returned; "" for NULL and where there is none. Good until the next
 * run. */
const char *eg_admin_value(const struct eg_admin *admin, int column);

/* The rows of the last run, and a column of one of them. */
size_t eg_admin_rows(const struct eg_admin *admin);
const char *eg_admin_cell(const struct eg_admin *admin, size_t row, int column);

#endif

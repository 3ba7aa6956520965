/* Addresses of clients. Pure functions; any thread. */
#ifndef EG_ADDRESS_H
#define EG_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "eventgate/common.h"

/* A client's address, of any family; those other than IP have no more than their family. */
union eg_address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

/* Reads a numeric address without port or zone ("192.0.2.1", "2001:db8::1"; IPv4 in IPv6 is IPv4). */
bool eg_address_read(const char *text, size_t length, union eg_address *ret_address) EG_MUST_CHECK;

/* An IPv4 address in IPv6 becomes IPv4; the port is kept. */
void eg_address_unmap(union eg_address *address);

/* "127.0.0.1", "::1", without port; "unix" for a Unix socket's, "" for any other. */
void eg_address_text(const union eg_address *address, char ret_text[INET6_ADDRSTRLEN]);

/* What counts as one client: an IPv4 address, the /64 network of an IPv6 address (a customer has at least that), or
 * the family. */
struct eg_address_key {
    unsigned char bytes[9]; /* family, address */
};
struct eg_address_key eg_address_key(const union eg_address *address);

#endif

/*
 * Whose request it is that comes from a proxy. Pure; any thread.
 *
 * X-Forwarded-For is the one header that is believed, and only from a trusted proxy: nginx, HAProxy, and Caddy append
 * to it (or replace it), while they pass on whatever `Forwarded` (RFC 7239) a client sends them.
 */
#ifndef EG_CLIENT_ADDRESS_H
#define EG_CLIENT_ADDRESS_H

#include "eventgate/address.h"
#include "eventgate/networks.h"

/*
 * Finds the right-most address of X-Forwarded-For that is not a trusted proxy's: each proxy appends its peer, so what
 * stands to the left of that one is the client's own word. `forwarded`: all values of the header in their order, joined
 * by commas; an item is an address, with a port or without ("192.0.2.1:1234", "[2001:db8::1]:1234"). If all are
 * trusted, it is the left-most one. 0, or -EINVAL: an item that had to be read is no address.
 */
int eg_client_address_find(const struct eg_networks *trusted, const char *forwarded, size_t length,
                           union eg_address *ret_address) EG_MUST_CHECK;

#endif

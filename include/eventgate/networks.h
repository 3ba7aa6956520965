/* Networks of addresses. Pure functions; any thread. */
#ifndef EG_NETWORKS_H
#define EG_NETWORKS_H

#include <stdbool.h>

#include "eventgate/common.h"

union eg_address;

struct eg_network {
    uint8_t family; /* AF_INET, AF_INET6, or AF_UNIX: whoever comes by a Unix socket */
    uint8_t prefix; /* bits */
    uint8_t bytes[16];
};

#define EG_NETWORKS_MAX 64

/* A value: may be copied. Zero-initialise. */
struct eg_networks {
    uint32_t count;
    struct eg_network list[EG_NETWORKS_MAX];
};

/* Reads "192.0.2.1", "10.0.0.0/8", "2001:db8::/32", or "unix". NULL, or what is wrong, as the end of a sentence. */
const char *eg_network_read(const char *text, size_t length, struct eg_network *ret_network);

/* Is the address (unmapped) in one of them? */
bool eg_networks_have(const struct eg_networks *networks, const union eg_address *address);

#endif

/*
 * How many connections there are, in all and by address; shared by all workers' intakes. Any thread; takes a lock.
 */
#ifndef EG_ADDRESS_COUNTS_H
#define EG_ADDRESS_COUNTS_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "eventgate/common.h"

/* A client's address, of any family; those other than IP have no more than their family. */
union eg_address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

struct eg_intake_counts;

struct eg_intake_counts *eg_intake_counts_new(void);
void eg_intake_counts_free(struct eg_intake_counts *counts);

/* All connections open now. */
uint32_t eg_intake_counts_total(struct eg_intake_counts *counts);

/* Counts a connection of this address (IPv4 address, IPv6 /64 network, or anything else as one). -EUSERS: `max` is
 * reached; -EDQUOT: the address has reached `max_per_address`; -ENOMEM. Nothing is counted then. */
int eg_intake_counts_add(struct eg_intake_counts *counts, const union eg_address *address, uint32_t max,
                         uint32_t max_per_address) EG_MUST_CHECK;
void eg_intake_counts_remove(struct eg_intake_counts *counts, const union eg_address *address);

#endif

/*
 * How many connections there are, in all and by address; shared by all workers' intakes. Any thread; takes a lock.
 */
#ifndef EG_ADDRESS_COUNTS_H
#define EG_ADDRESS_COUNTS_H

#include "eventgate/address.h"

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

/* The same for a request that came over somebody else's connection (a proxy's): it counts for its address alone. */
int eg_intake_counts_add_request(struct eg_intake_counts *counts, const union eg_address *address,
                                 uint32_t max_per_address) EG_MUST_CHECK;
void eg_intake_counts_remove_request(struct eg_intake_counts *counts, const union eg_address *address);

#endif

/* From a request line to the endpoint it names. The worker's thread. */
#ifndef EG_ROUTING_H
#define EG_ROUTING_H

#include "eventgate/server.h"

/* Fills in whose request it is, and the exchange's method, target, route and channel from its raw target; answers at
 * once what no handler has to see: a malformed target, an unknown path, a method that the path doesn't have, OPTIONS.
 */
void eg_exchange_route(struct eg_exchange *exchange, const char *method);

/* What is said to a client of a proxy that has too many requests under way (exchange->crowded). */
#define EG_CROWDED_DETAIL "Your address has as many connections as it may have (max_connections_per_address)."

#endif

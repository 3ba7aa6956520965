/*
 * Web origins (RFC 6454) and the hosts of requests, and what a list allows of them. Pure functions; any thread.
 */
#ifndef EG_ORIGIN_H
#define EG_ORIGIN_H

#include <stdbool.h>

#include "eventgate/common.h"

/*
 * What a list of origins may have: an origin as browsers send it (`https://app.example`, `http://localhost:3000`), one
 * for all names below one, at any depth (a `*.` before it, behind the scheme), or `*`. NULL if it is one of them, else
 * what is wrong, as the end of a sentence. Static text.
 */
const char *eg_origin_problem(const char *pattern);

/* Does the (valid) pattern, which isn't `*`, allow this value of `Origin`? Letters of any case are the same. */
bool eg_origin_matches(const char *pattern, const char *origin);

/* Is it the origin of a page that came from this host itself? `host`: a value of `Host`. The scheme is not looked at,
 * since a proxy may speak TLS for us. */
bool eg_origin_is_of_host(const char *origin, const char *host);

/*
 * What a list of hosts may have: a name or an address, with a port or (then any will do) without one, all subdomains of
 * a name (`*.example`), or `*`.
 */
const char *eg_host_problem(const char *pattern);

/* Does the (valid) pattern allow this value of `Host`? */
bool eg_host_matches(const char *pattern, const char *host);

/*
 * Can no page of a stranger have this host? True for addresses, and for names that public DNS doesn't have: of one
 * label, and under localhost, test, local, internal and home.arpa (RFC 6761, 6762, 8375). Any other name may be made to
 * point at this machine by whoever owns it (DNS rebinding), and its pages are then of the same origin as we are.
 */
bool eg_host_is_private(const char *host);

#endif

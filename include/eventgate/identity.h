/*
 * Who sends a request, and what they may do: its token is looked at once, when its head is there. The worker's thread.
 *
 * A token is taken from the first place that has one: `Authorization: Bearer`, the cookie, `?access_token=`. Without
 * keys nobody is asked for one.
 */
#ifndef EG_IDENTITY_H
#define EG_IDENTITY_H

#include "eventgate/cors.h"
#include "eventgate/grants.h"
#include "eventgate/server.h"

/* A token as it was sent. Borrowed. */
struct eg_presented {
    enum eg_token_source source;
    struct eg_bytes token;
};

/*
 * Looks for a token. `authorization`, `cookie`: values of these headers, or NULL; `cookie_name`: "" for none. Another
 * scheme than Bearer, and a cookie without a value, are none; everything else that stands there is one, good or not.
 * -EINVAL with a refusal: ?access_token= is given twice. Pure.
 */
int eg_identity_find_token(const char *authorization, const char *cookie, const char *cookie_name,
                           const struct eg_target *target, struct eg_presented *ret_presented,
                           struct eg_refusal *ret_refusal) EG_MUST_CHECK;

/* Sets the exchange's policy, grants, and where its token was. Answers what may not go on in any case: a host that
 * isn't ours, a bad token, a POST that another page made a browser send, one by somebody who may publish nothing. */
void eg_identity_decide(struct eg_exchange *exchange);

/* May it, by its token and by the policy that there is now? Keys may have come behind its head, with its body still
 * under way: then it has no token that was looked at, and is refused as without one. `set`: that of the channels, or
 * EG_ANY_SET. */
bool eg_identity_allows(const struct eg_exchange *exchange, enum eg_right right, uint32_t set, struct eg_bytes pattern);
/* Is there anything in a set, or anywhere (EG_ANY_SET), that it may? */
bool eg_identity_allows_something(const struct eg_exchange *exchange, enum eg_right right, uint32_t set);
/* May it ask what operators ask? */
bool eg_identity_allows_admin(const struct eg_exchange *exchange);

/* Answers that it may not: 401 to one without a token, else 403. The sentence says what. */
void eg_identity_refuse(struct eg_exchange *exchange, const char *detail);
/* The same for a channel or pattern. `item`: which of a batch, or SIZE_MAX. */
void eg_identity_refuse_channel(struct eg_exchange *exchange, enum eg_right right, struct eg_bytes pattern,
                                size_t item);

/* What the answer says to browsers of other origins; nothing by an address for operators, who need no token there. */
struct eg_cors_headers eg_identity_cors(struct eg_exchange *exchange);

/* How long the token that gave these grants is still good, in ms; UINT64_MAX without an end. 0: it has expired, or been
 * revoked. */
uint64_t eg_identity_left_ms(const struct eg_grants *grants, const struct eg_policy *policy);
/* Answers that the token has expired, or been revoked, while it waited. */
void eg_identity_expired(struct eg_exchange *exchange);

/* Has it to wait until the revocations have been read for the first time, to know whether its token is good? */
bool eg_identity_is_undecided(const struct eg_exchange *exchange);

#endif

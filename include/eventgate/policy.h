/*
 * Everything that decides about a request, as the configuration and the files of keys have it: an immutable, counted
 * snapshot. Made by the main thread, at start and anew at each reload; workers get it by message, and a request keeps
 * the one that its token was judged by.
 */
#ifndef EG_POLICY_H
#define EG_POLICY_H

#include <stdatomic.h>

#include "eventgate/config.h"
#include "eventgate/cors.h"
#include "eventgate/revocations.h"
#include "eventgate/token.h"

struct eg_policy {
    _Atomic uint32_t references;
    bool has_keys;    /* else everything is allowed to everybody */
    bool admin_apart; /* what operators ask has addresses of its own */
    bool any_host;    /* no host is refused */
    struct eg_keyring *keyring;
    struct eg_token_rules rules;
    char *cookie; /* "": none */
    struct eg_config_list issuers, audiences, origins, hosts;
    char *claim;
    struct eg_grants *nobody;     /* what one has without a token, beside `anonymous` */
    struct eg_grants **anonymous; /* one a set */
    size_t set_count;
    struct eg_revocations *revocations; /* borrowed; set before it is shared; NULL: none */
};

/* The text of a file of keys, and the algorithm that it is bound to, or NULL. Borrowed. */
struct eg_policy_keys {
    const char *where;
    const char *algorithm;
    const char *text;
    size_t length;
};

/*
 * Makes it of a configuration and of the texts of all files in access.keys. `in_use`: the configuration that runs (at
 * start, the same one), which says what can't change, and in which order the workers have the sets. -EINVAL with a
 * sentence that names file or option; -ENOMEM. Held once.
 */
int eg_policy_new(const struct eg_config *config, const struct eg_config *in_use, const struct eg_policy_keys *keys,
                  size_t count, struct eg_policy **ret_policy, struct eg_error *ret_error) EG_MUST_CHECK;
/* The same from the files themselves. Blocks: main thread. */
int eg_policy_load(const struct eg_config *config, const struct eg_config *in_use, struct eg_policy **ret_policy,
                   struct eg_error *ret_error) EG_MUST_CHECK;
struct eg_policy *eg_policy_ref(struct eg_policy *policy);
void eg_policy_unref(struct eg_policy *policy); /* NULL is let be */

/* May everybody do this with every channel of the name or pattern? `set`: the set that has them, or EG_ANY_SET. */
#define EG_ANY_SET UINT32_MAX
bool eg_policy_allows_everybody(const struct eg_policy *policy, enum eg_right right, uint32_t set,
                                struct eg_bytes pattern);
/* May who was let in with these grants, by this policy or by an earlier one? NULL: that asked nobody for a token. */
bool eg_policy_still_allows(const struct eg_policy *policy, const struct eg_grants *grants, enum eg_right right,
                            uint32_t set, struct eg_bytes pattern);

struct eg_cors_list eg_policy_origins(const struct eg_policy *policy);

/* May a request be for this host? `admin`: it came in by an address for operators, whom keys don't protect from the
 * pages that their browsers show. NULL, which HTTP/1.0 allows: yes. */
bool eg_policy_allows_host(const struct eg_policy *policy, bool admin, const char *host);

#endif

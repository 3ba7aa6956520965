/*
 * The snapshot of what decides about requests: owns copies of all that the configuration says about it.
 */
#include "eventgate/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/file.h"
#include "eventgate/origin.h"

/* Of one file of keys. */
#define KEYS_MAX_BYTES ((size_t)1 << 20)

static int no_memory(struct eg_error *error)
{
    *error = (struct eg_error){"", "out of memory"};
    return -ENOMEM;
}

/* --- making ------------------------------------------------------------------------------------------------------ */

static bool copy_list(struct eg_config_list *to, const struct eg_config_list *from)
{
    to->items = calloc(from->count + 1, sizeof(char *));
    if (!to->items)
        return false;
    for (; to->count < from->count; to->count++) {
        to->items[to->count] = strdup(from->items[to->count]);
        if (!to->items[to->count])
            return false;
    }
    return true;
}

static void free_list(struct eg_config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
}

static const char *const *texts_of(const struct eg_config_list *list)
{
    return (const char *const *)list->items;
}

static bool copy_texts(struct eg_policy *policy, const struct eg_config *config)
{
    const struct eg_config_access *access = &config->access;
    policy->cookie = strdup(access->cookie);
    policy->claim = strdup(access->claim);
    return policy->cookie && policy->claim && copy_list(&policy->issuers, &access->issuers) &&
           copy_list(&policy->audiences, &access->audiences) && copy_list(&policy->origins, &access->origins) &&
           copy_list(&policy->hosts, &access->hosts);
}

static void make_rules(struct eg_policy *policy, const struct eg_config_access *access)
{
    struct eg_token_rules *rules = &policy->rules;
    rules->keyring = policy->keyring;
    rules->issuers = texts_of(&policy->issuers);
    rules->issuer_count = policy->issuers.count;
    rules->audiences = texts_of(&policy->audiences);
    rules->audience_count = policy->audiences.count;
    rules->claim = policy->claim;
    for (uint32_t i = 0; i < EG_ARRAY_LENGTH(rules->dialects); i++)
        rules->dialects[i] = (access->dialects & (UINT32_C(1) << i)) != 0;
    rules->leeway_s = access->leeway_ms / 1000;
    rules->needs_expiry = access->expiry == 0;
}

static bool grant(struct eg_grants *grants, enum eg_right right, const struct eg_config_list *patterns)
{
    for (size_t i = 0; i < patterns->count; i++)
        if (eg_grants_add(grants, right, patterns->items[i], strlen(patterns->items[i])) != 0)
            return false;
    return true;
}

static const struct eg_config_set *set_named(const struct eg_config *config, const char *name)
{
    for (size_t i = 0; i < config->set_count; i++)
        if (name && config->sets[i].name && strcmp(config->sets[i].name, name) == 0)
            return &config->sets[i];
    return NULL;
}

static struct eg_grants *nothing(void)
{
    return eg_grants_new((struct eg_bytes){"", 0}, EG_GRANTS_UNDATED, EG_GRANTS_NEVER);
}

static bool make_anonymous(struct eg_policy *policy, const struct eg_config *config, const struct eg_config *in_use)
{
    policy->nobody = nothing();
    policy->anonymous = calloc(in_use->set_count, sizeof(struct eg_grants *));
    if (!policy->nobody || !policy->anonymous)
        return false;
    for (; policy->set_count < in_use->set_count; policy->set_count++) {
        const struct eg_config_set *set = set_named(config, in_use->sets[policy->set_count].name);
        struct eg_grants *grants = policy->anonymous[policy->set_count] = nothing();
        if (!grants || (set && (!grant(grants, EG_RIGHT_SUBSCRIBE, &set->anonymous_subscribe) ||
                                !grant(grants, EG_RIGHT_PUBLISH, &set->anonymous_publish)))) {
            eg_grants_unref(grants);
            return false;
        }
    }
    return true;
}

/* What can only be wrong together. */
static int check(const struct eg_config *config, struct eg_error *error)
{
    bool keys = config->access.keys.count > 0;
    error->sqlstate[0] = '\0';
    for (size_t i = 0; !keys && i < config->set_count; i++) {
        const struct eg_config_set *set = &config->sets[i];
        if (set->anonymous_subscribe.count + set->anonymous_publish.count == 0)
            continue;
        snprintf(error->sentence, sizeof(error->sentence),
                 "[set %s] anonymous_subscribe and anonymous_publish are for a gateway with keys: without any, "
                 "everybody may do everything. Give it keys (--keys FILE), or leave these out.",
                 set->name);
        return -EINVAL;
    }
    if (strspn(config->access.cookie,
               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!#$%&'*+^`|~") ==
        strlen(config->access.cookie))
        return 0;
    snprintf(error->sentence, sizeof(error->sentence),
             "token_cookie: \"%.60s\" is no name of a cookie: it has letters, digits, - and _.", config->access.cookie);
    return -EINVAL;
}

static int add_keys(struct eg_policy *policy, const struct eg_policy_keys *keys, size_t count, struct eg_error *error)
{
    policy->keyring = eg_keyring_new();
    if (!policy->keyring)
        return no_memory(error);
    for (size_t i = 0; i < count; i++) {
        int result =
            eg_keyring_add(policy->keyring, keys[i].where, keys[i].text, keys[i].length, keys[i].algorithm, error);
        if (result)
            return result == -ENOMEM ? no_memory(error) : result;
    }
    return 0;
}

int eg_policy_new(const struct eg_config *config, const struct eg_config *in_use, const struct eg_policy_keys *keys,
                  size_t count, struct eg_policy **ret_policy, struct eg_error *ret_error)
{
    int result = check(config, ret_error);
    if (result)
        return result;
    struct eg_policy *policy = calloc(1, sizeof(*policy));
    if (!policy)
        return no_memory(ret_error);
    policy->references = 1;
    policy->has_keys = count > 0;
    policy->admin_apart = in_use->admin_listen.count > 0;
    policy->any_host = config->access.hosts.count == 0 && (policy->has_keys || in_use->insecure);
    result = add_keys(policy, keys, count, ret_error);
    if (!result && (!copy_texts(policy, config) || !make_anonymous(policy, config, in_use)))
        result = no_memory(ret_error);
    if (result) {
        eg_policy_unref(policy);
        return result;
    }
    make_rules(policy, &config->access);
    *ret_policy = policy;
    return 0;
}

/* --- loading ----------------------------------------------------------------------------------------------------- */

/* "HS256:FILE" or "FILE"; `algorithm`: room for six bytes. */
static void take_apart(const char *item, char *algorithm, struct eg_policy_keys *ret_keys)
{
    static const char *const families[] = {"HS", "RS", "PS", "ES"};
    static const char *const sizes[] = {"256:", "384:", "512:"};
    *ret_keys = (struct eg_policy_keys){.where = item};
    for (size_t f = 0; f < EG_ARRAY_LENGTH(families); f++)
        for (size_t s = 0; s < EG_ARRAY_LENGTH(sizes); s++) {
            if (strncmp(item, families[f], 2) != 0 || strncmp(item + 2, sizes[s], 4) != 0)
                continue;
            memcpy(algorithm, item, 5);
            algorithm[5] = '\0';
            *ret_keys = (struct eg_policy_keys){.where = item + 6, .algorithm = algorithm};
        }
}

static int read_keys(const struct eg_policy_keys *keys, struct eg_buffer *text, struct eg_error *error)
{
    int result = eg_file_read_regular(keys->where, KEYS_MAX_BYTES, text);
    if (result == -ENOMEM)
        return no_memory(error);
    if (!result)
        return 0;
    error->sqlstate[0] = '\0';
    snprintf(error->sentence, sizeof(error->sentence), "keys: %.300s: cannot be read: %s", keys->where,
             eg_file_problem(-result));
    return -EINVAL;
}

int eg_policy_load(const struct eg_config *config, const struct eg_config *in_use, struct eg_policy **ret_policy,
                   struct eg_error *ret_error)
{
    const struct eg_config_list *items = &config->access.keys;
    struct eg_policy_keys *keys = calloc(items->count + 1, sizeof(*keys));
    struct eg_buffer *texts = calloc(items->count + 1, sizeof(*texts));
    char(*algorithms)[6] = calloc(items->count + 1, sizeof(*algorithms));
    int result = keys && texts && algorithms ? 0 : no_memory(ret_error);
    for (size_t i = 0; !result && i < items->count; i++) {
        take_apart(items->items[i], algorithms[i], &keys[i]);
        result = read_keys(&keys[i], &texts[i], ret_error);
        keys[i].text = texts[i].data;
        keys[i].length = texts[i].length;
    }
    if (!result)
        result = eg_policy_new(config, in_use, keys, items->count, ret_policy, ret_error);
    for (size_t i = 0; texts && i < items->count; i++)
        eg_buffer_done(&texts[i]);
    free(algorithms);
    free(texts);
    free(keys);
    return result;
}

/* --- holding ----------------------------------------------------------------------------------------------------- */

struct eg_policy *eg_policy_ref(struct eg_policy *policy)
{
    atomic_fetch_add_explicit(&policy->references, 1, memory_order_relaxed);
    return policy;
}

void eg_policy_unref(struct eg_policy *policy)
{
    if (!policy || atomic_fetch_sub_explicit(&policy->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < policy->set_count; i++)
        eg_grants_unref(policy->anonymous[i]);
    free(policy->anonymous);
    eg_grants_unref(policy->nobody);
    eg_keyring_unref(policy->keyring);
    free_list(&policy->issuers);
    free_list(&policy->audiences);
    free_list(&policy->origins);
    free_list(&policy->hosts);
    free(policy->cookie);
    free(policy->claim);
    free(policy);
}

/* --- asking ------------------------------------------------------------------------------------------------------ */

bool eg_policy_allows_everybody(const struct eg_policy *policy, enum eg_right right, uint32_t set,
                                struct eg_bytes pattern)
{
    for (uint32_t i = 0; i < policy->set_count; i++)
        if ((set == i || set == EG_ANY_SET) &&
            eg_grants_allow(policy->anonymous[i], right, pattern.data, pattern.length))
            return true;
    return false;
}

bool eg_policy_still_allows(const struct eg_policy *policy, const struct eg_grants *grants, enum eg_right right,
                            uint32_t set, struct eg_bytes pattern)
{
    return !policy->has_keys || (grants && eg_grants_allow(grants, right, pattern.data, pattern.length)) ||
           eg_policy_allows_everybody(policy, right, set, pattern);
}

struct eg_cors_list eg_policy_origins(const struct eg_policy *policy)
{
    return (struct eg_cors_list){texts_of(&policy->origins), policy->origins.count};
}

bool eg_policy_allows_host(const struct eg_policy *policy, bool admin, const char *host)
{
    if (!host || (policy->any_host && !(admin && policy->has_keys)))
        return true;
    for (size_t i = 0; i < policy->hosts.count; i++)
        if (eg_host_matches(policy->hosts.items[i], host))
            return true;
    return (admin || policy->hosts.count == 0) && eg_host_is_private(host);
}

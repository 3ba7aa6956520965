/*
 * From the head of a request to what it may do.
 *
 * What is wrong with a token is for the log alone: on the wire all reasons read the same (RFC 6750 section 3.1).
 */
#include "eventgate/identity.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "eventgate/backoff.h"
#include "eventgate/log.h"
#include "eventgate/pattern.h"
#include "eventgate/policy.h"

#define CHALLENGE "Bearer realm=\"pg_eventgate\""
#define SHOWN_MAX 200
/* The year 5138: what is later is no time that ever comes. */
#define LATEST_S INT64_C(100000000000)

/* --- finding the token ------------------------------------------------------------------------------------------- */

static bool find_bearer(const char *authorization, struct eg_bytes *ret_token)
{
    static const char scheme[] = "Bearer";
    size_t length = sizeof(scheme) - 1;
    if (!authorization || strncasecmp(authorization, scheme, length) != 0 ||
        (authorization[length] != ' ' && authorization[length] != '\0'))
        return false;
    const char *token = authorization + length + strspn(authorization + length, " ");
    *ret_token = (struct eg_bytes){token, strcspn(token, " \t")};
    return true;
}

/* The first cookie of that name (RFC 6265 section 5.4: the one of the longest path). */
static bool find_cookie(const char *cookie, const char *name, struct eg_bytes *ret_token)
{
    size_t length = strlen(name);
    for (const char *at = cookie; length > 0 && at && *at;) {
        at += strspn(at, " \t");
        size_t size = strcspn(at, ";");
        if (size > length && at[length] == '=' && strncmp(at, name, length) == 0) {
            const char *value = at + length + 1, *end = at + size;
            while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
                end--;
            if (end - value >= 2 && value[0] == '"' && end[-1] == '"') {
                value++;
                end--;
            }
            *ret_token = (struct eg_bytes){value, (size_t)(end - value)};
            return end > value;
        }
        at += size + (at[size] == ';');
    }
    return false;
}

int eg_identity_find_token(const char *authorization, const char *cookie, const char *cookie_name,
                           const struct eg_target *target, struct eg_presented *ret_presented,
                           struct eg_refusal *ret_refusal)
{
    const struct eg_parameter *in_query = NULL;
    struct eg_presented presented = {EG_TOKEN_NOWHERE, {"", 0}};
    for (size_t i = 0; i < target->parameter_count; i++) {
        if (strcmp(target->parameters[i].name.data, "access_token") != 0)
            continue;
        if (in_query)
            return eg_refuse(ret_refusal, EG_PROBLEM_BAD_REQUEST, "access_token is given twice: send one token.");
        in_query = &target->parameters[i];
    }
    if (find_bearer(authorization, &presented.token))
        presented.source = EG_TOKEN_IN_HEADER;
    else if (find_cookie(cookie, cookie_name, &presented.token))
        presented.source = EG_TOKEN_IN_COOKIE;
    else if (in_query)
        presented = (struct eg_presented){EG_TOKEN_IN_QUERY, in_query->value};
    *ret_presented = presented;
    return 0;
}

/* --- refusing ---------------------------------------------------------------------------------------------------- */

static void challenge(struct eg_exchange *exchange, enum eg_problem problem, const char *value, const char *detail)
{
    eg_exchange_problem(exchange, problem, detail, (struct eg_header[]){{"WWW-Authenticate", value}, {NULL, NULL}});
}

static void count_refused(const struct eg_exchange *exchange, enum eg_metric reason)
{
    eg_metrics_add(eg_exchange_metrics(exchange), reason, 1);
}

static void bad_token(struct eg_exchange *exchange, enum eg_metric reason)
{
    count_refused(exchange, reason);
    static const char sentence[] = "The token is not valid here, or no longer. Get a new one, and try again with it.";
    challenge(exchange, EG_PROBLEM_UNAUTHORIZED,
              CHALLENGE ", error=\"invalid_token\", error_description=\"The token is not valid\"", sentence);
}

void eg_identity_refuse(struct eg_exchange *exchange, const char *detail)
{
    const struct eg_policy *policy = eg_exchange_policy_now(exchange);
    char text[600];
    if (exchange->token_source != EG_TOKEN_NOWHERE) {
        count_refused(exchange, EG_METRIC_TOKENS_GRANT);
        challenge(exchange, EG_PROBLEM_FORBIDDEN, CHALLENGE ", error=\"insufficient_scope\"", detail);
    } else if (!policy || !policy->has_keys) {
        eg_exchange_problem(exchange, EG_PROBLEM_FORBIDDEN, detail, NULL);
    } else {
        count_refused(exchange, EG_METRIC_TOKENS_MISSING);
        snprintf(text, sizeof(text), "%s Send a token that may: in Authorization: Bearer, a cookie, or ?access_token=.",
                 detail);
        challenge(exchange, EG_PROBLEM_UNAUTHORIZED, CHALLENGE, text);
    }
}

void eg_identity_refuse_channel(struct eg_exchange *exchange, enum eg_right right, struct eg_bytes pattern, size_t item)
{
    static const char *const verbs[EG_RIGHT_COUNT] = {"subscribe", "publish"};
    bool has_token = exchange->token_source != EG_TOKEN_NOWHERE;
    char text[SHOWN_MAX + 200], before[60] = "";
    if (item != SIZE_MAX)
        snprintf(before, sizeof(before), "Item %zu of the batch: ", item + 1);
    snprintf(text, sizeof(text), "%s%s may not %s to \"%.*s\".%s", before,
             has_token ? "this token" : "without a token one", verbs[right],
             pattern.length > SHOWN_MAX ? SHOWN_MAX : (int)pattern.length, pattern.data,
             item != SIZE_MAX ? " Nothing of the batch was published." : "");
    if (!before[0])
        text[0] = (char)(text[0] - 'a' + 'A');
    eg_identity_refuse(exchange, text);
}

void eg_identity_expired(struct eg_exchange *exchange)
{
    const struct eg_revocations *revocations = exchange->policy ? exchange->policy->revocations : NULL;
    bool revoked = revocations && eg_revocations_has(exchange->policy->revocations, exchange->grants);
    bad_token(exchange, revoked ? EG_METRIC_TOKENS_REVOKED : EG_METRIC_TOKENS_EXPIRED);
}

/* --- judging the token ------------------------------------------------------------------------------------------- */

static int64_t now_s(void)
{
    return eg_wall_us() / 1000000;
}

static void log_refused(const struct eg_exchange *exchange, const char *reason)
{
    char address[INET6_ADDRSTRLEN];
    eg_address_text(&exchange->address, address);
    eg_log(EG_LOG_INFO, "token refused", EG_LOG_STR("request", exchange->id), EG_LOG_STR("client", address),
           EG_LOG_STR("reason", reason));
}

bool eg_identity_is_undecided(const struct eg_exchange *exchange)
{
    const struct eg_policy *policy = exchange->policy;
    return policy && policy->has_keys && policy->revocations && exchange->token_source != EG_TOKEN_NOWHERE &&
           !eg_revocations_known(policy->revocations);
}

/* Of a token that is good but for that. Subscriptions can wait until it is known. */
static void heed_revocations(struct eg_exchange *exchange)
{
    struct eg_revocations *revocations = exchange->policy->revocations;
    bool subscribes = exchange->method != EG_METHOD_POST &&
                      (exchange->route == EG_ROUTE_EVENTS || exchange->route == EG_ROUTE_CHANNEL);
    bool undecided = eg_identity_is_undecided(exchange),
         revoked = revocations && eg_revocations_has(revocations, exchange->grants);
    if ((!undecided || subscribes) && !revoked)
        return;
    eg_grants_unref(exchange->grants);
    exchange->grants = eg_grants_ref(exchange->policy->nobody);
    if (exchange->route == EG_ROUTE_HEALTHZ)
        return;
    if (revoked) {
        log_refused(exchange, "revoked");
        bad_token(exchange, EG_METRIC_TOKENS_REVOKED);
    } else {
        eg_exchange_problem(exchange, EG_PROBLEM_DATABASE_AWAY,
                            "Whether the token has been revoked is not known yet: the gateway has just been started, "
                            "and its database is away. Try again.",
                            NULL);
    }
}

/* Sets the grants, or answers. */
static void judge(struct eg_exchange *exchange, struct eg_bytes token)
{
    static const enum eg_metric reasons[EG_TOKEN_FAULT_COUNT] = {
        [EG_TOKEN_MALFORMED] = EG_METRIC_TOKENS_MALFORMED, [EG_TOKEN_ALGORITHM] = EG_METRIC_TOKENS_KEY,
        [EG_TOKEN_CRITICAL] = EG_METRIC_TOKENS_CLAIMS,     [EG_TOKEN_UNKNOWN_KEY] = EG_METRIC_TOKENS_KEY,
        [EG_TOKEN_SIGNATURE] = EG_METRIC_TOKENS_SIGNATURE, [EG_TOKEN_EXPIRED] = EG_METRIC_TOKENS_EXPIRED,
        [EG_TOKEN_NOT_YET] = EG_METRIC_TOKENS_NOT_YET,     [EG_TOKEN_ISSUER] = EG_METRIC_TOKENS_ISSUER,
        [EG_TOKEN_AUDIENCE] = EG_METRIC_TOKENS_ISSUER,     [EG_TOKEN_MISSING_CLAIM] = EG_METRIC_TOKENS_CLAIMS,
        [EG_TOKEN_BAD_CLAIM] = EG_METRIC_TOKENS_CLAIMS,    [EG_TOKEN_NO_GRANTS] = EG_METRIC_TOKENS_GRANT};
    struct eg_grants *grants = NULL;
    enum eg_token_fault fault = eg_token_verify(&exchange->policy->rules, token.data, token.length, now_s(), &grants);
    bool tells_everybody = exchange->route == EG_ROUTE_HEALTHZ;
    if (fault == EG_TOKEN_GOOD) {
        exchange->grants = grants;
        heed_revocations(exchange);
        return;
    }
    exchange->grants = eg_grants_ref(exchange->policy->nobody);
    if (tells_everybody)
        return;
    if (fault == EG_TOKEN_OUT_OF_MEMORY) {
        eg_exchange_problem(exchange, EG_PROBLEM_OVERLOADED, "The gateway is out of memory. Try again.", NULL);
        return;
    }
    log_refused(exchange, eg_token_fault_name(fault));
    if (fault == EG_TOKEN_NO_GRANTS)
        eg_identity_refuse(exchange, "The token grants nothing here: it lacks the claim that does.");
    else
        bad_token(exchange, reasons[fault]);
}

static struct eg_cors_request cors_request(struct eg_exchange *exchange)
{
    return (struct eg_cors_request){.origin = eg_exchange_header(exchange, "Origin"),
                                    .host = eg_exchange_header(exchange, "Host"),
                                    .fetch_site = eg_exchange_header(exchange, "Sec-Fetch-Site"),
                                    .method = eg_exchange_header(exchange, "Access-Control-Request-Method")};
}

/* A browser sends cookies, and reaches what is local, for any page that asks it to. */
static void check_origin(struct eg_exchange *exchange)
{
    const struct eg_policy *policy = exchange->policy;
    const struct eg_cors_request request = cors_request(exchange);
    bool by_cookie = exchange->token_source == EG_TOKEN_IN_COOKIE;
    if (exchange->method != EG_METHOD_POST || (policy->has_keys && !by_cookie) ||
        eg_cors_may_post(eg_policy_origins(policy), &request, by_cookie))
        return;
    eg_exchange_problem(exchange, EG_PROBLEM_FORBIDDEN,
                        by_cookie ? "A POST with a cookie has to come from a page of this host, or of an origin that "
                                    "is allowed (allowed_origins): send its Origin, or the token in Authorization."
                                  : "Pages of this origin may not publish here: list it in allowed_origins.",
                        NULL);
}

static void check_host(struct eg_exchange *exchange)
{
    if (eg_policy_allows_host(exchange->policy, exchange->client->admin, eg_exchange_header(exchange, "Host")))
        return;
    eg_exchange_problem(exchange, EG_PROBLEM_MISDIRECTED,
                        "The gateway isn't reached by this host. If it is one of its names, list it in allowed_hosts.",
                        NULL);
}

static void check_token(struct eg_exchange *exchange)
{
    struct eg_presented presented = {.source = EG_TOKEN_NOWHERE};
    struct eg_refusal refusal = {.problem = EG_PROBLEM_BAD_REQUEST};
    if (eg_exchange_header_count(exchange, "Authorization") > 1) {
        eg_exchange_problem(exchange, EG_PROBLEM_BAD_REQUEST, "Authorization is given twice: send one token.", NULL);
        return;
    }
    if (eg_identity_find_token(eg_exchange_header(exchange, "Authorization"), eg_exchange_header(exchange, "Cookie"),
                               exchange->policy->cookie, &exchange->target, &presented, &refusal) != 0) {
        eg_exchange_problem(exchange, refusal.problem, refusal.detail, NULL);
        return;
    }
    if (!exchange->policy->has_keys)
        return;
    exchange->token_source = presented.source;
    if (presented.source == EG_TOKEN_NOWHERE)
        exchange->grants = eg_grants_ref(exchange->policy->nobody);
    else
        judge(exchange, presented.token);
}

/* Before the body is read; what a batch publishes to is known only then. */
static void check_right_to_post(struct eg_exchange *exchange)
{
    struct eg_bytes channel = exchange->channel;
    if (exchange->method != EG_METHOD_POST)
        return;
    if (exchange->route == EG_ROUTE_CHANNEL && !eg_channel_name_problem(channel.data, channel.length) &&
        !eg_identity_allows(exchange, EG_RIGHT_PUBLISH, EG_ANY_SET, channel))
        eg_identity_refuse_channel(exchange, EG_RIGHT_PUBLISH, channel, SIZE_MAX);
    else if (!eg_identity_allows_something(exchange, EG_RIGHT_PUBLISH, EG_ANY_SET))
        eg_identity_refuse(exchange, "You may not publish to any channel.");
}

void eg_identity_decide(struct eg_exchange *exchange)
{
    static void (*const checks[])(struct eg_exchange *) = {check_host, check_token, check_origin, check_right_to_post};
    if (!exchange->policy || exchange->route == EG_ROUTE_LIVEZ || exchange->route == EG_ROUTE_READYZ)
        return;
    /* What everybody may have, whatever token comes with it. */
    size_t count = exchange->route == EG_ROUTE_ASSET ? 1 : EG_ARRAY_LENGTH(checks);
    for (size_t i = 0; i < count && !exchange->answered; i++)
        checks[i](exchange);
}

/* --- asking ------------------------------------------------------------------------------------------------------ */

bool eg_identity_allows(const struct eg_exchange *exchange, enum eg_right right, uint32_t set, struct eg_bytes pattern)
{
    const struct eg_policy *policy = eg_exchange_policy_now(exchange);
    return eg_policy_still_allows(policy, exchange->grants, right, set, pattern);
}

bool eg_identity_allows_something(const struct eg_exchange *exchange, enum eg_right right, uint32_t set)
{
    const struct eg_policy *policy = eg_exchange_policy_now(exchange);
    if (!policy->has_keys || (exchange->grants && eg_grants_allow_any(exchange->grants, right)))
        return true;
    for (uint32_t i = 0; i < policy->set_count; i++)
        if ((set == i || set == EG_ANY_SET) && eg_grants_allow_any(policy->anonymous[i], right))
            return true;
    return false;
}

bool eg_identity_allows_admin(const struct eg_exchange *exchange)
{
    const struct eg_policy *policy = eg_exchange_policy_now(exchange);
    if (exchange->client->admin || !policy)
        return true;
    return policy->has_keys ? exchange->grants && eg_grants_allow_admin(exchange->grants) : !policy->admin_apart;
}

struct eg_cors_headers eg_identity_cors(struct eg_exchange *exchange)
{
    const struct eg_cors_request request = cors_request(exchange);
    if (!exchange->policy || exchange->client->admin)
        return (struct eg_cors_headers){.count = 0};
    return eg_cors_headers(eg_policy_origins(exchange->policy), &request, exchange->options);
}

uint64_t eg_identity_left_ms(const struct eg_grants *grants, const struct eg_policy *policy)
{
    int64_t expires_s = eg_grants_expires_s(grants);
    if (grants && policy && policy->revocations && eg_revocations_has(policy->revocations, grants))
        return 0;
    if (expires_s > LATEST_S)
        return UINT64_MAX;
    int64_t left_us = expires_s * 1000000 - eg_wall_us();
    return left_us > 0 ? ((uint64_t)left_us + 999) / 1000 : 0;
}

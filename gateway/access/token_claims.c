/*
 * The claims of a token: is it for us and for now, and what does it grant?
 */
#include "eventgate/token_internal.h"

#include <string.h>

#include "eventgate/pattern.h"

/* Beyond all dates, and exact as a double. */
#define LATEST_S (INT64_C(1) << 53)

/* --- is it for us, and for now? --- */

static bool is_listed(const json_t *value, const char *const *list, size_t count)
{
    for (size_t i = 0; json_is_string(value) && i < count; i++)
        if (strcmp(json_string_value(value), list[i]) == 0)
            return true;
    return false;
}

static enum eg_token_fault judge_issuer(const struct eg_token_rules *rules, const json_t *claims)
{
    const json_t *issuer = json_object_get(claims, "iss");
    if (issuer && !json_is_string(issuer))
        return EG_TOKEN_BAD_CLAIM;
    if (rules->issuer_count == 0)
        return EG_TOKEN_GOOD;
    if (!issuer)
        return EG_TOKEN_MISSING_CLAIM;
    return is_listed(issuer, rules->issuers, rules->issuer_count) ? EG_TOKEN_GOOD : EG_TOKEN_ISSUER;
}

/* A string, or several (RFC 7519, 4.1.3). */
static enum eg_token_fault judge_audience(const struct eg_token_rules *rules, const json_t *claims)
{
    const json_t *audience = json_object_get(claims, "aud"), *one;
    bool ours = is_listed(audience, rules->audiences, rules->audience_count);
    size_t i;
    if (audience && !json_is_string(audience) && !json_is_array(audience))
        return EG_TOKEN_BAD_CLAIM;
    json_array_foreach(audience, i, one)
    {
        if (!json_is_string(one))
            return EG_TOKEN_BAD_CLAIM;
        ours = ours || is_listed(one, rules->audiences, rules->audience_count);
    }
    if (rules->audience_count == 0)
        return EG_TOKEN_GOOD;
    if (!audience)
        return EG_TOKEN_MISSING_CLAIM;
    return ours ? EG_TOKEN_GOOD : EG_TOKEN_AUDIENCE;
}

/* A NumericDate (RFC 7519, 2: any number) in whole seconds, rounded down or up; unchanged where there is none. */
static bool read_date(const json_t *claims, const char *name, bool up, int64_t *date_s)
{
    const json_t *value = json_object_get(claims, name);
    if (!value)
        return true;
    if (!json_is_number(value))
        return false;
    double number = json_number_value(value);
    if (number >= (double)LATEST_S)
        *date_s = LATEST_S;
    else if (number <= -(double)LATEST_S)
        *date_s = -LATEST_S;
    else
        *date_s = (int64_t)number;
    if (!up && number < (double)*date_s)
        (*date_s)--;
    else if (up && *date_s < LATEST_S && number > (double)*date_s)
        (*date_s)++;
    return true;
}

struct dates {
    int64_t issued_s, expires_s;
};

static enum eg_token_fault judge_dates(const struct eg_token_rules *rules, const json_t *claims, int64_t now_s,
                                       struct dates *dates)
{
    int64_t from_s = -LATEST_S, leeway_s = rules->leeway_s;
    *dates = (struct dates){.issued_s = EG_GRANTS_UNDATED, .expires_s = EG_GRANTS_NEVER};
    if (!read_date(claims, "exp", false, &dates->expires_s) || !read_date(claims, "nbf", true, &from_s) ||
        !read_date(claims, "iat", false, &dates->issued_s))
        return EG_TOKEN_BAD_CLAIM;
    if (dates->expires_s == EG_GRANTS_NEVER && rules->needs_expiry)
        return EG_TOKEN_MISSING_CLAIM;
    if (now_s - leeway_s >= dates->expires_s)
        return EG_TOKEN_EXPIRED;
    if (now_s + leeway_s < from_s || now_s + leeway_s < dates->issued_s)
        return EG_TOKEN_NOT_YET;
    if (now_s >= dates->expires_s)
        dates->expires_s += leeway_s;
    return EG_TOKEN_GOOD;
}

/* --- what does it grant? --- */

static enum eg_token_fault add(struct eg_grants *grants, enum eg_right right, const char *pattern)
{
    size_t length = strlen(pattern);
    if (eg_pattern_problem(pattern, length))
        return EG_TOKEN_BAD_CLAIM;
    return eg_grants_add(grants, right, pattern, length) == 0 ? EG_TOKEN_GOOD : EG_TOKEN_OUT_OF_MEMORY;
}

static enum eg_token_fault add_name(struct eg_grants *grants, enum eg_right right, const char *name)
{
    return eg_channel_name_problem(name, strlen(name)) ? EG_TOKEN_BAD_CLAIM : add(grants, right, name);
}

/* The part of URI templates (RFC 6570) that patterns can say: `{id}` as a whole level is a `*`. A star is nothing
 * special there, but alone. */
static enum eg_token_fault add_selector(struct eg_grants *grants, enum eg_right right, const char *selector)
{
    char pattern[EG_CHANNEL_MAX_BYTES + 1];
    size_t length = 0;
    if (strcmp(selector, "*") == 0)
        return add(grants, right, "**");
    for (const char *at = selector; *at;) {
        size_t level = strcspn(at, "/"), rest = level + (at[level] == '/');
        bool variable =
            level > 2 && at[0] == '{' && strcspn(at + 1, "{}*+#./;?&,:") == level - 2 && at[level - 1] == '}';
        bool plain = strcspn(at, "{}*/") == level;
        size_t needed = variable ? 1 + rest - level : rest;
        if ((!variable && !plain) || length + needed > EG_CHANNEL_MAX_BYTES)
            return EG_TOKEN_BAD_CLAIM;
        memcpy(pattern + length, variable ? (rest > level ? "*/" : "*") : at, needed);
        length += needed;
        at += rest;
    }
    pattern[length] = '\0';
    return add(grants, right, pattern);
}

typedef enum eg_token_fault add_one(struct eg_grants *grants, enum eg_right right, const char *text);

/* An array of strings; nothing where it isn't there. */
static enum eg_token_fault add_list(struct eg_grants *grants, enum eg_right right, const json_t *list,
                                    add_one *add_text)
{
    const json_t *one;
    size_t i;
    enum eg_token_fault fault = list && !json_is_array(list) ? EG_TOKEN_BAD_CLAIM : EG_TOKEN_GOOD;
    json_array_foreach(list, i, one) if (!fault) fault =
        json_is_string(one) ? add_text(grants, right, json_string_value(one)) : EG_TOKEN_BAD_CLAIM;
    return fault;
}

static enum eg_token_fault read_claim(struct eg_grants *grants, const json_t *claim, add_one *add_text)
{
    if (!json_is_object(claim))
        return EG_TOKEN_BAD_CLAIM;
    enum eg_token_fault fault = add_list(grants, EG_RIGHT_SUBSCRIBE, json_object_get(claim, "subscribe"), add_text);
    return fault ? fault : add_list(grants, EG_RIGHT_PUBLISH, json_object_get(claim, "publish"), add_text);
}

static enum eg_token_fault read_own(struct eg_grants *grants, const json_t *claim)
{
    const json_t *admin = json_object_get(claim, "admin");
    if (admin && !json_is_boolean(admin))
        return EG_TOKEN_BAD_CLAIM;
    if (json_is_true(admin))
        eg_grants_set_admin(grants);
    return read_claim(grants, claim, add);
}

static enum eg_token_fault add_channels(struct eg_grants *grants, enum eg_right right, const json_t *claims)
{
    const json_t *channel = json_object_get(claims, "channel");
    enum eg_token_fault fault = add_list(grants, right, json_object_get(claims, "channels"), add_name);
    if (fault || !channel)
        return fault;
    return json_is_string(channel) ? add_name(grants, right, json_string_value(channel)) : EG_TOKEN_BAD_CLAIM;
}

static enum eg_token_fault read_postgres_websockets(struct eg_grants *grants, const json_t *claims)
{
    const char *mode = json_string_value(json_object_get(claims, "mode"));
    enum eg_token_fault fault = EG_TOKEN_GOOD;
    if (!mode || (strcmp(mode, "r") != 0 && strcmp(mode, "w") != 0 && strcmp(mode, "rw") != 0))
        return EG_TOKEN_BAD_CLAIM;
    if (!json_object_get(claims, "channels") && !json_object_get(claims, "channel"))
        return EG_TOKEN_NO_GRANTS;
    if (strchr(mode, 'r'))
        fault = add_channels(grants, EG_RIGHT_SUBSCRIBE, claims);
    if (!fault && strchr(mode, 'w'))
        fault = add_channels(grants, EG_RIGHT_PUBLISH, claims);
    return fault;
}

static enum eg_token_fault read_grants(const struct eg_token_rules *rules, const json_t *claims,
                                       struct eg_grants *grants)
{
    const json_t *own = rules->dialects[EG_CLAIMS_EVENTGATE] ? json_object_get(claims, rules->claim) : NULL;
    const json_t *mercure = rules->dialects[EG_CLAIMS_MERCURE] ? json_object_get(claims, "mercure") : NULL;
    if (own)
        return read_own(grants, own);
    if (mercure)
        return read_claim(grants, mercure, add_selector);
    if (rules->dialects[EG_CLAIMS_POSTGRES_WEBSOCKETS] && json_object_get(claims, "mode"))
        return read_postgres_websockets(grants, claims);
    return EG_TOKEN_NO_GRANTS;
}

enum eg_token_fault eg_token_judge(const struct eg_token_rules *rules, const json_t *claims, int64_t now_s,
                                   struct eg_grants **ret_grants)
{
    const json_t *subject = json_object_get(claims, "sub");
    struct dates dates;
    enum eg_token_fault fault = judge_issuer(rules, claims);
    if (!fault)
        fault = judge_audience(rules, claims);
    if (!fault)
        fault = judge_dates(rules, claims, now_s, &dates);
    if (!fault && subject && (!json_is_string(subject) || json_string_length(subject) > EG_SUBJECT_MAX_BYTES))
        fault = EG_TOKEN_BAD_CLAIM;
    if (fault)
        return fault;
    struct eg_bytes name = {json_string_value(subject), json_string_length(subject)};
    struct eg_grants *grants = eg_grants_new(name, dates.issued_s, dates.expires_s);
    if (!grants)
        return EG_TOKEN_OUT_OF_MEMORY;
    fault = read_grants(rules, claims, grants);
    if (fault)
        eg_grants_unref(grants);
    else
        *ret_grants = grants;
    return fault;
}

/*
 * Request targets, routes, and the kind of a body.
 */
#include "eventgate/request.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "eventgate/assets.h"
#include "eventgate/utf8.h"

int eg_refuse(struct eg_refusal *refusal, enum eg_problem problem, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    refusal->problem = problem;
    vsnprintf(refusal->detail, sizeof(refusal->detail), format, arguments);
    va_end(arguments);
    return -EINVAL;
}

/* --- targets ---------------------------------------------------------------------------------------------------------
 */

static int hex_digit(char letter)
{
    if (letter >= '0' && letter <= '9')
        return letter - '0';
    if (letter >= 'a' && letter <= 'f')
        return letter - 'a' + 10;
    return letter >= 'A' && letter <= 'F' ? letter - 'A' + 10 : -1;
}

/* Decodes one part of the target to `*to`, which it moves on, with a NUL behind it. */
static int decode(const char *text, size_t length, bool plus_is_space, char **to, struct eg_bytes *ret_decoded,
                  struct eg_refusal *refusal)
{
    char *start = *to, *out = start;
    for (size_t i = 0; i < length; i++) {
        char byte = text[i];
        if (byte == '%') {
            int high = i + 2 < length ? hex_digit(text[i + 1]) : -1;
            int low = i + 2 < length ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return eg_refuse(
                    refusal, EG_PROBLEM_BAD_REQUEST,
                    "The URL has a %% that isn't followed by two hexadecimal digits; write %%25 for the sign itself.");
            byte = (char)(high * 16 + low);
            i += 2;
        } else if (byte == '+' && plus_is_space) {
            byte = ' ';
        }
        if ((unsigned char)byte < 0x20 || byte == 0x7f)
            return eg_refuse(refusal, EG_PROBLEM_BAD_REQUEST, "The URL has a control byte.");
        *out++ = byte;
    }
    *ret_decoded = (struct eg_bytes){start, (size_t)(out - start)};
    *out++ = '\0';
    *to = out;
    if (!eg_utf8_valid(start, ret_decoded->length))
        return eg_refuse(refusal, EG_PROBLEM_BAD_REQUEST, "The URL is not UTF-8 when its escapes are resolved.");
    return 0;
}

static int check_levels(struct eg_bytes path, struct eg_refusal *refusal)
{
    const char *end = path.data + path.length;
    if (path.length == 0 || path.data[0] != '/')
        return eg_refuse(refusal, EG_PROBLEM_BAD_REQUEST, "The path does not begin with a slash.");
    for (const char *level = path.data + 1; level <= end;) {
        const char *stop = memchr(level, '/', (size_t)(end - level));
        stop = stop ? stop : end;
        size_t length = (size_t)(stop - level);
        if ((length == 1 && level[0] == '.') || (length == 2 && level[0] == '.' && level[1] == '.'))
            return eg_refuse(refusal, EG_PROBLEM_BAD_REQUEST, "The path has a level \".\" or \"..\".");
        if (length == 0 && stop != end)
            return eg_refuse(refusal, EG_PROBLEM_BAD_REQUEST, "The path has an empty level (//).");
        level = stop + 1;
    }
    return 0;
}

static size_t count_parameters(const char *query, size_t length)
{
    size_t count = length ? 1 : 0;
    for (size_t i = 0; i < length; i++)
        count += query[i] == '&';
    return count;
}

static int read_query(const char *query, size_t length, char **to, struct eg_target *target, struct eg_refusal *refusal)
{
    const char *end = query + length;
    while (query < end) {
        const char *stop = memchr(query, '&', (size_t)(end - query));
        stop = stop ? stop : end;
        const char *equals = memchr(query, '=', (size_t)(stop - query));
        const char *name_end = equals ? equals : stop, *value = equals ? equals + 1 : stop;
        if (stop > query) {
            struct eg_parameter *parameter = &target->parameters[target->parameter_count++];
            int error = decode(query, (size_t)(name_end - query), true, to, &parameter->name, refusal);
            if (!error)
                error = decode(value, (size_t)(stop - value), true, to, &parameter->value, refusal);
            if (error)
                return error;
        }
        query = stop + 1;
    }
    return 0;
}

int eg_target_parse(const char *target, size_t length, struct eg_target *ret_target, struct eg_refusal *ret_refusal)
{
    struct eg_target parsed = {.parameter_count = 0};
    const char *mark = memchr(target, '?', length);
    size_t path_length = mark ? (size_t)(mark - target) : length;
    const char *query = mark ? mark + 1 : target + length;
    size_t query_length = (size_t)(target + length - query);
    size_t count = count_parameters(query, query_length);
    if (count > EG_REQUEST_MAX_PARAMETERS)
        return eg_refuse(ret_refusal, EG_PROBLEM_BAD_PARAMETER, "The URL has more than %d parameters.",
                         EG_REQUEST_MAX_PARAMETERS);
    /* Decoding never makes text longer; each part gets a NUL. */
    parsed.memory = malloc(length + 2 * count + 2);
    parsed.parameters = calloc(count ? count : 1, sizeof(*parsed.parameters));
    char *to = parsed.memory;
    int error = parsed.memory && parsed.parameters ? 0 : -ENOMEM;
    if (!error)
        error = decode(target, path_length, false, &to, &parsed.path, ret_refusal);
    if (!error)
        error = check_levels(parsed.path, ret_refusal);
    if (!error)
        error = read_query(query, query_length, &to, &parsed, ret_refusal);
    if (error)
        eg_target_done(&parsed);
    else
        *ret_target = parsed;
    return error;
}

void eg_target_done(struct eg_target *target)
{
    free(target->parameters);
    free(target->memory);
    memset(target, 0, sizeof(*target));
}

/* --- routes ----------------------------------------------------------------------------------------------------------
 */

static const struct {
    const char *path;
    enum eg_route route;
    const char *allow;
} routes[] = {
    {"/events", EG_ROUTE_EVENTS, "GET, HEAD, POST, OPTIONS"}, {"/channels", EG_ROUTE_CHANNELS, "GET, HEAD, OPTIONS"},
    {"/sets", EG_ROUTE_SETS, "GET, HEAD, OPTIONS"},           {"/livez", EG_ROUTE_LIVEZ, "GET, HEAD, OPTIONS"},
    {"/readyz", EG_ROUTE_READYZ, "GET, HEAD, OPTIONS"},       {"/healthz", EG_ROUTE_HEALTHZ, "GET, HEAD, OPTIONS"},
    {"/metrics", EG_ROUTE_METRICS, "GET, HEAD, OPTIONS"},     {"/{file}", EG_ROUTE_ASSET, "GET, HEAD, OPTIONS"},
};

enum eg_route eg_route_find(struct eg_bytes path, struct eg_bytes *ret_channel)
{
    static const char channels[] = "/channels/";
    size_t prefix = sizeof(channels) - 1;
    *ret_channel = (struct eg_bytes){"", 0};
    if (path.length > prefix && memcmp(path.data, channels, prefix) == 0) {
        *ret_channel = (struct eg_bytes){path.data + prefix, path.length - prefix};
        return EG_ROUTE_CHANNEL;
    }
    for (size_t i = 0; i < EG_ARRAY_LENGTH(routes); i++)
        if (routes[i].route != EG_ROUTE_ASSET && strcmp(routes[i].path, path.data) == 0)
            return routes[i].route;
    return eg_asset_find(path) ? EG_ROUTE_ASSET : EG_ROUTE_NONE;
}

const char *eg_route_allow(enum eg_route route)
{
    for (size_t i = 0; i < EG_ARRAY_LENGTH(routes); i++)
        if (routes[i].route == route)
            return routes[i].allow;
    return "GET, HEAD, POST, OPTIONS";
}

const char *eg_route_name(enum eg_route route)
{
    for (size_t i = 0; i < EG_ARRAY_LENGTH(routes); i++)
        if (routes[i].route == route)
            return routes[i].path;
    return route == EG_ROUTE_CHANNEL ? "/channels/{channel}" : NULL;
}

/* --- bodies ----------------------------------------------------------------------------------------------------------
 */

static bool type_is(struct eg_bytes type, const char *name)
{
    return type.length == strlen(name) && strncasecmp(type.data, name, type.length) == 0;
}

static bool is_json_type(struct eg_bytes type)
{
    return type_is(type, "application/json") || (type.length > 17 && strncasecmp(type.data, "application/", 12) == 0 &&
                                                 strncasecmp(type.data + type.length - 5, "+json", 5) == 0);
}

/* Any charset parameter must be one that is UTF-8. */
static bool charset_fits(const char *parameters)
{
    const char *charset = strcasestr(parameters, "charset");
    if (!charset)
        return true;
    charset += strlen("charset");
    charset += strspn(charset, " \t=\"");
    size_t length = strcspn(charset, " \t;\"");
    struct eg_bytes name = {charset, length};
    return type_is(name, "utf-8") || type_is(name, "utf8") || type_is(name, "us-ascii");
}

int eg_body_kind_read(const char *content_type, const char *content_encoding, enum eg_body_kind *ret_kind,
                      struct eg_refusal *ret_refusal)
{
    if (content_encoding && strcasecmp(content_encoding, "identity") != 0)
        return eg_refuse(ret_refusal, EG_PROBLEM_UNSUPPORTED_TYPE,
                         "Send the body uncompressed, without Content-Encoding.");
    *ret_kind = EG_BODY_UNSAID;
    if (!content_type || !content_type[strspn(content_type, " \t")])
        return 0;
    struct eg_bytes type = {content_type, strcspn(content_type, " \t;")};
    if (!charset_fits(content_type + type.length))
        return eg_refuse(ret_refusal, EG_PROBLEM_UNSUPPORTED_TYPE, "Send the body in UTF-8.");
    if (is_json_type(type))
        *ret_kind = EG_BODY_JSON;
    else if (type_is(type, "application/x-ndjson") || type_is(type, "application/jsonl") ||
             type_is(type, "application/ndjson"))
        *ret_kind = EG_BODY_NDJSON;
    else if (strncasecmp(type.data, "text/", 5) == 0)
        *ret_kind = EG_BODY_TEXT;
    else if (!type_is(type, "application/x-www-form-urlencoded"))
        return eg_refuse(ret_refusal, EG_PROBLEM_UNSUPPORTED_TYPE,
                         "\"%.*s\" cannot be published. Send application/json or text/plain; a batch to /events can be "
                         "application/x-ndjson too.",
                         type.length > 100 ? 100 : (int)type.length, type.data);
    return 0;
}

/*
 * Origins and hosts: syntax, and what a list allows.
 *
 * A host is compared as text: a name in another spelling (a trailing dot, an address with leading zeros) is another
 * host, which is allowed only if somebody lists it so.
 */
#include "eventgate/origin.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX_BYTES 253

/* A host taken apart: "name", "name:port", "[address]:port". */
struct host {
    struct eg_bytes name;
    const char *port; /* digits, or "" */
    bool wild;        /* the name stands behind "*." */
};

static bool is_name_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
           byte == '-' || byte == '_' || byte == '.';
}

static bool is_address(struct eg_bytes text, int family)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (text.length >= sizeof(copy))
        return false;
    memcpy(copy, text.data, text.length);
    copy[text.length] = '\0';
    return inet_pton(family, copy, &address) == 1;
}

static bool is_port(const char *text)
{
    size_t length = strspn(text, "0123456789");
    return length > 0 && length <= 5 && text[length] == '\0' && strtoul(text, NULL, 10) <= UINT16_MAX;
}

static bool is_name(struct eg_bytes name)
{
    if (name.length == 0 || name.length > HOST_MAX_BYTES || name.data[0] == '.')
        return false;
    for (size_t i = 0; i < name.length; i++)
        if (!is_name_byte(name.data[i]) || (name.data[i] == '.' && i > 0 && name.data[i - 1] == '.'))
            return false;
    return true;
}

/* False if it is no host. */
static bool take_apart(const char *text, struct host *ret_host)
{
    struct host host = {.wild = strncmp(text, "*.", 2) == 0};
    const char *start = text + (host.wild ? 2 : 0), *end;
    if (start[0] == '[') {
        end = strchr(start, ']');
        if (!end || host.wild || !is_address((struct eg_bytes){start + 1, (size_t)(end - start) - 1}, AF_INET6))
            return false;
        end++;
        host.name = (struct eg_bytes){start, (size_t)(end - start)};
    } else {
        end = start + strcspn(start, ":");
        host.name = (struct eg_bytes){start, (size_t)(end - start)};
        if (!is_name(host.name))
            return false;
    }
    host.port = *end == ':' ? end + 1 : end;
    if (*end && (*end != ':' || !is_port(host.port)))
        return false;
    *ret_host = host;
    return true;
}

static bool same(struct eg_bytes a, struct eg_bytes b)
{
    return a.length == b.length && strncasecmp(a.data, b.data, a.length) == 0;
}

/* Is it a name below `domain`? */
static bool is_below(struct eg_bytes name, struct eg_bytes domain)
{
    if (name.length < domain.length + 2 || name.data[name.length - domain.length - 1] != '.')
        return false;
    return strncasecmp(name.data + name.length - domain.length, domain.data, domain.length) == 0;
}

static bool name_matches(const struct host *pattern, const struct host *host)
{
    return !host->wild && (pattern->wild ? is_below(host->name, pattern->name) : same(host->name, pattern->name));
}

/* --- hosts ------------------------------------------------------------------------------------------------------- */

const char *eg_host_problem(const char *pattern)
{
    struct host host;
    if (strcmp(pattern, "*") == 0 || take_apart(pattern, &host))
        return NULL;
    return "is no host: it is a name or an address as in events.example, events.example:8080, [::1], *.example for all "
           "below it, or * for any";
}

bool eg_host_matches(const char *pattern, const char *host)
{
    struct host allowed, asked;
    if (strcmp(pattern, "*") == 0)
        return true;
    return take_apart(pattern, &allowed) && take_apart(host, &asked) && name_matches(&allowed, &asked) &&
           (!allowed.port[0] || strcmp(allowed.port, asked.port) == 0);
}

bool eg_host_is_private(const char *host)
{
    static const char *const domains[] = {"localhost", "test", "local", "internal", "home.arpa"};
    struct host asked;
    if (!take_apart(host, &asked) || asked.wild)
        return false;
    if (asked.name.data[0] == '[' || is_address(asked.name, AF_INET) ||
        !memchr(asked.name.data, '.', asked.name.length))
        return true;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(domains); i++)
        if (is_below(asked.name, (struct eg_bytes){domains[i], strlen(domains[i])}))
            return true;
    return false;
}

/* --- origins ----------------------------------------------------------------------------------------------------- */

/* Its scheme, and its host; false if it is no origin. */
static bool read_origin(const char *text, struct eg_bytes *ret_scheme, struct host *ret_host)
{
    const char *mark = strstr(text, "://");
    if (!mark || mark == text)
        return false;
    *ret_scheme = (struct eg_bytes){text, (size_t)(mark - text)};
    for (const char *at = text; at < mark; at++)
        if (!is_name_byte(*at) && *at != '+')
            return false;
    return take_apart(mark + 3, ret_host);
}

/* The port that browsers leave out. */
static const char *default_port(struct eg_bytes scheme)
{
    if (same(scheme, (struct eg_bytes){"https", 5}))
        return "443";
    return same(scheme, (struct eg_bytes){"http", 4}) ? "80" : "";
}

const char *eg_origin_problem(const char *pattern)
{
    struct eg_bytes scheme;
    struct host host;
    if (strcmp(pattern, "*") == 0)
        return NULL;
    if (!read_origin(pattern, &scheme, &host))
        return "is no origin: it is scheme, host and perhaps port as in https://app.example, http://localhost:3000, "
               "https://*.example for all below it, or * for any; with nothing behind it";
    if (host.port[0] && strcmp(host.port, default_port(scheme)) == 0)
        return "has the port that its scheme has anyway, which browsers leave out: leave it out too";
    return NULL;
}

bool eg_origin_matches(const char *pattern, const char *origin)
{
    struct eg_bytes allowed_scheme, scheme;
    struct host allowed, host;
    return read_origin(pattern, &allowed_scheme, &allowed) && read_origin(origin, &scheme, &host) &&
           same(allowed_scheme, scheme) && name_matches(&allowed, &host) && strcmp(allowed.port, host.port) == 0;
}

bool eg_origin_is_of_host(const char *origin, const char *host)
{
    struct eg_bytes scheme;
    struct host of_origin, asked;
    if (!read_origin(origin, &scheme, &of_origin) || !take_apart(host, &asked) || of_origin.wild || asked.wild)
        return false;
    const char *usual = default_port(scheme);
    const char *port = of_origin.port[0] ? of_origin.port : usual, *asked_port = asked.port[0] ? asked.port : usual;
    return same(of_origin.name, asked.name) && strcmp(port, asked_port) == 0;
}

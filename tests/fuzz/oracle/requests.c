/*
 * The request line and each field are looked at by themselves, with strspn() and memmem(), once the end of the head has
 * been found; then the body is cut out.
 */
#include "requests.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TOKEN                                                                                                          \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"                                                   \
    "!#$%&'*+-.^_`|~"
#define HOST "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~%:[]"
#define HEX "0123456789abcdefABCDEF"

struct span {
    const char *data;
    size_t length;
};

struct framing {
    bool http_1_0, host, chunked, has_length;
    unsigned once; /* bit set of the fields that may come once */
    unsigned count;
    unsigned long long length;
};

static bool is(struct span text, const char *word)
{
    return text.length == strlen(word) && strncasecmp(text.data, word, text.length) == 0;
}

/* All bytes are among these; none is NUL. */
static bool consists_of(struct span text, const char *bytes)
{
    for (size_t i = 0; i < text.length; i++)
        if (!text.data[i] || !strchr(bytes, text.data[i]))
            return false;
    return true;
}

static bool has_control(struct span text, bool tab_is_one)
{
    for (size_t i = 0; i < text.length; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte == 0x7f || (byte < 0x20 && (byte != '\t' || tab_is_one)))
            return true;
    }
    return false;
}

static bool good_target(struct span target, bool options)
{
    char level[2048] = "/";
    size_t length = 1, mark = target.length;
    if (options && target.length == 1 && target.data[0] == '*')
        return true;
    if (target.length == 0 || target.length > sizeof(level) - 3 || target.data[0] != '/' || has_control(target, true) ||
        memchr(target.data, '#', target.length))
        return false;
    for (size_t i = 1; i < target.length; i++) {
        char byte = target.data[i];
        if (byte == '?' && mark == target.length)
            mark = i;
        if (byte == '%') {
            char digits[3] = {i + 2 < target.length ? target.data[i + 1] : 'x',
                              i + 2 < target.length ? target.data[i + 2] : 'x', '\0'};
            if (strspn(digits, HEX) != 2)
                return false;
            byte = (char)strtoul(digits, NULL, 16);
            if (has_control((struct span){&byte, 1}, true))
                return false;
            i += 2;
        }
        if (mark == target.length)
            level[length++] = byte;
    }
    level[length++] = '/';
    return !memmem(level, length, "/./", 3) && !memmem(level, length, "/../", 4);
}

static bool good_line(struct span line, struct framing *framing, struct oracle_request *request)
{
    const char *first = memchr(line.data, ' ', line.length), *last = memrchr(line.data, ' ', line.length);
    if (!first || first == last)
        return false;
    struct span method = {line.data, (size_t)(first - line.data)};
    struct span target = {first + 1, (size_t)(last - first - 1)};
    struct span version = {last + 1, (size_t)(line.data + line.length - last - 1)};
    *request = (struct oracle_request){method.data, target.data, method.length, target.length, NULL, 0};
    framing->http_1_0 = version.length == 8 && memcmp(version.data, "HTTP/1.0", 8) == 0;
    return method.length > 0 && consists_of(method, TOKEN) && !memchr(target.data, ' ', target.length) &&
           good_target(target, method.length == 7 && memcmp(method.data, "OPTIONS", 7) == 0) &&
           (framing->http_1_0 || (version.length == 8 && memcmp(version.data, "HTTP/1.1", 8) == 0));
}

static bool good_value(struct span name, struct span value, struct framing *framing)
{
    if (is(name, "host")) {
        framing->host = true;
        return consists_of(value, HOST);
    }
    if (is(name, "content-length")) {
        framing->has_length = true;
        for (size_t i = 0; i < value.length && framing->length < 1000000000; i++)
            framing->length = framing->length * 10 + (unsigned long long)(value.data[i] - '0');
        return value.length > 0 && consists_of(value, "0123456789");
    }
    if (is(name, "transfer-encoding")) {
        framing->chunked = true;
        return is(value, "chunked");
    }
    return !is(name, "expect") || is(value, "100-continue");
}

static bool good_field(struct span line, struct framing *framing)
{
    static const char *const once[] = {"host",         "content-length",   "transfer-encoding", "expect",
                                       "content-type", "content-encoding", "authorization",     "cookie",
                                       "origin",       "idempotency-key",  "last-event-id"};
    const char *colon = memchr(line.data, ':', line.length);
    if (++framing->count > EG_HEAD_MAX_FIELDS || !colon)
        return false;
    struct span name = {line.data, (size_t)(colon - line.data)};
    struct span value = {colon + 1, line.length - name.length - 1};
    while (value.length > 0 && (value.data[0] == ' ' || value.data[0] == '\t'))
        value = (struct span){value.data + 1, value.length - 1};
    if (name.length == 0 || !consists_of(name, TOKEN) || has_control(value, false))
        return false;
    for (unsigned i = 0; i < EG_ARRAY_LENGTH(once); i++) {
        if (!is(name, once[i]))
            continue;
        if (framing->once & (1u << i))
            return false;
        framing->once |= 1u << i;
    }
    return good_value(name, value, framing);
}

static bool good_head(const char *at, const char *end, struct framing *framing, struct oracle_request *request)
{
    for (bool first = true; at < end; first = false) {
        const char *stop = memmem(at, (size_t)(end - at), "\r\n", 2);
        struct span line = {at, (size_t)(stop - at)};
        if (first ? !good_line(line, framing, request) : !good_field(line, framing))
            return false;
        at = stop + 2;
    }
    return (framing->host || framing->http_1_0) && !(framing->chunked && (framing->has_length || framing->http_1_0));
}

/* A chunk's line: up to its CR LF; its size. */
static enum oracle_verdict chunk_line(const char **at, const char *end, size_t *extensions, size_t *ret_size)
{
    const char *stop = memchr(*at, '\r', (size_t)(end - *at));
    struct span line = {*at, (size_t)((stop ? stop : end) - *at)};
    size_t digits = 0;
    while (digits < line.length && line.data[digits] && strchr(HEX, line.data[digits]))
        digits++;
    if (digits > 16 || (digits < line.length && (digits == 0 || line.data[digits] != ';')) ||
        has_control(line, false) || (stop && digits == 0))
        return ORACLE_BAD;
    *extensions += line.length > digits ? line.length - digits - 1 : 0;
    if (*extensions > 256)
        return ORACLE_BAD;
    if (!stop || stop + 1 == end)
        return ORACLE_UNFINISHED;
    *ret_size = strtoul(*at, NULL, 16);
    *at = stop + 2;
    return stop[1] == '\n' && *ret_size <= (1ull << 32) ? ORACLE_GOOD : ORACLE_BAD;
}

static enum oracle_verdict chunks(const char **at, const char *end, size_t most, struct oracle_request *request)
{
    size_t size, extensions = 0;
    for (;;) {
        enum oracle_verdict verdict = chunk_line(at, end, &extensions, &size);
        if (verdict != ORACLE_GOOD)
            return verdict;
        if (size > most - request->body_length)
            return ORACLE_BAD;
        if ((size_t)(end - *at) < size + 2)
            return ORACLE_UNFINISHED; /* a wrong end may have come already */
        memcpy(request->body + request->body_length, *at, size);
        request->body_length += size;
        *at += size + 2;
        if (memcmp(*at - 2, "\r\n", 2) != 0)
            return ORACLE_BAD;
        if (size == 0)
            return ORACLE_GOOD;
    }
}

enum oracle_verdict oracle_request(const char **at, const char *end, const struct eg_head_limits *limits,
                                   struct oracle_request *ret_request)
{
    struct framing framing = {.count = 0};
    struct oracle_request request;
    const char *stop = memmem(*at, (size_t)(end - *at), "\r\n\r\n", 4);
    if (!stop)
        return (size_t)(end - *at) > limits->max_head_bytes ? ORACLE_BAD : ORACLE_UNFINISHED;
    if ((size_t)(stop + 4 - *at) > limits->max_head_bytes || !good_head(*at, stop + 2, &framing, &request) ||
        framing.length > limits->max_body_bytes)
        return ORACLE_BAD;
    enum oracle_verdict verdict = ORACLE_GOOD;
    const char *body = stop + 4;
    request.body = malloc(limits->max_body_bytes + 1);
    request.body_length = 0;
    if (framing.chunked) {
        verdict = chunks(&body, end, limits->max_body_bytes, &request);
    } else if ((size_t)(end - body) < framing.length) {
        verdict = ORACLE_UNFINISHED;
    } else {
        memcpy(request.body, body, framing.length);
        request.body_length = framing.length;
        body += framing.length;
    }
    if (verdict == ORACLE_GOOD)
        *at = body;
    if (verdict == ORACLE_GOOD && ret_request)
        *ret_request = request;
    else
        free(request.body);
    return verdict;
}

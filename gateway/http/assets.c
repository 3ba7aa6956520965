/*
 * Serves the table of files that are compiled in.
 *
 * A browser keeps them, and asks before each use whether they are still the same (no-cache): after an upgrade nobody
 * has a client of one version beside a gateway of another.
 */
#include "eventgate/assets.h"

#include <string.h>
#include <strings.h>

/* Nothing but what comes from here itself; images may stand in the page, too. And no script makes HTML, or code, of a
 * text: browsers that know Trusted Types refuse it. */
#define PAGE_POLICY                                                                                                    \
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "              \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "                \
    "trusted-types 'none'"

const struct eg_web_file *eg_asset_find(struct eg_bytes path)
{
    for (size_t i = 0; i < eg_web_file_count; i++)
        if (strlen(eg_web_files[i].path) == path.length && memcmp(eg_web_files[i].path, path.data, path.length) == 0)
            return &eg_web_files[i];
    return NULL;
}

static bool weighs_nothing(const char *parameters, size_t length)
{
    size_t at = strspn(parameters, "; \t");
    if (at + 2 > length || (parameters[at] != 'q' && parameters[at] != 'Q') || parameters[at + 1] != '=')
        return false;
    at += 2;
    return at + strspn(parameters + at, "0.") >= length;
}

const struct eg_web_body *eg_asset_body(const struct eg_web_file *file, const char *accept_encoding)
{
    bool any = false;
    for (const char *at = accept_encoding ? accept_encoding : ""; *at;) {
        at += strspn(at, " \t,");
        size_t name = strcspn(at, " \t;,"), length = strcspn(at, ",");
        while (length > name && strchr(" \t", at[length - 1]))
            length--;
        bool wanted = !weighs_nothing(at + name, length - name);
        if (name == strlen("gzip") && strncasecmp(at, "gzip", name) == 0)
            return wanted ? &file->gzip : &file->plain;
        any = any || (name == 1 && *at == '*' && wanted);
        at += strcspn(at, ",");
    }
    return any ? &file->gzip : &file->plain;
}

bool eg_asset_is_known(const struct eg_web_body *body, const char *if_none_match)
{
    static const char blank[] = " \t,";
    const char *at = if_none_match ? if_none_match + strspn(if_none_match, blank) : "";
    size_t length = strlen(body->etag);
    if (*at == '*')
        return at[1 + strspn(at + 1, blank)] == '\0';
    while (*at) {
        at += strncmp(at, "W/", 2) == 0 ? 2 : 0;
        const char *end = *at == '"' ? strchr(at + 1, '"') : NULL;
        if (!end)
            return false;
        end++;
        if ((size_t)(end - at) == length && memcmp(at, body->etag, length) == 0)
            return true;
        at = end + strspn(end, blank);
    }
    return false;
}

void eg_asset_headers(const struct eg_web_file *file, const struct eg_web_body *body,
                      struct eg_header ret_headers[EG_ASSET_HEADERS_MAX + 1])
{
    size_t count = 0;
    ret_headers[count++] = (struct eg_header){"ETag", body->etag};
    ret_headers[count++] = (struct eg_header){"Vary", "Accept-Encoding"};
    ret_headers[count++] = (struct eg_header){"Cache-Control", "no-cache"};
    ret_headers[count++] = (struct eg_header){"Referrer-Policy", "no-referrer"};
    if (body == &file->gzip)
        ret_headers[count++] = (struct eg_header){"Content-Encoding", "gzip"};
    if (strncmp(file->media_type, "text/html", strlen("text/html")) == 0)
        ret_headers[count++] = (struct eg_header){"Content-Security-Policy", PAGE_POLICY};
    ret_headers[count] = (struct eg_header){NULL, NULL};
}

/* All headers of that name as one text, owned by `memory`; NULL for none, and without memory. */
static const char *joined(struct eg_exchange *exchange, const char *name, struct eg_buffer *memory)
{
    if (!eg_exchange_header_list(exchange, name, memory))
        return NULL;
    eg_buffer_add(memory, "", 1);
    return memory->failed ? NULL : memory->data;
}

void eg_asset_handle(struct eg_exchange *exchange)
{
    const struct eg_web_file *file = eg_asset_find(exchange->target.path); /* there is one: the route says so */
    struct eg_header headers[EG_ASSET_HEADERS_MAX + 1];
    struct eg_buffer codings = EG_BUFFER_INIT, conditions = EG_BUFFER_INIT;
    const struct eg_web_body *body = eg_asset_body(file, joined(exchange, "Accept-Encoding", &codings));
    bool known = eg_asset_is_known(body, joined(exchange, "If-None-Match", &conditions));
    eg_buffer_done(&codings);
    eg_buffer_done(&conditions);
    eg_asset_headers(file, body, headers);
    eg_exchange_reply_constant(exchange, known ? 304 : 200, file->media_type, body->data, body->length, headers);
}

/*
 * Serves the table of files that are compiled in.
 *
 * A browser keeps them, and asks before each use whether they are still the same (no-cache): after an upgrade nobody
 * has a client of one version beside a gateway of another.
 */
#include "eventgate/assets.h"

#include <string.h>

/* Nothing but what comes from here itself; images may stand in the page, too. */
#define PAGE_POLICY                                                                                                    \
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "              \
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const struct eg_web_file *eg_asset_find(struct eg_bytes path)
{
    for (size_t i = 0; i < eg_web_file_count; i++)
        if (strlen(eg_web_files[i].path) == path.length && memcmp(eg_web_files[i].path, path.data, path.length) == 0)
            return &eg_web_files[i];
    return NULL;
}

bool eg_asset_is_known(const struct eg_web_file *file, const char *if_none_match)
{
    static const char blank[] = " \t,";
    const char *at = if_none_match ? if_none_match + strspn(if_none_match, blank) : "";
    size_t length = strlen(file->etag);
    if (*at == '*')
        return at[1 + strspn(at + 1, blank)] == '\0';
    while (*at) {
        at += strncmp(at, "W/", 2) == 0 ? 2 : 0;
        const char *end = *at == '"' ? strchr(at + 1, '"') : NULL;
        if (!end)
            return false;
        end++;
        if ((size_t)(end - at) == length && memcmp(at, file->etag, length) == 0)
            return true;
        at = end + strspn(end, blank);
    }
    return false;
}

void eg_asset_headers(const struct eg_web_file *file, struct eg_header ret_headers[EG_ASSET_HEADERS_MAX + 1])
{
    size_t count = 0;
    ret_headers[count++] = (struct eg_header){"ETag", file->etag};
    ret_headers[count++] = (struct eg_header){"Cache-Control", "no-cache"};
    ret_headers[count++] = (struct eg_header){"Referrer-Policy", "no-referrer"};
    if (strncmp(file->media_type, "text/html", strlen("text/html")) == 0)
        ret_headers[count++] = (struct eg_header){"Content-Security-Policy", PAGE_POLICY};
    ret_headers[count] = (struct eg_header){NULL, NULL};
}

void eg_asset_handle(struct eg_exchange *exchange)
{
    const struct eg_web_file *file = eg_asset_find(exchange->target.path); /* there is one: the route says so */
    struct eg_header headers[EG_ASSET_HEADERS_MAX + 1];
    struct eg_buffer conditions = EG_BUFFER_INIT;
    eg_asset_headers(file, headers);
    bool known = false;
    if (eg_exchange_header_list(exchange, "If-None-Match", &conditions)) {
        eg_buffer_add(&conditions, "", 1);
        known = !conditions.failed && eg_asset_is_known(file, conditions.data);
    }
    eg_buffer_done(&conditions);
    eg_exchange_reply_constant(exchange, known ? 304 : 200, file->media_type, file->data, file->length, headers);
}

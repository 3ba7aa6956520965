/*
 * What the gateway serves of itself: the browser client, the description of its API, and its page, all compiled in.
 * They are the same for everybody and say nothing about the installation, so they need no token.
 */
#ifndef EG_ASSETS_H
#define EG_ASSETS_H

#include <stdbool.h>

#include "eventgate/server.h"
#include "eventgate/web_files.h"

/* The file of that path, or NULL. Any thread. */
const struct eg_web_file *eg_asset_find(struct eg_bytes path);

/* What of the file a client is sent. `accept_encoding`: the value of Accept-Encoding, NULL for none: gzip if it names
 * that, or `*`, with a weight that isn't 0 (RFC 9110 section 12.5.3). Any thread. */
const struct eg_web_body *eg_asset_body(const struct eg_web_file *file, const char *accept_encoding);

/* Has the client this very body? `if_none_match`: the value of If-None-Match, NULL for none: `*`, or entity tags, which
 * are compared weakly (RFC 9110 section 13.1.2); what is no tag, and what follows it, counts as absent. Any thread. */
bool eg_asset_is_known(const struct eg_web_body *body, const char *if_none_match);

#define EG_ASSET_HEADERS_MAX 6

/* The headers of its answers, 304 among them, in a list that ends with NULL. Any thread. */
void eg_asset_headers(const struct eg_web_file *file, const struct eg_web_body *body,
                      struct eg_header ret_headers[EG_ASSET_HEADERS_MAX + 1]);

/* Answers GET and HEAD of EG_ROUTE_ASSET: 200, or 304 if the client has it. The worker's thread. */
void eg_asset_handle(struct eg_exchange *exchange);

#endif

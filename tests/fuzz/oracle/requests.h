/*
 * A second reader of HTTP/1.x requests, for comparison: over the whole text, line by line, where the gateway's own
 * check sees one byte after the other. It takes what include/eventgate/head.h says is good.
 */
#ifndef ORACLE_REQUESTS_H
#define ORACLE_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>

#include "eventgate/head.h"

enum oracle_verdict { ORACLE_GOOD, ORACLE_BAD, ORACLE_UNFINISHED };

struct oracle_request {
    const char *method, *target; /* in the text */
    size_t method_length, target_length;
    char *body; /* without its chunks; to be freed */
    size_t body_length;
};

/* Reads the request at `*at`, moves it behind it if that is good, and fills `ret_request`, which may be NULL. */
enum oracle_verdict oracle_request(const char **at, const char *end, const struct eg_head_limits *limits,
                                   struct oracle_request *ret_request);

#endif

/*
 * The only module that knows jansson: is this text JSON, and the reading of small JSON documents.
 */
#ifndef EG_JSON_H
#define EG_JSON_H

#include <stdbool.h>

#include "eventgate/buffer.h"
#include "eventgate/common.h"

/* jansson's JSON_PARSER_MAX_DEPTH; each level of it is one of ours. */
#define EG_JSON_TOO_DEEP "is nested more deeply than 2,048 levels"

/* Is `data` one JSON text by RFC 8259, that we can carry as it is? Any value at the top; numbers of any size within a
 * double's range; at most 2,048 levels; valid UTF-8. Needs no NUL at the end. 0: it is. -EINVAL: it isn't. -ENOMEM:
 * that could not be found out. Cost: linear. Any thread. */
int eg_json_check(const char *data, size_t length) EG_MUST_CHECK;

/* Of a text that isn't valid: why not, as the end of a sentence ("isn't (RFC 8259)"); nothing of the text is in it. */
const char *eg_json_problem(const char *data, size_t length);

/* Appends a valid JSON text, each line break and tab outside of strings replaced by a space (so that it is one line).
 */
void eg_json_add_one_line(struct eg_buffer *buffer, const char *data, size_t length);

/* One item of a batch publish. All bytes but those of `json` are owned by the eg_json_batch. `data` is the item's own
 * JSON text if it was any JSON value but a string; for a string its text, unescaped (so that it reaches psql as typed).
 */
struct eg_json_batch_item {
    struct eg_bytes channel;
    struct eg_bytes data;
    struct eg_bytes json; /* the JSON text of `data`: that part of the body */
    bool has_type;        /* a "type" member was given (durable channels only) */
    bool has_key;
    bool has_trace;
    struct eg_bytes type, key, trace; /* with them */
};

struct eg_json_batch {
    struct eg_json_batch_item *items;
    size_t count;
};

/*
 * Reads a batch body: a JSON array of {"channel","data","type"?,"key"?,"trace"?}, or (`ndjson`) one such object a line,
 * empty lines skipped. Numbers in "data" keep their text only as far as the value was given as such: the item's text is
 * cut from the body itself, never re-serialised. More than `max_items`: -E2BIG; an unknown member, a missing or doubled
 * one, wrong types, or bad JSON: -EINVAL, with a sentence in `ret_error` that names the item (counted from 1) and says
 * what is right. -ENOMEM. Free with eg_json_batch_done().
 */
int eg_json_batch_parse(const char *body, size_t length, bool ndjson, size_t max_items, struct eg_json_batch *ret_batch,
                        struct eg_error *ret_error) EG_MUST_CHECK;
void eg_json_batch_done(struct eg_json_batch *batch);

/* For this module's files: what uses jansson, as one run of the scratch pad, which frees all that jansson has allocated
 * (see scratch.h). False: out of memory. */
bool eg_json_run(void (*work)(void *context), void *context) EG_MUST_CHECK;

#endif

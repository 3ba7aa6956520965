/*
 * The body of a batch publish.
 *
 * jansson decides what is valid and what the strings mean, but keeps no text of numbers; so the text of "data" is cut
 * from the body itself. The scanner that finds it runs over text that jansson has accepted, so it only has to know
 * strings and nesting. All of it is one run of the scratch pad, since jansson doesn't bear a failed allocation (see
 * json.c); the batch itself is not in it.
 */
#include "eventgate/json.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DECODE_FLAGS (JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL)

struct scan {
    const char *at, *end;
};

static void skip_space(struct scan *scan)
{
    while (scan->at < scan->end && *scan->at && strchr(" \t\r\n", *scan->at))
        scan->at++;
}

static void skip_string(struct scan *scan)
{
    scan->at++;
    while (scan->at < scan->end && *scan->at != '"')
        scan->at += *scan->at == '\\' ? 2 : 1;
    scan->at++;
}

/* The text of the value that starts here. */
static struct eg_bytes skip_value(struct scan *scan)
{
    const char *start = scan->at;
    size_t depth = 0;
    while (scan->at < scan->end) {
        char byte = *scan->at;
        if (depth == 0 && strchr(",]}", byte))
            break;
        if (byte == '"') {
            skip_string(scan);
            continue;
        }
        if (byte == '{' || byte == '[')
            depth++;
        if (byte == '}' || byte == ']')
            depth--;
        scan->at++;
    }
    const char *stop = scan->at;
    while (stop > start && strchr(" \t\r\n", stop[-1]))
        stop--;
    return (struct eg_bytes){start, (size_t)(stop - start)};
}

static int problem(struct eg_error *error, size_t item, const char *what)
{
    error->sqlstate[0] = '\0';
    snprintf(
        error->sentence, sizeof(error->sentence),
        "Item %zu of the batch %s. An item is {\"channel\":\"NAME\",\"data\":ANY JSON}, and for durable channels may "
        "have \"type\", \"key\" and \"trace\". Nothing of the batch was published.",
        item, what);
    return -EINVAL;
}

static int copy_string(const json_t *value, struct eg_bytes *ret_bytes)
{
    size_t length = json_string_length(value);
    char *copy = malloc(length + 1);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, json_string_value(value), length);
    copy[length] = '\0';
    *ret_bytes = (struct eg_bytes){copy, length};
    return 0;
}

static int copy_text(struct eg_bytes text, struct eg_bytes *ret_bytes)
{
    char *copy = malloc(text.length + 1);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, text.data, text.length);
    *ret_bytes = (struct eg_bytes){copy, text.length};
    return 0;
}

/* The text of the member "data" of the (valid) object that starts at `scan`, and the number of members; moves behind
 * the object. */
static struct eg_bytes find_data(struct scan *scan, size_t *ret_members)
{
    struct eg_bytes data = {NULL, 0};
    *ret_members = 0;
    scan->at++; /* { */
    for (skip_space(scan); scan->at < scan->end && *scan->at != '}'; skip_space(scan)) {
        const char *key = scan->at;
        ++*ret_members;
        skip_string(scan);
        /* An escaped spelling of the name ("d\u0061ta") is jansson's "data" too, but not found here: see read_item().
         */
        bool found = scan->at - key == 6 && memcmp(key, "\"data\"", 6) == 0;
        skip_space(scan);
        scan->at++; /* : */
        skip_space(scan);
        struct eg_bytes value = skip_value(scan);
        if (found)
            data = value;
        if (scan->at < scan->end && *scan->at == ',')
            scan->at++;
    }
    scan->at++; /* } */
    return data;
}

static int check_members(json_t *object, size_t number, struct eg_json_batch_item *item, struct eg_error *error)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        if (strcmp(key, "data") == 0)
            continue;
        if (strcmp(key, "type") == 0)
            item->has_type = true;
        else if (strcmp(key, "key") == 0)
            item->has_key = true;
        else if (strcmp(key, "trace") == 0)
            item->has_trace = true;
        else if (strcmp(key, "channel") != 0)
            return problem(error, number, "has a member other than channel, data, type, key and trace");
        if (!json_is_string(value))
            return problem(error, number, "has a \"channel\", \"type\", \"key\" or \"trace\" that is not a string");
    }
    if (!json_object_get(object, "channel"))
        return problem(error, number, "has no \"channel\"");
    if (!json_object_get(object, "data"))
        return problem(error, number, "has no \"data\"");
    return 0;
}

/* Reads the object that starts at `scan`, which jansson has read as `object`. */
static int read_item(struct scan *scan, json_t *object, size_t number, struct eg_json_batch_item *item,
                     struct eg_error *error)
{
    if (!json_is_object(object))
        return problem(error, number, "is not an object");
    int result = check_members(object, number, item, error);
    if (result)
        return result;
    size_t members;
    struct eg_bytes text = find_data(scan, &members);
    if (members != json_object_size(object))
        return problem(error, number, "has a member twice");
    if (!text.data)
        return problem(error, number, "spells the member \"data\" with escapes: write it plainly");
    const json_t *data = json_object_get(object, "data");
    item->json = text;
    result = copy_string(json_object_get(object, "channel"), &item->channel);
    if (!result)
        result = json_is_string(data) ? copy_string(data, &item->data) : copy_text(text, &item->data);
    if (!result && item->has_type)
        result = copy_string(json_object_get(object, "type"), &item->type);
    if (!result && item->has_key)
        result = copy_string(json_object_get(object, "key"), &item->key);
    if (!result && item->has_trace)
        result = copy_string(json_object_get(object, "trace"), &item->trace);
    return result;
}

static struct eg_json_batch_item *add_item(struct eg_json_batch *batch)
{
    if ((batch->count & (batch->count - 1)) == 0) { /* a power of two: full */
        size_t capacity = batch->count ? 2 * batch->count : 1;
        struct eg_json_batch_item *items = reallocarray(batch->items, capacity, sizeof(*items));
        if (!items)
            return NULL;
        batch->items = items;
    }
    struct eg_json_batch_item *item = &batch->items[batch->count++];
    memset(item, 0, sizeof(*item));
    return item;
}

static int too_many(size_t max_items, struct eg_error *error)
{
    error->sqlstate[0] = '\0';
    snprintf(error->sentence, sizeof(error->sentence),
             "A batch has at most %zu items (max_batch_items): send several. Nothing was published.", max_items);
    return -E2BIG;
}

static int not_json(const json_error_t *json_error, size_t line, struct eg_error *error)
{
    error->sqlstate[0] = '\0';
    if (json_error_code(json_error) == json_error_stack_overflow) {
        snprintf(error->sentence, sizeof(error->sentence), "The batch " EG_JSON_TOO_DEEP ". Nothing was published.");
        return -EINVAL;
    }
    snprintf(error->sentence, sizeof(error->sentence),
             "The batch is not valid JSON%s: %s (line %zu, column %d). Nothing was published.",
             line ? " in each line" : " (an array of items)", json_error->text, line ? line : (size_t)json_error->line,
             json_error->column);
    return -EINVAL;
}

/* jansson passes over some NUL bytes, and the scanner relies on there being none. */
static int has_nul(struct eg_error *error)
{
    error->sqlstate[0] = '\0';
    strcpy(error->sentence, "The batch has a NUL byte, which JSON never has. Nothing was published.");
    return -EINVAL;
}

static int read_array(struct scan *scan, size_t max_items, struct eg_json_batch *batch, struct eg_error *error)
{
    json_error_t json_error;
    const json_t *array = json_loadb(scan->at, (size_t)(scan->end - scan->at), DECODE_FLAGS, &json_error);
    if (!array)
        return not_json(&json_error, 0, error);
    int result = 0;
    if (!json_is_array(array))
        result = problem(error, 1, "was expected in an array (or as lines of application/x-ndjson)");
    else if (json_array_size(array) > max_items)
        result = too_many(max_items, error);
    skip_space(scan);
    scan->at++; /* [ */
    for (size_t i = 0; !result && i < json_array_size(array); i++) {
        struct eg_json_batch_item *item = add_item(batch);
        skip_space(scan);
        result = item ? read_item(scan, json_array_get(array, i), i + 1, item, error) : -ENOMEM;
        skip_space(scan);
        scan->at++; /* , or ] */
    }
    return result;
}

static int read_lines(struct scan *scan, size_t max_items, struct eg_json_batch *batch, struct eg_error *error)
{
    int result = 0;
    for (size_t line = 1; !result && scan->at < scan->end; line++) {
        const char *stop = memchr(scan->at, '\n', (size_t)(scan->end - scan->at));
        struct scan one = {scan->at, stop ? stop : scan->end};
        scan->at = one.end + 1;
        skip_space(&one);
        if (one.at == one.end)
            continue;
        if (batch->count == max_items)
            return too_many(max_items, error);
        json_error_t json_error;
        json_t *object = json_loadb(one.at, (size_t)(one.end - one.at), DECODE_FLAGS | JSON_DECODE_ANY, &json_error);
        if (!object)
            return not_json(&json_error, line, error);
        struct eg_json_batch_item *item = add_item(batch);
        result = item ? read_item(&one, object, batch->count, item, error) : -ENOMEM;
    }
    return result;
}

struct reading {
    struct scan scan;
    bool ndjson;
    size_t max_items;
    struct eg_json_batch batch;
    struct eg_error *error;
    int result;
};

static void read_batch(void *context)
{
    struct reading *reading = context;
    reading->result = (reading->ndjson ? read_lines : read_array)(&reading->scan, reading->max_items, &reading->batch,
                                                                  reading->error);
    if (!reading->result && reading->batch.count == 0)
        reading->result = problem(reading->error, 1, "is missing");
}

int eg_json_batch_parse(const char *body, size_t length, bool ndjson, size_t max_items, struct eg_json_batch *ret_batch,
                        struct eg_error *ret_error)
{
    struct reading reading = {
        .scan = {body, body + length}, .ndjson = ndjson, .max_items = max_items, .error = ret_error};
    if (memchr(body, '\0', length))
        return has_nul(ret_error);
    if (!eg_json_run(read_batch, &reading))
        reading.result = -ENOMEM;
    if (reading.result)
        eg_json_batch_done(&reading.batch);
    else
        *ret_batch = reading.batch;
    return reading.result;
}

void eg_json_batch_done(struct eg_json_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct eg_json_batch_item *item = &batch->items[i];
        const struct eg_bytes owned[] = {item->channel, item->data, item->type, item->key, item->trace};
        for (size_t j = 0; j < EG_ARRAY_LENGTH(owned); j++)
            free((void *)(uintptr_t)owned[j].data);
    }
    free(batch->items);
    *batch = (struct eg_json_batch){NULL, 0};
}

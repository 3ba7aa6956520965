/* A batch body (the first byte chooses the form): the text cut out for each item means what jansson read there. */
#include "eventgate/json.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define DECODE_FLAGS (JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool is_string(const json_t *value, struct eg_bytes text)
{
    return json_string_length(value) == text.length &&
           (text.length == 0 || memcmp(json_string_value(value), text.data, text.length) == 0);
}

static void check_item(const struct eg_json_batch_item *item, const json_t *object, const char *body, size_t length)
{
    const json_t *value = json_object_get(object, "data");
    check(json_is_object(object) && value);
    check(is_string(json_object_get(object, "channel"), item->channel));
    check(item->has_type == (json_object_get(object, "type") != NULL));
    check(item->has_key == (json_object_get(object, "key") != NULL));
    check(!item->has_type || is_string(json_object_get(object, "type"), item->type));
    check(!item->has_key || is_string(json_object_get(object, "key"), item->key));
    check(item->has_trace == (json_object_get(object, "trace") != NULL));
    check(!item->has_trace || is_string(json_object_get(object, "trace"), item->trace));
    check(item->json.data >= body && item->json.data + item->json.length <= body + length);
    json_t *own = json_loadb(item->json.data, item->json.length, DECODE_FLAGS, NULL);
    check(own && json_equal(own, value));
    json_decref(own);
    if (json_is_string(value)) {
        check(is_string(value, item->data));
        return;
    }
    json_t *cut = json_loadb(item->data.data, item->data.length, DECODE_FLAGS, NULL);
    check(cut && json_equal(cut, value));
    check(memmem(body, length, item->data.data, item->data.length) != NULL); /* its own bytes */
    json_decref(cut);
}

static void check_array(const struct eg_json_batch *batch, const char *body, size_t length)
{
    json_t *array = json_loadb(body, length, DECODE_FLAGS, NULL);
    check(json_array_size(array) == batch->count);
    for (size_t i = 0; i < batch->count; i++)
        check_item(&batch->items[i], json_array_get(array, i), body, length);
    json_decref(array);
}

static void check_lines(const struct eg_json_batch *batch, const char *body, size_t length)
{
    size_t item = 0;
    for (const char *at = body, *end = body + length; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *stop = newline ? newline : end;
        json_t *object = json_loadb(at, (size_t)(stop - at), DECODE_FLAGS, NULL);
        if (object) {
            check(item < batch->count);
            check_item(&batch->items[item++], object, body, length);
        }
        json_decref(object);
        at = stop + 1;
    }
    check(item == batch->count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct eg_json_batch batch;
    struct eg_error error = {.sentence = ""};
    if (size == 0)
        return 0;
    bool ndjson = data[0] == 'N';
    const char *body = (const char *)data + 1;
    size_t length = size - 1;
    int result = eg_json_batch_parse(body, length, ndjson, 20, &batch, &error);
    check(result == 0 || result == -EINVAL || result == -E2BIG);
    check((result == 0) == (error.sentence[0] == '\0'));
    if (result)
        return 0;
    check(batch.count >= 1 && batch.count <= 20);
    if (ndjson)
        check_lines(&batch, body, length);
    else
        check_array(&batch, body, length);
    eg_json_batch_done(&batch);
    return 0;
}

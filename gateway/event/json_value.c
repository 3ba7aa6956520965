/*
 * JSON documents that are read: jansson's values under another name, for as long as a run of the scratch pad lasts.
 */
#include "eventgate/json_value.h"

#include <errno.h>
#include <jansson.h>

#include "eventgate/json.h"

struct reading {
    struct eg_bytes text;
    void (*read)(void *context, const struct eg_json_value *value);
    void *context;
    bool valid;
};

static void load_and_read(void *context)
{
    struct reading *reading = context;
    json_error_t error;
    const json_t *value = json_loadb(reading->text.data, reading->text.length, JSON_DECODE_ANY, &error);
    reading->valid = value != NULL;
    if (value)
        reading->read(reading->context, (const struct eg_json_value *)value);
}

int eg_json_read(const char *data, size_t length, void (*read)(void *context, const struct eg_json_value *value),
                 void *context)
{
    struct reading reading = {{data, length}, read, context, false};
    if (length == 0)
        return -EINVAL;
    if (!eg_json_run(load_and_read, &reading))
        return -ENOMEM;
    return reading.valid ? 0 : -EINVAL;
}

static const json_t *of(const struct eg_json_value *value)
{
    return (const json_t *)(const void *)value;
}

const struct eg_json_value *eg_json_member(const struct eg_json_value *value, const char *name)
{
    return (const struct eg_json_value *)(const void *)json_object_get(of(value), name);
}

const struct eg_json_value *eg_json_item(const struct eg_json_value *value, size_t index)
{
    return (const struct eg_json_value *)(const void *)json_array_get(of(value), index);
}

size_t eg_json_count(const struct eg_json_value *value)
{
    return json_array_size(of(value));
}

const char *eg_json_string(const struct eg_json_value *value)
{
    const char *text = json_string_value(of(value));
    return text ? text : "";
}

double eg_json_number(const struct eg_json_value *value)
{
    return json_number_value(of(value));
}

bool eg_json_is_true(const struct eg_json_value *value)
{
    return json_is_true(of(value));
}

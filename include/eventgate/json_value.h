/*
 * Reading small JSON documents: what an HTTP answer says. A part of the JSON module.
 */
#ifndef EG_JSON_VALUE_H
#define EG_JSON_VALUE_H

#include <stdbool.h>

#include "eventgate/common.h"

struct eg_json_value; /* any value of a document, or NULL: none, which every function takes */

/*
 * Parses the text and calls `read` with its value, which is gone when that returns. 0, -EINVAL if it isn't JSON
 * (`read` is not called), -ENOMEM (it may have been called, and not have come to its end). Within `read` nothing else
 * of the JSON module may be called. Any thread.
 */
int eg_json_read(const char *data, size_t length, void (*read)(void *context, const struct eg_json_value *value),
                 void *context) EG_MUST_CHECK;

/* A member of an object, an item of an array from 0 on; NULL if there is none. */
const struct eg_json_value *eg_json_member(const struct eg_json_value *value, const char *name);
const struct eg_json_value *eg_json_item(const struct eg_json_value *value, size_t index);
/* How many items an array has; 0 for all else. */
size_t eg_json_count(const struct eg_json_value *value);

/* NUL-terminated; "" for what isn't a string. */
const char *eg_json_string(const struct eg_json_value *value);
/* 0 for what isn't a number. */
double eg_json_number(const struct eg_json_value *value);
bool eg_json_is_true(const struct eg_json_value *value);

#endif

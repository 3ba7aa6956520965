/*
 * What jansson says about a text, and putting JSON on one line.
 */
#include "eventgate/json.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <string.h>

#include "eventgate/scratch.h"

/* ALLOW_NUL: \u0000 is valid JSON. INT_AS_REAL: integers may exceed 64 bits. Numbers beyond a double and lone
 * surrogates are refused all the same; they are then carried as text. */
#define DECODE_FLAGS (JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL)

/* The first byte decides most texts that aren't JSON without parsing. */
static bool may_be_json(const char *data, size_t length)
{
    while (length > 0 && strchr(" \t\r\n", *data) && *data)
        data++, length--;
    return length > 0 && *data && strchr("{[\"-0123456789tfn", *data);
}

/* When jansson 2.14 gets no memory in the middle of a string or a number, it goes on without the bytes that it could
 * not keep, and past the end where one is the closing quote: it must never see an allocation fail. It keeps these
 * functions for all threads, so before there are any. */
__attribute__((constructor)) static void lend_scratch(void)
{
    json_set_alloc_funcs(eg_scratch_alloc, eg_scratch_free);
}

bool eg_json_run(void (*work)(void *context), void *context)
{
    return eg_scratch_run(SIZE_MAX, work, context);
}

struct check {
    struct eg_bytes text;
    bool valid;
    json_error_t error;
};

static void load(void *context)
{
    struct check *check = context;
    check->valid = json_loadb(check->text.data, check->text.length, DECODE_FLAGS, &check->error) != NULL;
}

int eg_json_check(const char *data, size_t length)
{
    struct check check = {.text = {data, length}};
    if (!may_be_json(data, length) || memchr(data, '\0', length)) /* jansson passes over a NUL at the end */
        return -EINVAL;
    if (!eg_json_run(load, &check))
        return -ENOMEM;
    return check.valid ? 0 : -EINVAL;
}

const char *eg_json_problem(const char *data, size_t length)
{
    struct check check = {.text = {data, length}};
    bool too_deep =
        eg_json_run(load, &check) && !check.valid && json_error_code(&check.error) == json_error_stack_overflow;
    return too_deep ? EG_JSON_TOO_DEEP : "isn't (RFC 8259)";
}

void eg_json_add_one_line(struct eg_buffer *buffer, const char *data, size_t length)
{
    char *to = eg_buffer_reserve(buffer, length);
    if (!to || length == 0)
        return;
    memcpy(to, data, length);
    buffer->length += length;
    /* Raw control bytes are not allowed inside strings, so each one stands between tokens. */
    for (size_t i = 0; i < length; i++)
        if (to[i] == '\n' || to[i] == '\r' || to[i] == '\t')
            to[i] = ' ';
}

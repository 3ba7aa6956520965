/*
 * Targets and subscriptions: up to three lines are a target, an Accept header and a Last-Event-ID. The target's path
 * and parameters are compared with a decoder of another make, and written again, with every byte escaped, they are the
 * same.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/request.h"
#include "eventgate/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* --- decoding ---------------------------------------------------------------------------------------------------- */

/* What `text` up to `end` is without its escapes, by sscanf(); NULL where it can't be. To be freed. */
static char *decoded(const char *text, const char *end, bool in_query)
{
    char *out = malloc((size_t)(end - text) + 1), *to = out;
    while (text < end) {
        unsigned byte = (unsigned char)*text;
        int taken = 1;
        if (byte == '%' && (end - text < 3 || !strchr("0123456789abcdefABCDEF", text[1]) ||
                            sscanf(text, "%%%2x%n", &byte, &taken) != 1 || taken != 3))
            byte = 0;
        else if (byte == '+' && in_query && taken == 1)
            byte = ' ';
        if (byte < 0x20 || byte == 0x7f) {
            free(out);
            return NULL;
        }
        *to++ = (char)byte;
        text += taken;
    }
    *to = '\0';
    if (eg_utf8_valid(out, (size_t)(to - out)))
        return out;
    free(out);
    return NULL;
}

static bool same(struct eg_bytes bytes, char *expected)
{
    bool equal = expected && strlen(expected) == bytes.length && memcmp(bytes.data, expected, bytes.length) == 0;
    free(expected);
    return equal && bytes.data[bytes.length] == '\0';
}

static void check_decoded(const char *text, const struct eg_target *target)
{
    size_t path = strcspn(text, "?"), count = 0;
    check(same(target->path, decoded(text, text + path, false)));
    check(target->path.data[0] == '/' && !strstr(target->path.data, "//") && !strstr(target->path.data, "/./"));
    for (const char *at = text + path; *at;) {
        at++; /* the ? or & */
        const char *end = at + strcspn(at, "&"), *equals = memchr(at, '=', (size_t)(end - at));
        if (end > at) {
            check(count < target->parameter_count);
            const struct eg_parameter *parameter = &target->parameters[count++];
            check(same(parameter->name, decoded(at, equals ? equals : end, true)));
            check(same(parameter->value, decoded(equals ? equals + 1 : end, end, true)));
        }
        at = end;
    }
    check(count == target->parameter_count);
}

static void escape(struct eg_buffer *to, struct eg_bytes bytes)
{
    for (size_t i = 0; i < bytes.length; i++)
        eg_buffer_add_format(to, "%%%02X", (unsigned char)bytes.data[i]);
}

static void check_written_again(const struct eg_target *target)
{
    struct eg_buffer text = EG_BUFFER_INIT;
    struct eg_target again;
    struct eg_refusal refusal;
    eg_buffer_add_string(&text, "/");
    escape(&text, (struct eg_bytes){target->path.data + 1, target->path.length - 1});
    for (size_t i = 0; i < target->parameter_count; i++) {
        eg_buffer_add_string(&text, i > 0 ? "&" : "?");
        escape(&text, target->parameters[i].name);
        eg_buffer_add_string(&text, "=");
        escape(&text, target->parameters[i].value);
    }
    check(eg_target_parse(text.data, text.length, &again, &refusal) == 0);
    check(again.path.length == target->path.length && strcmp(again.path.data, target->path.data) == 0);
    check(again.parameter_count == target->parameter_count);
    for (size_t i = 0; i < again.parameter_count; i++)
        check(strcmp(again.parameters[i].name.data, target->parameters[i].name.data) == 0 &&
              strcmp(again.parameters[i].value.data, target->parameters[i].value.data) == 0);
    eg_target_done(&again);
    eg_buffer_done(&text);
}

/* --- subscriptions ----------------------------------------------------------------------------------------------- */

static void read_subscription(const struct eg_target *target, const char *accept, const char *last_event_id)
{
    struct eg_subscription_request request;
    struct eg_refusal refusal = {.detail = ""};
    struct eg_bytes channel;
    eg_route_find(target->path, &channel);
    int result = eg_subscription_request_read(target, channel, accept, last_event_id, 10, &request, &refusal);
    check(result == 0 || (result == -EINVAL && refusal.detail[0] != '\0'));
    if (result)
        return;
    check(request.channel_count > 0 && request.channel_count <= 10);
    for (size_t i = 0; i < request.channel_count; i++)
        check(!eg_pattern_problem(request.channels[i].data, request.channels[i].length));
    eg_subscription_request_done(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct eg_target target;
    struct eg_refusal refusal = {.detail = ""};
    char *text = malloc(size + 1);
    check(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    char *accept = strchr(text, '\n'), *last_event_id = accept ? strchr(accept + 1, '\n') : NULL;
    if (accept)
        *accept++ = '\0';
    if (last_event_id)
        *last_event_id++ = '\0';
    int result = eg_target_parse(text, strlen(text), &target, &refusal);
    check(result == 0 || (result == -EINVAL && refusal.detail[0] != '\0'));
    if (result == 0) {
        check_decoded(text, &target);
        check_written_again(&target);
        read_subscription(&target, accept, last_event_id);
        eg_target_done(&target);
    }
    free(text);
    return 0;
}

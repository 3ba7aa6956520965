/* Any payload: the event's data is one line of JSON, and means the payload. */
#include "eventgate/event.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/json.h"
#include "eventgate/utf8.h"

#define DECODE_FLAGS (JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* The payload with U+FFFD for each byte that is no part of valid UTF-8, tried byte by byte; to be freed. */
static char *repaired(const char *payload, size_t length, size_t *ret_length)
{
    char *text = malloc(3 * length + 1);
    size_t at = 0;
    for (size_t i = 0; i < length;) {
        size_t valid = 0;
        for (size_t tried = 1; tried <= 4 && tried <= length - i && !valid; tried++)
            if (eg_utf8_valid(payload + i, tried))
                valid = tried;
        memcpy(text + at, valid ? payload + i : "\xef\xbf\xbd", valid ? valid : 3);
        at += valid ? valid : 3;
        i += valid ? valid : 1;
    }
    *ret_length = at;
    return text;
}

static void check_data(struct eg_bytes data, const char *payload, size_t length)
{
    json_t *carried = json_loadb(data.data, data.length, DECODE_FLAGS, NULL);
    check(carried != NULL);
    if (eg_json_check(payload, length) == 0) {
        json_t *published = json_loadb(payload, length, DECODE_FLAGS, NULL);
        check(json_equal(carried, published) && data.length == length);
        json_decref(published);
    } else {
        size_t expected_length;
        char *expected = repaired(payload, length, &expected_length);
        check(json_is_string(carried) && json_string_length(carried) == expected_length);
        check(memcmp(json_string_value(carried), expected, expected_length) == 0);
        free(expected);
    }
    json_decref(carried);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *payload = (const char *)data;
    char before[128];
    struct eg_channel *channel = eg_channel_new("c", 1, false, 1);
    struct eg_event *event = eg_event_new_live(
        channel, &(struct eg_cursor){.has_live = true, .epoch = {"mzxw6ytboi"}, .place = 7}, payload, size, 1);
    int length =
        snprintf(before, sizeof(before),
                 "{\"id\":\"mzxw6ytboi-7\",\"channel\":\"c\",\"time\":\"1970-01-01T00:00:00.000001Z\",\"data\":");
    size_t start = (size_t)length;
    check(event->json.length == start + event->data.length + 1);
    check(memcmp(event->json.data, before, start) == 0 && event->data.data == event->json.data + start);
    check(event->json.data[event->json.length - 1] == '}');
    for (size_t i = 0; i < event->json.length; i++)
        check((unsigned char)event->json.data[i] >= 0x20);
    check(event->payload.length == size && (size == 0 || memcmp(event->payload.data, payload, size) == 0));
    check_data(event->data, payload, size);
    eg_event_unref(event);
    eg_channel_unref(channel);
    return 0;
}

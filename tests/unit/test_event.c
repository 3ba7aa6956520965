/* The JSON form of an event, and its life. */
#include "eventgate/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define AT_US INT64_C(1769860800123456) /* 2026-01-31T12:00:00.123456Z */

static const struct eg_epoch epoch = {"mzxw6ytboi"};

static struct eg_event *event_on(const char *name, const char *payload, size_t length, int64_t received_us)
{
    struct eg_channel *channel = eg_channel_new(name, strlen(name), false, 1);
    assert_non_null(channel);
    struct eg_event *event = eg_event_new_live(
        channel, &(struct eg_cursor){.has_live = true, .epoch = epoch, .place = 42}, payload, length, received_us);
    assert_non_null(event);
    eg_channel_unref(channel); /* the event's own reference keeps it */
    return event;
}

static void assert_bytes(struct eg_bytes bytes, const char *text)
{
    if (bytes.length != strlen(text) || memcmp(bytes.data, text, bytes.length) != 0)
        fail_msg("%.*s\nis not\n%s", (int)bytes.length, bytes.data, text);
}

static void assert_data(const char *payload, const char *data)
{
    struct eg_event *event = event_on("c", payload, strlen(payload), AT_US);
    assert_bytes(event->payload, payload);
    assert_bytes(event->data, data);
    assert_null(memchr(event->json.data, '\n', event->json.length));
    assert_null(memchr(event->json.data, '\r', event->json.length));
    eg_event_unref(event);
}

static void the_json_form_has_its_members_in_order(void **state)
{
    struct eg_event *event = event_on("orders", "{\"id\":10}", 9, AT_US);
    (void)state;
    assert_bytes(event->json, "{\"id\":\"mzxw6ytboi-42\",\"channel\":\"orders\","
                              "\"time\":\"2026-01-31T12:00:00.123456Z\",\"data\":{\"id\":10}}");
    assert_bytes(event->time, "2026-01-31T12:00:00.123456Z");
    assert_bytes(event->data, "{\"id\":10}");
    assert_string_equal(event->channel->name, "orders");
    assert_string_equal(event->cursor.epoch.text, epoch.text);
    assert_int_equal(event->place, 42);
    eg_event_unref(event);
}

static void names_are_escaped(void **state)
{
    struct eg_event *event = event_on("a\"b\\c", "1", 1, AT_US);
    (void)state;
    assert_bytes(event->json, "{\"id\":\"mzxw6ytboi-42\",\"channel\":\"a\\\"b\\\\c\","
                              "\"time\":\"2026-01-31T12:00:00.123456Z\",\"data\":1}");
    eg_event_unref(event);
}

static void time_has_microseconds(void **state)
{
    static const struct {
        int64_t us;
        const char *text;
    } times[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {1, "1970-01-01T00:00:00.000001Z"},
        {999999, "1970-01-01T00:00:00.999999Z"},
        {1000000, "1970-01-01T00:00:01.000000Z"},
        {AT_US, "2026-01-31T12:00:00.123456Z"},
        {AT_US + 1, "2026-01-31T12:00:00.123457Z"}, /* the same second once more */
        {AT_US - 1000000, "2026-01-31T11:59:59.123456Z"},
        {INT64_C(1709164799) * 1000000 + 10, "2024-02-28T23:59:59.000010Z"},
        {INT64_C(1709164800) * 1000000, "2024-02-29T00:00:00.000000Z"},
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(times); i++) {
        struct eg_event *event = event_on("c", "", 0, times[i].us);
        assert_bytes(event->time, times[i].text);
        eg_event_unref(event);
    }
}

static void json_keeps_its_bytes(void **state)
{
    (void)state;
    assert_data("1000000000000000000000000000000", "1000000000000000000000000000000");
    assert_data("0.10", "0.10");
    assert_data("{\"b\":1,\"a\":\"\\u00e4\\/\",\"b\":2}", "{\"b\":1,\"a\":\"\\u00e4\\/\",\"b\":2}");
    assert_data("\"text\"", "\"text\"");
    assert_data("null", "null");
    assert_data("{\r\n\t\"a\": 1\n}\n", "{   \"a\": 1 } ");
}

static void text_becomes_a_json_string(void **state)
{
    (void)state;
    assert_data("", "\"\"");
    assert_data(" ", "\" \"");
    assert_data("hello", "\"hello\"");
    assert_data("a\nb\r\"c\"\\\x01\x7f", "\"a\\nb\\r\\\"c\\\"\\\\\\u0001\x7f\"");
    assert_data("{broken", "\"{broken\"");
    assert_data("1e400", "\"1e400\"");
    assert_data("\"\\ud800\"", "\"\\\"\\\\ud800\\\"\"");
    assert_data("\xf0\x9f\x90\x98", "\"\xf0\x9f\x90\x98\"");
}

static void bad_utf8_is_repaired_in_the_json_form_only(void **state)
{
    (void)state;
    assert_data("caf\xe9", "\"caf\xef\xbf\xbd\"");
    assert_data("\xff\xfe", "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_data("\xe2\x82\"", "\"\xef\xbf\xbd\xef\xbf\xbd\\\"\"");
    assert_data("\"\xe9\"", "\"\\\"\xef\xbf\xbd\\\"\""); /* no JSON, since it isn't UTF-8 */
}

static void the_largest_payload_grows_sixfold(void **state)
{
    enum { LARGEST = 7999 };
    char payload[LARGEST];
    (void)state;
    memset(payload, '\x01', sizeof(payload));
    struct eg_event *event = event_on("c", payload, sizeof(payload), AT_US);
    assert_int_equal(event->payload.length, LARGEST);
    assert_memory_equal(event->payload.data, payload, LARGEST);
    assert_int_equal(event->data.length, 6 * LARGEST + 2);
    assert_true(eg_event_bytes(event) >= event->payload.length + event->json.length + sizeof(*event));
    eg_event_unref(event);
}

static void it_lives_as_long_as_a_reference(void **state)
{
    struct eg_channel *channel = eg_channel_new("c", 1, false, 1);
    struct eg_event *event =
        eg_event_new_live(channel, &(struct eg_cursor){.has_live = true, .epoch = epoch, .place = 1}, "1", 1, AT_US);
    (void)state;
    assert_int_equal(channel->references, 2);
    assert_ptr_equal(eg_event_ref(event), event);
    eg_event_unref(event);
    assert_bytes(event->data, "1");
    eg_event_unref(event);
    assert_int_equal(channel->references, 1);
    eg_channel_unref(channel);
    eg_event_unref(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_json_form_has_its_members_in_order),
        cmocka_unit_test(names_are_escaped),
        cmocka_unit_test(time_has_microseconds),
        cmocka_unit_test(json_keeps_its_bytes),
        cmocka_unit_test(text_becomes_a_json_string),
        cmocka_unit_test(bad_utf8_is_repaired_in_the_json_form_only),
        cmocka_unit_test(the_largest_payload_grows_sixfold),
        cmocka_unit_test(it_lives_as_long_as_a_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* From one configuration to the next: what is told, what is kept, and where sets go. */
#include "eventgate/config_change.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventgate/buffer.h"

static struct eg_config *parsed(const char *text)
{
    struct eg_config *config;
    struct eg_error error;
    if (eg_config_parse(text, strlen(text), &config, &error) != 0)
        fail_msg("%s", error.sentence);
    return config;
}

static void note_change(void *context, const char *option, bool now)
{
    eg_buffer_add_format(context, "%s%s; ", option, now ? " now" : "");
}

static void assert_told(const struct eg_config *in_use, const struct eg_config *loaded, const char *expected)
{
    struct eg_buffer told = EG_BUFFER_INIT;
    eg_buffer_add_string(&told, "");
    eg_config_compare(in_use, loaded, note_change, &told);
    char *text = eg_buffer_take(&told, NULL);
    assert_string_equal(text, expected);
    free(text);
}

static void all_that_differs_is_told(void **state)
{
    struct eg_config *a = parsed("[gateway]\nmax_body = 1MB\nmax_header = 16kB\ntrusted_proxies = ::1\n"
                                 "[set x]\nlive = x\n[set gone]\nlive = g\n");
    struct eg_config *b =
        parsed("[gateway]\nmax_body = 2MB\nmax_header = 32kB\nlisten = :1\nlog_format = json\nretry = 9s\nkeys = a\n"
               "[set new]\nlive = n\n[set x]\nlive = x, y\ndurable = d\nlinger = 9s\npostgres = dbname=x\n");
    struct eg_config *c = parsed("[gateway]\ntrusted_proxies = ::1\n[set gone]\nlive = g\n[set x]\nlive = x\n");
    (void)state;
    assert_told(a, b,
                "[gateway] listen; [gateway] log_format; [gateway] retry now; [gateway] max_header; "
                "[gateway] max_body now; [gateway] trusted_proxies now; [gateway] keys now; [set x] postgres now; "
                "[set x] live now; [set x] durable now; [set x] linger now; [set gone] now; [set new] now; ");
    assert_told(a, c, ""); /* the same in another order, and defaults unsaid */
    eg_config_free(a);
    eg_config_free(b);
    eg_config_free(c);
}

static void what_cannot_change_is_kept(void **state)
{
    struct eg_config *in_use =
        parsed("[gateway]\nlisten = 127.0.0.1:1, [::1]:2\nmax_header = 16kB\nretry = 1s\nkeys = a\n"
               "workers = 3\ninsecure = yes\n[set a]\nlive = x\n");
    struct eg_config *loaded =
        parsed("[gateway]\nlisten = :1\nmax_header = 32kB\nretry = 2s\nkeys = b, c\nworkers = 4\n"
               "admin_listen = :9\nlog_format = json\n[set b]\nlive = x\n");
    (void)state;
    assert_int_equal(eg_config_keep(loaded, in_use), 0);
    assert_int_equal(loaded->listen.count, 2);
    assert_string_equal(loaded->listen.items[1], "[::1]:2");
    assert_int_equal(loaded->admin_listen.count, 0);
    assert_int_equal(loaded->settings.max_header_bytes, 16384);
    assert_int_equal(loaded->workers, 3);
    assert_int_equal(loaded->insecure, 1);
    assert_int_equal(loaded->log_format, EG_LOG_TEXT);
    assert_int_equal(loaded->settings.retry_ms, 2000);
    assert_string_equal(loaded->access.keys.items[1], "c");
    assert_string_equal(loaded->sets[0].name, "b");
    assert_told(in_use, loaded, "[gateway] retry now; [gateway] keys now; [set a] now; [set b] now; ");
    eg_config_free(in_use);
    eg_config_free(loaded);
}

static void sets_stand_where_they_are_put(void **state)
{
    struct eg_config *config = parsed("[set a]\nlive = x\n[set b]\nlive = y/*\n"),
                     *other = parsed("[set b]\nlive = y/*\n");
    const size_t places[] = {4, 1};
    (void)state;
    assert_int_equal(eg_config_arrange(config, places, 5), 0);
    assert_int_equal(config->set_count, 5);
    assert_string_equal(config->sets[4].name, "a");
    assert_string_equal(config->sets[1].name, "b");
    assert_null(config->sets[0].name);
    assert_int_equal(eg_config_find(config, "x", 1).set, 4);
    assert_int_equal(eg_config_find(config, "y/1", 3).set, 1);
    assert_int_equal(eg_config_find(config, "z", 1).set, -1);
    assert_told(config, other, "[set a] now; ");
    assert_told(other, config, "[set a] now; ");
    eg_config_free(config);
    eg_config_free(other);
}

static bool goes_on(const char *set, const char *next)
{
    char text[2][200];
    snprintf(text[0], sizeof(text[0]), "[set a]\n%s\n", set);
    snprintf(text[1], sizeof(text[1]), "[set a]\n%s\n", next);
    struct eg_config *a = parsed(text[0]), *b = parsed(text[1]);
    bool result = eg_config_set_goes_on(&a->sets[0], &b->sets[0]);
    assert_int_equal(eg_config_set_goes_on(&b->sets[0], &a->sets[0]), result);
    eg_config_free(a);
    eg_config_free(b);
    return result;
}

static void what_a_set_takes_over_as_it_is(void **state)
{
    (void)state;
    assert_true(goes_on("live = x", "live = x"));
    assert_true(goes_on("live = x", "live = y, z/*\nlinger = 1s\nmax_channels = 3\nanonymous_publish = y"));
    assert_true(goes_on("live = x", "live = x\njournal_events = 16\njournal_bytes = 1MB\npublish_queue = 1\n"
                                    "publish_queue_bytes = 9kB"));
    assert_false(goes_on("live = x", "durable = x"));
    assert_false(goes_on("live = x", "live = x\ndurable = y"));
    assert_false(goes_on("durable = x", "durable = x, y"));
    assert_false(goes_on("live = x", "live = x\npostgres = dbname=y"));
    assert_false(goes_on("live = x", "live = x\nquery_timeout = 9s"));
    assert_false(goes_on("live = x", "live = x\nconnect_timeout = 9s"));
    assert_false(goes_on("live = x", "live = x\npostgres_heartbeat = 9s"));
    assert_false(goes_on("live = x", "live = x\nrevocations = on"));
}

static void who_holds_it_keeps_it(void **state)
{
    struct eg_config *config = parsed("[set a]\nlive = x\n");
    (void)state;
    assert_ptr_equal(eg_config_ref(config), config);
    eg_config_free(config);
    assert_string_equal(config->sets[0].name, "a");
    eg_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_differs_is_told),      cmocka_unit_test(what_cannot_change_is_kept),
        cmocka_unit_test(sets_stand_where_they_are_put), cmocka_unit_test(what_a_set_takes_over_as_it_is),
        cmocka_unit_test(who_holds_it_keeps_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

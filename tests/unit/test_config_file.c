/* The INI file: sections, keys, continuation lines, and what is refused instead of being cut in silence. */
#include "eventgate/config_file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct eg_error error;

static struct eg_config *parsed(const char *text)
{
    struct eg_config *config = NULL;
    int result = eg_config_parse(text, strlen(text), &config, &error);
    if (result)
        fail_msg("refused: %s", error.sentence);
    return config;
}

static void assert_told(const char *told)
{
    if (!strstr(error.sentence, told))
        fail_msg("\"%s\" is not in: %s", told, error.sentence);
}

/* The text is refused, with a sentence that has `told` in it. */
static void assert_bytes_refused(const char *text, size_t length, const char *told)
{
    struct eg_config *config = NULL;
    if (eg_config_parse(text, length, &config, &error) == 0)
        fail_msg("taken: %s", text);
    assert_null(config);
    assert_told(told);
}

static void assert_refused(const char *text, const char *told)
{
    assert_bytes_refused(text, strlen(text), told);
}

static void unknown_names_are_told_the_nearest(void **state)
{
    (void)state;
    assert_refused("[set a]\nlive = x\nlingre = 5s\n",
                   "text:3: [set a] there is no option \"lingre\"; did you mean \"linger\"?");
    assert_refused("[gateway]\nmax_bodys = 5\n", "\"max_body\"");
    assert_refused("[gateway]\nheart-beat = 5s\n", "\"heartbeat\"");
    assert_refused("[gateway]\nLISTEN = :80\n", "LISTEN");
    assert_refused("[set a]\nbogus = 1\n", "there is no option \"bogus\"; pg_eventgate --help");
    assert_refused("[gateway]\nlive = x\n", "\"live\" belongs in a section [set NAME]");
    assert_refused("[set a]\nlisten = :80\n", "\"listen\" belongs in the section [gateway]");
    assert_refused("[set a]\n= x\n", "text:2: ");
}

static void sections_that_are_refused(void **state)
{
    (void)state;
    assert_refused("listen = :80\n", "text:1: an option belongs in a section: [gateway] or [set NAME]");
    assert_refused("[set a]\nlive = x\n[gatewya]\n", "text:3: [gatewya] ");
    assert_refused("[sets a]\n", "text:1: ");
    assert_refused("[set]\nlive = x\n", "text:1: ");
    assert_refused("[set ]\nlive = x\n", "name of a set");
    assert_refused("[set A]\nlive = x\n", "name of a set");
    assert_refused("[set a b]\nlive = x\n", "name of a set");
    assert_refused("[set aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\nlive = x\n", "1 to 32");
    eg_config_free(parsed("[set aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\nlive = x\n"));
    assert_refused("[gateway\nlisten = :80\n", "text:1: ");
    assert_refused("[]\n", "text:1: ");
    assert_refused("[set a]\nlive = x\n[set b]\n", "set b has no channels");
    assert_refused("[gateway]\n", "--live");
    assert_refused("", "--live");
}

static void what_follows_a_section_is_not_lost(void **state)
{
    (void)state;
    assert_refused("[set a] live = x\nlive = y\n", "text:1: ");
    eg_config_free(parsed("[set a] \t\r\nlive = y\n"));
}

static void lines_that_are_neither(void **state)
{
    (void)state;
    assert_refused("[set a]\nlive = x\nnonsense\nlinger = 5s\n", "text:3: ");
    assert_refused("nonsense", "text:1: ");
}

static void a_key_given_twice_is_refused(void **state)
{
    (void)state;
    assert_refused("[set a]\nlive = x\nlive = y\n", "text:3: [set a] live: is given a second time");
    assert_refused("[set a]\nlive = x\nlinger = 5s\nlive = y\n", "text:4: ");
    assert_refused("[set a]\nlive = x\n[set b]\nlive = y\n[set a]\nlive = z\n", "text:6: ");
    struct eg_config *config = parsed("[set a]\nlive = x\n[set b]\nlive = y\n[set a]\nlinger = 5s\n");
    assert_int_equal(config->set_count, 2);
    assert_int_equal(config->sets[0].linger_ms, 5000);
    eg_config_free(config);
}

static void indented_lines_continue_a_value(void **state)
{
    struct eg_config *config = parsed("[set a]\nlive =\n  x,\n  y, z/*,\n\n; between\n\tlast\nlinger = 5s\n"
                                      "postgres = host=db\n  dbname=shop\n  connect_timeout=5\n"
                                      "[gateway]\nlisten = 127.0.0.1:80\n  , [::1]:81,\n  [::1]:80\n");
    (void)state;
    assert_int_equal(config->sets[0].live_count, 4);
    assert_string_equal(config->sets[0].live[1].text, "y");
    assert_string_equal(config->sets[0].live[3].text, "last");
    assert_string_equal(config->sets[0].postgres, "host=db dbname=shop connect_timeout=5");
    assert_int_equal(config->listen.count, 3);
    assert_string_equal(config->listen.items[2], "[::1]:80");
    eg_config_free(config);
    assert_refused("[set a]\nlive = x,\n  y,\n  a//b\nlinger = 5s\n", "text:2: [set a] live: ");
}

/* They would become one channel with spaces in its name. */
static void a_list_goes_on_only_behind_a_comma(void **state)
{
    (void)state;
    assert_refused("[set a]\nlive = x\n  y\n", "text:3: [set a] live: ");
    assert_told("comma");
    assert_refused("[set a]\n  live = x\n  linger = 5s\n", "text:3: ");
    assert_refused("[set a]\nlive = x\n  [set b]\n", "text:3: ");
    assert_refused("[gateway]\n listen = :80\n workers = 2\n", "text:3: [gateway] listen: ");
}

static void a_long_list_on_many_lines(void **state)
{
    struct eg_buffer text = EG_BUFFER_INIT;
    (void)state;
    eg_buffer_add_string(&text, "[set a]\nlive = first");
    for (int i = 0; i < 3000; i++)
        eg_buffer_add_format(&text, ",\n  channel-%d/of/a/long/list", i);
    struct eg_config *config = NULL;
    assert_int_equal(eg_config_parse(text.data, text.length, &config, &error), 0);
    assert_int_equal(config->sets[0].live_count, 3001);
    assert_string_equal(config->sets[0].live[3000].text, "channel-2999/of/a/long/list");
    eg_config_free(config);
    eg_buffer_done(&text);
}

/* inih would cut the line and go on with its rest as another line. */
static void a_line_that_is_too_long_is_refused(void **state)
{
    char text[700] = "[set a]\npostgres = ";
    size_t length = strlen(text);
    struct eg_config *config;
    (void)state;
    memset(text + length, 'p', 150);
    strcpy(text + length + 150, "\nlive = x\n");
    config = parsed(text);
    assert_int_equal(strlen(config->sets[0].postgres), 150);
    eg_config_free(config);
    memset(text + length, 'p', 400);
    strcpy(text + length + 400, "\nlive = x\n");
    assert_refused(text, "text:2: ");
    assert_told("continue a long value");
    text[8] = ';'; /* a long comment is none the better: its rest would be read as a line */
    assert_refused(text, "text:2: ");
}

/* inih would end the value there; in a conninfo that is a password cut short. */
static void inline_comments_are_refused(void **state)
{
    (void)state;
    assert_refused("[set a]\nlive = x ; y\n", "text:2: ");
    assert_told("comments on lines of their own");
    assert_refused("[set a]\nlive = x\npostgres = password=a\t;b\n", "text:3: ");
    assert_refused("[set a]\nlive = x,\n  y ;z\n", "text:3: ");
    assert_refused("[set a] ; the first\nlive = x\n", "text:1: ");
    struct eg_config *config = parsed("[set a]\nlive = x;y, z#1\n  ; a comment ; as well\n\t# and this\n");
    assert_string_equal(config->sets[0].live[0].text, "x;y");
    assert_string_equal(config->sets[0].live[1].text, "z#1");
    eg_config_free(config);
}

static void a_zero_byte_is_refused(void **state)
{
    static const char inside[] = "[set a]\nlive = x\0, y\nlinger = 5s\n", at_end[] = "[set a]\nlive = x\0, y",
                      first[] = "\0[set a]\nlive = x\n", alone[] = "[set a]\nlive = x\n\0";
    (void)state;
    assert_bytes_refused(inside, sizeof(inside) - 1, "text:2: ");
    assert_bytes_refused(at_end, sizeof(at_end) - 1, "text:2: ");
    assert_bytes_refused(first, sizeof(first) - 1, "text:1: ");
    assert_bytes_refused(alone, sizeof(alone) - 1, "text:3: ");
}

static void a_byte_order_mark_is_skipped(void **state)
{
    struct eg_config *config = parsed("\xef\xbb\xbf[set a]\r\nlive = x\r\n");
    (void)state;
    assert_string_equal(config->sets[0].live[0].text, "x");
    eg_config_free(config);
}

static void a_file_without_a_last_line_feed(void **state)
{
    struct eg_config *config = parsed("[set a]\nlinger = 5s\nlive = x");
    (void)state;
    assert_string_equal(config->sets[0].live[0].text, "x");
    eg_config_free(config);
    assert_refused("[set a]\nlive = x\nlinger = soon", "text:3: ");
}

static void a_file_is_read_whole_and_named_in_errors(void **state)
{
    char name[] = "/tmp/test_config_file.XXXXXX", told[80];
    struct eg_buffer text = EG_BUFFER_INIT;
    struct eg_config *config = calloc(1, sizeof(*config));
    int fd = mkstemp(name);
    (void)state;
    config->references = 1;
    eg_buffer_add_string(&text, "[set a]\nlive = first");
    for (int i = 0; i < 20000; i++) /* several reads */
        eg_buffer_add_format(&text, ",\n  channel-%d", i);
    eg_buffer_add_string(&text, "\nlinger = soon\n");
    assert_int_equal(write(fd, text.data, text.length), text.length);
    close(fd);
    assert_int_equal(eg_config_file_read(config, name, &error), -EINVAL);
    snprintf(told, sizeof(told), "%s:20003: [set a] linger: ", name);
    assert_told(told);
    assert_int_equal(config->sets[0].live_count, 20001);
    assert_string_equal(config->file, name);
    eg_config_free(config);
    eg_buffer_done(&text);
    unlink(name);
}

static void a_file_without_end_is_refused(void **state)
{
    struct eg_config *config = calloc(1, sizeof(*config));
    (void)state;
    config->references = 1;
    assert_int_equal(eg_config_file_read(config, "/dev/zero", &error), -EINVAL);
    assert_told("/dev/zero: cannot be read: ");
    eg_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_names_are_told_the_nearest),
        cmocka_unit_test(sections_that_are_refused),
        cmocka_unit_test(what_follows_a_section_is_not_lost),
        cmocka_unit_test(lines_that_are_neither),
        cmocka_unit_test(a_key_given_twice_is_refused),
        cmocka_unit_test(indented_lines_continue_a_value),
        cmocka_unit_test(a_list_goes_on_only_behind_a_comma),
        cmocka_unit_test(a_long_list_on_many_lines),
        cmocka_unit_test(a_line_that_is_too_long_is_refused),
        cmocka_unit_test(inline_comments_are_refused),
        cmocka_unit_test(a_zero_byte_is_refused),
        cmocka_unit_test(a_byte_order_mark_is_skipped),
        cmocka_unit_test(a_file_without_a_last_line_feed),
        cmocka_unit_test(a_file_is_read_whole_and_named_in_errors),
        cmocka_unit_test(a_file_without_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

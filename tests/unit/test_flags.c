/* The flags of a command line. */
#include "eventgate/flags.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct given {
    const char *url;
    bool quiet;
    uint64_t limit;
    uint32_t timeout_ms;
    size_t words;
    char *const *word;
    bool help;
};

/* Reads the command line, whose words are separated by single spaces. */
static int read_line(const char *line, struct given *given)
{
    static char copy[500];
    static char *argv[40];
    int argc = 0;
    *given = (struct given){.url = "none"};
    strncpy(copy, line, sizeof(copy) - 1);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    argv[argc] = NULL;
    const struct eg_flag flags[] = {{"url", 'u', EG_FLAG_TEXT, &given->url},
                                    {"quiet", 'q', EG_FLAG_YES, &given->quiet},
                                    {"limit", 'n', EG_FLAG_NUMBER, &given->limit},
                                    {"timeout", 0, EG_FLAG_TIME, &given->timeout_ms}};
    return eg_flags_read(argc, argv, flags, EG_ARRAY_LENGTH(flags), &given->word, &given->words, &given->help);
}

static void flags_stand_anywhere(void **state)
{
    struct given given;
    (void)state;
    assert_int_equal(read_line("eg tail a -q --url=http://x b --limit 3 --timeout 1.5 c", &given), 0);
    assert_string_equal(given.url, "http://x");
    assert_true(given.quiet);
    assert_int_equal(given.limit, 3);
    assert_int_equal(given.timeout_ms, 1500);
    assert_int_equal(given.words, 3);
    assert_string_equal(given.word[0], "a");
    assert_string_equal(given.word[2], "c");
    assert_false(given.help);
    assert_int_equal(read_line("eg tail -u http://y -n5 -- --url", &given), 0);
    assert_string_equal(given.url, "http://y");
    assert_int_equal(given.limit, 5);
    assert_int_equal(given.words, 1);
    assert_string_equal(given.word[0], "--url");
    assert_int_equal(read_line("eg tail", &given), 0);
    assert_int_equal(given.words, 0);
    assert_int_equal(read_line("eg tail x -h", &given), 0);
    assert_true(given.help);
}

static void what_is_wrong_is_refused(void **state)
{
    static const char *const lines[] = {
        "eg tail --nothing",
        "eg tail -x",
        "eg tail --url",
        "eg tail -u",
        "eg tail --quiet=yes",
        "eg tail --limit 0",
        "eg tail --limit -1",
        "eg tail --limit 1x",
        "eg tail --limit 99999999999999999999",
        "eg tail --timeout 0",
        "eg tail --timeout x",
        "eg tail --timeout -1",
        "eg tail --timeout nan",
        "eg tail --timeout 1e9",
    };
    struct given given;
    int kept = dup(STDERR_FILENO), pipes[2];
    (void)state;
    assert_int_equal(pipe(pipes), 0);
    dup2(pipes[1], STDERR_FILENO);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(lines); i++) {
        char told[500] = "";
        assert_int_equal(read_line(lines[i], &given), -EINVAL);
        assert_true(read(pipes[0], told, sizeof(told) - 1) > 0);
        assert_non_null(strstr(told, "pg_eventgate tail: -")); /* the flag is named */
    }
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(pipes[0]);
    close(pipes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_stand_anywhere),
        cmocka_unit_test(what_is_wrong_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

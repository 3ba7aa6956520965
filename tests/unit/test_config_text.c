/* The options as people read them: the README has the tables that the program makes, and the help has every option. */
#include "eventgate/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eventgate/options.h"

static char *read_readme(void)
{
    struct eg_buffer text = EG_BUFFER_INIT;
    char piece[4096];
    size_t length;
    FILE *file = fopen(EG_SOURCE_DIR "/README.md", "re");
    assert_non_null(file);
    while ((length = fread(piece, 1, sizeof(piece), file)) > 0)
        eg_buffer_add(&text, piece, length);
    fclose(file);
    return eg_buffer_take(&text, NULL);
}

static void the_readme_has_the_options_of_the_program(void **state)
{
    static const char begin[] = "<!-- options: begin -->\n", end[] = "<!-- options: end -->";
    struct eg_buffer buffer = EG_BUFFER_INIT;
    char *readme = read_readme();
    (void)state;
    eg_config_markdown(&buffer);
    char *expected = eg_buffer_take(&buffer, NULL);
    char *table = strstr(readme, begin);
    assert_non_null(table);
    table += strlen(begin);
    char *stop = strstr(table, end);
    assert_non_null(stop);
    *stop = '\0';
    assert_string_equal(table, expected);
    free(expected);
    free(readme);
}

static void the_help_has_every_option_in_lines_that_fit(void **state)
{
    struct eg_buffer buffer = EG_BUFFER_INIT;
    char flag[80];
    (void)state;
    eg_config_help(&buffer);
    char *help = eg_buffer_take(&buffer, NULL);
    for (size_t i = 0; i < eg_option_count; i++) {
        eg_option_flag(&eg_options[i], flag, sizeof(flag));
        assert_non_null(strstr(help, flag));
    }
    for (char *line = strtok(help, "\n"); line; line = strtok(NULL, "\n"))
        assert_true(strlen(line) <= 101);
    free(help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_readme_has_the_options_of_the_program),
        cmocka_unit_test(the_help_has_every_option_in_lines_that_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

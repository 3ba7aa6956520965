/* Lines of an input, as they come. */
#include "eventgate/input_lines.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct pair {
    struct eg_input *input;
    int end; /* to write to */
};

static struct pair begin(void)
{
    int pipes[2];
    struct eg_input *input = calloc(1, sizeof(*input));
    assert_non_null(input);
    assert_int_equal(pipe(pipes), 0);
    input->fd = pipes[0];
    return (struct pair){input, pipes[1]};
}

static void say(const struct pair *pair, const char *text)
{
    assert_int_equal(write(pair->end, text, strlen(text)), strlen(text));
}

static void finish(struct pair *pair)
{
    close(pair->input->fd);
    eg_input_done(pair->input);
    free(pair->input);
}

static void is(const struct eg_sending_item *item, uint64_t line, const char *text)
{
    assert_int_equal(item->line, line);
    assert_int_equal(item->data.length, strlen(text));
    assert_memory_equal(item->data.data, text, strlen(text));
}

static void lines_are_given_out_as_they_come(void **state)
{
    struct pair pair = begin();
    struct eg_sending_item items[10];
    size_t count;
    (void)state;
    say(&pair, "one\n\ntwo\r\nthr");
    assert_int_equal(eg_input_lines(pair.input, 10, 1000, items, &count), 0);
    assert_int_equal(count, 2); /* the third isn't waited for */
    is(&items[0], 1, "one");
    is(&items[1], 3, "two");
    say(&pair, "ee\nfour\nfive");
    assert_int_equal(eg_input_lines(pair.input, 1, 1000, items, &count), 0);
    assert_int_equal(count, 1);
    is(&items[0], 4, "three");
    close(pair.end);
    assert_int_equal(eg_input_lines(pair.input, 10, 1000, items, &count), 0);
    assert_int_equal(count, 2);
    is(&items[0], 5, "four");
    is(&items[1], 6, "five"); /* without a line break at the end */
    assert_int_equal(eg_input_lines(pair.input, 10, 1000, items, &count), 0);
    assert_int_equal(count, 0);
    finish(&pair);
}

static void bytes_are_bounded_but_for_one_line(void **state)
{
    struct pair pair = begin();
    struct eg_sending_item items[10];
    size_t count;
    (void)state;
    say(&pair, "aaaaaaaaaa\nbbb\nccc\nddd\n");
    close(pair.end);
    assert_int_equal(eg_input_lines(pair.input, 10, 6, items, &count), 0);
    assert_int_equal(count, 1);
    is(&items[0], 1, "aaaaaaaaaa");
    assert_int_equal(eg_input_lines(pair.input, 10, 6, items, &count), 0);
    assert_int_equal(count, 2);
    is(&items[1], 3, "ccc");
    finish(&pair);
}

static void a_long_line_arrives_whole(void **state)
{
    struct pair pair = begin();
    struct eg_sending_item items[2];
    size_t count, length = 60000; /* what a pipe takes at once is 65,536 */
    char *text = malloc(length + 1);
    (void)state;
    memset(text, 'x', length);
    text[length] = '\0';
    say(&pair, text);
    char half[40000];
    memset(half, 'y', sizeof(half));
    /* the rest once half of it has been read */
    pid_t child = fork();
    if (child == 0) {
        _exit(write(pair.end, half, sizeof(half)) == (ssize_t)sizeof(half) ? 0 : 1);
    }
    close(pair.end);
    assert_int_equal(eg_input_lines(pair.input, 2, 10, items, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(items[0].data.length, length + sizeof(half));
    assert_int_equal(items[0].data.data[length - 1], 'x');
    assert_int_equal(items[0].data.data[length], 'y');
    free(text);
    finish(&pair);
}

static void the_whole_is_without_one_line_break(void **state)
{
    static const char *const rows[][2] = {
        {"hello\n", "hello"}, {"hello\r\n", "hello"}, {"a\nb\n\n", "a\nb\n"}, {"x", "x"}, {"", ""},
        {"\n", ""},           {"a\r", "a\r"}};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        struct pair pair = begin();
        struct eg_sending_item item = {.line = 0};
        say(&pair, rows[i][0]);
        close(pair.end);
        assert_int_equal(eg_input_whole(pair.input, 100, &item.data), 0);
        is(&item, 0, rows[i][1]);
        finish(&pair);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_given_out_as_they_come),
        cmocka_unit_test(bytes_are_bounded_but_for_one_line),
        cmocka_unit_test(a_long_line_arrives_whole),
        cmocka_unit_test(the_whole_is_without_one_line_break),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

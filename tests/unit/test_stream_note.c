/* Notes: framed, sent in pieces, and gone when they are out. */
#include "eventgate/stream_note.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct eg_stream_note note;
    int ours, theirs;
    struct eg_buffer got;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    int fds[2], bytes = 4096;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    fixture->ours = fds[0];
    fixture->theirs = fds[1];
    assert_int_equal(setsockopt(fixture->ours, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    eg_stream_note_done(&fixture->note);
    eg_buffer_done(&fixture->got);
    close(fixture->ours);
    close(fixture->theirs);
    free(fixture);
    return 0;
}

static void receive(struct fixture *fixture)
{
    char bytes[65536];
    ssize_t got;
    while ((got = recv(fixture->theirs, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        eg_buffer_add(&fixture->got, bytes, (size_t)got);
}

static void assert_says(struct fixture *fixture, bool chunked, bool last, const char *expected)
{
    struct eg_buffer plain = EG_BUFFER_INIT;
    size_t bytes = 0;
    eg_buffer_add_string(&plain, "retry: 1\n\n");
    assert_true(eg_stream_note_is_empty(&fixture->note));
    assert_true(eg_stream_note_set(&fixture->note, &plain, chunked, last));
    assert_null(plain.data);
    assert_false(eg_stream_note_is_empty(&fixture->note) || fixture->note.is_rest);
    assert_int_equal(eg_stream_note_send(&fixture->note, &(struct eg_wire){.fd = fixture->ours}, &bytes), 0);
    assert_true(eg_stream_note_is_empty(&fixture->note));
    assert_int_equal(bytes, strlen(expected));
    receive(fixture);
    assert_memory_equal(fixture->got.data, expected, bytes);
    eg_buffer_clear(&fixture->got);
}

static void a_note_is_framed_as_the_stream_is(void **state)
{
    struct fixture *fixture = *state;
    assert_says(fixture, false, false, "retry: 1\n\n");
    assert_says(fixture, false, true, "retry: 1\n\n");
    assert_says(fixture, true, false, "a\r\nretry: 1\n\n\r\n");
    assert_says(fixture, true, true, "a\r\nretry: 1\n\n\r\n0\r\n\r\n");
}

static void nothing_but_the_end_of_a_body_is_a_note_too(void **state)
{
    struct fixture *fixture = *state;
    struct eg_buffer plain = EG_BUFFER_INIT;
    size_t bytes = 0;
    assert_true(eg_stream_note_set(&fixture->note, &plain, true, true));
    assert_int_equal(eg_stream_note_send(&fixture->note, &(struct eg_wire){.fd = fixture->ours}, &bytes), 0);
    assert_int_equal(bytes, 5);
}

static void the_rest_of_a_frame_goes_out_in_pieces(void **state)
{
    struct fixture *fixture = *state;
    char *rest = malloc(100000);
    size_t bytes = 0;
    int error, rounds = 0;
    for (size_t i = 0; i < 100000; i++)
        rest[i] = (char)('a' + i % 26);
    assert_true(eg_stream_note_set_rest(&fixture->note, rest, 100000));
    while ((error = eg_stream_note_send(&fixture->note, &(struct eg_wire){.fd = fixture->ours}, &bytes)) != 0) {
        assert_int_equal(error, -EAGAIN);
        assert_true(fixture->note.is_rest);
        receive(fixture);
        rounds++;
    }
    receive(fixture);
    assert_true(rounds > 1);
    assert_false(fixture->note.is_rest);
    assert_int_equal(bytes, 100000);
    assert_int_equal(fixture->got.length, 100000);
    assert_memory_equal(fixture->got.data, rest, 100000);
    free(rest);
}

static void a_hung_up_socket_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    size_t bytes = 0;
    assert_true(eg_stream_note_set_rest(&fixture->note, "rest", 4));
    assert_int_equal(shutdown(fixture->theirs, SHUT_RDWR), 0);
    assert_int_equal(eg_stream_note_send(&fixture->note, &(struct eg_wire){.fd = fixture->ours}, &bytes), -EPIPE);
    assert_false(eg_stream_note_is_empty(&fixture->note));
}

static void what_was_made_without_memory_is_no_note(void **state)
{
    struct fixture *fixture = *state;
    struct eg_buffer plain = EG_BUFFER_INIT;
    eg_buffer_add_string(&plain, "x");
    plain.failed = true;
    assert_false(eg_stream_note_set(&fixture->note, &plain, true, false));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_note_is_framed_as_the_stream_is),       TEST(nothing_but_the_end_of_a_body_is_a_note_too),
        TEST(the_rest_of_a_frame_goes_out_in_pieces),  TEST(a_hung_up_socket_is_an_error),
        TEST(what_was_made_without_memory_is_no_note),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

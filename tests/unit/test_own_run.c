/* Frames with cursors of one stream's own, and what of them a socket has taken. */
#include "eventgate/own_run.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const struct eg_format sse = {EG_TRANSPORT_SSE, EG_PAYLOAD_RAW, EG_EVENT_NAME_NONE};

struct fixture {
    struct eg_channel *channel;
    struct eg_event *event;
    struct eg_own_run *run;
    int ours, theirs;
    struct eg_buffer got;
};

static struct eg_event *event_of(struct fixture *fixture, size_t bytes)
{
    char *data = malloc(bytes);
    memset(data, '7', bytes);
    struct eg_event *event = eg_event_new_durable(
        fixture->channel,
        &(struct eg_event_row){.cursor = {.tag = "tag", .has_position = true, .position = 9}, .data = {data, bytes}});
    assert_non_null(event);
    free(data);
    return event;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    int fds[2];
    fixture->channel = eg_channel_new("a", 1, false, 0);
    fixture->event = event_of(fixture, 1);
    fixture->run = eg_own_run_new();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    fixture->ours = fds[0];
    fixture->theirs = fds[1];
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    eg_own_run_free(fixture->run);
    eg_own_run_free(NULL);
    eg_event_unref(fixture->event);
    eg_channel_unref(fixture->channel);
    eg_buffer_done(&fixture->got);
    close(fixture->ours);
    close(fixture->theirs);
    free(fixture);
    return 0;
}

static void add(struct fixture *fixture, const struct eg_event *event, uint64_t position, bool chunked)
{
    assert_true(eg_own_run_has_room(fixture->run));
    assert_true(eg_own_run_add(fixture->run, event, sse, chunked,
                               &(struct eg_cursor){.tag = "tag", .has_position = true, .position = position}));
}

static void receive(struct fixture *fixture)
{
    char bytes[65536];
    ssize_t got;
    while ((got = recv(fixture->theirs, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        eg_buffer_add(&fixture->got, bytes, (size_t)got);
}

static void frames_have_the_streams_cursors(void **state)
{
    struct fixture *fixture = *state;
    struct eg_own_sent sent;
    for (int chunked = 0; chunked < 2; chunked++) {
        eg_own_run_clear(fixture->run);
        eg_buffer_clear(&fixture->got);
        add(fixture, fixture->event, 41, chunked);
        add(fixture, fixture->event, 42, chunked);
        assert_int_equal(eg_own_run_send(fixture->run, &(struct eg_wire){.fd = fixture->ours}, &sent), 0);
        assert_int_equal(sent.frames, 2);
        assert_int_equal(sent.rest_length, 0);
        receive(fixture);
        eg_buffer_add(&fixture->got, "", 1);
        assert_int_equal(sent.bytes, fixture->got.length - 1);
        assert_string_equal(fixture->got.data,
                            chunked ? "14\r\ndata: 7\nid: tag.41\n\n\r\n14\r\ndata: 7\nid: tag.42\n\n\r\n"
                                    : "data: 7\nid: tag.41\n\ndata: 7\nid: tag.42\n\n");
    }
}

static void a_run_is_bounded_but_has_room_for_one(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < EG_OWN_RUN_FRAMES; i++)
        add(fixture, fixture->event, i, true);
    assert_false(eg_own_run_has_room(fixture->run));
    eg_own_run_clear(fixture->run);
    struct eg_event *large = event_of(fixture, 2 * EG_OWN_RUN_BYTES);
    add(fixture, large, 1, true);
    assert_false(eg_own_run_has_room(fixture->run));
    eg_event_unref(large);
}

/* However much a socket takes, what is out and the rest of the last frame are known to the byte. */
static void the_rest_of_a_frame_is_known(void **state)
{
    struct fixture *fixture = *state;
    struct eg_own_sent sent;
    struct eg_event *large = event_of(fixture, 3000);
    int bytes = 4096;
    assert_int_equal(setsockopt(fixture->ours, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
    for (uint64_t position = 1; position <= 15; position++)
        add(fixture, large, position, position % 2);
    assert_int_equal(eg_own_run_send(fixture->run, &(struct eg_wire){.fd = fixture->ours}, &sent), 0);
    assert_in_range(sent.frames, 1, 14);
    assert_int_equal(sent.bytes + sent.rest_length, fixture->run->ends[sent.frames - 1]);
    assert_true(sent.rest_length < 3100);
    receive(fixture);
    assert_int_equal(fixture->got.length, sent.bytes);
    eg_buffer_add(&fixture->got, sent.rest, sent.rest_length);
    assert_memory_equal(fixture->got.data, fixture->run->bytes.data, fixture->got.length);
    while (eg_own_run_send(fixture->run, &(struct eg_wire){.fd = fixture->ours}, &sent) == 0)
        ;
    assert_int_equal(eg_own_run_send(fixture->run, &(struct eg_wire){.fd = fixture->ours}, &sent), -EAGAIN);
    assert_int_equal(shutdown(fixture->theirs, SHUT_RDWR), 0);
    assert_int_equal(eg_own_run_send(fixture->run, &(struct eg_wire){.fd = fixture->ours}, &sent), -EPIPE);
    eg_event_unref(large);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_have_the_streams_cursors),
        TEST(a_run_is_bounded_but_has_room_for_one),
        TEST(the_rest_of_a_frame_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

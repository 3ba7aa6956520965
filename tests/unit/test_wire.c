/* Wires: plain ones are their sockets, and over TLS all that is sent comes out once and in order on the other side,
 * however little the socket takes at a time. Both ends are wires, over a socket pair. */
#include "eventgate/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "eventgate/buffer.h"
#include "eventgate/loop.h"
#include "tls_fixture.h"

enum { SMALL = 4608, RECORD = 16384 };

struct fixture {
    struct tls_fixture files;
    struct eg_tls *tls;
    struct eg_wire server, client;
    struct eg_buffer got; /* by the client */
};

static int set_up(void **state)
{
    static struct fixture fixture;
    int fds[2], bytes = SMALL;
    fixture = (struct fixture){.got = EG_BUFFER_INIT};
    tls_fixture_make(&fixture.files);
    fixture.tls = tls_fixture_load(&fixture.files);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
    fixture.server.fd = fds[0];
    fixture.client.fd = fds[1];
    *state = &fixture;
    return 0;
}

static void close_wire(struct eg_wire *wire)
{
    eg_wire_done(wire);
    if (wire->fd >= 0)
        close(wire->fd);
    wire->fd = -1;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    close_wire(&fixture->server);
    close_wire(&fixture->client);
    eg_tls_unref(fixture->tls);
    tls_fixture_remove(&fixture->files);
    eg_buffer_done(&fixture->got);
    return 0;
}

static void shake_hands(struct fixture *fixture)
{
    uint32_t events;
    int server = -EAGAIN, client = -EAGAIN;
    assert_int_equal(eg_wire_begin_tls(&fixture->server, fixture->tls), 0);
    assert_int_equal(eg_wire_begin_tls_client(&fixture->client), 0);
    while (server || client) {
        if (client)
            client = eg_wire_handshake(&fixture->client, &events, NULL);
        assert_true(client == 0 || (client == -EAGAIN && events == EPOLLIN));
        if (server)
            server = eg_wire_handshake(&fixture->server, &events, NULL);
        assert_true(server == 0 || server == -EAGAIN);
    }
}

static void receive(struct fixture *fixture)
{
    char bytes[3000];
    ssize_t got;
    while ((got = eg_wire_receive(&fixture->client, bytes, sizeof(bytes))) > 0)
        eg_buffer_add(&fixture->got, bytes, (size_t)got);
    assert_int_equal(got, -EAGAIN);
}

/* `length` bytes in which no stretch is like another. */
static char *pattern(size_t length)
{
    char *bytes = malloc(length);
    assert_non_null(bytes);
    for (size_t i = 0; i < length; i++)
        bytes[i] = (char)((i * 7 + i / 251 + i / 65521) & 0xff);
    return bytes;
}

static void assert_got(struct fixture *fixture, const char *bytes, size_t length)
{
    while (eg_wire_flush(&fixture->server) == -EAGAIN)
        receive(fixture);
    assert_false(eg_wire_holds(&fixture->server));
    receive(fixture);
    assert_int_equal(fixture->got.length, length);
    assert_memory_equal(fixture->got.data, bytes, length);
    eg_buffer_clear(&fixture->got);
}

/* --- plain ------------------------------------------------------------------------------------------------------- */

static void a_plain_wire_is_its_socket(void **state)
{
    struct fixture *fixture = *state;
    const struct iovec parts[] = {{(char[]){"one "}, 4}, {(char[]){"two"}, 3}};
    char bytes[100];
    assert_int_equal(eg_wire_send(&fixture->server, parts, 2), 7);
    assert_int_equal(eg_wire_send(&fixture->server, parts, 1), 4);
    assert_int_equal(read(fixture->client.fd, bytes, sizeof(bytes)), 11);
    assert_memory_equal(bytes, "one twoone ", 11);
    assert_false(eg_wire_holds(&fixture->server));
    assert_int_equal(eg_wire_flush(&fixture->server), 0);
    assert_int_equal(eg_wire_receive(&fixture->server, bytes, sizeof(bytes)), -EAGAIN);
    assert_false(eg_wire_has_ended(&fixture->server));
    assert_int_equal(write(fixture->client.fd, "x", 1), 1);
    eg_wire_end(&fixture->client); /* nothing to say */
    shutdown(fixture->client.fd, SHUT_WR);
    assert_false(eg_wire_has_ended(&fixture->server));
    assert_int_equal(eg_wire_receive(&fixture->server, bytes, sizeof(bytes)), 1);
    assert_true(eg_wire_has_ended(&fixture->server));
    assert_int_equal(eg_wire_receive(&fixture->server, bytes, sizeof(bytes)), 0);
    close_wire(&fixture->client);
    assert_int_equal(eg_wire_send(&fixture->server, parts, 1), -EPIPE);
}

/* --- over TLS ---------------------------------------------------------------------------------------------------- */

static void both_ways(void **state)
{
    struct fixture *fixture = *state;
    const struct iovec parts[] = {{(char[]){"one "}, 4}, {NULL, 0}, {(char[]){"two"}, 3}};
    char bytes[100];
    shake_hands(fixture);
    assert_int_equal(eg_wire_send(&fixture->server, parts, 3), 7);
    assert_got(fixture, "one two", 7);
    assert_int_equal(eg_wire_send(&fixture->client, parts, 1), 4);
    assert_int_equal(eg_wire_receive(&fixture->server, bytes, 3), 3);
    assert_false(eg_wire_has_ended(&fixture->server)); /* GnuTLS has one byte more */
    assert_int_equal(eg_wire_receive(&fixture->server, bytes + 3, sizeof(bytes) - 3), 1);
    assert_memory_equal(bytes, "one ", 4);
    assert_int_equal(eg_wire_receive(&fixture->server, bytes, sizeof(bytes)), -EAGAIN);
    assert_int_equal(eg_wire_send(&fixture->server, parts, 0), 0);
}

static void several_records_are_received_at_once(void **state)
{
    struct fixture *fixture = *state;
    const struct iovec part = {(char[]){"record"}, 6};
    char bytes[100];
    shake_hands(fixture);
    for (int i = 0; i < 5; i++)
        assert_int_equal(eg_wire_send(&fixture->client, &part, 1), 6);
    assert_int_equal(eg_wire_receive(&fixture->server, bytes, sizeof(bytes)), 30); /* and so the socket is empty */
    assert_int_equal(eg_wire_receive(&fixture->server, bytes, sizeof(bytes)), -EAGAIN);
}

/* What is taken is never offered again, whether the socket takes it or not. */
static void all_of_it_comes_once_though_the_socket_is_small(void **state)
{
    struct fixture *fixture = *state;
    enum { LENGTH = 300000, PARTS = 500 };
    struct iovec parts[PARTS];
    char *bytes = pattern(LENGTH);
    size_t taken = 0, full = 0;
    shake_hands(fixture);
    while (taken < LENGTH) {
        size_t count = 0, from = taken;
        for (; count < PARTS && from < LENGTH; count++) { /* of all lengths, 0 and more than a record among them */
            size_t length = count % 7 == 3 ? 20000 : count * 13 % 2000;
            length = length < LENGTH - from ? length : LENGTH - from;
            parts[count] = (struct iovec){bytes + from, length};
            from += length;
        }
        ssize_t sent = eg_wire_send(&fixture->server, parts, count);
        if (sent > 0) {
            taken += (size_t)sent;
            continue;
        }
        assert_int_equal(sent, -EAGAIN);
        assert_true(eg_wire_holds(&fixture->server));
        assert_int_equal(eg_wire_flush(&fixture->server), -EAGAIN);
        full++;
        receive(fixture);
    }
    assert_true(full > 10);
    assert_got(fixture, bytes, LENGTH);
    free(bytes);
}

/* libmicrohttpd's way: what isn't all out is not taken, and is offered again. */
static void what_is_offered_again_comes_once(void **state)
{
    struct fixture *fixture = *state;
    enum { LENGTH = 200000 };
    char *bytes = pattern(LENGTH);
    size_t taken = 0, full = 0;
    shake_hands(fixture);
    while (taken < LENGTH) {
        const struct iovec parts[] = {{bytes + taken, (LENGTH - taken) / 3},
                                      {bytes + taken + (LENGTH - taken) / 3, LENGTH - taken - (LENGTH - taken) / 3}};
        ssize_t sent = eg_wire_offer(&fixture->server, parts, 2);
        if (sent > 0) {
            assert_false(eg_wire_holds(&fixture->server));
            taken += (size_t)sent;
            continue;
        }
        assert_int_equal(sent, -EAGAIN);
        full++;
        receive(fixture);
    }
    assert_true(full > 5);
    assert_false(eg_wire_holds(&fixture->server));
    assert_got(fixture, bytes, LENGTH);
    free(bytes);
}

static void what_is_held_is_at_most_a_record(void **state)
{
    struct fixture *fixture = *state;
    char *bytes = pattern(10 * RECORD);
    const struct iovec part = {bytes, 10 * RECORD};
    shake_hands(fixture);
    ssize_t sent = eg_wire_send(&fixture->server, &part, 1);
    assert_in_range(sent, RECORD, 2 * RECORD); /* of a socket of a few KiB */
    assert_int_equal(eg_wire_send(&fixture->server, &part, 1), -EAGAIN);
    assert_got(fixture, bytes, (size_t)sent);
    free(bytes);
}

static void the_end_is_said_and_seen(void **state)
{
    struct fixture *fixture = *state;
    const struct iovec part = {(char[]){"last"}, 4};
    char bytes[100];
    shake_hands(fixture);
    assert_int_equal(eg_wire_send(&fixture->client, &part, 1), 4);
    eg_wire_end(&fixture->client);
    eg_wire_end(&fixture->client); /* once */
    assert_int_equal(eg_wire_receive(&fixture->server, bytes, sizeof(bytes)), 4);
    assert_true(eg_wire_has_ended(&fixture->server));
    assert_int_equal(eg_wire_receive(&fixture->server, bytes, sizeof(bytes)), 0);
    assert_int_equal(eg_wire_send(&fixture->server, &part, 1), 4); /* its other half is open */
    assert_got(fixture, "last", 4);
    assert_true(eg_wire_send(&fixture->client, &part, 1) < 0);
}

/* A client that just closes its half is still answered. */
static void an_end_without_words_is_an_end(void **state)
{
    struct fixture *fixture = *state;
    const struct iovec part = {(char[]){"last"}, 4};
    char bytes[100];
    shake_hands(fixture);
    assert_int_equal(eg_wire_send(&fixture->client, &part, 1), 4);
    shutdown(fixture->client.fd, SHUT_WR);
    assert_int_equal(eg_wire_receive(&fixture->server, bytes, sizeof(bytes)), 4);
    assert_true(eg_wire_has_ended(&fixture->server));
    assert_int_equal(eg_wire_receive(&fixture->server, bytes, sizeof(bytes)), 0);
    assert_int_equal(eg_wire_send(&fixture->server, &part, 1), 4);
    assert_got(fixture, "last", 4);
}

static void what_is_not_tls_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    static const char junk[] = "\x17\x03\x03\x00\x20 this was never encrypted by it ";
    char bytes[100];
    shake_hands(fixture);
    assert_true(write(fixture->client.fd, junk, sizeof(junk)) > 0);
    assert_int_equal(eg_wire_receive(&fixture->server, bytes, sizeof(bytes)), -ECONNRESET);
    assert_int_equal(eg_wire_receive(&fixture->server, bytes, sizeof(bytes)), -ECONNRESET);
}

static void a_handshake_that_fails(void **state)
{
    struct fixture *fixture = *state;
    static const char junk[] = "GET / HTTP/1.1\r\n\r\n";
    uint32_t events = 0;
    const char *problem = NULL;
    assert_int_equal(eg_wire_begin_tls(&fixture->server, fixture->tls), 0);
    assert_int_equal(eg_wire_handshake(&fixture->server, &events, &problem), -EAGAIN);
    assert_int_equal(events, EPOLLIN);
    assert_true(write(fixture->client.fd, junk, sizeof(junk) - 1) > 0);
    assert_int_equal(eg_wire_handshake(&fixture->server, &events, &problem), -ECONNRESET);
    assert_non_null(problem);
    eg_wire_end(&fixture->server); /* there is nothing to end */
}

static void a_client_that_leaves_in_the_handshake(void **state)
{
    struct fixture *fixture = *state;
    uint32_t events;
    assert_int_equal(eg_wire_begin_tls(&fixture->server, fixture->tls), 0);
    assert_int_equal(write(fixture->client.fd, "\x16\x03", 2), 2);
    assert_int_equal(eg_wire_handshake(&fixture->server, &events, NULL), -EAGAIN);
    close_wire(&fixture->client);
    assert_int_equal(eg_wire_handshake(&fixture->server, &events, NULL), -ECONNRESET);
}

static void a_handshake_through_a_socket_that_is_full(void **state)
{
    struct fixture *fixture = *state;
    char bytes[SMALL * 4];
    uint32_t events = 0;
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(eg_wire_begin_tls(&fixture->server, fixture->tls), 0);
    assert_int_equal(eg_wire_begin_tls_client(&fixture->client), 0);
    assert_int_equal(eg_wire_handshake(&fixture->client, &events, NULL), -EAGAIN);
    ssize_t filled = 0, more;
    while ((more = send(fixture->server.fd, bytes, 1000, MSG_DONTWAIT)) > 0)
        filled += more;
    assert_int_equal(eg_wire_handshake(&fixture->server, &events, NULL), -EAGAIN);
    assert_int_equal(events, EPOLLOUT); /* its answer waits for room */
    assert_int_equal(eg_wire_handshake(&fixture->server, &events, NULL), -EAGAIN);
    while (filled > 0)
        filled -= read(fixture->client.fd, bytes, (size_t)filled < sizeof(bytes) ? (size_t)filled : sizeof(bytes));
    int server = -EAGAIN, client = -EAGAIN;
    while (server || client) {
        if (server)
            server = eg_wire_handshake(&fixture->server, &events, NULL);
        if (client)
            client = eg_wire_handshake(&fixture->client, &events, NULL);
        assert_true((!server || server == -EAGAIN) && (!client || client == -EAGAIN));
    }
}

/* The stream has the socket under another number. */
static void it_goes_on_with_another_descriptor(void **state)
{
    struct fixture *fixture = *state;
    const struct iovec part = {(char[]){"here"}, 4};
    char bytes[100];
    shake_hands(fixture);
    int old = fixture->server.fd;
    eg_wire_use(&fixture->server, dup(old));
    close(old);
    assert_int_equal(eg_wire_send(&fixture->server, &part, 1), 4);
    assert_got(fixture, "here", 4);
    assert_int_equal(eg_wire_send(&fixture->client, &part, 1), 4);
    assert_int_equal(eg_wire_receive(&fixture->server, bytes, sizeof(bytes)), 4);
}

static void the_certificate_outlives_its_loader(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(eg_wire_begin_tls(&fixture->server, fixture->tls), 0);
    eg_wire_done(&fixture->server);
    assert_null(fixture->server.tls);
    assert_int_equal(eg_wire_begin_tls(&fixture->server, fixture->tls), 0);
    struct eg_tls *tls = fixture->tls;
    fixture->tls = NULL;
    eg_tls_unref(tls); /* the session's own reference is left, for the handshake that goes on */
    uint32_t events;
    assert_int_equal(eg_wire_begin_tls_client(&fixture->client), 0);
    int server = -EAGAIN, client = -EAGAIN;
    for (int i = 0; i < 10 && (server || client); i++) {
        client = client ? eg_wire_handshake(&fixture->client, &events, NULL) : 0;
        server = server ? eg_wire_handshake(&fixture->server, &events, NULL) : 0;
    }
    assert_true(!server && !client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_plain_wire_is_its_socket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(both_ways, set_up, tear_down),
        cmocka_unit_test_setup_teardown(several_records_are_received_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_of_it_comes_once_though_the_socket_is_small, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_offered_again_comes_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_held_is_at_most_a_record, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_end_is_said_and_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_end_without_words_is_an_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_tls_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_handshake_that_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_client_that_leaves_in_the_handshake, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_handshake_through_a_socket_that_is_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_goes_on_with_another_descriptor, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_certificate_outlives_its_loader, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

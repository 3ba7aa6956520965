/* Handshakes in a loop: so many go on in a turn, and each ends once, well or not. */
#include "eventgate/handshake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tls_fixture.h"

enum { CLIENTS = 3 * EG_HANDSHAKES_PER_TURN, TURNS_MAX = 1000, PENDING = 1 };

struct fixture {
    struct tls_fixture files;
    struct eg_tls *tls;
    struct eg_loop *loop;
    unsigned steps;
    struct eg_wire servers[CLIENTS], clients[CLIENTS];
    struct eg_handshake *handshakes[CLIENTS];
    int ended[CLIENTS];
};

static void over(struct eg_handshake *handshake, int error)
{
    int *ended = handshake->context;
    assert_int_equal(*ended, PENDING);
    *ended = error;
}

static void turn(void *context)
{
    struct fixture *fixture = context;
    assert_true(fixture->steps <= EG_HANDSHAKES_PER_TURN);
    fixture->steps = 0;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.loop = eg_loop_new()};
    tls_fixture_make(&fixture.files);
    fixture.tls = tls_fixture_load(&fixture.files);
    eg_loop_on_turn(fixture.loop, turn, &fixture);
    for (int i = 0; i < CLIENTS; i++) {
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        fixture.servers[i].fd = fds[0];
        fixture.clients[i].fd = fds[1];
        fixture.ended[i] = PENDING;
        assert_int_equal(eg_wire_begin_tls(&fixture.servers[i], fixture.tls), 0);
        assert_int_equal(eg_wire_begin_tls_client(&fixture.clients[i]), 0);
        assert_int_equal(eg_handshake_begin(fixture.loop, &fixture.servers[i], &fixture.steps, over, &fixture.ended[i],
                                            &fixture.handshakes[i]),
                         0);
    }
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_not_equal(fixture->ended[i], PENDING);
        eg_wire_done(&fixture->servers[i]);
        eg_wire_done(&fixture->clients[i]);
        close(fixture->servers[i].fd);
        close(fixture->clients[i].fd);
    }
    eg_loop_free(fixture->loop);
    eg_tls_unref(fixture->tls);
    tls_fixture_remove(&fixture->files);
    return 0;
}

static int count(const struct fixture *fixture, int ended)
{
    int found = 0;
    for (int i = 0; i < CLIENTS; i++)
        found += fixture->ended[i] == ended;
    return found;
}

static void clients_go_on(struct fixture *fixture)
{
    uint32_t events;
    for (int i = 0; i < CLIENTS; i++) {
        int error = eg_wire_handshake(&fixture->clients[i], &events, NULL);
        assert_true(error == 0 || error == -EAGAIN);
    }
}

static void all_knock_at_once(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < TURNS_MAX && count(fixture, PENDING) > 0; i++) {
        clients_go_on(fixture);
        eg_loop_turn(fixture->loop, 0);
    }
    assert_int_equal(count(fixture, 0), CLIENTS);
}

static void some_go_away_and_some_are_ended(void **state)
{
    struct fixture *fixture = *state;
    eg_loop_turn(fixture->loop, 0);
    assert_int_equal(count(fixture, PENDING), CLIENTS);
    for (int i = 0; i < CLIENTS; i++) {
        if (i % 3 == 0) {
            shutdown(fixture->clients[i].fd, SHUT_RDWR);
        } else if (i % 3 == 1) {
            eg_handshake_end(fixture->handshakes[i], -ECANCELED);
            assert_int_equal(fixture->ended[i], -ECANCELED);
        } else {
            assert_int_equal(write(fixture->clients[i].fd, "no hello", 8), 8);
        }
    }
    for (int i = 0; i < TURNS_MAX && count(fixture, PENDING) > 0; i++)
        eg_loop_turn(fixture->loop, 0);
    assert_int_equal(count(fixture, -ECONNRESET), CLIENTS / 3 * 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_knock_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(some_go_away_and_some_are_ended, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

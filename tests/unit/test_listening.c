/* Listening sockets: addresses, one socket a worker on one port, taken ports, and inherited descriptors. */
#include "eventgate/listening.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 20000
#define FIRST_INHERITED_FD 3

static char loopback[] = "127.0.0.1:0";

static void addresses_that_are_understood(void **state)
{
    static const char *const good[] = {"127.0.0.1:8080",     "0.0.0.0:0",   "[::1]:8080", "[::]:65535", ":8080", ":0",
                                       "tls:127.0.0.1:8443", "tls:[::1]:0", "tls::8443"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(good); i++)
        assert_null(eg_listening_problem(good[i]));
}

static void addresses_that_are_not(void **state)
{
    static const char *const bad[] = {"",
                                      "8080",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      ":",
                                      ":65536",
                                      "127.0.0.1:-1",
                                      "127.0.0.1:+1",
                                      "1.2.3.4: 1",
                                      "1.2.3:80",
                                      "[]:80",
                                      "[::1]",
                                      "::1:80",
                                      "[127.0.0.1]:80",
                                      "localhost:80",
                                      "127.0.0.1:8o",
                                      "[::1:80",
                                      "::1]:80",
                                      ":99999999999999999999999",
                                      "[fe80::1%lo]:80",
                                      "tls:",
                                      "tls:8443",
                                      "tls:tls:127.0.0.1:8443",
                                      "TLS:127.0.0.1:8443",
                                      "tls:localhost:8443",
                                      "[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001]:80"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(bad); i++) {
        const char *problem = eg_listening_problem(bad[i]);
        if (!problem)
            fail_msg("\"%s\" was taken for an address", bad[i]);
        assert_int_equal(strncmp(problem, "needs ", 6), 0); /* the sentence goes on behind the address */
    }
}

static uint16_t port_of(const struct eg_listening_socket *socket)
{
    const char *colon = strrchr(socket->address, ':');
    assert_non_null(colon);
    return (uint16_t)strtoul(colon + 1, NULL, 10);
}

/* A client of that port, connected. */
static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void each_worker_has_its_socket_on_the_same_port(void **state)
{
    char *addresses[] = {loopback};
    struct eg_listening listening;
    struct eg_error error;
    (void)state;
    assert_int_equal(eg_listening_open(addresses, 1, 3, &listening, &error), 0);
    assert_int_equal(listening.count, 3);
    assert_int_not_equal(port_of(&listening.sockets[0]), 0);
    for (int i = 0; i < 3; i++) {
        const struct eg_listening_socket *socket = &listening.sockets[i];
        assert_int_equal(socket->worker, i);
        assert_string_equal(socket->address, listening.sockets[0].address);
        assert_true(fcntl(socket->fd, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(socket->fd, F_GETFD) & FD_CLOEXEC);
    }
    eg_listening_close(&listening);
    assert_null(listening.sockets);
    assert_int_equal(listening.count, 0);
    eg_listening_close(&listening);
}

static void connections_are_spread_over_the_sockets(void **state)
{
    char *addresses[] = {loopback};
    struct eg_listening listening;
    struct eg_error error;
    struct pollfd polls[2];
    int accepted[2] = {0};
    (void)state;
    assert_int_equal(eg_listening_open(addresses, 1, 2, &listening, &error), 0);
    for (int i = 0; i < 2; i++)
        polls[i] = (struct pollfd){.fd = listening.sockets[i].fd, .events = POLLIN};
    for (int i = 0; i < 64; i++) { /* all on one side: once in 2^63 */
        int client = connect_to(port_of(&listening.sockets[0]));
        assert_int_equal(poll(polls, 2, DEADLINE_MS), 1);
        int side = polls[0].revents ? 0 : 1;
        int connection = accept(polls[side].fd, NULL, NULL);
        assert_true(connection >= 0);
        accepted[side]++;
        close(connection);
        close(client);
    }
    assert_true(accepted[0] > 0 && accepted[1] > 0);
    eg_listening_close(&listening);
}

static void a_socket_of_tls_says_so(void **state)
{
    char secure[] = "tls:127.0.0.1:0";
    char *addresses[] = {loopback, secure};
    struct eg_listening listening;
    struct eg_error error;
    (void)state;
    assert_false(eg_listening_need_tls(addresses, 1));
    assert_true(eg_listening_need_tls(addresses, 2));
    assert_int_equal(eg_listening_open(addresses, 2, 1, &listening, &error), 0);
    assert_int_equal(listening.count, 2);
    assert_false(listening.sockets[0].tls);
    assert_true(listening.sockets[1].tls);
    assert_int_equal(strncmp(listening.sockets[1].address, "127.0.0.1:", 10), 0);
    eg_listening_close(&listening);
}

static bool have_ipv6(void)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool have = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (fd >= 0)
        close(fd);
    return have;
}

static void several_addresses_and_families(void **state)
{
    char six[] = "[::1]:0", all[] = ":0", *addresses[] = {loopback, six, all};
    struct eg_listening listening;
    struct eg_error error;
    (void)state;
    if (!have_ipv6())
        skip();
    assert_int_equal(eg_listening_open(addresses, 3, 2, &listening, &error), 0);
    assert_int_equal(listening.count, 6);
    assert_int_equal(strncmp(listening.sockets[0].address, "127.0.0.1:", 10), 0);
    assert_int_equal(strncmp(listening.sockets[2].address, "[::1]:", 6), 0);
    assert_int_equal(strncmp(listening.sockets[4].address, "[::]:", 5), 0);
    assert_int_equal(listening.sockets[3].worker, 1);
    close(connect_to(port_of(&listening.sockets[4]))); /* all addresses: IPv4 as well */
    eg_listening_close(&listening);
}

static void a_port_that_is_taken_is_an_error_that_names_it(void **state)
{
    char *addresses[] = {loopback}, *second[1];
    struct eg_listening listening, untouched = {.count = 99};
    struct eg_error error;
    (void)state;
    assert_int_equal(eg_listening_open(addresses, 1, 2, &listening, &error), 0);
    second[0] = listening.sockets[0].address; /* a second gateway, though SO_REUSEPORT would let it in */
    assert_int_equal(eg_listening_open(second, 1, 2, &untouched, &error), -EADDRINUSE);
    assert_non_null(strstr(error.sentence, second[0]));
    assert_int_equal(untouched.count, 99);
    eg_listening_close(&listening);
}

static void a_bad_address_leaves_nothing_open(void **state)
{
    char bad[] = "nowhere", foreign[] = "192.0.2.1:0", *addresses[] = {loopback, bad}, *others[] = {loopback, foreign};
    struct eg_listening listening = {.sockets = NULL};
    struct eg_error error;
    (void)state;
    int next = dup(STDERR_FILENO);
    close(next);
    assert_int_equal(eg_listening_open(addresses, 2, 2, &listening, &error), -EINVAL);
    assert_non_null(strstr(error.sentence, "nowhere"));
    assert_int_equal(eg_listening_open(others, 2, 2, &listening, &error), -EADDRNOTAVAIL);
    assert_non_null(strstr(error.sentence, "192.0.2.1"));
    assert_null(listening.sockets);
    int after = dup(STDERR_FILENO);
    close(after);
    assert_int_equal(after, next);
}

/* --- inherited, each in a process of its own --------------------------------------------------------------------- */

static void require(bool holds, int line)
{
    if (holds)
        return;
    fprintf(stderr, "line %d\n", line);
    _exit(1);
}
#define REQUIRE(condition) require((condition), __LINE__)

/* Announces descriptors as sd_listen_fds(3) describes it. */
static void announce(long pid, int count)
{
    char text[32];
    snprintf(text, sizeof(text), "%ld", pid);
    setenv("LISTEN_PID", text, 1);
    snprintf(text, sizeof(text), "%d", count);
    setenv("LISTEN_FDS", text, 1);
}

static void in_child(void (*body)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        body();
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int listener(int family)
{
    int fd = socket(family, SOCK_STREAM, 0);
    REQUIRE(fd >= 0);
    if (family == AF_UNIX) {
        sa_family_t autobind = AF_UNIX; /* unix(7): an abstract name is given */
        REQUIRE(bind(fd, (struct sockaddr *)&autobind, sizeof(autobind)) == 0);
    }
    REQUIRE(listen(fd, 1) == 0);
    return fd;
}

static void two_inherited(void)
{
    char *addresses[] = {loopback};
    struct eg_listening listening;
    struct eg_error error;
    int tcp = listener(AF_INET), local = listener(AF_UNIX);
    /* out of the way first: either may be 3 or 4 already */
    REQUIRE(fcntl(tcp, F_DUPFD, 20) == 20 && fcntl(local, F_DUPFD, 21) == 21);
    REQUIRE(dup2(20, FIRST_INHERITED_FD) >= 0 && dup2(21, FIRST_INHERITED_FD + 1) >= 0);
    announce(getpid(), 2);
    REQUIRE(!eg_listening_need_tls(addresses, 1));
    REQUIRE(setenv("LISTEN_FDNAMES", "tlsx:tls", 1) == 0);
    REQUIRE(eg_listening_need_tls(addresses, 1));
    REQUIRE(eg_listening_open(addresses, 1, 4, &listening, &error) == 0);
    REQUIRE(listening.count == 2);
    for (int i = 0; i < 2; i++) {
        REQUIRE(listening.sockets[i].fd == FIRST_INHERITED_FD + i);
        REQUIRE(listening.sockets[i].worker == -1);
        REQUIRE(listening.sockets[i].tls == (i == 1));
        REQUIRE(fcntl(listening.sockets[i].fd, F_GETFL) & O_NONBLOCK);
        REQUIRE(fcntl(listening.sockets[i].fd, F_GETFD) & FD_CLOEXEC);
    }
    REQUIRE(strncmp(listening.sockets[0].address, "0.0.0.0:", 8) == 0 && port_of(&listening.sockets[0]) > 0);
    REQUIRE(!getenv("LISTEN_PID") && !getenv("LISTEN_FDS")); /* a child of ours shall not take them for its own */
    eg_listening_close(&listening);
}

static void not_a_listening_socket(void)
{
    char *addresses[] = {loopback};
    struct eg_listening listening;
    struct eg_error error;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(dup2(fd, FIRST_INHERITED_FD) == FIRST_INHERITED_FD);
    announce(getpid(), 1);
    REQUIRE(eg_listening_open(addresses, 1, 1, &listening, &error) == -EINVAL);
    REQUIRE(strstr(error.sentence, "descriptor 3") != NULL);
}

static void for_somebody_else(void)
{
    char *addresses[] = {loopback};
    struct eg_listening listening;
    struct eg_error error;
    announce(getppid(), 2);
    REQUIRE(eg_listening_open(addresses, 1, 2, &listening, &error) == 0);
    REQUIRE(listening.count == 2 && listening.sockets[1].worker == 1);
    eg_listening_close(&listening);
}

static void inherited_sockets_are_used_instead_of_the_addresses(void **state)
{
    (void)state;
    in_child(two_inherited);
}

static void an_inherited_descriptor_must_be_listening(void **state)
{
    (void)state;
    in_child(not_a_listening_socket);
}

static void sockets_for_another_process_are_left_alone(void **state)
{
    (void)state;
    in_child(for_somebody_else);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_that_are_understood),
        cmocka_unit_test(addresses_that_are_not),
        cmocka_unit_test(each_worker_has_its_socket_on_the_same_port),
        cmocka_unit_test(connections_are_spread_over_the_sockets),
        cmocka_unit_test(several_addresses_and_families),
        cmocka_unit_test(a_port_that_is_taken_is_an_error_that_names_it),
        cmocka_unit_test(a_bad_address_leaves_nothing_open),
        cmocka_unit_test(a_socket_of_tls_says_so),
        cmocka_unit_test(inherited_sockets_are_used_instead_of_the_addresses),
        cmocka_unit_test(an_inherited_descriptor_must_be_listening),
        cmocka_unit_test(sockets_for_another_process_are_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

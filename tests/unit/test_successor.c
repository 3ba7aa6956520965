/* An upgrade between two processes: this program starts itself anew, hands its sockets over, and ends or lets go of it.
 * What the new one finds is checked there; it says so by how it ends. */
#include "eventgate/successor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "eventgate/predecessor.h"
#include "eventgate/reach.h"

#define TURN_MS 20000
#define LOOKED_AT 256

static char program[4096];
static char plain[] = "127.0.0.1:0", secure[] = "tls:127.0.0.1:0";

/* --- the new process ---------------------------------------------------------------------------------------------- */

static void require(bool holds, int line)
{
    if (holds)
        return;
    fprintf(stderr, "line %d\n", line);
    _exit(1);
}
#define REQUIRE(condition) require((condition), __LINE__)

static bool served;

static void serve(struct eg_predecessor *predecessor)
{
    REQUIRE(predecessor->fd == 0);
    served = true;
}

static void only_these_are_open(int count)
{
    for (int fd = EG_FIRST_INHERITED_FD; fd < LOOKED_AT; fd++)
        REQUIRE((fcntl(fd, F_GETFD) >= 0) == (fd < EG_FIRST_INHERITED_FD + count));
}

/* The same addresses, for so many workers: two plain sockets, two of TLS, two for operators; the second address of each
 * kind is no longer wanted. */
static struct eg_listening inherit(uint32_t workers)
{
    char *addresses[] = {secure, plain}, *admin[] = {plain};
    struct eg_listening listening;
    struct eg_error error;
    REQUIRE(!eg_listening_inherits() && eg_listening_need_tls(addresses, 1));
    REQUIRE(eg_listening_open(addresses, 2, workers, &listening, &error) == 0);
    REQUIRE(eg_listening_open_admin(admin, 1, workers, &listening, &error) == 0);
    REQUIRE(listening.count == 6 && listening.left_count == 0 && listening.predecessor > 0);
    REQUIRE(!getenv(EG_HANDED_OVER_BY) && !getenv("LISTEN_FDS") && !getenv("LISTEN_FDNAMES"));
    for (size_t i = 0; i < 6; i++) {
        const struct eg_listening_socket *socket = &listening.sockets[i];
        REQUIRE(socket->tls == (i < 2) && socket->admin == (i >= 4) && !socket->given && socket->local);
        REQUIRE(socket->worker == (workers == 2 ? (int)i % 2 : -1));
        REQUIRE(fcntl(socket->fd, F_GETFD) & FD_CLOEXEC);
    }
    REQUIRE(strcmp(listening.sockets[0].address, listening.sockets[1].address) == 0);
    REQUIRE(strcmp(listening.sockets[0].address, listening.sockets[2].address) != 0);
    return listening;
}

/* Greets whoever waits in one of the plain sockets' queues. */
static void greet(const struct eg_listening *listening)
{
    for (size_t i = 2; i < 4; i++) {
        int fd = accept(listening->sockets[i].fd, NULL, NULL);
        if (fd >= 0)
            REQUIRE(write(fd, "!", 1) == 1 && close(fd) == 0);
    }
}

/* A whole text of what is reached, of set "shop", and the beginning of the next one. */
static const char half[] = "(;73686f70:5)(;";

static int be_the_new_one(const char *how)
{
    if (strcmp(how, "fail") == 0)
        return 7;
    only_these_are_open(9);
    REQUIRE(!getenv("WATCHDOG_PID") && getenv("SOMETHING_ELSE"));
    struct eg_listening listening = inherit(strcmp(how, "workers") == 0 ? 3 : 2);
    struct eg_predecessor predecessor = {.serve = serve};
    struct eg_loop *loop = eg_loop_new();
    REQUIRE(loop && eg_predecessor_take(&predecessor, loop, listening.predecessor) == 0);
    listening.predecessor = 0;
    eg_predecessor_tell(&predecessor, EG_SUCCESSOR_STARTED);
    if (strcmp(how, "half") == 0)
        REQUIRE(write(predecessor.fd, half, strlen(half)) > 0);
    while (strcmp(how, "mute") == 0 || strcmp(how, "half") == 0)
        pause();
    struct eg_buffer reach = EG_BUFFER_INIT;
    eg_reach_add(&reach, "shop", 5);
    eg_predecessor_tell_reach(&predecessor, &reach);
    eg_buffer_done(&reach);
    eg_predecessor_tell(&predecessor, EG_SUCCESSOR_READY);
    while (!served)
        eg_loop_turn(loop, TURN_MS);
    greet(&listening);
    eg_listening_close(&listening);
    eg_loop_free(loop);
    return 0;
}

/* --- the old one -------------------------------------------------------------------------------------------------- */

static struct {
    bool started, ready;
    int reached;
    char ended[160];
} news;

static void told(struct eg_successor *successor, char message)
{
    if (message == EG_SUCCESSOR_REACH)
        news.reached = eg_reach_find(&successor->reach, "shop");
    news.started |= message == EG_SUCCESSOR_STARTED;
    news.ready |= message == EG_SUCCESSOR_READY;
}

static void ended(struct eg_successor *successor, const char *sentence)
{
    assert_int_equal(successor->pid, 0);
    snprintf(news.ended, sizeof(news.ended), "%s", sentence);
}

/* Two more than the new process wants. */
static struct eg_listening open_all(void)
{
    char *addresses[] = {plain, secure, plain}, *admin[] = {plain};
    struct eg_listening listening;
    struct eg_error error;
    assert_int_equal(eg_listening_open(addresses, 3, 2, &listening, &error), 0);
    assert_int_equal(eg_listening_open_admin(admin, 1, 2, &listening, &error), 0);
    assert_int_equal(listening.count, 8);
    return listening;
}

static int connect_to(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET};
    to.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void start(struct eg_successor *successor, struct eg_loop *loop, const struct eg_listening *listening,
                  const char *how)
{
    struct eg_error error;
    char *argv[] = {program, (char *)(uintptr_t)how, NULL};
    memset(&news, 0, sizeof(news));
    *successor = (struct eg_successor){.told = told, .ended = ended};
    assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0);
    assert_int_equal(setenv("SOMETHING_ELSE", "1", 1), 0);
    assert_int_equal(eg_successor_start(successor, loop, program, argv, environ, listening, &error), 0);
    assert_true(successor->pid > 0);
}

static void hand_over(const char *how)
{
    struct eg_loop *loop = eg_loop_new();
    struct eg_listening listening = open_all();
    struct eg_successor successor;
    int waiting[8], leaks = open("/dev/null", O_RDONLY); /* not closed when a program is run */
    char byte = 0;
    assert_non_null(loop);
    assert_true(leaks >= 0);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(waiting); i++)
        waiting[i] = connect_to(listening.sockets[0].address);
    start(&successor, loop, &listening, how);
    pid_t pid = successor.pid;
    while (!news.ready && !news.ended[0])
        eg_loop_turn(loop, TURN_MS);
    assert_string_equal(news.ended, "");
    assert_true(news.started);
    assert_int_equal(news.reached, 5);
    assert_int_equal(eg_successor_serve(&successor), 0);
    assert_int_equal(successor.pid, 0);
    eg_listening_close(&listening); /* what waits in its queues goes on doing so */
    int greeted = 0, status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(waiting); i++) {
        greeted += recv(waiting[i], &byte, 1, 0) == 1;
        close(waiting[i]);
    }
    assert_true(greeted >= 1);
    close(leaks);
    eg_loop_free(loop);
}

static void the_new_process_gets_the_sockets_and_what_waits_in_them(void **state)
{
    (void)state;
    hand_over("serve");
}

static void another_number_of_workers_shares_them(void **state)
{
    (void)state;
    hand_over("workers");
}

static void a_process_that_fails_is_told_of(void **state)
{
    struct eg_loop *loop = eg_loop_new();
    struct eg_listening listening = open_all();
    struct eg_successor successor;
    (void)state;
    start(&successor, loop, &listening, "fail");
    while (!news.ended[0])
        eg_loop_turn(loop, TURN_MS);
    assert_non_null(strstr(news.ended, "status 7"));
    assert_false(news.started);
    eg_listening_close(&listening);
    eg_loop_free(loop);
}

static void one_that_is_killed_is_not(void **state)
{
    struct eg_loop *loop = eg_loop_new();
    struct eg_listening listening = open_all();
    struct eg_successor successor;
    (void)state;
    start(&successor, loop, &listening, "mute");
    pid_t pid = successor.pid;
    while (!news.started && !news.ended[0])
        eg_loop_turn(loop, TURN_MS);
    eg_successor_kill(&successor);
    assert_int_equal(kill(pid, 0), -1);
    assert_string_equal(news.ended, "");
    eg_successor_kill(&successor); /* there is none */
    eg_listening_close(&listening);
    eg_loop_free(loop);
}

static void what_is_reached_is_the_last_whole_text(void **state)
{
    struct eg_loop *loop = eg_loop_new();
    struct eg_listening listening = open_all();
    struct eg_successor successor;
    (void)state;
    start(&successor, loop, &listening, "half");
    while (news.reached == 0 && !news.ended[0])
        eg_loop_turn(loop, TURN_MS);
    assert_true(successor.reaches);
    assert_int_equal(eg_reach_find(&successor.reach, "shop"), 5);
    eg_successor_kill(&successor);
    eg_listening_close(&listening);
    eg_loop_free(loop);
}

static void a_program_that_is_not_there(void **state)
{
    struct eg_loop *loop = eg_loop_new();
    struct eg_listening listening = open_all();
    struct eg_successor successor = {.told = told, .ended = ended};
    struct eg_error error;
    char *argv[] = {program, NULL};
    (void)state;
    int next = dup(STDERR_FILENO);
    close(next);
    assert_int_equal(eg_successor_start(&successor, loop, "/nonexistent/program", argv, environ, &listening, &error),
                     -ENOENT);
    assert_non_null(strstr(error.sentence, "/nonexistent/program"));
    assert_int_equal(successor.pid, 0);
    int after = dup(STDERR_FILENO);
    close(after);
    assert_int_equal(after, next);
    eg_listening_close(&listening);
    eg_loop_free(loop);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_new_process_gets_the_sockets_and_what_waits_in_them),
        cmocka_unit_test(another_number_of_workers_shares_them),
        cmocka_unit_test(a_process_that_fails_is_told_of),
        cmocka_unit_test(one_that_is_killed_is_not),
        cmocka_unit_test(what_is_reached_is_the_last_whole_text),
        cmocka_unit_test(a_program_that_is_not_there),
    };
    if (argc > 1 && getenv(EG_HANDED_OVER_BY))
        return be_the_new_one(argv[1]);
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (length <= 0)
        return 1;
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

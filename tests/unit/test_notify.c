/* The service manager's protocol: which socket, what is sent, and when a watchdog is asked for. */
#include "eventgate/notify.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Binds a datagram socket to `name` ("@..." is abstract) and names it in the environment. */
static int manager(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    strcpy(address.sun_path, name);
    if (name[0] == '@')
        address.sun_path[0] = '\0';
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

static void assert_hears(int fd, const char *text)
{
    char heard[200];
    ssize_t length = recv(fd, heard, sizeof(heard) - 1, 0);
    assert_true(length >= 0);
    heard[length] = '\0';
    assert_string_equal(heard, text);
}

static void without_a_manager_nothing_happens(void **state)
{
    struct eg_notify notify;
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    assert_int_equal(eg_notify_open(&notify), 0);
    assert_int_equal(notify.fd, -1);
    assert_int_equal(eg_notify_send(&notify, "READY=1"), 0);
    eg_notify_close(&notify);
}

static void sends_to(const char *name)
{
    struct eg_notify notify;
    int fd = manager(name);
    assert_int_equal(eg_notify_open(&notify), 0);
    assert_int_equal(eg_notify_send(&notify, "READY=1\nSTATUS=well"), 0);
    assert_hears(fd, "READY=1\nSTATUS=well");
    assert_string_equal(getenv("NOTIFY_SOCKET"), name); /* for a process that it starts */
    eg_notify_close(&notify);
    close(fd);
}

static void a_path_and_an_abstract_name(void **state)
{
    char name[64];
    (void)state;
    snprintf(name, sizeof(name), "/tmp/test_notify.%ld", (long)getpid());
    sends_to(name);
    unlink(name);
    snprintf(name, sizeof(name), "@test_notify.%ld", (long)getpid());
    sends_to(name);
}

static void what_it_cannot_reach_is_an_error(void **state)
{
    struct eg_notify notify;
    char name[200];
    (void)state;
    memset(name, 'x', sizeof(name));
    name[0] = '/';
    name[sizeof(name) - 1] = '\0';
    setenv("NOTIFY_SOCKET", name, 1);
    assert_int_equal(eg_notify_open(&notify), -EAFNOSUPPORT);
    assert_int_equal(notify.fd, -1);
    setenv("NOTIFY_SOCKET", "vsock:2:1234", 1);
    assert_int_equal(eg_notify_open(&notify), -EAFNOSUPPORT);
    setenv("NOTIFY_SOCKET", "/nowhere/at/all", 1);
    assert_int_equal(eg_notify_open(&notify), 0);
    assert_int_equal(eg_notify_send(&notify, "READY=1"), -ENOENT);
    eg_notify_close(&notify);
}

static void a_manager_that_does_not_read_does_not_block_it(void **state)
{
    struct eg_notify notify;
    char name[64];
    int result = 0;
    (void)state;
    snprintf(name, sizeof(name), "@test_notify.full.%ld", (long)getpid());
    int fd = manager(name);
    assert_int_equal(eg_notify_open(&notify), 0);
    for (int i = 0; i < 100000 && !result; i++)
        result = eg_notify_send(&notify, "WATCHDOG=1");
    assert_int_equal(result, -EAGAIN);
    eg_notify_close(&notify);
    close(fd);
}

static void set_watchdog(const char *usec, const char *pid)
{
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    if (usec)
        setenv("WATCHDOG_USEC", usec, 1);
    if (pid)
        setenv("WATCHDOG_PID", pid, 1);
}

static void the_watchdog_is_this_process_s(void **state)
{
    char pid[16];
    (void)state;
    snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    set_watchdog(NULL, NULL);
    assert_int_equal(eg_notify_watchdog_ms(), 0);
    set_watchdog("30000000", NULL);
    assert_int_equal(eg_notify_watchdog_ms(), 30000);
    set_watchdog("30000000", pid);
    assert_int_equal(eg_notify_watchdog_ms(), 30000);
    set_watchdog("30000000", "1");
    assert_int_equal(eg_notify_watchdog_ms(), 0);
    set_watchdog("soon", pid);
    assert_int_equal(eg_notify_watchdog_ms(), 0);
    set_watchdog("-5", pid);
    assert_int_equal(eg_notify_watchdog_ms(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_manager_nothing_happens),
        cmocka_unit_test(a_path_and_an_abstract_name),
        cmocka_unit_test(what_it_cannot_reach_is_an_error),
        cmocka_unit_test(a_manager_that_does_not_read_does_not_block_it),
        cmocka_unit_test(the_watchdog_is_this_process_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Connections from accept to close, over real sockets on loopback. The test stands in for libmicrohttpd: it is handed
 * each descriptor, and reads it by recv(), which the linked module defines. */
#include "eventgate/intake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "eventgate/client_calls.h"

enum { DEADLINE_MS = 20000, SHORT_MS = 60, ADMITTED_MAX = 8 };

#define GOOD "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
#define HALF "GET /a HTTP/1.1\r\nHo"
#define POST "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"

struct fixture {
    struct eg_loop *loop;
    struct eg_settings settings;
    struct eg_intake_counts *counts;
    struct eg_metrics *metrics;
    struct eg_intake *intake;
    struct eg_listening_socket listening;
    struct eg_client *admitted[ADMITTED_MAX]; /* in the order of their arrival */
    size_t admitted_count;
    int admit_result;
};

static int admit(void *context, struct eg_client *client)
{
    struct fixture *fixture = context;
    if (fixture->admit_result) {
        close(client->wire.fd);
        return fixture->admit_result;
    }
    assert_true(fixture->admitted_count < ADMITTED_MAX);
    fixture->admitted[fixture->admitted_count++] = client;
    return 0;
}

static int listen_on(int family, const void *address, socklen_t length)
{
    int off = 0, fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, address, length) != 0 || listen(fd, 16) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void make(struct fixture *fixture)
{
    const struct sockaddr_in loopback = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *fixture = (struct fixture){.loop = eg_loop_new(),
                                .settings = {.max_connections = 100,
                                             .max_connections_per_address = 100,
                                             .max_header_bytes = 1024,
                                             .max_body_bytes = 100,
                                             .header_timeout_ms = DEADLINE_MS,
                                             .body_timeout_ms = DEADLINE_MS,
                                             .idle_timeout_ms = DEADLINE_MS},
                                .counts = eg_intake_counts_new(),
                                .metrics = eg_metrics_new(NULL),
                                .listening = {.worker = -1}};
    assert_non_null(fixture->loop);
    assert_non_null(fixture->counts);
    assert_non_null(fixture->metrics);
    fixture->intake = eg_intake_new(fixture->loop, &fixture->settings, fixture->counts, fixture->metrics,
                                    (struct eg_intake_hooks){admit, fixture});
    assert_non_null(fixture->intake);
    fixture->listening.fd = listen_on(AF_INET, &loopback, sizeof(loopback));
    assert_true(fixture->listening.fd >= 0);
    assert_int_equal(eg_intake_listen(fixture->intake, &fixture->listening), 0);
}

/* What libmicrohttpd does when it closes. */
static void close_client(struct eg_client *client)
{
    int fd = client->wire.fd;
    eg_client_closed(client);
    close(fd);
}

static void unmake(struct fixture *fixture)
{
    for (size_t i = 0; i < fixture->admitted_count; i++)
        if (fixture->admitted[i])
            close_client(fixture->admitted[i]);
    assert_int_equal(eg_intake_counts_total(fixture->counts), 0);
    assert_int_equal(eg_metrics_sum(EG_METRIC_CONNECTIONS), 0);
    eg_intake_free(fixture->intake);
    close(fixture->listening.fd);
    eg_metrics_free(fixture->metrics);
    eg_intake_counts_free(fixture->counts);
    eg_loop_free(fixture->loop);
}

static void renew(struct fixture *fixture)
{
    unmake(fixture);
    make(fixture);
}

static int set_up(void **state)
{
    static struct fixture fixture;
    make(&fixture);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    unmake(*state);
    return 0;
}

/* --- the client's side ------------------------------------------------------------------------------------------- */

static int connect_to(const struct fixture *fixture)
{
    struct sockaddr_storage bound;
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(bound);
    assert_int_equal(getsockname(fixture->listening.fd, (struct sockaddr *)&bound, &length), 0);
    memcpy(&in.sin_port, &((struct sockaddr_in *)(void *)&bound)->sin_port, sizeof(in.sin_port)); /* IPv6: same place */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static bool is_readable(int fd, int timeout_ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    return poll(&ready, 1, timeout_ms) == 1;
}

/* Turns the loop until there is something to read. */
static void turn_until_readable(struct fixture *fixture, int fd)
{
    uint64_t end_ms = eg_monotonic_ms() + DEADLINE_MS;
    while (!is_readable(fd, 0)) {
        assert_true(eg_monotonic_ms() < end_ms);
        eg_loop_turn(fixture->loop, 5);
    }
}

static void turn_for(struct fixture *fixture, uint64_t ms)
{
    for (uint64_t end_ms = eg_monotonic_ms() + ms; eg_monotonic_ms() < end_ms;)
        eg_loop_turn(fixture->loop, 5);
}

/* All that the client gets until the end of the stream. */
static const char *rest(int fd)
{
    static char text[4096];
    size_t length = 0;
    ssize_t got;
    do {
        assert_true(is_readable(fd, DEADLINE_MS));
        got = read(fd, text + length, sizeof(text) - 1 - length);
        assert_true(got >= 0);
        length += (size_t)got;
    } while (got > 0);
    text[length] = '\0';
    return text;
}

static void assert_refused(const char *answer, const char *status_line_start)
{
    assert_int_equal(strncmp(answer, status_line_start, strlen(status_line_start)), 0);
    assert_non_null(strstr(answer, "\r\nContent-Type: application/problem+json"));
    assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
    assert_null(strstr(answer, "}HTTP/")); /* one answer */
}

/* --- libmicrohttpd's side ---------------------------------------------------------------------------------------- */

/* Connects; the intake's half is returned. */
static struct eg_client *arrive(struct fixture *fixture, int *ret_fd)
{
    size_t before = fixture->admitted_count;
    uint64_t end_ms = eg_monotonic_ms() + DEADLINE_MS;
    *ret_fd = connect_to(fixture);
    while (fixture->admitted_count == before) {
        assert_true(eg_monotonic_ms() < end_ms);
        eg_loop_turn(fixture->loop, 5);
    }
    assert_int_equal(fixture->admitted_count, before + 1);
    return fixture->admitted[before];
}

/* One recv(), once there is something. */
static const char *receive(struct fixture *fixture, struct eg_client *client)
{
    static char text[4096];
    eg_loop_turn(fixture->loop, 0); /* the loop's clock */
    assert_true(is_readable(client->wire.fd, DEADLINE_MS));
    ssize_t got = recv(client->wire.fd, text, sizeof(text) - 1, 0);
    assert_true(got >= 0);
    text[got] = '\0';
    return text;
}

static void deliver(struct fixture *fixture, int fd, struct eg_client *client, const char *text)
{
    say(fd, text);
    assert_string_equal(receive(fixture, client), text);
}

static void goodbye(struct fixture *fixture, int fd, struct eg_client *client)
{
    close(fd);
    close_client(client);
    for (size_t i = 0; i < fixture->admitted_count; i++)
        if (fixture->admitted[i] == client)
            fixture->admitted[i] = NULL;
}

/* --- admitting --------------------------------------------------------------------------------------------------- */

static void a_connection_is_admitted_counted_and_forgotten(void **state)
{
    struct fixture *fixture = *state;
    char address[INET6_ADDRSTRLEN];
    int fd;
    struct eg_client *client = arrive(fixture, &fd);
    int client_fd = client->wire.fd;
    assert_ptr_equal(eg_client_find(client_fd), client);
    assert_null(eg_client_find(fd));
    assert_null(eg_client_find(-1));
    assert_null(eg_client_find(INT32_MAX));
    assert_true(fcntl(client_fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(client_fd, F_GETFD) & FD_CLOEXEC);
    eg_client_address(client, address);
    assert_string_equal(address, "127.0.0.1");
    assert_int_equal(eg_intake_counts_total(fixture->counts), 1);
    assert_int_equal(eg_metrics_sum(EG_METRIC_CONNECTIONS), 1);
    goodbye(fixture, fd, client);
    assert_null(eg_client_find(client_fd));
    assert_int_equal(eg_intake_counts_total(fixture->counts), 0);
    assert_int_equal(eg_metrics_sum(EG_METRIC_CONNECTIONS), 0);
    assert_int_equal(eg_metrics_sum(EG_METRIC_ACCEPTED), 1);
}

static void a_connection_that_is_not_admitted_does_not_count(void **state)
{
    struct fixture *fixture = *state;
    fixture->admit_result = -ECONNABORTED;
    int fd = connect_to(fixture);
    turn_until_readable(fixture, fd);
    assert_string_equal(rest(fd), "");
    assert_int_equal(eg_intake_counts_total(fixture->counts), 0);
    assert_int_equal(eg_metrics_sum(EG_METRIC_CONNECTIONS), 0);
    close(fd);
    fixture->admit_result = 0;
    goodbye(fixture, fd, arrive(fixture, &fd));
}

static void an_ipv4_client_of_an_ipv6_socket_is_an_ipv4_client(void **state)
{
    struct fixture *fixture = *state;
    const struct sockaddr_in6 any = {.sin6_family = AF_INET6};
    char address[INET6_ADDRSTRLEN];
    int fd, other_fd;
    struct eg_listening_socket ipv4 = fixture->listening,
                               ipv6 = {.fd = listen_on(AF_INET6, &any, sizeof(any)), .worker = -1};
    if (ipv6.fd < 0) {
        skip(); /* no IPv6 here */
    }
    assert_int_equal(eg_intake_listen(fixture->intake, &ipv6), 0);
    fixture->settings.max_connections_per_address = 1;
    fixture->listening = ipv6;
    struct eg_client *client = arrive(fixture, &fd);
    assert_int_equal(client->address.any.sa_family, AF_INET);
    assert_int_equal(client->address_length, sizeof(struct sockaddr_in));
    eg_client_address(client, address);
    assert_string_equal(address, "127.0.0.1");
    fixture->listening = ipv4;
    other_fd = connect_to(fixture);
    turn_until_readable(fixture, other_fd);
    assert_refused(rest(other_fd), "HTTP/1.1 429 "); /* the same address */
    close(other_fd);
    goodbye(fixture, fd, client);
    close(ipv6.fd);
}

/* --- limits ------------------------------------------------------------------------------------------------------ */

static void assert_turned_away(struct fixture *fixture, const char *status_line_start, enum eg_metric metric)
{
    size_t admitted = fixture->admitted_count;
    uint32_t total = eg_intake_counts_total(fixture->counts);
    int64_t before = eg_metrics_sum(metric);
    int fd = connect_to(fixture);
    say(fd, GOOD); /* a client does not wait to be accepted */
    turn_until_readable(fixture, fd);
    const char *answer = rest(fd);
    assert_refused(answer, status_line_start);
    assert_non_null(strstr(answer, "\r\nRetry-After: "));
    assert_int_equal(fixture->admitted_count, admitted);
    assert_int_equal(eg_intake_counts_total(fixture->counts), total);
    assert_int_equal(eg_metrics_sum(metric), before + 1);
    close(fd);
}

static void limits_of_connections_are_answered_unread(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        uint32_t total, per_address;
        const char *answer;
        enum eg_metric metric;
    } rows[] = {{2, 100, "HTTP/1.1 503 ", EG_METRIC_LIMIT_CONNECTIONS},
                {100, 2, "HTTP/1.1 429 ", EG_METRIC_LIMIT_ADDRESS}};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        int fds[3];
        fixture->settings.max_connections = rows[i].total;
        fixture->settings.max_connections_per_address = rows[i].per_address;
        struct eg_client *first = arrive(fixture, &fds[0]);
        arrive(fixture, &fds[1]);
        assert_turned_away(fixture, rows[i].answer, rows[i].metric);
        assert_turned_away(fixture, rows[i].answer, rows[i].metric);
        goodbye(fixture, fds[0], first);
        arrive(fixture, &fds[2]); /* there is a place again */
        assert_turned_away(fixture, rows[i].answer, rows[i].metric);
        close(fds[1]);
        close(fds[2]);
        renew(fixture);
    }
}

static void out_of_descriptors_a_client_is_told(void **state)
{
    struct fixture *fixture = *state;
    struct rlimit limit, none_left;
    char scrap[1];
    int fd = connect_to(fixture);
    say(fd, GOOD);
    int lowest_free = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    assert_true(lowest_free >= 0);
    close(lowest_free);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none_left = (struct rlimit){(rlim_t)lowest_free, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none_left), 0);
    turn_until_readable(fixture, fd);
    assert_int_equal(fcntl(fd, F_DUPFD_CLOEXEC, 0), -1); /* the reserve is back */
    assert_false(is_readable(fixture->listening.fd, 0));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    const char *answer = rest(fd);
    assert_refused(answer, "HTTP/1.1 503 ");
    assert_non_null(strstr(answer, "descriptors"));
    assert_int_equal(read(fd, scrap, 1), 0);
    assert_int_equal(fixture->admitted_count, 0);
    assert_int_equal(eg_intake_counts_total(fixture->counts), 0);
    close(fd);
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

static void good_requests_pass_byte_by_byte_and_pipelined(void **state)
{
    struct fixture *fixture = *state;
    char byte[2] = "";
    int fd;
    struct eg_client *client = arrive(fixture, &fd);
    uint64_t reads = eg_client_reads();
    for (const char *at = POST "0123456789"; *at; at++) {
        byte[0] = *at;
        deliver(fixture, fd, client, byte);
    }
    assert_int_equal(eg_client_reads(), reads + strlen(POST "0123456789"));
    assert_int_equal(client->head.requests, 1);
    deliver(fixture, fd, client, GOOD POST "0123456789" GOOD);
    assert_int_equal(client->head.requests, 4);
    assert_int_equal(client->head.stage, EG_HEAD_IDLE);
    assert_int_equal(recv(client->wire.fd, byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
    close(fd);
    assert_string_equal(receive(fixture, client), ""); /* the client's end */
    assert_int_equal(eg_metrics_sum(EG_METRIC_REQUESTS_4XX), 0);
}

static void descriptors_that_are_no_clients_are_read_as_they_are(void **state)
{
    (void)state;
    char text[16];
    int pair[2];
    uint64_t reads = eg_client_reads();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    say(pair[0], "\r\nno request");
    assert_int_equal(recv(pair[1], text, sizeof(text), 0), 12);
    assert_memory_equal(text, "\r\nno request", 12);
    assert_int_equal(eg_client_reads(), reads);
    assert_int_equal(recv(-1, text, sizeof(text), 0), -1);
    assert_int_equal(errno, EBADF);
    close(pair[0]);
    close(pair[1]);
}

static void a_bad_head_is_answered_and_never_passes_whole(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *text, *answer;
        enum eg_metric metric;
    } rows[] = {
        {"\r\n" GOOD, "HTTP/1.1 400 ", EG_METRIC_REQUESTS_4XX},
        {"GET /a HTTP/1.1\r\nHost : h\r\n\r\n" GOOD, "HTTP/1.1 400 ", EG_METRIC_REQUESTS_4XX},
        {"GET /a HTTP/1.1\n\n" GOOD, "HTTP/1.1 400 ", EG_METRIC_REQUESTS_4XX},
        {"GET /a HTTP/3.0\r\nHost: h\r\n\r\n" GOOD, "HTTP/1.1 505 ", EG_METRIC_REQUESTS_5XX},
        {"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n" GOOD, "HTTP/1.1 413 ", EG_METRIC_LIMIT_BODY},
    };
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        char passed[4096] = "";
        int fd;
        struct eg_client *client = arrive(fixture, &fd);
        say(fd, rows[i].text);
        for (const char *piece; *(piece = receive(fixture, client));) {
            strcat(passed, piece);
            assert_null(strstr(passed, "\r\n\r\n"));
            assert_null(strstr(passed, "\n\n"));
        }
        assert_int_equal(strncmp(rows[i].text, passed, strlen(passed)), 0);
        assert_int_equal(recv(client->wire.fd, passed, sizeof(passed), 0), 0); /* asking again changes nothing */
        assert_refused(rest(fd), rows[i].answer);
        assert_int_equal(eg_metrics_sum(rows[i].metric), 1);
        assert_int_equal(eg_metrics_sum(EG_METRIC_REQUESTS_4XX) + eg_metrics_sum(EG_METRIC_REQUESTS_5XX), 1);
        close(fd);
        renew(fixture);
    }
}

static void a_head_over_the_limit_is_431_and_a_reload_changes_the_limit(void **state)
{
    struct fixture *fixture = *state;
    static const char start[] = "GET /a HTTP/1.1\r\nHost: h\r\nX: ";
    char text[600];
    int fd;
    fixture->settings.max_header_bytes = 256;
    struct eg_client *client = arrive(fixture, &fd);
    memset(text, 'x', sizeof(text));
    memcpy(text, start, strlen(start));
    memcpy(text + sizeof(text) - 5, "\r\n\r\n", 5);
    say(fd, text);
    assert_int_equal(strlen(receive(fixture, client)), 256);
    assert_string_equal(receive(fixture, client), "");
    assert_refused(rest(fd), "HTTP/1.1 431 ");
    assert_int_equal(eg_metrics_sum(EG_METRIC_LIMIT_HEADER), 1);
    goodbye(fixture, fd, client);
    fixture->settings.max_header_bytes = 1024;
    client = arrive(fixture, &fd);
    deliver(fixture, fd, client, text);
    goodbye(fixture, fd, client);
}

static void a_refusal_comes_behind_the_answers_before_it(void **state)
{
    struct fixture *fixture = *state;
    static const char answer[] = "HTTP/1.0 204 No Content\r\n\r\n";
    int fd;
    fixture->settings.header_timeout_ms = SHORT_MS;
    struct eg_client *client = arrive(fixture, &fd);
    say(fd, GOOD "GET /b HTTP/1.1\r\nHost : h\r\n\r\n");
    const char *passed = receive(fixture, client);
    assert_int_equal(strncmp(passed, GOOD, strlen(GOOD)), 0);
    assert_null(strstr(passed + strlen(GOOD), "\r\n\r\n"));
    eg_client_busy(client, true);
    turn_for(fixture, SHORT_MS * 3);
    assert_false(is_readable(fd, 0));              /* nothing is said before the first is answered */
    assert_false(is_readable(client->wire.fd, 0)); /* nor does it look like a hang-up to whoever answers it */
    say(client->wire.fd, answer);
    eg_client_busy(client, false);
    assert_true(is_readable(client->wire.fd, 0)); /* nothing more comes from the client, and yet it is read again */
    assert_string_equal(receive(fixture, client), "");
    const char *text = rest(fd);
    assert_int_equal(strncmp(text, answer, strlen(answer)), 0);
    assert_refused(text + strlen(answer), "HTTP/1.1 400 ");
    close(fd);
}

/* --- deadlines --------------------------------------------------------------------------------------------------- */

/* The server's half has been ended: libmicrohttpd reads the end, and closes. */
static void assert_ended(struct fixture *fixture, struct eg_client *client)
{
    turn_until_readable(fixture, client->wire.fd);
    while (*receive(fixture, client))
        ;
}

static void a_head_has_to_arrive_in_time_whatever_trickles_in(void **state)
{
    struct fixture *fixture = *state;
    int fd;
    fixture->settings.header_timeout_ms = SHORT_MS;
    struct eg_client *client = arrive(fixture, &fd);
    deliver(fixture, fd, client, HALF "st: h\r\nX: ");
    uint64_t start_ms = eg_loop_now_ms(fixture->loop), end_ms = start_ms + DEADLINE_MS;
    while (!is_readable(fd, 0)) {
        assert_true(eg_monotonic_ms() < end_ms);
        if (send(fd, "x", 1, MSG_NOSIGNAL) == 1 && is_readable(client->wire.fd, 5))
            receive(fixture, client);
        eg_loop_turn(fixture->loop, 5);
    }
    assert_refused(rest(fd), "HTTP/1.1 408 ");
    assert_int_equal(eg_metrics_sum(EG_METRIC_LIMIT_HEADER_TIME), 1);
    assert_ended(fixture, client);
    close(fd);
}

static void a_silent_connection_is_ended_without_a_word(void **state)
{
    struct fixture *fixture = *state;
    int fd;
    fixture->settings.header_timeout_ms = SHORT_MS;
    uint64_t start_ms = eg_monotonic_ms();
    struct eg_client *client = arrive(fixture, &fd);
    assert_int_equal(client->wait, EG_CLIENT_WAITS_HEAD);
    assert_ended(fixture, client);
    assert_true(eg_monotonic_ms() >= start_ms + SHORT_MS);
    assert_string_equal(rest(fd), "");
    assert_int_equal(eg_metrics_sum(EG_METRIC_LIMIT_HEADER_TIME), 1);
    close(fd);
}

static void a_body_has_to_arrive_in_time(void **state)
{
    struct fixture *fixture = *state;
    int fd;
    fixture->settings.body_timeout_ms = SHORT_MS;
    struct eg_client *client = arrive(fixture, &fd);
    deliver(fixture, fd, client, POST);
    eg_client_busy(client, true); /* its request line has been read: that does not stop the clock */
    deliver(fixture, fd, client, "012345678");
    assert_int_equal(client->wait, EG_CLIENT_WAITS_BODY);
    turn_until_readable(fixture, fd);
    assert_refused(rest(fd), "HTTP/1.1 408 ");
    assert_int_equal(eg_metrics_sum(EG_METRIC_LIMIT_BODY_TIME), 1);
    assert_ended(fixture, client);
    close(fd);
}

static void only_who_waits_for_a_next_request_is_idle(void **state)
{
    struct fixture *fixture = *state;
    int fd;
    fixture->settings.idle_timeout_ms = SHORT_MS;
    struct eg_client *client = arrive(fixture, &fd);
    deliver(fixture, fd, client, GOOD);
    eg_client_busy(client, true);
    assert_int_equal(client->wait, EG_CLIENT_WAITS_NOT);
    turn_for(fixture, SHORT_MS * 3);
    assert_false(is_readable(client->wire.fd, 0));
    eg_client_busy(client, false);
    assert_int_equal(client->wait, EG_CLIENT_WAITS_IDLE);
    assert_ended(fixture, client);
    assert_string_equal(rest(fd), "");
    assert_int_equal(eg_metrics_sum(EG_METRIC_LIMIT_HEADER_TIME), 0);
    close(fd);
}

/* Whoever pipelines behind a poll would get 408 as the poll's answer. */
static void what_is_pipelined_has_no_deadline_before_its_turn(void **state)
{
    struct fixture *fixture = *state;
    static const char *const behind[] = {HALF, POST "0123"};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(behind); i++) {
        char text[512] = GOOD;
        int fd;
        fixture->settings.header_timeout_ms = fixture->settings.body_timeout_ms = SHORT_MS;
        struct eg_client *client = arrive(fixture, &fd);
        strcat(text, behind[i]);
        deliver(fixture, fd, client, text);
        eg_client_busy(client, true);
        turn_for(fixture, SHORT_MS * 3);
        assert_false(is_readable(fd, 0)); /* the first is still being answered */
        assert_false(is_readable(client->wire.fd, 0));
        eg_client_busy(client, false);
        turn_until_readable(fixture, fd);
        assert_refused(rest(fd), "HTTP/1.1 408 ");
        close(fd);
        renew(fixture);
    }
}

static void deadlines_fall_due_in_their_order(void **state)
{
    struct fixture *fixture = *state;
    int head_fd, body_fd, idle_fd;
    fixture->settings.header_timeout_ms = SHORT_MS * 2;
    fixture->settings.idle_timeout_ms = SHORT_MS;
    struct eg_client *idle = arrive(fixture, &idle_fd), *body = arrive(fixture, &body_fd),
                     *head = arrive(fixture, &head_fd);
    deliver(fixture, body_fd, body, POST);
    deliver(fixture, head_fd, head, HALF);
    deliver(fixture, idle_fd, idle, GOOD);
    turn_until_readable(fixture, idle_fd);
    turn_until_readable(fixture, head_fd);
    assert_string_equal(rest(idle_fd), "");
    assert_refused(rest(head_fd), "HTTP/1.1 408 ");
    assert_false(is_readable(body_fd, 0)); /* it has far more time */
    assert_int_equal(body->wait, EG_CLIENT_WAITS_BODY);
    close(idle_fd);
    close(body_fd);
    close(head_fd);
}

/* --- taking over, draining, stopping ----------------------------------------------------------------------------- */

static void a_taken_connection_is_unchecked_without_deadlines_and_counts(void **state)
{
    struct fixture *fixture = *state;
    char text[16];
    int fd;
    fixture->settings.idle_timeout_ms = SHORT_MS;
    struct eg_client *client = arrive(fixture, &fd);
    deliver(fixture, fd, client, GOOD);
    int old_fd = client->wire.fd, own_fd = fcntl(old_fd, F_DUPFD_CLOEXEC, 0);
    assert_true(own_fd >= 0);
    eg_client_take(client, own_fd);
    fixture->admitted[0] = NULL;
    assert_null(eg_client_find(old_fd));
    assert_null(eg_client_find(own_fd));
    assert_true(client->taken);
    close(old_fd);
    turn_for(fixture, SHORT_MS * 3);
    eg_intake_drain(fixture->intake); /* it is not for the intake to end it */
    assert_false(is_readable(own_fd, 0));
    say(fd, "\r\n");
    assert_true(is_readable(own_fd, DEADLINE_MS));
    assert_int_equal(recv(own_fd, text, sizeof(text), 0), 2);
    assert_int_equal(eg_intake_counts_total(fixture->counts), 1);
    assert_int_equal(eg_metrics_sum(EG_METRIC_CONNECTIONS), 1);
    eg_client_free(client);
    assert_int_equal(eg_intake_counts_total(fixture->counts), 0);
    assert_int_equal(fcntl(own_fd, F_GETFD), FD_CLOEXEC); /* still open */
    eg_client_free(NULL);
    close(own_fd);
    close(fd);
}

static void draining_ends_who_waits_for_a_next_request(void **state)
{
    struct fixture *fixture = *state;
    int new_fd, idle_fd, busy_fd, half_fd;
    struct eg_client *new = arrive(fixture, &new_fd), *idle = arrive(fixture, &idle_fd),
                     *busy = arrive(fixture, &busy_fd), *half = arrive(fixture, &half_fd);
    deliver(fixture, idle_fd, idle, GOOD);
    deliver(fixture, busy_fd, busy, GOOD);
    eg_client_busy(busy, true);
    deliver(fixture, half_fd, half, GOOD HALF);
    eg_intake_drain(fixture->intake);
    assert_ended(fixture, idle);
    assert_false(is_readable(busy->wire.fd, 0));
    assert_false(is_readable(half->wire.fd, 0));
    assert_false(is_readable(new->wire.fd, 0)); /* its first request may be on its way */
    eg_client_busy(busy, false);
    assert_ended(fixture, busy);
    deliver(fixture, new_fd, new, GOOD);
    eg_client_busy(new, true);
    eg_client_busy(new, false);
    assert_ended(fixture, new);
    close(new_fd);
    close(idle_fd);
    close(busy_fd);
    close(half_fd);
}

static void draining_a_stopped_intake_ends_who_has_sent_no_whole_head(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *sent;
        bool read; /* its request line has been: it counts as a request under way */
    } rows[] = {{"", false}, {HALF, false}, {HALF, true}};
    int fds[EG_ARRAY_LENGTH(rows)], body_fd, busy_fd;
    struct eg_client *clients[EG_ARRAY_LENGTH(rows)];
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        clients[i] = arrive(fixture, &fds[i]);
        if (*rows[i].sent)
            deliver(fixture, fds[i], clients[i], rows[i].sent);
        if (rows[i].read)
            eg_client_busy(clients[i], true);
    }
    struct eg_client *body = arrive(fixture, &body_fd), *busy = arrive(fixture, &busy_fd);
    deliver(fixture, body_fd, body, POST);
    deliver(fixture, busy_fd, busy, GOOD HALF);
    eg_client_busy(busy, true);
    eg_intake_stop(fixture->intake);
    eg_intake_drain(fixture->intake);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        assert_ended(fixture, clients[i]);
        close(fds[i]);
    }
    assert_false(is_readable(body->wire.fd, 0));
    assert_false(is_readable(busy->wire.fd, 0));
    eg_client_busy(busy, false);
    assert_ended(fixture, busy);
    close(body_fd);
    close(busy_fd);
}

static void a_stopped_intake_accepts_no_more_but_keeps_its_clients(void **state)
{
    struct fixture *fixture = *state;
    int fd, late_fd;
    struct eg_client *client = arrive(fixture, &fd);
    eg_intake_stop(fixture->intake);
    late_fd = connect_to(fixture); /* the kernel queues it: the socket is not the intake's to close */
    for (int i = 0; i < 5; i++)
        eg_loop_turn(fixture->loop, 5);
    assert_int_equal(fixture->admitted_count, 1);
    deliver(fixture, fd, client, GOOD);
    eg_intake_stop(fixture->intake);
    close(late_fd);
    close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_connection_is_admitted_counted_and_forgotten),
        TEST(a_connection_that_is_not_admitted_does_not_count),
        TEST(an_ipv4_client_of_an_ipv6_socket_is_an_ipv4_client),
        TEST(limits_of_connections_are_answered_unread),
        TEST(out_of_descriptors_a_client_is_told),
        TEST(good_requests_pass_byte_by_byte_and_pipelined),
        TEST(descriptors_that_are_no_clients_are_read_as_they_are),
        TEST(a_bad_head_is_answered_and_never_passes_whole),
        TEST(a_head_over_the_limit_is_431_and_a_reload_changes_the_limit),
        TEST(a_refusal_comes_behind_the_answers_before_it),
        TEST(a_head_has_to_arrive_in_time_whatever_trickles_in),
        TEST(a_silent_connection_is_ended_without_a_word),
        TEST(a_body_has_to_arrive_in_time),
        TEST(only_who_waits_for_a_next_request_is_idle),
        TEST(what_is_pipelined_has_no_deadline_before_its_turn),
        TEST(deadlines_fall_due_in_their_order),
        TEST(a_taken_connection_is_unchecked_without_deadlines_and_counts),
        TEST(draining_ends_who_waits_for_a_next_request),
        TEST(draining_a_stopped_intake_ends_who_has_sent_no_whole_head),
        TEST(a_stopped_intake_accepts_no_more_but_keeps_its_clients),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}

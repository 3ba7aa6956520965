/*
 * Bytes through the whole server, libmicrohttpd included, over a socket: every request that a handler is given is one
 * that a reader of another make (oracle/requests.h) finds there too, with the same method, target and body, in this
 * order. What the two would read differently, as it takes to smuggle a request, ends here.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "eventgate/log.h"
#include "eventgate/server.h"
#include "oracle/requests.h"

#define TURNS_MAX 2000

static const struct eg_settings settings = {.max_connections = 16,
                                            .max_connections_per_address = 16,
                                            .max_header_bytes = 2048,
                                            .max_body_bytes = 4096,
                                            .max_bodies_bytes = 65536,
                                            .header_timeout_ms = 60000,
                                            .body_timeout_ms = 60000,
                                            .idle_timeout_ms = 60000};
static const struct eg_head_limits limits = {.max_head_bytes = 2048, .max_body_bytes = 4096};

/* What is left of the text that was sent. */
static const char *expected, *expected_end;
static struct eg_loop *loop;
static struct eg_listening_socket listening = {.fd = -1, .worker = -1};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static bool equals(const char *text, const char *other, size_t length)
{
    return strlen(text) == length && memcmp(text, other, length) == 0;
}

/* Requests that the server answers itself (no such path, no such method) are passed over. */
static void handle(void *context, struct eg_exchange *exchange)
{
    static const char *const methods[] = {"GET", "HEAD", "POST"};
    struct oracle_request request;
    struct eg_buffer answer = EG_BUFFER_INIT;
    (void)context;
    for (bool found = false; !found;) {
        check(oracle_request(&expected, expected_end, &limits, &request) == ORACLE_GOOD);
        found = equals(exchange->raw_target, request.target, request.target_length) &&
                exchange->method <= EG_METHOD_POST &&
                equals(methods[exchange->method], request.method, request.method_length) &&
                exchange->body.length == request.body_length &&
                (request.body_length == 0 || memcmp(exchange->body.data, request.body, request.body_length) == 0);
        free(request.body);
    }
    eg_buffer_add_string(&answer, "{}");
    eg_exchange_reply(exchange, 200, "application/json", &answer, NULL);
}

static void turn(void *server)
{
    eg_server_turn(server);
}

static void start(void)
{
    static struct eg_budget bodies;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    loop = eg_loop_new();
    struct eg_server *server = eg_server_new(&(struct eg_server_options){.loop = loop,
                                                                         .settings = &settings,
                                                                         .counts = eg_intake_counts_new(),
                                                                         .bodies = &bodies,
                                                                         .metrics = eg_metrics_new(NULL),
                                                                         .hooks = {handle, NULL}});
    check(server != NULL);
    eg_log_configure(EG_LOG_ERROR, EG_LOG_TEXT);
    eg_loop_on_turn(loop, turn, server);
    listening.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    check(bind(listening.fd, (struct sockaddr *)&address, sizeof(sa_family_t)) == 0 && listen(listening.fd, 4) == 0);
    check(eg_server_listen(server, &listening) == 0);
}

static int connect_to_it(void)
{
    struct sockaddr_un address;
    socklen_t length = sizeof(address);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(getsockname(listening.fd, (struct sockaddr *)&address, &length) == 0);
    check(connect(fd, (struct sockaddr *)&address, length) == 0);
    return fd;
}

/* Until the server has closed, which it does behind the last byte at the latest, since the client has closed its side.
 */
static void read_to_the_end(int fd)
{
    char answers[4096];
    for (int i = 0; i < TURNS_MAX; i++) {
        eg_loop_turn(loop, 0);
        ssize_t got = recv(fd, answers, sizeof(answers), MSG_DONTWAIT);
        if (got == 0 || (got < 0 && i > 20 && expected == expected_end))
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!loop)
        start();
    if (size < 2 || size > 16000)
        return 0;
    expected = (const char *)data + 1;
    expected_end = expected + size - 1;
    int fd = connect_to_it();
    size_t piece = data[0] < 128 ? size : data[0] - 127u;
    for (const char *at = expected, *end = expected_end; at < end; at += piece) {
        if (send(fd, at, (size_t)(end - at) < piece ? (size_t)(end - at) : piece, MSG_NOSIGNAL) < 0)
            break;
        if (piece < size)
            eg_loop_turn(loop, 0);
    }
    shutdown(fd, SHUT_WR);
    read_to_the_end(fd);
    close(fd);
    for (int i = 0; i < 3; i++)
        eg_loop_turn(loop, 0);
    return 0;
}

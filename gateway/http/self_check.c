/*
 * The start-up check that the loaded libmicrohttpd can be relied on in the ways that no documentation promises: a taken
 * socket stays open and untouched, what it reads comes through the intake, and over TLS, what it writes goes through
 * the session. Done once for plain connections, and once for those of TLS.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "eventgate/client_calls.h"
#include "eventgate/server.h"

#define DEADLINE_MS 5000u
#define GREETING "still open"
#define REPLY "a whole answer"

struct check {
    struct eg_loop *loop;
    struct eg_server *server;
    struct eg_listening_socket listening;
    bool tls;
    struct eg_wire taken; /* by the stream; fd -1: not yet */
};

static void take(struct eg_exchange *exchange, struct eg_wire wire)
{
    struct check *check = exchange->state;
    check->taken = wire;
    eg_client_free(exchange->client);
}

static void handle(void *context, struct eg_exchange *exchange)
{
    struct eg_buffer body = EG_BUFFER_INIT;
    exchange->state = context;
    if (exchange->route == EG_ROUTE_LIVEZ) {
        eg_exchange_stream(exchange, "text/plain", take);
        return;
    }
    eg_buffer_add_string(&body, REPLY);
    eg_exchange_reply(exchange, 200, "text/plain", &body, NULL);
}

static bool listen_on_loopback(struct check *check)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    check->listening = (struct eg_listening_socket){.fd = fd, .worker = -1, .tls = check->tls};
    return fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 4) == 0 &&
           eg_server_listen(check->server, &check->listening) == 0;
}

static void close_wire(struct eg_wire *wire)
{
    eg_wire_done(wire);
    if (wire->fd >= 0)
        close(wire->fd);
    wire->fd = -1;
}

static bool shake_hands(struct check *check, struct eg_wire *wire)
{
    uint64_t end_ms = eg_monotonic_ms() + DEADLINE_MS;
    uint32_t events;
    int error = eg_wire_begin_tls_client(wire);
    if (error)
        return false;
    while ((error = eg_wire_handshake(wire, &events, NULL)) == -EAGAIN && eg_monotonic_ms() < end_ms)
        eg_loop_turn(check->loop, 1);
    return error == 0;
}

static bool connect_to(struct check *check, struct eg_wire *ret_wire)
{
    static const int on = 1;
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    struct eg_wire wire = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (wire.fd >= 0 && getsockname(check->listening.fd, (struct sockaddr *)&address, &length) == 0 &&
        connect(wire.fd, (struct sockaddr *)&address, length) == 0 &&
        setsockopt(wire.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
        (!check->tls || shake_hands(check, &wire))) {
        *ret_wire = wire;
        return true;
    }
    close_wire(&wire);
    return false;
}

static bool say(struct eg_wire *wire, const char *text)
{
    const struct iovec part = {(char *)(uintptr_t)text, strlen(text)};
    return eg_wire_send(wire, &part, 1) == (ssize_t)part.iov_len;
}

/* Runs the server until `found` shows up in what the client receives, the connection ends, or the deadline. */
static bool await(struct check *check, struct eg_wire *client, const char *found)
{
    char text[4096];
    size_t length = 0;
    uint64_t end_ms = eg_monotonic_ms() + DEADLINE_MS;
    while (eg_monotonic_ms() < end_ms && length < sizeof(text) - 1) {
        eg_loop_turn(check->loop, 1);
        ssize_t got = eg_wire_receive(client, text + length, sizeof(text) - 1 - length);
        if (got == 0 || (got < 0 && got != -EAGAIN))
            return false;
        if (got < 0)
            continue;
        length += (size_t)got;
        text[length] = '\0';
        if (strstr(text, found))
            return true;
    }
    return false;
}

/* Is a stream's wire left alone? */
static const char *check_stream(struct check *check, struct eg_wire *client)
{
    uint64_t reads = eg_client_reads();
    if (!say(client, "GET /livez HTTP/1.0\r\n\r\n") || !await(check, client, "\r\n\r\n"))
        return "no answer to a request on a loopback connection";
    if (eg_client_reads() == reads)
        return "it does not read sockets by recv()";
    if (check->taken.fd < 0)
        return "it did not ask for the stream's content after sending the head";
    /* Several turns let the library finish closing before the socket is used. */
    for (int i = 0; i < 5; i++)
        eg_loop_turn(check->loop, 0);
    if (!say(&check->taken, GREETING) || !await(check, client, GREETING))
        return "it shuts a socket down that has been taken";
    return NULL;
}

static const char *check_server(struct check *check)
{
    struct eg_wire client = {.fd = -1};
    const char *problem = "no listening socket on 127.0.0.1";
    if (listen_on_loopback(check))
        problem = connect_to(check, &client) ? check_stream(check, &client) : "no connection on 127.0.0.1";
    close_wire(&client);
    if (problem)
        return problem;
    if (!connect_to(check, &client) || !say(&client, "GET /readyz HTTP/1.0\r\n\r\n") || !await(check, &client, REPLY))
        problem = "no answer with a body on a loopback connection";
    close_wire(&client);
    if (problem)
        return problem;
    if (!connect_to(check, &client) || !say(&client, "GET /livez HTTP/1.0\n\n") || !await(check, &client, " 400 "))
        problem = "a malformed head was not refused";
    close_wire(&client);
    return problem;
}

static void turn(void *context)
{
    eg_server_turn(context);
}

/* What is wrong with plain connections, or with those of TLS. */
static const char *check_with(struct eg_tls *tls)
{
    static const struct eg_settings settings = {.max_connections = 16,
                                                .max_connections_per_address = 16,
                                                .max_header_bytes = 4096,
                                                .max_body_bytes = 4096,
                                                .max_bodies_bytes = 65536,
                                                .header_timeout_ms = DEADLINE_MS,
                                                .body_timeout_ms = DEADLINE_MS,
                                                .idle_timeout_ms = DEADLINE_MS};
    struct check check = {.loop = eg_loop_new(), .tls = tls != NULL, .listening.fd = -1, .taken.fd = -1};
    struct eg_budget bodies = {0};
    struct eg_intake_counts *counts = eg_intake_counts_new();
    struct eg_metrics *metrics = eg_metrics_new(NULL);
    const char *problem = "out of memory";
    if (check.loop && counts && metrics)
        check.server = eg_server_new(
            &(struct eg_server_options){check.loop, &settings, NULL, tls, counts, &bodies, metrics, {handle, &check}});
    if (check.server) {
        eg_loop_on_turn(check.loop, turn, check.server);
        problem = check_server(&check);
        eg_server_stop_accepting(check.server);
    }
    eg_server_free(check.server);
    close_wire(&check.taken);
    if (check.listening.fd >= 0)
        close(check.listening.fd);
    eg_metrics_free(metrics);
    eg_intake_counts_free(counts);
    eg_loop_free(check.loop);
    return problem;
}

int eg_server_self_check(struct eg_tls *tls, struct eg_error *ret_error)
{
    const char *problem = check_with(NULL);
    bool plain = problem != NULL;
    if (!problem && tls)
        problem = check_with(tls);
    if (!problem)
        return 0;
    ret_error->sqlstate[0] = '\0';
    snprintf(ret_error->sentence, sizeof(ret_error->sentence),
             "libmicrohttpd %s cannot be used%s: %s. Install the version of the distribution that this package was "
             "built for.",
             eg_server_library_version(), plain ? "" : " with TLS", problem);
    return -ENOTSUP;
}

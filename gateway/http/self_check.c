/*
 * The start-up check that the loaded libmicrohttpd can be relied on in the two ways that no documentation promises: a
 * taken socket stays open and untouched, and what it reads comes through the intake.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "eventgate/log.h"
#include "eventgate/server.h"

#define DEADLINE_MS 5000u
#define GREETING "still open"

static void send_greeting(struct eg_exchange *exchange, int fd)
{
    int *taken_fd = exchange->state;
    *taken_fd = fd;
    eg_client_free(exchange->client);
}

static void handle(void *context, struct eg_exchange *exchange)
{
    exchange->state = context;
    eg_exchange_stream(exchange, "text/plain", send_greeting);
}

static bool listen_on_loopback(struct eg_listening_socket *listening)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    listening->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return listening->fd >= 0 && bind(listening->fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
           listen(listening->fd, 4) == 0;
}

static int connect_to(const struct eg_listening_socket *listening)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (getsockname(listening->fd, (struct sockaddr *)&address, &length) != 0 ||
        connect(fd, (struct sockaddr *)&address, length) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Runs the server until `found` shows up in what the client receives, the connection ends, or the deadline. */
static bool await(struct eg_loop *loop, int client, const char *found)
{
    char text[4096];
    size_t length = 0;
    uint64_t end_ms = eg_monotonic_ms() + DEADLINE_MS;
    while (eg_monotonic_ms() < end_ms && length < sizeof(text) - 1) {
        eg_loop_turn(loop, 10);
        ssize_t got = recv(client, text + length, sizeof(text) - 1 - length, MSG_DONTWAIT);
        if (got == 0)
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

static const char *check(struct eg_loop *loop, const struct eg_listening_socket *listening, const int *taken_fd)
{
    static const char request[] = "GET /livez HTTP/1.0\r\n\r\n";
    static const char forbidden[] = "GET /livez HTTP/1.0\n\n";
    const char *problem = NULL;
    uint64_t reads = eg_intake_reads();
    int client = connect_to(listening);
    if (client < 0 || send(client, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0 || !await(loop, client, "\r\n\r\n"))
        problem = "no answer to a request on a loopback connection";
    else if (eg_intake_reads() == reads)
        problem = "it does not read sockets by recv()";
    else if (*taken_fd < 0)
        problem = "it did not ask for the stream's content after sending the head";
    /* Several turns let the library finish closing before the socket is used. */
    for (int i = 0; !problem && i < 5; i++)
        eg_loop_turn(loop, 0);
    if (!problem &&
        (send(*taken_fd, GREETING, sizeof(GREETING) - 1, MSG_NOSIGNAL) < 0 || !await(loop, client, GREETING)))
        problem = "it shuts a socket down that has been taken";
    if (client >= 0)
        close(client);
    if (problem)
        return problem;
    client = connect_to(listening);
    if (client < 0 || send(client, forbidden, sizeof(forbidden) - 1, MSG_NOSIGNAL) < 0 || !await(loop, client, " 400 "))
        problem = "a malformed head was not refused";
    if (client >= 0)
        close(client);
    return problem;
}

static void turn(void *context)
{
    eg_server_turn(context);
}

int eg_server_self_check(struct eg_error *ret_error)
{
    static const struct eg_settings settings = {.max_connections = 16,
                                                .max_connections_per_address = 16,
                                                .max_header_bytes = 4096,
                                                .max_body_bytes = 4096,
                                                .max_bodies_bytes = 65536,
                                                .header_timeout_ms = DEADLINE_MS,
                                                .body_timeout_ms = DEADLINE_MS,
                                                .idle_timeout_ms = DEADLINE_MS};
    int taken_fd = -1;
    struct eg_budget bodies = {0};
    struct eg_listening_socket listening = {.fd = -1, .worker = -1};
    struct eg_loop *loop = eg_loop_new();
    struct eg_intake_counts *counts = eg_intake_counts_new();
    struct eg_metrics *metrics = eg_metrics_new(NULL);
    struct eg_server *server = NULL;
    const char *problem = "out of memory";
    if (loop && counts && metrics)
        server = eg_server_new(
            &(struct eg_server_options){loop, &settings, NULL, counts, &bodies, metrics, {handle, &taken_fd}});
    if (server) {
        eg_loop_on_turn(loop, turn, server);
        problem = "no listening socket on 127.0.0.1";
        if (listen_on_loopback(&listening) && eg_server_listen(server, &listening) == 0)
            problem = check(loop, &listening, &taken_fd);
    }
    if (server)
        eg_server_stop_accepting(server);
    eg_server_free(server);
    if (taken_fd >= 0)
        close(taken_fd);
    if (listening.fd >= 0)
        close(listening.fd);
    eg_metrics_free(metrics);
    eg_intake_counts_free(counts);
    eg_loop_free(loop);
    if (!problem)
        return 0;
    ret_error->sqlstate[0] = '\0';
    snprintf(
        ret_error->sentence, sizeof(ret_error->sentence),
        "libmicrohttpd %s cannot be used: %s. Install the version of the distribution that this package was built for.",
        eg_server_library_version(), problem);
    return -ENOTSUP;
}

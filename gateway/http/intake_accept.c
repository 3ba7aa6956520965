/*
 * New connections: those that are turned away, TLS to begin with, and what happens when there are no descriptors.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "eventgate/client_calls.h"
#include "eventgate/handshake.h"
#include "eventgate/intake_internal.h"
#include "eventgate/log.h"

/* What a turn takes in: the least, another for each so many µs since the turn before, and the most. So in short turns,
 * where live events come first, newcomers have a small part of the time, and in long ones they still get on. */
#define ACCEPTS_LEAST 4u
#define ACCEPT_EVERY_US 500u
#define ACCEPTS_MOST 16u
#define REST_MS 100u
#define LOOK_EVERY_MS 500u

/* Refuses a connection before anything of it has been read. Over TLS that is done without a word: a handshake would
 * cost more than what is refused. */
static void turn_away(const struct intake_socket *socket, int fd, enum eg_problem problem, const char *detail,
                      enum eg_metric metric)
{
    struct eg_metrics *metrics = socket->intake->metrics;
    struct eg_wire wire = {.fd = fd};
    eg_metrics_add(metrics, metric, 1);
    if (!socket->tls) {
        eg_intake_count_refusal(metrics, eg_problem_status(problem));
        eg_intake_write_refusal(&wire, problem, detail);
    }
    close(fd);
}

/* An IPv4 client of an IPv6 socket is an IPv4 client. */
static void unmap(union eg_address *address, socklen_t *length)
{
    bool was_ipv6 = address->any.sa_family == AF_INET6;
    eg_address_unmap(address);
    if (was_ipv6 && address->any.sa_family == AF_INET)
        *length = sizeof(address->in);
}

static struct eg_client *client_new(struct eg_intake *intake, int fd, const union eg_address *address, socklen_t length)
{
    struct eg_client *client = eg_client_has_room(fd) ? calloc(1, sizeof(*client)) : NULL;
    if (!client)
        return NULL;
    client->intake = intake;
    client->wire.fd = fd;
    client->address = *address;
    client->address_length = length;
    client->wait = EG_CLIENT_WAITS_NOT;
    LIST_INSERT_HEAD(&intake->clients, client, entry);
    eg_metrics_add(intake->metrics, EG_METRIC_ACCEPTED, 1);
    eg_metrics_add(intake->metrics, EG_METRIC_CONNECTIONS, 1);
    eg_intake_update_wait(client);
    return client;
}

/* Hands the client to libmicrohttpd. */
static void admit(struct eg_client *client)
{
    struct eg_intake *intake = client->intake;
    int fd = client->wire.fd;
    eg_client_enter(fd, client);
    if (intake->hooks.admit(intake->hooks.context, client) != 0) {
        /* libmicrohttpd closes what it doesn't admit. */
        if (eg_client_find(fd) == client)
            eg_client_closed(client);
    }
}

static void handshake_over(struct eg_handshake *handshake, int error)
{
    struct eg_client *client = handshake->context;
    struct eg_metrics *metrics = client->intake->metrics;
    client->handshake = NULL;
    eg_metrics_add(metrics, error ? EG_METRIC_HANDSHAKES_FAILED : EG_METRIC_HANDSHAKES, 1);
    if (!error) {
        admit(client);
        return;
    }
    int fd = client->wire.fd;
    eg_client_free(client);
    close(fd);
}

static int begin_handshake(struct eg_client *client)
{
    struct eg_intake *intake = client->intake;
    int error = eg_wire_begin_tls(&client->wire, intake->tls);
    if (!error)
        error = eg_handshake_begin(intake->loop, &client->wire, &intake->handshakes, handshake_over, client,
                                   &client->handshake);
    return error;
}

static void welcome(const struct intake_socket *socket, int fd, union eg_address *address, socklen_t length)
{
    struct eg_intake *intake = socket->intake;
    static const int on = 1;
    const struct eg_settings *settings = intake->settings;
    unmap(address, &length);
    bool proxied = eg_networks_have(&settings->trusted_proxies, address);
    int error = eg_intake_counts_add(intake->counts, address, settings->max_connections,
                                     proxied ? UINT32_MAX : settings->max_connections_per_address);
    if (error == -EDQUOT) {
        turn_away(socket, fd, EG_PROBLEM_TOO_MANY,
                  "Your address has as many connections as it may have (max_connections_per_address).",
                  EG_METRIC_LIMIT_ADDRESS);
        return;
    }
    if (error) {
        turn_away(socket, fd, EG_PROBLEM_OVERLOADED, "All connections are taken (max_connections). Try again later.",
                  EG_METRIC_LIMIT_CONNECTIONS);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct eg_client *client = client_new(intake, fd, address, length);
    if (!client) {
        eg_intake_counts_remove(intake->counts, address);
        turn_away(socket, fd, EG_PROBLEM_OVERLOADED, "The gateway is out of memory. Try again later.",
                  EG_METRIC_LIMIT_CONNECTIONS);
        return;
    }
    client->proxied = proxied;
    client->admin = socket->admin;
    if (!socket->tls) {
        admit(client);
    } else if (begin_handshake(client) != 0) {
        eg_client_free(client);
        close(fd);
    }
}

/* Leaves the listening sockets alone for a moment: nothing can be accepted, and they would wake the loop for ever. */
static void rest(struct eg_intake *intake)
{
    struct intake_socket *socket;
    if (intake->rest.heap_index != 0 ||
        eg_timer_set(intake->loop, &intake->rest, eg_loop_now_ms(intake->loop) + REST_MS) != 0)
        return;
    eg_log(EG_LOG_WARN, "no descriptors or memory for new connections");
    LIST_FOREACH (socket, &intake->sockets, entry)
        eg_loop_remove(intake->loop, socket->fd, &socket->watch);
}

void eg_intake_rest_is_over(struct eg_timer *timer)
{
    struct eg_intake *intake = EG_CONTAINER_OF(timer, struct eg_intake, rest);
    struct intake_socket *socket;
    LIST_FOREACH (socket, &intake->sockets, entry)
        if (eg_loop_add(intake->loop, socket->fd, socket->events, &socket->watch) != 0) {
            rest(intake);
            return;
        }
}

/* No descriptor is left: gives up the reserve for a moment, so that the client is told instead of waiting for ever. */
static void refuse_without_descriptors(const struct intake_socket *socket)
{
    struct eg_intake *intake = socket->intake;
    if (intake->reserve_fd >= 0)
        close(intake->reserve_fd);
    int fd = accept4(socket->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        turn_away(socket, fd, EG_PROBLEM_OVERLOADED, "The gateway is out of file descriptors. Try again later.",
                  EG_METRIC_LIMIT_CONNECTIONS);
    else if (errno == EMFILE || errno == ENFILE)
        rest(intake);
    intake->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static uint64_t accepts_in_turn(const struct eg_intake *intake)
{
    uint64_t count = ACCEPTS_LEAST + (eg_loop_now_us(intake->loop) - intake->turned_us) / ACCEPT_EVERY_US;
    return count < ACCEPTS_MOST ? count : ACCEPTS_MOST;
}

static void socket_ready(struct eg_watch *watch, uint32_t epoll_events)
{
    struct intake_socket *socket = EG_CONTAINER_OF(watch, struct intake_socket, watch);
    (void)epoll_events;
    for (uint64_t left = accepts_in_turn(socket->intake); left > 0; left--) {
        union eg_address address = {.any.sa_family = AF_UNSPEC};
        socklen_t length = sizeof(address);
        int fd = accept4(socket->fd, &address.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            welcome(socket, fd, &address, length < sizeof(address) ? length : (socklen_t)sizeof(address));
        } else if (errno == EMFILE || errno == ENFILE) {
            refuse_without_descriptors(socket);
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            if (errno == ENOBUFS || errno == ENOMEM)
                rest(socket->intake);
            return;
        }
    }
}

static void look_again(struct eg_intake *intake)
{
    if (eg_timer_set(intake->loop, &intake->look, eg_loop_now_ms(intake->loop) + LOOK_EVERY_MS) != 0)
        eg_log(EG_LOG_WARN, "no memory for the timer of shared listening sockets");
}

void eg_intake_look(struct eg_timer *timer)
{
    struct eg_intake *intake = EG_CONTAINER_OF(timer, struct eg_intake, look);
    struct intake_socket *socket;
    bool resting = intake->rest.heap_index != 0;
    LIST_FOREACH (socket, &intake->sockets, entry)
        if (!resting && (socket->events & EPOLLEXCLUSIVE))
            socket_ready(&socket->watch, EPOLLIN);
    look_again(intake);
}

int eg_intake_listen(struct eg_intake *intake, const struct eg_listening_socket *listening)
{
    if (listening->tls && !intake->tls)
        return -EINVAL;
    struct intake_socket *socket = calloc(1, sizeof(*socket));
    if (!socket)
        return -ENOMEM;
    socket->intake = intake;
    socket->fd = listening->fd;
    socket->admin = listening->admin;
    socket->tls = listening->tls;
    socket->watch.ready = socket_ready;
    socket->events = EPOLLIN | (listening->worker < 0 ? (uint32_t)EPOLLEXCLUSIVE : 0);
    int error = eg_loop_add(intake->loop, socket->fd, socket->events, &socket->watch);
    if (error) {
        free(socket);
        return error;
    }
    LIST_INSERT_HEAD(&intake->sockets, socket, entry);
    if ((socket->events & EPOLLEXCLUSIVE) && intake->look.heap_index == 0)
        look_again(intake);
    return 0;
}

void eg_intake_stop(struct eg_intake *intake)
{
    eg_timer_cancel(intake->loop, &intake->look);
    while (!LIST_EMPTY(&intake->sockets)) {
        struct intake_socket *socket = LIST_FIRST(&intake->sockets);
        eg_loop_remove(intake->loop, socket->fd, &socket->watch);
        LIST_REMOVE(socket, entry);
        free(socket);
    }
}

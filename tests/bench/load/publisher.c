#include "publisher.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "address.h"
#include "payload.h"

struct publisher {
    void (*add)(struct publisher *publisher, const char *channel, const char *payload, size_t length);
    int epoll, fd;
    bool wants_room; /* EPOLLOUT is watched */
    const char *channel, *target;
    uint32_t payload;
    uint64_t number, answered, sent;
    PGconn *database;
    char *out; /* bytes of the socket kinds that are not yet written */
    size_t out_length, out_capacity;
    unsigned match; /* of an answer's first line: bytes seen so far */
};

static void watch(struct publisher *publisher, bool wants_room, int how)
{
    struct epoll_event event = {.events = EPOLLIN | (wants_room ? EPOLLOUT : 0u), .data.ptr = publisher};
    if (epoll_ctl(publisher->epoll, how, publisher->fd, &event) != 0)
        err(1, "epoll_ctl");
    publisher->wants_room = wants_room;
}

static void want_room(struct publisher *publisher, bool wants_room)
{
    if (wants_room != publisher->wants_room)
        watch(publisher, wants_room, EPOLL_CTL_MOD);
}

/* --- PostgreSQL -------------------------------------------------------------------------------------------------- */

static void add_notify(struct publisher *publisher, const char *channel, const char *payload, size_t length)
{
    const char *values[] = {channel, payload};
    (void)length;
    if (!PQsendQueryParams(publisher->database, "select pg_notify($1, $2)", 2, NULL, values, NULL, NULL, 0))
        errx(1, "PostgreSQL: %s", PQerrorMessage(publisher->database));
}

static void connect_database(struct publisher *publisher, const char *conninfo)
{
    /* A NOTIFY isn't durable: its commit need not wait for the disk. */
    const char *names[] = {"dbname", "options", NULL}, *values[] = {conninfo, "-c synchronous_commit=off", NULL};
    publisher->database = PQconnectdbParams(names, values, 1);
    if (PQstatus(publisher->database) != CONNECTION_OK || PQsetnonblocking(publisher->database, 1) != 0 ||
        !PQenterPipelineMode(publisher->database))
        errx(1, "PostgreSQL: %s", PQerrorMessage(publisher->database));
    publisher->fd = PQsocket(publisher->database);
    publisher->add = add_notify;
}

static void flush_database(struct publisher *publisher)
{
    int left = PQflush(publisher->database);
    if (left < 0)
        errx(1, "PostgreSQL: %s", PQerrorMessage(publisher->database));
    want_room(publisher, left > 0);
}

static void read_database(struct publisher *publisher)
{
    if (!PQconsumeInput(publisher->database))
        errx(1, "PostgreSQL: %s", PQerrorMessage(publisher->database));
    while (publisher->answered < publisher->sent && !PQisBusy(publisher->database)) {
        PGresult *result = PQgetResult(publisher->database);
        ExecStatusType status = PQresultStatus(result);
        if (result && status != PGRES_TUPLES_OK && status != PGRES_PIPELINE_SYNC)
            errx(1, "PostgreSQL: %s", PQresultErrorMessage(result));
        publisher->answered += result && status == PGRES_TUPLES_OK;
        PQclear(result);
    }
}

/* --- sockets ----------------------------------------------------------------------------------------------------- */

static void add_bytes(struct publisher *publisher, const char *bytes, size_t length)
{
    if (publisher->out_length + length > publisher->out_capacity) {
        publisher->out_capacity = 2 * (publisher->out_length + length);
        if (!(publisher->out = realloc(publisher->out, publisher->out_capacity)))
            errx(1, "out of memory");
    }
    memcpy(publisher->out + publisher->out_length, bytes, length);
    publisher->out_length += length;
}

static void add_post(struct publisher *publisher, const char *channel, const char *payload, size_t length)
{
    char target[256], head[512];
    snprintf(target, sizeof(target), publisher->target, channel);
    int head_length = snprintf(head, sizeof(head),
                               "POST %s HTTP/1.1\r\nHost: bench.test\r\nContent-Type: application/json\r\n"
                               "Content-Length: %zu\r\n\r\n",
                               target, length);
    add_bytes(publisher, head, (size_t)head_length);
    add_bytes(publisher, payload, length);
}

static void add_line(struct publisher *publisher, const char *channel, const char *payload, size_t length)
{
    add_bytes(publisher, channel, strlen(channel));
    add_bytes(publisher, " ", 1);
    add_bytes(publisher, payload, length);
    add_bytes(publisher, "\n", 1);
}

static void connect_socket(struct publisher *publisher, const char *where)
{
    struct sockaddr_in address = address_read(where, &publisher->target);
    publisher->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(publisher->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        err(1, "publishing to %s", where);
    fcntl(publisher->fd, F_SETFL, O_NONBLOCK);
}

static void flush_socket(struct publisher *publisher)
{
    ssize_t sent = send(publisher->fd, publisher->out, publisher->out_length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        err(1, "publishing");
    if (sent > 0) {
        publisher->out_length -= (size_t)sent;
        memmove(publisher->out, publisher->out + sent, publisher->out_length);
    }
    want_room(publisher, publisher->out_length > 0);
}

/* Counts the answers by the beginning of their status lines. */
static void read_socket(struct publisher *publisher)
{
    static const char good[] = "HTTP/1.1 20";
    char buffer[65536];
    ssize_t got = recv(publisher->fd, buffer, sizeof(buffer), 0);
    if (got == 0 || (got < 0 && errno != EAGAIN))
        errx(1, "publishing: the server closed the connection");
    for (ssize_t i = 0; i < got; i++) {
        publisher->match = buffer[i] == good[publisher->match] ? publisher->match + 1 : buffer[i] == good[0];
        if (publisher->match == sizeof(good) - 1) {
            publisher->match = 0;
            publisher->answered++;
        }
    }
}

/* --- all kinds --------------------------------------------------------------------------------------------------- */

struct publisher *publisher_new(const char *where, const char *channel, uint32_t payload, int epoll)
{
    struct publisher *publisher = calloc(1, sizeof(*publisher));
    if (!publisher)
        errx(1, "out of memory");
    publisher->epoll = epoll;
    publisher->channel = channel;
    publisher->payload = payload;
    if (strncmp(where, "postgres:", 9) == 0)
        connect_database(publisher, where + 9);
    else if (strncmp(where, "http:", 5) == 0)
        connect_socket(publisher, where + 5), publisher->add = add_post;
    else if (strncmp(where, "lines:", 6) == 0)
        connect_socket(publisher, where + 6), publisher->add = add_line;
    else
        errx(2, "publish through postgres:CONNINFO, http:ADDRESS:PORT/TARGET or lines:ADDRESS:PORT, not %s", where);
    watch(publisher, false, EPOLL_CTL_ADD);
    return publisher;
}

void publisher_free(struct publisher *publisher)
{
    if (publisher->database)
        PQfinish(publisher->database);
    else
        close(publisher->fd);
    free(publisher->out);
    free(publisher);
}

void publisher_send(struct publisher *publisher, uint32_t count, uint32_t first, uint32_t channels)
{
    char channel[64], payload[PAYLOAD_BYTES];
    for (uint32_t i = 0; i < count; i++) {
        snprintf(channel, sizeof(channel), publisher->channel, (first + i) % channels);
        size_t length = payload_write(payload, publisher->payload, publisher->number++);
        publisher->add(publisher, channel, payload, length);
    }
    publisher->sent += count;
    if (publisher->database && !PQpipelineSync(publisher->database))
        errx(1, "PostgreSQL: %s", PQerrorMessage(publisher->database));
    if (publisher->database)
        flush_database(publisher);
    else
        flush_socket(publisher);
}

void publisher_ready(struct publisher *publisher)
{
    if (publisher->database) {
        read_database(publisher);
        flush_database(publisher);
    } else {
        read_socket(publisher);
        if (publisher->out_length > 0)
            flush_socket(publisher);
    }
}

uint64_t publisher_pending(const struct publisher *publisher)
{
    return publisher->add == add_line ? 0 : publisher->sent - publisher->answered;
}

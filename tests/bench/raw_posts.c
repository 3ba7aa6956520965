/*
 * The raw appending loop: how many POSTs a program appends that does nothing else. One thread, one epoll loop: what
 * comes while a transaction is under way is appended together in the next one, and each client is answered with its
 * position. Requests come in one piece; nothing of them is checked, nothing is delivered to anybody.
 *
 *   bench_raw_posts LISTEN CONNINFO CHANNEL
 */
#include <arpa/inet.h>
#include <endian.h>
#include <err.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load/address.h"

#define POSTS_MAX 4096u
#define BODY_BYTES 1024u
#define TEXT 25u /* the oid of text */

struct post {
    int fd;
    size_t length;
    char body[BODY_BYTES];
};

/* A binary array of texts. */
struct array {
    size_t length;
    char bytes[32 + POSTS_MAX * (4 + BODY_BYTES)];
};

static const char *channel;
static PGconn *database;
static struct post queue[POSTS_MAX], flight[POSTS_MAX];
static unsigned queued, flying;

/* --- appending --------------------------------------------------------------------------------------------------- */

static void add_number(struct array *array, uint32_t number)
{
    number = htonl(number);
    memcpy(array->bytes + array->length, &number, sizeof(number));
    array->length += sizeof(number);
}

static void add_text(struct array *array, const char *text, size_t length)
{
    add_number(array, (uint32_t)length);
    memcpy(array->bytes + array->length, text, length);
    array->length += length;
}

static void begin(struct array *array, unsigned count)
{
    const uint32_t head[] = {1, 0, TEXT, count, 1};
    array->length = 0;
    for (size_t i = 0; i < sizeof(head) / sizeof(head[0]); i++)
        add_number(array, head[i]);
}

static void append_queue(void)
{
    static struct array channels, datas;
    begin(&channels, queued);
    begin(&datas, queued);
    for (unsigned i = 0; i < queued; i++) {
        add_text(&channels, channel, strlen(channel));
        add_text(&datas, queue[i].body, queue[i].length);
    }
    memcpy(flight, queue, queued * sizeof(queue[0]));
    flying = queued;
    queued = 0;
    const char *values[] = {channels.bytes, datas.bytes};
    const int lengths[] = {(int)channels.length, (int)datas.length}, formats[] = {1, 1};
    if (!PQsendQueryPrepared(database, "append", 2, values, lengths, formats, 1))
        errx(1, "PostgreSQL: %s", PQerrorMessage(database));
}

static void answer(int fd, uint64_t position)
{
    char body[64], text[512];
    int length =
        snprintf(body, sizeof(body), "{\"status\":201,\"id\":\"abcdef.%llu\"}\n", (unsigned long long)position);
    length = snprintf(text, sizeof(text),
                      "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
                      "Content-Length: %d\r\n\r\n%s",
                      length, body);
    if (send(fd, text, (size_t)length, MSG_NOSIGNAL) != length)
        warnx("a client has gone");
}

/* The next transaction goes out before those of this one are answered. */
static void take_answer(PGresult *result)
{
    static struct post answered[POSTS_MAX];
    unsigned count = flying;
    if (PQresultStatus(result) != PGRES_TUPLES_OK || (unsigned)PQntuples(result) != count)
        errx(1, "PostgreSQL: %s", PQerrorMessage(database));
    memcpy(answered, flight, count * sizeof(flight[0]));
    flying = 0;
    if (queued > 0)
        append_queue();
    for (unsigned i = 0; i < count; i++) {
        uint64_t position;
        memcpy(&position, PQgetvalue(result, (int)i, 1), sizeof(position));
        answer(answered[i].fd, be64toh(position));
    }
}

/* It is there as a whole: PostgreSQL sends it when the transaction is over. */
static void read_database(void)
{
    PGresult *result, *rows = NULL;
    if (!PQconsumeInput(database))
        errx(1, "PostgreSQL: %s", PQerrorMessage(database));
    if (flying == 0 || PQisBusy(database))
        return;
    while ((result = PQgetResult(database))) {
        PQclear(rows);
        rows = result;
    }
    take_answer(rows);
    PQclear(rows);
}

/* --- clients ----------------------------------------------------------------------------------------------------- */

static void take_request(int fd)
{
    char request[4096];
    ssize_t got = recv(fd, request, sizeof(request) - 1, 0);
    if (got <= 0) {
        close(fd);
        return;
    }
    request[got] = '\0';
    const char *body = strstr(request, "\r\n\r\n");
    if (!body || queued == POSTS_MAX || strlen(body + 4) > BODY_BYTES)
        errx(1, "a request that isn't whole, too long, or one too many");
    struct post *post = &queue[queued++];
    post->fd = fd;
    post->length = strlen(body + 4);
    memcpy(post->body, body + 4, post->length);
}

static void watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        err(1, "epoll_ctl");
}

static void connect_database(const char *conninfo)
{
    database = PQconnectdb(conninfo);
    PGresult *result =
        PQprepare(database, "append",
                  "SELECT item, pos, outcome FROM eventgate.append('bench', NULL, $1, NULL, $2, NULL, NULL)", 2, NULL);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        errx(1, "PostgreSQL: %s", PQerrorMessage(database));
    PQclear(result);
}

int main(int count, char **arguments)
{
    struct epoll_event events[256];
    if (count != 4)
        errx(2, "usage: bench_raw_posts LISTEN CONNINFO CHANNEL");
    connect_database(arguments[2]);
    channel = arguments[3];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC), listener = address_listen(arguments[1]), fd;
    watch(epoll_fd, listener);
    watch(epoll_fd, PQsocket(database));
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == PQsocket(database))
                read_database();
            else if (events[i].data.fd != listener)
                take_request(events[i].data.fd);
            else
                while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
                    watch(epoll_fd, fd);
        }
        if (flying == 0 && queued > 0)
            append_queue();
    }
}

/*
 * The raw writing loop: what a server can do at most. One thread, one epoll loop: it answers every stream's request
 * with a head, reads events as lines "CHANNEL PAYLOAD", and writes the bytes that the gateway would write to every
 * stream of the channel. No journal, no resuming, no limits, no check of anything.
 *
 *   bench_raw LISTEN PUBLISH MODE     MODE: joined (events that have come together leave in one write), or single
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load/address.h"

#define CHANNELS 8192
#define FRAMES_BYTES (1u << 20)

enum kind { LISTENER, PUBLISHER_LISTENER, PUBLISHER, STREAM };

struct connection {
    enum kind kind;
    int fd;
};

struct channel {
    int *streams;
    unsigned count, capacity;
    char *pending; /* frames of this turn */
    size_t length;
    bool dirty;
};

static int epoll_fd;
static bool joined;
static struct channel channels[CHANNELS];
static unsigned dirty[CHANNELS], dirty_count;
static unsigned long long place;
static char input[1u << 20];
static size_t input_length;

static void watch(int fd, enum kind kind)
{
    struct connection *connection = malloc(sizeof(*connection));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (!connection)
        errx(1, "out of memory");
    *connection = (struct connection){kind, fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        err(1, "epoll_ctl");
}

static void accept_all(int listener, enum kind kind)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        watch(fd, kind);
}

/* --- streams ----------------------------------------------------------------------------------------------------- */

static void end(struct connection *connection)
{
    for (unsigned c = 0; c < CHANNELS; c++)
        for (unsigned i = 0; i < channels[c].count; i++)
            if (channels[c].streams[i] == connection->fd)
                channels[c].streams[i--] = channels[c].streams[--channels[c].count];
    close(connection->fd);
    free(connection);
}

/* The request's target ends in the number of its channel; it comes in one piece. */
static void take_request(struct connection *connection)
{
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    char request[4096];
    ssize_t got = recv(connection->fd, request, sizeof(request) - 1, 0);
    if (got <= 0) {
        end(connection);
        return;
    }
    request[got] = '\0';
    const char *number = strstr(request, "bench/");
    struct channel *channel = &channels[number ? strtoul(number + 6, NULL, 10) % CHANNELS : 0];
    if (channel->count == channel->capacity) {
        channel->capacity = channel->capacity ? 2 * channel->capacity : 16;
        channel->streams = realloc(channel->streams, channel->capacity * sizeof(int));
    }
    if (!channel->streams || send(connection->fd, head, sizeof(head) - 1, MSG_NOSIGNAL) < 0)
        errx(1, "a stream cannot begin");
    channel->streams[channel->count++] = connection->fd;
}

/* --- events ------------------------------------------------------------------------------------------------------ */

static void write_pending(struct channel *channel)
{
    for (unsigned i = 0; i < channel->count; i++) {
        ssize_t sent = send(channel->streams[i], channel->pending, channel->length, MSG_NOSIGNAL);
        if (sent >= 0 ? (size_t)sent < channel->length : errno == EAGAIN)
            errx(1, "a stream's socket is full: the window is too large");
    }
    channel->length = 0;
}

/* The same frame as the gateway's. */
static void add_event(const char *name, size_t name_length, const char *payload, size_t length)
{
    const char *number = memchr(name, '/', name_length);
    unsigned index = number ? (unsigned)strtoul(number + 1, NULL, 10) % CHANNELS : 0;
    struct channel *channel = &channels[index];
    char frame[16384];
    int size =
        snprintf(frame, sizeof(frame),
                 "data: {\"id\":\"abcdefghij-%llu\",\"channel\":\"%.*s\",\"time\":\"2026-01-31T12:00:00.123456Z\","
                 "\"data\":%.*s}\nid: 0~abcdefghij-%llu\n\n",
                 place, (int)name_length, name, (int)length, payload, place);
    place++;
    if (!channel->pending && !(channel->pending = malloc(FRAMES_BYTES)))
        errx(1, "out of memory");
    channel->length += (size_t)snprintf(channel->pending + channel->length, FRAMES_BYTES - channel->length,
                                        "%x\r\n%s\r\n", (unsigned)size, frame);
    if (!joined) {
        write_pending(channel);
    } else if (!channel->dirty) {
        channel->dirty = true;
        dirty[dirty_count++] = index;
    }
}

static void take_lines(struct connection *connection)
{
    ssize_t got = recv(connection->fd, input + input_length, sizeof(input) - input_length, 0);
    if (got <= 0) {
        end(connection);
        return;
    }
    input_length += (size_t)got;
    char *at = input, *stop;
    while ((stop = memchr(at, '\n', input_length - (size_t)(at - input)))) {
        char *space = memchr(at, ' ', (size_t)(stop - at));
        if (space)
            add_event(at, (size_t)(space - at), space + 1, (size_t)(stop - space - 1));
        at = stop + 1;
    }
    input_length -= (size_t)(at - input);
    memmove(input, at, input_length);
    for (unsigned i = 0; i < dirty_count; i++) {
        write_pending(&channels[dirty[i]]);
        channels[dirty[i]].dirty = false;
    }
    dirty_count = 0;
}

int main(int count, char **arguments)
{
    struct rlimit limit;
    struct epoll_event events[256];
    if (count != 4 || (strcmp(arguments[3], "joined") != 0 && strcmp(arguments[3], "single") != 0))
        errx(2, "usage: bench_raw LISTEN PUBLISH joined|single");
    joined = strcmp(arguments[3], "joined") == 0;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch(address_listen(arguments[1]), LISTENER);
    watch(address_listen(arguments[2]), PUBLISHER_LISTENER);
    for (;;) {
        int ready = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            switch (connection->kind) {
            case LISTENER:
                accept_all(connection->fd, STREAM);
                break;
            case PUBLISHER_LISTENER:
                accept_all(connection->fd, PUBLISHER);
                break;
            case PUBLISHER:
                take_lines(connection);
                break;
            case STREAM:
                take_request(connection);
                break;
            }
        }
    }
}

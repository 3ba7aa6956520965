/*
 * Streams are opened a few hundred at a time, each from an address that has not yet used up its ports. What arrives is
 * read into one buffer and taken line by line; the beginning of an unfinished line is kept with the stream.
 */
#include "crowd.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/net_tstamp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define AT_ONCE 256u
#define READ_BYTES (256u << 10)
#define LINE_BYTES 1024u
#define RING 4096u /* more than are ever in flight */

struct stream {
    int fd;
    bool open; /* its head has come */
    uint16_t kept;
    uint64_t events, wanted; /* wanted 0: no end */
    char *line;              /* LINE_BYTES: the beginning of an unfinished line; made when needed first */
};

struct crowd {
    struct crowd_options options;
    int epoll;
    struct stream *streams;
    uint32_t started, open, satisfied;
    uint64_t deliveries, bytes, gaps, complete;
    uint32_t readers[RING]; /* of event number i, at i % RING: streams that have had it */
    struct ages ages;
    char buffer[READ_BYTES];
};

struct crowd *crowd_new(const struct crowd_options *options, int epoll)
{
    struct crowd *crowd = calloc(1, sizeof(*crowd));
    if (!crowd || !(crowd->streams = calloc(options->streams, sizeof(*crowd->streams))))
        errx(1, "out of memory");
    crowd->options = *options;
    crowd->epoll = epoll;
    return crowd;
}

void crowd_free(struct crowd *crowd)
{
    for (uint32_t i = 0; i < crowd->started; i++) {
        struct linger at_once = {.l_onoff = 1}; /* leaves no port in TIME_WAIT */
        setsockopt(crowd->streams[i].fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        close(crowd->streams[i].fd);
        free(crowd->streams[i].line);
    }
    free(crowd->streams);
    free(crowd);
}

static void write_target(const struct crowd_options *options, uint32_t number, char *to, size_t size)
{
    if (options->aim_count > 0)
        snprintf(to, size, "%s", options->aims[number % options->aim_count].target);
    else
        snprintf(to, size, options->target, number % options->channels);
}

/* Has the kernel say when what is read has arrived (https://docs.kernel.org/networking/timestamping.html). */
static void ask_for_arrivals(int fd)
{
    static const unsigned how = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
    if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &how, sizeof(how)) != 0)
        err(1, "SO_TIMESTAMPING");
}

static void start(struct crowd *crowd)
{
    const struct crowd_options *options = &crowd->options;
    uint32_t number = crowd->started++;
    struct stream *stream = &crowd->streams[number];
    struct sockaddr_in source = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(0x7f000101u + number / options->per_address)};
    char target[256], request[512];
    stream->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    setsockopt(stream->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    if (stream->fd < 0 || bind(stream->fd, (struct sockaddr *)&source, sizeof(source)) != 0 ||
        connect(stream->fd, (const struct sockaddr *)&options->server, sizeof(options->server)) != 0)
        err(1, "stream %u cannot connect", number);
    if (options->by_kernel)
        ask_for_arrivals(stream->fd);
    write_target(options, number, target, sizeof(target));
    stream->wanted = options->aim_count > 0 ? options->aims[number % options->aim_count].events : 0;
    int length = snprintf(request, sizeof(request),
                          "GET %s HTTP/1.1\r\nHost: bench.test\r\nAccept: text/event-stream\r\n\r\n", target);
    if (send(stream->fd, request, (size_t)length, MSG_NOSIGNAL) != length ||
        fcntl(stream->fd, F_SETFL, O_NONBLOCK) != 0)
        err(1, "stream %u cannot ask", number);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = stream};
    if (epoll_ctl(crowd->epoll, EPOLL_CTL_ADD, stream->fd, &event) != 0)
        err(1, "epoll_ctl");
}

double crowd_open(struct crowd *crowd)
{
    uint64_t begin = now_ns();
    struct epoll_event events[AT_ONCE];
    while (crowd->open < crowd->options.streams) {
        while (crowd->started < crowd->options.streams && crowd->started - crowd->open < AT_ONCE)
            start(crowd);
        int count = epoll_wait(crowd->epoll, events, AT_ONCE, 30000);
        if (count <= 0)
            errx(1, "only %u of %u streams were opened", crowd->open, crowd->options.streams);
        for (int i = 0; i < count; i++)
            crowd_read(crowd, events[i].data.ptr);
    }
    return (double)(now_ns() - begin) / 1e9;
}

/* --- what arrives ------------------------------------------------------------------------------------------------ */

static void count_event(struct crowd *crowd, struct stream *stream, uint64_t sent_ns, uint64_t read_ns)
{
    uint32_t *readers = &crowd->readers[stream->events++ % RING];
    crowd->deliveries++;
    crowd->satisfied += stream->events == stream->wanted;
    ages_add(&crowd->ages, read_ns > sent_ns ? read_ns - sent_ns : 0);
    if (++*readers == crowd->options.streams) {
        *readers = 0;
        crowd->complete++;
    }
}

static void take_line(struct crowd *crowd, struct stream *stream, const char *line, size_t length, uint64_t read_ns)
{
    static const char stamp[] = "{\"t\":";
    if (!stream->open) {
        if (length > 12 && memcmp(line, "HTTP/1.1 ", 9) == 0 && memcmp(line + 9, "200", 3) != 0)
            errx(1, "the server answers: %.*s", (int)length, line);
        stream->open = length <= 1; /* the empty line behind the head */
        crowd->open += stream->open;
        return;
    }
    if (length > 6 && memcmp(line, "data: ", 6) == 0) {
        const char *found = memmem(line + 6, length - 6, stamp, sizeof(stamp) - 1);
        if (found)
            count_event(crowd, stream, strtoull(found + sizeof(stamp) - 1, NULL, 10), read_ns);
    } else if (length >= 10 && memcmp(line, "event: gap", 10) == 0) {
        crowd->gaps++;
    }
}

static void keep(struct stream *stream, const char *rest, size_t length)
{
    if (!stream->line && !(stream->line = malloc(LINE_BYTES)))
        errx(1, "out of memory");
    if (stream->kept + length > LINE_BYTES)
        errx(1, "a line of more than %u bytes", LINE_BYTES);
    memcpy(stream->line + stream->kept, rest, length);
    stream->kept = (uint16_t)(stream->kept + length);
}

static void take(struct crowd *crowd, struct stream *stream, const char *at, size_t length, uint64_t read_ns)
{
    const char *end = at + length, *stop;
    for (; at < end && (stop = memchr(at, '\n', (size_t)(end - at))); at = stop + 1) {
        if (stream->kept == 0) {
            take_line(crowd, stream, at, (size_t)(stop - at), read_ns);
            continue;
        }
        keep(stream, at, (size_t)(stop - at));
        take_line(crowd, stream, stream->line, stream->kept, read_ns);
        stream->kept = 0;
    }
    if (at < end)
        keep(stream, at, (size_t)(end - at));
}

/* The kernel's time of arrival, on the clock of now_ns(); 0: it says none. */
static uint64_t arrival_ns(struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        struct timespec stamp, wall;
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_TIMESTAMPING)
            continue;
        memcpy(&stamp, CMSG_DATA(part), sizeof(stamp));
        clock_gettime(CLOCK_REALTIME, &wall);
        int64_t ago_ns = (wall.tv_sec - stamp.tv_sec) * 1000000000 + wall.tv_nsec - stamp.tv_nsec;
        return now_ns() - (uint64_t)(ago_ns > 0 ? ago_ns : 0);
    }
    return 0;
}

void crowd_read(struct crowd *crowd, void *which)
{
    struct stream *stream = which;
    char control[128];
    struct iovec part = {crowd->buffer, sizeof(crowd->buffer) - 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    ssize_t got = recvmsg(stream->fd, &message, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        errx(1, "the server closed stream %td", stream - crowd->streams);
    crowd->bytes += (uint64_t)got;
    crowd->buffer[got] = '\0';
    uint64_t read_ns = crowd->options.by_kernel ? arrival_ns(&message) : 0;
    take(crowd, stream, crowd->buffer, (size_t)got, read_ns ? read_ns : now_ns());
}

uint64_t crowd_deliveries(const struct crowd *crowd)
{
    return crowd->deliveries;
}

uint64_t crowd_bytes(const struct crowd *crowd)
{
    return crowd->bytes;
}

uint64_t crowd_gaps(const struct crowd *crowd)
{
    return crowd->gaps;
}

uint64_t crowd_complete(const struct crowd *crowd)
{
    return crowd->complete;
}

uint32_t crowd_satisfied(const struct crowd *crowd)
{
    return crowd->satisfied;
}

struct ages *crowd_ages(struct crowd *crowd)
{
    return &crowd->ages;
}

#include "posters.h"

#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct poster {
    int fd;
    uint64_t asked_ns;
    size_t length; /* of the answer so far */
    char answer[4096];
};

struct posters {
    const char *target;
    uint32_t connections, payload;
    uint64_t number, answered;
    struct ages ages;
    struct poster *posters;
};

struct posters *posters_new(struct sockaddr_in server, const char *target, uint32_t connections, uint32_t payload,
                            int epoll)
{
    struct posters *posters = calloc(1, sizeof(*posters));
    if (!posters || !(posters->posters = calloc(connections, sizeof(*posters->posters))))
        errx(1, "out of memory");
    posters->target = target;
    posters->connections = connections;
    posters->payload = payload;
    for (uint32_t i = 0; i < connections; i++) {
        struct poster *poster = &posters->posters[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = poster};
        int on = 1;
        poster->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(poster->fd, (struct sockaddr *)&server, sizeof(server)) != 0)
            err(1, "connecting to publish");
        setsockopt(poster->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, poster->fd, &event) != 0)
            err(1, "epoll_ctl");
    }
    return posters;
}

void posters_free(struct posters *posters)
{
    for (uint32_t i = 0; i < posters->connections; i++)
        close(posters->posters[i].fd);
    free(posters->posters);
    free(posters);
}

static void ask(struct posters *posters, struct poster *poster)
{
    char body[8000], request[8500];
    int length = snprintf(body, sizeof(body), "{\"n\":%llu,\"pad\":\"", (unsigned long long)posters->number++);
    while ((uint32_t)length + 2 < posters->payload)
        body[length++] = 'x';
    body[length++] = '"';
    body[length++] = '}';
    int size = snprintf(request, sizeof(request),
                        "POST %s HTTP/1.1\r\nHost: bench.test\r\nContent-Type: application/json\r\n"
                        "Content-Length: %d\r\n\r\n%.*s",
                        posters->target, length, length, body);
    poster->asked_ns = now_ns();
    poster->length = 0;
    if (send(poster->fd, request, (size_t)size, MSG_NOSIGNAL) != size)
        err(1, "publishing");
}

void posters_begin(struct posters *posters)
{
    for (uint32_t i = 0; i < posters->connections; i++)
        ask(posters, &posters->posters[i]);
}

/* Has the whole answer come? Its body has a length, or is one chunk and the last. */
static bool is_whole(const struct poster *poster)
{
    const char *end = strstr(poster->answer, "\r\n\r\n");
    if (!end)
        return false;
    const char *length = strcasestr(poster->answer, "content-length:");
    if (length && length < end)
        return poster->length >= (size_t)(end + 4 - poster->answer) + strtoul(length + 15, NULL, 10);
    return strstr(end, "\r\n0\r\n\r\n") != NULL;
}

void posters_ready(struct posters *posters, void *which)
{
    struct poster *poster = which;
    ssize_t got = recv(poster->fd, poster->answer + poster->length, sizeof(poster->answer) - 1 - poster->length, 0);
    if (got <= 0)
        errx(1, "publishing: the server closed a connection");
    poster->length += (size_t)got;
    poster->answer[poster->length] = '\0';
    if (!is_whole(poster))
        return;
    if (strncmp(poster->answer, "HTTP/1.1 2", 10) != 0)
        errx(1, "publishing: the server answers: %s", poster->answer);
    ages_add(&posters->ages, now_ns() - poster->asked_ns);
    posters->answered++;
    ask(posters, poster);
}

uint64_t posters_answered(const struct posters *posters)
{
    return posters->answered;
}

struct ages *posters_ages(struct posters *posters)
{
    return &posters->ages;
}

/*
 * Listening sockets: inherited or opened.
 */
#include "eventgate/listening.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096
#define FIRST_INHERITED_FD 3

#define TLS_PREFIX "tls:"
#define TLS_NAME "tls" /* of an inherited socket */

struct endpoint {
    struct sockaddr_storage address;
    socklen_t length;
    bool tls;
};

static bool read_port(const char *text, uint16_t *ret_port)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    unsigned long port = strtoul(text, &end, 10);
    if (*end != '\0' || port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

bool eg_listening_is_tls(const char *address)
{
    return strncmp(address, TLS_PREFIX, sizeof(TLS_PREFIX) - 1) == 0;
}

/* "HOST:PORT", "[HOST]:PORT", ":PORT", with "tls:" in front or not. */
static const char *parse(const char *text, struct endpoint *ret_endpoint)
{
    ret_endpoint->tls = eg_listening_is_tls(text);
    text += ret_endpoint->tls ? sizeof(TLS_PREFIX) - 1 : 0;
    char host[INET6_ADDRSTRLEN];
    uint16_t port;
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    const char *colon = strrchr(text, ':');
    if (!colon || !read_port(colon + 1, &port))
        return "needs a port from 0 to 65535 behind a colon, as in 127.0.0.1:8080";
    size_t length = (size_t)(colon - text);
    bool bracketed = length >= 2 && text[0] == '[' && colon[-1] == ']';
    const char *start = bracketed ? text + 1 : text;
    length -= bracketed ? 2 : 0;
    if (length >= sizeof(host))
        return "needs a numeric address, as in 127.0.0.1:8080 or [::1]:8080";
    memcpy(host, start, length);
    host[length] = '\0';
    in.sin_port = in6.sin6_port = htons(port);
    memset(&ret_endpoint->address, 0, sizeof(ret_endpoint->address));
    if (!bracketed && inet_pton(AF_INET, host, &in.sin_addr) == 1) {
        memcpy(&ret_endpoint->address, &in, sizeof(in));
        ret_endpoint->length = sizeof(in);
        return NULL;
    }
    if (length == 0 ? !bracketed : bracketed && inet_pton(AF_INET6, host, &in6.sin6_addr) == 1) {
        memcpy(&ret_endpoint->address, &in6, sizeof(in6));
        ret_endpoint->length = sizeof(in6);
        return NULL;
    }
    return "needs a numeric address, as in 127.0.0.1:8080, [::1]:8080, or :8080 for all addresses";
}

const char *eg_listening_problem(const char *address)
{
    struct endpoint endpoint;
    return parse(address, &endpoint);
}

static bool is_local(const struct sockaddr_storage *address)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    switch (address->ss_family) {
    case AF_INET:
        memcpy(&in, address, sizeof(in));
        return ntohl(in.sin_addr.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
    case AF_INET6:
        memcpy(&in6, address, sizeof(in6));
        return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr) ||
               (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr) && in6.sin6_addr.s6_addr[12] == IN_LOOPBACKNET);
    default:
        return address->ss_family == AF_UNIX;
    }
}

bool eg_listening_is_local(const char *address)
{
    struct endpoint endpoint;
    return parse(address, &endpoint) == NULL && is_local(&endpoint.address);
}

static void format(const struct sockaddr_storage *address, char *text, size_t size)
{
    char host[INET6_ADDRSTRLEN] = "";
    struct sockaddr_in in = {.sin_family = AF_UNSPEC};
    struct sockaddr_in6 in6 = {.sin6_family = AF_UNSPEC};
    if (address->ss_family == AF_INET) {
        memcpy(&in, address, sizeof(in));
        inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host));
        snprintf(text, size, "%s:%u", host, ntohs(in.sin_port));
    } else if (address->ss_family == AF_INET6) {
        memcpy(&in6, address, sizeof(in6));
        inet_ntop(AF_INET6, &in6.sin6_addr, host, sizeof(host));
        snprintf(text, size, "[%s]:%u", host, ntohs(in6.sin6_port));
    } else {
        snprintf(text, size, "inherited");
    }
}

static int failed(struct eg_error *error, const char *address, const char *what, int number)
{
    error->sqlstate[0] = '\0';
    snprintf(error->sentence, sizeof(error->sentence), "%s: cannot %s: %s%s", address, what, strerror(number),
             number == EADDRINUSE ? ". Something else listens there; choose another port (--listen)" : "");
    return -number;
}

/* Opens one socket; a port 0 in `endpoint` is replaced by the one that was given. */
static int open_one(struct endpoint *endpoint, const char *address, uint32_t worker, bool shared,
                    struct eg_listening_socket *ret_socket, struct eg_error *error)
{
    static const int on = 1, off = 0;
    int fd = socket(endpoint->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return failed(error, address, "open a socket", errno);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (endpoint->address.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    int number = 0;
    if (shared && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0)
        number = errno;
    if (!number && bind(fd, (struct sockaddr *)&endpoint->address, endpoint->length) != 0)
        number = errno;
    if (!number && listen(fd, BACKLOG) != 0)
        number = errno;
    if (!number && getsockname(fd, (struct sockaddr *)&endpoint->address, &endpoint->length) != 0)
        number = errno;
    if (number) {
        close(fd);
        return failed(error, address, "listen", number);
    }
    *ret_socket = (struct eg_listening_socket){
        .fd = fd, .worker = (int)worker, .local = is_local(&endpoint->address), .tls = endpoint->tls};
    format(&endpoint->address, ret_socket->address, sizeof(ret_socket->address));
    return 0;
}

/*
 * SO_REUSEPORT would let a second gateway of the same user share a port in silence: a socket without it is tried first,
 * so that a port that is taken is an error.
 */
static int check_free(const struct endpoint *endpoint, const char *address, struct eg_error *error)
{
    struct eg_listening_socket probe = {.fd = -1};
    struct endpoint copy = *endpoint;
    int result = open_one(&copy, address, 0, false, &probe, error);
    if (!result)
        close(probe.fd);
    return result;
}

static int open_all(char *const *addresses, size_t count, uint32_t workers, struct eg_listening *listening,
                    struct eg_error *error)
{
    struct eg_listening_socket *grown =
        reallocarray(listening->sockets, listening->count + count * workers, sizeof(*grown));
    if (!grown)
        return failed(error, addresses[0], "listen", ENOMEM);
    listening->sockets = grown;
    for (size_t i = 0; i < count; i++) {
        struct endpoint endpoint;
        const char *problem = parse(addresses[i], &endpoint);
        if (problem) {
            snprintf(error->sentence, sizeof(error->sentence), "The listen address \"%s\" %s.", addresses[i], problem);
            return -EINVAL;
        }
        int result = check_free(&endpoint, addresses[i], error);
        for (uint32_t worker = 0; !result && worker < workers; worker++) {
            result = open_one(&endpoint, addresses[i], worker, true, &listening->sockets[listening->count], error);
            if (!result)
                listening->count++;
        }
        if (result)
            return result;
    }
    return 0;
}

/* How many descriptors were passed to this very process (sd_listen_fds(3)). */
static int inherited_count(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid())
        return 0;
    long number = strtol(count, NULL, 10);
    return number > 0 && number < 1024 ? (int)number : 0;
}

/* Has the descriptor of that number among the inherited ones the name of TLS? Names are separated by colons. */
static bool is_named_tls(int number)
{
    const char *name = getenv("LISTEN_FDNAMES");
    while (name && number-- > 0) {
        name = strchr(name, ':');
        name += name != NULL;
    }
    return name && strncmp(name, TLS_NAME, sizeof(TLS_NAME) - 1) == 0 &&
           (name[sizeof(TLS_NAME) - 1] == '\0' || name[sizeof(TLS_NAME) - 1] == ':');
}

bool eg_listening_need_tls(char *const *addresses, size_t count)
{
    int inherited = inherited_count();
    bool found = false;
    for (int i = 0; i < inherited; i++)
        found |= is_named_tls(i);
    for (size_t i = 0; inherited == 0 && i < count; i++)
        found |= eg_listening_is_tls(addresses[i]);
    return found;
}

static int inherit(int count, struct eg_listening *listening, struct eg_error *error)
{
    listening->sockets = calloc((size_t)count, sizeof(*listening->sockets));
    if (!listening->sockets)
        return failed(error, "LISTEN_FDS", "listen", ENOMEM);
    for (int fd = FIRST_INHERITED_FD; fd < FIRST_INHERITED_FD + count; fd++) {
        struct sockaddr_storage address = {.ss_family = AF_UNSPEC};
        socklen_t length = sizeof(address);
        int is_listening = 0;
        socklen_t size = sizeof(is_listening);
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) != 0 || !is_listening ||
            getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
            snprintf(error->sentence, sizeof(error->sentence),
                     "LISTEN_FDS: descriptor %d is not a listening stream socket.", fd);
            return -EINVAL;
        }
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
            return failed(error, "LISTEN_FDS", "use a descriptor", errno);
        struct eg_listening_socket *socket = &listening->sockets[listening->count++];
        *socket = (struct eg_listening_socket){
            .fd = fd, .worker = -1, .local = is_local(&address), .tls = is_named_tls(fd - FIRST_INHERITED_FD)};
        format(&address, socket->address, sizeof(socket->address));
    }
    return 0;
}

int eg_listening_open(char *const *addresses, size_t count, uint32_t workers, struct eg_listening *ret_listening,
                      struct eg_error *ret_error)
{
    struct eg_listening listening = {NULL, 0};
    int inherited = inherited_count();
    ret_error->sqlstate[0] = '\0';
    int result = inherited > 0 ? inherit(inherited, &listening, ret_error)
                               : open_all(addresses, count, workers, &listening, ret_error);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (result)
        eg_listening_close(&listening);
    else
        *ret_listening = listening;
    return result;
}

int eg_listening_open_admin(char *const *addresses, size_t count, uint32_t workers, struct eg_listening *listening,
                            struct eg_error *ret_error)
{
    size_t before = listening->count;
    ret_error->sqlstate[0] = '\0';
    int result = count > 0 ? open_all(addresses, count, workers, listening, ret_error) : 0;
    for (size_t i = before; i < listening->count; i++)
        listening->sockets[i].admin = true;
    return result;
}

bool eg_listening_inherits(void)
{
    return inherited_count() > 0;
}

void eg_listening_close(struct eg_listening *listening)
{
    for (size_t i = 0; i < listening->count; i++)
        close(listening->sockets[i].fd);
    free(listening->sockets);
    *listening = (struct eg_listening){NULL, 0};
}

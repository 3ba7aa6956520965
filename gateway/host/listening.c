/*
 * Listening sockets: addresses, and the sockets that are opened for them, or claimed of those that were handed over.
 */
#include "eventgate/listening.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eventgate/listening_internal.h"

#define BACKLOG 4096

#define TLS_PREFIX "tls:"

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

bool eg_listening_is_local_address(const struct sockaddr_storage *address)
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
    return parse(address, &endpoint) == NULL && eg_listening_is_local_address(&endpoint.address);
}

void eg_listening_format(const struct sockaddr_storage *address, char *text, size_t size)
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

int eg_listening_failed(struct eg_error *error, const char *address, const char *what, int number)
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
        return eg_listening_failed(error, address, "open a socket", errno);
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
        return eg_listening_failed(error, address, "listen", number);
    }
    *ret_socket = (struct eg_listening_socket){.fd = fd,
                                               .worker = (int)worker,
                                               .local = eg_listening_is_local_address(&endpoint->address),
                                               .tls = endpoint->tls};
    eg_listening_format(&endpoint->address, ret_socket->address, sizeof(ret_socket->address));
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

/* --- handed over -------------------------------------------------------------------------------------------------- */

/* Is the socket bound to that address? A port of 0 is any. */
static bool is_bound_to(const struct eg_listening_socket *socket, const struct endpoint *endpoint)
{
    struct sockaddr_storage bound = {.ss_family = AF_UNSPEC};
    socklen_t length = sizeof(bound);
    if (getsockname(socket->fd, (struct sockaddr *)&bound, &length) != 0 ||
        bound.ss_family != endpoint->address.ss_family)
        return false;
    struct sockaddr_in a4, b4;
    struct sockaddr_in6 a6, b6;
    if (bound.ss_family == AF_INET) {
        memcpy(&a4, &bound, sizeof(a4));
        memcpy(&b4, &endpoint->address, sizeof(b4));
        return a4.sin_addr.s_addr == b4.sin_addr.s_addr && (b4.sin_port == 0 || a4.sin_port == b4.sin_port);
    }
    memcpy(&a6, &bound, sizeof(a6));
    memcpy(&b6, &endpoint->address, sizeof(b6));
    return memcmp(&a6.sin6_addr, &b6.sin6_addr, sizeof(a6.sin6_addr)) == 0 &&
           (b6.sin6_port == 0 || a6.sin6_port == b6.sin6_port);
}

static bool has_any_port(const struct endpoint *endpoint)
{
    struct sockaddr_in in; /* the port of both families is at the same place */
    memcpy(&in, &endpoint->address, sizeof(in));
    return in.sin_port == 0;
}

/* Each worker has its own, or, where there are more or fewer than workers, all of them watch all. */
static void share_out(struct eg_listening_socket *sockets, size_t count, uint32_t workers)
{
    uint64_t seen = 0; /* there are at most 64 workers */
    for (size_t i = 0; i < count; i++)
        if (sockets[i].worker >= 0 && sockets[i].worker < (int)workers)
            seen |= UINT64_C(1) << sockets[i].worker;
    bool fits = count == workers && seen == (workers == 64 ? UINT64_MAX : (UINT64_C(1) << workers) - 1);
    for (size_t i = 0; !fits && i < count; i++)
        sockets[i].worker = -1;
}

/* Claims what was handed over for this address. Whoever served it with or without TLS, for operators or for all, now it
 * is as the configuration says; only of any port one of the same kind is taken. Returns how many. */
static size_t claim(const struct endpoint *endpoint, bool admin, uint32_t workers, struct eg_listening *listening)
{
    struct eg_listening_socket *claimed = &listening->sockets[listening->count];
    size_t count = 0, kept = 0;
    for (size_t i = 0; i < listening->left_count; i++) {
        struct eg_listening_socket *left = &listening->left[i];
        bool same_kind = left->admin == admin && left->tls == endpoint->tls;
        if (is_bound_to(left, endpoint) &&
            (count == 0 ? !has_any_port(endpoint) || same_kind : strcmp(left->address, claimed->address) == 0))
            claimed[count++] = *left;
        else
            listening->left[kept++] = *left;
    }
    listening->left_count = kept;
    for (size_t i = 0; i < count; i++) {
        claimed[i].admin = admin;
        claimed[i].tls = endpoint->tls;
    }
    share_out(claimed, count, workers);
    listening->count += count;
    return count;
}

/* --- all of them ------------------------------------------------------------------------------------------------- */

static int open_all(char *const *addresses, size_t count, uint32_t workers, bool admin, struct eg_listening *listening,
                    struct eg_error *error)
{
    struct eg_listening_socket *grown = reallocarray(
        listening->sockets, listening->count + count * workers + listening->left_count + 1, sizeof(*grown));
    if (!grown)
        return eg_listening_failed(error, addresses[0], "listen", ENOMEM);
    listening->sockets = grown;
    for (size_t i = 0; i < count; i++) {
        struct endpoint endpoint;
        const char *problem = parse(addresses[i], &endpoint);
        if (problem) {
            snprintf(error->sentence, sizeof(error->sentence), "The listen address \"%s\" %s.", addresses[i], problem);
            return -EINVAL;
        }
        if (claim(&endpoint, admin, workers, listening) > 0)
            continue;
        int result = check_free(&endpoint, addresses[i], error);
        for (uint32_t worker = 0; !result && worker < workers; worker++) {
            struct eg_listening_socket *opened = &listening->sockets[listening->count];
            result = open_one(&endpoint, addresses[i], worker, true, opened, error);
            if (result)
                break;
            opened->admin = admin;
            listening->count++;
        }
        if (result)
            return result;
    }
    return 0;
}

bool eg_listening_need_tls(char *const *addresses, size_t count)
{
    bool found = false;
    if (eg_listening_inherits())
        return eg_listening_inherits_tls();
    for (size_t i = 0; i < count; i++)
        found |= eg_listening_is_tls(addresses[i]);
    return found;
}

int eg_listening_open(char *const *addresses, size_t count, uint32_t workers, struct eg_listening *ret_listening,
                      struct eg_error *ret_error)
{
    struct eg_listening listening = {.sockets = NULL};
    ret_error->sqlstate[0] = '\0';
    int result = eg_listening_inherit(&listening, ret_error);
    if (!result && listening.count == 0)
        result = open_all(addresses, count, workers, false, &listening, ret_error);
    if (result)
        eg_listening_close(&listening);
    else
        *ret_listening = listening;
    return result;
}

static void close_all(struct eg_listening_socket *sockets, size_t count)
{
    for (size_t i = 0; i < count; i++)
        close(sockets[i].fd);
    free(sockets);
}

int eg_listening_open_admin(char *const *addresses, size_t count, uint32_t workers, struct eg_listening *listening,
                            struct eg_error *ret_error)
{
    ret_error->sqlstate[0] = '\0';
    int result = count > 0 ? open_all(addresses, count, workers, true, listening, ret_error) : 0;
    close_all(listening->left, listening->left_count);
    listening->left = NULL;
    listening->left_count = 0;
    return result;
}

void eg_listening_close(struct eg_listening *listening)
{
    close_all(listening->sockets, listening->count);
    close_all(listening->left, listening->left_count);
    if (listening->predecessor > 0)
        close(listening->predecessor);
    *listening = (struct eg_listening){.sockets = NULL};
}

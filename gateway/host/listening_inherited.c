/*
 * Inherited descriptors: those of a service manager, and those that the process before this one hands over.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "eventgate/listening_internal.h"

#define INHERITED_MAX 4096
/* What a service manager calls a socket of TLS. */
#define TLS_NAME "tls"
/* What the process before this one calls those that it hands over: the kind, "-tls", and the worker ("-0"). */
#define GIVEN_NAME "given"
#define LISTEN_NAME "listen"
#define ADMIN_NAME "admin"
#define PREDECESSOR_NAME "predecessor"

/* What an inherited descriptor is, by its name. */
struct role {
    bool given; /* by a service manager, to this process or to one before it */
    bool admin;
    bool tls;
    bool predecessor;
    int worker;
};

static bool is_process(const char *text, pid_t pid)
{
    return text && strtol(text, NULL, 10) == (long)pid;
}

static bool is_handed_over(void)
{
    return is_process(getenv(EG_HANDED_OVER_BY), getppid());
}

/* How many descriptors were passed to this very process. */
static int inherited_count(void)
{
    const char *count = getenv("LISTEN_FDS");
    if (!count || (!is_process(getenv("LISTEN_PID"), getpid()) && !is_handed_over()))
        return 0;
    long number = strtol(count, NULL, 10);
    return number > 0 && number <= INHERITED_MAX ? (int)number : 0;
}

/* Copies the name of the descriptor of that number among the inherited ones; names are separated by colons. */
static void name_of(int number, char *ret_name, size_t size)
{
    const char *name = getenv("LISTEN_FDNAMES");
    while (name && number-- > 0) {
        name = strchr(name, ':');
        name += name != NULL;
    }
    size_t length = name ? strcspn(name, ":") : 0;
    snprintf(ret_name, size, "%.*s", (int)length, name ? name : "");
}

/* Takes a word off the front of a name: false if it isn't there. */
static bool take_word(const char **name, const char *word)
{
    size_t length = strlen(word);
    if (strncmp(*name, word, length) != 0 || ((*name)[length] != '\0' && (*name)[length] != '-'))
        return false;
    *name += length + ((*name)[length] == '-');
    return true;
}

static struct role role_of(int number)
{
    char text[64];
    const char *name = text;
    name_of(number, text, sizeof(text));
    if (!is_handed_over())
        return (struct role){.given = true, .tls = strcmp(text, TLS_NAME) == 0, .worker = -1};
    struct role role = {.predecessor = take_word(&name, PREDECESSOR_NAME), .worker = -1};
    role.given = take_word(&name, GIVEN_NAME);
    role.admin = take_word(&name, ADMIN_NAME);
    take_word(&name, LISTEN_NAME);
    role.tls = take_word(&name, TLS_NAME);
    if (*name)
        role.worker = (int)strtol(name, NULL, 10);
    return role;
}

bool eg_listening_inherits(void)
{
    bool given = false;
    for (int i = 0; i < inherited_count(); i++)
        given |= role_of(i).given;
    return given;
}

bool eg_listening_inherits_tls(void)
{
    bool found = false;
    for (int i = 0; i < inherited_count(); i++)
        found |= role_of(i).given && role_of(i).tls;
    return found;
}

static int adopt(int fd, struct eg_error *error)
{
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0)
        return eg_listening_failed(error, "LISTEN_FDS", "use a descriptor", errno);
    return 0;
}

/* Processes that share a socket share O_NONBLOCK, too, and who starts another one of them may take it away, as systemd
 * does without NonBlocking=yes: accept() then waits no longer than this. */
static int adopt_listening(int fd, struct eg_error *error)
{
    static const struct timeval shortly = {.tv_usec = 1000};
    int result = adopt(fd, error);
    if (!result && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &shortly, sizeof(shortly)) != 0)
        result = eg_listening_failed(error, "LISTEN_FDS", "use a descriptor", errno);
    return result;
}

static int inherit_socket(int fd, struct role role, struct eg_listening *listening, struct eg_error *error)
{
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
    int result = adopt_listening(fd, error);
    if (result)
        return result;
    struct eg_listening_socket *socket =
        role.given ? &listening->sockets[listening->count++] : &listening->left[listening->left_count++];
    *socket = (struct eg_listening_socket){.fd = fd,
                                           .worker = role.worker,
                                           .admin = role.admin,
                                           .local = eg_listening_is_local_address(&address),
                                           .tls = role.tls,
                                           .given = role.given};
    eg_listening_format(&address, socket->address, sizeof(socket->address));
    return 0;
}

int eg_listening_inherit(struct eg_listening *listening, struct eg_error *error)
{
    int count = inherited_count(), result = 0;
    if (count > 0) {
        listening->sockets = calloc((size_t)count, sizeof(*listening->sockets));
        listening->left = calloc((size_t)count, sizeof(*listening->left));
        if (!listening->sockets || !listening->left)
            return eg_listening_failed(error, "LISTEN_FDS", "listen", ENOMEM);
    }
    for (int i = 0; !result && i < count; i++) {
        int fd = EG_FIRST_INHERITED_FD + i;
        struct role role = role_of(i);
        if (!role.predecessor)
            result = inherit_socket(fd, role, listening, error);
        else if (!(result = adopt(fd, error)))
            listening->predecessor = fd;
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    unsetenv(EG_HANDED_OVER_BY);
    return result;
}

void eg_listening_names(const struct eg_listening *listening, struct eg_buffer *names)
{
    for (size_t i = 0; i < listening->count; i++) {
        const struct eg_listening_socket *socket = &listening->sockets[i];
        eg_buffer_add_string(names, socket->given ? GIVEN_NAME : socket->admin ? ADMIN_NAME : LISTEN_NAME);
        eg_buffer_add_string(names, socket->tls ? "-" TLS_NAME : "");
        if (socket->worker >= 0)
            eg_buffer_add_format(names, "-%d", socket->worker);
        eg_buffer_add_string(names, ":");
    }
    eg_buffer_add_string(names, PREDECESSOR_NAME);
}

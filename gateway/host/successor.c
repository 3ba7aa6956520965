/*
 * Starting the program anew.
 *
 * posix_spawn() shares this process's memory until the new program runs, and does nothing there that isn't safe beside
 * other threads. The descriptors are put in their places, 3 and up, from copies above all of these places, since each
 * may be in another one's; everything above is closed, whether or not it says so itself (close-on-exec).
 */
#include "eventgate/successor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eventgate/buffer.h"

/* --- its environment ------------------------------------------------------------------------------------------------
 */

/* What is said to one process alone: to this one. */
static bool is_own(const char *variable)
{
    static const char *const names[] = {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID",
                                        EG_HANDED_OVER_BY};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(names); i++) {
        size_t length = strlen(names[i]);
        if (strncmp(variable, names[i], length) == 0 && variable[length] == '=')
            return true;
    }
    return false;
}

struct environment {
    struct eg_buffer count, names, parent;
    char **variables; /* NULL-terminated */
};

static void environment_done(struct environment *environment)
{
    eg_buffer_done(&environment->count);
    eg_buffer_done(&environment->names);
    eg_buffer_done(&environment->parent);
    free(environment->variables);
}

static int environment_make(struct environment *made, char *const *environment, const struct eg_listening *listening)
{
    size_t count = 0, kept = 0;
    *made = (struct environment){EG_BUFFER_INIT, EG_BUFFER_INIT, EG_BUFFER_INIT, NULL};
    while (environment && environment[count])
        count++;
    eg_buffer_add_format(&made->count, "LISTEN_FDS=%zu", listening->count + 1);
    eg_buffer_add_string(&made->names, "LISTEN_FDNAMES=");
    eg_listening_names(listening, &made->names);
    eg_buffer_add_format(&made->parent, EG_HANDED_OVER_BY "=%ld", (long)getpid());
    struct eg_buffer *const own[] = {&made->count, &made->names, &made->parent};
    made->variables = calloc(count + EG_ARRAY_LENGTH(own) + 1, sizeof(char *));
    if (!made->variables)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        if (!is_own(environment[i]))
            made->variables[kept++] = environment[i];
    for (size_t i = 0; i < EG_ARRAY_LENGTH(own); i++) {
        eg_buffer_add(own[i], "", 1);
        if (own[i]->failed)
            return -ENOMEM;
        made->variables[kept++] = own[i]->data;
    }
    return 0;
}

/* --- its descriptors ------------------------------------------------------------------------------------------------
 */

struct copies {
    int *fds;
    int count;
};

static void copies_done(struct copies *copies)
{
    for (int i = 0; i < copies->count; i++)
        close(copies->fds[i]);
    free(copies->fds);
}

/* Of all that is handed over, above its places. */
static int copies_make(struct copies *copies, const struct eg_listening *listening, int own)
{
    size_t count = listening->count + 1;
    *copies = (struct copies){calloc(count, sizeof(int)), 0};
    if (!copies->fds)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        int fd = i < listening->count ? listening->sockets[i].fd : own;
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, EG_FIRST_INHERITED_FD + (int)count);
        if (copy < 0)
            return -errno;
        copies->fds[copies->count++] = copy;
    }
    return 0;
}

static int put_in_place(posix_spawn_file_actions_t *actions, const struct copies *copies)
{
    int error = 0;
    for (int i = 0; !error && i < copies->count; i++)
        error = posix_spawn_file_actions_adddup2(actions, copies->fds[i], EG_FIRST_INHERITED_FD + i);
    if (!error)
        error = posix_spawn_file_actions_addclosefrom_np(actions, EG_FIRST_INHERITED_FD + copies->count);
    return error;
}

/* --- starting -------------------------------------------------------------------------------------------------------
 */

/* Signals as a program expects them: none blocked, none ignored that we do. It leads a process group, so that what it
 * starts can be ended with it: that has the sockets, too. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, ours;
    sigemptyset(&none);
    sigemptyset(&ours);
    sigaddset(&ours, SIGPIPE);
    int error = posix_spawnattr_setsigmask(attributes, &none);
    if (!error)
        error = posix_spawnattr_setsigdefault(attributes, &ours);
    if (!error)
        error = posix_spawnattr_setpgroup(attributes, 0);
    return error ? error
                 : posix_spawnattr_setflags(attributes,
                                            POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

static int spawn(const char *path, char *const *argv, char *const *environment, const struct copies *copies,
                 pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error)
        return -error;
    error = posix_spawnattr_init(&attributes);
    if (!error) {
        error = set_attributes(&attributes);
        if (!error)
            error = put_in_place(&actions, copies);
        if (!error)
            error = posix_spawn(ret_pid, path, &actions, &attributes, argv, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return -error;
}

static void let_go(struct eg_successor *successor)
{
    eg_loop_remove(successor->loop, successor->fd, &successor->watch);
    close(successor->fd);
    eg_buffer_done(&successor->reach);
    eg_buffer_done(&successor->telling);
    successor->pid = 0;
}

/* It has closed its end, so it is about to end, or else never will be of use; killing doesn't change how it ended. */
static void reap(struct eg_successor *successor, char *ret_sentence, size_t size)
{
    int status = 0;
    kill(-successor->pid, SIGKILL);
    pid_t pid = waitpid(successor->pid, &status, 0);
    if (pid < 0)
        snprintf(ret_sentence, size, "the new process has ended");
    else if (WIFSIGNALED(status))
        snprintf(ret_sentence, size, "the new process was killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(ret_sentence, size, "the new process ended with status %d before it was ready; the log says why",
                 WEXITSTATUS(status));
}

/* All of it has come. */
static void keep(struct eg_successor *successor)
{
    struct eg_buffer last = successor->reach;
    if (successor->telling.failed)
        return;
    successor->reach = successor->telling;
    successor->telling = last;
}

static void take(struct eg_successor *successor, char message)
{
    bool reached = successor->reaches && message == EG_SUCCESSOR_REACH;
    if (message == EG_SUCCESSOR_REACHES) {
        eg_buffer_clear(&successor->telling);
        successor->reaches = true;
    } else if (successor->reaches && !reached) {
        eg_buffer_add(&successor->telling, &message, 1);
    } else {
        if (reached)
            keep(successor);
        successor->reaches = false;
        successor->told(successor, message);
    }
}

static void ready(struct eg_watch *watch, uint32_t epoll_events)
{
    struct eg_successor *successor = EG_CONTAINER_OF(watch, struct eg_successor, watch);
    char messages[512], sentence[160];
    (void)epoll_events;
    ssize_t got = recv(successor->fd, messages, sizeof(messages), MSG_DONTWAIT);
    if (got > 0) {
        for (ssize_t i = 0; i < got && successor->pid != 0; i++)
            take(successor, messages[i]);
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        reap(successor, sentence, sizeof(sentence));
        let_go(successor);
        successor->ended(successor, sentence);
    }
}

static int failed(struct eg_error *error, const char *path, int number)
{
    error->sqlstate[0] = '\0';
    snprintf(error->sentence, sizeof(error->sentence), "%.300s: cannot be started: %s", path, strerror(-number));
    return number;
}

int eg_successor_start(struct eg_successor *successor, struct eg_loop *loop, const char *path, char *const *argv,
                       char *const *environment, const struct eg_listening *listening, struct eg_error *ret_error)
{
    struct environment made;
    struct copies copies = {NULL, 0};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return failed(ret_error, path, -errno);
    successor->loop = loop;
    successor->reaches = false;
    successor->reach = successor->telling = EG_BUFFER_INIT;
    successor->watch.ready = ready;
    successor->fd = pair[0];
    int result = environment_make(&made, environment, listening);
    if (!result)
        result = copies_make(&copies, listening, pair[1]);
    if (!result)
        result = eg_loop_add(loop, successor->fd, EPOLLIN, &successor->watch);
    if (!result) {
        result = spawn(path, argv, made.variables, &copies, &successor->pid);
        if (result)
            eg_loop_remove(loop, successor->fd, &successor->watch);
    }
    close(pair[1]);
    if (result) {
        close(successor->fd);
        successor->pid = 0;
        failed(ret_error, path, result);
    }
    copies_done(&copies);
    environment_done(&made);
    return result;
}

int eg_successor_serve(struct eg_successor *successor)
{
    static const char message = EG_SUCCESSOR_SERVE;
    if (send(successor->fd, &message, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1)
        return -errno;
    let_go(successor);
    return 0;
}

void eg_successor_kill(struct eg_successor *successor)
{
    char sentence[160];
    if (successor->pid == 0)
        return;
    reap(successor, sentence, sizeof(sentence));
    let_go(successor);
}

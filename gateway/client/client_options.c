/*
 * Where the gateway is, and signals.
 */
#include "eventgate/client_options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONNECT_TIMEOUT_MS 10000

volatile sig_atomic_t eg_client_stopped;

static const char *variable(char *const *environment, const char *name)
{
    size_t length = strlen(name);
    for (; environment && *environment; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=' &&
            (*environment)[length + 1] != '\0')
            return *environment + length + 1;
    return NULL;
}

void eg_client_defaults(char *const *environment, struct eg_call_target *ret_target)
{
    const char *url = variable(environment, "EVENTGATE_URL");
    *ret_target = (struct eg_call_target){.url = url ? url : EG_DEFAULT_URL,
                                          .token = variable(environment, "EVENTGATE_TOKEN"),
                                          .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                          .stopped = &eg_client_stopped};
}

bool eg_client_check(const char *command, const struct eg_call_target *target)
{
    const char *scheme = strstr(target->url, "://");
    if (target->url[0] &&
        (!scheme || strncmp(target->url, "http://", 7) == 0 || strncmp(target->url, "https://", 8) == 0) &&
        !strpbrk(target->url, "?# \t\r\n"))
        return true;
    eg_complain(command, "%s: is no URL of a gateway, as " EG_DEFAULT_URL " or https://events.example.org/prefix.",
                target->url);
    return false;
}

static void stop(int number)
{
    eg_client_stopped = number;
}

void eg_client_catch_signals(void)
{
    /* No SA_RESTART: a write() that nobody reads ends, too. */
    struct sigaction action = {.sa_handler = stop, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    action.sa_flags = 0;
    sigaction(SIGPIPE, &action, NULL);
}

int eg_client_exit(int status)
{
    int number = eg_client_stopped;
    if (number == 0)
        return status;
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
    raise(number);
    return 128 + number;
}

bool eg_client_wait_ms(uint32_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (!eg_client_stopped && nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
    return !eg_client_stopped;
}

/*
 * One attempt to connect, on a thread of its own, since libpq resolves names and reads files on the way.
 *
 * The attempt is shared by its thread and by whoever waits for it, and freed by the last of the two: one that is
 * dropped ends by itself, at the latest after the connection string's hosts have timed out.
 */
#include "eventgate/connection_attempt.h"

#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "eventgate/log.h"
#include "eventgate/quiet_thread.h"

#define THREAD_STACK_BYTES (1u << 18)

struct eg_attempt {
    _Atomic int references;
    _Atomic bool abandoned;
    int done_fd; /* eventfd: written when `conn` is there */
    _Atomic(PGconn *) conn;
    char *conninfo, *application_name, *connect_timeout;
};

static void attempt_unref(struct eg_attempt *attempt)
{
    if (atomic_fetch_sub(&attempt->references, 1) != 1)
        return;
    PGconn *conn = atomic_load(&attempt->conn);
    if (conn)
        PQfinish(conn);
    if (attempt->done_fd >= 0)
        close(attempt->done_fd);
    free(attempt->conninfo);
    free(attempt->application_name);
    free(attempt->connect_timeout);
    free(attempt);
}

/* Collects keywords and values for PQconnectdbParams(). */
struct parameters {
    const char *keywords[16], *values[16];
    int count;
};

static void add_parameter(struct parameters *parameters, const char *keyword, const char *value)
{
    parameters->keywords[parameters->count] = keyword;
    parameters->values[parameters->count++] = value;
}

/* What the connection string or the environment says about a keyword, or NULL. */
static const char *given(const PQconninfoOption *options, const char *keyword)
{
    for (; options && options->keyword; options++) {
        if (strcmp(options->keyword, keyword) != 0)
            continue;
        if (options->val)
            return options->val;
        return options->envvar ? getenv(options->envvar) : NULL;
    }
    return NULL;
}

static void add_default(struct parameters *parameters, const PQconninfoOption *options, const char *keyword,
                        const char *value)
{
    if (!given(options, keyword))
        add_parameter(parameters, keyword, value);
}

/* A dead link is noticed in about three seconds, unless the connection string says otherwise. */
static void connect_now(struct eg_attempt *attempt)
{
    struct parameters parameters = {.count = 0};
    PQconninfoOption *options = PQconninfoParse(attempt->conninfo, NULL);
    const char *host = given(options, "host"), *hostaddr = given(options, "hostaddr");
    if (attempt->conninfo[0])
        add_parameter(&parameters, "dbname", attempt->conninfo);
    add_default(&parameters, options, "keepalives_idle", "2");
    add_default(&parameters, options, "keepalives_interval", "1");
    add_default(&parameters, options, "keepalives_count", "2");
    add_default(&parameters, options, "tcp_user_timeout", "3000");
    add_default(&parameters, options, "connect_timeout", attempt->connect_timeout);
    add_default(&parameters, options, "application_name", attempt->application_name);
    if ((host && strchr(host, ',')) || (hostaddr && strchr(hostaddr, ',')))
        add_default(&parameters, options, "target_session_attrs", "primary");
    add_parameter(&parameters, "client_encoding", "UTF8");
    add_parameter(&parameters, NULL, NULL);
    atomic_store(&attempt->conn, PQconnectdbParams(parameters.keywords, parameters.values, 1));
    PQconninfoFree(options);
}

static void *run_attempt(void *context)
{
    struct eg_attempt *attempt = context;
    static const uint64_t one = 1;
    if (!atomic_load(&attempt->abandoned))
        connect_now(attempt);
    if (write(attempt->done_fd, &one, sizeof(one)) < 0)
        eg_log(EG_LOG_ERROR, "a connection cannot be handed over", EG_LOG_STR("error", strerror(errno)));
    attempt_unref(attempt);
    return NULL;
}

static struct eg_attempt *attempt_new(const char *conninfo, const char *application_name, uint32_t connect_timeout_ms)
{
    struct eg_attempt *attempt = calloc(1, sizeof(*attempt));
    char seconds[16];
    if (!attempt)
        return NULL;
    snprintf(seconds, sizeof(seconds), "%" PRIu32, (connect_timeout_ms + 999) / 1000);
    atomic_init(&attempt->references, 1);
    attempt->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    attempt->conninfo = strdup(conninfo);
    attempt->application_name = strdup(application_name);
    attempt->connect_timeout = strdup(seconds);
    if (attempt->done_fd >= 0 && attempt->conninfo && attempt->application_name && attempt->connect_timeout)
        return attempt;
    attempt_unref(attempt);
    return NULL;
}

static bool start_thread(struct eg_attempt *attempt)
{
    pthread_t thread;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return false;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
    atomic_fetch_add(&attempt->references, 1);
    bool started = eg_quiet_thread_start(&thread, &attributes, run_attempt, attempt) == 0;
    if (!started)
        atomic_fetch_sub(&attempt->references, 1);
    pthread_attr_destroy(&attributes);
    return started;
}

struct eg_attempt *eg_attempt_start(const char *conninfo, const char *application_name, uint32_t connect_timeout_ms)
{
    struct eg_attempt *attempt = attempt_new(conninfo, application_name, connect_timeout_ms);
    if (attempt && !start_thread(attempt)) {
        attempt_unref(attempt);
        attempt = NULL;
    }
    return attempt;
}

int eg_attempt_fd(const struct eg_attempt *attempt)
{
    return attempt->done_fd;
}

struct pg_conn *eg_attempt_take(struct eg_attempt *attempt)
{
    return atomic_exchange(&attempt->conn, NULL);
}

void eg_attempt_drop(struct eg_attempt *attempt)
{
    atomic_store(&attempt->abandoned, true);
    attempt_unref(attempt);
}

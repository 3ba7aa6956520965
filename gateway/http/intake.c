/*
 * Client connections from accept to close.
 *
 * Deadlines: a client waits for the rest of a head, for the rest of a body, for a next request, or for nothing. Clients
 * with the same kind of deadline stand in one list in the order in which they fall due, so one timer serves all. A
 * client of TLS is admitted when its handshake is over, for which it has as long as for its first head.
 */
#include "eventgate/intake.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "eventgate/address_counts.h"
#include "eventgate/backoff.h"
#include "eventgate/client_calls.h"
#include "eventgate/handshake.h"
#include "eventgate/intake_internal.h"
#include "eventgate/libc_calls.h"
#include "eventgate/log.h"
#include "eventgate/tls.h"

#define DISCARDS_MAX 16

/* --- deadlines -----------------------------------------------------------------------------------------------------
 */

static uint32_t timeout_ms(const struct eg_intake *intake, enum eg_client_wait wait)
{
    switch (wait) {
    case EG_CLIENT_WAITS_IDLE:
        return intake->settings->idle_timeout_ms;
    case EG_CLIENT_WAITS_HEAD:
        return intake->settings->header_timeout_ms;
    default:
        return intake->settings->body_timeout_ms;
    }
}

static void arm(struct eg_intake *intake)
{
    uint64_t due_ms = UINT64_MAX;
    for (int i = 0; i < WAIT_KINDS; i++) {
        const struct eg_client *first = TAILQ_FIRST(&intake->waiting[i]);
        if (first && first->due_ms < due_ms)
            due_ms = first->due_ms;
    }
    if (due_ms == UINT64_MAX || (intake->timer.heap_index != 0 && intake->timer.due_ms <= due_ms))
        return; /* an early firing finds nothing due and arms again */
    if (eg_timer_set(intake->loop, &intake->timer, due_ms) != 0)
        eg_log(EG_LOG_WARN, "no memory for the deadline timer");
}

static void wait_for(struct eg_client *client, enum eg_client_wait wait)
{
    struct eg_intake *intake = client->intake;
    if (client->wait == wait)
        return;
    if (client->wait != EG_CLIENT_WAITS_NOT)
        TAILQ_REMOVE(&intake->waiting[client->wait], client, wait_entry);
    client->wait = wait;
    if (wait == EG_CLIENT_WAITS_NOT)
        return;
    client->due_ms = eg_loop_now_ms(intake->loop) + timeout_ms(intake, wait);
    TAILQ_INSERT_TAIL(&intake->waiting[wait], client, wait_entry);
    arm(intake);
}

/* A request is being answered that has arrived whole. What may have come behind it isn't read on before it is done. */
static bool waits_for_us(const struct eg_client *client)
{
    return client->busy && client->head.requests >= client->begun;
}

void eg_intake_update_wait(struct eg_client *client)
{
    if (waits_for_us(client)) {
        wait_for(client, EG_CLIENT_WAITS_NOT);
        return;
    }
    switch (client->head.stage) {
    case EG_HEAD_READING:
        wait_for(client, EG_CLIENT_WAITS_HEAD);
        break;
    case EG_HEAD_BODY:
        wait_for(client, EG_CLIENT_WAITS_BODY);
        break;
    case EG_HEAD_IDLE:
        /* A new connection owes its first head from the start. */
        wait_for(client, client->head.requests == 0 ? EG_CLIENT_WAITS_HEAD : EG_CLIENT_WAITS_IDLE);
        break;
    case EG_HEAD_BAD:
        /* The deadline that runs goes on: the client has to go away by then. */
        if (client->wait == EG_CLIENT_WAITS_NOT)
            wait_for(client, EG_CLIENT_WAITS_HEAD);
        break;
    }
}

/* --- refusing ------------------------------------------------------------------------------------------------------
 */

void eg_intake_count_refusal(struct eg_metrics *metrics, unsigned status)
{
    eg_metrics_add(metrics, status >= 500 ? EG_METRIC_REQUESTS_5XX : EG_METRIC_REQUESTS_4XX, 1);
}

void eg_intake_write_refusal(struct eg_wire *wire, enum eg_problem problem, const char *detail)
{
    struct eg_buffer response = EG_BUFFER_INIT;
    char id[17];
    uint64_t random;
    eg_random_bytes(&random, sizeof(random));
    snprintf(id, sizeof(id), "%016" PRIx64, random);
    eg_log(EG_LOG_DEBUG, "request refused unread", EG_LOG_STR("request", id),
           EG_LOG_INT("status", eg_problem_status(problem)), EG_LOG_STR("detail", detail));
    eg_problem_add_response(&response, problem, detail, id);
    const struct iovec part = {response.data, response.length};
    ssize_t sent = response.failed ? -ENOMEM : eg_wire_send(wire, &part, 1);
    if (sent < 0)
        eg_log(EG_LOG_DEBUG, "refusal not written", EG_LOG_STR("error", strerror((int)-sent)));
    eg_buffer_done(&response);
    eg_wire_end(wire);
    shutdown(wire->fd, SHUT_WR);
}

static void refuse(struct eg_client *client, enum eg_problem problem, const char *detail)
{
    struct eg_metrics *metrics = client->intake->metrics;
    if (client->answered)
        return;
    client->answered = true;
    if (problem == EG_PROBLEM_HEADER_TOO_LARGE || problem == EG_PROBLEM_URI_TOO_LONG)
        eg_metrics_add(metrics, EG_METRIC_LIMIT_HEADER, 1);
    if (problem == EG_PROBLEM_TOO_LARGE)
        eg_metrics_add(metrics, EG_METRIC_LIMIT_BODY, 1);
    eg_intake_count_refusal(metrics, eg_problem_status(problem));
    eg_intake_write_refusal(&client->wire, problem, detail);
}

static void deadline_passed(struct eg_client *client)
{
    struct eg_intake *intake = client->intake;
    enum eg_client_wait wait = client->wait;
    wait_for(client, EG_CLIENT_WAITS_NOT);
    if (wait == EG_CLIENT_WAITS_HEAD && client->head.stage == EG_HEAD_READING) {
        eg_metrics_add(intake->metrics, EG_METRIC_LIMIT_HEADER_TIME, 1);
        refuse(client, EG_PROBLEM_TIMEOUT, "The head of the request did not arrive in time (header_timeout).");
    } else if (wait == EG_CLIENT_WAITS_HEAD) {
        eg_metrics_add(intake->metrics, EG_METRIC_LIMIT_HEADER_TIME, 1);
    } else if (wait == EG_CLIENT_WAITS_BODY) {
        eg_metrics_add(intake->metrics, EG_METRIC_LIMIT_BODY_TIME, 1);
        refuse(client, EG_PROBLEM_TIMEOUT, "The body of the request did not arrive in time (body_timeout).");
    }
    eg_wire_end(&client->wire);
    shutdown(client->wire.fd, SHUT_RDWR); /* libmicrohttpd, or the handshake, sees the end, and closes */
}

static void deadlines_due(struct eg_timer *timer)
{
    struct eg_intake *intake = EG_CONTAINER_OF(timer, struct eg_intake, timer);
    uint64_t now_ms = eg_loop_now_ms(intake->loop);
    struct eg_client *client;
    for (int i = 0; i < WAIT_KINDS; i++)
        while ((client = TAILQ_FIRST(&intake->waiting[i])) && client->due_ms <= now_ms)
            deadline_passed(client);
    arm(intake);
}

/* --- reading -------------------------------------------------------------------------------------------------------
 */

/* Closing a socket with unread bytes would reset the connection, and the client might never see the answer. */
static void discard(int fd)
{
    char scrap[4096];
    for (int i = 0; i < DISCARDS_MAX; i++)
        if (eg_libc_recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT) <= 0)
            return;
}

/* What is bad has been held back, and nothing more may come to wake libmicrohttpd up for its refusal: the end of the
 * stream does. Not before the good requests are answered: a client that waits would seem to have hung up. */
static void wake_for_refusal(struct eg_client *client)
{
    if (client->head.stage == EG_HEAD_BAD && client->head.requests + client->busy <= client->begun)
        shutdown(client->wire.fd, SHUT_RD);
}

static bool owes_more(const struct eg_client *client)
{
    return client->head.stage == EG_HEAD_READING || client->head.stage == EG_HEAD_BODY;
}

ssize_t eg_client_read(struct eg_client *client, char *buffer, size_t length)
{
    const struct eg_settings *settings = client->intake->settings;
    const struct eg_head_limits limits = {settings->max_header_bytes, settings->max_body_bytes};
    while (client->head.stage != EG_HEAD_BAD) {
        size_t passed;
        ssize_t got = eg_wire_receive(&client->wire, buffer, length);
        if (got <= 0)
            return got;
        eg_head_check(&client->head, &limits, buffer, (size_t)got, buffer, &passed);
        eg_intake_update_wait(client);
        if (passed > 0) {
            /* When the end came with the last bytes, epoll has told libmicrohttpd once of both. */
            if ((size_t)got < length && owes_more(client) && eg_wire_has_ended(&client->wire))
                shutdown(client->wire.fd, SHUT_RD);
            wake_for_refusal(client);
            return (ssize_t)passed;
        }
    }
    /* Every answer before it is out: libmicrohttpd reads on only then. */
    refuse(client, client->head.problem, client->head.detail);
    discard(client->wire.fd);
    return 0;
}

/* --- clients -------------------------------------------------------------------------------------------------------
 */

static void speak_no_more(struct eg_client *client)
{
    if (client->speaks)
        eg_intake_counts_remove_request(client->intake->counts, &client->speaks_for);
    client->speaks = false;
}

int eg_client_speak_for(struct eg_client *client, const union eg_address *address)
{
    const struct eg_intake *intake = client->intake;
    speak_no_more(client);
    int error = eg_intake_counts_add_request(intake->counts, address, intake->settings->max_connections_per_address);
    if (error == -EDQUOT)
        eg_metrics_add(intake->metrics, EG_METRIC_LIMIT_ADDRESS, 1);
    if (error)
        return error;
    client->speaks = true;
    client->speaks_for = *address;
    return 0;
}

void eg_client_free(struct eg_client *client)
{
    if (!client)
        return;
    struct eg_intake *intake = client->intake;
    wait_for(client, EG_CLIENT_WAITS_NOT);
    LIST_REMOVE(client, entry);
    speak_no_more(client);
    eg_intake_counts_remove(intake->counts, &client->address);
    eg_metrics_add(intake->metrics, EG_METRIC_CONNECTIONS, -1);
    eg_wire_done(&client->wire);
    free(client);
}

void eg_client_closed(struct eg_client *client)
{
    eg_client_enter(client->wire.fd, NULL);
    eg_wire_end(&client->wire);
    eg_client_free(client);
}

struct eg_wire eg_client_take(struct eg_client *client, int fd)
{
    eg_client_enter(client->wire.fd, NULL);
    wait_for(client, EG_CLIENT_WAITS_NOT);
    struct eg_wire wire = client->wire;
    eg_wire_use(&wire, fd);
    client->wire = (struct eg_wire){.fd = fd};
    client->taken = true;
    return wire;
}

/* Does it wait for a next request? Or, where new clients are no longer accepted, for any whole head? The first one of a
 * new client may be on its way; when the drain has gone on for a while all of them have had time for it. */
static bool waits_for_head(const struct eg_client *client)
{
    if (client->taken || waits_for_us(client))
        return false;
    if (LIST_EMPTY(&client->intake->sockets))
        return client->head.stage == EG_HEAD_IDLE || client->head.stage == EG_HEAD_READING;
    return client->head.stage == EG_HEAD_IDLE && client->head.requests > 0;
}

/* A request has been answered: is there no next one to be expected? */
static bool is_over(const struct eg_client *client)
{
    if (client->intake->draining)
        return waits_for_head(client);
    return client->head.stage == EG_HEAD_IDLE && eg_wire_has_ended(&client->wire);
}

void eg_client_busy(struct eg_client *client, bool busy)
{
    client->busy = busy;
    client->begun += busy;
    if (!busy)
        speak_no_more(client);
    if (!busy && is_over(client))
        shutdown(client->wire.fd, SHUT_RD);
    eg_intake_update_wait(client);
    wake_for_refusal(client);
}

void eg_client_address(const struct eg_client *client, char ret_text[INET6_ADDRSTRLEN])
{
    eg_address_text(&client->address, ret_text);
}

void eg_intake_drain(struct eg_intake *intake)
{
    struct eg_client *client;
    intake->draining = true;
    LIST_FOREACH (client, &intake->clients, entry)
        if (waits_for_head(client))
            shutdown(client->wire.fd, SHUT_RD); /* libmicrohttpd, or the handshake, sees the end, and closes */
}

bool eg_intake_has_clients(const struct eg_intake *intake)
{
    return !LIST_EMPTY(&intake->clients);
}

void eg_intake_turn(struct eg_intake *intake)
{
    intake->handshakes = 0;
    intake->turned_us = eg_loop_now_us(intake->loop);
}

void eg_intake_use_tls(struct eg_intake *intake, struct eg_tls *tls)
{
    eg_tls_unref(intake->tls);
    intake->tls = tls;
}

/* --- making and freeing --------------------------------------------------------------------------------------------
 */

struct eg_intake *eg_intake_new(struct eg_loop *loop, const struct eg_settings *settings,
                                struct eg_intake_counts *counts, struct eg_metrics *metrics,
                                struct eg_intake_hooks hooks)
{
    struct eg_intake *intake = calloc(1, sizeof(*intake));
    if (!intake)
        return NULL;
    intake->loop = loop;
    intake->settings = settings;
    intake->counts = counts;
    intake->metrics = metrics;
    intake->hooks = hooks;
    intake->timer.fire = deadlines_due;
    intake->rest.fire = eg_intake_rest_is_over;
    intake->look.fire = eg_intake_look;
    intake->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    LIST_INIT(&intake->sockets);
    LIST_INIT(&intake->clients);
    for (int i = 0; i < WAIT_KINDS; i++)
        TAILQ_INIT(&intake->waiting[i]);
    return intake;
}

void eg_intake_free(struct eg_intake *intake)
{
    struct eg_client *client, *next;
    if (!intake)
        return;
    eg_intake_stop(intake);
    for (client = LIST_FIRST(&intake->clients); client; client = next) {
        next = LIST_NEXT(client, entry);
        if (client->handshake)
            eg_handshake_end(client->handshake, -ECANCELED);
    }
    eg_tls_unref(intake->tls);
    eg_timer_cancel(intake->loop, &intake->timer);
    eg_timer_cancel(intake->loop, &intake->rest);
    if (intake->reserve_fd >= 0)
        close(intake->reserve_fd);
    free(intake);
}

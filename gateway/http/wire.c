/*
 * Plain wires, and those of TLS.
 *
 * GnuTLS never sees a full socket: what it pushes is always taken, and the part that the socket doesn't take is held
 * here. So what gnutls_record_send() says is taken, is taken, whatever size of records the client has asked for, and
 * no call has to be repeated. Bounded: nothing is sent while anything is held, so that it is one record, and the few
 * bytes that the session says by itself when it reads.
 */
#include "eventgate/wire.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/buffer.h"
#include "eventgate/libc_calls.h"
#include "eventgate/loop.h"
#include "eventgate/tls.h"

#define RECORD_BYTES 16384u
/* The flight of a handshake, with a long chain; or a record with what is said beside it. */
#define HELD_BYTES_MAX (128u << 10)

struct eg_wire_tls {
    gnutls_session_t session;
    struct eg_tls *credentials;                          /* of a server */
    gnutls_certificate_credentials_t client_credentials; /* of a client */
    int fd;
    size_t record_bytes;   /* as much as a record takes */
    bool is_open;          /* the handshake is over */
    bool ended;            /* the session has, or the socket */
    bool is_dry;           /* the socket has had nothing when it was last read */
    size_t owed;           /* of what was offered last: taken, but not said so yet */
    struct eg_buffer held; /* encrypted; `held_sent` of it is out */
    size_t held_sent;
};

static bool is_full(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR || error == ENOBUFS;
}

/* --- below GnuTLS ------------------------------------------------------------------------------------------------ */

/* The end of the socket is kept from GnuTLS, which would let nothing be sent any more when there was no close_notify
 * before it: an answer may still be wanted. */
static ssize_t pull(gnutls_transport_ptr_t pointer, void *data, size_t length)
{
    struct eg_wire_tls *tls = pointer;
    ssize_t got = eg_libc_recv(tls->fd, data, length, MSG_DONTWAIT);
    tls->is_dry = got <= 0;
    if (got != 0)
        return got;
    tls->ended = true;
    errno = EAGAIN;
    return -1;
}

static int pull_timeout(gnutls_transport_ptr_t pointer, unsigned timeout_ms)
{
    struct eg_wire_tls *tls = pointer;
    struct pollfd ready = {.fd = tls->fd, .events = POLLIN};
    (void)timeout_ms; /* nothing may wait here */
    return poll(&ready, 1, 0);
}

/* Holds all of `parts` but their first `skip` bytes. */
static bool hold(struct eg_wire_tls *tls, const struct iovec *parts, size_t count, size_t skip)
{
    for (size_t i = 0; i < count; i++) {
        size_t skipped = skip < parts[i].iov_len ? skip : parts[i].iov_len;
        skip -= skipped;
        eg_buffer_add(&tls->held, (char *)parts[i].iov_base + skipped, parts[i].iov_len - skipped);
    }
    errno = ENOMEM;
    return !tls->held.failed && tls->held.length <= HELD_BYTES_MAX;
}

static ssize_t push(gnutls_transport_ptr_t pointer, const giovec_t *parts, int count)
{
    struct eg_wire_tls *tls = pointer;
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
    size_t length = 0;
    for (int i = 0; i < count; i++)
        length += parts[i].iov_len;
    ssize_t sent = 0;
    if (tls->held.length == 0)
        sent = eg_libc_sendmsg(tls->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && !is_full(errno))
        return -1;
    if (sent < 0)
        sent = 0;
    if ((size_t)sent < length && !hold(tls, parts, (size_t)count, (size_t)sent))
        return -1;
    return (ssize_t)length;
}

static int flush_held(struct eg_wire_tls *tls)
{
    while (tls->held_sent < tls->held.length) {
        ssize_t sent = eg_libc_send(tls->fd, tls->held.data + tls->held_sent, tls->held.length - tls->held_sent,
                                    MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0)
            return is_full(errno) ? -EAGAIN : -errno;
        tls->held_sent += (size_t)sent;
    }
    eg_buffer_done(&tls->held);
    tls->held = EG_BUFFER_INIT;
    tls->held_sent = 0;
    return 0;
}

/* What an error of GnuTLS comes to. */
static int after_error(ssize_t result)
{
    if (result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED)
        return -EAGAIN;
    return result == GNUTLS_E_MEMORY_ERROR ? -ENOMEM : -ECONNRESET;
}

/* --- beginning and ending ---------------------------------------------------------------------------------------- */

static int begin(struct eg_wire *wire, unsigned flags)
{
    struct eg_wire_tls *tls = calloc(1, sizeof(*tls));
    if (!tls)
        return -ENOMEM;
    if (gnutls_init(&tls->session, flags | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) != GNUTLS_E_SUCCESS) {
        free(tls);
        return -ENOMEM;
    }
    tls->fd = wire->fd;
    tls->record_bytes = RECORD_BYTES;
    gnutls_transport_set_ptr(tls->session, tls);
    gnutls_transport_set_pull_function(tls->session, pull);
    gnutls_transport_set_pull_timeout_function(tls->session, pull_timeout);
    gnutls_transport_set_vec_push_function(tls->session, push);
    gnutls_handshake_set_timeout(tls->session, GNUTLS_INDEFINITE_TIMEOUT); /* the deadline is its owner's */
    wire->tls = tls;
    return 0;
}

int eg_wire_begin_tls(struct eg_wire *wire, struct eg_tls *tls)
{
    int error = begin(wire, GNUTLS_SERVER);
    if (error)
        return error;
    if (eg_tls_apply(tls, wire->tls->session) != GNUTLS_E_SUCCESS) {
        eg_wire_done(wire);
        return -ENOMEM;
    }
    wire->tls->credentials = eg_tls_ref(tls);
    return 0;
}

int eg_wire_begin_tls_client(struct eg_wire *wire)
{
    int error = begin(wire, GNUTLS_CLIENT);
    if (error)
        return error;
    struct eg_wire_tls *tls = wire->tls;
    if (gnutls_certificate_allocate_credentials(&tls->client_credentials) == GNUTLS_E_SUCCESS &&
        gnutls_credentials_set(tls->session, GNUTLS_CRD_CERTIFICATE, tls->client_credentials) == GNUTLS_E_SUCCESS &&
        gnutls_set_default_priority(tls->session) == GNUTLS_E_SUCCESS)
        return 0;
    eg_wire_done(wire);
    return -ENOMEM;
}

/* GnuTLS 3.7 forgets, when it sends, what a client has asked for by max_fragment_length (RFC 6066). */
static void obey_limit(struct eg_wire_tls *tls)
{
    size_t most = gnutls_record_get_max_size(tls->session);
    if (most > 0 && most < tls->record_bytes)
        tls->record_bytes = most;
}

int eg_wire_handshake(struct eg_wire *wire, uint32_t *ret_events, const char **ret_problem)
{
    struct eg_wire_tls *tls = wire->tls;
    int error = flush_held(tls);
    int result = GNUTLS_E_AGAIN;
    if (error == 0 && !eg_tls_has_memory())
        error = -ENOMEM;
    /* Its last words may still be on their way when it is over for GnuTLS: then eg_wire_flush() goes on with them. */
    if (error == 0)
        do
            result = gnutls_handshake(tls->session);
        while (result == GNUTLS_E_INTERRUPTED || result == GNUTLS_E_WARNING_ALERT_RECEIVED);
    if (result == GNUTLS_E_SUCCESS) {
        obey_limit(tls);
        tls->is_open = true;
        return 0;
    }
    *ret_events = tls->held.length > 0 ? EPOLLOUT : EPOLLIN;
    if (result == GNUTLS_E_AGAIN && tls->ended)
        error = -ECONNRESET;
    if (result == GNUTLS_E_AGAIN && (error == 0 || error == -EAGAIN))
        return -EAGAIN;
    if (ret_problem)
        *ret_problem = error == -ENOMEM ? "out of memory" : error ? "the connection was lost" : gnutls_strerror(result);
    if (!error)
        gnutls_alert_send_appropriate(tls->session, result);
    return error ? error : after_error(result);
}

void eg_wire_use(struct eg_wire *wire, int fd)
{
    wire->fd = fd;
    if (wire->tls)
        wire->tls->fd = fd;
}

void eg_wire_end(struct eg_wire *wire)
{
    struct eg_wire_tls *tls = wire->tls;
    if (!tls || !tls->is_open || tls->held.length > 0) /* not in the middle of a record */
        return;
    gnutls_bye(tls->session, GNUTLS_SHUT_WR);
    tls->is_open = false;
}

void eg_wire_done(struct eg_wire *wire)
{
    struct eg_wire_tls *tls = wire->tls;
    wire->tls = NULL;
    if (!tls)
        return;
    gnutls_deinit(tls->session);
    if (tls->client_credentials)
        gnutls_certificate_free_credentials(tls->client_credentials);
    eg_tls_unref(tls->credentials);
    eg_buffer_done(&tls->held);
    free(tls);
}

/* --- receiving --------------------------------------------------------------------------------------------------- */

ssize_t eg_wire_receive(struct eg_wire *wire, void *buffer, size_t length)
{
    size_t filled = 0;
    if (!wire->tls) {
        ssize_t got = eg_libc_recv(wire->fd, buffer, length, MSG_DONTWAIT);
        return got < 0 ? -errno : got;
    }
    while (filled < length) {
        wire->tls->is_dry = false;
        ssize_t got = gnutls_record_recv(wire->tls->session, (char *)buffer + filled, length - filled);
        if (got > 0) {
            filled += (size_t)got;
            continue;
        }
        if (got == GNUTLS_E_WARNING_ALERT_RECEIVED || got == GNUTLS_E_INTERRUPTED)
            continue;
        if (got == GNUTLS_E_AGAIN && !wire->tls->is_dry)
            continue; /* after a message of the session's own, a ticket or a new key */
        wire->tls->ended |= got == 0;
        if (filled > 0)
            break; /* what it was, the next call says again */
        return got == 0 || (got == GNUTLS_E_AGAIN && wire->tls->ended) ? 0 : after_error(got);
    }
    return (ssize_t)filled;
}

bool eg_wire_has_ended(const struct eg_wire *wire)
{
    char byte;
    if (wire->tls && (wire->tls->ended || gnutls_record_check_pending(wire->tls->session) > 0))
        return gnutls_record_check_pending(wire->tls->session) == 0;
    return eg_libc_recv(wire->fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* --- sending ----------------------------------------------------------------------------------------------------- */

/* A place in a list of parts. */
struct place {
    const struct iovec *parts;
    size_t count;
    size_t offset; /* in the first part */
};

static void move_on(struct place *place, size_t bytes)
{
    while (place->count > 0 && bytes >= place->parts->iov_len - place->offset) {
        bytes -= place->parts->iov_len - place->offset;
        place->parts++;
        place->count--;
        place->offset = 0;
    }
    place->offset += bytes;
}

/* The bytes of the next record: where they stand, or, of several parts, gathered in `scratch`. */
static struct eg_bytes next_record(struct place place, size_t most, char *scratch)
{
    size_t length = place.parts->iov_len - place.offset;
    if (length >= most || place.count == 1)
        return (struct eg_bytes){(char *)place.parts->iov_base + place.offset, length < most ? length : most};
    size_t filled = 0;
    while (filled < most && place.count > 0) {
        length = place.parts->iov_len - place.offset;
        if (length > most - filled)
            length = most - filled;
        memcpy(scratch + filled, (char *)place.parts->iov_base + place.offset, length);
        filled += length;
        move_on(&place, length);
    }
    return (struct eg_bytes){scratch, filled};
}

static ssize_t send_records(struct eg_wire_tls *tls, const struct iovec *parts, size_t count)
{
    static _Thread_local char scratch[RECORD_BYTES];
    struct place place = {parts, count, 0};
    size_t taken = 0;
    int error = flush_held(tls);
    move_on(&place, 0);
    while (!error && place.count > 0) {
        struct eg_bytes record = next_record(place, tls->record_bytes, scratch);
        ssize_t sent = gnutls_record_send(tls->session, record.data, record.length);
        if (sent < 0) {
            error = after_error(sent);
            break;
        }
        if ((size_t)sent < record.length && sent > 0)
            tls->record_bytes = (size_t)sent; /* the client has asked for smaller ones */
        taken += (size_t)sent;
        move_on(&place, (size_t)sent);
        if (tls->held.length > 0)
            break;
    }
    return taken > 0 || !error ? (ssize_t)taken : error;
}

ssize_t eg_wire_send(struct eg_wire *wire, const struct iovec *parts, size_t count)
{
    ssize_t sent;
    if (wire->tls)
        return send_records(wire->tls, parts, count);
    if (count == 1) {
        sent = eg_libc_send(wire->fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
        struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = count};
        sent = eg_libc_sendmsg(wire->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    return sent < 0 ? -errno : sent;
}

ssize_t eg_wire_offer(struct eg_wire *wire, const struct iovec *parts, size_t count)
{
    struct eg_wire_tls *tls = wire->tls;
    int error = flush_held(tls);
    if (error)
        return error;
    if (tls->owed == 0) {
        ssize_t sent = send_records(tls, parts, count);
        if (sent <= 0)
            return sent;
        tls->owed = (size_t)sent;
        if (tls->held.length > 0)
            return -EAGAIN;
    }
    size_t owed = tls->owed;
    tls->owed = 0;
    return (ssize_t)owed;
}

bool eg_wire_tls_holds(const struct eg_wire_tls *tls)
{
    return tls->held.length > 0;
}

int eg_wire_flush(struct eg_wire *wire)
{
    return wire->tls ? flush_held(wire->tls) : 0;
}

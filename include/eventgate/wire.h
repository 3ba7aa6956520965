/*
 * What bytes of a client come from and go to: a socket, or a TLS session (GnuTLS) on it.
 *
 * The socket is non-blocking. A plain wire is nothing but its descriptor, and reading and writing it the system calls.
 * Over TLS, what is written goes out in records, and a record that has been begun must be finished: what of one the
 * socket doesn't take stays here, encrypted (at most one, of 16 KiB, and what the session says of its own). Until that
 * is out, the wire takes nothing more; eg_wire_flush() goes on with it when the socket has room.
 *
 * TLS stands beneath libmicrohttpd: that reads and writes by recv(), send() and sendmsg(), which the program defines
 * (client_calls.h), and they use the wire. Its own TLS is not used: with epoll, 0.9.75 spins while a handshake waits
 * for the client, a stream could not be taken from it, and with MHD_USE_TURBO it never says close_notify.
 *
 * Everything here is for the worker's own thread.
 */
#ifndef EG_WIRE_H
#define EG_WIRE_H

#include <stdbool.h>
#include <sys/uio.h>

#include "eventgate/common.h"

struct eg_tls;
struct eg_wire_tls;

struct eg_wire {
    int fd;
    struct eg_wire_tls *tls; /* NULL: plain */
};

/* Makes it a wire of TLS, the server's side, with what `tls` holds, of which a reference is kept. 0 or a negative
 * errno. Nothing can be sent or received before the handshake. */
int eg_wire_begin_tls(struct eg_wire *wire, struct eg_tls *tls) EG_MUST_CHECK;

/* The same for a client's side that believes any certificate: for the program's check of itself. */
int eg_wire_begin_tls_client(struct eg_wire *wire) EG_MUST_CHECK;

/* Goes on with the handshake. 0: it is over; -EAGAIN: call it again when the socket is ready for `ret_events` (EPOLLIN,
 * EPOLLOUT); another negative errno: it has failed, and the client has been told why as far as that goes.
 * `ret_problem`: then a word for the log, static; may be NULL. */
int eg_wire_handshake(struct eg_wire *wire, uint32_t *ret_events, const char **ret_problem) EG_MUST_CHECK;

/* The wire goes on with another descriptor of the same socket. The old one is not closed. */
void eg_wire_use(struct eg_wire *wire, int fd);

/*
 * As recv(): bytes, 0 at the end, or a negative errno. Over TLS it fills the buffer as far as there is anything, so
 * that a buffer that isn't full means an empty socket; the end of the connection is an end with or without
 * close_notify. Whoever asks for a renegotiation is not understood: -ECONNRESET.
 */
ssize_t eg_wire_receive(struct eg_wire *wire, void *buffer, size_t length);

/* Has the other side ended, and has all that it sent been received? Over TLS, its session or its socket. */
bool eg_wire_has_ended(const struct eg_wire *wire);

/* As sendmsg(): how many bytes the wire has taken, or a negative errno (-EAGAIN: none). What it has taken must not be
 * sent again, but may need eg_wire_flush(). */
ssize_t eg_wire_send(struct eg_wire *wire, const struct iovec *parts, size_t count);

/* For libmicrohttpd, which knows of no flushing: what isn't all out is not taken yet, and the same bytes must be
 * offered again. Over TLS only. */
ssize_t eg_wire_offer(struct eg_wire *wire, const struct iovec *parts, size_t count);

/* Does the wire hold something that the socket hasn't taken? */
bool eg_wire_tls_holds(const struct eg_wire_tls *tls);
static inline bool eg_wire_holds(const struct eg_wire *wire)
{
    return wire->tls && eg_wire_tls_holds(wire->tls);
}

/* Sends what it holds. 0: it holds nothing any more; or a negative errno. */
int eg_wire_flush(struct eg_wire *wire) EG_MUST_CHECK;

/* Over TLS: says that nothing more will come (close_notify), as far as the socket takes it. */
void eg_wire_end(struct eg_wire *wire);

/* Lets go of the session: the wire is plain again. The descriptor stays open. */
void eg_wire_done(struct eg_wire *wire);

#endif

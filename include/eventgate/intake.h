/*
 * Client connections of one worker, from accept to close: limits, absolute deadlines for head and body, and the raw
 * check of every byte before libmicrohttpd sees it.
 *
 * The bytes are checked where they are read: libmicrohttpd reads a socket by recv(), which the program defines for the
 * whole of itself (client_calls.h): for a descriptor that is a client's, what arrives goes through eg_head_check()
 * first; for any other it is libc's recv(). There is no moment in which a byte could slip past, which peeking beside
 * libmicrohttpd would leave open. eg_server_self_check() proves at start that it is in force. TLS stands below that
 * (wire.h): libmicrohttpd reads and writes plain bytes, which recv(), send() and sendmsg() take from and give to the
 * client's session. A refused head is answered here (problem+json, close) once the answers before it are out, since
 * libmicrohttpd only reads on when it is done with them; it then sees the end of the stream.
 *
 * Everything here is for the worker's own thread, but for the count of an address, which all workers share.
 */
#ifndef EG_INTAKE_H
#define EG_INTAKE_H

#include <netinet/in.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "eventgate/address_counts.h"
#include "eventgate/config.h"
#include "eventgate/head.h"
#include "eventgate/listening.h"
#include "eventgate/loop.h"
#include "eventgate/metrics.h"
#include "eventgate/wire.h"

struct eg_handshake;
struct eg_intake;
struct eg_tls;

enum eg_client_wait { EG_CLIENT_WAITS_IDLE, EG_CLIENT_WAITS_HEAD, EG_CLIENT_WAITS_BODY, EG_CLIENT_WAITS_NOT };

/* One client connection. Owned by the intake; the fields are for reading only. */
struct eg_client {
    struct eg_intake *intake;
    struct eg_wire wire;            /* its descriptor is libmicrohttpd's, or that of the stream that took it */
    struct eg_handshake *handshake; /* not over yet; else NULL */
    union eg_address address;       /* IPv4 in IPv6 is shown as IPv4 */
    socklen_t address_length;
    struct eg_head head;
    bool admin; /* came in by an address for operators */
    bool taken;
    bool proxied;             /* it is a proxy that is trusted; as long as the connection is open */
    bool speaks;              /* it is counted for `speaks_for` */
    bool busy;                /* a request is being answered */
    uint32_t begun;           /* requests that have been, or are being answered */
    bool answered;            /* a refusal has been written */
    enum eg_client_wait wait; /* which deadline runs */
    uint64_t due_ms;
    TAILQ_ENTRY(eg_client) wait_entry;
    LIST_ENTRY(eg_client) entry;
    union eg_address speaks_for; /* with a proxy: the client of the request under way, or of the stream */
};

struct eg_intake_hooks {
    /* A new connection: the descriptor is handed over (libmicrohttpd). 0, or a negative errno: the intake closes it. */
    int (*admit)(void *context, struct eg_client *client);
    void *context;
};

/*
 * Watches the listening sockets in `loop` and accepts from them. `settings` is borrowed and read at each use (reload
 * changes it on this thread). Over max_connections (less none) or the address's limit: the connection is answered with
 * a short problem+json (503, 429; `Retry-After`) without reading, and closed (over TLS, just closed). A trusted proxy's
 * connections aren't limited by its address: the requests that come over them are (eg_client_speak_for()). Out of
 * descriptors: a reserve descriptor is used to accept, answer 503 and close, and when that fails, too, accepting rests
 * for a moment, so that the listening socket never spins.
 */
struct eg_intake *eg_intake_new(struct eg_loop *loop, const struct eg_settings *settings,
                                struct eg_intake_counts *counts, struct eg_metrics *metrics,
                                struct eg_intake_hooks hooks);
void eg_intake_free(struct eg_intake *intake);

/* What connections of TLS begin with from now on; the reference is taken over. Before the first listening socket of
 * TLS. */
void eg_intake_use_tls(struct eg_intake *intake, struct eg_tls *tls);

/* At the end of each turn of the loop: so many handshakes may go on in the next one. */
void eg_intake_turn(struct eg_intake *intake);

/* -EINVAL: a socket of TLS without anything to begin it with. */
int eg_intake_listen(struct eg_intake *intake, const struct eg_listening_socket *socket) EG_MUST_CHECK;
/* Stops accepting. What the kernel has queued stays there, for who else has the socket. */
void eg_intake_stop(struct eg_intake *intake);

/* Drain: closes connections that wait for a next request, and from now on each as soon as it does. Once it has stopped
 * accepting, those, too, that nothing or only a part of a head has come from: nothing of that has been answered. */
void eg_intake_drain(struct eg_intake *intake);
bool eg_intake_has_clients(const struct eg_intake *intake);

/* Receives what passes the check: bytes, 0 at the end or when what came was refused, or a negative errno. For
 * recv(). */
ssize_t eg_client_read(struct eg_client *client, char *buffer, size_t length);

/* libmicrohttpd is about to close its descriptor: forgets the client, unless it was taken. */
void eg_client_closed(struct eg_client *client);

/* The stream takes the connection over with a descriptor of its own: no more checks and deadlines; it still counts
 * against the limits until eg_client_free(). The wire is the stream's from then on: to be ended, closed, and let go
 * of. */
struct eg_wire eg_client_take(struct eg_client *client, int fd);
void eg_client_free(struct eg_client *client);

/* While a request is being answered (`busy`) no idle deadline runs, nor one for what has been pipelined behind it: that
 * one begins when its turn comes. Called by the server when a request line has been read and when its request ends. */
void eg_client_busy(struct eg_client *client, bool busy);

/*
 * The request under way is of this address: it counts as a connection of it until it ends, or its stream does. -EDQUOT:
 * the address has reached its limit; -ENOMEM.
 */
int eg_client_speak_for(struct eg_client *client, const union eg_address *address) EG_MUST_CHECK;

/* The address as text without port ("127.0.0.1", "::1"). */
void eg_client_address(const struct eg_client *client, char ret_text[INET6_ADDRSTRLEN]);

#endif

/*
 * The handshake of a TLS connection that has come in: until it is over, libmicrohttpd does not get to see the
 * connection. A signature costs a millisecond of processor time, so that of all clients who knock at once only so many
 * are answered in a turn of the loop: the streams get theirs in between. The deadline is its owner's, who ends a
 * handshake by shutting the socket down. The worker's thread.
 */
#ifndef EG_HANDSHAKE_H
#define EG_HANDSHAKE_H

#include "eventgate/loop.h"
#include "eventgate/wire.h"

/* How many go on in a turn. */
#define EG_HANDSHAKES_PER_TURN 8u

struct eg_handshake {
    struct eg_watch watch;
    struct eg_loop *loop;
    struct eg_wire *wire; /* borrowed */
    uint32_t events;      /* watched */
    unsigned *steps;      /* borrowed: counts those of this turn */
    void (*over)(struct eg_handshake *handshake, int error);
    void *context;
};

/*
 * Watches the wire, of TLS, until the handshake is over, or has failed: then calls `over`, once, in which the handshake
 * is still there and the wire no longer watched. `steps` is set back to 0 in each turn by its owner. 0 or a negative
 * errno, and then `over` is not called.
 */
int eg_handshake_begin(struct eg_loop *loop, struct eg_wire *wire, unsigned *steps,
                       void (*over)(struct eg_handshake *handshake, int error), void *context,
                       struct eg_handshake **ret_handshake) EG_MUST_CHECK;

/* Ends it with the error, and calls `over`. */
void eg_handshake_end(struct eg_handshake *handshake, int error);

#endif

/*
 * The bytes that only one stream gets: its first cursor, a gap, a heartbeat, its end, or the rest of a frame of its
 * own. A stream has at most one note at a time. The worker's thread.
 */
#ifndef EG_STREAM_NOTE_H
#define EG_STREAM_NOTE_H

#include <stdbool.h>

#include "eventgate/buffer.h"
#include "eventgate/wire.h"

/* Zero-initialise. */
struct eg_stream_note {
    struct eg_buffer bytes; /* framed; empty: no note */
    size_t sent;
    bool is_rest; /* of a frame whose beginning is out */
};

/* Makes `plain`, which is emptied, the note: as a chunk of HTTP/1.1 if it has to be, behind which the body ends if it
 * is the last one. False: out of memory. */
bool eg_stream_note_set(struct eg_stream_note *note, struct eg_buffer *plain, bool chunked, bool last);

/* Makes a copy of the rest of a frame the note. False: out of memory. */
bool eg_stream_note_set_rest(struct eg_stream_note *note, const char *rest, size_t length);

bool eg_stream_note_is_empty(const struct eg_stream_note *note);

/* Sends as much as the wire takes, and adds that to `bytes`. 0: all is out, and there is no note any
 * more; or a negative errno. */
int eg_stream_note_send(struct eg_stream_note *note, struct eg_wire *wire, size_t *bytes) EG_MUST_CHECK;

void eg_stream_note_done(struct eg_stream_note *note);

#endif

/*
 * Frames for one stream alone, with cursors that are only its own: while it reads the log, and until its cursor is that
 * of the journal's entries again. Built one after the other, sent together. A worker has one run, which is made anew
 * for each use. The worker's thread.
 */
#ifndef EG_OWN_RUN_H
#define EG_OWN_RUN_H

#include "eventgate/frame.h"
#include "eventgate/wire.h"

#define EG_OWN_RUN_FRAMES 512
#define EG_OWN_RUN_BYTES (1u << 16)

struct eg_own_run {
    struct eg_buffer bytes;
    struct eg_buffer plain; /* of the frame being made */
    size_t ends[EG_OWN_RUN_FRAMES];
    size_t count;
};

/* NULL: out of memory. */
struct eg_own_run *eg_own_run_new(void);
void eg_own_run_free(struct eg_own_run *run); /* takes NULL */

void eg_own_run_clear(struct eg_own_run *run);

/* Is there room for another frame? There always is for the first. */
bool eg_own_run_has_room(const struct eg_own_run *run);

/* Adds the event's frame in the format, with the cursor, in a chunk if need be. False: out of memory; the run must not
 * be sent. */
bool eg_own_run_add(struct eg_own_run *run, const struct eg_event *event, struct eg_format format, bool chunked,
                    const struct eg_cursor *cursor);

/* What of a run a wire has taken. */
struct eg_own_sent {
    size_t bytes;
    size_t frames; /* how many have begun to go out: what is left of the last one is `rest` */
    const char *rest;
    size_t rest_length;
};

/* Sends as much of it as the wire takes. 0 or a negative errno. */
int eg_own_run_send(const struct eg_own_run *run, struct eg_wire *wire, struct eg_own_sent *ret_sent) EG_MUST_CHECK;

#endif

/*
 * What streams of one worker send together: the frames that one of them needs next, collected from the journal and sent
 * with one call, and used again for the next stream that needs the same.
 *
 * A worker has one run, which is collected anew for each stream that the last one doesn't fit. It fits where the
 * channel, the format, the place and the journal's head are the same: an event or a break that is appended makes
 * another run, and trimming takes nothing at or behind the place of a stream that may still go on from there. For the
 * second stream the frames are joined into one piece, so that a stream costs a few compares and one send(), however
 * many events there are.
 *
 * The run refers to frames of events that the journal holds: send it before anything is appended or trimmed. It knows
 * nothing of who sends it. The worker's thread.
 */
#ifndef EG_STREAM_RUN_H
#define EG_STREAM_RUN_H

#include "eventgate/frame.h"
#include "eventgate/subscribers.h"
#include "eventgate/wire.h"

struct eg_stream_run;

/* What a stream needs next. All pointers are borrowed for the call. */
struct eg_stream_need {
    const struct eg_journal *journal;
    const struct eg_subscriber *subscriber; /* its channels, all of this journal; and its place, `next` */
    struct eg_format format;                /* SSE or NDJSON */
    bool chunked;                           /* with the chunk framing of HTTP/1.1 */
    size_t offset;                          /* bytes of the frame at `next` that are out already */
    struct eg_event *half;                  /* with offset > 0: that frame's event, which may have left the journal */
    bool only_half;                         /* with offset > 0: nothing after it */
};

/* What of a run a wire has taken. */
struct eg_stream_sent {
    size_t bytes;
    size_t frames;       /* how many are out to their end */
    uint64_t arrived_us; /* with frames > 0: when the first of their events arrived */
    uint64_t last;       /* with frames > 0: the place of the last of these */
    bool all;            /* so are all of the run */
    uint64_t half;       /* with half_bytes > 0: the place of the frame that isn't */
    size_t half_bytes;   /* of it, now; what was out before doesn't count */
};

/* NULL: out of memory. */
struct eg_stream_run *eg_stream_run_new(void);

/* Takes NULL. */
void eg_stream_run_free(struct eg_stream_run *run);

/*
 * Makes `run` what is needed, if it isn't already: what is left of the half-sent frame, then the whole frames up to a
 * break or the journal's head; or so many of them that there are 256, or 256 KiB reached. A half-sent frame stays alone
 * if the journal no longer holds its event. With offset 0, `next` must not lie before the journal's tail. Returns how
 * many frames there are (0: none, or a break comes first), or -ENOMEM, and then the run must not be sent.
 */
int eg_stream_run_collect(struct eg_stream_run *run, const struct eg_stream_need *need) EG_MUST_CHECK;

/* Where to look for what comes after the run: a place that holds a break or an event, or that has to be looked at; 0 if
 * there is nothing. */
uint64_t eg_stream_run_next(const struct eg_stream_run *run);

/* Sends as much of the run as the wire takes. 0 or a negative errno. */
int eg_stream_run_send(const struct eg_stream_run *run, struct eg_wire *wire,
                       struct eg_stream_sent *ret_sent) EG_MUST_CHECK;

#endif

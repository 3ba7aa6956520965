/*
 * What the files of the stream module share: stream.c (life, flushing, heartbeats), stream_words.c (what a stream says
 * of itself), stream_behind.c (reading the log), stream_count.c (metrics). For nobody else.
 */
#ifndef EG_STREAM_INTERNAL_H
#define EG_STREAM_INTERNAL_H

#include "eventgate/catchup.h"
#include "eventgate/request_log.h"
#include "eventgate/stream.h"
#include "eventgate/stream_note.h"

struct eg_stream {
    struct eg_subscriber subscriber;
    struct eg_watch watch;
    struct eg_worker_set *set;
    struct eg_hold hold;
    struct eg_client *client; /* counts against the limits */
    struct eg_format format;
    struct eg_wire wire;
    bool chunked;
    bool blocked; /* the socket is full: EPOLLOUT is watched */
    bool ending;
    bool end_noted;
    size_t offset;         /* bytes of the entry at subscriber.next that are out */
    struct eg_event *half; /* with offset > 0: a reference to that entry's event, which may leave the journal */
    uint64_t moved_ms;     /* when the socket last took something */
    uint64_t prompt_us;    /* what has arrived since then could be sent at once: its delay is ours, not the client's */
    struct eg_stream_note note;
    struct eg_catchup catchup;
    enum eg_gap_reason log_gap_reason;
    uint64_t log_gap;   /* 0: none; else a gap of the durable channels, up to this position, is to be told */
    bool asked_for_all; /* and its first gap isn't one */
    uint64_t told_place, told_position; /* of the last cursor that the client has been sent */
    uint64_t beat_ms;                   /* when its next heartbeat is due */
    struct eg_request_trace *request;   /* for the log; or NULL */
    struct eg_grants *grants;           /* a reference; NULL: everything is allowed */
    struct eg_timer expiry;             /* of its token, if that ever expires */
    TAILQ_ENTRY(eg_stream) entry;
};

/* What came of sending. FULL: the socket takes no more. FAILED: the stream is to be closed. */
enum eg_sent { EG_SENT_ALL, EG_SENT_FULL, EG_SENT_FAILED };

static inline struct eg_worker *eg_stream_worker(const struct eg_stream *stream)
{
    return stream->set->worker;
}

/* stream.c */

/* What a failed send() comes to. */
enum eg_sent eg_stream_after_error(int error);

/* stream_count.c */

/* Counts what the socket took. */
void eg_stream_count_sent(struct eg_stream *stream, size_t bytes, size_t frames);
/* Counts how long that took, from the arrival of the oldest of these events on. */
void eg_stream_count_time(struct eg_stream *stream, uint64_t arrived_us, size_t frames);

/* stream_words.c: each makes the stream's note; it must have none, and no half-sent frame. False: out of memory. */

/* What every stream opens with. */
bool eg_stream_say_beginning(struct eg_stream *stream, const struct eg_subscription *subscription);
/* The break that stands at subscriber.next, which it moves behind. */
bool eg_stream_say_break(struct eg_stream *stream);
/* The journal's tail has passed subscriber.next: goes on at the tail, with a gap if that leaves anything live out. */
bool eg_stream_say_passed_by(struct eg_stream *stream);
/* The log no longer has what comes next: goes on at stream.log_gap. */
bool eg_stream_say_log_gap(struct eg_stream *stream);
/* A heartbeat, or the cursor if it has moved. */
bool eg_stream_say_heartbeat(struct eg_stream *stream);
/* The end. */
bool eg_stream_say_end(struct eg_stream *stream);
/* Its client has been sent the cursor of what the subscriber has had. */
void eg_stream_now_told(struct eg_stream *stream);

/* stream_behind.c */

/* One round of a stream that is behind; sets `ret_done` when there is nothing more to send now. */
enum eg_sent eg_stream_send_behind(struct eg_stream *stream, bool *ret_done);
/* The journal's next entries, with cursors of the stream's own: live ones while it is behind, all of them until they
 * are steady. `ret_none`: there are none of that kind. */
enum eg_sent eg_stream_send_unsteady(struct eg_stream *stream, bool *ret_none);
/* Its catchup's `answered`. */
void eg_stream_page_arrived(struct eg_catchup *catchup, const struct eg_log_request *answer);

#endif

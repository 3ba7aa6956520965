/*
 * SSE and NDJSON streams on taken sockets: shared frames, many at a time, straight from the journal. The worker's
 * thread.
 *
 * A stream owns no queue. What it still lacks are the journal's entries from subscriber.next on; of the first of them
 * `offset` bytes may be out already. Bytes that are its own (first cursor, gap, heartbeat, end) stand in `note`, at
 * most one at a time, and go out before the next entry. When the socket is full the stream waits for EPOLLOUT, with
 * nothing copied. When the journal has moved past `next`, the half-sent frame, if there is one, is
 * completed, and a gap follows. A reader that takes nothing at all meanwhile is let go after two heartbeats.
 *
 * A stream whose place in the log the journal doesn't cover reads pages of the log, until it can join. It copies frames
 * of its own out of them, with its own cursors; when its socket is full it keeps the rest of one frame and lets the
 * page go.
 */
#ifndef EG_STREAM_H
#define EG_STREAM_H

#include "eventgate/subscribe.h"

/* "text/event-stream", "application/x-ndjson", or "application/json". */
const char *eg_transport_content_type(enum eg_transport transport);

/* Takes the subscription and its exchange: answers with the stream's head; the stream begins when it is out. */
void eg_stream_begin(struct eg_subscription *subscription);

/* Ends all streams of the worker with a jittered `retry:` (drain). Those whose socket is full end when it has room. */
void eg_streams_end(struct eg_worker *worker);
/* The same for those of one set, which is going. */
void eg_streams_end_set(struct eg_worker_set *set);
/* The same for those of the set that have a channel which isn't the set's any more, or no longer by its name. */
void eg_streams_end_moved(struct eg_worker_set *set);

/* Ends those of a set that have durable channels: they come back, with their cursors. */
void eg_streams_end_log(struct eg_worker_set *set);

/* Ends those whose token isn't good any more. */
void eg_streams_heed_tokens(struct eg_worker *worker);

/* Ends those of the set that the worker's policy, which is a new one, doesn't let read what they read. */
void eg_streams_heed_policy(struct eg_worker_set *set);

/* Closes all streams at once. */
void eg_streams_close(struct eg_worker *worker);

/* Arms the heartbeat timer for the stream that is due next. */
void eg_streams_arm_heartbeat(struct eg_worker *worker);

#endif

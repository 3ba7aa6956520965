/*
 * Reads the end of the log for a set: what is appended becomes events in the set's order, for every worker. Postgres
 * thread.
 *
 * One connection, which LISTENs to the wake-up that every appending commit sends, and reads. The wake-up is a hint: the
 * reader also looks by itself every second. In between it knows nothing; what it has read is all there was up to there.
 */
#ifndef EG_LOG_READER_H
#define EG_LOG_READER_H

#include "eventgate/config.h"
#include "eventgate/feed.h"
#include "eventgate/log_query.h"
#include "eventgate/loop.h"
#include "eventgate/metrics.h"
#include "eventgate/order.h"

struct eg_log_reader;

/* What the reader found when it attached to the log. */
struct eg_log_state {
    bool attached; /* once it was; the rest stays as it was last found */
    char mark[EG_LOG_MARK_SIZE];
    struct eg_log_jumps *jumps;
};

/* `attached` is called whenever the state has been found anew, or found to be so still after a doubt. `set` and `order`
 * (borrowed) outlive it. Starts connecting at once. NULL: out of memory. */
struct eg_log_reader *eg_log_reader_new(struct eg_loop *loop, const struct eg_config_set *set, uint32_t workers,
                                        struct eg_order *order, struct eg_metrics *metrics, struct eg_feed_sink sink,
                                        void (*attached)(void *context), void *context);
/* Other bounds: `set` (borrowed) is used from now on. */
void eg_log_reader_configure(struct eg_log_reader *reader, const struct eg_config_set *set);
void eg_log_reader_free(struct eg_log_reader *reader);

const struct eg_log_state *eg_log_reader_state(const struct eg_log_reader *reader);

/* Reads the log now, or as soon as it can: `worker` is told EG_FEED_LOOKED with the number once it has been read to its
 * end after this. */
void eg_log_reader_look(struct eg_log_reader *reader, uint32_t worker, uint64_t number);

/*
 * What this gateway appends itself needs no reading: rows whose positions are right behind what has been read are the
 * log's next ones, since nothing lies between. `own_begin`: an appending session begins, of the incarnation with that
 * mark; what its process notifies of is no news. `own_row`: the next row that it has committed, in order, in a
 * transaction that found the incarnation `mark`: should it have begun a new one, the position has jumped; false: it is
 * not known to be the next one, and has to be read. `own_end`: the rows of a transaction are over; `all`: each was
 * taken. `own_lost`: the session is gone, and may have committed what it never answered.
 */
void eg_log_reader_own_begin(struct eg_log_reader *reader, int session, const char *mark);
bool eg_log_reader_own_row(struct eg_log_reader *reader, const char *mark, const struct eg_log_row *row) EG_MUST_CHECK;
void eg_log_reader_own_end(struct eg_log_reader *reader, bool all);
void eg_log_reader_own_lost(struct eg_log_reader *reader);

/* Another connection has seen another incarnation of the log: read now, and see. Answered by `attached`. */
void eg_log_reader_doubt(struct eg_log_reader *reader);

#endif

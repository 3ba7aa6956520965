/*
 * What a set's connections are doing, for those who ask (admin endpoints, subscribe, publish). Written by the Postgres
 * thread, read by any thread; each function takes the lock for a copy.
 */
#ifndef EG_SET_STATUS_H
#define EG_SET_STATUS_H

#include <pthread.h>
#include <stdbool.h>

#include "eventgate/channel.h"
#include "eventgate/common.h"
#include "eventgate/config.h"
#include "eventgate/cursor.h"

struct eg_set_facts {
    bool listening;             /* the listener is LIVE: every wanted channel is LISTENed */
    bool publishing;            /* the publisher's connection is up */
    const char *listener_state; /* static name of the state, as in the log */
    const char *publisher_state;
    struct eg_epoch epoch;
    uint64_t head;            /* last place given out */
    uint64_t reconnects;      /* LISTEN sessions after the first */
    uint64_t sessions;        /* all of them */
    bool reading;             /* the log has been attached to, and its reader's connection is up */
    bool appending;           /* the appender's connection is up */
    const char *reader_state; /* static names; "" in a set without durable channels */
    const char *appender_state;
    char tag[EG_CURSOR_TAG_MAX + 1]; /* of the log; "" before it was attached to for the first time */
    uint64_t position;               /* up to which the log has been read */
    double queue_usage;              /* pg_notification_queue_usage(), 0 to 1; -1 unknown */
    char problem[256];               /* why it isn't listening, a sentence; "" when it is */
    char log_problem[256];           /* why the log can't be read or appended to, a sentence; "" when it can */
};

struct eg_set_status {
    pthread_mutex_t lock;
    struct eg_set_facts facts; /* guarded by lock */
    struct eg_channel_table *channels;
};

int eg_set_status_init(struct eg_set_status *status) EG_MUST_CHECK;
void eg_set_status_done(struct eg_set_status *status);

/* A copy of the facts. Any thread. */
struct eg_set_facts eg_set_status_read(struct eg_set_status *status);

/* Does it listen and can it publish, if it has live channels, and does it read its log and can append, if it has
 * durable ones? */
bool eg_set_facts_ready(const struct eg_set_facts *facts, const struct eg_config_set *set);

/* Adds to `text`, in words, whether all sets of `config` are ready, and what the first that isn't lacks; `statuses` in
 * the same order. Any thread. */
void eg_set_status_describe(struct eg_set_status *statuses, const struct eg_config *config, struct eg_buffer *text);

/* Epoch and head alone, of one moment: places are stored here *before* they go into any feed. Any thread. */
void eg_set_status_head(struct eg_set_status *status, struct eg_epoch *ret_epoch, uint64_t *ret_head);
void eg_set_status_set_head(struct eg_set_status *status, const struct eg_epoch *epoch, uint64_t head);

/* The Postgres thread's writes. State names are static; `problem` NULL: none. */
void eg_set_status_set_listener(struct eg_set_status *status, bool listening, const char *state, const char *problem);
void eg_set_status_set_publisher(struct eg_set_status *status, bool publishing, const char *state);
/* The log's: state names are static, `problem` NULL: none. */
void eg_set_status_set_reader(struct eg_set_status *status, bool reading, const char *state, const char *problem);
void eg_set_status_set_appender(struct eg_set_status *status, bool appending, const char *state);
void eg_set_status_set_log(struct eg_set_status *status, const char *tag, uint64_t position);
void eg_set_status_set_queue_usage(struct eg_set_status *status, double usage);
void eg_set_status_count_session(struct eg_set_status *status);

#endif

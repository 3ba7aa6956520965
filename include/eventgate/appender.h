/*
 * A set's appending connection: what is published to durable channels over HTTP goes to the log by eventgate.append(),
 * many publications in one transaction. Postgres thread, but for eg_appender_admit() and eg_appender_release().
 */
#ifndef EG_APPENDER_H
#define EG_APPENDER_H

#include <stdbool.h>

#include "eventgate/config.h"
#include "eventgate/log_reader.h"
#include "eventgate/loop.h"
#include "eventgate/metrics.h"
#include "eventgate/publication.h"
#include "eventgate/set_status.h"

struct eg_appender;

/* Starts connecting at once. `set` (borrowed) outlives it. NULL: out of memory. */
struct eg_appender *eg_appender_new(struct eg_loop *loop, const struct eg_config_set *set, struct eg_set_status *status,
                                    struct eg_metrics *metrics);
/* From the next session on, what it has appended is fed by the set's reader (borrowed) without being read. */
void eg_appender_feed(struct eg_appender *appender, struct eg_log_reader *reader);
/* Everything still queued ends as UNAVAILABLE, what was sent as UNKNOWN. */
/* Its queue is as long as the set says now. */
void eg_appender_bound(struct eg_appender *appender, const struct eg_config_set *set);
void eg_appender_free(struct eg_appender *appender);

/* Reserves room in the bounded queue; must be followed by eg_appender_submit() of exactly that, or by
 * eg_appender_release(). 0; -EAGAIN: the queue is full; -ENOTCONN: the database is away. Any thread. */
int eg_appender_admit(struct eg_appender *appender, size_t items, size_t bytes) EG_MUST_CHECK;
void eg_appender_release(struct eg_appender *appender, size_t items, size_t bytes);

/* Appends the items in order (against each other and against earlier submits); `whole` publications all or none. Takes
 * the publication until `done`; its tag is set then. */
void eg_appender_submit(struct eg_appender *appender, struct eg_publication *publication);

/* Is something queued or under way? Its answer is then about to come, or the loss of the connection. */
bool eg_appender_is_busy(const struct eg_appender *appender);

#endif

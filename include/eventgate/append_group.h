/*
 * What the appender sends in one transaction, and what comes back. All functions: Postgres thread.
 *
 * A unit is what is appended all or none: one item, or all items of a `whole` publication. A group is a number of units
 * that share one call of eventgate.append(), whose parameters are arrays of what their items are made of.
 */
#ifndef EG_APPEND_GROUP_H
#define EG_APPEND_GROUP_H

#include "eventgate/connection.h"
#include "eventgate/log_reader.h"
#include "eventgate/publication.h"

/* Bounds of a group, that one unit alone may pass. */
#define EG_APPEND_ITEMS 256u
#define EG_APPEND_BYTES ((size_t)4 << 20)

struct eg_append_unit {
    struct eg_publication *publication;
    size_t first, count; /* its items */
};

struct eg_append_group {
    struct eg_append_unit units[EG_APPEND_ITEMS];
    size_t unit_count, item_count, bytes;
    size_t answered;             /* items that a row of the result was about */
    char mark[EG_LOG_MARK_SIZE]; /* of the incarnation that was there when it began; "": none */
    uint32_t tries;
    bool failed;
    struct eg_error error;
};

/* An empty one. */
void eg_append_group_init(struct eg_append_group *group);
bool eg_append_group_fits(const struct eg_append_group *group, struct eg_append_unit unit);
void eg_append_group_add(struct eg_append_group *group, struct eg_append_unit unit);

/* Prepares the statement; a sync has to follow. */
void eg_append_prepare(struct eg_connection *connection);

/* Sends it, without a sync; `arrays` is room for the parameters. -ENOMEM: nothing was sent. */
int eg_append_group_send(struct eg_append_group *group, struct eg_connection *connection,
                         struct eg_buffer *arrays) EG_MUST_CHECK;

/* Notes in the items what the result says of them; it counts only once the transaction has committed. */
void eg_append_group_take(struct eg_append_group *group, const struct eg_result *result);
/* It has committed: has the reader feed what it appended, as far as that need not be read. */
void eg_append_group_feed(const struct eg_append_group *group, struct eg_log_reader *reader);
/* It has not: the items are PENDING again. */
void eg_append_group_forget(struct eg_append_group *group);

#endif

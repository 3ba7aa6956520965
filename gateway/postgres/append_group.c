/*
 * Groups: their parameters in binary form, and the rows that answer them.
 */
#include "eventgate/append_group.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "eventgate/log_query.h"
#include "eventgate/pg_array.h"

#define STATEMENT "append"
/* Who publishes: the scope of idempotency keys. */
#define PUBLISHER "http:"

/* --- what is in it ----------------------------------------------------------------------------------------------- */

void eg_append_group_init(struct eg_append_group *group)
{
    group->unit_count = group->item_count = group->bytes = group->answered = group->tries = 0;
    group->failed = false;
}

static size_t unit_bytes(struct eg_append_unit unit)
{
    size_t bytes = 0;
    for (size_t i = unit.first; i < unit.first + unit.count; i++)
        bytes += unit.publication->items[i].channel.length + unit.publication->items[i].payload.length;
    return bytes;
}

void eg_append_group_add(struct eg_append_group *group, struct eg_append_unit unit)
{
    group->units[group->unit_count++] = unit;
    group->item_count += unit.count;
    group->bytes += unit_bytes(unit);
}

bool eg_append_group_fits(const struct eg_append_group *group, struct eg_append_unit unit)
{
    return group->unit_count == 0 ||
           (group->item_count + unit.count <= EG_APPEND_ITEMS && group->bytes + unit_bytes(unit) <= EG_APPEND_BYTES);
}

/* --- sending ----------------------------------------------------------------------------------------------------- */

void eg_append_prepare(struct eg_connection *connection)
{
    eg_connection_prepare(connection, STATEMENT,
                          "SELECT a.item, a.pos, a.outcome, a.\"time\", " EG_LOG_MARK_SQL
                          " FROM eventgate.append($1, $2, $3, $4, $5, $6, $7) AS a",
                          7);
}

typedef struct eg_bytes member_function(const struct eg_publication_item *item);

static struct eg_bytes channel_of(const struct eg_publication_item *item)
{
    return item->channel;
}

static struct eg_bytes payload_of(const struct eg_publication_item *item)
{
    return item->payload;
}

static struct eg_bytes or_null(struct eg_bytes bytes)
{
    return bytes.length > 0 ? bytes : (struct eg_bytes){NULL, 0};
}

static struct eg_bytes type_of(const struct eg_publication_item *item)
{
    return or_null(item->type);
}

static struct eg_bytes key_of(const struct eg_publication_item *item)
{
    return or_null(item->key);
}

static struct eg_bytes trace_of(const struct eg_publication_item *item)
{
    return or_null(item->trace);
}

/* Adds one member of each of the group's items as a text[]; returns its length, 0 if all are NULL. */
static size_t add_array(struct eg_buffer *buffer, const struct eg_append_group *group, member_function *member)
{
    size_t before = buffer->length;
    bool any = false;
    eg_pg_array_begin(buffer, EG_PG_TEXT, group->item_count);
    for (size_t u = 0; u < group->unit_count; u++)
        for (size_t i = 0; i < group->units[u].count; i++) {
            struct eg_bytes bytes = member(&group->units[u].publication->items[group->units[u].first + i]);
            eg_pg_array_add(buffer, bytes);
            any = any || bytes.data;
        }
    if (!any)
        buffer->length = before;
    return buffer->length - before;
}

static size_t add_units(struct eg_buffer *buffer, const struct eg_append_group *group)
{
    size_t before = buffer->length;
    eg_pg_array_begin(buffer, EG_PG_INT4, group->item_count);
    for (size_t u = 0; u < group->unit_count; u++)
        for (size_t i = 0; i < group->units[u].count; i++)
            eg_pg_array_add_int4(buffer, (int32_t)u + 1);
    return buffer->length - before;
}

int eg_append_group_send(struct eg_append_group *group, struct eg_connection *connection, struct eg_buffer *arrays)
{
    static member_function *const members[] = {channel_of, type_of, payload_of, key_of, trace_of};
    struct eg_bytes values[2 + EG_ARRAY_LENGTH(members)] = {{PUBLISHER, strlen(PUBLISHER)}};
    size_t lengths[EG_ARRAY_LENGTH(members)];
    group->failed = false;
    group->answered = 0;
    eg_buffer_clear(arrays);
    size_t at = add_units(arrays, group);
    for (size_t i = 0; i < EG_ARRAY_LENGTH(members); i++)
        lengths[i] = add_array(arrays, group, members[i]);
    if (arrays->failed)
        return -ENOMEM;
    values[1] = (struct eg_bytes){arrays->data, at};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(members); i++) {
        values[2 + i] = (struct eg_bytes){lengths[i] ? arrays->data + at : NULL, lengths[i]};
        at += lengths[i];
    }
    eg_connection_send(connection, STATEMENT, values, EG_ARRAY_LENGTH(values));
    if (arrays->capacity > EG_APPEND_BYTES) /* one large body must not be kept for ever */
        eg_buffer_done(arrays);
    return 0;
}

/* --- the answer -------------------------------------------------------------------------------------------------- */

static enum eg_outcome outcome_called(const char *name)
{
    static const char *const names[] = {[EG_OUTCOME_COMMITTED] = "appended",
                                        [EG_OUTCOME_REPLAYED] = "replayed",
                                        [EG_OUTCOME_CONFLICT] = "conflict",
                                        [EG_OUTCOME_WITHHELD] = "withheld"};
    for (enum eg_outcome outcome = EG_OUTCOME_COMMITTED; outcome < EG_ARRAY_LENGTH(names); outcome++)
        if (name && strcmp(name, names[outcome]) == 0)
            return outcome;
    return EG_OUTCOME_UNKNOWN;
}

void eg_append_group_take(struct eg_append_group *group, const struct eg_result *result)
{
    size_t count = eg_result_count(result), unit = 0, index = 0;
    const char *mark = count > 0 ? eg_result_bytes(result, 0, 4).data : NULL;
    snprintf(group->mark, sizeof(group->mark), "%s", mark ? mark : "");
    for (size_t row = 0; row < count && unit < group->unit_count; row++) {
        struct eg_append_unit *of = &group->units[unit];
        struct eg_publication_item *item = &of->publication->items[of->first + index];
        if (eg_result_integer(result, row, 0) != (int64_t)row + 1)
            break;
        item->position = (uint64_t)eg_result_integer(result, row, 1);
        item->outcome = outcome_called(eg_result_bytes(result, row, 2).data);
        item->appended_us = eg_log_read_time(result, row, 3);
        group->answered++;
        if (++index == of->count) {
            index = 0;
            unit++;
        }
    }
}

static bool feed_item(struct eg_log_reader *reader, const char *mark, const struct eg_publication_item *item)
{
    const struct eg_log_row row = {.position = item->position,
                                   .channel = item->channel,
                                   .type = item->type,
                                   .trace = item->trace,
                                   .data = item->payload,
                                   .appended_us = item->appended_us};
    if (item->outcome != EG_OUTCOME_COMMITTED)
        return true;
    return item->appended_us != 0 && eg_log_reader_own_row(reader, mark, &row);
}

void eg_append_group_feed(const struct eg_append_group *group, struct eg_log_reader *reader)
{
    bool all = true;
    for (size_t u = 0; u < group->unit_count; u++)
        for (size_t i = 0; all && i < group->units[u].count; i++)
            all = feed_item(reader, group->mark, &group->units[u].publication->items[group->units[u].first + i]);
    eg_log_reader_own_end(reader, all);
}

void eg_append_group_forget(struct eg_append_group *group)
{
    for (size_t u = 0; u < group->unit_count; u++)
        for (size_t i = 0; i < group->units[u].count; i++) {
            struct eg_publication_item *item = &group->units[u].publication->items[group->units[u].first + i];
            item->outcome = EG_OUTCOME_PENDING;
            item->position = 0;
        }
}

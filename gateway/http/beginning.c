/*
 * Where a subscription begins.
 *
 * The two halves of a cursor are decided apart. Live: a known epoch and a place that is still held, or a gap. Durable:
 * a position that the journal covers, or the log has it; a gap only where it is of another log, inside a jump, or
 * beyond the log's end. One gap tells of both, since a client loads its state once.
 */
#include "eventgate/beginning.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- cursors ----------------------------------------------------------------------------------------------------- */

void eg_set_cursor(const struct eg_worker_set *set, uint64_t place, uint64_t position, char ret_text[EG_CURSOR_SIZE])
{
    struct eg_cursor cursor;
    eg_journal_cursor(set->journal, place, position, &cursor);
    eg_cursor_format(&cursor, ret_text);
}

void eg_subscriber_cursor_text(const struct eg_worker_set *set, const struct eg_subscriber *subscriber, uint64_t place,
                               char ret_text[EG_CURSOR_SIZE])
{
    struct eg_cursor cursor;
    eg_subscriber_cursor(subscriber, set->journal, place, &cursor);
    eg_cursor_format(&cursor, ret_text);
}

/* --- what is missed ---------------------------------------------------------------------------------------------- */

static bool is_durable(const struct eg_journal_channel *channel)
{
    return ((const struct eg_holding *)channel->holding)->durable;
}

static void miss(struct eg_missed *missed, const struct eg_journal_channel *channel)
{
    struct eg_bytes *name = &missed->names[missed->count++];
    name->data = eg_journal_channel_name(channel, &name->length);
    missed->is_gap = true;
}

static int missed_init(struct eg_missed *missed, const struct eg_hold *hold, enum eg_gap_reason reason)
{
    *missed = (struct eg_missed){.reason = reason, .names = calloc(hold->count, sizeof(*missed->names))};
    return missed->names ? 0 : -ENOMEM;
}

void eg_missed_done(struct eg_missed *missed)
{
    free(missed->names);
    *missed = (struct eg_missed){.is_gap = false};
}

static void add_missed_since(const struct eg_worker_set *set, const struct eg_hold *hold, uint64_t place,
                             struct eg_missed *missed, uint64_t *ret_place)
{
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < hold->count; i++) {
        if (is_durable(hold->channels[i]))
            continue;
        uint64_t floor = eg_journal_floor(set->journal, hold->channels[i]);
        uint64_t from = floor > place ? floor : place;
        if (from < first)
            first = from;
        if (floor <= place)
            continue;
        if (floor > missed->place)
            missed->place = floor;
        miss(missed, hold->channels[i]);
    }
    /* What the journal no longer holds is in the gap, or of no channel of these: one gap says it all. */
    uint64_t least = eg_journal_tail(set->journal) - 1;
    *ret_place = first == UINT64_MAX ? (place > least ? place : least) : first > least ? first : least;
}

int eg_missed_since(const struct eg_worker_set *set, const struct eg_hold *hold, uint64_t place,
                    enum eg_gap_reason reason, struct eg_missed *ret_missed, uint64_t *ret_place)
{
    struct eg_missed missed;
    int error = missed_init(&missed, hold, reason);
    if (error)
        return error;
    add_missed_since(set, hold, place, &missed, ret_place);
    *ret_missed = missed;
    return 0;
}

static void add_all(const struct eg_hold *hold, enum eg_kinds kinds, struct eg_missed *missed)
{
    for (uint32_t i = 0; i < hold->count; i++)
        if (kinds & (is_durable(hold->channels[i]) ? EG_DURABLE : EG_LIVE))
            miss(missed, hold->channels[i]);
}

int eg_missed_all(const struct eg_hold *hold, enum eg_kinds kinds, enum eg_gap_reason reason, uint64_t place,
                  uint64_t position, struct eg_missed *ret_missed)
{
    struct eg_missed missed;
    int error = missed_init(&missed, hold, reason);
    if (error)
        return error;
    missed.place = place;
    missed.position = position;
    add_all(hold, kinds, &missed);
    *ret_missed = missed;
    return 0;
}

void eg_missed_add(struct eg_buffer *buffer, const struct eg_worker_set *set, enum eg_transport transport,
                   const struct eg_missed *missed, const char *from, const char *id)
{
    char to[EG_CURSOR_SIZE];
    eg_set_cursor(set, missed->place, missed->position, to);
    eg_frame_add_gap(buffer, transport,
                     &(struct eg_gap){.reason = missed->reason,
                                      .from = from,
                                      .to = to,
                                      .id = id,
                                      .channels = missed->names,
                                      .channel_count = missed->count});
}

void eg_gap_count(struct eg_worker *worker, enum eg_gap_reason reason)
{
    static const enum eg_metric counters[EG_GAP_REASON_COUNT] = {[EG_GAP_RECONNECT] = EG_METRIC_GAPS_RECONNECT,
                                                                 [EG_GAP_RETENTION] = EG_METRIC_GAPS_RETENTION,
                                                                 [EG_GAP_SLOW] = EG_METRIC_GAPS_SLOW,
                                                                 [EG_GAP_FAILOVER] = EG_METRIC_GAPS_FAILOVER,
                                                                 [EG_GAP_UNKNOWN] = EG_METRIC_GAPS_UNKNOWN};
    eg_metrics_add(worker->metrics, counters[reason], 1);
}

/* --- the live half ----------------------------------------------------------------------------------------------- */

/* What the cursor means is not known here. */
static void begin_live_at_head(const struct eg_worker_set *set, const struct eg_hold *hold, enum eg_gap_reason reason,
                               struct eg_beginning *beginning)
{
    beginning->start.place = beginning->missed.place = eg_journal_head(set->journal);
    beginning->missed.reason = reason;
    add_all(hold, EG_LIVE, &beginning->missed);
}

static int begin_live_at_cursor(const struct eg_worker_set *set, const struct eg_hold *hold,
                                const struct eg_cursor *cursor, struct eg_beginning *beginning)
{
    struct eg_epoch epoch;
    uint64_t head, place;
    eg_set_status_head(set->status, &epoch, &head);
    if (!cursor->has_live) {
        begin_live_at_head(set, hold, EG_GAP_RECONNECT, beginning);
        return 0;
    }
    switch (eg_journal_find(set->journal, cursor, &epoch, head, &place)) {
    case EG_JOURNAL_KNOWN:
        beginning->missed.reason = EG_GAP_RETENTION;
        add_missed_since(set, hold, place, &beginning->missed, &beginning->start.place);
        return 0;
    case EG_JOURNAL_AHEAD:
        return -EAGAIN;
    case EG_JOURNAL_ALIEN:
        break;
    }
    begin_live_at_head(set, hold, EG_GAP_RECONNECT, beginning);
    return 0;
}

/* Is the cursor of another log? A set that hasn't attached to its own yet doesn't know. */
static bool is_alien(const struct eg_worker_set *set, const struct eg_cursor *cursor)
{
    const char *tag = eg_journal_tag(set->journal);
    bool is_known = tag[0] != '\0' || set->config->durable_count == 0;
    return is_known && cursor->tag[0] != '\0' && strcmp(cursor->tag, tag) != 0;
}

static int begin_live(const struct eg_worker_set *set, const struct eg_hold *hold,
                      const struct eg_subscription_request *request, struct eg_beginning *beginning)
{
    if (hold->live_count == 0) {
        beginning->start.place = eg_journal_head(set->journal);
        return 0;
    }
    switch (request->after) {
    case EG_AFTER_EARLIEST:
        add_missed_since(set, hold, 0, &beginning->missed, &beginning->start.place);
        beginning->missed.count = 0; /* it asked for what there is */
        beginning->missed.is_gap = false;
        return 0;
    case EG_AFTER_CURSOR:
        if (!is_alien(set, &request->cursor))
            return begin_live_at_cursor(set, hold, &request->cursor, beginning);
        begin_live_at_head(set, hold, EG_GAP_UNKNOWN, beginning);
        return 0;
    case EG_AFTER_NONSENSE:
        begin_live_at_head(set, hold, EG_GAP_UNKNOWN, beginning);
        return 0;
    case EG_AFTER_NOW:
        break;
    }
    beginning->start.place = eg_journal_head(set->journal);
    return 0;
}

/* --- the durable half -------------------------------------------------------------------------------------------- */

static void begin_log_behind_gap(const struct eg_hold *hold, enum eg_gap_reason reason, uint64_t position,
                                 struct eg_beginning *beginning)
{
    beginning->start.position = position;
    beginning->missed.reason = reason;
    add_all(hold, EG_DURABLE, &beginning->missed);
}

/* The position that the cursor stands for; false: it has none that could be told here. */
static bool position_of(const struct eg_worker_set *set, const struct eg_cursor *cursor, uint64_t *ret_position)
{
    struct eg_epoch epoch;
    uint64_t head, place;
    if (cursor->has_position) {
        *ret_position = cursor->position;
        return strcmp(cursor->tag, eg_journal_tag(set->journal)) == 0;
    }
    eg_set_status_head(set->status, &epoch, &head);
    if (eg_journal_find(set->journal, cursor, &epoch, head, &place) != EG_JOURNAL_KNOWN ||
        place + 1 < eg_journal_tail(set->journal))
        return false;
    *ret_position = eg_journal_position_at(set->journal, place);
    return true;
}

static int begin_log_at_cursor(const struct eg_worker_set *set, const struct eg_hold *hold,
                               const struct eg_cursor *cursor, bool looked, struct eg_beginning *beginning)
{
    const struct eg_log_jumps *jumps = eg_journal_jumps(set->journal);
    uint64_t head = eg_log_jumps_follow(jumps, eg_journal_position(set->journal)), position;
    if (!position_of(set, cursor, &position)) {
        begin_log_behind_gap(hold, EG_GAP_UNKNOWN, head, beginning);
        return 0;
    }
    const struct eg_log_jump *jump = eg_log_jumps_inside(jumps, position);
    bool lost = jump != NULL;
    position = eg_log_jumps_follow(jumps, lost ? jump->to : position);
    if (position > head) {
        if (!looked)
            return -EINPROGRESS;
        lost = true; /* it isn't in the log */
        position = head;
    }
    if (lost)
        begin_log_behind_gap(hold, EG_GAP_FAILOVER, position, beginning);
    beginning->start.position = position;
    return 0;
}

static int begin_log(const struct eg_worker_set *set, const struct eg_hold *hold,
                     const struct eg_subscription_request *request, bool looked, struct eg_beginning *beginning)
{
    uint64_t head = eg_journal_position(set->journal);
    beginning->start.position = head;
    if (!hold->selection)
        return 0;
    switch (request->after) {
    case EG_AFTER_EARLIEST:
        beginning->start.position = 0;
        return 0;
    case EG_AFTER_CURSOR:
        return begin_log_at_cursor(set, hold, &request->cursor, looked, beginning);
    case EG_AFTER_NONSENSE:
        begin_log_behind_gap(hold, EG_GAP_UNKNOWN, head, beginning);
        return 0;
    case EG_AFTER_NOW:
        break;
    }
    return 0;
}

/* --- both -------------------------------------------------------------------------------------------------------- */

void eg_beginning_done(struct eg_beginning *beginning)
{
    eg_missed_done(&beginning->missed);
}

int eg_beginning_decide(const struct eg_worker_set *set, const struct eg_hold *hold,
                        const struct eg_subscription_request *request, bool looked, struct eg_beginning *ret_beginning)
{
    struct eg_beginning beginning = {.asked_for_all = request->after == EG_AFTER_EARLIEST};
    int error = missed_init(&beginning.missed, hold, EG_GAP_UNKNOWN);
    if (!error)
        error = begin_live(set, hold, request, &beginning);
    if (!error)
        error = begin_log(set, hold, request, looked, &beginning);
    if (error) {
        eg_beginning_done(&beginning);
        return error;
    }
    beginning.missed.position = beginning.start.position;
    if (beginning.missed.place == 0)
        beginning.missed.place = beginning.start.place;
    memcpy(beginning.tag, eg_journal_tag(set->journal), sizeof(beginning.tag));
    *ret_beginning = beginning;
    return 0;
}

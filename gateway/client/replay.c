/*
 * The way of a replay, and gaps in words.
 *
 * Positions in the log are dense within a segment (the upper bits of a position, see sql/log.sql) and jump between two:
 * so the share that is done is told within the segment of the head, and before that which segment is being read.
 */
#include "eventgate/replay.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "eventgate/flags.h"
#include "eventgate/json_value.h"

#define SEGMENT_BITS 33
#define ASK_TIMEOUT_MS 10000

void eg_replay_begin(struct eg_replay *replay, bool forced)
{
    eg_progress_begin(&replay->progress, forced);
}

static void read_next(void *context, const struct eg_json_value *value)
{
    struct eg_replay *replay = context;
    const char *next = eg_json_string(eg_json_member(value, "next"));
    replay->aimed = eg_cursor_parse(next, strlen(next), &replay->target) == 0;
}

void eg_replay_aim(struct eg_replay *replay, struct eg_caller *caller, const struct eg_buffer *path)
{
    struct eg_buffer asked = EG_BUFFER_INIT;
    struct eg_call_answer answer;
    const struct eg_call_request request = {.method = "GET", .timeout_ms = ASK_TIMEOUT_MS};
    struct eg_call_request ask = request;
    if (!replay->progress.shown || path->failed)
        return;
    eg_buffer_add(&asked, path->data, path->length);
    eg_buffer_add_string(&asked, "&format=poll&after=now&wait=0");
    eg_buffer_add(&asked, "", 1);
    ask.path = asked.failed ? "/" : asked.data;
    eg_caller_call(caller, &ask, &answer);
    if (answer.status == 200 && answer.body.length > 0 &&
        eg_json_read(answer.body.data, answer.body.length, read_next, replay) != 0)
        replay->aimed = false;
    eg_call_answer_done(&answer);
    eg_buffer_done(&asked);
}

void eg_replay_at(struct eg_replay *replay, const char *cursor)
{
    const struct eg_cursor *target = &replay->target, *here = &replay->here;
    if (!replay->progress.shown || eg_cursor_parse(cursor, strlen(cursor), &replay->here) != 0)
        return;
    replay->is_here = true;
    bool log_done = !target->has_position || here->position >= target->position;
    bool live_done = !target->has_live || !here->has_live || strcmp(here->epoch.text, target->epoch.text) != 0 ||
                     here->place >= target->place;
    replay->reached = replay->aimed && log_done && live_done;
}

static void tell(struct eg_replay *replay, uint64_t events)
{
    uint64_t segment = replay->here.position >> SEGMENT_BITS, last = replay->target.position >> SEGMENT_BITS;
    char note[64];
    if (!replay->aimed || !replay->is_here || replay->target.position == 0 || !replay->target.has_position) {
        eg_progress_tell(&replay->progress, events, "events", 0, 0, NULL);
    } else if (segment < last) {
        snprintf(note, sizeof(note), "segment %" PRIu64 " of the log, its head in %" PRIu64, segment, last);
        eg_progress_tell(&replay->progress, events, "events", 0, 0, note);
    } else {
        eg_progress_tell(&replay->progress, events, "events", replay->here.position, replay->target.position, NULL);
    }
}

void eg_replay_tell(struct eg_replay *replay, uint64_t events)
{
    if (replay->reached)
        eg_progress_end(&replay->progress, events, "events", "all up to the head of the log; new ones follow");
    else if (replay->progress.shown && (replay->aimed || events > 0))
        tell(replay, events);
}

void eg_replay_clear(struct eg_replay *replay)
{
    eg_progress_clear(&replay->progress);
}

/* --- gaps --------------------------------------------------------------------------------------------------------- */

static const char *reason_in_words(const char *reason)
{
    static const char *const words[][2] = {
        {"reconnect", "the gateway's connection to PostgreSQL was made anew, or the cursor is of another gateway or "
                      "an earlier run of this one"},
        {"retention", "they are no longer kept"},
        {"slow", "they came faster than they were read here"},
        {"failover", "the log has lost its end, in a failover or by an older backup"},
        {"unknown", "the cursor is none of this log's"},
    };
    for (size_t i = 0; i < EG_ARRAY_LENGTH(words); i++)
        if (strcmp(words[i][0], reason) == 0)
            return words[i][1];
    return reason;
}

static void read_gap(void *context, const struct eg_json_value *value)
{
    const struct eg_json_value *channels = eg_json_member(value, "channels");
    const char *reason = eg_json_string(eg_json_member(value, "reason"));
    char names[300] = "";
    size_t count = eg_json_count(channels), length = 0, i = 0;
    (void)context;
    for (; i < count && length < sizeof(names) / 2; i++)
        length += (size_t)snprintf(names + length, sizeof(names) - length, "%s%.140s", i ? ", " : "",
                                   eg_json_string(eg_json_item(channels, i)));
    eg_complain("tail", "gap (%s): events of %s%s may be missing: %s. What depends on them has to be loaded anew.",
                reason, count > 0 ? names : "these channels", i < count ? " and others" : "", reason_in_words(reason));
}

void eg_tail_tell_gap(struct eg_bytes data)
{
    if (eg_json_read(data.data, data.length, read_gap, NULL) != 0)
        eg_complain("tail", "gap: events may be missing.");
}

/*
 * Following channels.
 *
 * The state is the cursor: that of the last event that has been written out, and nothing else decides what comes next.
 * It is SSE that is read, since each of its events has the full cursor, and its stream says when to come back. What has
 * arrived together is written out together, and only then the cursor moves. The file has the cursor of the last event
 * that has arrived, which in a pipe means that its reader has taken it: with a file, lines go into a pipe one by one.
 * So an end at any moment repeats nothing and loses nothing.
 */
#include "eventgate/tail.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "eventgate/backoff.h"
#include "eventgate/client_options.h"
#include "eventgate/cursor_file.h"
#include "eventgate/line_output.h"
#include "eventgate/replay.h"
#include "eventgate/sse.h"

#define COMMAND "tail"
/* How long to wait before another attempt, where the gateway hasn't said: a second, doubled up to half a minute. */
#define RETRY_MS 1000
#define RETRY_MAX_MS 30000
/* How old the file of the cursor may be. */
#define SAVE_EVERY_MS 1000
/* After a signal, how long the reader has for the last line. */
#define LAST_LINE_MS 3000
#define WAIT_MS 500

enum end { GOING_ON, LIMIT_REACHED, READER_GONE, FAILED };

/* Where an event ends in what is to be written. */
struct mark {
    size_t end;
    char cursor[EG_SSE_ID_MAX + 1];
};

struct following {
    const struct eg_tail *tail;
    struct eg_caller *caller;
    struct eg_sse sse;
    struct eg_line_output lines;
    struct eg_buffer output;         /* what is to be written */
    struct eg_buffer marks;          /* of struct mark: its events */
    char cursor[EG_SSE_ID_MAX + 1];  /* behind what is written; "" before the first */
    char arrived[EG_SSE_ID_MAX + 1]; /* behind what has arrived */
    char saved[EG_SSE_ID_MAX + 1];
    uint64_t events; /* written */
    uint64_t taken;  /* the same, and those that are to be */
    enum end end;
    bool heard; /* this attempt has got something */
    int64_t saved_ms;
    struct eg_replay replay;
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void fail(struct following *following, const char *what, int number)
{
    eg_replay_clear(&following->replay);
    eg_complain(COMMAND, "%s: %s", what, strerror(number));
    following->end = FAILED;
}

/* --- output ------------------------------------------------------------------------------------------------------- */

static void note_arrival(struct following *following)
{
    if (eg_line_output_arrived(&following->lines))
        memcpy(following->arrived, following->cursor, sizeof(following->arrived));
}

static void save(struct following *following, bool now)
{
    const char *file = following->tail->cursor_file;
    if (!file || (!now && now_ms() - following->saved_ms < SAVE_EVERY_MS))
        return;
    note_arrival(following);
    following->saved_ms = now_ms();
    if (strcmp(following->arrived, following->saved) == 0)
        return;
    memcpy(following->saved, following->arrived, sizeof(following->saved));
    int result = eg_cursor_file_write(file, following->saved);
    if (result)
        fail(following, file, -result);
}

/* Moves behind the event that ends where `mark` says. */
static void move(struct following *following, const struct mark *mark)
{
    memcpy(following->cursor, mark->cursor, sizeof(following->cursor));
    following->events++;
}

static void end_output(struct following *following, int result)
{
    following->end = READER_GONE;
    if (result != -EPIPE && result != -EINTR)
        fail(following, "standard output", -result);
}

/* Waits until the reader has taken what there was, if it is one that is waited for. */
static bool wait_for_reader(struct following *following)
{
    while (following->lines.waits && following->end == GOING_ON) {
        int result = eg_line_output_wait(&following->lines, WAIT_MS);
        if (eg_client_stopped)
            result = -EINTR;
        note_arrival(following);
        save(following, false);
        if (result == 0)
            break;
        if (result != -EAGAIN)
            end_output(following, result);
    }
    return following->end == GOING_ON;
}

static void write_out(struct following *following)
{
    const struct eg_buffer *output = &following->output;
    const struct mark *marks = (const struct mark *)(void *)following->marks.data;
    size_t count = following->marks.length / sizeof(*marks), done = 0, written = 0, some;
    if (output->failed || following->marks.failed) {
        fail(following, "an event cannot be printed", ENOMEM);
        return;
    }
    if (count > 0 && following->replay.progress.shares_screen)
        eg_replay_clear(&following->replay);
    while (done < count && wait_for_reader(following)) {
        size_t until = marks[following->lines.waits ? done : count - 1].end;
        int result =
            eg_line_output_write(&following->lines, output->data + written, until - written, &eg_client_stopped, &some);
        written += some;
        while (done < count && marks[done].end <= written)
            move(following, &marks[done++]);
        if (result)
            end_output(following, result);
    }
    eg_buffer_clear(&following->output);
    eg_buffer_clear(&following->marks);
    save(following, false);
}

/* The end: the reader has time for the last line. Once a signal has come, only a moment: it may have got that, too. */
static void wait_for_last(struct following *following)
{
    int64_t stopped_ms = 0;
    while (strcmp(following->arrived, following->cursor) != 0 &&
           eg_line_output_wait(&following->lines, WAIT_MS) == -EAGAIN) {
        if (eg_client_stopped && stopped_ms == 0)
            stopped_ms = now_ms();
        if (eg_client_stopped && now_ms() - stopped_ms >= LAST_LINE_MS)
            break;
        save(following, false);
    }
}

/* --- what the stream says ----------------------------------------------------------------------------------------- */

/* The cursor moves without an event: behind what came before. */
static void take_cursor(struct following *following, const char *id)
{
    write_out(following);
    if (following->end == GOING_ON)
        snprintf(following->cursor, sizeof(following->cursor), "%s", id);
}

static void take_event(struct following *following, const struct eg_sse_event *event)
{
    struct mark mark;
    eg_buffer_add(&following->output, event->data.data, event->data.length);
    eg_buffer_add(&following->output, "\n", 1);
    mark.end = following->output.length;
    snprintf(mark.cursor, sizeof(mark.cursor), "%s", event->id);
    eg_buffer_add(&following->marks, &mark, sizeof(mark));
    following->taken++;
}

static void dispatch(void *context, const struct eg_sse_event *event)
{
    struct following *following = context;
    following->heard = true;
    if (following->end != GOING_ON || (following->tail->limit > 0 && following->taken == following->tail->limit))
        return;
    if (strcmp(event->type, "gap") == 0) {
        write_out(following);
        eg_replay_clear(&following->replay);
        eg_tail_tell_gap(event->data);
        take_cursor(following, event->id);
    } else if (strcmp(event->type, "cursor") == 0) {
        take_cursor(following, event->id);
        eg_replay_at(&following->replay, event->id);
    } else {
        take_event(following, event);
    }
}

static bool received(void *context, const char *data, size_t length)
{
    struct following *following = context;
    int result = eg_sse_feed(&following->sse, data, length);
    if (following->end == GOING_ON)
        write_out(following);
    if (result && following->end == GOING_ON)
        fail(following, "the stream cannot be read", -result);
    if (following->end == GOING_ON && following->tail->limit > 0 && following->events >= following->tail->limit)
        following->end = LIMIT_REACHED;
    eg_replay_at(&following->replay, following->cursor);
    eg_replay_tell(&following->replay, following->events);
    return following->end == GOING_ON;
}

static bool ticked(void *context)
{
    struct following *following = context;
    if (eg_line_output_is_unread(&following->lines))
        following->end = READER_GONE;
    save(following, false);
    eg_replay_tell(&following->replay, following->events);
    return following->end == GOING_ON;
}

/* --- attempts ----------------------------------------------------------------------------------------------------- */

static void add_channels(struct eg_buffer *path, const struct eg_tail *tail)
{
    eg_buffer_add_string(path, "/events");
    for (size_t i = 0; i < tail->channel_count; i++) {
        eg_buffer_add_string(path, i ? "&channel=" : "?channel=");
        eg_call_add_escaped(path, tail->channels[i], true);
    }
}

/* Asks for what comes behind the cursor; without one, what the command line says. */
static void attempt(struct following *following, struct eg_call_answer *ret_answer)
{
    const struct eg_tail *tail = following->tail;
    struct eg_buffer path = EG_BUFFER_INIT;
    char resume[sizeof(following->cursor) + 16];
    const char *headers[] = {"Accept: text/event-stream", NULL, NULL};
    add_channels(&path, tail);
    eg_buffer_add_format(&path, "&payload=%s", tail->payload);
    if (following->cursor[0]) {
        snprintf(resume, sizeof(resume), "Last-Event-ID: %s", following->cursor);
        headers[1] = resume;
    } else if (tail->after) {
        eg_buffer_add_string(&path, "&after=");
        eg_call_add_escaped(&path, tail->after, true);
    }
    eg_buffer_add(&path, "", 1);
    eg_sse_restart(&following->sse);
    following->heard = false;
    const struct eg_call_request request = {.method = "GET",
                                            .path = path.failed ? "/" : path.data,
                                            .headers = headers,
                                            .fresh = true,
                                            .idle_ms = tail->idle_ms,
                                            .received = received,
                                            .ticked = ticked,
                                            .context = following};
    eg_caller_call(following->caller, &request, ret_answer);
    eg_buffer_done(&path);
}

static bool end_for_good(struct following *following, const struct eg_call_answer *answer, const char *sentence)
{
    char status[20] = "";
    if (answer->status > 0)
        snprintf(status, sizeof(status), " (HTTP %u)", answer->status);
    eg_replay_clear(&following->replay);
    eg_complain(COMMAND, "%s: %s%s", following->tail->target->url, sentence, status);
    following->end = FAILED;
    return true;
}

/* Is it an answer that another attempt will get, too? Says so, then. */
static bool is_final(struct following *following, const struct eg_call_answer *answer)
{
    char type[64], sentence[400], name[40];
    bool has_type = eg_call_header(answer, "content-type", type, sizeof(type));
    if (answer->outcome == EG_CALL_IMPOSSIBLE)
        return end_for_good(following, answer, answer->problem);
    if (answer->status == 0 || answer->status >= 500 || answer->status == 408 || answer->status == 429)
        return false;
    if (answer->status == 200 && has_type && strncmp(type, "text/event-stream", 17) == 0)
        return false;
    if (answer->status == 200)
        snprintf(sentence, sizeof(sentence), "The answer is no event stream (%s): is this the gateway's URL?", type);
    else
        eg_call_problem(answer, sentence, sizeof(sentence), name);
    return end_for_good(following, answer, sentence);
}

/* How long to wait: what the gateway has asked for, and a random time on top, the longer the more attempts fail, so
 * that not everybody comes back at once. */
static uint32_t delay_ms(struct following *following, struct eg_backoff *backoff, const struct eg_call_answer *answer)
{
    uint32_t asked_ms = eg_call_retry_after(answer) * 1000;
    if (following->sse.retry_ms > asked_ms)
        asked_ms = following->sse.retry_ms;
    if (following->heard)
        eg_backoff_reset(backoff);
    backoff->first_ms = asked_ms > 0 && asked_ms < RETRY_MS ? asked_ms : RETRY_MS;
    uint32_t more_ms = eg_backoff_next_ms(backoff);
    return asked_ms < UINT32_MAX - more_ms ? asked_ms + more_ms : UINT32_MAX;
}

static void tell_reconnect(struct following *following, const struct eg_call_answer *answer, uint32_t wait_ms)
{
    char sentence[400], name[40];
    if (following->tail->quiet)
        return;
    eg_replay_clear(&following->replay);
    if (answer->outcome != EG_CALL_ANSWERED)
        snprintf(sentence, sizeof(sentence), "%s", answer->problem);
    else if (answer->status == 200)
        snprintf(sentence, sizeof(sentence), "the gateway has ended the stream");
    else
        eg_call_problem(answer, sentence, sizeof(sentence), name);
    eg_complain(COMMAND, "%s: %s; again in %.1f s%s%s.", following->tail->target->url, sentence, (double)wait_ms / 1000,
                following->cursor[0] ? ", from " : "", following->cursor);
}

static void follow(struct following *following)
{
    struct eg_backoff backoff = {.first_ms = RETRY_MS, .max_ms = RETRY_MAX_MS};
    while (following->end == GOING_ON && !eg_client_stopped) {
        struct eg_call_answer answer;
        attempt(following, &answer);
        if (following->end == GOING_ON && !eg_client_stopped && !is_final(following, &answer)) {
            uint32_t wait_ms = delay_ms(following, &backoff, &answer);
            save(following, true);
            tell_reconnect(following, &answer, wait_ms);
            eg_client_wait_ms(wait_ms);
        }
        eg_call_answer_done(&answer);
    }
}

/* Where to begin: the file's cursor, unless the command line says it. */
static int begin(struct following *following)
{
    const struct eg_tail *tail = following->tail;
    if (tail->cursor_file) {
        char cursor[EG_CURSOR_FILE_TEXT_MAX];
        int result = eg_cursor_file_read(tail->cursor_file, cursor);
        if (result) {
            eg_complain(COMMAND, "%s: %s", tail->cursor_file,
                        result == -EINVAL ? "has no cursor of a former run in it." : strerror(-result));
            return result;
        }
        snprintf(following->cursor, sizeof(following->cursor), "%s", cursor);
        snprintf(following->arrived, sizeof(following->arrived), "%s", cursor);
        snprintf(following->saved, sizeof(following->saved), "%s", cursor);
    }
    return 0;
}

int eg_tail_run(const struct eg_tail *tail)
{
    struct following following = {.tail = tail, .caller = eg_caller_new(tail->target), .saved_ms = now_ms()};
    struct eg_buffer path = EG_BUFFER_INIT;
    following.sse.dispatch = dispatch;
    following.sse.context = &following;
    if (!following.caller)
        fail(&following, "the command cannot start", ENOMEM);
    else if (begin(&following) != 0)
        following.end = FAILED;
    if (following.end == GOING_ON) {
        eg_line_output_begin(&following.lines, STDOUT_FILENO, tail->cursor_file != NULL);
        add_channels(&path, tail);
        eg_replay_begin(&following.replay, tail->progress);
        if (following.cursor[0] || (tail->after && strcmp(tail->after, "now") != 0))
            eg_replay_aim(&following.replay, following.caller, &path);
        follow(&following);
        eg_replay_clear(&following.replay);
        wait_for_last(&following);
        save(&following, true);
        eg_line_output_end(&following.lines);
    }
    eg_buffer_done(&path);
    eg_sse_done(&following.sse);
    eg_buffer_done(&following.output);
    eg_buffer_done(&following.marks);
    eg_caller_free(following.caller);
    return following.end == FAILED ? 1 : 0;
}

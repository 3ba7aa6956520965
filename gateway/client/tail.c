/*
 * Following channels.
 *
 * The state is the cursor: that of the last event that has been written out, and nothing else decides what comes next.
 * It is SSE that is read, since each of its events has the full cursor, and its stream says when to come back. What has
 * arrived together is written out together, and only then the cursor moves; so an end at any moment repeats nothing and
 * loses nothing, as far as whoever reads the output takes it.
 */
#include "eventgate/tail.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "eventgate/backoff.h"
#include "eventgate/client_options.h"
#include "eventgate/cursor_file.h"
#include "eventgate/replay.h"
#include "eventgate/sse.h"

#define COMMAND "tail"
/* How long to wait before another attempt, where the gateway hasn't said: a second, doubled up to half a minute. */
#define RETRY_MS 1000
#define RETRY_MAX_MS 30000
/* How old the file of the cursor may be. */
#define SAVE_EVERY_MS 1000

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
    struct eg_buffer output;        /* what is to be written */
    struct eg_buffer marks;         /* of struct mark: its events */
    char cursor[EG_SSE_ID_MAX + 1]; /* "" before the first */
    uint64_t events;                /* written */
    uint64_t taken;                 /* the same, and those that are to be */
    enum end end;
    bool heard; /* this attempt has got something */
    bool unsaved;
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

static void save(struct following *following, bool now)
{
    const char *file = following->tail->cursor_file;
    if (!file || !following->unsaved || (!now && now_ms() - following->saved_ms < SAVE_EVERY_MS))
        return;
    int result = eg_cursor_file_write(file, following->cursor);
    following->unsaved = false;
    following->saved_ms = now_ms();
    if (result)
        fail(following, file, -result);
}

/* Moves behind the events that are within the first `written` bytes. */
static void move(struct following *following, size_t written)
{
    const struct mark *marks = (const struct mark *)(void *)following->marks.data;
    size_t count = following->marks.length / sizeof(*marks), done = 0;
    while (done < count && marks[done].end <= written)
        done++;
    if (done == 0)
        return;
    memcpy(following->cursor, marks[done - 1].cursor, sizeof(following->cursor));
    following->events += done;
    following->unsaved = true;
}

static void write_out(struct following *following)
{
    const struct eg_buffer *output = &following->output;
    size_t written = 0;
    if (output->failed || following->marks.failed) {
        fail(following, "an event cannot be printed", ENOMEM);
        return;
    }
    if (output->length > 0 && following->replay.progress.shares_screen)
        eg_replay_clear(&following->replay);
    while (written < output->length) {
        ssize_t result = write(STDOUT_FILENO, output->data + written, output->length - written);
        if (result < 0 && errno == EINTR && !eg_client_stopped)
            continue;
        if (result >= 0 && eg_client_stopped) { /* what is left may find nobody who reads it */
            written += (size_t)result;
            following->end = READER_GONE;
            break;
        }
        if (result < 0) {
            int number = errno;
            following->end = READER_GONE;
            if (number != EPIPE && number != EINTR)
                fail(following, "standard output", number);
            break;
        }
        written += (size_t)result;
    }
    move(following, written);
    eg_buffer_clear(&following->output);
    eg_buffer_clear(&following->marks);
    save(following, false);
}

/* --- what the stream says ----------------------------------------------------------------------------------------- */

/* The cursor moves without an event: behind what came before. */
static void take_cursor(struct following *following, const char *id)
{
    write_out(following);
    if (following->end != GOING_ON || strcmp(following->cursor, id) == 0)
        return;
    snprintf(following->cursor, sizeof(following->cursor), "%s", id);
    following->unsaved = true;
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
    struct pollfd output = {.fd = STDOUT_FILENO, .events = 0};
    if (poll(&output, 1, 0) > 0 && (output.revents & POLLERR))
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
        add_channels(&path, tail);
        eg_replay_begin(&following.replay, tail->progress);
        if (following.cursor[0] || (tail->after && strcmp(tail->after, "now") != 0))
            eg_replay_aim(&following.replay, following.caller, &path);
        follow(&following);
        eg_replay_clear(&following.replay);
        save(&following, true);
    }
    eg_buffer_done(&path);
    eg_sse_done(&following.sse);
    eg_buffer_done(&following.output);
    eg_buffer_done(&following.marks);
    eg_caller_free(following.caller);
    return following.end == FAILED ? 1 : 0;
}

/*
 * Publishing.
 *
 * What an answer leaves open decides what may be done. Published or refused: it is over. Not published (the request was
 * not sent, or the gateway says so): it is sent again. Unknown (the answer was lost, or the gateway doesn't know
 * itself): it is sent again if each of its events has a key, since then nothing is published twice; else it stays
 * unknown, and is told. Until the kind of the channel is known events have keys, and a live channel refuses these.
 */
#include "eventgate/sending.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "eventgate/backoff.h"
#include "eventgate/client_options.h"
#include "eventgate/json.h"
#include "eventgate/json_value.h"

#define COMMAND "publish"
#define TIMEOUT_MS 60000
#define RETRY_MS 500
#define RETRY_MAX_MS 5000
#define KEY_MAX 256

enum fate { DONE, REFUSED, REFUSED_ALL, NOT_PUBLISHED, UNKNOWN };

/* A request, and what has come of it. */
struct post {
    struct eg_sending *sending;
    const struct eg_sending_item *items;
    size_t count;
    struct eg_sending_sum *sum;
    struct eg_call_answer answer;
    char sentence[480], type[40];
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void tell(uint64_t line, const char *what, const char *sentence)
{
    if (line > 0)
        eg_complain(COMMAND, "line %" PRIu64 " %s: %s", line, what, sentence);
    else
        eg_complain(COMMAND, "%s: %s", what, sentence);
}

static void tell_all(const struct post *post, const char *what, const char *sentence)
{
    uint64_t first = post->items[0].line, last = post->items[post->count - 1].line;
    bool was = strncmp(what, "was ", 4) == 0;
    if (post->count == 1)
        tell(first, what, sentence);
    else
        eg_complain(COMMAND, "lines %" PRIu64 " to %" PRIu64 " %s%s: %s", first, last, was ? "were " : "",
                    was ? what + 4 : what, sentence);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(word, *words) == 0)
            return true;
    return false;
}

static enum fate judge(struct post *post)
{
    static const char *const nothing_published[] = {"database-away", "overloaded", "draining",
                                                    "too-many",      "timeout",    NULL};
    const struct eg_call_answer *answer = &post->answer;
    unsigned status = answer->status;
    post->type[0] = '\0';
    snprintf(post->sentence, sizeof(post->sentence), "%s",
             answer->outcome == EG_CALL_ENDED ? "ended by a signal" : answer->problem);
    if (answer->outcome == EG_CALL_IMPOSSIBLE)
        return REFUSED_ALL;
    if (answer->outcome != EG_CALL_ANSWERED)
        return answer->outcome == EG_CALL_NOT_SENT ? NOT_PUBLISHED : UNKNOWN;
    if (status == 200 || status == 201 || status == 202 || status == 207)
        return DONE;
    eg_call_problem(answer, post->sentence, sizeof(post->sentence), post->type);
    if (is_one_of(post->type, nothing_published))
        return NOT_PUBLISHED;
    if (status >= 500)
        return UNKNOWN;
    return status == 400 || status == 413 || status == 422 ? REFUSED : REFUSED_ALL;
}

struct results {
    struct post *post;
    bool understood;
};

static void read_row(struct post *post, const struct eg_json_value *row, const struct eg_sending_item *item)
{
    double status = eg_json_number(eg_json_member(row, "status"));
    const struct eg_json_value *problem = eg_json_member(row, "problem");
    const char *type = eg_json_string(eg_json_member(problem, "type")),
               *sentence = eg_json_string(eg_json_member(problem, "detail")), *colon = strrchr(type, ':');
    const char *id = eg_json_string(eg_json_member(row, "id"));
    if (status >= 200 && status < 300) {
        post->sum->committed++;
        if (id[0])
            puts(id);
    } else if (colon && strcmp(colon + 1, "outcome-unknown") == 0) {
        post->sum->unknown++;
        tell(item->line, "may or may not have been published", sentence);
    } else {
        post->sum->refused++;
        tell(item->line, "was not published", sentence);
    }
}

static void read_results(void *context, const struct eg_json_value *value)
{
    struct results *results = context;
    struct post *post = results->post;
    const struct eg_json_value *rows = eg_json_member(value, "results");
    results->understood = rows ? eg_json_count(rows) == post->count : post->count == 1;
    if (!results->understood)
        return;
    if (!rows)
        read_row(post, value, &post->items[0]);
    for (size_t i = 0; rows && i < post->count; i++)
        read_row(post, eg_json_item(rows, i), &post->items[i]);
}

static void take_results(struct post *post)
{
    struct results results = {.post = post};
    const struct eg_buffer *body = &post->answer.body;
    if (body->length > 0 && eg_json_read(body->data, body->length, read_results, &results) != 0)
        results.understood = false;
    if (results.understood)
        return;
    post->sum->unknown += post->count;
    post->sum->ended = true;
    tell_all(post, "may or may not have been published", "the answer is none of a pg_eventgate");
}

/* --- requests ----------------------------------------------------------------------------------------------------- */

/* Sends it until it is known what became of it, or nothing more can be done. */
static enum fate deliver(struct post *post, const struct eg_call_request *request, bool repeatable)
{
    struct eg_backoff backoff = {.floor_ms = 50, .first_ms = RETRY_MS, .max_ms = RETRY_MAX_MS};
    int64_t end_ms = now_ms() + post->sending->patience_ms;
    bool doubtful = false;
    for (;;) {
        eg_caller_call(post->sending->caller, request, &post->answer);
        enum fate fate = judge(post);
        doubtful |= fate == UNKNOWN;
        if (fate != NOT_PUBLISHED && (fate != UNKNOWN || !repeatable))
            return fate;
        uint32_t asked_ms = eg_call_retry_after(&post->answer) * 1000;
        uint32_t wait_ms = asked_ms + eg_backoff_next_ms(&backoff);
        if (eg_client_stopped || now_ms() + wait_ms > end_ms)
            return doubtful ? UNKNOWN : NOT_PUBLISHED;
        eg_call_answer_done(&post->answer);
        if (!eg_client_wait_ms(wait_ms))
            snprintf(post->sentence, sizeof(post->sentence), "ended by a signal");
    }
}

/* Counts and tells what wasn't published, but for what is refused and may be sent in parts. */
static void settle(struct post *post, enum fate fate)
{
    struct eg_sending_sum *sum = post->sum;
    switch (fate) {
    case DONE:
        take_results(post);
        break;
    case UNKNOWN:
        sum->unknown += post->count;
        sum->ended = true;
        tell_all(post, "may or may not have been published", post->sentence);
        break;
    case NOT_PUBLISHED:
    case REFUSED_ALL:
        sum->ended = true;
        /* fall through */
    case REFUSED:
        sum->refused += post->count;
        tell_all(post, fate == NOT_PUBLISHED || post->answer.status == 0 ? "was not published" : "was refused",
                 post->sentence);
        break;
    }
}

static void refuse(const struct eg_sending_item *item, struct eg_sending_sum *sum, const char *sentence)
{
    sum->refused++;
    tell(item->line, "was refused", sentence);
}

static bool is_json(struct eg_bytes data)
{
    return eg_json_check(data.data, data.length) == 0;
}

/* The key of an event: `key`, or of a line "key:LINE". */
static void make_key(const struct eg_sending *sending, const struct eg_sending_item *item, char ret_key[KEY_MAX])
{
    if (item->line > 0)
        snprintf(ret_key, KEY_MAX, "%.230s:%" PRIu64, sending->key, item->line);
    else
        snprintf(ret_key, KEY_MAX, "%s", sending->key);
}

/* --- one event ---------------------------------------------------------------------------------------------------- */

static char *path_of(const struct eg_sending *sending)
{
    struct eg_buffer path = EG_BUFFER_INIT;
    eg_buffer_add_string(&path, "/channels/");
    eg_call_add_escaped(&path, sending->channel, false);
    if (sending->type) {
        eg_buffer_add_string(&path, "?type=");
        eg_call_add_escaped(&path, sending->type, true);
    }
    return eg_buffer_take(&path, NULL);
}

static enum fate send_one(struct post *post, const char *path)
{
    static const char *const types[] = {"Content-Type:", "Content-Type: application/json",
                                        "Content-Type: text/plain; charset=utf-8"};
    const struct eg_sending *sending = post->sending;
    char key[KEY_MAX], key_line[KEY_MAX + 20];
    bool has_key = !sending->is_known || !sending->is_live;
    make_key(sending, post->items, key);
    snprintf(key_line, sizeof(key_line), "Idempotency-Key: %s", key);
    const char *const headers[] = {types[sending->form], has_key ? key_line : NULL, NULL};
    struct eg_bytes body = post->items[0].data;
    if (!body.data)
        body.data = "";
    const struct eg_call_request request = {
        .method = "POST", .path = path, .headers = headers, .body = body, .fresh = !has_key, .timeout_ms = TIMEOUT_MS};
    return deliver(post, &request, has_key);
}

void eg_sending_one(struct eg_sending *sending, const struct eg_sending_item *item, struct eg_sending_sum *sum)
{
    struct post post = {.sending = sending, .items = item, .count = 1, .sum = sum};
    char *path = path_of(sending);
    if (!path) {
        refuse(item, sum, "out of memory");
        return;
    }
    enum fate fate = send_one(&post, path);
    bool has_key = !sending->is_known || !sending->is_live;
    if (fate == REFUSED && has_key && sending->has_made_key && strcmp(post.type, "bad-parameter") == 0) {
        /* Live channels take no keys, nor anything else beside the event: what else there is, they will refuse, too. */
        eg_call_answer_done(&post.answer);
        sending->is_known = sending->is_live = true;
        fate = send_one(&post, path);
        sending->is_known = fate != REFUSED;
    }
    if (fate == DONE && !sending->is_known) {
        sending->is_known = true;
        sending->is_live = post.answer.status == 202;
    }
    settle(&post, fate);
    eg_call_answer_done(&post.answer);
    free(path);
}

/* --- batches ------------------------------------------------------------------------------------------------------ */

static void add_item(const struct eg_sending *sending, const struct eg_sending_item *item, struct eg_buffer *body)
{
    char key[KEY_MAX];
    eg_buffer_add_string(body, "{\"channel\":");
    eg_buffer_add_json_string(body, sending->channel, strlen(sending->channel));
    eg_buffer_add_string(body, ",\"data\":");
    /* A live channel gets the text of a string as it is: so every line of input arrives as it stands. */
    if (!sending->is_live && sending->form != EG_SENDING_TEXT && is_json(item->data))
        eg_buffer_add(body, item->data.data, item->data.length);
    else
        eg_buffer_add_json_string(body, item->data.data, item->data.length);
    if (sending->type && !sending->is_live) {
        eg_buffer_add_string(body, ",\"type\":");
        eg_buffer_add_json_string(body, sending->type, strlen(sending->type));
    }
    if (!sending->is_live) {
        make_key(sending, item, key);
        eg_buffer_add_string(body, ",\"key\":");
        eg_buffer_add_json_string(body, key, strlen(key));
    }
    eg_buffer_add_string(body, "}\n");
}

void eg_sending_batch(struct eg_sending *sending, const struct eg_sending_item *items, size_t count,
                      struct eg_sending_sum *sum)
{
    static const char *const headers[] = {"Content-Type: application/x-ndjson", NULL};
    struct post post = {.sending = sending, .items = items, .count = count, .sum = sum};
    struct eg_buffer body = EG_BUFFER_INIT;
    if (count == 1) {
        eg_sending_one(sending, items, sum);
        return;
    }
    for (size_t i = 0; i < count; i++)
        add_item(sending, &items[i], &body);
    const struct eg_call_request request = {.method = "POST",
                                            .path = "/events",
                                            .headers = headers,
                                            .body = {body.data, body.length},
                                            .fresh = sending->is_live,
                                            .timeout_ms = TIMEOUT_MS};
    enum fate fate = NOT_PUBLISHED;
    if (body.failed)
        snprintf(post.sentence, sizeof(post.sentence), "out of memory");
    else
        fate = deliver(&post, &request, !sending->is_live);
    eg_buffer_done(&body);
    if (fate != REFUSED)
        settle(&post, fate);
    eg_call_answer_done(&post.answer);
    if (fate != REFUSED)
        return;
    /* Nothing of it was published. Which one is to blame is found by halving. */
    eg_sending_batch(sending, items, count / 2, sum);
    if (!sum->ended)
        eg_sending_batch(sending, items + count / 2, count - count / 2, sum);
}

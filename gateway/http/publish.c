/*
 * Publishing by POST.
 *
 * A posting is a request on its way: its rows in the order of the request, and one publication (part) for each set that
 * they go to. Everything is checked before anything is admitted; the parts are admitted all or none; then each goes to
 * its set's publisher and comes back through the worker's mailbox. The answer is made when the last part is back. A
 * client that has gone by then is no reason to stop: what was submitted is published.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/json.h"
#include "eventgate/log.h"
#include "eventgate/subscribe.h"
#include "eventgate/utf8.h"
#include "eventgate/worker.h"

/* PostgreSQL's NOTIFY_PAYLOAD_MAX_LENGTH - 1: https://www.postgresql.org/docs/15/sql-notify.html */
#define LIVE_PAYLOAD_MAX_BYTES 7999

struct posting;

struct part {
    struct eg_message message;
    struct posting *posting;
    struct eg_publication *publication;
};

struct row {
    struct eg_bytes channel;
    struct eg_bytes payload;
    uint32_t set;
    enum eg_outcome outcome;
    struct eg_error *error; /* owned */
};

struct posting {
    struct eg_worker *worker;
    struct eg_exchange *exchange; /* NULL: the client has gone */
    bool batch;
    size_t row_count;
    struct row *rows;
    size_t part_count, parts_left;
    struct part parts[]; /* at most one a set */
};

static void refuse(struct eg_exchange *exchange, enum eg_problem problem, const char *detail)
{
    eg_exchange_problem(exchange, problem, detail, NULL);
}

static void refuse_row(struct eg_exchange *exchange, enum eg_problem problem, const struct posting *posting, size_t row,
                       const char *detail)
{
    char text[400];
    if (posting->batch)
        snprintf(text, sizeof(text), "Item %zu of the batch: %s Nothing of the batch was published.", row + 1, detail);
    else
        snprintf(text, sizeof(text), "%s", detail);
    refuse(exchange, problem, text);
}

static void posting_free(struct posting *posting)
{
    for (size_t i = 0; i < posting->row_count; i++)
        free(posting->rows[i].error);
    for (size_t i = 0; i < posting->part_count; i++)
        eg_publication_free(posting->parts[i].publication);
    free(posting->rows);
    free(posting);
}

/* --- the answer -------------------------------------------------------------------------------------------------- */

static enum eg_problem problem_of(const struct row *row, const char **ret_detail)
{
    switch (row->outcome) {
    case EG_OUTCOME_REFUSED:
        *ret_detail = row->error ? row->error->sentence : "PostgreSQL refused it.";
        return EG_PROBLEM_REFUSED;
    case EG_OUTCOME_UNKNOWN:
        *ret_detail = "The connection to the database was lost before it answered: the event may or may not have been "
                      "published. Sending it again may publish it twice.";
        return EG_PROBLEM_OUTCOME_UNKNOWN;
    default:
        *ret_detail = "The database is away; nothing was published. Send it again later.";
        return EG_PROBLEM_DATABASE_AWAY;
    }
}

static void add_row(struct eg_buffer *body, const struct row *row, const char *request_id, unsigned *ret_status)
{
    if (row->outcome == EG_OUTCOME_COMMITTED) {
        *ret_status = 202;
        eg_buffer_add_string(body, "{\"status\":202}");
        return;
    }
    const char *detail;
    enum eg_problem problem = problem_of(row, &detail);
    *ret_status = eg_problem_status(problem);
    eg_buffer_add_format(body, "{\"status\":%u,\"problem\":", *ret_status);
    eg_problem_add(body, problem, detail, request_id);
    eg_buffer_add_string(body, "}");
}

/* 202 only if every row is; what they have in common, else 207 (RFC 4918). */
static void answer_batch(struct posting *posting)
{
    struct eg_buffer body = EG_BUFFER_INIT;
    unsigned status = 0;
    eg_buffer_add_string(&body, "{\"results\":[");
    for (size_t i = 0; i < posting->row_count; i++) {
        unsigned row_status;
        eg_buffer_add_string(&body, i ? "," : "");
        add_row(&body, &posting->rows[i], posting->exchange->id, &row_status);
        status = status == 0 || status == row_status ? row_status : 207;
    }
    eg_buffer_add_string(&body, "]}\n");
    eg_exchange_reply(posting->exchange, posting->row_count ? status : 202, "application/json", &body,
                      status == 503 ? (struct eg_header[]){{"Retry-After", "1"}, {NULL, NULL}} : NULL);
}

static void answer_single(struct posting *posting)
{
    const struct row *row = &posting->rows[0];
    if (row->outcome != EG_OUTCOME_COMMITTED) {
        const char *detail;
        enum eg_problem problem = problem_of(row, &detail);
        refuse(posting->exchange, problem, detail);
        return;
    }
    struct eg_buffer body = EG_BUFFER_INIT;
    eg_buffer_add_string(&body, "{\"status\":202}\n");
    eg_exchange_reply(posting->exchange, 202, "application/json", &body, NULL);
}

static void answer(struct posting *posting)
{
    struct eg_exchange *exchange = posting->exchange;
    if (exchange) {
        exchange->gone = NULL;
        if (posting->batch)
            answer_batch(posting);
        else
            answer_single(posting);
    }
    posting_free(posting);
}

static void part_is_back(struct eg_message *message, void *context)
{
    struct part *part = EG_CONTAINER_OF(message, struct part, message);
    struct posting *posting = part->posting;
    (void)context;
    for (size_t i = 0; i < part->publication->count; i++) {
        struct eg_publication_item *item = &part->publication->items[i];
        struct row *row = &posting->rows[item->row];
        row->outcome = item->outcome;
        row->error = item->error;
        item->error = NULL;
    }
    if (--posting->parts_left == 0)
        answer(posting);
}

/* On the publisher's thread: back to the worker. */
static void part_done(struct eg_publication *publication)
{
    struct part *part = publication->context;
    eg_mailbox_post(&part->posting->worker->mailbox, &part->message);
}

static void exchange_gone(struct eg_exchange *exchange)
{
    struct posting *posting = exchange->state;
    posting->exchange = NULL;
}

/* --- the request ------------------------------------------------------------------------------------------------- */

/* Fills in the row's set. Answers and returns false if the row can't be published. */
static bool check_row(struct posting *posting, struct eg_exchange *exchange, size_t index)
{
    struct row *row = &posting->rows[index];
    const char *problem = eg_channel_name_problem(row->channel.data, row->channel.length);
    if (problem) {
        char detail[200];
        snprintf(detail, sizeof(detail), "The channel name %s: one publishes to one channel by its name.", problem);
        refuse_row(exchange, EG_PROBLEM_BAD_CHANNEL, posting, index, detail);
        return false;
    }
    int set = eg_config_find(posting->worker->shared->config, row->channel.data, row->channel.length).set;
    if (set < 0 || row->channel.length > EG_LIVE_CHANNEL_MAX_BYTES) {
        eg_unknown_channel(posting->worker, exchange, row->channel);
        return false;
    }
    row->set = (uint32_t)set;
    if (row->payload.length > LIVE_PAYLOAD_MAX_BYTES) {
        eg_metrics_add(posting->worker->metrics, EG_METRIC_LIMIT_BODY, 1);
        refuse_row(exchange, EG_PROBLEM_TOO_LARGE, posting, index,
                   "A live event has at most 7,999 bytes, PostgreSQL's limit for NOTIFY. Store the data, and publish "
                   "its key.");
        return false;
    }
    if (!eg_utf8_valid(row->payload.data, row->payload.length)) {
        refuse_row(exchange, EG_PROBLEM_BAD_BODY, posting, index,
                   "The payload is not UTF-8. Encode binary data, say in base64.");
        return false;
    }
    if (row->payload.length > 0 && memchr(row->payload.data, '\0', row->payload.length)) {
        refuse_row(exchange, EG_PROBLEM_BAD_BODY, posting, index, "PostgreSQL cannot carry a NUL byte in a payload.");
        return false;
    }
    return true;
}

/* Copies the rows of one set into its publication. */
static bool make_part(struct posting *posting, uint32_t set)
{
    size_t count = 0, bytes = 0;
    char *text;
    for (size_t i = 0; i < posting->row_count; i++)
        if (posting->rows[i].set == set) {
            count++;
            bytes += posting->rows[i].channel.length + posting->rows[i].payload.length;
        }
    if (count == 0)
        return true;
    struct part *part = &posting->parts[posting->part_count];
    part->publication = eg_publication_new(count, bytes, &text);
    if (!part->publication)
        return false;
    posting->part_count++;
    part->posting = posting;
    part->message.deliver = part_is_back;
    part->publication->done = part_done;
    part->publication->context = part;
    part->publication->set = set;
    part->publication->bytes = bytes;
    struct eg_publication_item *item = part->publication->items;
    for (size_t i = 0; i < posting->row_count; i++) {
        const struct row *row = &posting->rows[i];
        if (row->set != set)
            continue;
        item->row = (uint32_t)i;
        item->channel = (struct eg_bytes){memcpy(text, row->channel.data, row->channel.length), row->channel.length};
        text += row->channel.length;
        item->payload = (struct eg_bytes){text, row->payload.length};
        if (row->payload.length > 0)
            memcpy(text, row->payload.data, row->payload.length);
        text += row->payload.length;
        item++;
    }
    return true;
}

/* Reserves room in the queue of every set that is published to, or of none. */
static int admit_all(struct posting *posting)
{
    const struct eg_worker_port *port = &posting->worker->shared->port;
    for (size_t i = 0; i < posting->part_count; i++) {
        const struct eg_publication *publication = posting->parts[i].publication;
        int error =
            port->admit(port->context, publication->set, publication->durable, publication->count, publication->bytes);
        if (!error)
            continue;
        while (i-- > 0) {
            publication = posting->parts[i].publication;
            port->release(port->context, publication->set, publication->durable, publication->count,
                          publication->bytes);
        }
        return error;
    }
    return 0;
}

/* Takes the posting: publishes it, or answers why not. */
static void submit(struct posting *posting, struct eg_exchange *exchange)
{
    struct eg_worker *worker = posting->worker;
    bool made = true;
    for (size_t i = 0; i < posting->row_count; i++)
        if (!check_row(posting, exchange, i)) {
            posting_free(posting);
            return;
        }
    for (uint32_t set = 0; made && set < worker->set_count; set++)
        made = make_part(posting, set);
    int error = made ? admit_all(posting) : -ENOMEM;
    if (error) {
        posting_free(posting);
        if (error == -EAGAIN)
            eg_metrics_add(worker->metrics, EG_METRIC_LIMIT_QUEUE, 1);
        if (error == -ENOTCONN)
            refuse(exchange, EG_PROBLEM_DATABASE_AWAY,
                   "The database is away; nothing was published. Send it again later.");
        else
            refuse(exchange, EG_PROBLEM_OVERLOADED,
                   error == -EAGAIN
                       ? "More is being published than the database takes (publish_queue); nothing of this was "
                         "published. Send it again later."
                       : "The gateway is out of memory; nothing was published. Send it again.");
        return;
    }
    posting->exchange = exchange;
    posting->parts_left = posting->part_count;
    exchange->state = posting;
    exchange->gone = exchange_gone;
    if (posting->part_count == 0) {
        answer(posting);
        return;
    }
    eg_exchange_hold(exchange);
    size_t count = posting->part_count;
    for (size_t i = 0; i < count; i++)
        eg_worker_publish(worker, posting->parts[i].publication);
}

static struct posting *posting_new(struct eg_worker *worker, bool batch, size_t rows)
{
    struct posting *posting = calloc(1, sizeof(*posting) + worker->set_count * sizeof(struct part));
    if (!posting)
        return NULL;
    posting->worker = worker;
    posting->batch = batch;
    posting->row_count = rows;
    posting->rows = calloc(rows ? rows : 1, sizeof(*posting->rows));
    if (posting->rows)
        return posting;
    free(posting);
    return NULL;
}

static void no_memory(struct eg_exchange *exchange)
{
    refuse(exchange, EG_PROBLEM_OVERLOADED, "The gateway is out of memory; nothing was published. Send it again.");
}

static void handle_single(struct eg_worker *worker, struct eg_exchange *exchange, enum eg_body_kind kind)
{
    struct eg_bytes payload = {exchange->body.data ? exchange->body.data : "", exchange->body.length};
    if (kind == EG_BODY_NDJSON) {
        refuse(exchange, EG_PROBLEM_UNSUPPORTED_TYPE,
               "NDJSON is for batches: POST it to /events. Here, send one event as application/json or text/plain.");
        return;
    }
    if (kind == EG_BODY_JSON && !eg_json_valid(payload.data, payload.length)) {
        refuse(exchange, EG_PROBLEM_BAD_BODY,
               "The body says that it is JSON, and it isn't (RFC 8259). Mend it, or send it as text/plain.");
        return;
    }
    struct posting *posting = posting_new(worker, false, 1);
    if (!posting) {
        no_memory(exchange);
        return;
    }
    posting->rows[0].channel = exchange->channel;
    posting->rows[0].payload = payload;
    submit(posting, exchange);
}

/* A body that doesn't say what it is: an array begins with a bracket. */
static bool looks_like_array(const struct eg_buffer *body)
{
    size_t at = 0;
    while (at < body->length && strchr(" \t\r\n", body->data[at]))
        at++;
    return at < body->length && body->data[at] == '[';
}

static bool check_item(struct posting *posting, struct eg_exchange *exchange, const struct eg_json_batch_item *item,
                       size_t index)
{
    if (!item->has_type && !item->has_key)
        return true;
    refuse_row(exchange, EG_PROBLEM_BAD_PARAMETER, posting, index,
               "\"type\" and \"key\" are for durable channels; a live event is its payload and nothing else.");
    return false;
}

static void handle_batch(struct eg_worker *worker, struct eg_exchange *exchange, enum eg_body_kind kind)
{
    struct eg_json_batch batch;
    struct eg_error error;
    bool ndjson = kind == EG_BODY_NDJSON || (kind == EG_BODY_TEXT && !looks_like_array(&exchange->body));
    int result = eg_json_batch_parse(exchange->body.data ? exchange->body.data : "", exchange->body.length, ndjson,
                                     worker->settings.max_batch_items, &batch, &error);
    if (result == -ENOMEM) {
        no_memory(exchange);
        return;
    }
    if (result) {
        if (result == -E2BIG)
            eg_metrics_add(worker->metrics, EG_METRIC_LIMIT_BATCH, 1);
        refuse(exchange, result == -E2BIG ? EG_PROBLEM_TOO_LARGE : EG_PROBLEM_BAD_BODY, error.sentence);
        return;
    }
    struct posting *posting = posting_new(worker, true, batch.count);
    if (!posting) {
        eg_json_batch_done(&batch);
        no_memory(exchange);
        return;
    }
    bool good = true;
    for (size_t i = 0; good && i < batch.count; i++) {
        good = check_item(posting, exchange, &batch.items[i], i);
        posting->rows[i].channel = batch.items[i].channel;
        posting->rows[i].payload = batch.items[i].data;
    }
    if (good)
        submit(posting, exchange);
    else
        posting_free(posting);
    eg_json_batch_done(&batch);
}

static bool parameters_fit(struct eg_exchange *exchange)
{
    for (size_t i = 0; i < exchange->target.parameter_count; i++) {
        const char *name = exchange->target.parameters[i].name.data;
        if (strcmp(name, "access_token") == 0)
            continue;
        if (strcmp(name, "type") == 0)
            refuse(exchange, EG_PROBLEM_BAD_PARAMETER,
                   "\"type\" is for durable channels: a live event is its payload and nothing else.");
        else
            refuse(exchange, EG_PROBLEM_BAD_PARAMETER, "Publishing to a live channel takes no query parameters.");
        return false;
    }
    if (!eg_exchange_header(exchange, "Idempotency-Key"))
        return true;
    refuse(
        exchange, EG_PROBLEM_BAD_PARAMETER,
        "Idempotency-Key is for durable channels: nothing remembers a live event, so its repeat cannot be recognised.");
    return false;
}

void eg_publish_handle(struct eg_worker *worker, struct eg_exchange *exchange)
{
    enum eg_body_kind kind;
    struct eg_refusal refusal;
    if (worker->draining) {
        refuse(exchange, EG_PROBLEM_DRAINING, "This gateway is shutting down; nothing was published. Send it again.");
        return;
    }
    if (!parameters_fit(exchange))
        return;
    if (eg_body_kind_read(eg_exchange_header(exchange, "Content-Type"),
                          eg_exchange_header(exchange, "Content-Encoding"), &kind, &refusal) != 0) {
        refuse(exchange, refusal.problem, refusal.detail);
        return;
    }
    if (exchange->route == EG_ROUTE_CHANNEL)
        handle_single(worker, exchange, kind);
    else
        handle_batch(worker, exchange, kind);
}

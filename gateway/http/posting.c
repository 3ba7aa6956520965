/*
 * The life of a POST.
 *
 * A posting has its rows in the order of the request, and publications (parts): one for all durable rows, which is
 * appended as a whole, and one for the live rows of each set. The parts are admitted all or none. Then the durable part
 * goes to its set's appender; only when it has been committed, the live parts go to their publishers, so that a batch
 * whose durable rows are refused has published nothing. Each part comes back through the worker's mailbox, and the
 * answer is made when the last is back. A client that has gone by then is no reason to stop: what was submitted is
 * published.
 */
#include "eventgate/posting.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/grants.h"
#include "eventgate/token_scope.h"

/* program_limit_exceeded: the SQL function's word for data over its max_bytes */
#define TOO_LARGE_SQLSTATE "54000"

struct part {
    struct eg_message message;
    struct eg_posting *posting;
    struct eg_publication *publication;
};

struct eg_posting {
    struct eg_worker *worker;
    struct eg_exchange *exchange; /* NULL: the client has gone */
    bool batch;
    bool unpublished;                /* the durable part wasn't committed, so that nothing else is published */
    char tag[EG_CURSOR_TAG_MAX + 1]; /* of the log, for ids */
    char request[EG_EXCHANGE_ID_MAX + 1];
    uint64_t submitted_us;
    const char *subject; /* whose keys they are; while it is being submitted */
    size_t row_count;
    struct eg_posting_row *rows;
    size_t part_count, parts_left;
    struct part parts[]; /* the durable one first; at most one more than there are sets */
};

struct eg_posting *eg_posting_new(struct eg_worker *worker, bool batch, size_t rows)
{
    struct eg_posting *posting = calloc(1, sizeof(*posting) + (worker->config->set_count + 1) * sizeof(struct part));
    if (!posting)
        return NULL;
    posting->worker = worker;
    posting->batch = batch;
    posting->row_count = rows;
    posting->rows = calloc(rows, sizeof(*posting->rows));
    if (posting->rows)
        return posting;
    free(posting);
    return NULL;
}

struct eg_posting_row *eg_posting_row(struct eg_posting *posting, size_t index)
{
    return &posting->rows[index];
}

void eg_posting_free(struct eg_posting *posting)
{
    if (!posting)
        return;
    for (size_t i = 0; i < posting->row_count; i++)
        free(posting->rows[i].error);
    for (size_t i = 0; i < posting->part_count; i++)
        eg_publication_free(posting->parts[i].publication);
    free(posting->rows);
    free(posting);
}

void eg_posting_no_memory(struct eg_exchange *exchange)
{
    eg_exchange_problem(exchange, EG_PROBLEM_OVERLOADED,
                        "The gateway is out of memory; nothing was published. Send it again.", NULL);
}

/* --- the answer -------------------------------------------------------------------------------------------------- */

static bool is_committed(const struct eg_posting_row *row)
{
    return row->outcome == EG_OUTCOME_COMMITTED || row->outcome == EG_OUTCOME_REPLAYED;
}

static const char *unknown_sentence(const struct eg_posting_row *row)
{
    if (!row->durable)
        return "The connection to the database was lost before it answered: the event may or may not have been "
               "published. Sending it again may publish it twice.";
    if (row->key.length > 0)
        return "The connection to the database was lost before it answered: the event may or may not have been "
               "published. Send it again with the same Idempotency-Key, and it is published once.";
    return "The connection to the database was lost before it answered: the event may or may not have been published. "
           "Sending it again may publish it twice; give it an Idempotency-Key, and repeats are recognised.";
}

static enum eg_problem problem_of(const struct eg_posting_row *row, const char **ret_detail)
{
    switch (row->outcome) {
    case EG_OUTCOME_REFUSED:
        *ret_detail = row->error ? row->error->sentence : "PostgreSQL refused it.";
        return row->durable && row->error && strcmp(row->error->sqlstate, TOO_LARGE_SQLSTATE) == 0
                   ? EG_PROBLEM_TOO_LARGE
                   : EG_PROBLEM_REFUSED;
    case EG_OUTCOME_CONFLICT:
        *ret_detail = "Its key was used for another event of this channel. A repeat has to be the same, in data and "
                      "type; another event needs a key of its own.";
        return EG_PROBLEM_IDEMPOTENCY_CONFLICT;
    case EG_OUTCOME_UNKNOWN:
        *ret_detail = unknown_sentence(row);
        return EG_PROBLEM_OUTCOME_UNKNOWN;
    default:
        *ret_detail = "The database is away; nothing was published. Send it again later.";
        return EG_PROBLEM_DATABASE_AWAY;
    }
}

/* What is said of a row that has been committed, and its status. */
static unsigned add_committed(struct eg_buffer *body, const struct eg_posting *posting,
                              const struct eg_posting_row *row)
{
    if (!row->durable) {
        eg_buffer_add_string(body, "{\"status\":202}");
        return 202;
    }
    eg_buffer_add_format(body, "{\"status\":201,\"id\":\"%s.%" PRIu64 "\"%s}", posting->tag, row->position,
                         posting->batch && row->outcome == EG_OUTCOME_REPLAYED ? ",\"replayed\":true" : "");
    return 201;
}

static unsigned add_row(struct eg_buffer *body, const struct eg_posting *posting, const struct eg_posting_row *row)
{
    if (is_committed(row))
        return add_committed(body, posting, row);
    const char *detail;
    enum eg_problem problem = problem_of(row, &detail);
    unsigned status = eg_problem_status(problem);
    eg_buffer_add_format(body, "{\"status\":%u,\"problem\":", status);
    eg_problem_add(body, problem, detail, posting->exchange->id);
    eg_buffer_add_string(body, "}");
    return status;
}

/* The status that all rows have in common, else 207 (RFC 4918). */
static void answer_batch(struct eg_posting *posting)
{
    struct eg_buffer body = EG_BUFFER_INIT;
    unsigned status = 0;
    eg_buffer_add_string(&body, "{\"results\":[");
    for (size_t i = 0; i < posting->row_count; i++) {
        eg_buffer_add_string(&body, i ? "," : "");
        unsigned row_status = add_row(&body, posting, &posting->rows[i]);
        status = status == 0 || status == row_status ? row_status : 207;
    }
    eg_buffer_add_string(&body, "]}\n");
    eg_exchange_reply(posting->exchange, status, "application/json", &body,
                      status == 503 ? (struct eg_header[]){{"Retry-After", "1"}, {NULL, NULL}} : NULL);
}

/* The row that says best why the durable part wasn't committed: the first in conflict, else the first durable one. */
static size_t row_to_blame(const struct eg_posting *posting)
{
    size_t first = posting->row_count;
    for (size_t i = 0; i < posting->row_count; i++) {
        const struct eg_posting_row *row = &posting->rows[i];
        if (row->durable && row->outcome == EG_OUTCOME_CONFLICT)
            return i;
        if (row->durable && first == posting->row_count)
            first = i;
    }
    return first;
}

static void refuse_batch(struct eg_posting *posting)
{
    char text[900];
    const char *detail;
    size_t index = row_to_blame(posting);
    enum eg_problem problem = problem_of(&posting->rows[index], &detail);
    if (problem == EG_PROBLEM_IDEMPOTENCY_CONFLICT)
        snprintf(text, sizeof(text), "Item %zu of the batch: %s Nothing of the batch was published.", index + 1,
                 detail);
    else if (problem == EG_PROBLEM_OUTCOME_UNKNOWN)
        snprintf(text, sizeof(text),
                 "The connection to the database was lost before it answered: all durable events of the batch may have "
                 "been published, or none; live ones were not. Send it again: what has a \"key\" is published once.");
    else if (problem == EG_PROBLEM_DATABASE_AWAY)
        snprintf(text, sizeof(text), "%s", detail);
    else
        snprintf(text, sizeof(text), "%s Nothing of the batch was published.", detail);
    eg_exchange_problem(posting->exchange, problem, text, NULL);
}

static void answer_single(struct eg_posting *posting)
{
    const struct eg_posting_row *row = &posting->rows[0];
    if (!is_committed(row)) {
        const char *detail;
        enum eg_problem problem = problem_of(row, &detail);
        eg_exchange_problem(posting->exchange, problem, detail, NULL);
        return;
    }
    struct eg_buffer body = EG_BUFFER_INIT;
    unsigned status = add_committed(&body, posting, row);
    eg_buffer_add_string(&body, "\n");
    eg_exchange_reply(posting->exchange, status, "application/json", &body,
                      row->outcome == EG_OUTCOME_REPLAYED
                          ? (struct eg_header[]){{"Idempotency-Replayed", "true"}, {NULL, NULL}}
                          : NULL);
}

static void answer(struct eg_posting *posting)
{
    struct eg_exchange *exchange = posting->exchange;
    if (exchange) {
        exchange->gone = NULL;
        exchange->may_be_done = true;
        if (!posting->batch)
            answer_single(posting);
        else if (posting->unpublished)
            refuse_batch(posting);
        else
            answer_batch(posting);
    }
    eg_posting_free(posting);
}

static void exchange_gone(struct eg_exchange *exchange)
{
    struct eg_posting *posting = exchange->state;
    posting->exchange = NULL;
}

/* --- parts ------------------------------------------------------------------------------------------------------- */

static bool has_durable_part(const struct eg_posting *posting)
{
    return posting->parts[0].publication->durable;
}

static struct eg_worker_set *set_of(const struct part *part)
{
    return part->posting->worker->sets[part->publication->set];
}

/* Gives back the room of the parts from `first` on, which won't be published. */
static void release_parts(struct eg_posting *posting, size_t first, size_t end)
{
    const struct eg_worker_port *port = &posting->worker->shared->port;
    for (size_t i = first; i < end; i++) {
        const struct eg_publication *publication = posting->parts[i].publication;
        port->release(port->context, publication->set, publication->durable, publication->count, publication->bytes);
        set_of(&posting->parts[i])->users--;
    }
}

static void publish_parts(struct eg_posting *posting, size_t first, size_t end)
{
    posting->parts_left = end - first;
    for (size_t i = first; i < end; i++)
        eg_worker_publish(posting->worker, posting->parts[i].publication);
}

static bool all_committed(const struct eg_publication *publication)
{
    for (size_t i = 0; i < publication->count; i++)
        if (publication->items[i].outcome != EG_OUTCOME_COMMITTED &&
            publication->items[i].outcome != EG_OUTCOME_REPLAYED)
            return false;
    return true;
}

/* What is left to do after the durable part; a worker that is being freed does nothing more. */
static void durable_part_is_back(struct eg_posting *posting)
{
    const struct eg_publication *publication = posting->parts[0].publication;
    bool stopped = !posting->worker->server;
    snprintf(posting->tag, sizeof(posting->tag), "%s", publication->tag);
    posting->unpublished = !all_committed(publication);
    if (!posting->unpublished && !stopped && posting->part_count > 1) {
        publish_parts(posting, 1, posting->part_count);
        return;
    }
    if (!stopped)
        release_parts(posting, 1, posting->part_count);
    answer(posting);
}

/* By the clock of the worker's turns. */
static void count_time(const struct eg_posting *posting, const struct eg_publication *publication)
{
    uint64_t took_us = eg_loop_now_us(posting->worker->loop) - posting->submitted_us;
    if (all_committed(publication))
        eg_metrics_observe(posting->worker->sets[publication->set]->metrics,
                           publication->durable ? EG_METRIC_APPEND_TIME : EG_METRIC_PUBLISH_TIME, took_us, 1);
}

static void part_is_back(struct eg_message *message, void *context)
{
    struct part *part = EG_CONTAINER_OF(message, struct part, message);
    struct eg_posting *posting = part->posting;
    (void)context;
    count_time(posting, part->publication);
    set_of(part)->users--;
    for (size_t i = 0; i < part->publication->count; i++) {
        struct eg_publication_item *item = &part->publication->items[i];
        struct eg_posting_row *row = &posting->rows[item->row];
        row->outcome = item->outcome;
        row->position = item->position;
        row->error = item->error;
        item->error = NULL;
    }
    if (--posting->parts_left > 0)
        return;
    if (part->publication->durable)
        durable_part_is_back(posting);
    else
        answer(posting);
}

/* On the publisher's thread: back to the worker. */
static void part_done(struct eg_publication *publication)
{
    struct part *part = publication->context;
    eg_mailbox_post(&part->posting->worker->mailbox, &part->message);
}

static bool belongs(const struct eg_posting_row *row, uint32_t set, bool durable)
{
    return row->set == set && row->durable == durable;
}

/* Room for them: a key becomes its subject's. */
static size_t bytes_of(const struct eg_posting_row *row)
{
    size_t key = row->key.length > 0 ? EG_SCOPED_KEY_MAX_BYTES : 0;
    return row->channel.length + row->data.length + row->type.length + key + row->trace.length;
}

/* Copies the bytes to `at`, and moves it behind them. */
static struct eg_bytes keep(char **at, struct eg_bytes bytes)
{
    struct eg_bytes kept = {*at, bytes.length};
    if (bytes.length > 0)
        memcpy(*at, bytes.data, bytes.length);
    *at += bytes.length;
    return kept;
}

static struct eg_bytes keep_key(char **at, const char *subject, struct eg_bytes key)
{
    struct eg_bytes kept = {*at, key.length > 0 ? eg_token_scope_key(subject, key, *at) : 0};
    *at += kept.length;
    return kept;
}

/* False: no digest could be made of a key. */
static bool fill_part(struct part *part, const struct eg_posting *posting, char *text)
{
    struct eg_publication_item *item = part->publication->items;
    for (size_t i = 0; i < posting->row_count; i++) {
        const struct eg_posting_row *row = &posting->rows[i];
        if (!belongs(row, part->publication->set, part->publication->durable))
            continue;
        item->row = (uint32_t)i;
        item->channel = keep(&text, row->channel);
        item->payload = keep(&text, row->data);
        item->type = keep(&text, row->type);
        item->key = keep_key(&text, posting->subject, row->key);
        item->trace = keep(&text, row->trace);
        if (row->key.length > 0 && item->key.length == 0)
            return false;
        item++;
    }
    return true;
}

/* Copies the rows of one set and kind, if there are any, into a publication. */
static bool make_part(struct eg_posting *posting, uint32_t set, bool durable)
{
    size_t count = 0, bytes = 0;
    char *text;
    for (size_t i = 0; i < posting->row_count; i++)
        if (belongs(&posting->rows[i], set, durable)) {
            count++;
            bytes += bytes_of(&posting->rows[i]);
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
    part->publication->request = posting->request;
    part->publication->set = set;
    part->publication->durable = durable;
    part->publication->whole = durable;
    part->publication->bytes = bytes;
    return fill_part(part, posting, text);
}

static bool make_parts(struct eg_posting *posting)
{
    bool made = true;
    for (int durable = 1; durable >= 0; durable--)
        for (uint32_t set = 0; made && set < posting->worker->config->set_count; set++)
            made = make_part(posting, set, durable);
    return made;
}

/* Reserves room in the queue of every set that is published to, or of none. */
static int admit_parts(struct eg_posting *posting)
{
    const struct eg_worker_port *port = &posting->worker->shared->port;
    for (size_t i = 0; i < posting->part_count; i++) {
        const struct eg_publication *publication = posting->parts[i].publication;
        int error =
            port->admit(port->context, publication->set, publication->durable, publication->count, publication->bytes);
        if (error) {
            release_parts(posting, 0, i);
            return error;
        }
        set_of(&posting->parts[i])->users++;
    }
    return 0;
}

/* --- submitting -------------------------------------------------------------------------------------------------- */

static void refuse(struct eg_posting *posting, struct eg_exchange *exchange, int error)
{
    if (error == -EAGAIN) {
        eg_metrics_add(posting->worker->metrics, EG_METRIC_LIMIT_QUEUE, 1);
        eg_exchange_problem(exchange, EG_PROBLEM_OVERLOADED,
                            "More is being published than the database takes (publish_queue); nothing of this was "
                            "published. Send it again later.",
                            NULL);
    } else if (error == -E2BIG) {
        eg_metrics_add(posting->worker->metrics, EG_METRIC_LIMIT_QUEUE, 1);
        eg_exchange_problem(exchange, EG_PROBLEM_TOO_LARGE,
                            "This is more than the queue to the database ever takes (publish_queue, "
                            "publish_queue_bytes); nothing of it was published. Send it in smaller batches.",
                            NULL);
    } else if (error == -ENOTCONN) {
        eg_exchange_problem(exchange, EG_PROBLEM_DATABASE_AWAY,
                            has_durable_part(posting)
                                ? "The database or its log is away (GET /healthz says why); nothing was published. "
                                  "Send it again later."
                                : "The database is away; nothing was published. Send it again later.",
                            NULL);
    } else {
        eg_posting_no_memory(exchange);
    }
}

void eg_posting_submit(struct eg_posting *posting, struct eg_exchange *exchange)
{
    memcpy(posting->request, exchange->id, sizeof(posting->request));
    posting->submitted_us = eg_loop_now_us(posting->worker->loop);
    posting->subject = eg_grants_subject(exchange->grants);
    int error = make_parts(posting) ? admit_parts(posting) : -ENOMEM;
    if (error) {
        refuse(posting, exchange, error);
        eg_posting_free(posting);
        return;
    }
    posting->exchange = exchange;
    exchange->state = posting;
    exchange->gone = exchange_gone;
    eg_exchange_hold(exchange);
    publish_parts(posting, 0, has_durable_part(posting) ? 1 : posting->part_count);
}

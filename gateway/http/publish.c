/*
 * Reading what is to be published.
 *
 * Everything is checked here, and every event of a batch, before anything is submitted: which channel it is, what may
 * be given with it, and whether its data can be carried. What is good goes on as a posting.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "eventgate/identity.h"
#include "eventgate/json.h"
#include "eventgate/posting.h"
#include "eventgate/publish_request.h"
#include "eventgate/rates.h"
#include "eventgate/subscribe.h"
#include "eventgate/utf8.h"

/* PostgreSQL's NOTIFY_PAYLOAD_MAX_LENGTH - 1: https://www.postgresql.org/docs/15/sql-notify.html */
#define LIVE_PAYLOAD_MAX_BYTES 7999

#define IN_NO_BATCH SIZE_MAX

static void refuse(struct eg_exchange *exchange, enum eg_problem problem, const char *detail)
{
    eg_exchange_problem(exchange, problem, detail, NULL);
}

/* `item`: its index in the batch, or IN_NO_BATCH. */
static void refuse_item(struct eg_exchange *exchange, size_t item, enum eg_problem problem, const char *detail)
{
    char text[500];
    if (item == IN_NO_BATCH)
        snprintf(text, sizeof(text), "%s", detail);
    else
        snprintf(text, sizeof(text), "Item %zu of the batch: %s Nothing of the batch was published.", item + 1, detail);
    refuse(exchange, problem, text);
}

/* Takes `items` of `all` that it asks for from what the client may publish. Answers and returns false if it is too
 * much, now or for ever. */
static bool take_rate(struct eg_worker *worker, struct eg_exchange *exchange, size_t items, size_t all)
{
    char detail[200];
    uint64_t wait_ms;
    uint32_t most;
    int error = eg_rates_take(worker, exchange, EG_RATE_PUBLISH, (uint32_t)items, (uint32_t)all, &wait_ms, &most);
    if (error == -E2BIG) {
        snprintf(detail, sizeof(detail),
                 "At most %" PRIu32 " events may be published at once (publish_burst): send it in smaller batches. "
                 "Nothing was published.",
                 most);
        refuse(exchange, EG_PROBLEM_TOO_LARGE, detail);
    } else if (error) {
        eg_rates_refuse(exchange,
                        "You publish more than you may (publish_rate). Nothing was published: send it again later.",
                        wait_ms);
    }
    return !error;
}

/* --- one event --------------------------------------------------------------------------------------------------- */

/* Fills in the row's channel, set and kind. Answers and returns false if one can't publish there. */
static bool find_channel(struct eg_worker *worker, struct eg_exchange *exchange, size_t item, struct eg_bytes channel,
                         struct eg_posting_row *row)
{
    const char *problem = eg_channel_name_problem(channel.data, channel.length);
    if (problem) {
        char detail[200];
        snprintf(detail, sizeof(detail), "The channel name %s: one publishes to one channel by its name.", problem);
        refuse_item(exchange, item, EG_PROBLEM_BAD_CHANNEL, detail);
        return false;
    }
    struct eg_config_place place = eg_config_find(worker->config, channel.data, channel.length);
    uint32_t set = place.set < 0 ? EG_ANY_SET : (uint32_t)place.set;
    if (!eg_identity_allows(exchange, EG_RIGHT_PUBLISH, set, channel)) {
        eg_identity_refuse_channel(exchange, EG_RIGHT_PUBLISH, channel, item);
        return false;
    }
    if (place.set < 0 || (!place.durable && channel.length > EG_LIVE_CHANNEL_MAX_BYTES)) {
        eg_unknown_channel(worker, exchange, channel);
        return false;
    }
    row->channel = channel;
    row->set = set;
    row->durable = place.durable;
    return true;
}

static bool check_text(struct eg_exchange *exchange, size_t item, struct eg_bytes text)
{
    if (!eg_utf8_valid(text.data, text.length)) {
        refuse_item(exchange, item, EG_PROBLEM_BAD_BODY,
                    "The payload is not UTF-8. Encode binary data, say in base64.");
        return false;
    }
    if (text.length > 0 && memchr(text.data, '\0', text.length)) {
        refuse_item(exchange, item, EG_PROBLEM_BAD_BODY, "PostgreSQL cannot carry a NUL byte in a payload.");
        return false;
    }
    return true;
}

static bool check_live(struct eg_worker *worker, struct eg_exchange *exchange, size_t item, struct eg_bytes payload)
{
    if (payload.length > LIVE_PAYLOAD_MAX_BYTES) {
        eg_metrics_add(worker->metrics, EG_METRIC_LIMIT_BODY, 1);
        refuse_item(exchange, item, EG_PROBLEM_TOO_LARGE,
                    "A live event has at most 7,999 bytes, PostgreSQL's limit for NOTIFY. Store the data, and publish "
                    "its key.");
        return false;
    }
    return check_text(exchange, item, payload);
}

/* What all durable events of a request carry that have no trace of their own. */
static struct eg_bytes trace_of(const struct eg_exchange *exchange)
{
    return (struct eg_bytes){exchange->trace, strlen(exchange->trace)};
}

/* --- POST /channels/NAME ----------------------------------------------------------------------------------------- */

static bool live_options_fit(struct eg_exchange *exchange)
{
    for (size_t i = 0; i < exchange->target.parameter_count; i++) {
        const char *name = exchange->target.parameters[i].name.data;
        if (strcmp(name, "access_token") == 0)
            continue;
        refuse(exchange, EG_PROBLEM_BAD_PARAMETER,
               strcmp(name, "type") == 0
                   ? "\"type\" is for durable channels: a live event is its payload and nothing else."
                   : "Publishing to a live channel takes no query parameters.");
        return false;
    }
    if (!eg_exchange_header(exchange, "Idempotency-Key"))
        return true;
    refuse(exchange, EG_PROBLEM_BAD_PARAMETER,
           "Idempotency-Key is for durable channels: nothing remembers a live event, so its repeat cannot be "
           "recognised.");
    return false;
}

/* Fills in the row's type and key; `memory` is for the latter. */
static bool read_durable_options(struct eg_exchange *exchange, struct eg_posting_row *row,
                                 char memory[EG_EVENT_KEY_MAX_BYTES + 1])
{
    struct eg_refusal refusal;
    int result = 0;
    for (size_t i = 0; !result && i < exchange->target.parameter_count; i++) {
        const struct eg_parameter *parameter = &exchange->target.parameters[i];
        if (strcmp(parameter->name.data, "access_token") == 0)
            continue;
        if (strcmp(parameter->name.data, "type") != 0)
            result = eg_refuse(&refusal, EG_PROBLEM_BAD_PARAMETER,
                               "Publishing takes one query parameter, \"type\"; an idempotency key is a header "
                               "(Idempotency-Key).");
        else if (row->type.length > 0)
            result = eg_refuse(&refusal, EG_PROBLEM_BAD_PARAMETER, "\"type\" is given twice: an event has one.");
        else
            result = eg_event_type_check(parameter->value, &refusal);
        row->type = parameter->value;
    }
    const char *header = eg_exchange_header(exchange, "Idempotency-Key");
    if (!result && header) {
        result = eg_idempotency_key_read(header, memory, &refusal);
        row->key = (struct eg_bytes){memory, result ? 0 : strlen(memory)};
    }
    if (result)
        refuse(exchange, refusal.problem, refusal.detail);
    return !result;
}

/* The body as JSON: as it is, or as a string, for which `memory` is. */
static bool read_durable_body(struct eg_exchange *exchange, enum eg_body_kind kind, struct eg_bytes body,
                              struct eg_buffer *memory, struct eg_bytes *ret_data)
{
    int unfit = kind == EG_BODY_JSON ? 0 : kind == EG_BODY_UNSAID ? eg_json_check(body.data, body.length) : -EINVAL;
    if (unfit == -ENOMEM) {
        eg_posting_no_memory(exchange);
        return false;
    }
    if (!unfit) {
        *ret_data = body;
        return true;
    }
    if (!check_text(exchange, IN_NO_BATCH, body))
        return false;
    eg_buffer_add_json_string(memory, body.data, body.length);
    *ret_data = (struct eg_bytes){memory->data, memory->length};
    if (memory->failed)
        eg_posting_no_memory(exchange);
    return !memory->failed;
}

/* Answers and returns false if the body isn't the JSON that it says it is. */
static bool is_json(struct eg_exchange *exchange, struct eg_bytes body)
{
    char detail[160];
    int error = eg_json_check(body.data, body.length);
    if (error == -ENOMEM) {
        eg_posting_no_memory(exchange);
    } else if (error) {
        snprintf(detail, sizeof(detail), "The body says that it is JSON, and it %s. Mend it, or send it as text/plain.",
                 eg_json_problem(body.data, body.length));
        refuse(exchange, EG_PROBLEM_BAD_BODY, detail);
    }
    return !error;
}

/* Answers and returns false if the body cannot be what it says. */
static bool body_fits(struct eg_exchange *exchange, struct eg_bytes body, enum eg_body_kind *ret_kind)
{
    struct eg_refusal refusal;
    if (eg_body_kind_read(eg_exchange_header(exchange, "Content-Type"),
                          eg_exchange_header(exchange, "Content-Encoding"), ret_kind, &refusal) != 0)
        refuse(exchange, refusal.problem, refusal.detail);
    else if (*ret_kind == EG_BODY_NDJSON && exchange->route == EG_ROUTE_CHANNEL)
        refuse(exchange, EG_PROBLEM_UNSUPPORTED_TYPE,
               "NDJSON is for batches: POST it to /events. Here, send one event as application/json or text/plain.");
    else
        return *ret_kind != EG_BODY_JSON || exchange->route != EG_ROUTE_CHANNEL || is_json(exchange, body);
    return false;
}

static void submit_single(struct eg_worker *worker, struct eg_exchange *exchange, const struct eg_posting_row *row)
{
    struct eg_posting *posting = eg_posting_new(worker, false, 1);
    if (!posting) {
        eg_posting_no_memory(exchange);
        return;
    }
    *eg_posting_row(posting, 0) = *row;
    eg_posting_submit(posting, exchange);
}

static void handle_single(struct eg_worker *worker, struct eg_exchange *exchange, struct eg_bytes body)
{
    char key[EG_EVENT_KEY_MAX_BYTES + 1];
    struct eg_buffer json = EG_BUFFER_INIT;
    struct eg_posting_row row = {0};
    enum eg_body_kind kind;
    if (!find_channel(worker, exchange, IN_NO_BATCH, exchange->channel, &row))
        return;
    bool good = row.durable ? read_durable_options(exchange, &row, key) : live_options_fit(exchange);
    if (!good || !body_fits(exchange, body, &kind))
        return;
    if (row.durable) {
        row.trace = trace_of(exchange);
        good = read_durable_body(exchange, kind, body, &json, &row.data);
    } else {
        row.data = body;
        good = check_live(worker, exchange, IN_NO_BATCH, body);
    }
    if (good)
        submit_single(worker, exchange, &row);
    eg_buffer_done(&json);
}

/* --- POST /events ------------------------------------------------------------------------------------------------ */

static bool batch_options_fit(struct eg_exchange *exchange)
{
    for (size_t i = 0; i < exchange->target.parameter_count; i++) {
        const char *name = exchange->target.parameters[i].name.data;
        if (strcmp(name, "access_token") == 0)
            continue;
        refuse(exchange, EG_PROBLEM_BAD_PARAMETER,
               strcmp(name, "type") == 0 ? "In a batch, each item for a durable channel has its own \"type\"."
                                         : "Publishing a batch takes no query parameters.");
        return false;
    }
    if (!eg_exchange_header(exchange, "Idempotency-Key"))
        return true;
    refuse(exchange, EG_PROBLEM_BAD_PARAMETER,
           "In a batch, each item for a durable channel has its own \"key\" rather than one Idempotency-Key.");
    return false;
}

/* A body that doesn't say what it is: an array begins with a bracket. */
static bool looks_like_array(struct eg_bytes body)
{
    size_t at = 0;
    while (at < body.length && strchr(" \t\r\n", body.data[at]))
        at++;
    return at < body.length && body.data[at] == '[';
}

static bool read_batch(struct eg_worker *worker, struct eg_exchange *exchange, struct eg_bytes body,
                       struct eg_json_batch *ret_batch)
{
    enum eg_body_kind kind;
    struct eg_error error;
    if (!body_fits(exchange, body, &kind))
        return false;
    bool ndjson = kind == EG_BODY_NDJSON || (kind != EG_BODY_JSON && !looks_like_array(body));
    int result =
        eg_json_batch_parse(body.data, body.length, ndjson, worker->settings.max_batch_items, ret_batch, &error);
    if (result == -E2BIG)
        eg_metrics_add(worker->metrics, EG_METRIC_LIMIT_BATCH, 1);
    if (result == -ENOMEM)
        eg_posting_no_memory(exchange);
    else if (result)
        refuse(exchange, result == -E2BIG ? EG_PROBLEM_TOO_LARGE : EG_PROBLEM_BAD_BODY, error.sentence);
    return !result;
}

static bool read_durable_item(struct eg_exchange *exchange, const struct eg_json_batch_item *item, size_t index,
                              struct eg_posting_row *row)
{
    char trace[EG_TRACEPARENT_LENGTH + 1];
    struct eg_refusal refusal;
    int result = item->has_type ? eg_event_type_check(item->type, &refusal) : 0;
    if (!result && item->has_key)
        result = eg_event_key_check(item->key, &refusal);
    if (!result && item->has_trace && !eg_traceparent_read(item->trace, trace))
        result = eg_refuse(&refusal, EG_PROBLEM_BAD_PARAMETER,
                           "\"trace\" is a traceparent: 00-, 32 hexadecimal digits, -, 16, -, and 2.");
    if (result) {
        refuse_item(exchange, index, refusal.problem, refusal.detail);
        return false;
    }
    row->data = item->json;
    row->type = item->type;
    row->key = item->key;
    row->trace = item->has_trace ? item->trace : trace_of(exchange);
    return true;
}

static bool read_item(struct eg_worker *worker, struct eg_exchange *exchange, const struct eg_json_batch_item *item,
                      size_t index, struct eg_posting_row *row)
{
    if (!find_channel(worker, exchange, index, item->channel, row))
        return false;
    if (row->durable)
        return read_durable_item(exchange, item, index, row);
    if (item->has_type || item->has_key || item->has_trace) {
        refuse_item(exchange, index, EG_PROBLEM_BAD_PARAMETER,
                    "\"type\", \"key\" and \"trace\" are for durable channels; a live event is its payload and nothing "
                    "else.");
        return false;
    }
    row->data = item->data;
    return check_live(worker, exchange, index, item->data);
}

/* Durable events of one batch commit together, hence are of one set. */
static bool check_set(struct eg_worker *worker, struct eg_exchange *exchange, size_t index,
                      const struct eg_posting_row *row, const struct eg_posting_row *first)
{
    char detail[300];
    if (!row->durable || row->set == first->set)
        return true;
    snprintf(detail, sizeof(detail),
             "Its channel is one of the set %s, and a durable one before it of the set %s. Durable events of one batch "
             "commit together, so they must be of one set: send a batch for each.",
             worker->sets[row->set]->config->name, worker->sets[first->set]->config->name);
    refuse_item(exchange, index, EG_PROBLEM_BAD_CHANNEL, detail);
    return false;
}

static bool read_items(struct eg_worker *worker, struct eg_exchange *exchange, const struct eg_json_batch *batch,
                       struct eg_posting *posting)
{
    const struct eg_posting_row *first = NULL;
    for (size_t i = 0; i < batch->count; i++) {
        struct eg_posting_row *row = eg_posting_row(posting, i);
        if (!read_item(worker, exchange, &batch->items[i], i, row))
            return false;
        if (!first && row->durable)
            first = row;
        if (first && !check_set(worker, exchange, i, row, first))
            return false;
    }
    return true;
}

static void handle_batch(struct eg_worker *worker, struct eg_exchange *exchange, struct eg_bytes body)
{
    struct eg_json_batch batch;
    if (!batch_options_fit(exchange) || !read_batch(worker, exchange, body, &batch))
        return;
    struct eg_posting *posting = eg_posting_new(worker, true, batch.count);
    if (!posting)
        eg_posting_no_memory(exchange);
    else if ((batch.count == 1 || take_rate(worker, exchange, batch.count - 1, batch.count)) &&
             read_items(worker, exchange, &batch, posting))
        eg_posting_submit(posting, exchange);
    else
        eg_posting_free(posting);
    eg_json_batch_done(&batch);
}

void eg_publish_handle(struct eg_worker *worker, struct eg_exchange *exchange)
{
    struct eg_bytes body = {exchange->body.data ? exchange->body.data : "", exchange->body.length};
    if (worker->refusing)
        refuse(exchange, EG_PROBLEM_DRAINING, "This gateway is shutting down; nothing was published. Send it again.");
    else if (!take_rate(worker, exchange, 1, 1)) /* before it costs anything; a batch's other items follow */
        return;
    else if (exchange->route == EG_ROUTE_CHANNEL)
        handle_single(worker, exchange, body);
    else
        handle_batch(worker, exchange, body);
}

/*
 * What a subscription asks for: parameters and headers, each read by a function of its own from a table.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "eventgate/request.h"

/* What has been read so far. */
struct reading {
    struct eg_subscription_request *request;
    struct eg_refusal *refusal;
    uint32_t max_channels;
    unsigned seen; /* bit set of single parameters */
    bool has_wait, has_limit;
    const char *last_event_id; /* the parameter; NULL for none */
};

enum {
    SEEN_FORMAT = 1,
    SEEN_PAYLOAD = 2,
    SEEN_EVENT = 4,
    SEEN_AFTER = 8,
    SEEN_WAIT = 16,
    SEEN_LIMIT = 32,
    SEEN_LAST_EVENT_ID = 64
};

static int bad_value(struct reading *reading, const char *name, const char *value, const char *right)
{
    return eg_refuse(reading->refusal, EG_PROBLEM_BAD_PARAMETER, "%s=%.60s is not understood: it is %s.", name, value,
                     right);
}

/* The index of `value` among `names`, or -1. */
static int index_of(const char *value, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(value, names[i]) == 0)
            return i;
    return -1;
}

static int add_channel(struct reading *reading, struct eg_bytes name)
{
    struct eg_subscription_request *request = reading->request;
    const char *problem = eg_pattern_problem(name.data, name.length);
    if (problem)
        return eg_refuse(reading->refusal, EG_PROBLEM_BAD_CHANNEL, "The channel \"%.*s\" %s.",
                         name.length > 100 ? 100 : (int)name.length, name.data, problem);
    for (size_t i = 0; i < request->channel_count; i++)
        if (request->channels[i].length == name.length &&
            memcmp(request->channels[i].data, name.data, name.length) == 0)
            return 0;
    if (request->channel_count == reading->max_channels)
        return eg_refuse(
            reading->refusal, EG_PROBLEM_TOO_MANY_CHANNELS,
            "A stream has at most %u channels (max_channels_per_stream). Use a pattern, or several streams.",
            reading->max_channels);
    struct eg_bytes *grown = reallocarray(request->channels, request->channel_count + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    request->channels = grown;
    request->channels[request->channel_count++] = name;
    return 0;
}

/* --- one function a parameter ----------------------------------------------------------------------------------------
 */

static int read_channel(struct reading *reading, struct eg_bytes value)
{
    return add_channel(reading, value);
}

static int read_format(struct reading *reading, struct eg_bytes value)
{
    static const char *const names[] = {"sse", "ndjson", "poll"};
    int index = index_of(value.data, names, EG_ARRAY_LENGTH(names));
    if (index < 0)
        return bad_value(reading, "format", value.data, "sse, ndjson, or poll");
    reading->request->format.transport = (enum eg_transport)index;
    return 0;
}

static int read_payload(struct reading *reading, struct eg_bytes value)
{
    static const char *const names[] = {"event", "raw", "cloudevents"};
    int index = index_of(value.data, names, EG_ARRAY_LENGTH(names));
    if (index < 0)
        return bad_value(reading, "payload", value.data, "event, raw, or cloudevents");
    reading->request->format.payload = (enum eg_payload)index;
    return 0;
}

static int read_event(struct reading *reading, struct eg_bytes value)
{
    static const char *const names[] = {"none", "type", "channel"};
    int index = index_of(value.data, names, EG_ARRAY_LENGTH(names));
    if (index < 0)
        return bad_value(reading, "event", value.data, "none, type, or channel");
    reading->request->format.name = (enum eg_event_name)index;
    return 0;
}

static int read_after(struct reading *reading, struct eg_bytes value)
{
    struct eg_subscription_request *request = reading->request;
    if (strcmp(value.data, "now") == 0) {
        request->after = EG_AFTER_NOW;
    } else if (strcmp(value.data, "earliest") == 0) {
        request->after = EG_AFTER_EARLIEST;
    } else if (eg_cursor_parse(value.data, value.length, &request->cursor) == 0) {
        request->after = EG_AFTER_CURSOR;
        request->has_cursor = true;
        snprintf(request->cursor_text, sizeof(request->cursor_text), "%s", value.data);
    } else {
        return eg_refuse(
            reading->refusal, EG_PROBLEM_BAD_CURSOR,
            "after=%.60s is not a cursor: take one from an id, a cursor event or \"next\", or use now or earliest.",
            value.data);
    }
    return 0;
}

static int read_whole_number(struct reading *reading, const char *name, const char *value, uint32_t least,
                             uint32_t most, uint32_t *ret_number)
{
    char right[60], *end;
    unsigned long number = strtoul(value, &end, 10);
    snprintf(right, sizeof(right), "a whole number from %u to %u", least, most);
    if (*value < '0' || *value > '9' || *end || strlen(value) > 6 || number < least || number > most)
        return bad_value(reading, name, value, right);
    *ret_number = (uint32_t)number;
    return 0;
}

static int read_wait(struct reading *reading, struct eg_bytes value)
{
    uint32_t seconds = 0;
    reading->has_wait = true;
    int error = read_whole_number(reading, "wait", value.data, 0, EG_POLL_WAIT_MAX_S, &seconds);
    if (!error)
        reading->request->wait_ms = seconds * 1000;
    return error;
}

static int read_limit(struct reading *reading, struct eg_bytes value)
{
    reading->has_limit = true;
    return read_whole_number(reading, "limit", value.data, 1, EG_POLL_LIMIT_MAX, &reading->request->limit);
}

static int read_last_event_id_parameter(struct reading *reading, struct eg_bytes value)
{
    reading->last_event_id = value.data;
    return 0;
}

static int ignore(struct reading *reading, struct eg_bytes value)
{
    (void)reading, (void)value;
    return 0;
}

static const struct {
    const char *name;
    unsigned seen; /* its bit, if it may be given only once */
    int (*read)(struct reading *reading, struct eg_bytes value);
} parameters[] = {
    {"channel", 0, read_channel},
    {"format", SEEN_FORMAT, read_format},
    {"payload", SEEN_PAYLOAD, read_payload},
    {"event", SEEN_EVENT, read_event},
    {"after", SEEN_AFTER, read_after},
    {"wait", SEEN_WAIT, read_wait},
    {"limit", SEEN_LIMIT, read_limit},
    {"access_token", 0, ignore},
    /* For those that open a new EventSource, which can set no header: wrappers and polyfills. */
    {"lastEventId", SEEN_LAST_EVENT_ID, read_last_event_id_parameter},
};

static int read_parameter(struct reading *reading, const struct eg_parameter *parameter)
{
    for (size_t i = 0; i < EG_ARRAY_LENGTH(parameters); i++) {
        if (strcmp(parameter->name.data, parameters[i].name) != 0)
            continue;
        if (reading->seen & parameters[i].seen)
            return eg_refuse(reading->refusal, EG_PROBLEM_BAD_PARAMETER, "%s is given twice.", parameters[i].name);
        reading->seen |= parameters[i].seen;
        return parameters[i].read(reading, parameter->value);
    }
    return eg_refuse(reading->refusal, EG_PROBLEM_BAD_PARAMETER,
                     "There is no parameter \"%.60s\": there are channel, format, payload, event, after, lastEventId, "
                     "wait, and limit.",
                     parameter->name.data);
}

/* --- the transport ---------------------------------------------------------------------------------------------------
 */

/* The weight in thousandths that one range of an Accept header gives (RFC 9110 section 12.4.2). */
static int weight_of(const char *range, size_t length)
{
    for (size_t i = 1; i + 2 < length; i++) {
        if ((range[i] != 'q' && range[i] != 'Q') || range[i + 1] != '=' || !strchr("; \t", range[i - 1]))
            continue;
        double weight = strtod(range + i + 2, NULL);
        return weight <= 0 ? 0 : weight >= 1 ? 1000 : (int)(weight * 1000);
    }
    return 1000;
}

/* How well a range fits a type: 0 not, 1 by any/any, 2 by its first half, 3 exactly. */
static int fit_of(struct eg_bytes range, const char *type)
{
    size_t half = (size_t)(strchr(type, '/') - type) + 1;
    if (range.length == strlen(type) && strncasecmp(range.data, type, range.length) == 0)
        return 3;
    if (range.length == half + 1 && range.data[half] == '*' && strncasecmp(range.data, type, half) == 0)
        return 2;
    return range.length == 3 && memcmp(range.data, "*/*", 3) == 0 ? 1 : 0;
}

/* The weight of the range that fits the type best. */
static int weight_for(const char *accept, const char *type)
{
    int best_fit = 0, weight = 0;
    while (*accept) {
        size_t length = strcspn(accept, ",");
        const char *start = accept + strspn(accept, " \t");
        size_t range_length = strcspn(start, ";, \t");
        int fit = start < accept + length ? fit_of((struct eg_bytes){start, range_length}, type) : 0;
        if (fit > best_fit) {
            const char *rest = start + range_length;
            best_fit = fit;
            weight = rest < accept + length && *rest != ',' ? weight_of(rest, (size_t)(accept + length - rest)) : 1000;
        }
        accept += length + (accept[length] == ',');
    }
    return weight;
}

/* The transport that the client likes best; SSE where it doesn't matter. */
static int negotiate(struct reading *reading, const char *accept)
{
    static const struct {
        const char *type;
        enum eg_transport transport;
    } offers[] = {{"text/event-stream", EG_TRANSPORT_SSE},
                  {"application/x-ndjson", EG_TRANSPORT_NDJSON},
                  {"application/jsonl", EG_TRANSPORT_NDJSON},
                  {"application/json", EG_TRANSPORT_POLL}};
    int best = 0;
    reading->request->format.transport = EG_TRANSPORT_SSE;
    if (!accept || !accept[strspn(accept, " \t")])
        return 0;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(offers); i++) {
        int weight = weight_for(accept, offers[i].type);
        if (weight <= best)
            continue;
        best = weight;
        reading->request->format.transport = offers[i].transport;
    }
    if (best > 0)
        return 0;
    return eg_refuse(
        reading->refusal, EG_PROBLEM_NOT_ACCEPTABLE,
        "Events come as text/event-stream, application/x-ndjson, or application/json (long-poll): accept one of "
        "them, or say ?format=sse, ndjson or poll.");
}

/* --- the whole -------------------------------------------------------------------------------------------------------
 */

static int check_combination(struct reading *reading)
{
    const struct eg_subscription_request *request = reading->request;
    bool polls = request->format.transport == EG_TRANSPORT_POLL, sse = request->format.transport == EG_TRANSPORT_SSE;
    if (request->channel_count == 0)
        return eg_refuse(reading->refusal, EG_PROBLEM_BAD_PARAMETER,
                         "Say which channel: /events?channel=NAME, or /channels/NAME. GET /channels lists them.");
    if (!polls && (reading->has_wait || reading->has_limit))
        return eg_refuse(reading->refusal, EG_PROBLEM_BAD_PARAMETER, "wait and limit are for format=poll.");
    if (!sse && request->format.payload == EG_PAYLOAD_RAW)
        return eg_refuse(reading->refusal, EG_PROBLEM_BAD_PARAMETER,
                         "payload=raw is for format=sse: a raw payload need not be JSON.");
    if (!sse && request->format.name != EG_EVENT_NAME_NONE)
        return eg_refuse(reading->refusal, EG_PROBLEM_BAD_PARAMETER, "event= is for format=sse.");
    return 0;
}

/* What an EventSource says when it reconnects. Nonsense is no reason to end it for good. */
static void read_last_event_id(struct eg_subscription_request *request, const char *last_event_id)
{
    size_t length = strlen(last_event_id);
    request->has_cursor = true;
    request->cursor_text[0] = '\0';
    if (eg_cursor_parse(last_event_id, length, &request->cursor) == 0) {
        request->after = EG_AFTER_CURSOR;
        memcpy(request->cursor_text, last_event_id, length + 1);
    } else if (strcmp(last_event_id, "earliest") == 0) { /* what eventgate.cursor() says of an empty log */
        request->after = EG_AFTER_EARLIEST;
        request->has_cursor = false;
    } else {
        request->after = EG_AFTER_NONSENSE;
    }
}

int eg_subscription_request_read(const struct eg_target *target, struct eg_bytes channel, const char *accept,
                                 const char *last_event_id, uint32_t max_channels,
                                 struct eg_subscription_request *ret_request, struct eg_refusal *ret_refusal)
{
    struct eg_subscription_request request = {
        .after = EG_AFTER_NOW, .wait_ms = EG_POLL_WAIT_DEFAULT_S * 1000, .limit = EG_POLL_LIMIT_DEFAULT};
    struct reading reading = {.request = &request, .refusal = ret_refusal, .max_channels = max_channels};
    int error = channel.length > 0 ? add_channel(&reading, channel) : 0;
    for (size_t i = 0; !error && i < target->parameter_count; i++)
        error = read_parameter(&reading, &target->parameters[i]);
    if (!error && !(reading.seen & SEEN_FORMAT)) {
        if (reading.has_wait)
            request.format.transport = EG_TRANSPORT_POLL;
        else
            error = negotiate(&reading, accept);
    }
    if (!error)
        error = check_combination(&reading);
    if (!last_event_id || !last_event_id[0])
        last_event_id = reading.last_event_id;
    if (!error && last_event_id && last_event_id[0])
        read_last_event_id(&request, last_event_id);
    if (error)
        eg_subscription_request_done(&request);
    else
        *ret_request = request;
    return error;
}

void eg_subscription_request_done(struct eg_subscription_request *request)
{
    free(request->channels);
    request->channels = NULL;
    request->channel_count = 0;
}

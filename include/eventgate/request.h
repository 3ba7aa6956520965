/*
 * What a request asks for, read strictly from its method, raw request target and headers. Pure functions; any thread.
 */
#ifndef EG_REQUEST_H
#define EG_REQUEST_H

#include <stdbool.h>

#include "eventgate/common.h"
#include "eventgate/frame.h"
#include "eventgate/pattern.h"
#include "eventgate/problem.h"

#define EG_REQUEST_MAX_PARAMETERS 1100

struct eg_parameter {
    struct eg_bytes name; /* decoded, NUL-terminated as well */
    struct eg_bytes value;
};

/* A target taken apart. `memory` holds all decoded bytes. */
struct eg_target {
    struct eg_bytes path; /* decoded; starts with '/'; NUL-terminated as well */
    struct eg_parameter *parameters;
    size_t parameter_count;
    char *memory;
};

/* Why a request is refused: a problem and its sentence. */
struct eg_refusal {
    enum eg_problem problem;
    char detail[400];
};

/* Fills in a refusal; returns -EINVAL. */
int eg_refuse(struct eg_refusal *refusal, enum eg_problem problem, const char *format, ...) EG_PRINTF(3, 4);

/*
 * Takes an origin-form target apart: path and query, percent-decoded (RFC 3986), `+` in the query is a space. -EINVAL
 * with a refusal: a bad escape, `%00`, control bytes, invalid UTF-8, a `.` or `..` level (encoded or not), an empty
 * path level other than a trailing one, more than EG_REQUEST_MAX_PARAMETERS parameters. -ENOMEM.
 */
int eg_target_parse(const char *target, size_t length, struct eg_target *ret_target,
                    struct eg_refusal *ret_refusal) EG_MUST_CHECK;
void eg_target_done(struct eg_target *target);

/* The endpoint that a path names. */
enum eg_route {
    EG_ROUTE_NONE,
    EG_ROUTE_EVENTS,   /* /events */
    EG_ROUTE_CHANNEL,  /* /channels/NAME */
    EG_ROUTE_CHANNELS, /* /channels */
    EG_ROUTE_SETS,     /* /sets */
    EG_ROUTE_LIVEZ,
    EG_ROUTE_READYZ,
    EG_ROUTE_HEALTHZ,
    EG_ROUTE_METRICS,
    EG_ROUTE_ASSET, /* a file that is compiled in (assets.h) */
};
/* `ret_channel`: the bytes after "/channels/" for EG_ROUTE_CHANNEL. A trailing slash names nothing. */
enum eg_route eg_route_find(struct eg_bytes path, struct eg_bytes *ret_channel);
/* The methods a route answers, as the value of `Allow`. */
const char *eg_route_allow(enum eg_route route);
/* As the documentation has it: "/events", "/channels/{channel}"; "/{file}" for EG_ROUTE_ASSET; NULL for EG_ROUTE_NONE.
 */
const char *eg_route_name(enum eg_route route);

enum eg_after {
    EG_AFTER_NOW,
    EG_AFTER_EARLIEST,
    EG_AFTER_CURSOR,
    EG_AFTER_NONSENSE /* a last event id that is no cursor */
};

/* A subscription as asked for. Names are borrowed from the target. */
struct eg_subscription_request {
    struct eg_format format;
    struct eg_bytes *channels; /* owned array; names or patterns, valid, without repeats */
    size_t channel_count;
    enum eg_after after;
    struct eg_cursor cursor;          /* with EG_AFTER_CURSOR */
    char cursor_text[EG_CURSOR_SIZE]; /* as given; "" for none, and for nonsense */
    bool has_cursor;                  /* Last-Event-ID or after=CURSOR was given (a poll without one answers at once) */
    uint32_t wait_ms;                 /* poll */
    uint32_t limit;                   /* poll: events in an answer */
};

#define EG_POLL_WAIT_DEFAULT_S 25
#define EG_POLL_WAIT_MAX_S 60
#define EG_POLL_LIMIT_DEFAULT 100
#define EG_POLL_LIMIT_MAX 1000

/*
 * Reads a subscription. `channel`: from the path, empty for /events. `accept`, `last_event_id`: header values or NULL.
 * Transport: ?format= (sse, ndjson, poll), else ?wait= means poll, else from Accept with its q-values (RFC 9110
 * section 12.5.1; none or anything goes: SSE), else NOT_ACCEPTABLE. Parameters: channel (may repeat), format, payload
 * (event, raw, cloudevents), event (none, type, channel), after, lastEventId, wait, limit,
 * access_token (ignored here); any other, a doubled one, an impossible value or combination (wait or limit without
 * poll; raw or event= without sse) is refused with a sentence that lists what is right. Last-Event-ID (empty counts as
 * absent) goes before lastEventId, that before `after`; nonsense in the first two is EG_AFTER_NONSENSE, in the last
 * BAD_CURSOR. `earliest` may stand in all three. `max_channels`: more is TOO_MANY... with the limit in the sentence
 * (status 400: BAD_PARAMETER). -EINVAL with a refusal, -ENOMEM. Free with eg_subscription_request_done().
 */
int eg_subscription_request_read(const struct eg_target *target, struct eg_bytes channel, const char *accept,
                                 const char *last_event_id, uint32_t max_channels,
                                 struct eg_subscription_request *ret_request,
                                 struct eg_refusal *ret_refusal) EG_MUST_CHECK;
void eg_subscription_request_done(struct eg_subscription_request *request);

/* What a POST says about its body. */
enum eg_body_kind {
    EG_BODY_JSON,   /* says it is JSON: must be */
    EG_BODY_NDJSON, /* batches only */
    EG_BODY_TEXT,   /* says it is text */
    EG_BODY_UNSAID, /* says nothing: is looked at */
};
/*
 * From Content-Type and Content-Encoding (NULL: absent). application/json and +json: JSON; application/x-ndjson,
 * application/jsonl: NDJSON; text/...: text; none, and curl's default application/x-www-form-urlencoded: unsaid. Any
 * charset but UTF-8 (or US-ASCII), any other type, any Content-Encoding but identity: -EINVAL, UNSUPPORTED_TYPE with
 * what is right.
 */
int eg_body_kind_read(const char *content_type, const char *content_encoding, enum eg_body_kind *ret_kind,
                      struct eg_refusal *ret_refusal) EG_MUST_CHECK;

#endif

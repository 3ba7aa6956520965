/*
 * A gateway by its public URL: does what stands before it pass streams on as they are?
 *
 * A stream is opened as browsers do it, with a Last-Event-ID that no gateway has given out. If that arrives, the stream
 * opens with a gap `unknown`, and then its cursor; both belong to the first moment. Then nothing is sent until the
 * heartbeat, so that it shows whether small pieces come at once, and an idle stream lasts.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "eventgate/cursor.h"
#include "eventgate/doctor.h"
#include "eventgate/json_value.h"
#include "eventgate/sse.h"

#define CHECK "proxy"
#define TIMEOUT_MS 10000
/* What comes later than this was kept back. */
#define AT_ONCE_MS 2000
#define GIVE_UP_MS 5000
#define AFTER_HEARTBEAT_MS 3000
#define LONGEST_POLL_S 60u
#define CLOCK_WARNING_S 2
#define SOON_S (14.0 * 86400)

#define UNBUFFERED                                                                                                     \
    "What stands before the gateway keeps back what it sends. nginx: proxy_buffering off, and no "                     \
    "proxy_ignore_headers "                                                                                            \
    "X-Accel-Buffering; elsewhere: switch off buffering and compression for text/event-stream. The files in "          \
    "docs/proxies are tried."

struct stream {
    struct eg_sse sse;
    int64_t began_ms, head_ms, cursor_ms, last_ms; /* since 1970 or so; 0: not yet */
    uint64_t late_pieces;                          /* that came after the beginning */
    bool has_gap, failed;
    uint32_t hold_ms; /* how long to wait after the cursor */
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void dispatch(void *context, const struct eg_sse_event *event)
{
    struct stream *stream = context;
    if (strcmp(event->type, "gap") == 0)
        stream->has_gap = true;
    if (strcmp(event->type, "cursor") == 0 && stream->cursor_ms == 0)
        stream->cursor_ms = now_ms();
}

/* Is all that one waits for there? */
static bool is_over(const struct stream *stream)
{
    int64_t now = now_ms();
    if (stream->cursor_ms == 0)
        return now - stream->began_ms > GIVE_UP_MS;
    return stream->late_pieces > 0 || now - stream->cursor_ms > (int64_t)stream->hold_ms;
}

static bool received(void *context, const char *data, size_t length)
{
    struct stream *stream = context;
    bool begun = stream->cursor_ms != 0;
    if (eg_sse_feed(&stream->sse, data, length) != 0)
        stream->failed = true;
    stream->last_ms = now_ms();
    /* What belongs to the beginning may come in several pieces. */
    if (begun && stream->last_ms - stream->cursor_ms > AT_ONCE_MS / 2)
        stream->late_pieces++;
    return !stream->failed && !is_over(stream);
}

static bool ticked(void *context)
{
    return !is_over(context);
}

static void call(struct eg_caller *caller, const char *method, const char *path, const char *const *headers,
                 struct eg_call_answer *ret_answer)
{
    const struct eg_call_request request = {
        .method = method, .path = path, .headers = headers, .timeout_ms = TIMEOUT_MS, .fresh = true};
    eg_caller_call(caller, &request, ret_answer);
}

/* --- reaching it -------------------------------------------------------------------------------------------------- */

static void read_status(void *context, const struct eg_json_value *value)
{
    snprintf(context, 40, "%s", eg_json_string(eg_json_member(value, "status")));
}

static void check_date(struct eg_report *report, const struct eg_call_answer *answer, const char *subject)
{
    char text[64];
    struct tm date = {.tm_isdst = 0};
    if (!eg_call_header(answer, "date", text, sizeof(text)) || !strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &date))
        return;
    double difference = difftime(timegm(&date), time(NULL));
    if (difference > CLOCK_WARNING_S || difference < -CLOCK_WARNING_S)
        eg_report_add(report, EG_WARNING, "clock", subject, "Run a time service on both machines.",
                      "its clock (Date) is %.0f s %s this machine's", difference > 0 ? difference : -difference,
                      difference > 0 ? "ahead of" : "behind");
}

/* "Nov 27 12:00:00 2026 GMT" or "2026-11-27 12:00:00 GMT", as libcurl's TLS library has it. */
static void check_certificate(struct eg_report *report, const struct eg_call_answer *answer, const char *subject)
{
    struct tm date = {.tm_isdst = 0};
    char left[32];
    const char *until = answer->certificate_until;
    if (!until[0] || (!strptime(until, "%Y-%m-%d %H:%M:%S", &date) && !strptime(until, "%b %d %H:%M:%S %Y", &date)))
        return;
    double seconds = difftime(timegm(&date), time(NULL));
    if (seconds < SOON_S)
        eg_report_add(report, seconds < 0 ? EG_ERROR : EG_WARNING, "certificate", subject,
                      "Put a new one in its place, where TLS ends: the proxy, or the gateway (then SIGHUP).",
                      seconds < 0 ? "its certificate has expired %s ago" : "its certificate expires in %s",
                      eg_doctor_age(seconds < 0 ? -seconds : seconds, left));
    else
        eg_report_add(report, EG_FINE, "certificate", subject, NULL, "its certificate is believed, and valid for %s",
                      eg_doctor_age(seconds, left));
}

static const char *version_of(const struct eg_call_answer *answer)
{
    switch (answer->http_version) {
    case 10:
        return "HTTP/1.0";
    case 11:
        return "HTTP/1.1";
    case 20:
        return "HTTP/2";
    case 30:
        return "HTTP/3";
    default:
        return "HTTP";
    }
}

/* Is a gateway there that is ready? */
static bool reach(struct eg_report *report, struct eg_caller *caller, const char *subject)
{
    struct eg_call_answer answer;
    char status[40] = "";
    call(caller, "GET", "/readyz", NULL, &answer);
    bool told = answer.body.length > 0 &&
                eg_json_read(answer.body.data, answer.body.length, read_status, status) == 0 && status[0];
    bool ready = told && answer.status == 200;
    if (answer.outcome == EG_CALL_IMPOSSIBLE || strstr(answer.problem, "ertificate"))
        eg_report_add(
            report, EG_ERROR, "certificate", subject,
            "Is it expired, for another name, or without the chain behind it? --cacert FILE names an authority "
            "of your own, --no-verify looks further.",
            "%s", answer.problem);
    else if (answer.outcome != EG_CALL_ANSWERED)
        eg_report_add(report, EG_ERROR, CHECK, subject, "Is the URL right, and does the proxy run?", "%s",
                      answer.problem);
    else if (!told)
        eg_report_add(report, EG_ERROR, CHECK, subject,
                      "Is it the right URL, with the proxy's prefix, and does the proxy find a gateway?",
                      "/readyz is answered with HTTP %u, and not by a pg_eventgate", answer.status);
    else
        eg_report_add(report, ready ? EG_FINE : EG_ERROR, CHECK, subject,
                      ready ? NULL : "pg_eventgate healthcheck on its machine says what is amiss.",
                      "%s; it is spoken to with %s%s%s", status, version_of(&answer), answer.peer[0] ? ", at " : "",
                      answer.peer);
    if (ready) {
        check_certificate(report, &answer, subject);
        check_date(report, &answer, subject);
    }
    if (ready && answer.http_version == 11 && strncmp(subject, "https:", 6) == 0)
        eg_report_add(report, EG_WARNING, CHECK, subject,
                      "Let the proxy offer HTTP/2 to browsers (nginx: http2; HAProxy: alpn h2,http/1.1), or let pages "
                      "subscribe to all their channels in one stream.",
                      "it speaks no HTTP/2: a browser has six connections for all its tabs together");
    eg_call_answer_done(&answer);
    return ready;
}

/* --- the stream --------------------------------------------------------------------------------------------------- */

static void check_headers(struct eg_report *report, const struct eg_call_answer *answer, const char *subject)
{
    char value[200];
    bool well = true;
    if (!eg_call_header(answer, "cache-control", value, sizeof(value)) || !strstr(value, "no-store")) {
        well = false;
        eg_report_add(report, EG_WARNING, CHECK, subject, "Don't let the proxy change it (nginx: expires, add_header).",
                      "Cache-Control arrives as \"%s\" instead of \"no-store, no-transform\": caches may keep a stream",
                      value);
    }
    if (!eg_call_header(answer, "x-request-id", value, sizeof(value))) {
        well = false;
        eg_report_add(report, EG_WARNING, CHECK, subject,
                      "Let the proxy pass it on: by it, a problem is found in the log.", "X-Request-Id is lost");
    }
    /* nginx takes X-Accel-Buffering for itself; what it does is seen by what comes at once. */
    if (well)
        eg_report_add(
            report, EG_FINE, CHECK, subject, NULL, "the headers of a stream arrive (Cache-Control, X-Request-Id%s)",
            eg_call_header(answer, "x-accel-buffering", value, sizeof(value)) ? ", X-Accel-Buffering"
                                                                              : "; X-Accel-Buffering is for proxies");
}

static void check_idle(struct eg_report *report, const struct eg_doctor_url *url, const struct eg_call_answer *answer,
                       const struct stream *stream)
{
    double lasted = (double)(now_ms() - stream->cursor_ms) / 1000, heartbeat = (double)url->heartbeat_ms / 1000;
    const char *subject = url->target->url;
    if (stream->late_pieces > 0)
        eg_report_add(report, EG_FINE, CHECK, subject, NULL,
                      "an idle stream lasts, and the heartbeat arrives (after %.1f s)",
                      (double)(stream->last_ms - stream->cursor_ms) / 1000);
    else if (answer->outcome != EG_CALL_ENDED)
        eg_report_add(report, EG_ERROR, CHECK, subject,
                      "Its idle timeout has to be longer than heartbeat, and than the longest wait of a long-poll "
                      "(60 s): nginx proxy_read_timeout 90s, HAProxy timeout tunnel and timeout server 90s; or make "
                      "heartbeat shorter.",
                      "an idle stream is cut off after %.1f s, before the heartbeat (%.3g s)%s%s", lasted, heartbeat,
                      answer->problem[0] ? ": " : "", answer->problem);
    else
        eg_report_add(report, EG_ERROR, CHECK, subject, UNBUFFERED,
                      "no heartbeat has come in %.1f s, and they are sent every %.3g s", lasted, heartbeat);
}

static void judge_stream(struct eg_report *report, const struct eg_doctor_url *url, const struct eg_call_answer *answer,
                         const struct stream *stream)
{
    const char *subject = url->target->url;
    char sentence[400], type[64];
    if (eg_call_header(answer, "content-encoding", type, sizeof(type)) && strcmp(type, "identity") != 0) {
        eg_report_add(report, EG_ERROR, CHECK, subject,
                      "Don't let the proxy compress text/event-stream (nginx: gzip_types; Cache-Control says "
                      "no-transform): it keeps small events until it has enough of them.",
                      "the stream arrives compressed (%s)", type);
        return;
    }
    if (answer->status == 0 || (answer->status == 200 && stream->cursor_ms == 0)) {
        eg_report_add(report, EG_ERROR, CHECK, subject, UNBUFFERED,
                      "a stream's first words don't arrive (waited for %.1f s)%s%s",
                      (double)(now_ms() - stream->began_ms) / 1000, answer->outcome == EG_CALL_ENDED ? "" : ": ",
                      answer->outcome == EG_CALL_ENDED ? "" : answer->problem);
        return;
    }
    if (answer->status != 200) {
        eg_call_problem(answer, sentence, sizeof(sentence), type);
        eg_report_add(
            report, EG_ERROR, CHECK, subject,
            answer->status == 421 ? "Add the URL's host to allowed_hosts, and let the proxy pass Host on as it is."
            : answer->status == 401 || answer->status == 403
                ? "Give a token that may subscribe (--token-file), and see that the proxy passes Authorization on."
                : "--channel NAME names another channel to try it with.",
            "a stream of \"%s\" is refused: %s (HTTP %u)", url->channel, sentence, answer->status);
        return;
    }
    int64_t after_ms = stream->cursor_ms - stream->began_ms;
    if (after_ms > AT_ONCE_MS)
        eg_report_add(report, EG_ERROR, CHECK, subject, UNBUFFERED,
                      "a stream's first words arrive after %.1f s, not at once", (double)after_ms / 1000);
    else
        eg_report_add(report, EG_FINE, CHECK, subject, NULL, "a stream's first words arrive at once (%" PRId64 " ms)",
                      after_ms);
    check_headers(report, answer, subject);
    if (stream->has_gap)
        eg_report_add(report, EG_FINE, CHECK, subject, NULL, "Last-Event-ID gets through, so streams are resumed");
    else
        eg_report_add(report, EG_ERROR, CHECK, subject, "Let the proxy pass all headers of a request on.",
                      "Last-Event-ID doesn't get through: a browser that reconnects misses events, and isn't told");
    if (!url->quick)
        check_idle(report, url, answer, stream);
}

static void check_stream(struct eg_report *report, const struct eg_doctor_url *url, struct eg_caller *caller)
{
    struct stream stream = {.began_ms = now_ms(), .hold_ms = url->quick ? 0 : url->heartbeat_ms + AFTER_HEARTBEAT_MS};
    static const char *const headers[] = {"Accept: text/event-stream", "Accept-Encoding: gzip, br",
                                          "Last-Event-ID: doctor", NULL};
    struct eg_buffer path = EG_BUFFER_INIT;
    struct eg_call_answer answer;
    char note[80];
    snprintf(note, sizeof(note), "waiting for a heartbeat (%.3g s)", (double)url->heartbeat_ms / 1000);
    stream.sse.dispatch = dispatch;
    stream.sse.context = &stream;
    eg_buffer_add_string(&path, "/events?channel=");
    eg_call_add_escaped(&path, url->channel, true);
    eg_buffer_add(&path, "", 1);
    if (!url->quick)
        eg_report_wait(report, note);
    const struct eg_call_request request = {.method = "GET",
                                            .path = path.failed ? "/" : path.data,
                                            .headers = headers,
                                            .fresh = true,
                                            .received = received,
                                            .ticked = ticked,
                                            .context = &stream};
    eg_caller_call(caller, &request, &answer);
    judge_stream(report, url, &answer, &stream);
    eg_call_answer_done(&answer);
    eg_sse_done(&stream.sse);
    eg_buffer_done(&path);
}

/* --- long-poll ---------------------------------------------------------------------------------------------------- */

static void read_next(void *context, const struct eg_json_value *value)
{
    snprintf(context, EG_CURSOR_SIZE, "%s", eg_json_string(eg_json_member(value, "next")));
}

/* Polls with this cursor, or without one. Returns the answer's status. */
static unsigned poll_once(struct eg_caller *caller, const char *channel, unsigned wait_s, char cursor[EG_CURSOR_SIZE],
                          struct eg_call_answer *ret_answer)
{
    struct eg_buffer path = EG_BUFFER_INIT;
    eg_buffer_add_string(&path, "/events?format=poll&channel=");
    eg_call_add_escaped(&path, channel, true);
    eg_buffer_add_format(&path, "&limit=1000&wait=%u", wait_s);
    if (cursor[0]) {
        eg_buffer_add_string(&path, "&after=");
        eg_call_add_escaped(&path, cursor, true);
    }
    eg_buffer_add(&path, "", 1);
    const struct eg_call_request request = {.method = "GET",
                                            .path = path.failed ? "/" : path.data,
                                            .fresh = true,
                                            .timeout_ms = wait_s * 1000 + TIMEOUT_MS};
    eg_caller_call(caller, &request, ret_answer);
    if (ret_answer->status == 200 && ret_answer->body.length > 0 &&
        eg_json_read(ret_answer->body.data, ret_answer->body.length, read_next, cursor) != 0)
        cursor[0] = '\0';
    eg_buffer_done(&path);
    return ret_answer->status;
}

/* Lets one wait as long as the longest may. Events that come meanwhile end it early: so it is asked anew. */
static void check_long_poll(struct eg_report *report, const struct eg_doctor_url *url, struct eg_caller *caller)
{
    char cursor[EG_CURSOR_SIZE] = "";
    struct eg_call_answer answer;
    int64_t began_ms = now_ms(), passed_ms = 0;
    eg_report_wait(report, "waiting for a long-poll (60 s)");
    unsigned status = poll_once(caller, url->channel, 0, cursor, &answer);
    while (status == 200 && cursor[0] && passed_ms < INT64_C(1000) * LONGEST_POLL_S) {
        eg_call_answer_done(&answer);
        status = poll_once(caller, url->channel, LONGEST_POLL_S, cursor, &answer);
        passed_ms = now_ms() - began_ms;
    }
    if (status == 200 && cursor[0])
        eg_report_add(report, EG_FINE, CHECK, url->target->url, NULL, "a long-poll may wait for 60 s");
    else
        eg_report_add(report, EG_WARNING, CHECK, url->target->url,
                      "Let the proxy's read timeout be 90 s, or let clients wait for less (wait=25).",
                      "a long-poll of 60 s is cut off after %.1f s (HTTP %u)%s%s", (double)(now_ms() - began_ms) / 1000,
                      status, answer.problem[0] ? ": " : "", answer.problem);
    eg_call_answer_done(&answer);
}

/* --- pages of other origins, and operators' pages ------------------------------------------------------------------
 */

static void check_origin(struct eg_report *report, const struct eg_doctor_url *url, struct eg_caller *caller)
{
    char origin[300], allowed[300];
    const char *const headers[] = {origin, "Access-Control-Request-Method: POST",
                                   "Access-Control-Request-Headers: authorization, content-type", NULL};
    struct eg_call_answer answer;
    struct eg_buffer path = EG_BUFFER_INIT;
    snprintf(origin, sizeof(origin), "Origin: %s", url->origin);
    eg_buffer_add_string(&path, "/channels/");
    eg_call_add_escaped(&path, url->channel, false);
    eg_buffer_add(&path, "", 1);
    call(caller, "OPTIONS", path.failed ? "/" : path.data, headers, &answer);
    eg_call_header(&answer, "access-control-allow-origin", allowed, sizeof(allowed));
    if (answer.status / 100 == 2 && (strcmp(allowed, url->origin) == 0 || strcmp(allowed, "*") == 0))
        eg_report_add(report, EG_FINE, "cors", url->target->url, NULL, "pages of %s may use it (preflight)",
                      url->origin);
    else
        eg_report_add(
            report, EG_ERROR, "cors", url->target->url,
            "Add it to allowed_origins, and let the proxy pass OPTIONS and Origin on, and answer neither itself.",
            "pages of %s may not use it: the preflight is answered with HTTP %u%s%s", url->origin, answer.status,
            allowed[0] ? " and allows " : "", allowed);
    eg_call_answer_done(&answer);
    eg_buffer_done(&path);
}

static void check_operators_pages(struct eg_report *report, const struct eg_doctor_url *url)
{
    struct eg_call_target nobody = *url->target;
    struct eg_call_answer answer;
    nobody.token = nobody.token_file = NULL;
    struct eg_caller *caller = eg_caller_new(&nobody);
    if (!caller)
        return;
    call(caller, "GET", "/metrics", NULL, &answer);
    if (answer.status == 200)
        eg_report_add(report, EG_WARNING, "access", url->target->url,
                      "Serve operators on an address of their own (admin_listen), give the gateway keys, or let the "
                      "proxy refuse /metrics, /sets and /healthz.",
                      "/metrics is open to everybody who knows the URL");
    eg_call_answer_done(&answer);
    eg_caller_free(caller);
}

void eg_doctor_proxy(struct eg_report *report, const struct eg_doctor_url *url)
{
    struct eg_caller *caller = eg_caller_new(url->target);
    if (!caller) {
        eg_report_add(report, EG_ERROR, CHECK, url->target->url, NULL, "out of memory");
        return;
    }
    if (reach(report, caller, url->target->url)) {
        check_stream(report, url, caller);
        if (url->long_poll)
            check_long_poll(report, url, caller);
        if (url->origin)
            check_origin(report, url, caller);
        check_operators_pages(report, url);
        if (!url->trusts_a_proxy)
            eg_report_add(report, EG_WARNING, "access", url->target->url,
                          "If a proxy stands before the gateway, name it in trusted_proxies.",
                          "trusted_proxies is empty: all clients of a proxy would share the limits of one address");
    }
    eg_caller_free(caller);
}

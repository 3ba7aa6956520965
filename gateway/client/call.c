/*
 * Calls by libcurl: an easy handle, driven through the multi interface, so that a signal ends a wait at once.
 */
#include "eventgate/call.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "eventgate/file.h"

#define TICK_MS 500
#define TOKEN_MAX_BYTES 65536u
#define REFUSED_TOKEN_FILE "the file of the token cannot be read"

struct eg_caller {
    const struct eg_call_target *target;
    CURLM *multi;
    CURL *easy;
};

/* One call. */
struct call {
    struct eg_caller *caller;
    const struct eg_call_request *request;
    struct eg_call_answer *answer;
    int64_t heard_ms; /* when a byte of the answer came last */
    bool too_long;
    char detail[CURL_ERROR_SIZE];
};

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Once, before the first handle: the main thread is the only one. */
static bool start_library(void)
{
    static bool started;
    if (!started)
        started = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    return started;
}

struct eg_caller *eg_caller_new(const struct eg_call_target *target)
{
    struct eg_caller *caller = start_library() ? calloc(1, sizeof(*caller)) : NULL;
    if (!caller)
        return NULL;
    caller->target = target;
    caller->multi = curl_multi_init();
    caller->easy = curl_easy_init();
    if (caller->multi && caller->easy)
        return caller;
    eg_caller_free(caller);
    return NULL;
}

void eg_caller_free(struct eg_caller *caller)
{
    if (!caller)
        return;
    curl_easy_cleanup(caller->easy);
    curl_multi_cleanup(caller->multi);
    free(caller);
}

const char *eg_call_library_version(void)
{
    return curl_version_info(CURLVERSION_NOW)->version;
}

/* --- what comes in ------------------------------------------------------------------------------------------------ */

/* A header's line, or the line of the status, which begins the (next) head. */
static size_t take_header(char *data, size_t size, size_t count, void *context)
{
    struct call *call = context;
    struct eg_buffer *head = &call->answer->head;
    size_t length = size * count;
    call->heard_ms = now_ms();
    if (length >= 5 && memcmp(data, "HTTP/", 5) == 0)
        eg_buffer_clear(head);
    const char *colon = memchr(data, ':', length);
    char *line = colon ? eg_buffer_reserve(head, length) : NULL;
    if (!line)
        return head->failed ? 0 : length;
    size_t kept = length;
    while (kept > 0 && (data[kept - 1] == '\r' || data[kept - 1] == '\n'))
        kept--;
    memcpy(line, data, kept);
    for (char *at = line; at < line + (colon - data); at++)
        *at = (char)tolower((unsigned char)*at);
    head->length += kept;
    eg_buffer_add(head, "\n", 1);
    return head->failed ? 0 : length;
}

static size_t take_body(char *data, size_t size, size_t count, void *context)
{
    struct call *call = context;
    struct eg_buffer *body = &call->answer->body;
    size_t length = size * count;
    long status = 0;
    call->heard_ms = now_ms();
    curl_easy_getinfo(call->caller->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200 && call->request->received) {
        bool goes_on = call->request->received(call->request->context, data, length);
        call->heard_ms = now_ms(); /* whoever reads the output may have taken its time */
        return goes_on ? length : 0;
    }
    if (body->length + length > EG_CALL_BODY_MAX) {
        call->too_long = true;
        return 0;
    }
    eg_buffer_add(body, data, length);
    return body->failed ? 0 : length;
}

/* --- what goes out ------------------------------------------------------------------------------------------------ */

static void add_header(struct curl_slist **headers, bool *failed, const char *line)
{
    struct curl_slist *grown = curl_slist_append(*headers, line);
    *failed |= !grown;
    *headers = grown ? grown : *headers;
}

/* Adds `Authorization`, if there is a token. -errno where its file cannot be read. */
static int add_token(const struct eg_call_target *target, struct curl_slist **headers, bool *failed)
{
    struct eg_buffer line = EG_BUFFER_INIT;
    int result = 0;
    if (!target->token_file && !target->token)
        return 0;
    eg_buffer_add_string(&line, "Authorization: Bearer ");
    if (target->token_file)
        result = eg_file_read(target->token_file, TOKEN_MAX_BYTES, &line);
    else
        eg_buffer_add_string(&line, target->token);
    while (line.length > 0 && isspace((unsigned char)line.data[line.length - 1]))
        line.length--;
    eg_buffer_add(&line, "", 1);
    *failed |= line.failed;
    if (!result && !line.failed)
        add_header(headers, failed, line.data);
    eg_buffer_done(&line);
    return result;
}

static char *url_of(const struct eg_call_target *target, const char *path)
{
    struct eg_buffer url = EG_BUFFER_INIT;
    size_t length = strlen(target->url);
    while (length > 0 && target->url[length - 1] == '/')
        length--;
    if (!strstr(target->url, "://"))
        eg_buffer_add_string(&url, "http://");
    eg_buffer_add(&url, target->url, length);
    eg_buffer_add_string(&url, path);
    return eg_buffer_take(&url, NULL);
}

static void set_up(struct call *call, const char *url, struct curl_slist *headers)
{
    const struct eg_call_target *target = call->caller->target;
    const struct eg_call_request *request = call->request;
    CURL *easy = call->caller->easy;
    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "pg_eventgate/" EG_VERSION);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)target->connect_timeout_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, (long)request->fresh);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, (long)request->fresh);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 131072L);
    curl_easy_setopt(easy, CURLOPT_CERTINFO, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->detail);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    if (target->direct)
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    if (target->cacert)
        curl_easy_setopt(easy, CURLOPT_CAINFO, target->cacert);
    if (target->no_verify) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (request->body.data) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body.data);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.length);
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
}

/* --- the call ----------------------------------------------------------------------------------------------------- */

static bool is_stopped(const struct call *call)
{
    return call->caller->target->stopped && *call->caller->target->stopped;
}

/* Did nothing of the request get to a server? */
static bool is_unsent(CURL *easy, CURLcode code)
{
    curl_off_t sent_us = 0;
    long bytes = 0;
    curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &sent_us);
    curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &bytes);
    return code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_RESOLVE_PROXY ||
           (sent_us == 0 && bytes == 0);
}

static bool is_hopeless(CURLcode code)
{
    return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_URL_MALFORMAT ||
           code == CURLE_UNSUPPORTED_PROTOCOL;
}

static void end(struct eg_call_answer *answer, enum eg_call_outcome outcome, const char *problem)
{
    answer->outcome = outcome;
    snprintf(answer->problem, sizeof(answer->problem), "%s", problem);
}

static void judge(struct call *call, CURLcode code)
{
    struct eg_call_answer *answer = call->answer;
    const char *detail = call->detail[0] ? call->detail : curl_easy_strerror(code);
    if (code == CURLE_OK)
        end(answer, EG_CALL_ANSWERED, "");
    else if (call->too_long)
        end(answer, EG_CALL_BROKEN, "the answer is longer than 16 MiB");
    else if (code == CURLE_WRITE_ERROR && answer->status == 200 && call->request->received)
        end(answer, EG_CALL_ENDED, "ended");
    else
        end(answer,
            is_hopeless(code)                     ? EG_CALL_IMPOSSIBLE
            : is_unsent(call->caller->easy, code) ? EG_CALL_NOT_SENT
                                                  : EG_CALL_BROKEN,
            detail);
}

/* Runs until libcurl is done with it, or nobody wants it any more. */
static void run(struct call *call)
{
    CURLM *multi = call->caller->multi;
    const struct eg_call_request *request = call->request;
    int running = 1, messages;
    for (;;) {
        CURLMcode code = curl_multi_perform(multi, &running);
        const CURLMsg *message = curl_multi_info_read(multi, &messages);
        long status = 0;
        curl_easy_getinfo(call->caller->easy, CURLINFO_RESPONSE_CODE, &status);
        call->answer->status = (unsigned)status;
        if (code != CURLM_OK || (message && message->msg == CURLMSG_DONE)) {
            if (code == CURLM_OK)
                judge(call, message->data.result);
            else
                end(call->answer, EG_CALL_BROKEN, curl_multi_strerror(code));
            return;
        }
        if (is_stopped(call) || (request->ticked && !request->ticked(request->context))) {
            end(call->answer, EG_CALL_ENDED, "ended");
            return;
        }
        if (request->idle_ms > 0 && now_ms() - call->heard_ms > request->idle_ms) {
            end(call->answer, EG_CALL_IDLE, "nothing came for a long time");
            return;
        }
        curl_multi_poll(multi, NULL, 0, TICK_MS, NULL); /* a signal ends it */
    }
}

static uint32_t passed_ms(CURL *easy, CURLINFO what)
{
    curl_off_t passed_us = 0;
    curl_easy_getinfo(easy, what, &passed_us);
    return (uint32_t)(passed_us / 1000);
}

/* What libcurl has to say of it, before the handle is used again. */
static void look_back(CURL *easy, struct eg_call_answer *answer)
{
    long version = 0, port = 0;
    char *address = NULL;
    const struct curl_certinfo *chain = NULL;
    curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
    answer->http_version = version == CURL_HTTP_VERSION_1_0   ? 10
                           : version == CURL_HTTP_VERSION_1_1 ? 11
                           : version == CURL_HTTP_VERSION_2_0 ? 20
                           : version == CURL_HTTP_VERSION_3   ? 30
                                                              : 0;
    answer->connected_ms = passed_ms(easy, CURLINFO_CONNECT_TIME_T);
    answer->first_byte_ms = passed_ms(easy, CURLINFO_STARTTRANSFER_TIME_T);
    answer->total_ms = passed_ms(easy, CURLINFO_TOTAL_TIME_T);
    curl_easy_getinfo(easy, CURLINFO_PRIMARY_IP, &address);
    curl_easy_getinfo(easy, CURLINFO_PRIMARY_PORT, &port);
    if (address && address[0])
        snprintf(answer->peer, sizeof(answer->peer), strchr(address, ':') ? "[%s]:%ld" : "%s:%ld", address, port);
    if (curl_easy_getinfo(easy, CURLINFO_CERTINFO, &chain) != CURLE_OK || !chain || chain->num_of_certs == 0)
        return;
    for (const struct curl_slist *fact = chain->certinfo[0]; fact; fact = fact->next)
        if (strncasecmp(fact->data, "Expire date:", 12) == 0)
            snprintf(answer->certificate_until, sizeof(answer->certificate_until), "%s", fact->data + 12);
}

void eg_caller_call(struct eg_caller *caller, const struct eg_call_request *request, struct eg_call_answer *ret_answer)
{
    struct call call = {.caller = caller, .request = request, .answer = ret_answer, .heard_ms = now_ms()};
    struct curl_slist *headers = NULL;
    bool failed = false;
    *ret_answer = (struct eg_call_answer){.outcome = EG_CALL_NOT_SENT};
    char *url = url_of(caller->target, request->path);
    int error = add_token(caller->target, &headers, &failed);
    for (size_t i = 0; request->headers && request->headers[i]; i++)
        add_header(&headers, &failed, request->headers[i]);
    add_header(&headers, &failed, "Expect:"); /* no waiting for 100 Continue */
    if (error) {
        ret_answer->outcome = EG_CALL_IMPOSSIBLE;
        snprintf(ret_answer->problem, sizeof(ret_answer->problem), "%s: %s: %s", REFUSED_TOKEN_FILE,
                 caller->target->token_file, strerror(-error));
    } else if (!url || failed) {
        end(ret_answer, EG_CALL_NOT_SENT, "out of memory");
    } else {
        set_up(&call, url, headers);
        curl_multi_add_handle(caller->multi, caller->easy);
        run(&call);
        look_back(caller->easy, ret_answer);
        curl_multi_remove_handle(caller->multi, caller->easy);
    }
    eg_buffer_add(&ret_answer->head, "", 1);
    curl_slist_free_all(headers);
    free(url);
}

void eg_call_answer_done(struct eg_call_answer *answer)
{
    eg_buffer_done(&answer->head);
    eg_buffer_done(&answer->body);
}

/*
 * Problem details from the table.
 */
#include "eventgate/problem.h"

#include <string.h>

static const struct {
    unsigned status;
    const char *name;
    const char *title;
} problems[EG_PROBLEM_COUNT] = {
#define X(id, status, name, title) {status, name, title},
    EG_PROBLEM_TABLE(X)
#undef X
};

/* The reason phrases of RFC 9110 for the statuses in the table. */
static const char *phrase(unsigned status)
{
    switch (status) {
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 417:
        return "Expectation Failed";
    case 429:
        return "Too Many Requests";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Bad Request";
    }
}

unsigned eg_problem_status(enum eg_problem problem)
{
    return problems[problem].status;
}

const char *eg_problem_name(enum eg_problem problem)
{
    return problems[problem].name;
}

void eg_problem_add(struct eg_buffer *buffer, enum eg_problem problem, const char *detail, const char *request_id)
{
    eg_buffer_add_format(buffer, "{\"type\":\"urn:pg-eventgate:problem:%s\",\"title\":\"%s\",\"status\":%u,\"detail\":",
                         problems[problem].name, problems[problem].title, problems[problem].status);
    eg_buffer_add_json_string(buffer, detail, strlen(detail));
    if (request_id)
        eg_buffer_add_format(buffer, ",\"instance\":\"urn:pg-eventgate:request:%s\"", request_id);
    eg_buffer_add_string(buffer, "}");
}

void eg_problem_add_response(struct eg_buffer *buffer, enum eg_problem problem, const char *detail,
                             const char *request_id)
{
    struct eg_buffer body = EG_BUFFER_INIT;
    unsigned status = problems[problem].status;
    eg_problem_add(&body, problem, detail, request_id);
    eg_buffer_add_format(buffer,
                         "HTTP/1.1 %u %s\r\nContent-Type: application/problem+json\r\nContent-Length: %zu\r\n"
                         "Cache-Control: no-store\r\nConnection: close\r\nX-Request-Id: %s\r\n%s\r\n",
                         status, phrase(status), body.length, request_id,
                         status == 429 || status == 503 ? "Retry-After: 1\r\n" : "");
    eg_buffer_add(buffer, body.data, body.length);
    buffer->failed = buffer->failed || body.failed;
    eg_buffer_done(&body);
}

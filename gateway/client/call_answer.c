/*
 * What an answer says: headers, problems, and the escaping of names in URLs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/call.h"
#include "eventgate/json_value.h"

bool eg_call_header(const struct eg_call_answer *answer, const char *name, char *ret_value, size_t size)
{
    size_t length = strlen(name);
    bool found = false;
    ret_value[0] = '\0';
    for (const char *line = answer->head.data; line && *line;) {
        const char *end = strchr(line, '\n');
        if (!end)
            break;
        if ((size_t)(end - line) > length && memcmp(line, name, length) == 0 && line[length] == ':') {
            const char *value = line + length + 1;
            while (value < end && (*value == ' ' || *value == '\t'))
                value++;
            snprintf(ret_value, size, "%.*s", (int)(end - value), value);
            found = true;
        }
        line = end + 1;
    }
    return found;
}

struct problem {
    char *sentence;
    size_t size;
    char *type;
};

static void read_problem(void *context, const struct eg_json_value *value)
{
    struct problem *problem = context;
    const char *type = eg_json_string(eg_json_member(value, "type")), *colon = strrchr(type, ':');
    snprintf(problem->sentence, problem->size, "%s", eg_json_string(eg_json_member(value, "detail")));
    snprintf(problem->type, 40, "%s", colon ? colon + 1 : "");
}

void eg_call_problem(const struct eg_call_answer *answer, char *ret_sentence, size_t size, char ret_type[40])
{
    struct problem problem = {ret_sentence, size, ret_type};
    char location[160];
    ret_sentence[0] = ret_type[0] = '\0';
    if (answer->status >= 400 && answer->body.length > 0 &&
        eg_json_read(answer->body.data, answer->body.length, read_problem, &problem) == 0 && ret_sentence[0])
        return;
    ret_type[0] = '\0';
    if (answer->status / 100 == 3 && eg_call_header(answer, "location", location, sizeof(location)))
        snprintf(ret_sentence, size, "It is elsewhere: give the URL %s", location);
    else
        snprintf(ret_sentence, size, "The answer is HTTP %u, and none of a pg_eventgate.", answer->status);
}

uint32_t eg_call_retry_after(const struct eg_call_answer *answer)
{
    char text[32];
    if (!eg_call_header(answer, "retry-after", text, sizeof(text)))
        return 0;
    unsigned long seconds = strtoul(text, NULL, 10);
    return seconds < 86400 ? (uint32_t)seconds : 86400;
}

void eg_call_add_escaped(struct eg_buffer *buffer, const char *text, bool slashes)
{
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
            strchr("-._~", byte) || (byte == '/' && !slashes))
            eg_buffer_add(buffer, text, 1);
        else
            eg_buffer_add_format(buffer, "%%%02X", byte);
    }
}

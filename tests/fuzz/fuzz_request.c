/* Targets and subscriptions: up to three lines are a target, an Accept header and a Last-Event-ID. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_subscription(const struct eg_target *target, const char *accept, const char *last_event_id)
{
    struct eg_subscription_request request;
    struct eg_refusal refusal;
    struct eg_bytes channel;
    eg_route_find(target->path, &channel);
    if (eg_subscription_request_read(target, channel, accept, last_event_id, 10, &request, &refusal) != 0)
        return;
    if (request.channel_count == 0 || request.channel_count > 10)
        abort();
    for (size_t i = 0; i < request.channel_count; i++)
        if (eg_pattern_problem(request.channels[i].data, request.channels[i].length))
            abort();
    eg_subscription_request_done(&request);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct eg_target target;
    struct eg_refusal refusal;
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    char *accept = strchr(text, '\n'), *last_event_id = accept ? strchr(accept + 1, '\n') : NULL;
    if (accept)
        *accept++ = '\0';
    if (last_event_id)
        *last_event_id++ = '\0';
    if (eg_target_parse(text, strlen(text), &target, &refusal) == 0) {
        read_subscription(&target, accept, last_event_id);
        eg_target_done(&target);
    }
    free(text);
    return 0;
}

/* The headers of a POST to a durable channel: what is taken fits its bounds, and means the same when it is read again.
 */
#include "eventgate/publish_request.h"
#include "eventgate/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_key(const char *header)
{
    char key[EG_EVENT_KEY_MAX_BYTES + 1];
    struct eg_refusal refusal = {.detail = ""};
    int result = eg_idempotency_key_read(header, key, &refusal);
    check(result == 0 || (result == -EINVAL && refusal.detail[0] != '\0'));
    if (result)
        return;
    size_t length = strlen(key);
    check(length > 0 && length <= EG_EVENT_KEY_MAX_BYTES && eg_utf8_valid(key, length));
    check(eg_event_key_check((struct eg_bytes){key, length}, &refusal) == 0);
    check(strlen(header) >= length);
}

static void check_trace(const char *header)
{
    char trace[EG_TRACEPARENT_LENGTH + 1], again[EG_TRACEPARENT_LENGTH + 1];
    if (!eg_traceparent_read((struct eg_bytes){header, strlen(header)}, trace))
        return;
    check(strlen(trace) == EG_TRACEPARENT_LENGTH && strncmp(trace, "00-", 3) == 0);
    check(strspn(trace, "0123456789abcdef-") == EG_TRACEPARENT_LENGTH);
    check(strstr(header, trace + 2) != NULL);
    check(eg_traceparent_read((struct eg_bytes){trace, strlen(trace)}, again) && strcmp(trace, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct eg_refusal refusal;
    char *header = malloc(size + 1);
    check(header != NULL);
    if (size > 0)
        memcpy(header, data, size);
    header[size] = '\0';
    check_key(header);
    check_trace(header);
    bool fits = eg_event_type_check((struct eg_bytes){(const char *)data, size}, &refusal) == 0;
    check(!fits ||
          (size > 0 && size <= EG_EVENT_TYPE_MAX_BYTES && !memchr(data, '\n', size) && !memchr(data, 0, size)));
    free(header);
    return 0;
}

/*
 * The first byte, then an event stream: read in one go and in pieces of that many bytes it gives the same events, ids
 * and reconnection time.
 */
#include <stdlib.h>
#include <string.h>

#include "eventgate/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

/* Appends all that an event has. */
static void note(void *context, const struct eg_sse_event *event)
{
    struct eg_buffer *seen = context;
    check(event->type[0] && strlen(event->id) <= EG_SSE_ID_MAX && !strpbrk(event->id, "\r\n"));
    eg_buffer_add(seen, event->type, strlen(event->type) + 1);
    eg_buffer_add(seen, event->data.data, event->data.length);
    eg_buffer_add(seen, event->id, strlen(event->id) + 1);
}

static uint32_t read_in(const char *data, size_t size, size_t step, struct eg_buffer *seen)
{
    struct eg_sse sse = {.dispatch = note, .context = seen};
    for (size_t at = 0; at < size; at += step)
        check(eg_sse_feed(&sse, data + at, size - at < step ? size - at : step) == 0);
    uint32_t retry_ms = sse.retry_ms;
    eg_sse_done(&sse);
    return retry_ms;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct eg_buffer whole = EG_BUFFER_INIT, pieces = EG_BUFFER_INIT;
    if (size < 2)
        return 0;
    const char *stream = (const char *)data + 1;
    uint32_t retry_ms = read_in(stream, size - 1, size - 1, &whole);
    check(read_in(stream, size - 1, data[0] ? data[0] : 1, &pieces) == retry_ms);
    check(whole.length == pieces.length && (whole.length == 0 || memcmp(whole.data, pieces.data, whole.length) == 0));
    eg_buffer_done(&whole);
    eg_buffer_done(&pieces);
    return 0;
}

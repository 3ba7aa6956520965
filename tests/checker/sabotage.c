/*
 * A gateway that breaks its promises, for the set checker to find out: linked into pg_eventgate_sabotaged in front of
 * the real functions (the linker's --wrap). EVENTGATE_SABOTAGE says how: once in a while
 *
 *   drop        a stream leaves an event out          mix-up      an event has the payload of the one before it
 *   repeat      a stream sends an event twice         forget-gap  a gap isn't told
 *   swap        a stream exchanges two events         invent-gap  a gap is told where nothing is missing
 *
 * and drop-page and repeat-page, the same for streams that are behind the journal, and read the log.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/event.h"
#include "eventgate/frame.h"
#include "eventgate/subscribers.h"

#define EVERY 1009u
#define EVERY_POSITION 13u
#define EVERY_SWAP 13u
#define KEPT 256u

const struct eg_frame *__real_eg_event_frame(struct eg_event *event, struct eg_format format);
const struct eg_frame *__wrap_eg_event_frame(struct eg_event *event, struct eg_format format);
void __real_eg_frame_add_gap(struct eg_buffer *buffer, enum eg_transport transport, const struct eg_gap *gap);
void __wrap_eg_frame_add_gap(struct eg_buffer *buffer, enum eg_transport transport, const struct eg_gap *gap);
void __real_eg_frame_add_cursor(struct eg_buffer *buffer, enum eg_transport transport, const char *cursor);
void __wrap_eg_frame_add_cursor(struct eg_buffer *buffer, enum eg_transport transport, const char *cursor);
uint64_t __real_eg_subscriber_following(const struct eg_subscriber *subscriber, const struct eg_journal *journal,
                                        uint64_t place);
uint64_t __wrap_eg_subscriber_following(const struct eg_subscriber *subscriber, const struct eg_journal *journal,
                                        uint64_t place);
struct eg_event *__real_eg_event_new_live(struct eg_channel *channel, const struct eg_cursor *cursor,
                                          const char *payload, size_t length, int64_t received_us);
struct eg_event *__wrap_eg_event_new_live(struct eg_channel *channel, const struct eg_cursor *cursor,
                                          const char *payload, size_t length, int64_t received_us);

struct eg_event *__real_eg_event_new_durable(struct eg_channel *channel, const struct eg_event_row *row);
struct eg_event *__wrap_eg_event_new_durable(struct eg_channel *channel, const struct eg_event_row *row);
void __real_eg_frame_add_event(struct eg_buffer *buffer, const struct eg_event *event, struct eg_format format,
                               const char *cursor);
void __wrap_eg_frame_add_event(struct eg_buffer *buffer, const struct eg_event *event, struct eg_format format,
                               const char *cursor);

static bool sabotage(const char *what)
{
    const char *chosen = getenv("EVENTGATE_SABOTAGE");
    return chosen && strcmp(chosen, what) == 0;
}

/* A frame with the bytes of `frame` as often as said, made once and never freed. */
static const struct eg_frame *multiple(const struct eg_frame *frame, size_t times)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct {
        const struct eg_frame *of;
        struct eg_frame *made;
    } kept[KEPT];
    static size_t count;
    struct eg_frame *made = NULL;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < count && !made; i++)
        if (kept[i].of == frame)
            made = kept[i].made;
    if (!made && count < KEPT && (made = calloc(1, sizeof(*made) + times * frame->chunked_length))) {
        made->format = frame->format;
        made->inner_offset = frame->inner_offset;
        made->inner_length = times ? frame->inner_length : 0;
        for (size_t i = 0; i < times; i++, made->chunked_length += frame->chunked_length)
            memcpy(made->bytes + made->chunked_length, frame->bytes, frame->chunked_length);
        kept[count].of = frame;
        kept[count++].made = made;
    }
    pthread_mutex_unlock(&lock);
    return made ? made : frame;
}

/* One of the few that something is done to. */
static bool is_victim(const struct eg_event *event)
{
    return event->durable ? event->cursor.position % EVERY_POSITION == 0 : event->place % EVERY == 0;
}

const struct eg_frame *__wrap_eg_event_frame(struct eg_event *event, struct eg_format format)
{
    const struct eg_frame *frame = __real_eg_event_frame(event, format);
    if (!frame || format.transport != EG_TRANSPORT_SSE || !is_victim(event))
        return frame;
    if (sabotage("drop"))
        return multiple(frame, 0);
    return sabotage("repeat") ? multiple(frame, 2) : frame;
}

void __wrap_eg_frame_add_event(struct eg_buffer *buffer, const struct eg_event *event, struct eg_format format,
                               const char *cursor)
{
    if (is_victim(event) && sabotage("drop-page"))
        return;
    if (is_victim(event) && sabotage("repeat-page"))
        __real_eg_frame_add_event(buffer, event, format, cursor);
    __real_eg_frame_add_event(buffer, event, format, cursor);
}

/* Behind the place before `a` comes `b`, behind `b` comes `a`, and behind `a` what comes behind `b`. */
uint64_t __wrap_eg_subscriber_following(const struct eg_subscriber *subscriber, const struct eg_journal *journal,
                                        uint64_t place)
{
    static _Thread_local const struct eg_subscriber *whose;
    static _Thread_local uint64_t a, b;
    uint64_t next = __real_eg_subscriber_following(subscriber, journal, place);
    if (!sabotage("swap") || next == 0)
        return next;
    if (subscriber == whose && place == a)
        return __real_eg_subscriber_following(subscriber, journal, next);
    if (subscriber == whose && place == b)
        return a;
    uint64_t after = __real_eg_subscriber_following(subscriber, journal, next);
    if (next % EVERY_SWAP != 0 || after == 0 || !eg_journal_at(journal, next)->event ||
        !eg_journal_at(journal, after)->event)
        return next;
    whose = subscriber;
    a = next;
    b = after;
    return b;
}

void __wrap_eg_frame_add_gap(struct eg_buffer *buffer, enum eg_transport transport, const struct eg_gap *gap)
{
    if (!sabotage("forget-gap"))
        __real_eg_frame_add_gap(buffer, transport, gap);
}

void __wrap_eg_frame_add_cursor(struct eg_buffer *buffer, enum eg_transport transport, const char *cursor)
{
    static _Atomic unsigned calls;
    if (sabotage("invent-gap") && calls++ % 16 == 15)
        __real_eg_frame_add_gap(buffer, transport,
                                &(struct eg_gap){.reason = EG_GAP_SLOW, .from = cursor, .to = cursor, .id = cursor});
    __real_eg_frame_add_cursor(buffer, transport, cursor);
}

struct eg_event *__wrap_eg_event_new_live(struct eg_channel *channel, const struct eg_cursor *cursor,
                                          const char *payload, size_t length, int64_t received_us)
{
    static char before[8000];
    static size_t before_length;
    static const struct eg_channel *before_channel;
    if (sabotage("mix-up") && cursor->place % EVERY < 100 && before_channel == channel)
        return __real_eg_event_new_live(channel, cursor, before, before_length, received_us);
    memcpy(before, payload, length);
    before_length = length;
    before_channel = channel;
    return __real_eg_event_new_live(channel, cursor, payload, length, received_us);
}

struct eg_event *__wrap_eg_event_new_durable(struct eg_channel *channel, const struct eg_event_row *row)
{
    static _Thread_local char before[8000];
    static _Thread_local size_t before_length;
    struct eg_event_row mixed = *row;
    if (sabotage("mix-up") && row->cursor.position % EVERY_POSITION == 0 && before_length > 0)
        mixed.data = (struct eg_bytes){before, before_length};
    struct eg_event *event = __real_eg_event_new_durable(channel, &mixed);
    before_length = row->data.length <= sizeof(before) ? row->data.length : 0;
    memcpy(before, row->data.data, before_length);
    return event;
}

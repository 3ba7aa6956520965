/* What a run holds, who shares it, and what of it a socket has taken: over a socket pair. The test stands in
 * for libc's send() and sendmsg(), and counts the pieces that a run goes out in: only a run that is shared is one. */
#include "eventgate/stream_run.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "eventgate/libc_calls.h"

enum { READERS_MAX = 4, RUN_FRAMES = 256, RUN_BYTES = 256 * 1024 };

struct fixture {
    struct eg_journal *journal;
    struct eg_subscribers *subscribers;
    struct eg_journal_channel *a, *b;
    struct eg_epoch epoch;
    uint64_t head;
    struct eg_subscriber readers[READERS_MAX];
    size_t reader_count;
    struct eg_stream_run *run;
    struct eg_stream_sent sent;
    int ours, theirs;           /* a socket pair; the other end */
    struct eg_buffer got, want; /* what has come out there, and what should have */
};

static const struct eg_format sse = {EG_TRANSPORT_SSE, EG_PAYLOAD_EVENT, EG_EVENT_NAME_NONE};
static const struct eg_format sse_named = {EG_TRANSPORT_SSE, EG_PAYLOAD_EVENT, EG_EVENT_NAME_CHANNEL};
static const struct eg_format ndjson = {EG_TRANSPORT_NDJSON, EG_PAYLOAD_EVENT, EG_EVENT_NAME_NONE};

static size_t pieces; /* of the last call */

ssize_t eg_libc_recv(int fd, void *buffer, size_t length, int flags)
{
    return syscall(SYS_recvfrom, fd, buffer, length, flags, NULL, NULL);
}

ssize_t eg_libc_send(int fd, const void *data, size_t length, int flags)
{
    pieces = 1;
    return syscall(SYS_sendto, fd, data, length, flags, NULL, 0);
}

ssize_t eg_libc_sendmsg(int fd, const struct msghdr *message, int flags)
{
    pieces = message->msg_iovlen;
    return syscall(SYS_sendmsg, fd, message, flags);
}

/* --- a journal, its readers, and a socket --------------------------------------------------------------------------
 */

static struct eg_journal_channel *listen_to(struct fixture *fixture, const char *name)
{
    struct eg_channel *channel = eg_channel_new(name, strlen(name), true, 1);
    assert_non_null(channel);
    struct eg_journal_channel *local = eg_journal_listened(fixture->journal, channel, fixture->head);
    assert_non_null(local);
    eg_channel_unref(channel);
    return local;
}

static uint64_t add_break(struct fixture *fixture)
{
    fixture->epoch = eg_epoch_new();
    assert_int_equal(eg_journal_append_break(fixture->journal, fixture->epoch, ++fixture->head), 0);
    return fixture->head;
}

static uint64_t publish(struct fixture *fixture, const struct eg_journal_channel *channel, size_t length)
{
    char payload[8000];
    memset(payload, 'x', length);
    struct eg_event *event = eg_event_new_live(
        channel->channel, &(struct eg_cursor){.has_live = true, .epoch = fixture->epoch, .place = ++fixture->head},
        payload, length, 0);
    assert_non_null(event);
    assert_int_equal(eg_journal_append_event(fixture->journal, event), 0);
    return fixture->head;
}

/* Returns the place of the first of them. */
static uint64_t publish_many(struct fixture *fixture, const struct eg_journal_channel *channel, size_t count)
{
    uint64_t first = fixture->head + 1;
    for (size_t i = 0; i < count; i++)
        publish(fixture, channel, 10);
    return first;
}

/* What a reader of the channel lacks that has had everything before `next`. */
static struct eg_stream_need need_of(struct fixture *fixture, struct eg_journal_channel *channel, uint64_t next)
{
    struct eg_subscriber *reader = &fixture->readers[fixture->reader_count++];
    assert_in_range(fixture->reader_count, 1, READERS_MAX);
    reader->hears_live = true;
    assert_int_equal(
        eg_subscribers_add(fixture->subscribers, reader, &channel, 1, (struct eg_subscriber_start){.place = next - 1}),
        0);
    return (struct eg_stream_need){.journal = fixture->journal, .subscriber = reader, .format = sse, .chunked = true};
}

static struct eg_event *event_at(const struct fixture *fixture, uint64_t place)
{
    const struct eg_journal_entry *entry = eg_journal_at(fixture->journal, place);
    assert_non_null(entry);
    return entry->event;
}

static size_t frame_length(const struct fixture *fixture, const struct eg_stream_need *need, uint64_t place)
{
    const struct eg_frame *frame = eg_event_frame(event_at(fixture, place), need->format);
    assert_non_null(frame);
    return need->chunked ? frame->chunked_length : frame->inner_length;
}

/* The event's frame, without its first `skip` bytes, should come. */
static void want_event(struct fixture *fixture, const struct eg_stream_need *need, struct eg_event *event, size_t skip)
{
    const struct eg_frame *frame = eg_event_frame(event, need->format);
    assert_non_null(frame);
    if (need->chunked)
        eg_buffer_add(&fixture->want, frame->bytes + skip, frame->chunked_length - skip);
    else
        eg_buffer_add(&fixture->want, frame->bytes + frame->inner_offset + skip, frame->inner_length - skip);
}

static void want_places(struct fixture *fixture, const struct eg_stream_need *need, uint64_t first, uint64_t last)
{
    for (uint64_t place = first; place <= last; place++)
        want_event(fixture, need, event_at(fixture, place), 0);
}

static void receive(struct fixture *fixture)
{
    char bytes[65536];
    ssize_t got;
    while ((got = recv(fixture->theirs, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        eg_buffer_add(&fixture->got, bytes, (size_t)got);
}

/* What has come is what should have. */
static void assert_received(struct fixture *fixture)
{
    assert_int_equal(fixture->got.length, fixture->want.length);
    assert_memory_equal(fixture->got.data, fixture->want.data, fixture->want.length);
    eg_buffer_clear(&fixture->got);
    eg_buffer_clear(&fixture->want);
}

static int collect(struct fixture *fixture, const struct eg_stream_need *need)
{
    int count = eg_stream_run_collect(fixture->run, need);
    assert_true(count >= 0);
    return count;
}

/* Collects and sends what is needed: `count` frames, all of them at once, in so many pieces, and as is wanted. */
static void assert_sends(struct fixture *fixture, const struct eg_stream_need *need, size_t count, size_t in_pieces)
{
    assert_int_equal(collect(fixture, need), count);
    assert_int_equal(eg_stream_run_send(fixture->run, &(struct eg_wire){.fd = fixture->ours}, &fixture->sent), 0);
    assert_int_equal(pieces, in_pieces);
    assert_int_equal(fixture->sent.frames, count);
    assert_int_equal(fixture->sent.bytes, fixture->want.length);
    assert_int_equal(fixture->sent.half_bytes, 0);
    assert_true(fixture->sent.all);
    receive(fixture);
    assert_received(fixture);
}

/* The same for what stands from `first` to `last`, all of it of one channel. */
static void assert_sends_places(struct fixture *fixture, const struct eg_stream_need *need, uint64_t first,
                                uint64_t last, size_t in_pieces)
{
    want_places(fixture, need, first, last);
    assert_sends(fixture, need, (size_t)(last - first + 1), in_pieces);
    assert_int_equal(fixture->sent.last, last);
}

static void make_small(struct fixture *fixture)
{
    int bytes = 4096;
    assert_int_equal(setsockopt(fixture->ours, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    int fds[2];
    fixture->journal = eg_journal_new(0, 1000, 8 << 20);
    fixture->subscribers = eg_subscribers_new(fixture->journal);
    fixture->run = eg_stream_run_new();
    add_break(fixture);
    fixture->a = listen_to(fixture, "a");
    fixture->b = listen_to(fixture, "b");
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    fixture->ours = fds[0];
    fixture->theirs = fds[1];
    *state = fixture;
    return 0;
}

static void forget(struct eg_journal_channel *channel, void *context)
{
    (void)context;
    eg_subscribers_forget(channel);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < fixture->reader_count; i++)
        eg_subscribers_remove(fixture->subscribers, &fixture->readers[i]);
    eg_stream_run_free(fixture->run);
    eg_subscribers_free(fixture->subscribers);
    eg_journal_visit_channels(fixture->journal, forget, NULL);
    eg_journal_free(fixture->journal);
    eg_buffer_done(&fixture->got);
    eg_buffer_done(&fixture->want);
    close(fixture->ours);
    close(fixture->theirs);
    free(fixture);
    return 0;
}

/* --- one reader ----------------------------------------------------------------------------------------------------
 */

static void one_reader_gets_its_channels_frames_at_once(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = publish(fixture, fixture->a, 10);
    publish(fixture, fixture->b, 20);
    uint64_t third = publish(fixture, fixture->a, 30);
    publish(fixture, fixture->b, 40);
    struct eg_stream_need need = need_of(fixture, fixture->a, first);
    want_places(fixture, &need, first, first);
    want_places(fixture, &need, third, third);
    assert_sends(fixture, &need, 2, 2);
    assert_int_equal(fixture->sent.last, third);
    assert_int_equal(eg_stream_run_next(fixture->run), 0);
}

static void a_reader_that_lacks_nothing_gets_nothing(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = publish(fixture, fixture->b, 10);
    struct eg_stream_need need = need_of(fixture, fixture->a, first);
    assert_int_equal(collect(fixture, &need), 0);
    assert_int_equal(eg_stream_run_next(fixture->run), 0);
}

static void a_break_ends_the_run(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = publish_many(fixture, fixture->a, 2);
    uint64_t broken = add_break(fixture);
    uint64_t after = publish_many(fixture, fixture->a, 3);
    struct eg_stream_need need = need_of(fixture, fixture->a, first);
    struct eg_stream_need at_break = need_of(fixture, fixture->a, broken);
    struct eg_stream_need behind = need_of(fixture, fixture->a, after);
    for (size_t reader = 0; reader < 2; reader++) {
        assert_sends_places(fixture, &need, first, first + 1, reader == 0 ? 2 : 1);
        assert_int_equal(eg_stream_run_next(fixture->run), broken);
    }
    for (size_t reader = 0; reader < 2; reader++) {
        assert_int_equal(collect(fixture, &at_break), 0);
        assert_int_equal(eg_stream_run_next(fixture->run), broken);
    }
    assert_sends_places(fixture, &behind, after, after + 2, 3);
    assert_int_equal(eg_stream_run_next(fixture->run), 0);
}

static void a_run_has_at_most_so_many_frames(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = publish_many(fixture, fixture->a, RUN_FRAMES + 2);
    struct eg_stream_need need = need_of(fixture, fixture->a, first);
    struct eg_stream_need rest = need_of(fixture, fixture->a, first + RUN_FRAMES);
    for (size_t reader = 0; reader < 2; reader++) {
        assert_sends_places(fixture, &need, first, first + RUN_FRAMES - 1, reader == 0 ? RUN_FRAMES : 1);
        assert_int_equal(eg_stream_run_next(fixture->run), first + RUN_FRAMES);
    }
    assert_sends_places(fixture, &rest, first + RUN_FRAMES, first + RUN_FRAMES + 1, 2);
    assert_int_equal(eg_stream_run_next(fixture->run), 0);
}

static void a_run_ends_with_the_frame_that_reaches_its_bytes(void **state)
{
    struct fixture *fixture = *state;
    enum { COUNT = 50 };
    uint64_t first = fixture->head + 1;
    for (size_t i = 0; i < COUNT; i++)
        publish(fixture, fixture->a, 7000);
    struct eg_stream_need need = need_of(fixture, fixture->a, first);
    uint64_t next = first;
    for (size_t bytes = 0; bytes < RUN_BYTES; next++)
        bytes += frame_length(fixture, &need, next);
    assert_in_range(next, first + 2, first + COUNT - 1);
    assert_int_equal(collect(fixture, &need), next - first);
    assert_int_equal(eg_stream_run_next(fixture->run), next);
}

/* --- sharing -------------------------------------------------------------------------------------------------------
 */

static void who_needs_the_same_gets_it_in_one_piece(void **state)
{
    struct fixture *fixture = *state;
    const struct eg_format formats[] = {sse, ndjson};
    uint64_t first = publish_many(fixture, fixture->a, 3);
    struct eg_stream_need needs[] = {need_of(fixture, fixture->a, first), need_of(fixture, fixture->a, first),
                                     need_of(fixture, fixture->a, first)};
    for (size_t format = 0; format < EG_ARRAY_LENGTH(formats); format++)
        for (int chunked = 0; chunked < 2; chunked++)
            for (size_t reader = 0; reader < EG_ARRAY_LENGTH(needs); reader++) {
                needs[reader].format = formats[format];
                needs[reader].chunked = chunked;
                assert_sends_places(fixture, &needs[reader], first, first + 2, reader == 0 ? 3 : 1);
                assert_int_equal(eg_stream_run_next(fixture->run), 0);
            }
}

static void append_row(struct fixture *fixture, const struct eg_journal_channel *channel, uint64_t position)
{
    struct eg_cursor cursor = {.tag = "log", .has_position = true, .position = position};
    const struct eg_event_row row = {.cursor = cursor, .place = ++fixture->head, .data = {"1", 1}};
    struct eg_event *event = eg_event_new_durable(channel->channel, &row);
    assert_non_null(event);
    assert_int_equal(eg_journal_append_event(fixture->journal, event), 0);
}

/* A reader that has had everything of the log up to `position`, perhaps more than the journal. */
static struct eg_stream_need need_behind(struct fixture *fixture, struct eg_journal_channel *channel, uint64_t position)
{
    struct eg_subscriber *reader = &fixture->readers[fixture->reader_count++];
    reader->hears_log = true;
    assert_int_equal(eg_subscribers_add(fixture->subscribers, reader, &channel, 1,
                                        (struct eg_subscriber_start){.place = fixture->head, .position = position}),
                     0);
    return (struct eg_stream_need){.journal = fixture->journal, .subscriber = reader, .format = sse, .chunked = true};
}

/* Two readers stand at one place, but one has read the log further than the journal. */
static void what_a_reader_has_from_the_log_does_not_come_again(void **state)
{
    struct fixture *fixture = *state;
    eg_journal_set_log(fixture->journal, "log", 10, NULL);
    struct eg_stream_need ahead = need_behind(fixture, fixture->a, 12), all = need_behind(fixture, fixture->a, 10);
    uint64_t first = fixture->head + 1;
    for (uint64_t position = 11; position <= 13; position++)
        append_row(fixture, fixture->a, position);
    assert_int_equal(ahead.subscriber->next, all.subscriber->next);
    assert_sends_places(fixture, &all, first, first + 2, 3);
    assert_sends_places(fixture, &ahead, first + 2, first + 2, 1);
    assert_sends_places(fixture, &all, first, first + 2, 3);
}

static void a_run_of_one_frame_is_shared_as_it_is(void **state)
{
    struct fixture *fixture = *state;
    uint64_t only = publish(fixture, fixture->a, 10);
    struct eg_stream_need one = need_of(fixture, fixture->a, only), two = need_of(fixture, fixture->a, only);
    assert_sends_places(fixture, &one, only, only, 1);
    assert_sends_places(fixture, &two, only, only, 1);
}

/* The reader does not get the run that was collected before, however near to it. */
static void assert_own_run(struct fixture *fixture, const struct eg_stream_need *before,
                           const struct eg_stream_need *need, uint64_t first, uint64_t last)
{
    assert_true(collect(fixture, before) > 0);
    assert_true(collect(fixture, before) > 0); /* joined */
    assert_sends_places(fixture, need, first, last, (size_t)(last - first + 1));
}

static void who_needs_something_else_gets_a_run_of_its_own(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = publish_many(fixture, fixture->a, 3);
    uint64_t of_b = publish_many(fixture, fixture->b, 2);
    struct eg_stream_need base = need_of(fixture, fixture->a, first);
    struct eg_stream_need format = base, name = base, chunking = base;
    format.format = ndjson;
    name.format = sse_named;
    chunking.chunked = false;
    assert_own_run(fixture, &base, &format, first, first + 2);
    assert_own_run(fixture, &base, &name, first, first + 2);
    assert_own_run(fixture, &base, &chunking, first, first + 2);
    struct eg_stream_need place = need_of(fixture, fixture->a, first + 1);
    assert_own_run(fixture, &base, &place, first + 1, first + 2);
    struct eg_stream_need channel = need_of(fixture, fixture->b, first);
    assert_own_run(fixture, &base, &channel, of_b, of_b + 1);
}

static void readers_of_several_channels_share_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct eg_journal_channel *both[] = {fixture->a, fixture->b};
    uint64_t first = publish_many(fixture, fixture->a, 2);
    publish_many(fixture, fixture->b, 2);
    struct eg_stream_need one = need_of(fixture, fixture->a, first), two = one;
    two.subscriber = &fixture->readers[fixture->reader_count++];
    fixture->readers[fixture->reader_count - 1].hears_live = true;
    assert_int_equal(eg_subscribers_add(fixture->subscribers, &fixture->readers[fixture->reader_count - 1], both, 2,
                                        (struct eg_subscriber_start){.place = first - 1}),
                     0);
    assert_own_run(fixture, &one, &two, first, first + 3);
    assert_sends_places(fixture, &two, first, first + 3, 4);
    assert_sends_places(fixture, &one, first, first + 1, 2);
}

static void what_is_appended_makes_another_run(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = publish_many(fixture, fixture->a, 2);
    struct eg_stream_need one = need_of(fixture, fixture->a, first), two = need_of(fixture, fixture->a, first);
    assert_sends_places(fixture, &one, first, first + 1, 2);
    assert_sends_places(fixture, &two, first, first + 1, 1);
    publish(fixture, fixture->a, 10);
    assert_sends_places(fixture, &one, first, first + 2, 3);
    assert_sends_places(fixture, &two, first, first + 2, 1);
    uint64_t broken = add_break(fixture);
    assert_sends_places(fixture, &one, first, first + 2, 3);
    assert_int_equal(eg_stream_run_next(fixture->run), broken);
}

static void a_run_outlives_the_trimming_of_what_is_before_it(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = publish_many(fixture, fixture->a, 5);
    struct eg_stream_need need = need_of(fixture, fixture->a, first + 2);
    assert_sends_places(fixture, &need, first + 2, first + 4, 3);
    eg_journal_set_bounds(fixture->journal, 3, 1 << 20);
    assert_int_equal(eg_journal_tail(fixture->journal), first + 2);
    assert_sends_places(fixture, &need, first + 2, first + 4, 1);
    publish(fixture, fixture->a, 10); /* takes the run's first event */
    need = need_of(fixture, fixture->a, first + 3);
    assert_sends_places(fixture, &need, first + 3, first + 5, 3);
}

static void a_channel_that_is_listened_anew_does_not_share_with_the_old_one(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = publish_many(fixture, fixture->a, 2);
    struct eg_stream_need need = need_of(fixture, fixture->a, first);
    struct eg_channel *old = eg_channel_ref(fixture->a->channel);
    assert_sends_places(fixture, &need, first, first + 1, 2);
    /* As the worker does it: the audience's counter is the shared channel's, so the reader leaves it first. */
    eg_subscribers_remove(fixture->subscribers, &fixture->readers[--fixture->reader_count]);
    assert_ptr_equal(eg_journal_unlistened(fixture->journal, old), fixture->a);
    eg_channel_unref(old);
    assert_ptr_equal(listen_to(fixture, "a"), fixture->a);
    need = need_of(fixture, fixture->a, first);
    assert_int_equal(collect(fixture, &need), 0); /* of its own LISTEN there is nothing yet */
    assert_int_equal(eg_stream_run_next(fixture->run), 0);
}

/* --- half-sent frames ----------------------------------------------------------------------------------------------
 */

static void the_rest_of_a_half_sent_frame_comes_first(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = publish_many(fixture, fixture->a, 3);
    struct eg_stream_need half = need_of(fixture, fixture->a, first), whole = need_of(fixture, fixture->a, first);
    half.offset = 7;
    half.half = event_at(fixture, first);
    for (int time = 0; time < 2; time++) { /* it isn't shared, not even with whoever has had as much */
        want_event(fixture, &half, half.half, half.offset);
        want_places(fixture, &half, first + 1, first + 2);
        assert_sends(fixture, &half, 3, 3);
        assert_int_equal(fixture->sent.last, first + 2);
        assert_int_equal(eg_stream_run_next(fixture->run), 0);
    }
    assert_sends_places(fixture, &whole, first, first + 2, 3);
}

static void a_stream_that_ends_gets_only_the_rest_of_its_frame(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = publish_many(fixture, fixture->a, 3);
    struct eg_stream_need need = need_of(fixture, fixture->a, first);
    need.offset = 7;
    need.half = event_at(fixture, first);
    need.only_half = true;
    want_event(fixture, &need, need.half, need.offset);
    assert_sends(fixture, &need, 1, 1);
    assert_int_equal(fixture->sent.last, first);
    assert_int_equal(eg_stream_run_next(fixture->run), first); /* not looked at what follows */
}

static void a_half_sent_frame_that_the_journal_has_left_behind_stays_alone(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = publish_many(fixture, fixture->a, 2);
    struct eg_stream_need need = need_of(fixture, fixture->a, first);
    need.offset = 7;
    need.half = eg_event_ref(event_at(fixture, first));
    eg_journal_set_bounds(fixture->journal, 1, 1 << 20);
    assert_true(first < eg_journal_tail(fixture->journal));
    want_event(fixture, &need, need.half, need.offset);
    assert_sends(fixture, &need, 1, 1);
    assert_int_equal(eg_stream_run_next(fixture->run), first);
    eg_event_unref(need.half);
}

/* Moves a reader on by what has been taken, as a stream does. */
static void move_on(struct fixture *fixture, struct eg_subscriber *reader, struct eg_stream_need *need)
{
    const struct eg_stream_sent *sent = &fixture->sent;
    if (sent->frames > 0) {
        reader->next = sent->last + 1;
        need->offset = 0;
    }
    if (sent->half_bytes > 0) {
        reader->next = sent->half;
        need->offset += sent->half_bytes;
        need->half = event_at(fixture, sent->half);
    }
}

static void what_a_full_socket_has_taken_is_told_to_the_byte(void **state)
{
    struct fixture *fixture = *state;
    enum { COUNT = 40, LENGTH = 5000 };
    uint64_t first = fixture->head + 1;
    size_t halves = 0;
    for (size_t i = 0; i < COUNT; i++)
        publish(fixture, fixture->a, LENGTH);
    struct eg_stream_need need = need_of(fixture, fixture->a, first);
    struct eg_subscriber *reader = &fixture->readers[0];
    want_places(fixture, &need, first, first + COUNT - 1);
    make_small(fixture);
    while (reader->next <= fixture->head) {
        assert_true(collect(fixture, &need) > 0);
        assert_int_equal(eg_stream_run_send(fixture->run, &(struct eg_wire){.fd = fixture->ours}, &fixture->sent), 0);
        move_on(fixture, reader, &need);
        halves += fixture->sent.half_bytes > 0;
        receive(fixture);
    }
    assert_true(halves > 0);
    assert_received(fixture);
}

static void a_reader_that_is_gone_in_the_middle_of_a_run_leaves_it_whole(void **state)
{
    struct fixture *fixture = *state;
    enum { COUNT = 10, LENGTH = 5000 };
    uint64_t first = fixture->head + 1;
    for (size_t i = 0; i < COUNT; i++)
        publish(fixture, fixture->a, LENGTH);
    struct eg_stream_need stays = need_of(fixture, fixture->a, first), gone = need_of(fixture, fixture->a, first);
    int bytes = 1 << 18;
    make_small(fixture);
    assert_int_equal(collect(fixture, &gone), COUNT);
    assert_int_equal(eg_stream_run_send(fixture->run, &(struct eg_wire){.fd = fixture->ours}, &fixture->sent), 0);
    assert_false(fixture->sent.all);
    eg_subscribers_remove(fixture->subscribers, &fixture->readers[--fixture->reader_count]);
    receive(fixture);
    eg_buffer_clear(&fixture->got);
    assert_int_equal(setsockopt(fixture->ours, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
    assert_sends_places(fixture, &stays, first, first + COUNT - 1, 1);
}

static void a_hung_up_socket_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = publish_many(fixture, fixture->a, 2);
    struct eg_stream_need need = need_of(fixture, fixture->a, first);
    assert_int_equal(shutdown(fixture->theirs, SHUT_RDWR), 0);
    for (size_t reader = 0; reader < 2; reader++) { /* in parts, and in one piece */
        assert_int_equal(collect(fixture, &need), 2);
        assert_int_equal(eg_stream_run_send(fixture->run, &(struct eg_wire){.fd = fixture->ours}, &fixture->sent),
                         -EPIPE);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_reader_gets_its_channels_frames_at_once),
        TEST(a_reader_that_lacks_nothing_gets_nothing),
        TEST(a_break_ends_the_run),
        TEST(a_run_has_at_most_so_many_frames),
        TEST(a_run_ends_with_the_frame_that_reaches_its_bytes),
        TEST(who_needs_the_same_gets_it_in_one_piece),
        TEST(what_a_reader_has_from_the_log_does_not_come_again),
        TEST(a_run_of_one_frame_is_shared_as_it_is),
        TEST(who_needs_something_else_gets_a_run_of_its_own),
        TEST(readers_of_several_channels_share_nothing),
        TEST(what_is_appended_makes_another_run),
        TEST(a_run_outlives_the_trimming_of_what_is_before_it),
        TEST(a_channel_that_is_listened_anew_does_not_share_with_the_old_one),
        TEST(the_rest_of_a_half_sent_frame_comes_first),
        TEST(a_stream_that_ends_gets_only_the_rest_of_its_frame),
        TEST(a_half_sent_frame_that_the_journal_has_left_behind_stays_alone),
        TEST(what_a_full_socket_has_taken_is_told_to_the_byte),
        TEST(a_reader_that_is_gone_in_the_middle_of_a_run_leaves_it_whole),
        TEST(a_hung_up_socket_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

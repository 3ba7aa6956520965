/*
 * Reading the end of the log.
 *
 *     NONE --ready--> ATTACHING --attached--> PREPARING --prepared--> LIVE --another incarnation--> ATTACHING ...
 *
 * and back to NONE with the connection. `order->position` is what has been read: it moves with each row, and only
 * forward, but for a lost tail. Rows are those of the incarnation that was attached to: the head of each result says of
 * which they are.
 *
 * A wake-up while a read is under way asks for one more read behind it, however many there were.
 */
#include "eventgate/log_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/connection.h"
#include "eventgate/log.h"
#include "eventgate/log_channels.h"

#define ITEMS_PER_PUSH 256u
/* The backstop: a wake-up may have been lost, or forged ones may hide it. */
#define POLL_MS 1000u

enum step { NONE, ATTACHING, PREPARING, LIVE };

struct look {
    uint32_t worker;
    uint64_t number;
};

struct eg_log_reader {
    struct eg_loop *loop;
    const struct eg_config_set *set;
    struct eg_order *order;
    struct eg_metrics *metrics;
    struct eg_feed_sink sink;
    void (*attached)(void *context);
    void *context;
    struct eg_connection *connection;
    struct eg_buffer settings;
    struct eg_log_channels *channels;
    struct eg_log_state state;
    enum step step;
    bool failed; /* what is under way, with `error` */
    struct eg_error error;
    struct eg_log_attached found; /* by the attaching under way; `jumps` NULL: nothing yet */
    bool prepared;                /* in this session */
    bool doubted, doubted_now;    /* by another connection: the next read is to see to it, or the one under way */
    bool attached_again;          /* since the last read of this incarnation */
    bool reading;                 /* a read is under way */
    bool again;                   /* to be followed by another one */
    bool at_head;                 /* they were all there were */
    bool another;                 /* they are another incarnation's */
    uint64_t read_ms;             /* when the last read was sent */
    int own_session;              /* this gateway's appending process of PostgreSQL; 0: none */
    char own_mark[EG_LOG_MARK_SIZE];
    struct eg_timer poll;
    struct look *looks; /* the first `looks_now` wait for what is being read, the others for the next read */
    size_t look_count, looks_now, look_capacity;
    struct eg_feed_item items[ITEMS_PER_PUSH]; /* events on their way to the workers */
    size_t item_count;
    uint64_t woken_us;         /* when the wake-up came that the next read is to answer; 0: there was none */
    uint64_t reading_woken_us; /* the same for the read under way, or when that was sent */
    uint64_t arrived_us;       /* what is counted as the arrival of the events that are read now */
};

/* --- telling the workers -------------------------------------------------------------------------------------------
 */

static void tell(const struct eg_log_reader *reader, int worker, struct eg_feed_item item)
{
    reader->sink.feed(reader->sink.context, worker, &item, 1);
}

static void push_events(void *context)
{
    struct eg_log_reader *reader = context;
    size_t bytes = 0;
    if (reader->item_count == 0)
        return;
    eg_order_store(reader->order);
    reader->sink.feed(reader->sink.context, -1, reader->items, reader->item_count);
    for (size_t i = 0; i < reader->item_count; i++) {
        bytes += reader->items[i].event->payload.length;
        eg_event_unref(reader->items[i].event);
    }
    eg_metrics_add(reader->metrics, EG_METRIC_RECEIVED_DURABLE, (int64_t)reader->item_count);
    eg_metrics_add(reader->metrics, EG_METRIC_RECEIVED_BYTES_DURABLE, (int64_t)bytes);
    reader->item_count = 0;
}

static void answer_looks(struct eg_log_reader *reader)
{
    for (size_t i = 0; i < reader->looks_now; i++)
        tell(reader, (int)reader->looks[i].worker,
             (struct eg_feed_item){.kind = EG_FEED_LOOKED, .want = reader->looks[i].number});
    reader->look_count -= reader->looks_now;
    if (reader->look_count > 0)
        memmove(reader->looks, reader->looks + reader->looks_now, reader->look_count * sizeof(*reader->looks));
    reader->looks_now = 0;
}

/* --- attaching -----------------------------------------------------------------------------------------------------
 */

static void forget_found(struct eg_log_reader *reader)
{
    eg_log_jumps_unref(reader->found.jumps);
    reader->found.jumps = NULL;
}

static void attach(struct eg_log_reader *reader)
{
    reader->step = ATTACHING;
    reader->failed = false;
    forget_found(reader);
    eg_log_send_attach(reader->connection, reader->order->position);
    eg_connection_sync(reader->connection);
    eg_connection_flush(reader->connection);
}

/* Where reading goes on in the same log: at the end of a jump that begins where it stands, or that it is inside of. */
static uint64_t continue_at(struct eg_log_reader *reader, const struct eg_log_jumps *jumps)
{
    uint64_t position = reader->order->position;
    const struct eg_log_jump *lost = eg_log_jumps_inside(jumps, position);
    if (!lost)
        return eg_log_jumps_follow(jumps, position);
    position = eg_log_jumps_follow(jumps, lost->to);
    eg_log(EG_LOG_WARN, "the log has lost its tail", EG_LOG_STR("set", reader->set->name),
           EG_LOG_INT("read", reader->order->position), EG_LOG_INT("from", lost->from), EG_LOG_INT("to", position));
    /* Whether events were in it or not: a client may have been given a cursor that lies in it. */
    eg_metrics_add(reader->metrics, EG_METRIC_LOG_BREAKS, 1);
    reader->order->head++;
    eg_order_store(reader->order);
    tell(reader, -1,
         (struct eg_feed_item){
             .kind = EG_FEED_LOG_BREAK, .place = reader->order->head, .from = lost->from, .position = position});
    return position;
}

/* The transaction that attached has committed. */
static void take_attached(struct eg_log_reader *reader)
{
    const struct eg_log_attached *attached = &reader->found;
    char before[sizeof(reader->order->tag)];
    memcpy(before, reader->order->tag, sizeof(before));
    uint64_t position = attached->head;
    bool same = strcmp(before, attached->tag) == 0;
    if (same)
        position = continue_at(reader, attached->jumps);
    else if (before[0])
        eg_log(EG_LOG_WARN, "this is another log", EG_LOG_STR("set", reader->set->name), EG_LOG_STR("was", before),
               EG_LOG_STR("tag", attached->tag));
    eg_log_jumps_unref(reader->state.jumps);
    reader->state.jumps = attached->jumps;
    snprintf(reader->state.mark, sizeof(reader->state.mark), "%s", attached->mark);
    reader->state.attached = true;
    eg_order_set_log(reader->order, attached->tag, position);
    eg_metrics_set(reader->metrics, EG_METRIC_LOG_POSITION, (int64_t)position);
    struct eg_feed_item item = {.kind = EG_FEED_LOG, .position = position, .jumps = attached->jumps};
    memcpy(item.tag, reader->order->tag, sizeof(item.tag));
    tell(reader, -1, item);
    eg_log(EG_LOG_INFO, "attached to the log", EG_LOG_STR("set", reader->set->name), EG_LOG_STR("tag", attached->tag),
           EG_LOG_STR("mark", attached->mark), EG_LOG_INT("head", attached->head), EG_LOG_INT("position", position));
    reader->found.jumps = NULL; /* the state's now */
    reader->doubted = reader->doubted_now = false;
    reader->attached(reader->context);
}

static void prepare(struct eg_log_reader *reader)
{
    reader->step = PREPARING;
    eg_connection_prepare(reader->connection, "wake", "LISTEN eventgate", 0);
    eg_connection_send(reader->connection, "wake", NULL, 0);
    eg_log_prepare_tail(reader->connection);
    eg_connection_sync(reader->connection);
    eg_connection_flush(reader->connection);
}

/* --- reading -------------------------------------------------------------------------------------------------------
 */

static void read_now(struct eg_log_reader *reader)
{
    if (reader->step != LIVE || reader->reading) {
        reader->again = true;
        return;
    }
    reader->reading = true;
    reader->again = reader->at_head = reader->another = reader->failed = false;
    reader->looks_now = reader->look_count;
    reader->doubted_now = reader->doubted;
    reader->doubted = false;
    reader->read_ms = eg_loop_now_ms(reader->loop);
    reader->reading_woken_us = reader->woken_us ? reader->woken_us : eg_loop_now_us(reader->loop);
    reader->woken_us = 0;
    eg_log_send_tail(reader->connection, reader->order->position);
    eg_connection_sync(reader->connection);
    eg_connection_flush(reader->connection);
}

static void poll_is_due(struct eg_timer *timer)
{
    struct eg_log_reader *reader = EG_CONTAINER_OF(timer, struct eg_log_reader, poll);
    if (reader->step == LIVE && !reader->reading)
        read_now(reader);
}

static void arm_poll(struct eg_log_reader *reader, uint32_t in_ms)
{
    if (eg_timer_set(reader->loop, &reader->poll, eg_loop_now_ms(reader->loop) + in_ms) != 0)
        eg_log(EG_LOG_ERROR, "no memory for a timer", EG_LOG_STR("set", reader->set->name));
}

/* After a wake-up. Not more than one read in a millisecond: while commits come faster, reading each of them by itself
 * would only take the time that the next ones need. */
static void read_again(struct eg_log_reader *reader)
{
    if (reader->step == LIVE && eg_loop_now_ms(reader->loop) == reader->read_ms)
        arm_poll(reader, 1);
    else
        read_now(reader);
}

/* False: out of memory. */
static bool take_row(struct eg_log_reader *reader, const struct eg_log_row *row)
{
    struct eg_order *order = reader->order;
    struct eg_channel *channel;
    if (eg_log_channels_find(reader->channels, row->channel, push_events, reader, &channel) != 0)
        return false;
    order->appended_us = row->appended_us;
    if (!channel) {
        order->position = row->position;
        return true;
    }
    struct eg_event_row parts = {.cursor = eg_order_cursor(order, order->head + 1),
                                 .place = order->head + 1,
                                 .appended_us = row->appended_us,
                                 .data = row->data,
                                 .type = row->type,
                                 .trace = row->trace};
    parts.cursor.position = row->position;
    struct eg_event *event = eg_event_new_durable(channel, &parts);
    if (!event)
        return false;
    event->arrived_us = reader->arrived_us;
    order->position = row->position;
    order->head++;
    atomic_fetch_add_explicit(&channel->events, 1, memory_order_relaxed);
    reader->items[reader->item_count++] =
        (struct eg_feed_item){.kind = EG_FEED_EVENT, .place = event->place, .event = event};
    if (reader->item_count == ITEMS_PER_PUSH)
        push_events(reader);
    return true;
}

/* Tells of what has been read so far. */
static void show_position(struct eg_log_reader *reader)
{
    push_events(reader);
    eg_order_set_log(reader->order, reader->order->tag, reader->order->position);
    eg_metrics_set(reader->metrics, EG_METRIC_LOG_POSITION, (int64_t)reader->order->position);
    if (reader->order->appended_us > 0)
        eg_metrics_set(reader->metrics, EG_METRIC_LOG_LAST_EVENT, reader->order->appended_us);
    tell(reader, -1, (struct eg_feed_item){.kind = EG_FEED_LOG, .position = reader->order->position});
}

static void take_rows(struct eg_log_reader *reader, const struct eg_result *result)
{
    struct eg_log_head head;
    struct eg_log_row row;
    size_t count = eg_result_count(result);
    uint64_t bytes = 0;
    bool memory = true;
    if (eg_log_read_head(result, &head) != 0)
        return;
    reader->another = !head.mark.data || strcmp(head.mark.data, reader->state.mark) != 0;
    if (reader->another)
        return;
    reader->arrived_us = reader->reading_woken_us;
    for (size_t i = 1; memory && i < count; i++) {
        eg_log_read_row(result, i, &row);
        memory = row.position <= reader->order->position || take_row(reader, &row); /* own ones came meanwhile */
        bytes += row.bytes;
    }
    eg_metrics_add(reader->metrics, EG_METRIC_LOG_READS, 1);
    eg_metrics_add(reader->metrics, EG_METRIC_LOG_ROWS, (int64_t)count - 1);
    reader->at_head = count - 1 < EG_LOG_TAIL_ROWS && bytes < EG_LOG_TAIL_BYTES;
    if (count > 1)
        show_position(reader);
    if (!memory)
        eg_connection_fail(reader->connection, "out of memory for an event of the log");
}

static void finish_read(struct eg_log_reader *reader)
{
    reader->reading = false;
    if (reader->another && reader->attached_again) {
        eg_connection_fail(reader->connection, "the log's incarnation changes without end");
        return;
    }
    reader->attached_again = reader->another;
    if (reader->another) {
        attach(reader);
        return;
    }
    if (reader->doubted_now) {
        reader->doubted_now = false;
        reader->attached(reader->context);
    }
    if (reader->at_head)
        answer_looks(reader);
    if (!reader->at_head || reader->look_count > 0 || reader->doubted)
        read_now(reader);
    else if (reader->again)
        read_again(reader);
    else
        arm_poll(reader, POLL_MS);
}

/* --- what this gateway appended ------------------------------------------------------------------------------------
 */

/* Is that the incarnation that is being read? */
static bool is_read(const struct eg_log_reader *reader, const char *mark)
{
    return reader->step == LIVE && !reader->another && strcmp(mark, reader->state.mark) == 0;
}

void eg_log_reader_own_begin(struct eg_log_reader *reader, int session, const char *mark)
{
    reader->own_session = session;
    snprintf(reader->own_mark, sizeof(reader->own_mark), "%s", mark);
}

bool eg_log_reader_own_row(struct eg_log_reader *reader, const char *mark, const struct eg_log_row *row)
{
    if (reader->own_session == 0 || !is_read(reader, mark) || row->position != reader->order->position + 1)
        return false;
    reader->arrived_us = eg_loop_now_us(reader->loop);
    if (take_row(reader, row))
        return true;
    eg_connection_fail(reader->connection, "out of memory for an event of the log");
    return false;
}

void eg_log_reader_own_end(struct eg_log_reader *reader, bool all)
{
    if (reader->step != LIVE)
        return;
    show_position(reader);
    reader->again = reader->again || !all;
    if (reader->again && !reader->reading)
        read_again(reader);
}

void eg_log_reader_own_lost(struct eg_log_reader *reader)
{
    reader->own_session = 0;
    read_now(reader);
}

/* --- the connection's hooks ----------------------------------------------------------------------------------------
 */

static void ready(void *context)
{
    struct eg_log_reader *reader = context;
    reader->prepared = reader->attached_again = false;
    attach(reader);
}

static void notified(void *context, const char *channel, const char *payload)
{
    struct eg_log_reader *reader = context;
    (void)payload;
    if (strcmp(channel, "eventgate") != 0)
        return;
    if (eg_connection_notifier(reader->connection) == reader->own_session && is_read(reader, reader->own_mark))
        return;
    reader->again = true;
    if (reader->woken_us == 0)
        reader->woken_us = eg_loop_now_us(reader->loop);
}

static void drained(void *context)
{
    struct eg_log_reader *reader = context;
    if (reader->again && !reader->reading)
        read_again(reader);
}

static void go_live(struct eg_log_reader *reader)
{
    reader->step = LIVE;
    reader->prepared = true;
    eg_connection_settle(reader->connection);
    eg_metrics_set(reader->metrics, EG_METRIC_PG_UP_READ, 1);
    eg_metrics_add(reader->metrics, EG_METRIC_PG_SESSIONS_READ, 1);
    eg_set_status_set_reader(reader->order->status, true, "LIVE", NULL);
    read_now(reader);
}

static void take_error(struct eg_log_reader *reader)
{
    char problem[512];
    eg_log_explain(&reader->error, problem, sizeof(problem));
    eg_connection_fail(reader->connection, problem);
}

/* What was sent together is over, and committed unless it failed. */
static void take_sync(struct eg_log_reader *reader)
{
    if (reader->failed) {
        take_error(reader);
    } else if (reader->step == ATTACHING) {
        if (!reader->found.jumps) {
            eg_connection_fail(reader->connection, "eventgate.attach() returns nothing");
            return;
        }
        take_attached(reader);
        if (reader->prepared)
            go_live(reader);
        else
            prepare(reader);
    } else if (reader->step == PREPARING) {
        go_live(reader);
    } else if (reader->reading) {
        finish_read(reader);
    }
}

static void result(void *context, const struct eg_result *result)
{
    struct eg_log_reader *reader = context;
    if (result->kind == EG_RESULT_SYNC) {
        take_sync(reader);
    } else if (result->kind == EG_RESULT_ERROR) {
        reader->failed = true;
        reader->error = *result->error;
    } else if (result->rows && reader->step == ATTACHING) {
        forget_found(reader);
        if (eg_log_read_attached(result, &reader->found, &reader->error) != 0)
            reader->failed = true;
    } else if (result->rows && reader->reading) {
        take_rows(reader, result);
    }
}

static void ignore(void *context)
{
    (void)context;
}

/* What was read stays read; the next session attaches there. */
static void lost(void *context)
{
    struct eg_log_reader *reader = context;
    reader->step = NONE;
    reader->reading = reader->again = false;
    reader->looks_now = 0;
    eg_metrics_set(reader->metrics, EG_METRIC_PG_UP_READ, 0);
}

static void state(void *context, const char *name, const char *problem)
{
    struct eg_log_reader *reader = context;
    if (problem && strcmp(name, "WAITING") == 0)
        eg_metrics_add(reader->metrics, EG_METRIC_PG_FAILURES_READ, 1);
    eg_set_status_set_reader(reader->order->status, false, strcmp(name, "READY") == 0 ? "ATTACHING" : name,
                             problem ? problem : "connecting");
}

/* --- wishes --------------------------------------------------------------------------------------------------------
 */

const struct eg_log_state *eg_log_reader_state(const struct eg_log_reader *reader)
{
    return &reader->state;
}

void eg_log_reader_look(struct eg_log_reader *reader, uint32_t worker, uint64_t number)
{
    if (reader->look_count == reader->look_capacity) {
        size_t capacity = reader->look_capacity ? 2 * reader->look_capacity : 16;
        struct look *looks = reallocarray(reader->looks, capacity, sizeof(*looks));
        if (!looks) { /* ends in the request's own timeout */
            eg_log(EG_LOG_ERROR, "no memory for a look at the log", EG_LOG_STR("set", reader->set->name));
            return;
        }
        reader->looks = looks;
        reader->look_capacity = capacity;
    }
    reader->looks[reader->look_count++] = (struct look){worker, number};
    read_now(reader);
}

void eg_log_reader_doubt(struct eg_log_reader *reader)
{
    reader->doubted = true;
    read_now(reader);
}

/* --- making and freeing --------------------------------------------------------------------------------------------
 */

struct eg_log_reader *eg_log_reader_new(struct eg_loop *loop, const struct eg_config_set *set, uint32_t workers,
                                        struct eg_order *order, struct eg_metrics *metrics, struct eg_feed_sink sink,
                                        void (*attached)(void *context), void *context)
{
    struct eg_log_reader *reader = calloc(1, sizeof(*reader));
    if (!reader)
        return NULL;
    reader->loop = loop;
    reader->set = set;
    reader->order = order;
    reader->metrics = metrics;
    reader->sink = sink;
    reader->attached = attached;
    reader->context = context;
    reader->poll.fire = poll_is_due;
    eg_metrics_set(metrics, EG_METRIC_PG_UP_READ, 0);
    reader->channels = eg_log_channels_new(set, workers, order->status->channels, sink);
    eg_log_settings(set, &reader->settings);
    const struct eg_connection_hooks hooks = {reader, ready,  notified, drained, result,
                                              ignore, ignore, lost,     state,   reader->settings.data};
    if (reader->channels && !reader->settings.failed)
        reader->connection = eg_connection_new(loop, set, "read", &hooks);
    if (reader->connection)
        return reader;
    eg_log_reader_free(reader);
    return NULL;
}

void eg_log_reader_configure(struct eg_log_reader *reader, const struct eg_config_set *set)
{
    eg_log_channels_configure(reader->channels, set);
}

void eg_log_reader_free(struct eg_log_reader *reader)
{
    if (!reader)
        return;
    eg_connection_free(reader->connection);
    eg_timer_cancel(reader->loop, &reader->poll);
    eg_log_channels_free(reader->channels);
    eg_log_jumps_unref(reader->state.jumps);
    forget_found(reader);
    eg_buffer_done(&reader->settings);
    free(reader->looks);
    free(reader);
}

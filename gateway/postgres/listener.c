/*
 * A set's LISTEN session.
 *
 * A channel (see listened.h) has an eg_channel, known to the workers, from its first LISTEN to its UNLISTEN, through
 * any number of sessions. One command is under way at a time. Known channels are LISTENed before new ones: with the
 * last known one the session becomes live, whatever is asked for meanwhile, and a break takes the next place and begins
 * a new epoch.
 *
 * The database's encoding may lack a character of a name, and PostgreSQL then refuses the whole command: its names are
 * sent again alone. A new one that fails alone is refused to those who want it; a known one fails the connection.
 *
 * Which notifications count: those of channels that are LISTENED in a live session. One that arrives earlier was
 * committed before the break, or before the LISTENED item, that the workers are told of afterwards; no cursor that they
 * have given out by then lies behind it, and for older cursors the break or the channel's `since` is a gap. So none is
 * missing in silence.
 */
#include "eventgate/listener.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/connection.h"
#include "eventgate/listened.h"
#include "eventgate/log.h"
#include "eventgate/pattern.h"

#define NAMES_PER_COMMAND 500u
#define ITEMS_PER_PUSH 256u

enum command { NONE, LISTEN, UNLISTEN, HEARTBEAT };

struct eg_listener {
    struct eg_loop *loop;
    const struct eg_config_set *set;
    uint32_t workers;
    struct eg_set_status *status;
    struct eg_metrics *metrics;
    struct eg_feed_sink sink;
    struct eg_connection *connection;
    struct eg_listened_table *channels;
    struct eg_timer linger_timer;
    enum command command;
    uint32_t names; /* in the LISTEN or UNLISTEN under way */
    bool failed;    /* the command under way, with `error` */
    struct eg_error error;
    bool live;
    struct eg_order *order;                    /* places; shared with the log's reader */
    struct eg_feed_item items[ITEMS_PER_PUSH]; /* events on their way to the workers */
    size_t item_count;
};

/* --- telling the workers ---------------------------------------------------------------------------------------------
 */

static void tell(const struct eg_listener *listener, int worker, struct eg_feed_item item)
{
    listener->sink.feed(listener->sink.context, worker, &item, 1);
}

static void push_events(struct eg_listener *listener)
{
    size_t bytes = 0;
    if (listener->item_count == 0)
        return;
    eg_order_store(listener->order);
    listener->sink.feed(listener->sink.context, -1, listener->items, listener->item_count);
    for (size_t i = 0; i < listener->item_count; i++) {
        bytes += listener->items[i].event->payload.length;
        eg_event_unref(listener->items[i].event);
    }
    eg_metrics_add(listener->metrics, EG_METRIC_RECEIVED_LIVE, (int64_t)listener->item_count);
    eg_metrics_add(listener->metrics, EG_METRIC_RECEIVED_BYTES_LIVE, (int64_t)bytes);
    listener->item_count = 0;
}

static void answer_wants(const struct eg_listener *listener, struct eg_listened *listened)
{
    for (uint32_t worker = 0; worker < listener->workers; worker++) {
        if (listened->wants[worker] == 0)
            continue;
        tell(listener, (int)worker,
             (struct eg_feed_item){.kind = EG_FEED_LISTENED,
                                   .place = listened->since,
                                   .want = listened->wants[worker],
                                   .channel = listened->channel});
        listened->wants[worker] = 0;
    }
}

/* --- channels --------------------------------------------------------------------------------------------------------
 */

static void show_channels(struct eg_listener *listener)
{
    eg_metrics_set(listener->metrics, EG_METRIC_CHANNELS, (int64_t)eg_channel_table_count(listener->status->channels));
}

/* Its LISTEN has committed in a live session: it takes the next place, so that no cursor of an earlier LISTEN reaches
 * it. Or the session is just becoming live: the break has a place already. False: out of memory. */
static bool announce(struct eg_listener *listener, struct eg_listened *listened, uint64_t since)
{
    if (!listened->channel) {
        struct eg_channel *channel =
            eg_channel_new(listened->name, listened->name_length, listened->permanent, listener->workers);
        if (!channel || eg_channel_table_add(listener->status->channels, channel) != 0) {
            eg_channel_unref(channel);
            return false;
        }
        listened->channel = channel;
        listened->since = since;
        if (since > listener->order->head) {
            listener->order->head = since;
            eg_order_store(listener->order);
        }
        /* To all workers: each keeps track of what its journal trims of the channel. */
        tell(listener, -1,
             (struct eg_feed_item){.kind = EG_FEED_LISTENED, .place = listened->since, .channel = listened->channel});
        show_channels(listener);
    }
    answer_wants(listener, listened);
    return true;
}

/* Its UNLISTEN has committed, or its connection is gone while that was under way. */
static void left(struct eg_listener *listener, struct eg_listened *listened)
{
    eg_channel_table_remove(listener->status->channels, listened->channel);
    tell(listener, -1, (struct eg_feed_item){.kind = EG_FEED_UNLISTENED, .channel = listened->channel});
    eg_channel_unref(listened->channel);
    listened->channel = NULL;
    show_channels(listener);
    if (listened->wanting > 0 || listened->permanent)
        eg_listened_move(listener->channels, listened, EG_LISTENED_WANTED); /* wanted again meanwhile: a new channel */
    else
        eg_listened_remove(listener->channels, listened);
}

static void arm_linger(struct eg_listener *listener)
{
    const struct eg_listened *first = eg_listened_first(listener->channels, EG_LIST_LINGERING);
    bool armed = listener->linger_timer.heap_index != 0;
    if (first && (!armed || listener->linger_timer.due_ms > first->leave_ms) &&
        eg_timer_set(listener->loop, &listener->linger_timer, first->leave_ms) != 0)
        eg_log(EG_LOG_WARN, "no memory for the linger timer", EG_LOG_STR("set", listener->set->name));
}

/* Nobody wants it any more. One that the set doesn't have any more goes at once. */
static void let_leave(struct eg_listener *listener, struct eg_listened *listened)
{
    uint32_t linger_ms = eg_listened_is_of(listened, listener->set) ? listener->set->linger_ms : 0;
    eg_listened_leave(listener->channels, listened, eg_loop_now_ms(listener->loop) + linger_ms);
    arm_linger(listener);
}

/* --- commands --------------------------------------------------------------------------------------------------------
 */

/* Sends LISTEN or UNLISTEN for up to NAMES_PER_COMMAND channels from the front of `list`, which isn't empty: to
 * UNLISTEN those that are due by `now_ms`. */
static void send_names(struct eg_listener *listener, enum command command, enum eg_listened_list list, uint64_t now_ms)
{
    struct eg_buffer sql = EG_BUFFER_INIT;
    struct eg_listened *listened;
    uint32_t limit = eg_listened_first(listener->channels, list)->alone ? 1 : NAMES_PER_COMMAND;
    listener->names = 0;
    while (listener->names < limit && (listened = eg_listened_first(listener->channels, list)) &&
           (limit == 1 || !listened->alone) && (command == LISTEN || listened->leave_ms <= now_ms)) {
        listener->names++;
        eg_buffer_add_string(&sql, command == LISTEN ? "LISTEN " : "UNLISTEN ");
        eg_connection_quote(listener->connection, &sql, listened->name, listened->name_length);
        eg_buffer_add_string(&sql, ";");
        eg_listened_move(listener->channels, listened, command == LISTEN ? EG_LISTENED_LISTENING : EG_LISTENED_LEAVING);
    }
    eg_buffer_add(&sql, "", 1);
    if (sql.failed) {
        eg_connection_fail(listener->connection, "out of memory for a command");
    } else {
        listener->command = command;
        listener->failed = false;
        eg_connection_query(listener->connection, sql.data);
    }
    eg_buffer_done(&sql);
}

/* All known channels are LISTENed: from here on nothing of them is missed. */
static void go_live(struct eg_listener *listener)
{
    struct eg_listened *listened = NULL;
    listener->live = true;
    eg_order_begin_epoch(listener->order);
    eg_set_status_count_session(listener->status);
    eg_metrics_add(listener->metrics, EG_METRIC_PG_SESSIONS, 1);
    const uint64_t place = listener->order->head;
    tell(listener, -1, (struct eg_feed_item){.kind = EG_FEED_BREAK, .place = place, .epoch = listener->order->epoch});
    while ((listened = eg_listened_next(listener->channels, listened)))
        if (listened->state == EG_LISTENED_LISTENED && !announce(listener, listened, place)) {
            eg_connection_fail(listener->connection, "out of memory for a channel");
            return;
        }
    eg_connection_settle(listener->connection);
    eg_metrics_set(listener->metrics, EG_METRIC_PG_UP, 1);
    eg_set_status_set_listener(listener->status, true, "LIVE", NULL);
    eg_log(EG_LOG_INFO, "listening to PostgreSQL", EG_LOG_STR("set", listener->set->name), EG_LOG_STR("state", "LIVE"),
           EG_LOG_INT("channels", eg_listened_count(listener->channels)));
}

/* What is due next, if nothing is under way. What is wanted must not put off an UNLISTEN, which makes room for it. */
static void next_command(struct eg_listener *listener)
{
    if (!eg_connection_is_ready(listener->connection) || listener->command != NONE)
        return;
    uint64_t now_ms = eg_loop_now_ms(listener->loop);
    if (eg_listened_first(listener->channels, EG_LIST_KNOWN)) {
        send_names(listener, LISTEN, EG_LIST_KNOWN, now_ms);
        return;
    }
    if (!listener->live)
        go_live(listener);
    if (!listener->live)
        return;
    const struct eg_listened *leaving = eg_listened_first(listener->channels, EG_LIST_LINGERING);
    if (leaving && leaving->leave_ms <= now_ms)
        send_names(listener, UNLISTEN, EG_LIST_LINGERING, now_ms);
    else if (eg_listened_first(listener->channels, EG_LIST_ASKED))
        send_names(listener, LISTEN, EG_LIST_ASKED, now_ms);
}

static void linger_is_over(struct eg_timer *timer)
{
    struct eg_listener *listener = EG_CONTAINER_OF(timer, struct eg_listener, linger_timer);
    next_command(listener);
    const struct eg_listened *first = eg_listened_first(listener->channels, EG_LIST_LINGERING);
    if (first && first->leave_ms > eg_loop_now_ms(listener->loop))
        arm_linger(listener);
}

static void take_listened(struct eg_listener *listener)
{
    struct eg_listened *listened;
    while ((listened = eg_listened_first(listener->channels, EG_LIST_UNDER_WAY))) {
        eg_listened_move(listener->channels, listened, EG_LISTENED_LISTENED);
        listened->alone = false;
        if (listener->live && !announce(listener, listened, listener->order->head + 1)) {
            eg_connection_fail(listener->connection, "out of memory for a channel");
            return;
        }
        if (!listened->permanent && listened->wanting == 0)
            let_leave(listener, listened);
    }
}

static void take_unlistened(struct eg_listener *listener)
{
    struct eg_listened *listened;
    while ((listened = eg_listened_first(listener->channels, EG_LIST_UNDER_WAY)))
        left(listener, listened);
}

/* A new channel whose name can't be LISTENed. */
static void refuse(struct eg_listener *listener, struct eg_listened *listened)
{
    static const char refusal[] =
        "The database's encoding has no such character as one in this channel's name. Choose another name.";
    for (uint32_t worker = 0; worker < listener->workers; worker++)
        if (listened->wants[worker] != 0)
            tell(listener, (int)worker,
                 (struct eg_feed_item){.kind = EG_FEED_REFUSED,
                                       .want = listened->wants[worker],
                                       .name = listened->name,
                                       .refusal = refusal,
                                       .final = true});
    eg_listened_remove(listener->channels, listened);
}

/* PostgreSQL has refused names for what they are. */
static void take_refused(struct eg_listener *listener)
{
    struct eg_listened *listened = eg_listened_first(listener->channels, EG_LIST_UNDER_WAY);
    if (listener->names > 1) {
        while ((listened = eg_listened_first(listener->channels, EG_LIST_UNDER_WAY))) {
            listened->alone = true;
            eg_listened_move(listener->channels, listened, EG_LISTENED_WANTED);
        }
    } else if (eg_listened_is_known(listened)) {
        char problem[sizeof(listener->error.sentence) + 256];
        snprintf(problem, sizeof(problem), "PostgreSQL cannot LISTEN to \"%s\" of set %s: %s", listened->name,
                 listener->set->name, listener->error.sentence);
        eg_connection_fail(listener->connection, problem);
    } else {
        refuse(listener, listened);
    }
}

/* An error about data (class 22), not about the session or the server. */
static bool is_about_names(const struct eg_error *error)
{
    return strncmp(error->sqlstate, "22", 2) == 0;
}

static void take_failed(struct eg_listener *listener, enum command command)
{
    if (command == HEARTBEAT)
        eg_log(EG_LOG_ERROR, "PostgreSQL refuses the listener's heartbeat", EG_LOG_STR("set", listener->set->name),
               EG_LOG_STR("sqlstate", listener->error.sqlstate), EG_LOG_STR("error", listener->error.sentence));
    else if (command == LISTEN && is_about_names(&listener->error))
        take_refused(listener);
    else
        eg_connection_fail(listener->connection, listener->error.sentence);
}

/* --- the connection's hooks ------------------------------------------------------------------------------------------
 */

static void ready(void *context)
{
    next_command(context);
}

static void notified(void *context, const char *name, const char *payload)
{
    struct eg_listener *listener = context;
    struct eg_listened *listened = eg_listened_find(listener->channels, name, strlen(name));
    if (!listener->live || !listened || listened->state != EG_LISTENED_LISTENED) {
        eg_metrics_add(listener->metrics, EG_METRIC_NOTIFICATIONS_STRAY, 1);
        return;
    }
    const struct eg_cursor cursor = eg_order_cursor(listener->order, listener->order->head + 1);
    struct eg_event *event = eg_event_new_live(listened->channel, &cursor, payload, strlen(payload), eg_wall_us());
    if (!event) { /* the next session's break is the gap */
        eg_metrics_add(listener->metrics, EG_METRIC_NOTIFICATIONS_LOST, 1);
        push_events(listener);
        eg_connection_fail(listener->connection, "out of memory for a notification");
        return;
    }
    event->arrived_us = eg_loop_now_us(listener->loop);
    listener->order->head++;
    atomic_fetch_add_explicit(&listened->channel->events, 1, memory_order_relaxed);
    listener->items[listener->item_count++] =
        (struct eg_feed_item){.kind = EG_FEED_EVENT, .place = event->place, .event = event};
    if (listener->item_count == ITEMS_PER_PUSH)
        push_events(listener);
}

static void drained(void *context)
{
    push_events(context);
}

static void result(void *context, const struct eg_result *result)
{
    struct eg_listener *listener = context;
    if (result->kind == EG_RESULT_ERROR) {
        listener->failed = true;
        listener->error = *result->error;
    } else if (listener->command == HEARTBEAT && result->value) {
        double usage = strtod(result->value, NULL);
        eg_set_status_set_queue_usage(listener->status, usage);
        eg_metrics_set(listener->metrics, EG_METRIC_PG_QUEUE, (int64_t)(usage * 1e6));
    }
}

static void finished(void *context)
{
    struct eg_listener *listener = context;
    enum command command = listener->command;
    listener->command = NONE;
    if (listener->failed)
        take_failed(listener, command);
    else if (command == LISTEN)
        take_listened(listener);
    else if (command == UNLISTEN)
        take_unlistened(listener);
    next_command(listener);
}

static void idle(void *context)
{
    struct eg_listener *listener = context;
    if (listener->command != NONE)
        return;
    listener->command = HEARTBEAT;
    listener->failed = false;
    eg_connection_query(listener->connection, "SELECT pg_catalog.pg_notification_queue_usage()");
}

/* Everything has to be LISTENed anew. */
static void lost(void *context)
{
    struct eg_listener *listener = context;
    struct eg_listened *next = eg_listened_next(listener->channels, NULL);
    push_events(listener);
    listener->command = NONE;
    eg_metrics_set(listener->metrics, EG_METRIC_PG_UP, 0);
    if (listener->live)
        tell(listener, -1, (struct eg_feed_item){.kind = EG_FEED_LOST});
    listener->live = false;
    while (next) {
        struct eg_listened *listened = next;
        next = eg_listened_next(listener->channels, listened);
        if (listened->state == EG_LISTENED_LEAVING)
            left(listener, listened);
        else if (!eg_listened_is_known(listened) && listened->wanting == 0)
            eg_listened_remove(listener->channels, listened);
        else if (listened->state != EG_LISTENED_WANTED)
            eg_listened_move(listener->channels, listened, EG_LISTENED_WANTED);
    }
}

static void state(void *context, const char *name, const char *problem)
{
    struct eg_listener *listener = context;
    if (problem && strcmp(name, "WAITING") == 0)
        eg_metrics_add(listener->metrics, EG_METRIC_PG_FAILURES, 1);
    eg_set_status_set_listener(listener->status, false, strcmp(name, "READY") == 0 ? "LISTENING" : name,
                               problem ? problem : "connecting");
}

/* --- the workers' wishes ---------------------------------------------------------------------------------------------
 */

void eg_listener_want(struct eg_listener *listener, uint32_t worker, const char *name, size_t length, uint64_t want)
{
    struct eg_listened *listened = eg_listened_find(listener->channels, name, length);
    const char *refusal = NULL;
    if (!listened && eg_listened_count(listener->channels) >= listener->set->max_channels)
        refusal = "The gateway LISTENs to as many channels as it may (max_channels). Try again later.";
    else if (!listened && !(listened = eg_listened_add(listener->channels, name, length, false)))
        refusal = "The gateway is out of memory. Try again later.";
    if (refusal) {
        char copy[EG_LIVE_CHANNEL_MAX_BYTES + 1];
        snprintf(copy, sizeof(copy), "%.*s", (int)length, name);
        tell(listener, (int)worker,
             (struct eg_feed_item){.kind = EG_FEED_REFUSED, .want = want, .name = copy, .refusal = refusal});
        return;
    }
    eg_listened_want(listener->channels, listened, worker, want);
    if (listened->state == EG_LISTENED_LISTENED && listener->live)
        answer_wants(listener, listened);
    next_command(listener);
}

void eg_listener_unwant(struct eg_listener *listener, uint32_t worker, const char *name, size_t length)
{
    struct eg_listened *listened = eg_listened_find(listener->channels, name, length);
    if (!listened || !eg_listened_unwant(listened, worker))
        return;
    let_leave(listener, listened);
    next_command(listener);
}

/* --- another configuration -------------------------------------------------------------------------------------------
 */

void eg_listener_configure(struct eg_listener *listener, const struct eg_config_set *set)
{
    struct eg_listened *next = eg_listened_next(listener->channels, NULL);
    listener->set = set;
    while (next) {
        struct eg_listened *listened = next;
        next = eg_listened_next(listener->channels, listened);
        if (!listened->permanent || eg_listened_is_listed(listened, set))
            continue;
        eg_listened_set_permanent(listener->channels, listened, false);
        if (listened->wanting == 0)
            let_leave(listener, listened);
    }
    if (!eg_listened_add_listed(listener->channels, listener->set))
        eg_log(EG_LOG_ERROR, "no memory for channels that are new: reload again", EG_LOG_STR("set", set->name));
    next_command(listener);
}

/* --- making and freeing ----------------------------------------------------------------------------------------------
 */

/* A database in SQL_ASCII lets anybody NOTIFY bytes that are not UTF-8; where it has to deliver them as UTF-8, it ends
 * the session of whoever LISTENs. So it delivers them as they are, and the event has replacement characters. */
static const char unchecked_encoding[] =
    ", (SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', false) FROM pg_catalog.pg_settings "
    "WHERE name = 'server_encoding' AND setting = 'SQL_ASCII')";

struct eg_listener *eg_listener_new(struct eg_loop *loop, const struct eg_config_set *set, uint32_t workers,
                                    struct eg_order *order, struct eg_metrics *metrics, struct eg_feed_sink sink)
{
    struct eg_listener *listener = calloc(1, sizeof(*listener));
    if (!listener)
        return NULL;
    const struct eg_connection_hooks hooks = {listener, ready, notified, drained, result,
                                              finished, idle,  lost,     state,   unchecked_encoding};
    listener->loop = loop;
    listener->set = set;
    listener->workers = workers;
    listener->order = order;
    listener->status = order->status;
    listener->metrics = metrics;
    listener->sink = sink;
    listener->linger_timer.fire = linger_is_over;
    eg_metrics_set(metrics, EG_METRIC_PG_UP, 0);
    listener->channels = eg_listened_table_new(workers);
    if (listener->channels && eg_listened_add_listed(listener->channels, listener->set))
        listener->connection = eg_connection_new(loop, set, "listen", &hooks);
    if (listener->connection)
        return listener;
    eg_listener_free(listener);
    return NULL;
}

void eg_listener_free(struct eg_listener *listener)
{
    if (!listener)
        return;
    eg_connection_free(listener->connection);
    eg_timer_cancel(listener->loop, &listener->linger_timer);
    eg_listened_table_free(listener->channels);
    for (size_t i = 0; i < listener->item_count; i++)
        eg_event_unref(listener->items[i].event);
    free(listener);
}

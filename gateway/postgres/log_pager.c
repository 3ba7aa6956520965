/*
 * Pages of the log.
 *
 * A read is one question to the database: the page of a selection behind a position, and the requests that it answers.
 * It is QUEUED, then under way, at most READS_MAX at a time, and answered in the order in which they were sent. A
 * request joins a read whose page is sure to reach beyond its position, or a page that is kept.
 *
 * A page is of the incarnation that the reader is attached to. A result of another one goes to nobody: all requests
 * wait until the reader has looked, too, and are then asked anew. Should it not have found the same, this connection
 * leads to another server, and is given up.
 */
#include "eventgate/log_pager.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "eventgate/connection.h"
#include "eventgate/log.h"
#include "eventgate/log_page_maker.h"
#include "eventgate/log_pages_kept.h"

/* One is worked on while the other is being read; more would only hold up the thread. */
#define READS_MAX 2u
#define AHEAD_PAGES 4u  /* so many behind the one that is wanted are enough: each is looked for */
#define FAILURES_MAX 5u /* in a row: from then on they are answered without a page */

struct read {
    TAILQ_ENTRY(read) link;
    struct eg_log_selection *selection; /* a reference */
    uint64_t after;
    struct eg_log_request *first, **last; /* those that it answers; none: it reads ahead */
    /* What came. */
    bool failed, another;
    struct eg_error error;
    struct eg_log_page *pages[EG_LOG_PAGES_MAX]; /* a reference each */
    size_t page_count;
    uint64_t head, pruned;
};
TAILQ_HEAD(reads, read);

struct eg_log_pager {
    struct eg_loop *loop;
    const struct eg_config_set *set;
    const struct eg_order *order;
    struct eg_log_reader *reader;
    struct eg_metrics *metrics;
    struct eg_connection *connection;
    struct eg_buffer settings, set_regex;
    bool up; /* prepared */
    bool step_failed;
    struct eg_error error;            /* of preparing */
    bool heartbeat;                   /* an empty transaction is under way, before all reads */
    uint32_t failures;                /* of reads, in a row */
    struct reads queued, ahead, sent; /* ahead: to be sent when nothing is queued */
    size_t sent_count;
    struct eg_log_request *waiting, **last_waiting; /* for the reader to attach, or to look */
    bool doubting;                                  /* the reader is looking; `seen` is what a result had */
    char seen[EG_LOG_MARK_SIZE];
    struct eg_log_pages_kept *kept;
    struct eg_log_page_maker *maker;
    char tag[EG_CURSOR_TAG_MAX + 1], mark[EG_LOG_MARK_SIZE]; /* of the pages kept */
};

static void show_kept(const struct eg_log_pager *pager)
{
    eg_metrics_set(pager->metrics, EG_METRIC_LOG_PAGES_KEPT, (int64_t)eg_log_pages_kept_bytes(pager->kept));
}

/* --- reads ---------------------------------------------------------------------------------------------------------
 */

static struct read *read_new(struct eg_log_selection *selection, uint64_t after)
{
    struct read *read = calloc(1, sizeof(*read));
    if (!read)
        return NULL;
    read->selection = eg_log_selection_ref(selection);
    read->after = after;
    read->last = &read->first;
    return read;
}

static void read_free(struct read *read)
{
    eg_log_selection_unref(read->selection);
    for (size_t i = 0; i < read->page_count; i++)
        eg_log_page_unref(read->pages[i]);
    free(read);
}

/* A page of PAGE_ROWS events reaches at least as many positions far; should its bytes end it earlier, who joined is
 * asked anew. */
static struct read *find_read(const struct reads *reads, const struct eg_log_selection *selection, uint64_t after)
{
    struct read *read;
    TAILQ_FOREACH (read, reads, link) {
        if (read->after <= after && after - read->after < EG_LOG_PAGE_ROWS &&
            eg_log_selection_equal(read->selection, selection))
            return read;
    }
    return NULL;
}

static void send(struct eg_log_pager *pager, struct reads *from, struct read *read)
{
    TAILQ_REMOVE(from, read, link);
    TAILQ_INSERT_TAIL(&pager->sent, read, link);
    pager->sent_count++;
    read->failed = read->another = false;
    if (eg_log_send_page(pager->connection, read->selection, read->after,
                         (struct eg_bytes){pager->set_regex.data, pager->set_regex.length}) != 0)
        eg_connection_fail(pager->connection, "out of memory for a question");
    else
        eg_connection_sync(pager->connection);
}

static void pump(struct eg_log_pager *pager)
{
    bool any = false;
    while (pager->up && pager->sent_count < READS_MAX && !pager->doubting) {
        struct reads *from = TAILQ_EMPTY(&pager->queued) ? &pager->ahead : &pager->queued;
        if (TAILQ_EMPTY(from))
            break;
        send(pager, from, TAILQ_FIRST(from));
        any = true;
    }
    if (any)
        eg_connection_flush(pager->connection);
}

/* --- requests ------------------------------------------------------------------------------------------------------
 */

static void gap(struct eg_log_request *request, enum eg_gap_reason reason, uint64_t to)
{
    if (request->gap_to >= to)
        return;
    if (request->gap_to == 0)
        request->gap_reason = reason;
    request->gap_to = to;
}

static void answer(const struct eg_log_pager *pager, struct eg_log_request *request, struct eg_log_page *page)
{
    eg_metrics_add(pager->metrics, EG_METRIC_LOG_PAGES_WAITING, -1);
    request->page = page ? eg_log_page_ref(page) : NULL;
    request->done(request);
}

/* An empty page at `position`, which is the log's end. */
static void answer_at(const struct eg_log_pager *pager, struct eg_log_request *request, uint64_t position)
{
    struct eg_log_page *page = eg_log_page_new(0);
    if (page) {
        page->after = page->upto = position;
        page->at_head = true;
    }
    answer(pager, request, page);
    eg_log_page_unref(page);
}

/* Reads what follows `after` ahead, unless the next pages are kept, or are on their way. */
static void read_ahead(struct eg_log_pager *pager, struct eg_log_selection *selection, uint64_t after)
{
    uint64_t pruned;
    const struct eg_log_page *page;
    for (unsigned kept = 0; (page = eg_log_pages_find(pager->kept, selection, after, &pruned)); kept++) {
        if (page->at_head || kept == AHEAD_PAGES)
            return;
        after = page->upto;
    }
    if (find_read(&pager->sent, selection, after) || !TAILQ_EMPTY(&pager->queued))
        return;
    struct read *read = read_new(selection, after);
    if (!read)
        return;
    while (!TAILQ_EMPTY(&pager->ahead)) { /* the latest is the likeliest */
        struct read *old = TAILQ_FIRST(&pager->ahead);
        TAILQ_REMOVE(&pager->ahead, old, link);
        read_free(old);
    }
    TAILQ_INSERT_TAIL(&pager->ahead, read, link);
}

static bool answer_kept(struct eg_log_pager *pager, struct eg_log_request *request)
{
    uint64_t pruned;
    struct eg_log_page *page = eg_log_pages_find(pager->kept, request->selection, request->after, &pruned);
    if (!page)
        return false;
    eg_log_page_ref(page);
    eg_metrics_add(pager->metrics, EG_METRIC_LOG_PAGES_SHARED, 1);
    if (pruned > request->after)
        gap(request, EG_GAP_RETENTION, pruned);
    if (!page->at_head)
        read_ahead(pager, request->selection, page->upto);
    answer(pager, request, page);
    eg_log_page_unref(page);
    return true;
}

static void join(struct eg_log_pager *pager, struct eg_log_request *request)
{
    struct read *read = find_read(&pager->sent, request->selection, request->after);
    if (!read)
        read = find_read(&pager->queued, request->selection, request->after);
    if (!read && (read = find_read(&pager->ahead, request->selection, request->after))) {
        TAILQ_REMOVE(&pager->ahead, read, link);
        TAILQ_INSERT_TAIL(&pager->queued, read, link);
    }
    if (read) {
        if (read->first)
            eg_metrics_add(pager->metrics, EG_METRIC_LOG_PAGES_SHARED, 1);
    } else if ((read = read_new(request->selection, request->after))) {
        TAILQ_INSERT_TAIL(&pager->queued, read, link);
    } else {
        answer(pager, request, NULL);
        return;
    }
    request->next = NULL;
    *read->last = request;
    read->last = &request->next;
}

/* What can be said without the database is said; for the rest it is asked. */
static void place(struct eg_log_pager *pager, struct eg_log_request *request)
{
    const struct eg_log_state *state = eg_log_reader_state(pager->reader);
    if (!state->attached || pager->doubting) {
        request->next = NULL;
        *pager->last_waiting = request;
        pager->last_waiting = &request->next;
        return;
    }
    if (strcmp(request->tag, pager->order->tag) != 0) {
        gap(request, EG_GAP_UNKNOWN, pager->order->position);
        answer_at(pager, request, pager->order->position);
        return;
    }
    const struct eg_log_jump *inside = eg_log_jumps_inside(state->jumps, request->after);
    if (inside) {
        request->after = inside->to;
        gap(request, EG_GAP_FAILOVER, inside->to);
    }
    request->after = eg_log_jumps_follow(state->jumps, request->after);
    if (!answer_kept(pager, request))
        join(pager, request);
}

void eg_log_pager_read(struct eg_log_pager *pager, struct eg_log_request *request)
{
    eg_metrics_add(pager->metrics, EG_METRIC_LOG_PAGES_WAITING, 1);
    request->page = NULL;
    request->gap_to = 0;
    place(pager, request);
    pump(pager);
}

static void place_all(struct eg_log_pager *pager, struct eg_log_request *requests)
{
    while (requests) {
        struct eg_log_request *request = requests;
        requests = request->next;
        place(pager, request);
    }
}

/* --- a read's answer -----------------------------------------------------------------------------------------------
 */

static void take_rows(struct eg_log_pager *pager, struct read *read, const struct eg_result *result)
{
    struct eg_log_read found;
    if (eg_log_read_look(result, read->selection, read->after, &found) != 0)
        return;
    const char *mark = eg_log_reader_state(pager->reader)->mark;
    read->another = !found.head.mark.data || strcmp(found.head.mark.data, mark) != 0;
    if (read->another) {
        snprintf(pager->seen, sizeof(pager->seen), "%s", found.head.mark.data ? found.head.mark.data : "");
        return;
    }
    read->head = found.head.position;
    read->pruned = found.head.pruned;
    /* So that the database works on it meanwhile. */
    if (read->first && !found.at_head) {
        read_ahead(pager, read->selection, found.upto);
        pump(pager);
        if (TAILQ_FIRST(&pager->sent) != read) /* the connection was lost over it */
            return;
    }
    read->page_count = eg_log_pages_make(pager->maker, result, &found, pager->order->tag, read->pages);
    eg_metrics_add(pager->metrics, EG_METRIC_LOG_PAGE_ROWS, (int64_t)eg_result_count(result) - 1);
}

/* The pages are there: the one that has what the request asks for, and what it means to it. */
static void answer_one(struct eg_log_pager *pager, const struct read *read, struct eg_log_request *request)
{
    size_t i = 0;
    if (eg_log_jumps_inside(eg_log_reader_state(pager->reader)->jumps, request->after)) {
        place(pager, request); /* it was placed before there was this jump */
        return;
    }
    while (i + 1 < read->page_count && request->after >= read->pages[i]->upto)
        i++;
    struct eg_log_page *page = read->pages[i];
    if (request->after > read->head) { /* it was behind a tail that is lost without a trace */
        gap(request, EG_GAP_FAILOVER, read->head);
        answer_at(pager, request, read->head);
    } else if (request->after >= page->upto && !page->at_head) {
        place(pager, request); /* the pages ended earlier than they could */
    } else {
        if (read->pruned > request->after)
            gap(request, EG_GAP_RETENTION, read->pruned);
        answer(pager, request, page);
    }
}

/* The database's encoding has no such name (class 22: the data is at fault), so there can be no event of it. */
static bool is_impossible_name(const struct read *read)
{
    return read->selection->count == 1 && strncmp(read->error.sqlstate, "22", 2) == 0;
}

static void answer_read(struct eg_log_pager *pager, struct read *read)
{
    struct eg_log_request *requests = read->first;
    eg_metrics_add(pager->metrics, EG_METRIC_LOG_PAGES, 1);
    eg_loop_yield(pager->loop);
    for (size_t i = read->page_count; i > 0; i--) /* the first one is wanted first: it is the last to be forgotten */
        eg_log_pages_keep(pager->kept, read->selection, read->pages[i - 1], read->pruned);
    show_kept(pager);
    while (requests) {
        struct eg_log_request *request = requests;
        requests = request->next;
        if (read->page_count > 0)
            answer_one(pager, read, request);
        else if (read->failed && is_impossible_name(read))
            answer_at(pager, request, pager->order->position);
        else
            answer(pager, request, NULL);
    }
}

/* Asks anew, with what is known of the log by now. */
static void ask_again(struct eg_log_pager *pager, struct read *read)
{
    struct eg_log_request *requests = read->first;
    read_free(read);
    place_all(pager, requests);
}

static void finish_read(struct eg_log_pager *pager)
{
    struct read *read = TAILQ_FIRST(&pager->sent);
    TAILQ_REMOVE(&pager->sent, read, link);
    pager->sent_count--;
    pager->failures = read->failed ? pager->failures + 1 : 0;
    if (read->failed)
        eg_log(EG_LOG_WARN, "PostgreSQL refuses a page of the log", EG_LOG_STR("set", pager->set->name),
               EG_LOG_INT("after", read->after), EG_LOG_STR("sqlstate", read->error.sqlstate),
               EG_LOG_STR("error", eg_connection_loggable(&read->error)));
    if (read->another) {
        pager->doubting = true;
        ask_again(pager, read);
        eg_log_reader_doubt(pager->reader);
    } else if (read->failed && pager->failures < FAILURES_MAX && !is_impossible_name(read)) {
        ask_again(pager, read);
    } else {
        answer_read(pager, read);
        read_free(read);
    }
    pump(pager);
}

/* --- the connection's hooks ----------------------------------------------------------------------------------------
 */

static void ready(void *context)
{
    struct eg_log_pager *pager = context;
    pager->step_failed = pager->heartbeat = false;
    eg_log_prepare_pages(pager->connection);
    eg_connection_sync(pager->connection);
    eg_connection_flush(pager->connection);
}

static void go_up(struct eg_log_pager *pager)
{
    char problem[512];
    if (pager->step_failed) {
        eg_log_explain(&pager->error, problem, sizeof(problem));
        eg_connection_fail(pager->connection, problem);
        return;
    }
    pager->up = true;
    eg_metrics_set(pager->metrics, EG_METRIC_PG_UP_PAGES, 1);
    eg_metrics_add(pager->metrics, EG_METRIC_PG_SESSIONS_PAGES, 1);
    eg_connection_settle(pager->connection);
    pump(pager);
}

static void result(void *context, const struct eg_result *result)
{
    struct eg_log_pager *pager = context;
    struct read *read = TAILQ_FIRST(&pager->sent);
    if (!pager->up && result->kind == EG_RESULT_SYNC) {
        go_up(pager);
    } else if (!pager->up && result->kind == EG_RESULT_ERROR) {
        pager->step_failed = true;
        pager->error = *result->error;
    } else if (pager->heartbeat) { /* sent when nothing was under way, so it is answered first */
        pager->heartbeat = result->kind != EG_RESULT_SYNC;
    } else if (!pager->up || !read) {
        return;
    } else if (result->kind == EG_RESULT_SYNC) {
        finish_read(pager);
    } else if (result->kind == EG_RESULT_ERROR) {
        read->failed = true;
        read->error = *result->error;
    } else if (result->rows) {
        take_rows(pager, read, result);
    }
}

/* An empty transaction: a Sync and its answer. */
static void idle(void *context)
{
    struct eg_log_pager *pager = context;
    if (!pager->up)
        return;
    pager->heartbeat = true;
    eg_connection_sync(pager->connection);
    eg_connection_flush(pager->connection);
}

/* What was under way is asked again by the next session. */
static void lost(void *context)
{
    struct eg_log_pager *pager = context;
    struct read *read;
    pager->up = false;
    eg_metrics_set(pager->metrics, EG_METRIC_PG_UP_PAGES, 0);
    pager->sent_count = 0;
    while ((read = TAILQ_FIRST(&pager->sent))) {
        TAILQ_REMOVE(&pager->sent, read, link);
        ask_again(pager, read);
    }
}

static void state(void *context, const char *name, const char *problem)
{
    struct eg_log_pager *pager = context;
    if (problem && strcmp(name, "WAITING") == 0)
        eg_metrics_add(pager->metrics, EG_METRIC_PG_FAILURES_PAGES, 1);
}

static void ignore_notification(void *context, const char *channel, const char *payload)
{
    (void)context, (void)channel, (void)payload;
}

static void ignore(void *context)
{
    (void)context;
}

/* --- another incarnation -------------------------------------------------------------------------------------------
 */

/* Takes the requests of all reads that have not been sent, and the reads with them. */
static struct eg_log_request *take_queued(struct eg_log_pager *pager)
{
    struct eg_log_request *requests = NULL, **last = &requests;
    struct reads *const lists[] = {&pager->queued, &pager->ahead};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(lists); i++)
        while (!TAILQ_EMPTY(lists[i])) {
            struct read *read = TAILQ_FIRST(lists[i]);
            TAILQ_REMOVE(lists[i], read, link);
            *last = read->first;
            if (read->first)
                last = read->last;
            read_free(read);
        }
    return requests;
}

void eg_log_pager_attached(struct eg_log_pager *pager)
{
    const struct eg_log_state *now = eg_log_reader_state(pager->reader);
    struct eg_log_request *requests = pager->waiting;
    bool strange = pager->doubting && strcmp(pager->seen, now->mark) != 0;
    pager->doubting = false;
    pager->waiting = NULL;
    pager->last_waiting = &pager->waiting;
    if (strange)
        eg_connection_fail(pager->connection, "it reads another incarnation of the log than the set's reader");
    if (strcmp(pager->mark, now->mark) != 0 || strcmp(pager->tag, pager->order->tag) != 0) {
        memcpy(pager->mark, now->mark, sizeof(pager->mark));
        memcpy(pager->tag, pager->order->tag, sizeof(pager->tag));
        eg_log_pages_forget(pager->kept);
        show_kept(pager);
        place_all(pager, take_queued(pager));
    }
    place_all(pager, requests);
    pump(pager);
}

/* --- making and freeing --------------------------------------------------------------------------------------------
 */

struct eg_log_pager *eg_log_pager_new(struct eg_loop *loop, const struct eg_config_set *set,
                                      const struct eg_order *order, struct eg_log_reader *reader,
                                      struct eg_metrics *metrics)
{
    struct eg_log_pager *pager = calloc(1, sizeof(*pager));
    if (!pager)
        return NULL;
    pager->loop = loop;
    pager->set = set;
    pager->order = order;
    pager->reader = reader;
    pager->metrics = metrics;
    eg_metrics_set(metrics, EG_METRIC_PG_UP_PAGES, 0);
    pager->last_waiting = &pager->waiting;
    TAILQ_INIT(&pager->queued);
    TAILQ_INIT(&pager->ahead);
    TAILQ_INIT(&pager->sent);
    pager->kept = eg_log_pages_kept_new(EG_LOG_PAGES_KEPT_BYTES);
    pager->maker = eg_log_page_maker_new();
    eg_log_settings(set, &pager->settings);
    eg_log_set_regex(set, &pager->set_regex);
    const struct eg_connection_hooks hooks = {pager, ready, ignore_notification, NULL, result, ignore, idle,
                                              lost,  state, pager->settings.data};
    if (pager->kept && pager->maker && !pager->settings.failed && !pager->set_regex.failed)
        pager->connection = eg_connection_new(loop, set, "page", &hooks);
    if (pager->connection)
        return pager;
    eg_log_pager_free(pager);
    return NULL;
}

void eg_log_pager_free(struct eg_log_pager *pager)
{
    if (!pager)
        return;
    eg_connection_free(pager->connection);
    lost(pager);
    struct eg_log_request *lists[] = {take_queued(pager), pager->waiting};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(lists); i++)
        while (lists[i]) {
            struct eg_log_request *request = lists[i];
            lists[i] = request->next;
            answer(pager, request, NULL);
        }
    eg_log_pages_kept_free(pager->kept);
    eg_log_page_maker_free(pager->maker);
    eg_buffer_done(&pager->settings);
    eg_buffer_done(&pager->set_regex);
    free(pager);
}

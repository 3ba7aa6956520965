/*
 * Pages of the log, for those who are behind the journal: what a subscription wants of it, the question for a page, and
 * the page. Selections and pages are immutable, counted by references, and shared by all who want the same.
 */
#ifndef EG_LOG_PAGE_H
#define EG_LOG_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "eventgate/event.h"
#include "eventgate/frame.h"
#include "eventgate/log_jumps.h"

/* Durable names and patterns, sorted, without repeats. */
struct eg_log_selection {
    _Atomic uint32_t references;
    size_t count;
    struct eg_bytes *names; /* NUL-terminated, too; a pattern has a `*` level */
};

/* Copies; sorts; drops repeats. NULL: out of memory. */
struct eg_log_selection *eg_log_selection_new(const struct eg_bytes *names, size_t count);
struct eg_log_selection *eg_log_selection_ref(struct eg_log_selection *selection);
void eg_log_selection_unref(struct eg_log_selection *selection); /* takes NULL */
bool eg_log_selection_equal(const struct eg_log_selection *a, const struct eg_log_selection *b);

/* All events of a selection with positions in (after, upto], in order. Their channels have no slots, and they have no
 * place and no live half in their cursors. */
struct eg_log_page {
    _Atomic uint32_t references;
    uint64_t after, upto;
    bool at_head; /* `upto` was the log's head when it was read */
    size_t bytes; /* of the events */
    size_t count, capacity;
    struct eg_event **events; /* a reference each */
};

/* Room for `capacity` events; with one reference. NULL: out of memory. */
struct eg_log_page *eg_log_page_new(size_t capacity);
struct eg_log_page *eg_log_page_ref(struct eg_log_page *page);
void eg_log_page_unref(struct eg_log_page *page); /* takes NULL */

/* The index of the page's first event with a position greater than `after`; `count` if there is none. */
size_t eg_log_page_find(const struct eg_log_page *page, uint64_t after);

/* The question for a page, and its answer. Made by a worker, answered by the Postgres thread, which posts it back. */
struct eg_log_request {
    struct eg_log_request *next;        /* for the holder */
    struct eg_log_selection *selection; /* a reference */
    char tag[EG_CURSOR_TAG_MAX + 1];    /* of the log that `after` is a position of */
    uint64_t after;                     /* the page begins with the first event behind it */
    /* The answer. */
    struct eg_log_page *page; /* a reference; NULL: out of memory. May begin before `after` (eg_log_page_find) */
    uint64_t gap_to; /* 0: none; else something of the selection may be missing up to there, and the page begins
                        there at the latest */
    enum eg_gap_reason gap_reason;
    void (*done)(struct eg_log_request *request); /* called once, on the Postgres thread */
};

#endif

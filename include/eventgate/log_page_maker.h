/*
 * Makes pages of the rows that a read of a selection returned. Postgres thread.
 */
#ifndef EG_LOG_PAGE_MAKER_H
#define EG_LOG_PAGE_MAKER_H

#include "eventgate/log_page.h"
#include "eventgate/log_query.h"

struct eg_log_page_maker;

/* NULL: out of memory. */
struct eg_log_page_maker *eg_log_page_maker_new(void);
void eg_log_page_maker_free(struct eg_log_page_maker *maker);

/* The most pages that one read makes. */
#define EG_LOG_PAGES_MAX 32u

/* What a result is about, before its pages are made. */
struct eg_log_read {
    struct eg_log_head head;
    uint64_t after, upto; /* all that the selection has in between is there */
    bool at_head;         /* and `upto` is the log's end */
};
/* `after`: what was asked for. -EINVAL: no such result. */
int eg_log_read_look(const struct eg_result *result, const struct eg_log_selection *selection, uint64_t after,
                     struct eg_log_read *ret_read) EG_MUST_CHECK;

/* Makes pages that follow each other (references, the caller's) into `ret_pages`, of EG_LOG_PAGES_MAX; at least one.
 * Returns their number, 0: out of memory. */
size_t eg_log_pages_make(struct eg_log_page_maker *maker, const struct eg_result *result,
                         const struct eg_log_read *read, const char *tag, struct eg_log_page **ret_pages);

#endif

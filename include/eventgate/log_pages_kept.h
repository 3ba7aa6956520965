/*
 * Pages that are kept for others who may want the same: the most recently used ones, within a bound of bytes. Postgres
 * thread.
 */
#ifndef EG_LOG_PAGES_KEPT_H
#define EG_LOG_PAGES_KEPT_H

#include "eventgate/log_page.h"

struct eg_log_pages_kept;

/* NULL: out of memory. */
struct eg_log_pages_kept *eg_log_pages_kept_new(size_t max_bytes);
void eg_log_pages_kept_free(struct eg_log_pages_kept *kept);

/* `pruned`: the greatest position of the selection's channels that retention had dropped. Without memory the page isn't
 * kept. */
void eg_log_pages_keep(struct eg_log_pages_kept *kept, struct eg_log_selection *selection, struct eg_log_page *page,
                       uint64_t pruned);

/* Of the pages that have what follows `after` and reach beyond it, the one that reaches furthest (borrowed until the
 * next call), or NULL. */
struct eg_log_page *eg_log_pages_find(struct eg_log_pages_kept *kept, const struct eg_log_selection *selection,
                                      uint64_t after, uint64_t *ret_pruned);

/* All of them. */
void eg_log_pages_forget(struct eg_log_pages_kept *kept);

/* What they take. */
size_t eg_log_pages_kept_bytes(const struct eg_log_pages_kept *kept);

#endif

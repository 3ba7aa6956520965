/*
 * Reads pages of the log for those who are behind the journals, on a connection of its own, so that a crowd of them
 * delays nobody who follows the log's end. Postgres thread.
 *
 * Requests are answered in their order, but for those that the same page can answer: they share it. Recent pages are
 * kept for that, and the page behind one that was asked for is read ahead while nothing else is to be done: both within
 * a bound of bytes.
 */
#ifndef EG_LOG_PAGER_H
#define EG_LOG_PAGER_H

#include "eventgate/config.h"
#include "eventgate/log_page.h"
#include "eventgate/log_reader.h"
#include "eventgate/loop.h"
#include "eventgate/metrics.h"

struct eg_log_pager;

/* What the pager keeps of the pages it has read, in bytes of events. */
#define EG_LOG_PAGES_KEPT_BYTES ((size_t)16 << 20)

/* Starts connecting at once. `set`, `order` and `reader` (borrowed) outlive it. NULL: out of memory. */
struct eg_log_pager *eg_log_pager_new(struct eg_loop *loop, const struct eg_config_set *set,
                                      const struct eg_order *order, struct eg_log_reader *reader,
                                      struct eg_metrics *metrics);
/* What is still asked for is answered without a page. */
void eg_log_pager_free(struct eg_log_pager *pager);

/* Takes the request until its `done`, which may be called at once. While the database is away it waits. */
void eg_log_pager_read(struct eg_log_pager *pager, struct eg_log_request *request);

/* The reader has attached, or looked: pages of another incarnation are forgotten, and what waits is asked anew. */
void eg_log_pager_attached(struct eg_log_pager *pager);

#endif

/*
 * A list by the last use.
 */
#include "eventgate/log_pages_kept.h"

#include <stdlib.h>
#include <sys/queue.h>

/* Small pages are cheap, but a walk over all of them isn't. */
#define PAGES_MAX 256u

struct kept {
    TAILQ_ENTRY(kept) link;
    struct eg_log_selection *selection; /* a reference */
    struct eg_log_page *page;           /* a reference */
    uint64_t pruned;
    size_t bytes;
};

struct eg_log_pages_kept {
    TAILQ_HEAD(, kept) list; /* the least recently used first */
    size_t max_bytes, count, bytes;
};

struct eg_log_pages_kept *eg_log_pages_kept_new(size_t max_bytes)
{
    struct eg_log_pages_kept *pages = calloc(1, sizeof(*pages));
    if (!pages)
        return NULL;
    pages->max_bytes = max_bytes;
    TAILQ_INIT(&pages->list);
    return pages;
}

static void forget(struct eg_log_pages_kept *pages, struct kept *kept)
{
    TAILQ_REMOVE(&pages->list, kept, link);
    pages->count--;
    pages->bytes -= kept->bytes;
    eg_log_selection_unref(kept->selection);
    eg_log_page_unref(kept->page);
    free(kept);
}

void eg_log_pages_forget(struct eg_log_pages_kept *pages)
{
    while (!TAILQ_EMPTY(&pages->list))
        forget(pages, TAILQ_FIRST(&pages->list));
}

void eg_log_pages_kept_free(struct eg_log_pages_kept *pages)
{
    if (!pages)
        return;
    eg_log_pages_forget(pages);
    free(pages);
}

void eg_log_pages_keep(struct eg_log_pages_kept *pages, struct eg_log_selection *selection, struct eg_log_page *page,
                       uint64_t pruned)
{
    struct kept *kept = page->upto > page->after ? malloc(sizeof(*kept)) : NULL;
    if (!kept)
        return;
    kept->selection = eg_log_selection_ref(selection);
    kept->page = eg_log_page_ref(page);
    kept->pruned = pruned;
    kept->bytes = page->bytes + page->count * sizeof(struct eg_event *);
    TAILQ_INSERT_TAIL(&pages->list, kept, link);
    pages->count++;
    pages->bytes += kept->bytes;
    while (pages->bytes > pages->max_bytes || pages->count > PAGES_MAX)
        forget(pages, TAILQ_FIRST(&pages->list));
}

/* Many who resume one channel from places close to each other leave many pages that overlap. With any other but the one
 * that reaches furthest, whoever comes to its end would go through the others event by event. */
struct eg_log_page *eg_log_pages_find(struct eg_log_pages_kept *pages, const struct eg_log_selection *selection,
                                      uint64_t after, uint64_t *ret_pruned)
{
    struct kept *kept, *best = NULL;
    TAILQ_FOREACH (kept, &pages->list, link)
        if (kept->page->after <= after && after < kept->page->upto && (!best || kept->page->upto > best->page->upto) &&
            eg_log_selection_equal(kept->selection, selection))
            best = kept;
    if (!best)
        return NULL;
    TAILQ_REMOVE(&pages->list, best, link);
    TAILQ_INSERT_TAIL(&pages->list, best, link);
    *ret_pruned = best->pruned;
    return best->page;
}

size_t eg_log_pages_kept_bytes(const struct eg_log_pages_kept *pages)
{
    return pages->bytes;
}

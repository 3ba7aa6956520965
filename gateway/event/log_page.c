/*
 * Selections and pages.
 */
#include "eventgate/log_page.h"

#include <stdlib.h>
#include <string.h>

/* --- selections -------------------------------------------------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct eg_bytes *)a)->data, ((const struct eg_bytes *)b)->data);
}

static size_t without_repeats(struct eg_bytes *names, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || compare_names(&names[kept - 1], &names[i]) != 0)
            names[kept++] = names[i];
    return kept;
}

struct eg_log_selection *eg_log_selection_new(const struct eg_bytes *names, size_t count)
{
    size_t bytes = sizeof(struct eg_log_selection) + count * sizeof(*names);
    for (size_t i = 0; i < count; i++)
        bytes += names[i].length + 1;
    struct eg_log_selection *selection = calloc(1, bytes);
    if (!selection)
        return NULL;
    selection->references = 1;
    selection->names = (struct eg_bytes *)(void *)(selection + 1);
    char *text = (char *)(selection->names + count);
    for (size_t i = 0; i < count; i++) {
        selection->names[i] = (struct eg_bytes){memcpy(text, names[i].data, names[i].length), names[i].length};
        text += names[i].length + 1;
    }
    qsort(selection->names, count, sizeof(*names), compare_names);
    selection->count = without_repeats(selection->names, count);
    return selection;
}

struct eg_log_selection *eg_log_selection_ref(struct eg_log_selection *selection)
{
    atomic_fetch_add_explicit(&selection->references, 1, memory_order_relaxed);
    return selection;
}

void eg_log_selection_unref(struct eg_log_selection *selection)
{
    if (selection && atomic_fetch_sub_explicit(&selection->references, 1, memory_order_acq_rel) == 1)
        free(selection);
}

bool eg_log_selection_equal(const struct eg_log_selection *a, const struct eg_log_selection *b)
{
    bool equal = a->count == b->count;
    for (size_t i = 0; a != b && equal && i < a->count; i++)
        equal = compare_names(&a->names[i], &b->names[i]) == 0;
    return equal;
}

/* --- pages ------------------------------------------------------------------------------------------------------- */

struct eg_log_page *eg_log_page_new(size_t capacity)
{
    struct eg_log_page *page = calloc(1, sizeof(*page));
    if (!page)
        return NULL;
    page->references = 1;
    page->capacity = capacity;
    page->events = calloc(capacity ? capacity : 1, sizeof(struct eg_event *));
    if (page->events)
        return page;
    free(page);
    return NULL;
}

struct eg_log_page *eg_log_page_ref(struct eg_log_page *page)
{
    atomic_fetch_add_explicit(&page->references, 1, memory_order_relaxed);
    return page;
}

void eg_log_page_unref(struct eg_log_page *page)
{
    if (!page || atomic_fetch_sub_explicit(&page->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < page->count; i++)
        eg_event_unref(page->events[i]);
    free(page->events);
    free(page);
}

size_t eg_log_page_find(const struct eg_log_page *page, uint64_t after)
{
    size_t low = 0, high = page->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (page->events[middle]->cursor.position <= after)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

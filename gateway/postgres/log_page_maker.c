/*
 * From rows to pages.
 *
 * A read that asks many channels costs a probe of each, so it fetches many rows at once; who wants them takes them page
 * by page.
 */
#include "eventgate/log_page_maker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHANNELS_KEPT 1024u /* a power of two */

struct eg_log_page_maker {
    struct eg_channel *channels[CHANNELS_KEPT]; /* by the hash of the name; a reference each, or NULL */
};

struct eg_log_page_maker *eg_log_page_maker_new(void)
{
    return calloc(1, sizeof(struct eg_log_page_maker));
}

void eg_log_page_maker_free(struct eg_log_page_maker *maker)
{
    for (size_t i = 0; maker && i < CHANNELS_KEPT; i++)
        eg_channel_unref(maker->channels[i]);
    free(maker);
}

static uint32_t hash_of(struct eg_bytes name)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < name.length; i++)
        hash = (hash ^ (unsigned char)name.data[i]) * 16777619u;
    return hash;
}

/* The channel of that name, shared by pages; borrowed until the next call. NULL: out of memory. */
static struct eg_channel *channel_of(struct eg_log_page_maker *maker, struct eg_bytes name)
{
    struct eg_channel **slot = &maker->channels[hash_of(name) & (CHANNELS_KEPT - 1)];
    if (*slot && (*slot)->name_length == name.length && memcmp((*slot)->name, name.data, name.length) == 0)
        return *slot;
    eg_channel_unref(*slot);
    *slot = eg_channel_new(name.data, name.length, false, 0);
    return *slot;
}

int eg_log_read_look(const struct eg_result *result, const struct eg_log_selection *selection, uint64_t after,
                     struct eg_log_read *ret_read)
{
    struct eg_log_read read = {.after = after, .upto = after};
    struct eg_log_bounds bounds = eg_log_bounds_of(selection);
    struct eg_log_row row;
    uint64_t bytes = 0;
    if (eg_log_read_head(result, &read.head) != 0)
        return -EINVAL;
    size_t count = eg_result_count(result);
    for (size_t i = 1; i < count; i++) {
        eg_log_read_row(result, i, &row);
        bytes += row.bytes;
        read.upto = row.position;
    }
    read.at_head = !read.head.cut && count - 1 < bounds.rows && bytes < bounds.bytes;
    if (read.at_head && read.head.position > read.upto)
        read.upto = read.head.position;
    *ret_read = read;
    return 0;
}

static bool add_event(struct eg_log_page_maker *maker, struct eg_log_page *page, const char *tag,
                      const struct eg_log_row *row)
{
    struct eg_event_row parts = {
        .appended_us = row->appended_us, .data = row->data, .type = row->type, .trace = row->trace};
    struct eg_channel *channel = channel_of(maker, row->channel);
    if (!channel)
        return false;
    memcpy(parts.cursor.tag, tag, strlen(tag) + 1);
    parts.cursor.has_position = true;
    parts.cursor.position = row->position;
    struct eg_event *event = eg_event_new_durable(channel, &parts);
    if (!event)
        return false;
    page->events[page->count++] = event;
    page->bytes += eg_event_bytes(event);
    page->upto = row->position;
    return true;
}

/* A page of the rows from `*row` on, which is moved behind its last. NULL: out of memory. */
static struct eg_log_page *make_one(struct eg_log_page_maker *maker, const struct eg_result *result, const char *tag,
                                    uint64_t after, size_t *row)
{
    size_t end = eg_result_count(result);
    uint64_t bytes = 0;
    if (end - *row > EG_LOG_PAGE_ROWS)
        end = *row + EG_LOG_PAGE_ROWS;
    struct eg_log_page *page = eg_log_page_new(end - *row);
    if (!page)
        return NULL;
    page->after = page->upto = after;
    for (; *row < end && bytes < EG_LOG_PAGE_BYTES; (*row)++) {
        struct eg_log_row parts;
        eg_log_read_row(result, *row, &parts);
        bytes += parts.bytes;
        if (!add_event(maker, page, tag, &parts)) {
            eg_log_page_unref(page);
            return NULL;
        }
    }
    return page;
}

size_t eg_log_pages_make(struct eg_log_page_maker *maker, const struct eg_result *result,
                         const struct eg_log_read *read, const char *tag, struct eg_log_page **ret_pages)
{
    size_t row = 1, count = 0, rows = eg_result_count(result);
    uint64_t after = read->after;
    do {
        struct eg_log_page *page = make_one(maker, result, tag, after, &row);
        if (!page)
            break;
        ret_pages[count++] = page;
        after = page->upto;
    } while (row < rows && count < EG_LOG_PAGES_MAX);
    if (count > 0 && row == rows) {
        ret_pages[count - 1]->upto = read->upto;
        ret_pages[count - 1]->at_head = read->at_head;
    }
    return count;
}

/*
 * Room in a bounded queue, counted without a lock: it is taken first, and given back if that was too much.
 */
#include "eventgate/admission.h"

#include <errno.h>

void eg_admission_bound(struct eg_admission *admission, const struct eg_config_set *set)
{
    atomic_store(&admission->most_items, set->publish_queue);
    atomic_store(&admission->most_bytes, set->publish_queue_bytes);
}

int eg_admission_take(struct eg_admission *admission, size_t items, size_t bytes)
{
    uint64_t most_items = atomic_load(&admission->most_items), most_bytes = atomic_load(&admission->most_bytes);
    if (items > most_items || bytes > most_bytes)
        return -E2BIG;
    if (!atomic_load(&admission->up))
        return -ENOTCONN;
    uint64_t items_now = atomic_fetch_add(&admission->items, items) + items;
    uint64_t bytes_now = atomic_fetch_add(&admission->bytes, bytes) + bytes;
    if (items_now <= most_items && bytes_now <= most_bytes)
        return 0;
    eg_admission_give_back(admission, items, bytes);
    return -EAGAIN;
}

void eg_admission_give_back(struct eg_admission *admission, size_t items, size_t bytes)
{
    atomic_fetch_sub(&admission->items, items);
    atomic_fetch_sub(&admission->bytes, bytes);
}

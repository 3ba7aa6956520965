/*
 * Publications: one allocation for the items and their bytes.
 */
#include "eventgate/publication.h"

#include <stdlib.h>

struct eg_publication *eg_publication_new(size_t count, size_t bytes, char **ret_text)
{
    struct eg_publication *publication;
    size_t size;
    if (__builtin_mul_overflow(count, sizeof(struct eg_publication_item), &size) ||
        __builtin_add_overflow(size, sizeof(*publication), &size) || __builtin_add_overflow(size, bytes, &size))
        return NULL;
    publication = calloc(1, size);
    if (!publication)
        return NULL;
    publication->count = count;
    *ret_text = (char *)&publication->items[count];
    return publication;
}

void eg_publication_free(struct eg_publication *publication)
{
    if (!publication)
        return;
    for (size_t i = 0; i < publication->count; i++)
        free(publication->items[i].error);
    free(publication);
}

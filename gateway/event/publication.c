/*
 * Publications: one allocation for the items and their bytes.
 */
#include "eventgate/publication.h"

#include <stdlib.h>

struct eg_publication *eg_publication_new(size_t count, size_t bytes, char **ret_text)
{
    size_t items = count * sizeof(struct eg_publication_item);
    struct eg_publication *publication = calloc(1, sizeof(*publication) + items + bytes);
    if (!publication)
        return NULL;
    publication->count = count;
    *ret_text = (char *)publication + sizeof(*publication) + items;
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

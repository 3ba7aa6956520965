/* X-Forwarded-For: the address that is found is one of the items, and what stands to its left doesn't change it. */
#include "eventgate/client_address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct eg_networks trusted;
    union eg_address address, again;
    char text[INET6_ADDRSTRLEN], longer[4200];
    if (size > 4000)
        return 0;
    int result = eg_client_address_find(&trusted, (const char *)data, size, &address);
    check(result == 0 || result == -EINVAL);
    if (result)
        return 0;
    eg_address_text(&address, text);
    check(eg_address_read(text, strlen(text), &again));
    /* Nobody is trusted: the right-most item is the client. */
    size_t length = (size_t)snprintf(longer, sizeof(longer), "203.0.113.9, ");
    memcpy(longer + length, data, size);
    check(eg_client_address_find(&trusted, longer, length + size, &again) == 0);
    char other[INET6_ADDRSTRLEN];
    eg_address_text(&again, other);
    check(strcmp(text, other) == 0);
    return 0;
}

#include "address.h"

#include <arpa/inet.h>
#include <err.h>
#include <stdlib.h>
#include <string.h>

struct sockaddr_in address_read(const char *text, const char **ret_rest)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[INET_ADDRSTRLEN], *end;
    const char *colon = strchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : 0;
    if (length == 0 || length >= sizeof(host))
        errx(2, "not an address with a port: %s", text);
    memcpy(host, text, length);
    host[length] = '\0';
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || port == 0 || port > 65535)
        errx(2, "not an address with a port: %s", text);
    address.sin_port = htons((uint16_t)port);
    *ret_rest = end;
    return address;
}

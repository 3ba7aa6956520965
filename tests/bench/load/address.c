#include "address.h"

#include <arpa/inet.h>
#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

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

int address_listen(const char *text)
{
    const char *rest;
    struct sockaddr_in address = address_read(text, &rest);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 4096) != 0)
        err(1, "%s", text);
    return fd;
}

/*
 * Addresses, from text and to text.
 */
#include "eventgate/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

bool eg_address_read(const char *text, size_t length, union eg_address *ret_address)
{
    char copy[INET6_ADDRSTRLEN];
    union eg_address address;
    memset(&address, 0, sizeof(address));
    if (length >= sizeof(copy) || memchr(text, '\0', length))
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    if (inet_pton(AF_INET, copy, &address.in.sin_addr) == 1)
        address.any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, copy, &address.in6.sin6_addr) == 1)
        address.any.sa_family = AF_INET6;
    else
        return false;
    eg_address_unmap(&address);
    *ret_address = address;
    return true;
}

void eg_address_unmap(union eg_address *address)
{
    struct sockaddr_in6 in6 = address->in6;
    if (address->any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr))
        return;
    address->in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = in6.sin6_port};
    memcpy(&address->in.sin_addr, &in6.sin6_addr.s6_addr[12], sizeof(address->in.sin_addr));
}

void eg_address_text(const union eg_address *address, char ret_text[INET6_ADDRSTRLEN])
{
    ret_text[0] = '\0';
    if (address->any.sa_family == AF_INET)
        inet_ntop(AF_INET, &address->in.sin_addr, ret_text, INET6_ADDRSTRLEN);
    else if (address->any.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &address->in6.sin6_addr, ret_text, INET6_ADDRSTRLEN);
    else if (address->any.sa_family == AF_UNIX)
        snprintf(ret_text, INET6_ADDRSTRLEN, "unix");
}

struct eg_address_key eg_address_key(const union eg_address *address)
{
    struct eg_address_key key;
    memset(&key, 0, sizeof(key));
    key.bytes[0] = (unsigned char)address->any.sa_family;
    if (address->any.sa_family == AF_INET)
        memcpy(key.bytes + 1, &address->in.sin_addr, 4);
    else if (address->any.sa_family == AF_INET6)
        memcpy(key.bytes + 1, &address->in6.sin6_addr, 8);
    return key;
}

/*
 * X-Forwarded-For, from right to left.
 */
#include "eventgate/client_address.h"

#include <errno.h>
#include <string.h>

static struct eg_bytes trim(struct eg_bytes item)
{
    while (item.length > 0 && (item.data[0] == ' ' || item.data[0] == '\t'))
        item.data++, item.length--;
    while (item.length > 0 && (item.data[item.length - 1] == ' ' || item.data[item.length - 1] == '\t'))
        item.length--;
    return item;
}

/* ":1" to ":65535", or nothing */
static bool is_port(const char *text, size_t length)
{
    unsigned port = 0;
    if (length == 0)
        return true;
    if (text[0] != ':' || length < 2 || length > 6)
        return false;
    for (size_t i = 1; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return port > 0 && port <= UINT16_MAX;
}

/* An address alone, "IPV4:PORT", "[IPV6]", or "[IPV6]:PORT". */
static bool read_item(struct eg_bytes item, union eg_address *ret_address)
{
    if (eg_address_read(item.data, item.length, ret_address))
        return true;
    const char *end = item.data + item.length;
    if (item.length > 0 && item.data[0] == '[') {
        const char *bracket = memchr(item.data, ']', item.length);
        return bracket && memchr(item.data, ':', (size_t)(bracket - item.data)) &&
               is_port(bracket + 1, (size_t)(end - bracket) - 1) &&
               eg_address_read(item.data + 1, (size_t)(bracket - item.data) - 1, ret_address);
    }
    const char *colon = item.length > 0 ? memchr(item.data, ':', item.length) : NULL;
    return colon && is_port(colon, (size_t)(end - colon)) &&
           eg_address_read(item.data, (size_t)(colon - item.data), ret_address);
}

int eg_client_address_find(const struct eg_networks *trusted, const char *forwarded, size_t length,
                           union eg_address *ret_address)
{
    union eg_address address;
    do {
        const char *comma = length > 0 ? memrchr(forwarded, ',', length) : NULL;
        const char *start = comma ? comma + 1 : forwarded;
        struct eg_bytes item = trim((struct eg_bytes){start, (size_t)(forwarded + length - start)});
        if (!read_item(item, &address))
            return -EINVAL;
        length = comma ? (size_t)(comma - forwarded) : 0;
        if (!comma)
            break;
    } while (eg_networks_have(trusted, &address));
    *ret_address = address;
    return 0;
}

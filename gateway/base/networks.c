/*
 * Networks, from text and compared bit by bit.
 */
#include "eventgate/networks.h"

#include <string.h>

#include "eventgate/address.h"

/* Of IP addresses: their bytes, and how many. */
static size_t bytes_of(const union eg_address *address, uint8_t ret_bytes[16])
{
    if (address->any.sa_family == AF_INET) {
        memcpy(ret_bytes, &address->in.sin_addr, 4);
        return 4;
    }
    if (address->any.sa_family == AF_INET6) {
        memcpy(ret_bytes, &address->in6.sin6_addr, 16);
        return 16;
    }
    return 0;
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    if (memcmp(a, b, bits / 8) != 0)
        return false;
    unsigned left = bits % 8;
    return left == 0 || ((a[bits / 8] ^ b[bits / 8]) >> (8 - left)) == 0;
}

/* 1 to 3 digits, without zeros before them. */
static bool read_prefix(const char *text, size_t length, unsigned most, uint8_t *ret_prefix)
{
    unsigned prefix = 0;
    if (length == 0 || length > 3 || (length > 1 && text[0] == '0'))
        return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        prefix = prefix * 10 + (unsigned)(text[i] - '0');
    }
    *ret_prefix = (uint8_t)prefix;
    return prefix <= most;
}

const char *eg_network_read(const char *text, size_t length, struct eg_network *ret_network)
{
    struct eg_network network;
    union eg_address address;
    memset(&network, 0, sizeof(network));
    if (length == 4 && memcmp(text, "unix", 4) == 0) {
        network.family = AF_UNIX;
        *ret_network = network;
        return NULL;
    }
    const char *slash = length > 0 ? memchr(text, '/', length) : NULL;
    if (!eg_address_read(text, slash ? (size_t)(slash - text) : length, &address))
        return "is no address (192.0.2.1, 2001:db8::1), no network (10.0.0.0/8), and not \"unix\"";
    unsigned bits = 8 * (unsigned)bytes_of(&address, network.bytes);
    network.family = (uint8_t)address.any.sa_family;
    network.prefix = (uint8_t)bits;
    if (slash && !read_prefix(slash + 1, (size_t)(text + length - slash) - 1, bits, &network.prefix))
        return "has a prefix that is none: /0 to /32 for IPv4, /0 to /128 for IPv6";
    for (unsigned bit = network.prefix; bit < bits; bit++)
        if (network.bytes[bit / 8] & (0x80u >> (bit % 8)))
            return "has bits behind its prefix: write 10.0.0.0/8, not 10.1.2.3/8";
    *ret_network = network;
    return NULL;
}

bool eg_networks_have(const struct eg_networks *networks, const union eg_address *address)
{
    uint8_t bytes[16];
    if (networks->count == 0)
        return false;
    bytes_of(address, bytes);
    for (uint32_t i = 0; i < networks->count; i++)
        if (networks->list[i].family == address->any.sa_family &&
            same_prefix(networks->list[i].bytes, bytes, networks->list[i].prefix))
            return true;
    return false;
}

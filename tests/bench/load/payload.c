#include "payload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ages.h"

static const char stamp[] = "{\"t\":";

size_t payload_write(char to[PAYLOAD_BYTES], uint32_t bytes, uint64_t number)
{
    size_t length = (size_t)snprintf(to, PAYLOAD_BYTES, "%s%llu,\"n\":%llu,\"pad\":\"", stamp,
                                     (unsigned long long)now_ns(), (unsigned long long)number);
    if (bytes > PAYLOAD_BYTES - 1)
        bytes = PAYLOAD_BYTES - 1;
    if (length + 2 < bytes) {
        memset(to + length, 'x', bytes - 2 - length);
        length = bytes - 2;
    }
    memcpy(to + length, "\"}", sizeof("\"}"));
    return length + 2;
}

uint64_t payload_stamp(const char *payload)
{
    return strncmp(payload, stamp, sizeof(stamp) - 1) == 0 ? strtoull(payload + sizeof(stamp) - 1, NULL, 10) : 0;
}

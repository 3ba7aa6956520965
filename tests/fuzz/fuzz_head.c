/* The raw check: cutting the bytes differently never changes the verdict. The first byte says how they are cut. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct eg_head_limits limits = {.max_head_bytes = 2048, .max_body_bytes = 4096};
    struct eg_head whole = {0}, cut = {0};
    if (size < 2)
        return 0;
    const char *text = (const char *)data + 1;
    size_t length = size - 1, piece = data[0] % 64u + 1, passed = 0;
    size_t expected = eg_head_check(&whole, &limits, text, length);
    for (size_t at = 0; at < length; at += piece) {
        size_t given = length - at < piece ? length - at : piece;
        size_t taken = eg_head_check(&cut, &limits, text + at, given);
        passed += taken;
        if (taken < given)
            break;
    }
    if (passed != expected || cut.stage != whole.stage || cut.requests != whole.requests || cut.state != whole.state)
        abort();
    if (whole.stage == EG_HEAD_BAD && (!whole.detail || cut.problem != whole.problem || expected == length))
        abort();
    return 0;
}

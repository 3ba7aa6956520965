/*
 * The raw check, against a reader of another make (oracle/requests.h): what is good to one is to the other, and cutting
 * the bytes differently never changes the verdict. The first byte says how they are cut.
 */
#include <stdlib.h>

#include "oracle/requests.h"

static const struct eg_head_limits limits = {.max_head_bytes = 2048, .max_body_bytes = 4096};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_cutting(const struct eg_head *whole, size_t expected, const char *text, size_t length, size_t piece)
{
    struct eg_head cut = {0};
    size_t passed = 0;
    for (size_t at = 0; at < length; at += piece) {
        size_t given = length - at < piece ? length - at : piece;
        char kept[64];
        size_t kept_length, taken = eg_head_check(&cut, &limits, text + at, given, kept, &kept_length);
        check(kept_length <= taken);
        passed += taken;
        if (taken < given)
            break;
    }
    check(passed == expected && cut.stage == whole->stage && cut.requests == whole->requests);
    check(cut.state == whole->state && (whole->stage != EG_HEAD_BAD || cut.problem == whole->problem));
}

static void check_against_oracle(const struct eg_head *whole, size_t passed, const char *text, size_t length)
{
    const char *at = text, *end = text + length;
    uint32_t requests = 0;
    enum oracle_verdict verdict;
    while (at < end && (verdict = oracle_request(&at, end, &limits, NULL)) == ORACLE_GOOD)
        requests++;
    check(whole->requests == requests);
    check(passed >= (size_t)(at - text));
    if (at == end)
        check(whole->stage == EG_HEAD_IDLE);
    else if (verdict == ORACLE_BAD)
        check(whole->stage == EG_HEAD_BAD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct eg_head whole = {0};
    if (size < 2)
        return 0;
    const char *text = (const char *)data + 1;
    size_t length = size - 1, kept_length;
    char *kept = malloc(length);
    check(kept);
    size_t passed = eg_head_check(&whole, &limits, text, length, kept, &kept_length);
    check(kept_length <= passed);
    free(kept);
    check((whole.stage == EG_HEAD_BAD) == (passed < length));
    check(whole.stage != EG_HEAD_BAD || whole.detail);
    check_cutting(&whole, passed, text, length, data[0] % 64u + 1);
    check_against_oracle(&whole, passed, text, length);
    return 0;
}

/*
 * Grants: for each right the patterns that it holds for.
 */
#include "eventgate/grants.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/pattern.h"

struct right {
    char **patterns; /* owned, each NUL-terminated */
    size_t count, capacity;
};

struct eg_grants {
    atomic_uint references;
    bool admin;
    int64_t issued_s, expires_s;
    struct right rights[EG_RIGHT_COUNT];
    char subject[]; /* NUL-terminated */
};

struct eg_grants *eg_grants_new(struct eg_bytes subject, int64_t issued_s, int64_t expires_s)
{
    struct eg_grants *grants = calloc(1, sizeof(*grants) + subject.length + 1);
    if (!grants)
        return NULL;
    grants->references = 1;
    grants->issued_s = issued_s;
    grants->expires_s = expires_s;
    if (subject.length > 0)
        memcpy(grants->subject, subject.data, subject.length);
    return grants;
}

int eg_grants_add(struct eg_grants *grants, enum eg_right which, const char *pattern, size_t length)
{
    struct right *right = &grants->rights[which];
    if (right->count == right->capacity) {
        size_t capacity = right->capacity ? 2 * right->capacity : 4;
        char **patterns = reallocarray(right->patterns, capacity, sizeof(*patterns));
        if (!patterns)
            return -ENOMEM;
        right->patterns = patterns;
        right->capacity = capacity;
    }
    char *copy = strndup(pattern, length);
    if (!copy)
        return -ENOMEM;
    right->patterns[right->count++] = copy;
    return 0;
}

void eg_grants_set_admin(struct eg_grants *grants)
{
    grants->admin = true;
}

struct eg_grants *eg_grants_ref(struct eg_grants *grants)
{
    atomic_fetch_add_explicit(&grants->references, 1, memory_order_relaxed);
    return grants;
}

void eg_grants_unref(struct eg_grants *grants)
{
    if (!grants || atomic_fetch_sub_explicit(&grants->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t which = 0; which < EG_RIGHT_COUNT; which++) {
        for (size_t i = 0; i < grants->rights[which].count; i++)
            free(grants->rights[which].patterns[i]);
        free(grants->rights[which].patterns);
    }
    free(grants);
}

bool eg_grants_allow(const struct eg_grants *grants, enum eg_right which, const char *pattern, size_t length)
{
    if (!grants)
        return true;
    const struct right *right = &grants->rights[which];
    for (size_t i = 0; i < right->count; i++)
        if (eg_pattern_covers(right->patterns[i], strlen(right->patterns[i]), pattern, length))
            return true;
    return false;
}

bool eg_grants_allow_any(const struct eg_grants *grants, enum eg_right which)
{
    return !grants || grants->rights[which].count > 0;
}

bool eg_grants_allow_admin(const struct eg_grants *grants)
{
    return !grants || grants->admin;
}

const char *eg_grants_subject(const struct eg_grants *grants)
{
    return grants ? grants->subject : "";
}

int64_t eg_grants_issued_s(const struct eg_grants *grants)
{
    return grants ? grants->issued_s : EG_GRANTS_UNDATED;
}

int64_t eg_grants_expires_s(const struct eg_grants *grants)
{
    return grants ? grants->expires_s : EG_GRANTS_NEVER;
}

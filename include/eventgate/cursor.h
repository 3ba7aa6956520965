/*
 * Cursors: a place in a channel set's order, as a string.
 *
 * Grammar: [TAG.]POS[~EPOCH-N]   (TAG: 1 to 8 of [a-z0-9]; POS and N: decimal without leading zeros, below 2^53;
 * EPOCH: 10 of [a-z2-7], 50 random bits)
 * The `id` of a live event, EPOCH-N alone, is read as a cursor too (has_position is then false).
 * A set without a log has no TAG and POS 0: `0~mzxw6ytboi-42`. Only unreserved URL characters: no escaping anywhere.
 */
#ifndef EG_CURSOR_H
#define EG_CURSOR_H

#include <stdbool.h>

#include "eventgate/common.h"

#define EG_EPOCH_LENGTH 10
#define EG_CURSOR_TAG_MAX 8
/* The longest cursor, with its NUL. */
#define EG_CURSOR_SIZE 64
/* Exclusive bound of POS and N: JavaScript's exact integers. */
#define EG_CURSOR_NUMBER_BOUND (UINT64_C(1) << 53)

/* Names one LISTEN session of one gateway. NUL-terminated. */
struct eg_epoch {
    char text[EG_EPOCH_LENGTH + 1];
};

struct eg_cursor {
    char tag[EG_CURSOR_TAG_MAX + 1]; /* "" for none */
    bool has_position;               /* `position` is set */
    uint64_t position;               /* durable; 0 before the first */
    bool has_live;                   /* `epoch` and `place` are set */
    struct eg_epoch epoch;
    uint64_t place; /* in the live order of the gateway that made `epoch` */
};

/* A new random epoch. */
struct eg_epoch eg_epoch_new(void);

/* Reads a cursor; -EINVAL if it isn't one (`ret_cursor` untouched). */
int eg_cursor_parse(const char *text, size_t length, struct eg_cursor *ret_cursor) EG_MUST_CHECK;

/* Writes the cursor and its NUL; returns the length without it. */
size_t eg_cursor_format(const struct eg_cursor *cursor, char ret_text[EG_CURSOR_SIZE]);

#endif

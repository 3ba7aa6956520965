/* Whatever is read as a cursor is written as the same text again. */
#include "eventgate/cursor.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct eg_cursor cursor, again;
    char text[EG_CURSOR_SIZE];
    if (eg_cursor_parse((const char *)data, size, &cursor) != 0)
        return 0;
    size_t length = eg_cursor_format(&cursor, text);
    size_t added = cursor.has_position ? 0 : strlen("0~"); /* the id of a live event is written as a whole cursor */
    check(length == strlen(text) && length == size + added && memcmp(text + added, data, size) == 0);
    check(cursor.position < EG_CURSOR_NUMBER_BOUND && cursor.place < EG_CURSOR_NUMBER_BOUND);
    check(eg_cursor_parse(text, length, &again) == 0);
    check(again.position == cursor.position && again.place == cursor.place && again.has_live == cursor.has_live);
    check(strcmp(again.tag, cursor.tag) == 0 && strcmp(again.epoch.text, cursor.epoch.text) == 0);
    return 0;
}

/*
 * The flags of a command line: a table that says where each one's value goes.
 */
#ifndef EG_FLAGS_H
#define EG_FLAGS_H

#include <stdbool.h>

#include "eventgate/common.h"

enum eg_flag_kind {
    EG_FLAG_YES,    /* bool: takes no value */
    EG_FLAG_TEXT,   /* const char *: borrowed from the arguments */
    EG_FLAG_NUMBER, /* uint64_t, from 1 */
    EG_FLAG_TIME,   /* uint32_t in ms, from seconds: "10", "0.5", "10s"; from 1 ms to a day */
};

struct eg_flag {
    const char *name; /* without the dashes */
    char letter;      /* 0: none */
    enum eg_flag_kind kind;
    void *target;
};

#define EG_FLAGS_MAX 24

/*
 * Reads the flags of the command `argv[1]`, wherever they stand; "--" ends them. `ret_words`: what isn't a flag, in
 * order, a part of `argv`, which is sorted for that. `ret_help`: --help or -h was among them. 0, or -EINVAL when a
 * sentence has been printed to standard error. At most EG_FLAGS_MAX flags. Main thread.
 */
int eg_flags_read(int argc, char *const *argv, const struct eg_flag *flags, size_t count, char *const **ret_words,
                  size_t *ret_word_count, bool *ret_help) EG_MUST_CHECK;

/* Prints "pg_eventgate COMMAND: ..." and a line break to standard error. Returns 2, the exit status of wrong usage. */
int eg_complain(const char *command, const char *format, ...) EG_PRINTF(2, 3);

#endif

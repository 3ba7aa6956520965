/*
 * A line on standard error that says how far something long has come: on a terminal one that is written over, else a
 * line of its own every few seconds, where it is asked for.
 */
#ifndef EG_PROGRESS_H
#define EG_PROGRESS_H

#include <stdbool.h>

#include "eventgate/common.h"

/* Zero-initialise, then eg_progress_begin(). */
struct eg_progress {
    bool shown, terminal;
    bool drawn;         /* the terminal's line is there now */
    bool shares_screen; /* standard output is a terminal, too */
    int64_t began_ms, told_ms;
    uint64_t begun_at; /* `done` of the first call */
    bool has_begun_at;
};

/* Shown if standard error is a terminal, or if `forced`. */
void eg_progress_begin(struct eg_progress *progress, bool forced);

/*
 * Says it, if it is time to: `count` of `what` ("events"), their rate, and, where `all` isn't 0, what share `done` is
 * of it, and how long the rest may take. `note`: more words, or NULL.
 */
void eg_progress_tell(struct eg_progress *progress, uint64_t count, const char *what, uint64_t done, uint64_t all,
                      const char *note);

/* Takes the line off the terminal for a while, since other text comes. */
void eg_progress_clear(struct eg_progress *progress);

/* The last word; nothing is shown any more. */
void eg_progress_end(struct eg_progress *progress, uint64_t count, const char *what, const char *note);

#endif

/*
 * What the doctor finds: each finding is a line as soon as it is there, or all of them are one JSON document at the
 * end.
 */
#ifndef EG_DOCTOR_REPORT_H
#define EG_DOCTOR_REPORT_H

#include <stdbool.h>

#include "eventgate/buffer.h"

enum eg_verdict { EG_FINE, EG_WARNING, EG_ERROR };

/* Zero-initialise, then eg_report_begin(). */
struct eg_report {
    bool json, colours, has_note;
    unsigned counts[3]; /* by verdict */
    struct eg_buffer findings;
};

void eg_report_begin(struct eg_report *report, bool json);

/*
 * Adds a finding. `check`: one word, for programs ("clock"); `subject`: what it is about, or NULL; `advice`: sentences
 * that say what to do, or NULL; then what is found, a sentence without its full stop.
 */
void eg_report_add(struct eg_report *report, enum eg_verdict verdict, const char *check, const char *subject,
                   const char *advice, const char *format, ...) EG_PRINTF(6, 7);

/* On a terminal, until the next finding: what takes so long. */
void eg_report_wait(struct eg_report *report, const char *what);

/* The summary, or the document. False: it cannot be printed. */
bool eg_report_end(struct eg_report *report);

#endif

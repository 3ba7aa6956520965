/*
 * W3C Trace Context (https://www.w3.org/TR/trace-context/): what says to which trace an event or a request belongs.
 * Pure functions; any thread.
 */
#ifndef EG_TRACE_H
#define EG_TRACE_H

#include <stdbool.h>

#include "eventgate/common.h"

/* version-traceid-parentid-flags */
#define EG_TRACEPARENT_LENGTH 55
#define EG_TRACE_ID_LENGTH 32

/*
 * Reads a traceparent (section 3.2), with space around it or not. False if it isn't valid, and then counts as absent;
 * `ret_trace` is untouched. One of a higher version is carried as version 00, as the specification wants it.
 */
bool eg_traceparent_read(struct eg_bytes text, char ret_trace[EG_TRACEPARENT_LENGTH + 1]);

/* Of one that has been read: its trace's id, NUL-terminated, and whether the caller records it (flag `sampled`). */
void eg_traceparent_id(const char trace[EG_TRACEPARENT_LENGTH + 1], char ret_id[EG_TRACE_ID_LENGTH + 1]);
bool eg_traceparent_is_sampled(const char trace[EG_TRACEPARENT_LENGTH + 1]);

#endif

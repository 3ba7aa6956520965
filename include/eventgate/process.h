/*
 * The process as the kernel sees it: descriptors, memory, processor time.
 */
#ifndef EG_PROCESS_H
#define EG_PROCESS_H

#include "eventgate/common.h"
#include "eventgate/metrics.h"

/*
 * Where standard input, output or error is closed: takes its number, so that no file or connection of ours gets it, and
 * what is printed ends there. To read or write what stands there now fails as before (EBADF). At the very start, before
 * anything else is opened. 0, or a negative errno.
 */
int eg_process_fill_standard(void) EG_MUST_CHECK;

/*
 * Brings the process_… metrics up to date, as totals, in `metrics`. `started_us`: wall clock, µs since 1970. Any
 * thread. Cost: a few system calls and a file of proc(5), which is memory; before Linux 6.2, which doesn't tell how
 * many descriptors are open, those of eg_process_count_descriptors(), too.
 */
void eg_process_measure(struct eg_metrics *metrics, int64_t started_us);

/* How many descriptors below `slots` are open. 0 if the kernel doesn't say. Cost: 10 ns for each slot. Any
 * thread. */
int64_t eg_process_count_descriptors(int slots);

#endif

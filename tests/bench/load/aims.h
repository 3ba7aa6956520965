/* Reads what each stream of a crowd aims at: lines `EVENTS TARGET`. Exits with a sentence if they are no good. */
#ifndef BENCH_AIMS_H
#define BENCH_AIMS_H

#include "crowd.h"

struct crowd_aim *aims_read(const char *path, uint32_t *ret_count);
void aims_free(struct crowd_aim *aims, uint32_t count);

#endif

/*
 * Memory for libraries that don't survive running out of it: what they allocate in a run comes from one scratch pad,
 * which goes as a whole, and when there is no more the run is left at once, from inside the library.
 */
#ifndef EG_SCRATCH_H
#define EG_SCRATCH_H

#include <stdbool.h>

#include "eventgate/common.h"

/*
 * Calls `work`, in which the three functions below allocate from a pad of at most `max_bytes`. Everything allocated
 * there is gone when it returns; only what needs no other clean-up may be under way at an allocation. false: memory, or
 * the pad, ran out, and `work` did not get to its end. Runs of one thread don't nest. Any thread.
 */
bool eg_scratch_run(size_t max_bytes, void (*work)(void *context), void *context) EG_MUST_CHECK;

/* malloc(), realloc() and free() for a library. Outside of a run they are just that, and may return NULL. */
void *eg_scratch_alloc(size_t size);
void *eg_scratch_realloc(void *memory, size_t size);
void eg_scratch_free(void *memory);

#endif

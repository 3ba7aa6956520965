/* Payloads: JSON objects that begin with the time at which they were written, and have a length. */
#ifndef BENCH_PAYLOAD_H
#define BENCH_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

#define PAYLOAD_BYTES 8000

/* Writes one of `bytes`, at most PAYLOAD_BYTES - 1, and the NUL; returns its length. */
size_t payload_write(char to[PAYLOAD_BYTES], uint32_t bytes, uint64_t number);

/* When it was written (CLOCK_MONOTONIC, nanoseconds). 0: it isn't one. */
uint64_t payload_stamp(const char *payload);

#endif

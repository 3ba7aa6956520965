/*
 * A crowd of SSE readers in one thread: opens them, counts the events that each has had, and measures how old an event
 * is when it arrives.
 *
 * A payload is a JSON object that begins with {"t":NANOSECONDS of CLOCK_MONOTONIC. Every `data:` line with such an
 * object in it is an event, whatever the server has put around it; everything else (chunk framing, ids, comments) is
 * passed over, but gaps are counted.
 */
#ifndef BENCH_CROWD_H
#define BENCH_CROWD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "ages.h"

struct crowd;

/* A target of its own, and how many events a stream is to have from it. */
struct crowd_aim {
    uint64_t events;
    char *target;
};

struct crowd_options {
    struct sockaddr_in server;
    const char *target;           /* request target; `%u` in it is the number of the stream's channel */
    const struct crowd_aim *aims; /* else: stream i has that of i % aim_count */
    uint32_t aim_count;
    uint32_t streams; /* stream i reads channel i % channels */
    uint32_t channels;
    uint32_t per_address; /* streams from each of 127.0.1.1, 127.0.1.2 … */
    bool by_kernel; /* an event has arrived when the kernel says so, not when it's read: the server's part alone */
};

/* `epoll`: where its sockets are added, each with the crowd's own pointer. Exits with a sentence on failure. */
struct crowd *crowd_new(const struct crowd_options *options, int epoll);
void crowd_free(struct crowd *crowd);

/* Opens all streams; returns when every one has its response head. Seconds that it took. */
double crowd_open(struct crowd *crowd);

/* One of its sockets, `stream`, has something to read. */
void crowd_read(struct crowd *crowd, void *stream);

uint64_t crowd_deliveries(const struct crowd *crowd);
uint64_t crowd_bytes(const struct crowd *crowd);
uint64_t crowd_gaps(const struct crowd *crowd);
/* Events that every stream has had (of use with one channel). */
uint64_t crowd_complete(const struct crowd *crowd);
/* Streams that have had as many events as they aim at. */
uint32_t crowd_satisfied(const struct crowd *crowd);
/* Ages of the events at their arrival since the last call of crowd_forget_ages(). */
struct ages *crowd_ages(struct crowd *crowd);

#endif

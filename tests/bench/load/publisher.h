/*
 * Publishes events in one of three ways, always without waiting: through PostgreSQL (`postgres:CONNINFO`, pipelined
 * pg_notify, a transaction for each call), by HTTP (`http:ADDRESS:PORT/TARGET`, pipelined POSTs over one connection),
 * or as lines "CHANNEL PAYLOAD" (`lines:ADDRESS:PORT`, the raw writing loop).
 */
#ifndef BENCH_PUBLISHER_H
#define BENCH_PUBLISHER_H

#include <stdint.h>

struct publisher;

/* `channel`: a name, or with `%u` in it one for each channel number; in TARGET `%s` is the channel. `payload`: bytes of
 * each event. Exits with a sentence on failure. */
struct publisher *publisher_new(const char *where, const char *channel, uint32_t payload, int epoll);
void publisher_free(struct publisher *publisher);

/* Publishes `count` events, to channel numbers `first`, `first` + 1 … modulo `channels`. */
void publisher_send(struct publisher *publisher, uint32_t count, uint32_t first, uint32_t channels);

/* Its descriptor, which was added to `epoll` with the publisher's own pointer, is ready. */
void publisher_ready(struct publisher *publisher);

/* What it has handed over and the other side has not yet acknowledged; 0 for lines. */
uint64_t publisher_pending(const struct publisher *publisher);

#endif

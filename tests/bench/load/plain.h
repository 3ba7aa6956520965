/*
 * What programs do without a gateway, by libpq alone: the reference of durable channels. All print their results as one
 * line of JSON, and exit with a sentence on failure. They use a table `bench_plain(channel text, data json)` without
 * indexes, and commit as the server is configured to.
 */
#ifndef BENCH_PLAIN_H
#define BENCH_PLAIN_H

#include <stdint.h>

struct plain_options {
    const char *conninfo;
    const char *channel; /* of append: "%u" in it is the number of one of `channels` */
    unsigned channels, connections, payload, batch, seconds, warm_up;
};

/* `connections` that INSERT one row and NOTIFY, a transaction each, one after the other; another one LISTENs. */
void plain_insert(const struct plain_options *options);

/* One connection that appends `batch` events at a time by eventgate.append(). */
void plain_append(const struct plain_options *options);

/* One connection INSERTs a row and NOTIFYs, another one LISTENs; the next when that has arrived. How old it then is. */
void plain_listen(const struct plain_options *options);

#endif

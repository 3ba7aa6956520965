/* Connections that POST one event after the other, each as soon as the one before has been answered. */
#ifndef BENCH_POSTERS_H
#define BENCH_POSTERS_H

#include <netinet/in.h>
#include <stdint.h>

#include "ages.h"

struct posters;

/* Exits with a sentence on failure, as all of these do. An answer that isn't 2xx is one. */
struct posters *posters_new(struct sockaddr_in server, const char *target, uint32_t connections, uint32_t payload,
                            int epoll);
void posters_free(struct posters *posters);

void posters_begin(struct posters *posters);
/* One of its descriptors, added to `epoll` with the pointer `poster`, has something to read. */
void posters_ready(struct posters *posters, void *poster);

uint64_t posters_answered(const struct posters *posters);
struct ages *posters_ages(struct posters *posters);

#endif

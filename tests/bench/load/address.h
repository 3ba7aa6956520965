#ifndef BENCH_ADDRESS_H
#define BENCH_ADDRESS_H

#include <netinet/in.h>

/* Reads "127.0.0.1:8080" and what may follow it ("/events"), to which `ret_rest` then points. Exits with a sentence. */
struct sockaddr_in address_read(const char *text, const char **ret_rest);

#endif

#ifndef BENCH_ADDRESS_H
#define BENCH_ADDRESS_H

#include <netinet/in.h>

/* Reads "127.0.0.1:8080" and what may follow it ("/events"), to which `ret_rest` then points. Exits with a sentence. */
struct sockaddr_in address_read(const char *text, const char **ret_rest);

/* A socket that listens there, and doesn't block. Exits with a sentence. */
int address_listen(const char *text);

#endif

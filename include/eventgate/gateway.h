/*
 * The gateway as a whole: wires the layers together, owns the threads, and answers signals.
 */
#ifndef EG_GATEWAY_H
#define EG_GATEWAY_H

#include "eventgate/config.h"

/*
 * Runs the gateway until a signal ends it; returns the exit status: 0 drained, 1 could not start or run,
 * 2 would be open to everybody. SIGTERM and
 * SIGINT drain (the second one exits at once with 128 + its number), SIGHUP loads the configuration anew from the same
 * arguments, SIGUSR2 starts the program anew, which takes over. Takes over `config`. Main thread, once.
 */
int eg_gateway_run(struct eg_config *config, int argc, char *const *argv, char *const *environment);

/* What the configuration's own check cannot see: are the connection strings ones that libpq understands, can the files
 * of keys be read, and may it serve its addresses without any? 0, -ENOMEM, or -EINVAL with a sentence. Reads files. */
int eg_gateway_check(const struct eg_config *config, struct eg_error *ret_error) EG_MUST_CHECK;

/* For how many clients so many open files are enough, beside what the gateway needs itself; 0: it wouldn't start. */
uint64_t eg_gateway_room(const struct eg_config *config, uint64_t open_files);

#endif

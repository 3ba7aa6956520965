/* A private PostgreSQL for the tests of the postgres layer. */
#ifndef POSTGRES_FIXTURE_H
#define POSTGRES_FIXTURE_H

#include "eventgate/config.h"
#include "eventgate/loop.h"

/* Makes a cluster in a folder of its own, reachable by Unix socket, with the databases "postgres" (UTF-8) and "latin1",
 * and starts it; 0 or -1. For cmocka's group set-up. */
int postgres_start(void **state);
int postgres_stop(void **state);

/* Stops and starts the server in between. */
void postgres_halt(void);
void postgres_resume(void);

/* A set that reads from a database of it: names and patterns separated by commas, or "" for no live
 * channels; short times. */
struct eg_config *postgres_config(const char *database, const char *live, const char *more);

/* Runs SQL by psql in `database`; asserts that it succeeds. */
void postgres_run(const char *database, const char *sql);

/* The same for what returns one value; the caller's, to be freed. */
char *postgres_ask(const char *database, const char *sql);

/* Installs schema eventgate, or makes it anew where it is. */
void postgres_install(const char *database);

/* Turns the loop until `*condition`; fails the test after 20 s. */
void turn_until(struct eg_loop *loop, const bool *condition);

#endif

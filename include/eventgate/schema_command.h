/* `pg_eventgate schema ...`: installs, upgrades, checks and removes the schema that durable channels need. */
#ifndef EG_SCHEMA_COMMAND_H
#define EG_SCHEMA_COMMAND_H

/* `argv[1]` is "schema". Returns the exit status: 0 done (check: gateways of this program work with it, as this user),
 * 1 not done (check: something is amiss), 2 usage or configuration. Blocks. Main thread. */
int eg_schema_command(int argc, char *const *argv, char *const *environment);

#endif

/*
 * The script that installs or upgrades schema `eventgate`, as built from sql/.
 *
 * One transaction (BEGIN ... COMMIT) in ASCII, without psql's own commands: to be sent as one simple query. After an
 * error the session is in a failed transaction: send ROLLBACK, or close it.
 */
#ifndef EG_SCHEMA_SCRIPT_H
#define EG_SCHEMA_SCRIPT_H

#include <stddef.h>

extern const char eg_schema_script[];        /* NUL-terminated */
extern const size_t eg_schema_script_length; /* in bytes, without the NUL */
extern const int eg_schema_version;          /* what eventgate.version() returns once the script has run */

#endif

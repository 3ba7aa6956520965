/* `pg_eventgate doctor`: looks at everything that a gateway needs, and says what to do. */
#ifndef EG_DOCTOR_COMMAND_H
#define EG_DOCTOR_COMMAND_H

/* `argv[1]` is "doctor". Returns the exit status: 0 no errors, 1 errors, 2 usage. Blocks. Main thread. */
int eg_doctor_command(int argc, char *const *argv, char *const *environment);

#endif

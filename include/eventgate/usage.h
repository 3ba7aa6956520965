/*
 * What there is to say of the program beside its options: for --help and the manual. Tables that end with a term NULL.
 */
#ifndef EG_USAGE_H
#define EG_USAGE_H

/* Where a gateway is when nobody says otherwise. */
#define EG_DEFAULT_URL "http://127.0.0.1:8080"

struct eg_usage {
    const char *term;
    const char *text; /* sentences */
};

/* A command of the program beside serving. */
struct eg_usage_command {
    const char *name;      /* "tail" */
    const char *arguments; /* "CHANNEL..." */
    const char *summary;   /* a sentence */
    const char *text;      /* what `COMMAND --help` prints: lines of at most 118 bytes, for a fixed width */
};

extern const struct eg_usage_command eg_usage_commands[]; /* ends with a name NULL */
extern const struct eg_usage eg_usage_flags[];            /* those that are no options of the configuration */
extern const struct eg_usage eg_usage_signals[];
extern const struct eg_usage eg_usage_exits[];
extern const struct eg_usage eg_usage_variables[]; /* of the environment, beside the options' own */
extern const struct eg_usage eg_usage_files[];     /* as a package installs them */

/* Prints a command's text to standard output. Returns an exit status. */
int eg_usage_print(const char *name);

#endif

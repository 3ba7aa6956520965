/*
 * What there is to say of the program beside its options: for --help and the manual. Tables that end with a term NULL.
 */
#ifndef EG_USAGE_H
#define EG_USAGE_H

struct eg_usage {
    const char *term;
    const char *text; /* sentences */
};

extern const struct eg_usage eg_usage_commands[];
extern const struct eg_usage eg_usage_flags[]; /* those that are no options of the configuration */
extern const struct eg_usage eg_usage_signals[];
extern const struct eg_usage eg_usage_exits[];
extern const struct eg_usage eg_usage_variables[]; /* of the environment, beside the options' own */
extern const struct eg_usage eg_usage_files[];     /* as a package installs them */

#endif

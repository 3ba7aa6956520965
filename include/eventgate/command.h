/*
 * The commands of the program beside serving, as main() calls them. What is said of them: usage.h.
 */
#ifndef EG_COMMAND_H
#define EG_COMMAND_H

struct eg_command {
    const char *name;
    /* `argv[1]` is the name. Returns the exit status: 0 done, 1 not done, 2 usage or configuration. Blocks. Main
     * thread, before there is any other. */
    int (*run)(int argc, char *const *argv, char *const *environment);
};

/* The command of that name, or NULL. */
const struct eg_command *eg_command_find(const char *name);

#endif

/*
 * What the commands that talk to a gateway have in common: where it is, with what token, and how they are ended.
 */
#ifndef EG_CLIENT_OPTIONS_H
#define EG_CLIENT_OPTIONS_H

#include "eventgate/call.h"
#include "eventgate/flags.h"
#include "eventgate/usage.h"

/* Rows of a table of flags. */
#define EG_CLIENT_FLAGS(target)                                                                                        \
    {"url", 'u', EG_FLAG_TEXT, &(target).url}, {"token-file", 0, EG_FLAG_TEXT, &(target).token_file},                  \
        {"cacert", 0, EG_FLAG_TEXT, &(target).cacert},                                                                 \
    {                                                                                                                  \
        "no-verify", 0, EG_FLAG_YES, &(target).no_verify                                                               \
    }

/* What holds without flags: the environment's, and the defaults. Borrows from the environment. */
void eg_client_defaults(char *const *environment, struct eg_call_target *ret_target);

/* Is it a URL that can be called? Else prints a sentence, and returns false. */
bool eg_client_check(const char *command, const struct eg_call_target *target);

/* SIGINT and SIGTERM set eg_client_stopped from now on (a second one ends the program at once), and writing to a pipe
 * that nobody reads is an error instead of the end. */
extern volatile sig_atomic_t eg_client_stopped; /* 0, or the signal */
void eg_client_catch_signals(void);

/* To be returned by main(): `status`, unless a signal has stopped the command: then that signal ends it. */
int eg_client_exit(int status);

/* Waits, or until a signal comes; then false. */
bool eg_client_wait_ms(uint32_t ms);

#endif

/*
 * The table of options: name, type, default, limits, unit, text. Parser, help, environment, reload and the reference in
 * the README are made from it.
 */
#ifndef EG_OPTIONS_H
#define EG_OPTIONS_H

#include <stdbool.h>

#include "eventgate/config.h"

enum eg_option_scope { EG_OPTION_GATEWAY, EG_OPTION_SET };
enum eg_option_type {
    EG_OPTION_COUNT,   /* uint32_t */
    EG_OPTION_TIME,    /* uint32_t in ms: 500ms, 15s, 2min, 1h */
    EG_OPTION_SIZE,    /* uint32_t in bytes: 512, 16kB, 64MB, 1GB */
    EG_OPTION_SIZE_64, /* uint64_t */
    EG_OPTION_RATE,    /* uint32_t per hour: 10, 10/s, 30/min, 100/h; 0: no limit */
    EG_OPTION_CHOICE,  /* uint32_t: index into `choices` */
    EG_OPTION_FLAG,    /* uint32_t: yes or no; as a flag, without a value, yes */
    EG_OPTION_STRING,  /* char * */
    /* Those from here on are lists, with commas. */
    EG_OPTION_CHOICES,  /* uint32_t: bit set of indexes into `choices` */
    EG_OPTION_NETWORKS, /* struct eg_networks */
    EG_OPTION_LIVE,     /* the live channels of a set */
    EG_OPTION_DURABLE,  /* the durable ones */
    /* And those from here on a struct eg_config_list. */
    EG_OPTION_LIST,     /* of anything */
    EG_OPTION_LISTEN,   /* of addresses to listen on */
    EG_OPTION_PATTERNS, /* of channels */
    EG_OPTION_ORIGINS,  /* see eg_origin_problem() */
    EG_OPTION_HOSTS,    /* see eg_host_problem() */
};

struct eg_option {
    const char *name; /* INI key; the flag has dashes, the variable is EVENTGATE_NAME in capitals */
    enum eg_option_scope scope;
    enum eg_option_type type;
    size_t offset;              /* in struct eg_config or struct eg_config_set */
    const char *initial;        /* default, as text */
    uint64_t least, most;       /* limits of numbers */
    const char *const *choices; /* NULL-terminated, for CHOICE and CHOICES */
    bool reloads;               /* takes effect on SIGHUP */
    const char *placeholder;    /* in the help */
    const char *help;
};

extern const struct eg_option eg_options[];
extern const size_t eg_option_count;

/* Sets the option in `target` (the config, or a set) from text. -EINVAL with a sentence that says what would be right.
 */
int eg_option_set(const struct eg_option *option, void *target, const char *text,
                  struct eg_error *ret_error) EG_MUST_CHECK;

/* Is its value a list, with commas? */
bool eg_option_is_list(const struct eg_option *option);

/* The option of that name and scope, or NULL. */
const struct eg_option *eg_option_find(enum eg_option_scope scope, const char *name, size_t length);

/* The option of that scope whose name is the most like `name`; NULL: none is near. */
const struct eg_option *eg_option_nearest(enum eg_option_scope scope, const char *name);

/* Do two targets have the same value? */
bool eg_option_same(const struct eg_option *option, const void *a, const void *b);

/* Bytes of its value, of any type but LIVE and DURABLE. */
size_t eg_option_size(const struct eg_option *option);

/* Copies its value, of any type but LIVE and DURABLE. 0 or -ENOMEM. */
int eg_option_copy(const struct eg_option *option, void *to, const void *from) EG_MUST_CHECK;

/* "--journal-events", "EVENTGATE_JOURNAL_EVENTS" */
void eg_option_flag(const struct eg_option *option, char *ret_text, size_t size);
void eg_option_variable(const struct eg_option *option, char *ret_text, size_t size);

/* Frees what the options of this scope own in `target`. */
void eg_options_done(enum eg_option_scope scope, void *target);

#endif

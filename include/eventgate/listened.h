/*
 * The channels that a set's listener LISTENs to, or is to: the state of each, who wants it, and which are due. It sends
 * nothing and tells nobody. All functions: Postgres thread.
 *
 * A channel is known if the set lists it or if it has an eg_channel, else new: a client chose its name. It stands in
 * the list of its state:
 *     KNOWN, ASKED  WANTED, and known or new
 *     UNDER_WAY     LISTENING or LEAVING
 *     LINGERING     LISTENED, and nobody wants it any more; the first to leave first
 * or, LISTENED and to stay so, in none. Lists keep the order in which channels came to them.
 */
#ifndef EG_LISTENED_H
#define EG_LISTENED_H

#include "eventgate/channel.h"
#include "eventgate/config.h"

enum eg_listened_state {
    EG_LISTENED_WANTED,    /* to be LISTENed with the next command */
    EG_LISTENED_LISTENING, /* its LISTEN is under way */
    EG_LISTENED_LISTENED,  /* its LISTEN has committed */
    EG_LISTENED_LEAVING,   /* its UNLISTEN is under way */
};

enum eg_listened_list { EG_LIST_KNOWN, EG_LIST_ASKED, EG_LIST_UNDER_WAY, EG_LIST_LINGERING, EG_LIST_COUNT };

struct eg_listened {
    /* Written here only. */
    enum eg_listened_state state;
    bool permanent;    /* the set lists it: LISTENed for good */
    uint32_t wanting;  /* workers that want it */
    uint64_t leave_ms; /* LINGERING: UNLISTEN from then on */
    char *name;        /* NUL-terminated */
    size_t name_length;
    /* The listener's. `channel` may change while it is LISTENED or LEAVING. */
    struct eg_channel *channel; /* a reference; NULL before the first LISTEN has committed */
    uint64_t since;             /* place of its LISTEN */
    bool alone;                 /* a command with it and others was refused: it gets one of its own */
    uint64_t *wants;            /* one a worker: number of its unanswered want, or 0 */
};

struct eg_listened_table;

/* NULL: out of memory. */
struct eg_listened_table *eg_listened_table_new(uint32_t workers);

/* Frees its channels, too. Takes NULL. */
void eg_listened_table_free(struct eg_listened_table *table);

/* All of them, known and new. */
size_t eg_listened_count(const struct eg_listened_table *table);

/* A new one, WANTED. It must not be there yet. NULL: out of memory. */
struct eg_listened *eg_listened_add(struct eg_listened_table *table, const char *name, size_t length, bool permanent);
void eg_listened_remove(struct eg_listened_table *table, struct eg_listened *listened);

/* NULL: not there. */
struct eg_listened *eg_listened_find(const struct eg_listened_table *table, const char *name, size_t length);

/* Walks over all, from NULL to NULL. To remove one, ask for the next one first. */
struct eg_listened *eg_listened_next(const struct eg_listened_table *table, const struct eg_listened *listened);

/* The first of a list, or NULL. */
struct eg_listened *eg_listened_first(const struct eg_listened_table *table, enum eg_listened_list list);

bool eg_listened_is_known(const struct eg_listened *listened);

/* Its state changes, and it goes to the end of its new list; it lingers no more. */
void eg_listened_move(struct eg_listened_table *table, struct eg_listened *listened, enum eg_listened_state state);

/* A worker wants it, with an unanswered want of this number: it lingers no more. */
void eg_listened_want(struct eg_listened_table *table, struct eg_listened *listened, uint32_t worker, uint64_t want);

/* A worker wants it no more. Returns whether it should leave: nobody else wants it, and it isn't permanent. */
bool eg_listened_unwant(struct eg_listened *listened, uint32_t worker) EG_MUST_CHECK;

/* The set lists it from now on, and then it lingers no more; or no longer does. */
void eg_listened_set_permanent(struct eg_listened_table *table, struct eg_listened *listened, bool permanent);

/* It should leave: one that is LISTENED lingers until `leave_ms`; a new one that is WANTED is removed; any other waits
 * for what is under way. */
void eg_listened_leave(struct eg_listened_table *table, struct eg_listened *listened, uint64_t leave_ms);

/* Does the set have it, by name or by a pattern; and by name? */
bool eg_listened_is_of(const struct eg_listened *listened, const struct eg_config_set *set);
bool eg_listened_is_listed(const struct eg_listened *listened, const struct eg_config_set *set);
/* Those that the set lists by name are there, and permanent. False: out of memory. */
bool eg_listened_add_listed(struct eg_listened_table *table, const struct eg_config_set *set) EG_MUST_CHECK;

#endif

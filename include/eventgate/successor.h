/*
 * An upgrade, from the old process's side: the program is started anew beside this one, with copies of all listening
 * sockets (listening.h), and the two talk over a pair of sockets, a byte for each message:
 *
 *     new to old   EG_SUCCESSOR_STARTED   it could serve now: the configuration is good, its threads run
 *                  EG_SUCCESSOR_REACH     ends what it reaches of its databases (reach.h), which begins with
 *                                         EG_SUCCESSOR_REACHES; ten times a second, which shows, too, that it is alive
 *                  EG_SUCCESSOR_READY     and all that it needs is there
 *     old to new   EG_SUCCESSOR_SERVE     accept connections: the old one doesn't any more
 *
 * Until SERVE the new one accepts nothing, so that it can be ended at any moment without a client noticing. The end of
 * the pair before SERVE is the end of the other one: for the old one the upgrade has failed; the new one serves, since
 * nobody else does (predecessor.h).
 */
#ifndef EG_SUCCESSOR_H
#define EG_SUCCESSOR_H

#include <sys/types.h>

#include "eventgate/common.h"
#include "eventgate/listening.h"
#include "eventgate/loop.h"

#define EG_SUCCESSOR_STARTED 's'
#define EG_SUCCESSOR_READY 'r'
#define EG_SUCCESSOR_REACHES '('
#define EG_SUCCESSOR_REACH ')'
#define EG_SUCCESSOR_SERVE 'S'

/* Embedded; zero-initialise, then fill in the hooks. Main thread. */
struct eg_successor {
    /* It has said EG_SUCCESSOR_STARTED, EG_SUCCESSOR_READY, or EG_SUCCESSOR_REACH: `reach` has the text. */
    void (*told)(struct eg_successor *successor, char message);
    /* It has ended, in the way that the sentence says; nothing is left of it. */
    void (*ended)(struct eg_successor *successor, const char *sentence);
    /* Its own. */
    struct eg_loop *loop;
    struct eg_watch watch;
    pid_t pid; /* 0: there is none */
    int fd;
    struct eg_buffer reach;   /* what it has told last, whole */
    struct eg_buffer telling; /* what it is telling, */
    bool reaches;             /* if it is */
};

/*
 * Starts `path` with the arguments and the environment, to which it adds what is handed over; of all other descriptors
 * it gets the standard ones. Doesn't wait for it. 0, or a negative errno with a sentence. Costs no copy of this
 * process's memory; safe beside other threads.
 */
int eg_successor_start(struct eg_successor *successor, struct eg_loop *loop, const char *path, char *const *argv,
                       char *const *environment, const struct eg_listening *listening,
                       struct eg_error *ret_error) EG_MUST_CHECK;

/* Tells it to serve, and lets go of it: it is on its own. -EPIPE or the like: it has ended meanwhile, as `ended` will
 * say. */
int eg_successor_serve(struct eg_successor *successor) EG_MUST_CHECK;

/* Ends it at once, if there is one: it has never served anybody. Neither hook is called. */
void eg_successor_kill(struct eg_successor *successor);

#endif

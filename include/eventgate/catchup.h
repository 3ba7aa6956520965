/*
 * Reading the log for one subscriber that is behind the journal: a page at a time, asked for and held by its owner. The
 * worker's thread.
 */
#ifndef EG_CATCHUP_H
#define EG_CATCHUP_H

#include "eventgate/beginning.h"

struct eg_catchup_question;

/* Embedded in a stream or a poll; zero-initialise. */
struct eg_catchup {
    /* An answer: the owner takes over `page`, which may be NULL (out of memory), and hears of the gap. */
    void (*answered)(struct eg_catchup *catchup, const struct eg_log_request *answer);
    struct eg_catchup_question *asked; /* NULL: none under way */
    struct eg_log_page *page;          /* a reference, or NULL */
    size_t next;                       /* of the page's events: the first that isn't out */
    const struct eg_worker_set *set;   /* while it counts as catching up, from the first question on */
};

/* Asks for the events of the selection behind `position`. None may be under way; the page that is held is let go. 0 or
 * -ENOMEM. */
int eg_catchup_ask(struct eg_catchup *catchup, const struct eg_worker_set *set, struct eg_log_selection *selection,
                   uint64_t position) EG_MUST_CHECK;

/* Lets the page go. */
void eg_catchup_drop_page(struct eg_catchup *catchup);

/* Its owner has joined the journal. */
void eg_catchup_joined(struct eg_catchup *catchup);

/* Lets everything go; the answer to what is under way is for nobody. */
void eg_catchup_done(struct eg_catchup *catchup);

#endif

/*
 * What the files of the worker module share: worker.c (turns, drain), worker_feed.c (what the Postgres thread says),
 * worker_sets.c (sets that come and go). For nobody else.
 */
#ifndef EG_WORKER_INTERNAL_H
#define EG_WORKER_INTERNAL_H

#include "eventgate/worker.h"

/* Takes what there is in the set's feed. */
void eg_worker_take_feed(struct eg_worker_set *set);

/* At the end of a turn: tells the port of sets that are to go and that nobody uses any more. */
void eg_worker_let_sets_go(struct eg_worker *worker);

#endif

/*
 * What the service manager learns of the gateway, and when: READY=1 once it serves (whether or not the database is
 * there: clients get 503 and gaps meanwhile, and STATUS= says so in words), RELOADING=1 around a reload, STOPPING=1
 * when it drains, and WATCHDOG=1 as long as all loops turn. Where there is no manager, nothing of it costs anything.
 * All of it is for the main thread, on whose loop it runs.
 */
#ifndef EG_SUPERVISION_H
#define EG_SUPERVISION_H

#include <sys/types.h>

#include "eventgate/buffer.h"
#include "eventgate/loop.h"
#include "eventgate/notify.h"

struct eg_supervision;

/* `describe` adds what STATUS= says, in one line; asked once a second. NULL: out of memory. */
struct eg_supervision *eg_supervision_new(struct eg_loop *loop, void (*describe)(void *context, struct eg_buffer *text),
                                          void *context);
/* Takes NULL. */
void eg_supervision_free(struct eg_supervision *supervision);

/* From now on WATCHDOG=1 is said only if `watched` turns, or has been stopped. Its name (borrowed, of a loop that is
 * borrowed, too) is for the log. 0 or -ENOMEM. */
int eg_supervision_watch(struct eg_supervision *supervision, struct eg_loop *watched, const char *name) EG_MUST_CHECK;

/* It serves: begins to tell. */
void eg_supervision_ready(struct eg_supervision *supervision);
void eg_supervision_reloading(struct eg_supervision *supervision);
void eg_supervision_reloaded(struct eg_supervision *supervision);
/* It drains, and has ended in `timeout_ms` at the latest, for which the manager is asked to wait. */
void eg_supervision_stopping(struct eg_supervision *supervision, uint64_t timeout_ms);

/* From now on the process `pid` is the one that is looked after (MAINPID=), and tells of itself: this one says no more.
 */
void eg_supervision_hand_over(struct eg_supervision *supervision, pid_t pid);

#endif

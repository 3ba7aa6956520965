/*
 * Questions for pages of the log, from a worker to the Postgres thread and back.
 *
 * A question outlives its asker: it is allocated by itself, and freed when its answer arrives.
 */
#include "eventgate/catchup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct eg_catchup_question {
    struct eg_log_request request;
    struct eg_message message; /* the way back */
    struct eg_worker *worker;
    struct eg_catchup *owner; /* NULL: it has gone */
};

static void deliver(struct eg_message *message, void *context)
{
    struct eg_catchup_question *question = EG_CONTAINER_OF(message, struct eg_catchup_question, message);
    struct eg_catchup *owner = question->owner;
    (void)context;
    eg_loop_yield(question->worker->loop);
    if (owner) {
        owner->asked = NULL;
        owner->page = question->request.page;
        owner->next = 0;
        owner->answered(owner, &question->request);
    } else {
        eg_log_page_unref(question->request.page);
    }
    eg_log_selection_unref(question->request.selection);
    free(question);
}

/* On the Postgres thread: back to the worker. */
static void done(struct eg_log_request *request)
{
    struct eg_catchup_question *question = EG_CONTAINER_OF(request, struct eg_catchup_question, request);
    eg_mailbox_post(&question->worker->mailbox, &question->message);
}

int eg_catchup_ask(struct eg_catchup *catchup, const struct eg_worker_set *set, struct eg_log_selection *selection,
                   uint64_t position)
{
    const struct eg_worker_port *port = &set->worker->shared->port;
    struct eg_catchup_question *question = calloc(1, sizeof(*question));
    if (!question)
        return -ENOMEM;
    eg_catchup_drop_page(catchup);
    if (!catchup->set)
        eg_metrics_add(set->metrics, EG_METRIC_LOG_CATCHING_UP, 1);
    catchup->set = set;
    question->request.selection = eg_log_selection_ref(selection);
    memcpy(question->request.tag, eg_journal_tag(set->journal), sizeof(question->request.tag));
    question->request.after = position;
    question->request.done = done;
    question->message.deliver = deliver;
    question->worker = set->worker;
    question->owner = catchup;
    catchup->asked = question;
    port->read_log(port->context, set->index, &question->request);
    return 0;
}

void eg_catchup_drop_page(struct eg_catchup *catchup)
{
    eg_log_page_unref(catchup->page);
    catchup->page = NULL;
}

static void catches_up_no_more(struct eg_catchup *catchup)
{
    if (catchup->set)
        eg_metrics_add(catchup->set->metrics, EG_METRIC_LOG_CATCHING_UP, -1);
    catchup->set = NULL;
}

void eg_catchup_joined(struct eg_catchup *catchup)
{
    if (catchup->set)
        eg_metrics_add(catchup->set->metrics, EG_METRIC_LOG_CAUGHT_UP, 1);
    catches_up_no_more(catchup);
}

void eg_catchup_done(struct eg_catchup *catchup)
{
    catches_up_no_more(catchup);
    eg_catchup_drop_page(catchup);
    if (catchup->asked)
        catchup->asked->owner = NULL;
    catchup->asked = NULL;
}

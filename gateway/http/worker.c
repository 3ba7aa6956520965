/*
 * A worker's turn: take each set's feed and bring journal and index up to date; let pending subscriptions look again;
 * deliver the mailbox; flush every subscriber that lacks something; let libmicrohttpd run.
 *
 * Draining: nothing new is begun, streams end, waiting polls and subscriptions are answered, requests under way are
 * finished. The listening sockets stay open until nothing is left, so that nobody is refused a connection meanwhile;
 * then, or at the deadline, the loop stops. Where another process accepts the connections already, there is nobody to
 * refuse: whoever has a connection here gets answers until it is closed, behind one of them.
 */
#include "eventgate/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/assets.h"
#include "eventgate/log.h"
#include "eventgate/own_run.h"
#include "eventgate/policy.h"
#include "eventgate/poll.h"
#include "eventgate/stream.h"
#include "eventgate/stream_run.h"
#include "eventgate/subscribe.h"
#include "eventgate/tls.h"
#include "eventgate/worker_internal.h"

/* --- the turn ---------------------------------------------------------------------------------------------------- */

static bool is_idle(const struct eg_worker *worker)
{
    return worker->stream_count == 0 && eg_server_exchanges(worker->server) == 0 &&
           ((worker->refusing && worker->idle_over) || !eg_server_has_clients(worker->server));
}

static void drained(struct eg_worker *worker)
{
    struct eg_worker_shared *shared = worker->shared;
    if (!worker->drained) {
        worker->drained = true;
        shared->port.drained(shared->port.context);
    }
    if (atomic_load(&shared->drained))
        eg_loop_stop(worker->loop);
}

void eg_worker_publish(struct eg_worker *worker, struct eg_publication *publication)
{
    publication->next = NULL;
    *worker->last_published = publication;
    worker->last_published = &publication->next;
}

static void hand_over_published(struct eg_worker *worker)
{
    const struct eg_worker_port *port = &worker->shared->port;
    while (worker->published) {
        struct eg_publication *publication = worker->published;
        worker->published = publication->next;
        port->publish(port->context, publication);
    }
    worker->last_published = &worker->published;
}

static void turn(void *context)
{
    struct eg_worker *worker = context;
    struct eg_worker_set *set;
    worker->page_bytes = 0;
    for (set = eg_worker_next_set(worker, NULL); set; set = eg_worker_next_set(worker, set))
        eg_worker_take_feed(set);
    eg_mailbox_deliver(&worker->mailbox, worker);
    for (set = eg_worker_next_set(worker, NULL); set; set = eg_worker_next_set(worker, set)) {
        if (eg_subscribers_flush(set->subscribers))
            eg_loop_again(worker->loop);
        eg_delivery_times_settle(&set->delivery_times, set->metrics);
    }
    eg_server_turn(worker->server);
    hand_over_published(worker);
    eg_worker_let_sets_go(worker);
    if (worker->draining && is_idle(worker))
        drained(worker);
}

static void handle(void *context, struct eg_exchange *exchange)
{
    struct eg_worker *worker = context;
    bool posts = exchange->method == EG_METHOD_POST;
    if (exchange->route == EG_ROUTE_EVENTS || exchange->route == EG_ROUTE_CHANNEL) {
        if (posts)
            eg_publish_handle(worker, exchange);
        else
            eg_subscribe_handle(worker, exchange);
    } else if (exchange->route == EG_ROUTE_ASSET) {
        eg_asset_handle(exchange);
    } else {
        eg_admin_handle(worker, exchange);
    }
}

void eg_worker_run(struct eg_worker *worker)
{
    eg_loop_run(worker->loop);
    eg_server_stop_accepting(worker->server);
    eg_streams_close(worker);
}

/* --- messages from the main thread ------------------------------------------------------------------------------- */

static void drain_is_over(struct eg_timer *timer)
{
    struct eg_worker *worker = EG_CONTAINER_OF(timer, struct eg_worker, drain_deadline);
    eg_log(EG_LOG_WARN, "drain deadline: closing what is left", EG_LOG_INT("worker", worker->index),
           EG_LOG_INT("streams", worker->stream_count), EG_LOG_INT("requests", eg_server_exchanges(worker->server)));
    eg_loop_stop(worker->loop);
}

/* Whoever might be sending a next request, or, where nobody new is accepted, a first one, has had time to. */
static void idle_is_over(struct eg_timer *timer)
{
    struct eg_worker *worker = EG_CONTAINER_OF(timer, struct eg_worker, idle_deadline);
    worker->idle_over = true;
    eg_server_drain(worker->server);
}

static void drain(struct eg_message *message, void *context)
{
    struct eg_worker *worker = context;
    struct eg_worker_set *set;
    uint64_t now_ms = eg_loop_now_ms(worker->loop), timeout_ms = worker->settings.drain_timeout_ms;
    (void)message;
    worker->draining = true;
    worker->refusing = !atomic_load(&worker->shared->kept);
    /* Neither new connections that nobody accepts yet nor the end wait long for those that are idle. */
    uint64_t idle_ms = atomic_load(&worker->shared->handed_over) ? timeout_ms / 2 : timeout_ms / 20;
    worker->drain_deadline.fire = drain_is_over;
    worker->idle_deadline.fire = idle_is_over;
    if (eg_timer_set(worker->loop, &worker->drain_deadline, now_ms + timeout_ms) != 0 ||
        eg_timer_set(worker->loop, &worker->idle_deadline, now_ms + idle_ms) != 0)
        eg_loop_stop(worker->loop);
    if (worker->refusing)
        eg_server_close_behind_answers(worker->server);
    else
        eg_server_hand_over(worker->server);
    for (set = eg_worker_next_set(worker, NULL); set; set = eg_worker_next_set(worker, set)) {
        if (worker->refusing)
            eg_subscribe_shed_pending(set, EG_PROBLEM_DRAINING, "This gateway is shutting down. Try again.");
        eg_polls_answer(set);
    }
    eg_streams_end(worker);
}

void eg_worker_drain(struct eg_worker *worker)
{
    worker->drain_message.deliver = drain;
    eg_mailbox_post(&worker->mailbox, &worker->drain_message);
}

int eg_worker_listen(struct eg_worker *worker, const struct eg_listening *listening)
{
    int error = 0;
    for (size_t i = 0; !error && i < listening->count; i++)
        if (listening->sockets[i].worker < 0 || listening->sockets[i].worker == (int)worker->index)
            error = eg_server_listen(worker->server, &listening->sockets[i]);
    return error;
}

static void listen_now(struct eg_message *message, void *context)
{
    struct eg_worker *worker = context;
    (void)message;
    int error = eg_worker_listen(worker, worker->listening);
    if (error)
        eg_log(EG_LOG_ERROR, "a worker cannot listen", EG_LOG_INT("worker", worker->index),
               EG_LOG_STR("error", strerror(-error)));
}

void eg_worker_listen_soon(struct eg_worker *worker, const struct eg_listening *listening)
{
    worker->listening = listening;
    worker->listen_message.deliver = listen_now;
    eg_mailbox_post(&worker->mailbox, &worker->listen_message);
}

static void heed_revocations(struct eg_message *message, void *context)
{
    struct eg_worker *worker = context;
    struct eg_worker_set *set;
    (void)message;
    atomic_store(&worker->heeding, false); /* first: what is revoked from now on sends another message */
    eg_streams_heed_tokens(worker);
    for (set = eg_worker_next_set(worker, NULL); set; set = eg_worker_next_set(worker, set)) {
        eg_polls_heed_tokens(set);
        eg_subscribe_retry(set);
    }
}

void eg_worker_heed_revocations(struct eg_worker *worker)
{
    if (atomic_exchange(&worker->heeding, true))
        return;
    worker->revocations_message.deliver = heed_revocations;
    eg_mailbox_post(&worker->mailbox, &worker->revocations_message);
}

struct new_tls {
    struct eg_message message;
    struct eg_tls *tls;
};

static void take_tls(struct eg_message *message, void *context)
{
    struct new_tls *new_tls = EG_CONTAINER_OF(message, struct new_tls, message);
    struct eg_worker *worker = context;
    if (worker->server)
        eg_server_use_tls(worker->server, new_tls->tls);
    else
        eg_tls_unref(new_tls->tls);
    free(new_tls);
}

int eg_worker_use_tls(struct eg_worker *worker, struct eg_tls *tls)
{
    struct new_tls *new_tls = calloc(1, sizeof(*new_tls));
    if (!new_tls)
        return -ENOMEM;
    new_tls->message.deliver = take_tls;
    new_tls->tls = eg_tls_ref(tls);
    eg_mailbox_post(&worker->mailbox, &new_tls->message);
    return 0;
}

/* --- making and freeing ------------------------------------------------------------------------------------------ */

struct eg_worker *eg_worker_new(uint32_t index, struct eg_worker_shared *shared)
{
    struct eg_worker *worker = calloc(1, sizeof(*worker));
    if (!worker)
        return NULL;
    worker->index = index;
    snprintf(worker->name, sizeof(worker->name), "worker %u", index);
    worker->shared = shared;
    worker->config = eg_config_ref(shared->config);
    worker->settings = shared->config->settings;
    worker->policy = eg_policy_ref(shared->policy);
    TAILQ_INIT(&worker->streams);
    worker->last_published = &worker->published;
    worker->metrics = eg_metrics_new(NULL);
    worker->loop = eg_loop_new();
    worker->sets = calloc(shared->place_count, sizeof(struct eg_worker_set *));
    worker->run = eg_stream_run_new();
    worker->own_run = eg_own_run_new();
    bool made = worker->metrics && worker->loop && worker->sets && worker->run && worker->own_run;
    if (worker->loop)
        eg_mailbox_init(&worker->mailbox, worker->loop);
    for (; made && worker->set_count < shared->config->set_count; worker->set_count++) {
        worker->sets[worker->set_count] = eg_worker_set_new(worker, shared->config, worker->set_count);
        made = worker->sets[worker->set_count] != NULL;
    }
    if (made)
        worker->server = eg_server_new(&(struct eg_server_options){worker->loop,
                                                                   &worker->settings,
                                                                   &worker->policy,
                                                                   shared->tls,
                                                                   shared->counts,
                                                                   &shared->bodies,
                                                                   worker->metrics,
                                                                   {handle, worker}});
    if (!worker->server) {
        eg_log(EG_LOG_ERROR, "worker cannot start", EG_LOG_INT("worker", index), EG_LOG_STR("error", strerror(errno)));
        eg_worker_free(worker);
        return NULL;
    }
    eg_loop_on_turn(worker->loop, turn, worker);
    eg_loop_measure(worker->loop, worker->metrics, EG_METRIC_TURN_WORKER, EG_METRIC_DELAY_WORKER);
    return worker;
}

void eg_worker_close(struct eg_worker *worker)
{
    eg_server_free(worker->server); /* every exchange that is left says goodbye to its owner */
    worker->server = NULL;          /* nothing more can be published */
}

void eg_worker_free(struct eg_worker *worker)
{
    if (!worker)
        return;
    eg_worker_close(worker);
    if (worker->loop) {
        eg_mailbox_deliver(&worker->mailbox, worker); /* answers that came too late */
        eg_mailbox_done(&worker->mailbox);
    }
    for (uint32_t i = 0; worker->sets && i < worker->shared->place_count; i++)
        eg_worker_set_free(worker->sets[i]);
    free(worker->sets);
    eg_stream_run_free(worker->run);
    eg_own_run_free(worker->own_run);
    eg_metrics_free(worker->metrics);
    eg_loop_free(worker->loop);
    eg_policy_unref(worker->policy);
    eg_config_free(worker->config);
    free(worker);
}

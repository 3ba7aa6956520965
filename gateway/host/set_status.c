/*
 * The facts about a set's connections, behind a lock.
 */
#include "eventgate/set_status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int eg_set_status_init(struct eg_set_status *status)
{
    memset(status, 0, sizeof(*status));
    status->channels = eg_channel_table_new();
    if (!status->channels)
        return -ENOMEM;
    status->facts.listener_state = "new";
    status->facts.publisher_state = "new";
    status->facts.reader_state = status->facts.appender_state = "";
    status->facts.queue_usage = -1;
    int error = pthread_mutex_init(&status->lock, NULL);
    return error ? -error : 0;
}

void eg_set_status_done(struct eg_set_status *status)
{
    if (!status->channels)
        return;
    eg_channel_table_free(status->channels);
    status->channels = NULL;
    pthread_mutex_destroy(&status->lock);
}

struct eg_set_facts eg_set_status_read(struct eg_set_status *status)
{
    pthread_mutex_lock(&status->lock);
    struct eg_set_facts facts = status->facts;
    pthread_mutex_unlock(&status->lock);
    return facts;
}

bool eg_set_facts_ready(const struct eg_set_facts *facts, const struct eg_config_set *set)
{
    return (set->live_count == 0 || (facts->listening && facts->publishing)) &&
           (set->durable_count == 0 || (facts->reading && facts->appending));
}

void eg_set_status_describe(struct eg_set_status *statuses, const struct eg_config *config, struct eg_buffer *text)
{
    size_t ready = 0, lacking = 0, count = 0;
    struct eg_set_facts first = {.problem = ""};
    for (size_t i = config->set_count; i-- > 0;) {
        if (!config->sets[i].name)
            continue;
        count++;
        struct eg_set_facts facts = eg_set_status_read(&statuses[i]);
        if (eg_set_facts_ready(&facts, &config->sets[i])) {
            ready++;
        } else {
            lacking = i;
            first = facts;
        }
    }
    if (ready == count) {
        eg_buffer_add_format(text, "Serving: %zu channel set%s ready", ready, ready == 1 ? " is" : "s are");
        return;
    }
    const char *problem = first.problem[0] ? first.problem : first.log_problem;
    eg_buffer_add_format(text, "Serving: %zu of %zu channel sets ready; set %s: %s", ready, count,
                         config->sets[lacking].name, problem[0] ? problem : "connecting to PostgreSQL");
}

void eg_set_status_head(struct eg_set_status *status, struct eg_epoch *ret_epoch, uint64_t *ret_head)
{
    pthread_mutex_lock(&status->lock);
    *ret_epoch = status->facts.epoch;
    *ret_head = status->facts.head;
    pthread_mutex_unlock(&status->lock);
}

void eg_set_status_set_head(struct eg_set_status *status, const struct eg_epoch *epoch, uint64_t head)
{
    pthread_mutex_lock(&status->lock);
    status->facts.epoch = *epoch;
    status->facts.head = head;
    pthread_mutex_unlock(&status->lock);
}

void eg_set_status_set_listener(struct eg_set_status *status, bool listening, const char *state, const char *problem)
{
    pthread_mutex_lock(&status->lock);
    status->facts.listening = listening;
    status->facts.listener_state = state;
    snprintf(status->facts.problem, sizeof(status->facts.problem), "%s", problem ? problem : "");
    pthread_mutex_unlock(&status->lock);
}

void eg_set_status_set_publisher(struct eg_set_status *status, bool publishing, const char *state)
{
    pthread_mutex_lock(&status->lock);
    status->facts.publishing = publishing;
    status->facts.publisher_state = state;
    pthread_mutex_unlock(&status->lock);
}

void eg_set_status_set_reader(struct eg_set_status *status, bool reading, const char *state, const char *problem)
{
    pthread_mutex_lock(&status->lock);
    status->facts.reading = reading;
    status->facts.reader_state = state;
    snprintf(status->facts.log_problem, sizeof(status->facts.log_problem), "%s", problem ? problem : "");
    pthread_mutex_unlock(&status->lock);
}

void eg_set_status_set_appender(struct eg_set_status *status, bool appending, const char *state)
{
    pthread_mutex_lock(&status->lock);
    status->facts.appending = appending;
    status->facts.appender_state = state;
    pthread_mutex_unlock(&status->lock);
}

void eg_set_status_set_log(struct eg_set_status *status, const char *tag, uint64_t position)
{
    pthread_mutex_lock(&status->lock);
    snprintf(status->facts.tag, sizeof(status->facts.tag), "%s", tag);
    status->facts.position = position;
    pthread_mutex_unlock(&status->lock);
}

void eg_set_status_set_queue_usage(struct eg_set_status *status, double usage)
{
    pthread_mutex_lock(&status->lock);
    status->facts.queue_usage = usage;
    pthread_mutex_unlock(&status->lock);
}

void eg_set_status_count_session(struct eg_set_status *status)
{
    pthread_mutex_lock(&status->lock);
    if (status->facts.sessions++ > 0)
        status->facts.reconnects++;
    pthread_mutex_unlock(&status->lock);
}

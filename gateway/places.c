/*
 * The sets' places: how a set comes to all threads, and goes from them (gateway_internal.h has the states).
 *
 * Everything that needs memory is made before anything is posted, so that a change happens whole or not at all. A new
 * set is opened on the Postgres thread first; only then the workers hear of it, so whatever they wish of it finds it
 * there. One that goes is left by the workers first, then closed on the Postgres thread, which feeds it until then, and
 * at last dropped by the workers.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/config_change.h"
#include "eventgate/gateway_internal.h"
#include "eventgate/log.h"
#include "eventgate/policy.h"

#define NOWHERE SIZE_MAX

static void enter(struct eg_gateway *gateway, struct eg_place *place, enum eg_place_state state, uint32_t waiting)
{
    static const char *const names[] = {"FREE", "OPENING", "RUNNING", "LEAVING", "CLOSING", "DROPPING"};
    static const enum eg_place_state before[][2] = {[EG_PLACE_FREE] = {EG_PLACE_DROPPING, EG_PLACE_CLOSING},
                                                    [EG_PLACE_OPENING] = {EG_PLACE_FREE, EG_PLACE_FREE},
                                                    [EG_PLACE_RUNNING] = {EG_PLACE_OPENING, EG_PLACE_FREE},
                                                    [EG_PLACE_LEAVING] = {EG_PLACE_RUNNING, EG_PLACE_RUNNING},
                                                    [EG_PLACE_CLOSING] = {EG_PLACE_LEAVING, EG_PLACE_OPENING},
                                                    [EG_PLACE_DROPPING] = {EG_PLACE_CLOSING, EG_PLACE_CLOSING}};
    bool allowed = false;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(before[0]); i++)
        allowed = allowed || before[state][i] == place->state;
    if (!allowed) {
        eg_log(EG_LOG_ERROR, "impossible state of a set", EG_LOG_STR("set", place->row->name),
               EG_LOG_STR("from", names[place->state]), EG_LOG_STR("to", names[state]));
        eg_log_stop(); /* the line is to be seen */
        abort();       /* a bug of ours */
    }
    eg_log(EG_LOG_DEBUG, "set", EG_LOG_STR("set", place->row->name), EG_LOG_STR("state", names[state]),
           EG_LOG_INT("place", (uint64_t)(place - gateway->places)));
    place->state = state;
    atomic_store(&place->waiting, waiting);
}

/* --- making and freeing ------------------------------------------------------------------------------------------ */

/* What its set is in; takes a reference. */
static void use(struct eg_place *place, struct eg_config *config, size_t number)
{
    struct eg_config *before = place->config;
    place->config = eg_config_ref(config);
    place->row = &config->sets[number];
    eg_config_free(before);
}

static void clear(struct eg_gateway *gateway, uint32_t number)
{
    struct eg_place *place = &gateway->places[number];
    eg_set_status_done(&gateway->shared.statuses[number]);
    eg_postgres_opening_free(place->opening);
    eg_postgres_closing_free(place->closing);
    eg_postgres_configuring_free(place->configuring);
    free(place->sets);
    eg_config_free(place->config);
    *place = (struct eg_place){.revoking = -1};
}

/* What every set needs here, whichever thread it is for. */
static int fill(struct eg_gateway *gateway, uint32_t number, struct eg_config *config)
{
    struct eg_place *place = &gateway->places[number];
    place->revoking = -1;
    use(place, config, number);
    place->sets = calloc(gateway->shared.worker_count, sizeof(struct eg_worker_set *));
    place->closing = eg_postgres_closing_new(number);
    int error = place->sets && place->closing ? eg_set_status_init(&gateway->shared.statuses[number]) : -ENOMEM;
    if (error)
        clear(gateway, number);
    return error;
}

int eg_places_make(struct eg_gateway *gateway)
{
    gateway->places = calloc(gateway->shared.place_count, sizeof(*gateway->places));
    gateway->shared.statuses = calloc(gateway->shared.place_count, sizeof(*gateway->shared.statuses));
    int error = gateway->places && gateway->shared.statuses ? 0 : -ENOMEM;
    for (uint32_t i = 0; !error && i < gateway->config->set_count; i++)
        error = fill(gateway, i, gateway->config);
    return error;
}

void eg_places_run(struct eg_gateway *gateway)
{
    for (uint32_t i = 0; i < gateway->config->set_count; i++) {
        for (uint32_t w = 0; w < gateway->shared.worker_count; w++)
            gateway->places[i].sets[w] = gateway->workers[w]->sets[i];
        enter(gateway, &gateway->places[i], EG_PLACE_RUNNING, 0);
    }
}

void eg_change_done(struct eg_gateway *gateway)
{
    struct eg_change *change = &gateway->change;
    for (uint32_t w = 0; change->workers && w < gateway->shared.worker_count; w++)
        eg_worker_change_free(change->workers[w]);
    free(change->workers);
    change->workers = NULL;
    for (uint32_t i = 0; gateway->places && i < gateway->shared.place_count; i++) {
        eg_postgres_configuring_free(gateway->places[i].configuring);
        gateway->places[i].configuring = NULL;
    }
    eg_policy_unref(change->policy);
    eg_config_free(change->config);
    eg_tls_unref(change->tls);
    eg_buffer_done(&change->noted);
    *change = (struct eg_change){.again = change->again, .noted = EG_BUFFER_INIT};
}

void eg_places_free(struct eg_gateway *gateway)
{
    eg_change_done(gateway);
    for (uint32_t i = 0; gateway->places && i < gateway->shared.place_count; i++)
        if (gateway->places[i].config)
            clear(gateway, i);
    free(gateway->places);
    free(gateway->shared.statuses);
}

/* --- revocations ------------------------------------------------------------------------------------------------- */

static bool same_database(const struct eg_place *a, const struct eg_place *b)
{
    return strcmp(a->row->postgres, b->row->postgres) == 0;
}

/* Another place in that state which reads those of the same database; NULL: none. */
static const struct eg_place *reader_beside(const struct eg_gateway *gateway, const struct eg_place *place,
                                            enum eg_place_state state)
{
    for (uint32_t i = 0; i < gateway->shared.place_count; i++) {
        const struct eg_place *other = &gateway->places[i];
        if (other->state == state && other != place && other->revoking >= 0 && same_database(other, place))
            return other;
    }
    return NULL;
}

int eg_places_read_revocations(struct eg_gateway *gateway)
{
    for (uint32_t i = 0; i < gateway->shared.place_count; i++) {
        struct eg_place *place = &gateway->places[i];
        if (place->state != EG_PLACE_RUNNING || place->revoking >= 0 || !eg_postgres_side_revokes(place->row) ||
            reader_beside(gateway, place, EG_PLACE_RUNNING))
            continue;
        const struct eg_place *going = reader_beside(gateway, place, EG_PLACE_LEAVING);
        int number = eg_postgres_side_read_revocations(gateway->postgres, i, going ? going->revoking : -1);
        if (number < 0)
            return number;
        place->revoking = number;
    }
    return 0;
}

/* --- a change ---------------------------------------------------------------------------------------------------- */

static size_t place_of_running(const struct eg_gateway *gateway, const struct eg_config_set *set)
{
    for (size_t i = 0; i < gateway->shared.place_count; i++) {
        const struct eg_place *place = &gateway->places[i];
        if (place->state == EG_PLACE_RUNNING && strcmp(place->row->name, set->name) == 0 &&
            eg_config_set_goes_on(place->row, set))
            return i;
    }
    return NOWHERE;
}

/* A free one from `from` on. */
static size_t free_place(const struct eg_gateway *gateway, size_t from)
{
    while (from < gateway->shared.place_count && gateway->places[from].state != EG_PLACE_FREE)
        from++;
    return from;
}

int eg_places_arrange(struct eg_gateway *gateway, struct eg_config *loaded, struct eg_error *ret_error)
{
    size_t *places = calloc(loaded->set_count, sizeof(*places)), free_from = 0, count = 0;
    int result = places ? 0 : -ENOMEM;
    for (size_t i = 0; !result && i < loaded->set_count; i++) {
        places[i] = place_of_running(gateway, &loaded->sets[i]);
        if (places[i] == NOWHERE) {
            places[i] = free_place(gateway, free_from);
            free_from = places[i] + 1;
        }
        if (places[i] >= gateway->shared.place_count)
            result = -EINVAL;
        count = places[i] + 1 > count ? places[i] + 1 : count;
    }
    if (!result)
        result = eg_config_arrange(loaded, places, count);
    if (result)
        snprintf(ret_error->sentence, sizeof(ret_error->sentence), "%s",
                 result == -ENOMEM ? "out of memory"
                                   : "there are too many sets at once, with those whose streams are still ending: try "
                                     "again later, or upgrade (SIGUSR2)");
    ret_error->sqlstate[0] = '\0';
    free(places);
    return result;
}

static bool is_new(const struct eg_gateway *gateway, uint32_t number)
{
    const struct eg_config *config = gateway->change.config;
    return gateway->places[number].state == EG_PLACE_FREE && number < config->set_count && config->sets[number].name;
}

static bool goes_on(const struct eg_gateway *gateway, uint32_t number)
{
    const struct eg_config *config = gateway->change.config;
    return gateway->places[number].state == EG_PLACE_RUNNING && number < config->set_count && config->sets[number].name;
}

/* A new set, for all threads. */
static int prepare_set(struct eg_gateway *gateway, uint32_t number)
{
    struct eg_place *place = &gateway->places[number];
    struct eg_change *change = &gateway->change;
    int error = fill(gateway, number, change->config);
    if (error)
        return error;
    place->opening = eg_postgres_opening_new(gateway->postgres, change->config, number);
    for (uint32_t w = 0; place->opening && w < gateway->shared.worker_count; w++) {
        place->sets[w] = eg_worker_change_add(change->workers[w], number);
        if (!place->sets[w])
            return -ENOMEM;
        eg_postgres_opening_feed(place->opening, w, place->sets[w]->feed);
    }
    return place->opening ? 0 : -ENOMEM;
}

int eg_places_prepare(struct eg_gateway *gateway)
{
    struct eg_change *change = &gateway->change;
    int error = 0;
    change->workers = calloc(gateway->shared.worker_count, sizeof(struct eg_worker_change *));
    for (uint32_t w = 0; change->workers && w < gateway->shared.worker_count; w++) {
        change->workers[w] = eg_worker_change_new(gateway->workers[w], change->config, change->policy);
        error = change->workers[w] ? error : -ENOMEM;
    }
    error = change->workers ? error : -ENOMEM;
    for (uint32_t i = 0; !error && i < gateway->shared.place_count; i++) {
        if (is_new(gateway, i))
            error = prepare_set(gateway, i);
        else if (goes_on(gateway, i) &&
                 !(gateway->places[i].configuring = eg_postgres_configuring_new(change->config, i)))
            error = -ENOMEM;
    }
    for (uint32_t i = 0; error && i < gateway->shared.place_count; i++)
        if (gateway->places[i].state == EG_PLACE_FREE && gateway->places[i].config)
            clear(gateway, i);
    return error;
}

void eg_places_open(struct eg_gateway *gateway)
{
    size_t count = 0;
    for (uint32_t i = 0; i < gateway->shared.place_count; i++) {
        struct eg_place *place = &gateway->places[i];
        if (place->state != EG_PLACE_FREE || !place->opening)
            continue;
        struct eg_postgres_opening *opening = place->opening;
        place->opening = NULL;
        enter(gateway, place, EG_PLACE_OPENING, 1);
        eg_postgres_side_open(gateway->postgres, opening);
        count++;
    }
    if (count == 0)
        eg_gateway_reloaded(gateway, true);
}

static void configure(struct eg_gateway *gateway, struct eg_place *place)
{
    struct eg_postgres_configuring *configuring = place->configuring;
    place->configuring = NULL;
    eg_postgres_side_configure(gateway->postgres, configuring);
}

void eg_places_apply(struct eg_gateway *gateway)
{
    struct eg_change *change = &gateway->change;
    for (uint32_t i = 0; i < gateway->shared.place_count; i++) {
        struct eg_place *place = &gateway->places[i];
        if (place->state == EG_PLACE_RUNNING && !goes_on(gateway, i))
            enter(gateway, place, EG_PLACE_LEAVING, gateway->shared.worker_count);
        else if (place->state == EG_PLACE_OPENING)
            enter(gateway, place, EG_PLACE_RUNNING, 0);
        else if (place->state == EG_PLACE_RUNNING)
            configure(gateway, place);
        if (place->state == EG_PLACE_RUNNING)
            use(place, change->config, i);
    }
    for (uint32_t w = 0; w < gateway->shared.worker_count; w++) {
        eg_worker_apply(change->workers[w]);
        change->workers[w] = NULL;
    }
    eg_change_done(gateway);
}

static void close_place(struct eg_gateway *gateway, struct eg_place *place)
{
    struct eg_postgres_closing *closing = place->closing;
    place->closing = NULL;
    enter(gateway, place, EG_PLACE_CLOSING, 1);
    eg_postgres_side_close(gateway->postgres, closing);
}

void eg_places_give_up(struct eg_gateway *gateway)
{
    gateway->change.given_up = true;
    for (uint32_t i = 0; i < gateway->shared.place_count; i++) {
        struct eg_place *place = &gateway->places[i];
        if (place->state != EG_PLACE_OPENING)
            continue;
        place->given_up = true;
        close_place(gateway, place); /* of what wasn't made there is nothing, which is closed as well */
    }
}

/* --- answers ----------------------------------------------------------------------------------------------------- */

void eg_places_answered(void *context, uint32_t place)
{
    struct eg_gateway *gateway = context;
    atomic_fetch_sub(&gateway->places[place].waiting, 1);
    eg_loop_wake(gateway->loop);
}

void eg_places_opened(void *context, uint32_t place, bool made)
{
    struct eg_gateway *gateway = context;
    atomic_store(&gateway->places[place].failed, !made);
    eg_places_answered(context, place);
}

/* Is there another one of its name? */
static bool is_replaced(const struct eg_gateway *gateway, const struct eg_place *place)
{
    for (uint32_t i = 0; i < gateway->shared.place_count; i++) {
        const struct eg_place *other = &gateway->places[i];
        if (other->state == EG_PLACE_RUNNING && strcmp(other->row->name, place->row->name) == 0)
            return true;
    }
    return false;
}

/* All that were asked have answered. */
static void go_on(struct eg_gateway *gateway, uint32_t number)
{
    struct eg_place *place = &gateway->places[number];
    if (place->state == EG_PLACE_LEAVING) {
        close_place(gateway, place);
    } else if (place->state == EG_PLACE_CLOSING && !place->given_up) {
        enter(gateway, place, EG_PLACE_DROPPING, gateway->shared.worker_count);
        for (uint32_t w = 0; w < gateway->shared.worker_count; w++)
            eg_worker_drop_set(gateway->workers[w], place->sets[w]);
    } else if (place->state == EG_PLACE_DROPPING || place->state == EG_PLACE_CLOSING) {
        eg_log(EG_LOG_INFO, is_replaced(gateway, place) ? "the set has been replaced" : "the set is gone",
               EG_LOG_STR("set", place->row->name));
        enter(gateway, place, EG_PLACE_FREE, 0);
        clear(gateway, number);
    }
}

void eg_places_turn(struct eg_gateway *gateway)
{
    size_t opening = 0, failed = 0, opened = 0, given_up = 0;
    for (uint32_t i = 0; i < gateway->shared.place_count; i++) {
        struct eg_place *place = &gateway->places[i];
        if (place->state == EG_PLACE_FREE || place->state == EG_PLACE_RUNNING)
            continue;
        bool answered = atomic_load(&place->waiting) == 0;
        if (place->state == EG_PLACE_OPENING) {
            opening++;
            opened += answered;
            failed += answered && atomic_load(&place->failed);
        } else if (answered) {
            go_on(gateway, i);
        }
        given_up += place->given_up;
    }
    if (opening > 0 && opened == opening)
        eg_gateway_reloaded(gateway, failed == 0);
    else if (gateway->change.given_up && given_up == 0)
        eg_change_done(gateway); /* with what the Postgres thread fed */
}

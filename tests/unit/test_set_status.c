/* The facts about a set: each writer's part, and copies that are of one moment. */
#include "eventgate/set_status.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 20000

static struct eg_set_status status;

static int set_up(void **state)
{
    (void)state;
    return eg_set_status_init(&status);
}

static int tear_down(void **state)
{
    (void)state;
    eg_set_status_done(&status);
    return 0;
}

static void at_first_nothing_is_known(void **state)
{
    struct eg_set_facts facts = eg_set_status_read(&status);
    (void)state;
    assert_false(facts.listening);
    assert_false(facts.publishing);
    assert_string_equal(facts.listener_state, "new");
    assert_string_equal(facts.publisher_state, "new");
    assert_string_equal(facts.problem, "");
    assert_string_equal(facts.epoch.text, "");
    assert_int_equal(facts.head, 0);
    assert_true(facts.queue_usage < 0);
    assert_int_equal(eg_channel_table_count(status.channels), 0);
}

static void the_listener_s_part(void **state)
{
    (void)state;
    eg_set_status_set_publisher(&status, true, "READY");
    eg_set_status_set_listener(&status, false, "BACKOFF", "The server refused the connection.");
    struct eg_set_facts facts = eg_set_status_read(&status);
    assert_false(facts.listening);
    assert_string_equal(facts.listener_state, "BACKOFF");
    assert_string_equal(facts.problem, "The server refused the connection.");
    eg_set_status_set_listener(&status, true, "LIVE", NULL);
    facts = eg_set_status_read(&status);
    assert_true(facts.listening);
    assert_string_equal(facts.listener_state, "LIVE");
    assert_string_equal(facts.problem, "");
    assert_true(facts.publishing); /* the publisher's part stays */
    assert_string_equal(facts.publisher_state, "READY");
}

static void a_problem_is_a_copy_that_is_cut(void **state)
{
    char problem[600];
    (void)state;
    memset(problem, 'p', sizeof(problem) - 1);
    problem[sizeof(problem) - 1] = '\0';
    eg_set_status_set_listener(&status, false, "BACKOFF", problem);
    problem[0] = 'x';
    struct eg_set_facts facts = eg_set_status_read(&status);
    assert_int_equal(strlen(facts.problem), sizeof(facts.problem) - 1);
    assert_int_equal(facts.problem[0], 'p');
}

static void the_publisher_s_part(void **state)
{
    (void)state;
    eg_set_status_set_listener(&status, true, "LIVE", NULL);
    eg_set_status_set_publisher(&status, false, "BACKOFF");
    struct eg_set_facts facts = eg_set_status_read(&status);
    assert_true(facts.listening);
    assert_false(facts.publishing);
    assert_string_equal(facts.publisher_state, "BACKOFF");
}

static void every_session_after_the_first_is_a_reconnect(void **state)
{
    (void)state;
    for (uint64_t session = 1; session <= 3; session++) {
        eg_set_status_count_session(&status);
        struct eg_set_facts facts = eg_set_status_read(&status);
        assert_int_equal(facts.sessions, session);
        assert_int_equal(facts.reconnects, session - 1);
    }
}

static void queue_usage_and_head(void **state)
{
    struct eg_epoch epoch = eg_epoch_new(), got;
    uint64_t head;
    (void)state;
    eg_set_status_set_queue_usage(&status, 0.25);
    eg_set_status_set_head(&status, &epoch, EG_CURSOR_NUMBER_BOUND - 1);
    struct eg_set_facts facts = eg_set_status_read(&status);
    assert_true(facts.queue_usage > 0.24 && facts.queue_usage < 0.26);
    assert_int_equal(facts.head, EG_CURSOR_NUMBER_BOUND - 1);
    eg_set_status_head(&status, &got, &head);
    assert_string_equal(got.text, epoch.text);
    assert_int_equal(head, EG_CURSOR_NUMBER_BOUND - 1);
}

/* The epoch's text tells the head that was stored with it. */
static void *store_heads(void *context)
{
    struct eg_epoch epoch;
    (void)context;
    for (uint64_t head = 1; head <= ROUNDS; head++) {
        snprintf(epoch.text, sizeof(epoch.text), "%010u", (unsigned)head);
        eg_set_status_set_head(&status, &epoch, head);
        eg_set_status_set_listener(&status, head % 2, "LIVE", head % 2 ? NULL : "No connection.");
    }
    return NULL;
}

static void a_copy_is_of_one_moment(void **state)
{
    pthread_t writer;
    uint64_t head = 0;
    (void)state;
    assert_int_equal(pthread_create(&writer, NULL, store_heads, NULL), 0);
    while (head < ROUNDS) {
        struct eg_epoch epoch;
        uint64_t before = head;
        unsigned number = 0;
        eg_set_status_head(&status, &epoch, &head);
        assert_true(head >= before);
        if (head > 0)
            assert_int_equal(sscanf(epoch.text, "%u", &number), 1);
        assert_int_equal(number, head);
        struct eg_set_facts facts = eg_set_status_read(&status);
        assert_int_equal(facts.listening, strcmp(facts.listener_state, "LIVE") == 0 && facts.problem[0] == '\0');
    }
    pthread_join(writer, NULL);
}

static void assert_described(struct eg_set_status *statuses, const struct eg_config *config, const char *expected)
{
    struct eg_buffer text = EG_BUFFER_INIT;
    eg_set_status_describe(statuses, config, &text);
    char *words = eg_buffer_take(&text, NULL);
    assert_string_equal(words, expected);
    free(words);
}

static void readiness_in_words(void **state)
{
    struct eg_set_status statuses[2];
    struct eg_config_set sets[2] = {{.name = (char[]){"live"}, .live_count = 1},
                                    {.name = (char[]){"both"}, .live_count = 1, .durable_count = 1}};
    struct eg_config config = {.sets = sets, .set_count = 2};
    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(eg_set_status_init(&statuses[i]), 0);
    assert_described(statuses, &config, "Serving: 0 of 2 channel sets ready; set live: connecting to PostgreSQL");
    eg_set_status_set_listener(&statuses[0], true, "LIVE", NULL);
    eg_set_status_set_publisher(&statuses[0], true, "LIVE");
    eg_set_status_set_listener(&statuses[1], true, "LIVE", NULL);
    eg_set_status_set_publisher(&statuses[1], true, "LIVE");
    eg_set_status_set_reader(&statuses[1], false, "AWAY", "no schema eventgate");
    eg_set_status_set_appender(&statuses[1], true, "LIVE");
    assert_described(statuses, &config, "Serving: 1 of 2 channel sets ready; set both: no schema eventgate");
    eg_set_status_set_reader(&statuses[1], true, "LIVE", NULL);
    assert_described(statuses, &config, "Serving: 2 channel sets are ready");
    config.set_count = 1;
    assert_described(statuses, &config, "Serving: 1 channel set is ready");
    eg_set_status_set_publisher(&statuses[0], false, "AWAY");
    assert_described(statuses, &config, "Serving: 0 of 1 channel sets ready; set live: connecting to PostgreSQL");
    for (int i = 0; i < 2; i++)
        eg_set_status_done(&statuses[i]);
}

static void half_built_objects_can_be_done(void **state)
{
    struct eg_set_status zero;
    (void)state;
    memset(&zero, 0, sizeof(zero));
    eg_set_status_done(&zero);
    assert_int_equal(eg_set_status_init(&zero), 0);
    eg_set_status_done(&zero);
    eg_set_status_done(&zero);
}

#define WITH_STATUS(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_STATUS(at_first_nothing_is_known),
        WITH_STATUS(the_listener_s_part),
        WITH_STATUS(a_problem_is_a_copy_that_is_cut),
        WITH_STATUS(the_publisher_s_part),
        WITH_STATUS(every_session_after_the_first_is_a_reconnect),
        WITH_STATUS(queue_usage_and_head),
        WITH_STATUS(a_copy_is_of_one_moment),
        cmocka_unit_test(readiness_in_words),
        cmocka_unit_test(half_built_objects_can_be_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* A connection's way to READY and back, against a real PostgreSQL. */
#include "eventgate/connection.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "postgres_fixture.h"

struct probe {
    struct eg_loop *loop;
    struct eg_config *config;
    struct eg_connection *connection;
    char states[256]; /* their names, in order */
    char problem[256];
    char value[64];
    char sqlstate[6];
    bool is_ready, is_lost, is_finished, is_waiting, is_idle, is_connecting;
};

static void ready(void *context)
{
    ((struct probe *)context)->is_ready = true;
}

static void notified(void *context, const char *channel, const char *payload)
{
    (void)context, (void)channel, (void)payload;
}

static void result(void *context, const struct eg_result *result)
{
    struct probe *probe = context;
    snprintf(probe->value, sizeof(probe->value), "%s", result->value ? result->value : "");
    if (result->kind == EG_RESULT_ERROR)
        memcpy(probe->sqlstate, result->error->sqlstate, sizeof(probe->sqlstate));
}

static void finished(void *context)
{
    ((struct probe *)context)->is_finished = true;
}

static void idle(void *context)
{
    ((struct probe *)context)->is_idle = true;
}

static void lost(void *context)
{
    ((struct probe *)context)->is_lost = true;
}

static void state_changed(void *context, const char *name, const char *problem)
{
    struct probe *probe = context;
    size_t length = strlen(probe->states);
    snprintf(probe->states + length, sizeof(probe->states) - length, "%s ", name);
    snprintf(probe->problem, sizeof(probe->problem), "%s", problem ? problem : "");
    probe->is_waiting = strcmp(name, "WAITING") == 0;
    probe->is_connecting = strcmp(name, "CONNECTING") == 0;
}

static struct probe *open_probe(const char *more)
{
    struct probe *probe = calloc(1, sizeof(*probe));
    assert_non_null(probe);
    const struct eg_connection_hooks hooks = {probe,    ready, notified, NULL,          result,
                                              finished, idle,  lost,     state_changed, NULL};
    probe->config = postgres_config("postgres", "a", more);
    probe->loop = eg_loop_new();
    probe->connection = eg_connection_new(probe->loop, &probe->config->sets[0], "test", &hooks);
    assert_non_null(probe->connection);
    return probe;
}

static void close_probe(struct probe *probe)
{
    eg_connection_free(probe->connection);
    eg_loop_free(probe->loop);
    eg_config_free(probe->config);
    free(probe);
}

static void it_connects_checks_and_answers(void **state)
{
    (void)state;
    struct probe *probe = open_probe("");
    turn_until(probe->loop, &probe->is_ready);
    assert_string_equal(probe->states, "CONNECTING CHECKING READY ");
    eg_connection_query(probe->connection,
                        "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()");
    turn_until(probe->loop, &probe->is_finished);
    assert_string_equal(probe->value, "pg_eventgate unit test");
    probe->is_finished = false;
    eg_connection_query(probe->connection, "SELECT 1/0");
    turn_until(probe->loop, &probe->is_finished);
    assert_string_equal(probe->sqlstate, "22012");
    assert_true(eg_connection_is_ready(probe->connection));
    close_probe(probe);
}

static void an_idle_connection_says_so(void **state)
{
    (void)state;
    struct probe *probe = open_probe("postgres_heartbeat = 50ms\n");
    turn_until(probe->loop, &probe->is_idle);
    assert_true(probe->is_ready);
    close_probe(probe);
}

static void a_server_that_does_not_answer_is_given_up(void **state)
{
    (void)state;
    struct probe *probe = open_probe("");
    probe->config->sets[0].query_timeout_ms = 100;
    turn_until(probe->loop, &probe->is_ready);
    eg_connection_query(probe->connection, "SELECT pg_sleep(60)");
    turn_until(probe->loop, &probe->is_lost);
    assert_non_null(strstr(probe->problem, "query_timeout"));
    probe->is_ready = false;
    turn_until(probe->loop, &probe->is_ready); /* starts over by itself */
    close_probe(probe);
}

static void an_absent_server_is_waited_for(void **state)
{
    (void)state;
    postgres_halt();
    struct probe *probe = open_probe("");
    turn_until(probe->loop, &probe->is_waiting);
    assert_false(probe->is_lost); /* it never was ready */
    assert_true(strlen(probe->problem) > 0);
    postgres_resume();
    turn_until(probe->loop, &probe->is_ready);
    close_probe(probe);
}

/* Fails when it is ready, and is ready again: for how long it waited in between, in ms. */
static uint64_t delay_after_a_failure(struct probe *probe)
{
    uint64_t since_ms = eg_monotonic_ms();
    probe->is_ready = false;
    eg_connection_fail(probe->connection, "of no use");
    turn_until(probe->loop, &probe->is_connecting);
    uint64_t delay_ms = eg_monotonic_ms() - since_ms;
    turn_until(probe->loop, &probe->is_ready);
    return delay_ms;
}

static void until_it_is_settled_it_waits_longer_and_longer(void **state)
{
    (void)state;
    struct probe *probe = open_probe("");
    uint64_t end_ms = eg_monotonic_ms() + 60000;
    turn_until(probe->loop, &probe->is_ready);
    while (delay_after_a_failure(probe) < 500) /* the first delay is 100 ms at most */
        assert_true(eg_monotonic_ms() < end_ms);
    assert_string_equal(probe->problem, "of no use"); /* it still says why */
    eg_connection_settle(probe->connection);
    assert_true(delay_after_a_failure(probe) < 500);
    close_probe(probe);
}

static void freeing_while_connecting_is_safe(void **state)
{
    (void)state;
    struct probe *probe = open_probe("");
    eg_loop_turn(probe->loop, 0);
    assert_string_equal(probe->states, "CONNECTING ");
    close_probe(probe);
}

static void conninfo_is_checked(void **state)
{
    (void)state;
    struct eg_error error;
    assert_int_equal(eg_connection_check_conninfo("", &error), 0);
    assert_int_equal(eg_connection_check_conninfo("host=a,b dbname=x", &error), 0);
    assert_int_equal(eg_connection_check_conninfo("postgresql://u@h/db?sslmode=require", &error), 0);
    assert_int_equal(eg_connection_check_conninfo("nonsense", &error), -EINVAL);
    assert_int_equal(eg_connection_check_conninfo("hostt=a", &error), -EINVAL);
    assert_null(strchr(error.sentence, '\n'));
}

static void what_libpq_quotes_of_a_conninfo_is_left_out(void **state)
{
    struct eg_error error;
    (void)state;
    assert_int_equal(eg_connection_check_conninfo("host=a password=two secrets", &error), -EINVAL);
    assert_string_equal(error.sentence, "missing \"=\" after \"...\" in connection info string");
    assert_int_equal(eg_connection_check_conninfo("host=a password=two secrets=", &error), -EINVAL);
    assert_string_equal(error.sentence, "invalid connection option \"...\"");
    assert_int_equal(eg_connection_check_conninfo("postgresql://u:%zzsecret@h/d", &error), -EINVAL);
    assert_null(strstr(error.sentence, "secret"));
}

static void the_log_has_no_sentence_that_may_quote_data(void **state)
{
    static const char *const quoting[] = {"22P02", "23505", "P0001"}, *const others[] = {"42501", "53200", "", "54000"};
    struct eg_error error = {.sentence = "a sentence"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(quoting); i++) {
        strcpy(error.sqlstate, quoting[i]);
        assert_null(eg_connection_loggable(&error));
    }
    for (size_t i = 0; i < EG_ARRAY_LENGTH(others); i++) {
        strcpy(error.sqlstate, others[i]);
        assert_string_equal(eg_connection_loggable(&error), "a sentence");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_libpq_quotes_of_a_conninfo_is_left_out),
        cmocka_unit_test(the_log_has_no_sentence_that_may_quote_data),
        cmocka_unit_test(it_connects_checks_and_answers),
        cmocka_unit_test(an_idle_connection_says_so),
        cmocka_unit_test(a_server_that_does_not_answer_is_given_up),
        cmocka_unit_test(an_absent_server_is_waited_for),
        cmocka_unit_test(until_it_is_settled_it_waits_longer_and_longer),
        cmocka_unit_test(freeing_while_connecting_is_safe),
        cmocka_unit_test(conninfo_is_checked),
    };
    eg_log_configure(EG_LOG_ERROR, EG_LOG_TEXT);
    return cmocka_run_group_tests(tests, postgres_start, postgres_stop);
}

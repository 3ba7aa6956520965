/* The blocking connection: what it returns, and how it says what PostgreSQL says. */
#include "eventgate/connection_admin.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "postgres_fixture.h"

static struct eg_error error;

static struct eg_admin *connected(void)
{
    struct eg_config *config = postgres_config("postgres", "x", "");
    struct eg_admin *admin = eg_admin_connect(config->sets[0].postgres, &error);
    eg_config_free(config);
    if (!admin)
        fail_msg("%s", error.sentence);
    return admin;
}

static void the_first_row_of_the_last_run(void **state)
{
    struct eg_admin *admin = connected();
    (void)state;
    assert_string_equal(eg_admin_value(admin, 0), "");
    assert_int_equal(eg_admin_run(admin, "SELECT 7, NULL, 'ünï' UNION ALL SELECT 8, '', ''", &error), 0);
    assert_string_equal(eg_admin_value(admin, 0), "7");
    assert_string_equal(eg_admin_value(admin, 1), "");
    assert_string_equal(eg_admin_value(admin, 2), "ünï");
    assert_string_equal(eg_admin_value(admin, 3), "");
    assert_int_equal(eg_admin_run(admin, "BEGIN; SELECT 9; COMMIT", &error), 0);
    assert_string_equal(eg_admin_value(admin, 0), "");
    assert_int_equal(eg_admin_run(admin, "", &error), 0);
    assert_int_equal(eg_admin_run(admin, "SELECT current_setting('application_name')", &error), 0);
    assert_string_equal(eg_admin_value(admin, 0), "pg_eventgate schema");
    eg_admin_close(admin);
}

static void errors_have_message_detail_and_hint(void **state)
{
    struct eg_admin *admin = connected();
    (void)state;
    assert_int_equal(eg_admin_run(admin,
                                  "DO $$ BEGIN RAISE 'The message.' USING DETAIL = 'The detail.', HINT = 'The hint.', "
                                  "ERRCODE = 'insufficient_privilege'; END $$",
                                  &error),
                     -EIO);
    assert_string_equal(error.sentence, "The message. The detail. The hint.");
    assert_string_equal(error.sqlstate, "42501");
    assert_string_equal(eg_admin_value(admin, 0), "");
    assert_int_equal(eg_admin_run(admin, "DO $$ BEGIN RAISE '%', repeat('x', 2000); END $$", &error), -EIO);
    assert_int_equal(strlen(error.sentence), sizeof(error.sentence) - 1);
    assert_int_equal(eg_admin_run(admin, "SELECT pg_terminate_backend(pg_backend_pid())", &error), -EIO);
    assert_int_equal(eg_admin_run(admin, "SELECT 1", &error), -EIO);
    assert_true(error.sentence[0] != '\0' && error.sentence[strlen(error.sentence) - 1] != '\n');
    assert_string_equal(error.sqlstate, "");
    eg_admin_close(admin);
}

static void no_connection(void **state)
{
    (void)state;
    assert_null(eg_admin_connect("host=/nonexistent", &error));
    assert_non_null(strstr(error.sentence, "/nonexistent"));
    assert_null(eg_admin_connect("no such=keyword", &error));
    assert_true(error.sentence[0] != '\0');
    eg_admin_close(NULL);
}

static void hosts_of(const char *conninfo, size_t expected, struct eg_admin_host **ret_hosts)
{
    size_t count;
    assert_int_equal(eg_admin_hosts(conninfo, ret_hosts, &count, &error), 0);
    assert_int_equal(count, expected);
}

static void the_hosts_of_a_connection_string(void **state)
{
    struct eg_admin_host *hosts;
    (void)state;
    hosts_of("host=/tmp/none,127.0.0.1,db.invalid port=1,2,3", 3, &hosts);
    assert_string_equal(hosts[0].host, "/tmp/none");
    assert_string_equal(hosts[2].host, "db.invalid");
    assert_string_equal(hosts[1].port, "2");
    assert_string_equal(hosts[2].port, "3");
    free(hosts);
    hosts_of("postgresql://127.0.0.1:1,127.0.0.2/x", 2, &hosts);
    assert_string_equal(hosts[0].port, "1");
    assert_string_equal(hosts[1].host, "127.0.0.2");
    free(hosts);
    hosts_of("host=a,b hostaddr=127.0.0.1,127.0.0.2 port=1", 2, &hosts); /* one port is for all */
    assert_string_equal(hosts[1].hostaddr, "127.0.0.2");
    assert_string_equal(hosts[1].port, "1");
    free(hosts);
    hosts_of("host=/tmp/none,", 2, &hosts); /* an empty one is the default */
    assert_string_equal(hosts[1].host, "");
    free(hosts);
}

static void one_host_alone(void **state)
{
    struct eg_config *config = postgres_config("postgres", "x", "");
    const char *conninfo = config->sets[0].postgres;
    struct eg_admin_host *hosts, away = {.host = "/nonexistent", .port = "5432"};
    size_t count;
    (void)state;
    assert_int_equal(eg_admin_hosts(conninfo, &hosts, &count, &error), 0);
    assert_int_equal(count, 1);
    struct eg_admin *admin = eg_admin_connect_host(conninfo, &hosts[0], 3000, &error);
    assert_non_null(admin);
    struct eg_admin_facts facts = eg_admin_facts(admin);
    assert_true(facts.is_local && !facts.used_password && facts.server_version >= 140000);
    assert_string_equal(facts.tls, "");
    assert_int_equal(eg_admin_run(admin, "SELECT pg_backend_pid() UNION ALL SELECT 0 ORDER BY 1", &error), 0);
    assert_int_equal(eg_admin_rows(admin), 2);
    assert_string_equal(eg_admin_cell(admin, 0, 0), "0");
    assert_int_equal(atoi(eg_admin_cell(admin, 1, 0)), facts.session);
    assert_string_equal(eg_admin_cell(admin, 2, 0), "");
    eg_admin_close(admin);
    assert_null(eg_admin_connect_host(conninfo, &away, 3000, &error)); /* whatever the connection string says */
    assert_non_null(strstr(error.sentence, "/nonexistent"));
    free(hosts);
    eg_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hosts_of_a_connection_string),
        cmocka_unit_test(one_host_alone),
        cmocka_unit_test(the_first_row_of_the_last_run),
        cmocka_unit_test(errors_have_message_detail_and_hint),
        cmocka_unit_test(no_connection),
    };
    return cmocka_run_group_tests(tests, postgres_start, postgres_stop);
}

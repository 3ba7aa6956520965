/* Which channels a subscription means. */
#include "eventgate/selection.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct eg_config *config;

static int set_up(void **state)
{
    static const char text[] =
        "[set shop]\nlive = orders, stock/new, stock/old\n[set chat]\nlive = chat/*, chat/lobby\n";
    struct eg_error error;
    (void)state;
    return eg_config_parse(text, sizeof(text) - 1, &config, &error);
}

static int tear_down(void **state)
{
    (void)state;
    eg_config_free(config);
    return 0;
}

/* Selects the channels of a space-separated list; returns the result, and the names that were selected. */
static int select_all(const char *list, struct eg_selection *selection, char *names)
{
    struct eg_bytes channels[8];
    struct eg_subscription_request request = {.channels = channels};
    for (const char *at = list; *at; at += strspn(at, " ")) {
        size_t length = strcspn(at, " ");
        channels[request.channel_count++] = (struct eg_bytes){at, length};
        at += length;
    }
    int error = eg_selection_make(config, &request, selection);
    names[0] = '\0';
    for (size_t i = 0; !error && i < selection->count; i++) {
        strncat(names, selection->channels[i].name.data, selection->channels[i].name.length);
        strcat(names, selection->channels[i].exact ? "! " : " ");
    }
    return error;
}

static void names_and_patterns_become_channels_of_one_set(void **state)
{
    static const struct {
        const char *asked, *set, *selected;
    } rows[] = {
        {"orders", "shop", "orders! "},
        {"stock/*", "shop", "stock/new! stock/old! "},
        {"stock/* orders stock/new", "shop", "orders! stock/new! stock/old! "},
        {"orders *", "shop", "orders! "},
        {"chat/a chat/lobby", "chat", "chat/a chat/lobby! "},
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        struct eg_selection selection;
        char names[512];
        assert_int_equal(select_all(rows[i].asked, &selection, names), 0);
        assert_string_equal(config->sets[selection.set].name, rows[i].set);
        assert_string_equal(names, rows[i].selected);
        eg_selection_done(&selection);
    }
}

static void what_no_set_has_is_unknown(void **state)
{
    static const char *const rows[] = {"nope", "chat", "chat/a/b", "nope/*",
                                       "chat/0123456789012345678901234567890123456789012345678901234567890123456789"};
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        struct eg_selection selection;
        char names[512];
        assert_int_equal(select_all(rows[i], &selection, names), -ENOENT);
        assert_memory_equal(selection.unknown.data, rows[i], strlen(rows[i]));
    }
}

static void what_cannot_be_one_stream_is_refused(void **state)
{
    static const struct {
        const char *asked, *says;
    } rows[] = {
        {"orders chat/a", "another channel set"},
        {"**", "several sets"},
        {"*/new", "several sets"},
        {"chat/*", "by name"},
        {"chat/lobby chat/**", "by name"},
    };
    (void)state;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(rows); i++) {
        struct eg_selection selection;
        char names[512];
        assert_int_equal(select_all(rows[i].asked, &selection, names), -EINVAL);
        assert_int_equal(eg_problem_status(selection.refusal.problem), 400);
        assert_non_null(strstr(selection.refusal.detail, rows[i].says));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_patterns_become_channels_of_one_set),
        cmocka_unit_test(what_no_set_has_is_unknown),
        cmocka_unit_test(what_cannot_be_one_stream_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

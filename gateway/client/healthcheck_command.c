/*
 * `pg_eventgate healthcheck`: one question, one line, one exit status; for what looks after containers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/client_commands.h"
#include "eventgate/client_options.h"
#include "eventgate/json_value.h"

#define COMMAND "healthcheck"
#define TIMEOUT_MS 3000

enum { EXIT_USAGE = 2 };

struct words {
    char text[600];
    size_t length;
};

static void add(struct words *words, const char *set, const char *problem)
{
    if (problem[0] && words->length < sizeof(words->text) / 2)
        words->length += (size_t)snprintf(words->text + words->length, sizeof(words->text) - words->length,
                                          "; set %.32s: %.200s", set, problem);
}

static void read_answer(void *context, const struct eg_json_value *value)
{
    struct words *words = context;
    const struct eg_json_value *sets = eg_json_member(value, "sets");
    words->length =
        (size_t)snprintf(words->text, sizeof(words->text), "%.60s", eg_json_string(eg_json_member(value, "status")));
    for (size_t i = 0; i < eg_json_count(sets); i++) {
        const struct eg_json_value *set = eg_json_item(sets, i);
        const char *name = eg_json_string(eg_json_member(set, "name"));
        add(words, name, eg_json_string(eg_json_member(set, "problem")));
        add(words, name, eg_json_string(eg_json_member(set, "log_problem")));
    }
}

/* Prints the line. Is the answer what is wished for? */
static bool tell(const char *url, const struct eg_call_answer *answer)
{
    struct words words = {.length = 0};
    char type[40];
    bool well = answer->outcome == EG_CALL_ANSWERED && answer->status == 200;
    if (answer->outcome != EG_CALL_ANSWERED) {
        snprintf(words.text, sizeof(words.text), "%s", answer->problem);
    } else if (answer->body.length == 0 ||
               eg_json_read(answer->body.data, answer->body.length, read_answer, &words) != 0 || !words.text[0]) {
        eg_call_problem(answer, words.text, sizeof(words.text), type);
        well = false;
    }
    printf("%s: %s\n", url, words.text);
    return fflush(stdout) == 0 && well;
}

static void ask(struct eg_caller *caller, const char *path, uint32_t timeout_ms, struct eg_call_answer *ret_answer)
{
    const struct eg_call_request request = {.method = "GET", .path = path, .timeout_ms = timeout_ms};
    eg_caller_call(caller, &request, ret_answer);
}

int eg_healthcheck_command(int argc, char *const *argv, char *const *environment)
{
    struct eg_call_target target;
    struct eg_call_answer answer;
    uint32_t timeout_ms = TIMEOUT_MS;
    bool help, live = false;
    char *const *words;
    size_t word_count;
    eg_client_defaults(environment, &target);
    target.direct = true;
    const struct eg_flag flags[] = {
        EG_CLIENT_FLAGS(target), {"live", 0, EG_FLAG_YES, &live}, {"timeout", 0, EG_FLAG_TIME, &timeout_ms}};
    if (eg_flags_read(argc, argv, flags, EG_ARRAY_LENGTH(flags), &words, &word_count, &help) != 0)
        return EXIT_USAGE;
    if (help)
        return eg_usage_print(COMMAND);
    if (word_count > 0)
        return eg_complain(COMMAND, "%s: takes flags only.", words[0]);
    if (!eg_client_check(COMMAND, &target))
        return EXIT_USAGE;
    struct eg_caller *caller = eg_caller_new(&target);
    if (!caller) {
        eg_complain(COMMAND, "out of memory");
        return EXIT_FAILURE;
    }
    ask(caller, live ? "/livez" : "/healthz", timeout_ms, &answer);
    if (answer.status == 421) { /* not by this name: the bare answer is given by any */
        eg_call_answer_done(&answer);
        ask(caller, "/readyz", timeout_ms, &answer);
    }
    bool well = tell(target.url, &answer);
    eg_call_answer_done(&answer);
    eg_caller_free(caller);
    return well ? EXIT_SUCCESS : EXIT_FAILURE;
}

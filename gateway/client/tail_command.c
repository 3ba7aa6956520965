/*
 * `pg_eventgate tail`: its command line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/client_commands.h"
#include "eventgate/client_options.h"
#include "eventgate/tail.h"

#define COMMAND "tail"
#define IDLE_MS 60000

enum { EXIT_USAGE = 2 };

static int check(const struct eg_tail *tail, bool raw)
{
    static const char *const formats[] = {"event", "raw", "cloudevents"};
    bool known = false;
    for (size_t i = 0; i < EG_ARRAY_LENGTH(formats); i++)
        known |= strcmp(tail->payload, formats[i]) == 0;
    if (!known)
        return eg_complain(COMMAND, "--format %s: there is event, raw and cloudevents.", tail->payload);
    if (raw && strcmp(tail->payload, "cloudevents") == 0)
        return eg_complain(COMMAND, "--raw and --format cloudevents: give one or the other.");
    if (tail->channel_count == 0)
        return eg_complain(COMMAND, "which channel? As in: pg_eventgate tail orders");
    return eg_client_check(COMMAND, tail->target) ? 0 : EXIT_USAGE;
}

int eg_tail_command(int argc, char *const *argv, char *const *environment)
{
    struct eg_call_target target;
    struct eg_tail tail = {.target = &target, .payload = "event", .idle_ms = IDLE_MS};
    bool help, raw = false;
    eg_client_defaults(environment, &target);
    const struct eg_flag flags[] = {EG_CLIENT_FLAGS(target),
                                    {"after", 0, EG_FLAG_TEXT, &tail.after},
                                    {"cursor-file", 0, EG_FLAG_TEXT, &tail.cursor_file},
                                    {"limit", 'n', EG_FLAG_NUMBER, &tail.limit},
                                    {"format", 0, EG_FLAG_TEXT, &tail.payload},
                                    {"raw", 0, EG_FLAG_YES, &raw},
                                    {"progress", 0, EG_FLAG_YES, &tail.progress},
                                    {"idle", 0, EG_FLAG_TIME, &tail.idle_ms},
                                    {"quiet", 'q', EG_FLAG_YES, &tail.quiet}};
    if (eg_flags_read(argc, argv, flags, EG_ARRAY_LENGTH(flags), &tail.channels, &tail.channel_count, &help) != 0)
        return EXIT_USAGE;
    if (help)
        return eg_usage_print(COMMAND);
    int result = check(&tail, raw);
    if (result)
        return result;
    if (raw)
        tail.payload = "raw";
    eg_client_catch_signals();
    return eg_client_exit(eg_tail_run(&tail));
}

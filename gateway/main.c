/*
 * The command line: what to do, and the exit status.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "eventgate/call.h"
#include "eventgate/command.h"
#include "eventgate/config.h"
#include "eventgate/gateway.h"
#include "eventgate/process.h"
#include "eventgate/server.h"

enum { EXIT_USAGE = 2 };

static int print_help(void)
{
    struct eg_buffer text = EG_BUFFER_INIT;
    eg_config_help(&text);
    bool printed = !text.failed && fwrite(text.data, 1, text.length, stdout) == text.length && fflush(stdout) == 0;
    eg_buffer_done(&text);
    return printed ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int print_version(void)
{
    int printed = printf("pg_eventgate " EG_VERSION " (libmicrohttpd %s, libcurl %s)\n", eg_server_library_version(),
                         eg_call_library_version());
    return printed > 0 && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    struct eg_config *config = NULL;
    enum eg_config_action action;
    struct eg_error error;
    if (eg_process_fill_standard() != 0)
        return EXIT_FAILURE;
    const struct eg_command *command = argc > 1 ? eg_command_find(argv[1]) : NULL;
    if (command)
        return command->run(argc, argv, environ);
    if (eg_config_load(argc, argv, environ, &config, &action, &error) != 0) {
        fprintf(stderr, "pg_eventgate: %s\n", error.sentence);
        return EXIT_USAGE;
    }
    switch (action) {
    case EG_CONFIG_HELP:
        return print_help();
    case EG_CONFIG_VERSION:
        return print_version();
    case EG_CONFIG_CHECK:
    case EG_CONFIG_RUN:
        break;
    }
    if (eg_gateway_check(config, &error) != 0) {
        fprintf(stderr, "pg_eventgate: %s\n", error.sentence);
        eg_config_free(config);
        return EXIT_USAGE;
    }
    if (action == EG_CONFIG_CHECK) {
        printf("The configuration is valid: %zu channel set%s, %u workers.\n", config->set_count,
               config->set_count == 1 ? "" : "s", config->workers);
        eg_config_free(config);
        return EXIT_SUCCESS;
    }
    return eg_gateway_run(config, argc, argv, environ);
}

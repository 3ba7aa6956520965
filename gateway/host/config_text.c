/*
 * The options as people read them: --help, and the tables of the README.
 */
#include <stdio.h>
#include <string.h>

#include "eventgate/options.h"
#include "eventgate/usage.h"

#define HELP_COLUMN 30
#define HELP_WIDTH 100

/* `text` in lines of at most HELP_WIDTH, each indented to HELP_COLUMN; the cursor stands at `column`. */
static void add_wrapped(struct eg_buffer *buffer, const char *text, size_t column)
{
    while (*text) {
        size_t length = strcspn(text, " ");
        if (column > HELP_COLUMN && column + 1 + length > HELP_WIDTH) {
            eg_buffer_add_format(buffer, "\n%*s", HELP_COLUMN, "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            eg_buffer_add_string(buffer, " ");
            column++;
        }
        eg_buffer_add(buffer, text, length);
        column += length;
        text += length + (text[length] == ' ');
    }
    eg_buffer_add_string(buffer, "\n");
}

/* "  LEFT     TEXT" */
static void add_row(struct eg_buffer *buffer, const char *left, const char *text)
{
    size_t column = strlen(left) + 2;
    eg_buffer_add_format(buffer, "  %s", left);
    if (column >= HELP_COLUMN)
        eg_buffer_add_format(buffer, "\n%*s", HELP_COLUMN, "");
    else
        eg_buffer_add_format(buffer, "%*s", (int)(HELP_COLUMN - column), "");
    add_wrapped(buffer, text, HELP_COLUMN);
}

static void add_usage(struct eg_buffer *buffer, const struct eg_usage *rows)
{
    for (; rows->term; rows++)
        add_row(buffer, rows->term, rows->text);
}

static void add_option(struct eg_buffer *buffer, const struct eg_option *option)
{
    char flag[80], left[120], text[400];
    eg_option_flag(option, flag, sizeof(flag));
    snprintf(left, sizeof(left), "%s %s", flag, option->placeholder);
    snprintf(text, sizeof(text), "%s%s%s%s", option->help, option->initial[0] ? " [" : "", option->initial,
             option->initial[0] ? "]" : "");
    add_row(buffer, left, text);
}

static void add_scope(struct eg_buffer *buffer, enum eg_option_scope scope)
{
    for (size_t i = 0; i < eg_option_count; i++)
        if (eg_options[i].scope == scope)
            add_option(buffer, &eg_options[i]);
}

void eg_config_help(struct eg_buffer *buffer)
{
    eg_buffer_add_string(buffer,
                         "pg_eventgate " EG_VERSION ": the event gateway for PostgreSQL LISTEN/NOTIFY\n"
                         "\n"
                         "Usage: pg_eventgate [--config FILE] [OPTION...]\n"
                         "       pg_eventgate COMMAND ...\n"
                         "\n"
                         "  pg_eventgate --postgres 'dbname=shop' --live 'orders,chat/*' --listen 127.0.0.1:8080\n"
                         "  curl -N http://127.0.0.1:8080/channels/orders\n"
                         "\n");
    add_usage(buffer, eg_usage_flags);
    eg_buffer_add_string(buffer, "\nCommands (pg_eventgate COMMAND --help says more):\n");
    for (const struct eg_usage_command *command = eg_usage_commands; command->name; command++) {
        char left[80];
        snprintf(left, sizeof(left), "%s %s", command->name, command->arguments);
        add_row(buffer, left, command->summary);
    }
    eg_buffer_add_string(buffer, "\nChannels, of the set \"default\" when given here ([set NAME] in the file):\n");
    add_scope(buffer, EG_OPTION_SET);
    eg_buffer_add_string(buffer, "\nThe gateway ([gateway] in the file):\n");
    add_scope(buffer, EG_OPTION_GATEWAY);
    eg_buffer_add_string(
        buffer, "\n"
                "Order: defaults, file, environment (EVENTGATE_LISTEN and so on; DATABASE_URL; libpq's PG*), flags.\n"
                "The later one wins. In the file, options have underscores: max_body.\n"
                "\n"
                "Signals:\n");
    add_usage(buffer, eg_usage_signals);
    eg_buffer_add_string(buffer, "\nExit status:\n");
    add_usage(buffer, eg_usage_exits);
}

static void add_rows(struct eg_buffer *buffer, enum eg_option_scope scope)
{
    for (size_t i = 0; i < eg_option_count; i++) {
        const struct eg_option *option = &eg_options[i];
        if (option->scope != scope)
            continue;
        eg_buffer_add_format(buffer, "| `%s` | %s%s%s | %s | %s |\n", option->name, option->initial[0] ? "`" : "",
                             option->initial, option->initial[0] ? "`" : "", option->reloads ? "yes" : "",
                             option->help);
    }
}

void eg_config_markdown(struct eg_buffer *buffer)
{
    eg_buffer_add_string(buffer, "`[gateway]`; flags `--max-body` and so on, variables `EVENTGATE_MAX_BODY`:\n\n"
                                 "| option | default | SIGHUP | |\n|---|---|---|---|\n");
    add_rows(buffer, EG_OPTION_GATEWAY);
    eg_buffer_add_string(buffer, "\n`[set NAME]`:\n\n| option | default | SIGHUP | |\n|---|---|---|---|\n");
    add_rows(buffer, EG_OPTION_SET);
}

/*
 * A program of the build: writes the manual pages and the sample configuration, made from the tables that the gateway
 * itself reads (options.h, usage.h).
 *
 *     pages 1 FILE        pg_eventgate(1)
 *     pages 5 FILE        pg_eventgate.conf(5)
 *     pages sample FILE   pg_eventgate.conf: every option with its text and its default, commented out
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/options.h"
#include "eventgate/usage.h"

#define SAMPLE_WIDTH 100

/* --- roff -------------------------------------------------------------------------------------------------------- */

/* What groff makes something else of stands for itself (groff_char(7)). */
static void put(const char *text)
{
    static const struct {
        char of;
        const char *roff;
    } written[] = {{'\\', "\\e"}, {'-', "\\-"}, {'\'', "\\(aq"}, {'~', "\\(ti"}, {'^', "\\(ha"}, {'`', "\\(ga"}};
    for (; *text; text++) {
        const char *roff = NULL;
        for (size_t i = 0; i < EG_ARRAY_LENGTH(written); i++)
            if (written[i].of == *text)
                roff = written[i].roff;
        if (roff)
            fputs(roff, stdout);
        else
            putchar(*text);
    }
}

/* Sentences, on a line of their own. */
static void put_line(const char *text)
{
    fputs("\\&", stdout);
    put(text);
    putchar('\n');
}

static void begin_page(const char *name, int section, const char *title)
{
    printf(".\\\" Made from the tables of the program by packaging/pages.c.\n"
           ".TH %s %d \"\" \"pg_eventgate " EG_VERSION "\" \"%s\"\n.nh\n",
           name, section, title);
}

static void begin_section(const char *title)
{
    printf(".SH %s\n", title);
}

static void paragraph(const char *text)
{
    printf(".PP\n");
    put_line(text);
}

/* Lines as they are. */
static void example(const char *lines)
{
    printf(".PP\n.RS 4\n.nf\n");
    while (*lines) {
        char line[200];
        size_t length = strcspn(lines, "\n");
        snprintf(line, sizeof(line), "%.*s", (int)length, lines);
        put_line(line);
        lines += length + (lines[length] == '\n');
    }
    printf(".fi\n.RE\n");
}

static void put_term(const char *term, const char *placeholder)
{
    printf(".TP\n\\fB");
    put(term + strspn(term, " "));
    printf("\\fR");
    if (placeholder) {
        printf(" \\fI");
        put(placeholder);
        printf("\\fR");
    }
    putchar('\n');
}

static void put_usage(const struct eg_usage *rows)
{
    for (; rows->term; rows++) {
        put_term(rows->term, NULL);
        put_line(rows->text);
    }
}

/* --- what --help says of a command, whose lines are wider than a page -------------------------------------------- */

/* Where the second column of a row begins, if the first one fills its own. */
#define TEXT_COLUMN 25

enum block { NONE, SENTENCES, ROWS, EXAMPLES };

static void put_row(char *line, size_t indent)
{
    char *gap = strstr(line + indent, "  ");
    if (!gap && strlen(line) > TEXT_COLUMN && line[TEXT_COLUMN - 1] == ' ')
        gap = line + TEXT_COLUMN - 1;
    if (gap)
        *gap++ = '\0';
    put_term(line + indent, NULL);
    if (gap)
        put_line(gap + strspn(gap, " "));
}

static enum block put_help_line(char *line, enum block block)
{
    size_t indent = strspn(line, " ");
    if (line[0] == '\0') {
        if (block == EXAMPLES)
            printf(".fi\n");
        return NONE;
    }
    if (block == EXAMPLES) {
        put_line(line + (indent < 2 ? indent : 2));
    } else if (strcmp(line, "Examples:") == 0) {
        paragraph(line);
        printf(".PP\n.nf\n");
        return EXAMPLES;
    } else if (indent == 0) {
        if (block != SENTENCES)
            printf(".PP\n");
        put_line(line);
        return SENTENCES;
    } else if (block == SENTENCES) { /* another usage */
        printf(".br\n");
        put_line(line + indent);
    } else if (indent > 6) { /* of the row above */
        put_line(line + indent);
    } else {
        put_row(line, indent);
        return ROWS;
    }
    return block;
}

static void put_help(const char *text)
{
    enum block block = NONE;
    char line[200];
    while (*text) {
        size_t length = strcspn(text, "\n");
        snprintf(line, sizeof(line), "%.*s", (int)length, text);
        block = put_help_line(line, block);
        text += length + (text[length] == '\n');
    }
}

static void put_commands(void)
{
    for (const struct eg_usage_command *command = eg_usage_commands; command->name; command++) {
        printf(".SS ");
        put(command->name);
        putchar('\n');
        put_line(command->summary);
        put_help(command->text);
    }
}

static void put_default(const struct eg_option *option)
{
    if (!option->initial[0])
        return;
    fputs("Default: ", stdout);
    put(option->initial);
    fputs(".\n", stdout);
}

/* --- pg_eventgate(1) --------------------------------------------------------------------------------------------- */

static void put_flags(enum eg_option_scope scope)
{
    char flag[80];
    for (size_t i = 0; i < eg_option_count; i++) {
        if (eg_options[i].scope != scope)
            continue;
        eg_option_flag(&eg_options[i], flag, sizeof(flag));
        put_term(flag, eg_options[i].placeholder);
        put_line(eg_options[i].help);
        put_default(&eg_options[i]);
    }
}

static void put_variables(void)
{
    char name[80];
    paragraph("Each option has a variable, which goes before the file and behind the flag:");
    printf(".PP\n.RS 4\n.nf\n");
    for (size_t i = 0; i < eg_option_count; i++) {
        eg_option_variable(&eg_options[i], name, sizeof(name));
        put_line(name);
    }
    printf(".fi\n.RE\n");
    put_usage(eg_usage_variables);
}

static void print_program(void)
{
    begin_page("PG_EVENTGATE", 1, "User Commands");
    begin_section("NAME");
    printf("pg_eventgate \\- HTTP event gateway for PostgreSQL LISTEN/NOTIFY\n");
    begin_section("SYNOPSIS");
    printf("\\fBpg_eventgate\\fR [\\fB\\-\\-config\\fR \\fIFILE\\fR] [\\fIOPTION\\fR...]\n.br\n"
           "\\fBpg_eventgate\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR...]\n");
    begin_section("DESCRIPTION");
    paragraph("Serves the notifications of PostgreSQL as events over HTTP: server-sent events, JSON lines and "
              "long-poll; takes POSTs and publishes them. It holds one connection that LISTENs for each set of "
              "channels. Durable channels are kept in a log in the same database (schema eventgate), and resumed "
              "from it on any gateway. Where an event could have been missed, subscribers are told so, by a gap.");
    paragraph("Without a command it serves until it is told to end. It logs to standard error.");
    example("pg_eventgate --postgres 'dbname=shop' --live 'orders,chat/*'\n"
            "curl -N http://127.0.0.1:8080/channels/orders\n");
    begin_section("COMMANDS");
    put_commands();
    begin_section("OPTIONS");
    put_usage(eg_usage_flags);
    paragraph("Those of channels belong to the set \"default\" when they are given here:");
    put_flags(EG_OPTION_SET);
    paragraph("Those of the gateway:");
    put_flags(EG_OPTION_GATEWAY);
    begin_section("SIGNALS");
    put_usage(eg_usage_signals);
    begin_section("EXIT STATUS");
    put_usage(eg_usage_exits);
    begin_section("ENVIRONMENT");
    put_variables();
    begin_section("FILES");
    put_usage(eg_usage_files);
    begin_section("SEE ALSO");
    printf("\\fBpg_eventgate.conf\\fR(5), \\fBpsql\\fR(1), \\fBsystemd.socket\\fR(5)\n");
}

/* --- pg_eventgate.conf(5) ---------------------------------------------------------------------------------------- */

static void put_keys(enum eg_option_scope scope)
{
    char key[80];
    for (size_t i = 0; i < eg_option_count; i++) {
        if (eg_options[i].scope != scope)
            continue;
        snprintf(key, sizeof(key), "%s =", eg_options[i].name);
        put_term(key, eg_options[i].placeholder);
        put_line(eg_options[i].help);
        put_default(&eg_options[i]);
        put_line(eg_options[i].reloads ? "Changes with SIGHUP." : "Changes with a restart or an upgrade.");
    }
}

static void print_configuration(void)
{
    begin_page("PG_EVENTGATE.CONF", 5, "File Formats");
    begin_section("NAME");
    printf("pg_eventgate.conf \\- configuration of pg_eventgate\n");
    begin_section("DESCRIPTION");
    paragraph("An INI file: one section [gateway], and a section [set NAME] for each set of channels, of which there "
              "has to be one. A line is \"option = value\"; it goes on in the next one if that is indented. Lines "
              "that begin with # or ; are comments. An unknown option or an impossible value is an error.");
    paragraph("Times have a unit: 500ms, 15s, 2min, 1h. So have sizes: 512, 16kB, 64MB, 1GB; and rates: 100/s, "
              "30/min, 10/h. Lists have commas.");
    paragraph("Environment and flags go before the file (pg_eventgate(1)). \"pg_eventgate --check-config --config "
              "FILE\" says whether a file is valid. SIGHUP reads it again: what can change at once does, what "
              "can't is named in the log.");
    begin_section("[gateway]");
    put_keys(EG_OPTION_GATEWAY);
    begin_section("[set NAME]");
    paragraph("NAME is 1 to 32 of a-z, 0-9, _ and -. A set is served by one connection that LISTENs, and is the unit "
              "of order. A channel belongs to one set, and is either live or durable.");
    put_keys(EG_OPTION_SET);
    begin_section("EXAMPLE");
    example("[gateway]\n"
            "listen = 127.0.0.1:8080\n"
            "\n"
            "[set shop]\n"
            "postgres = host=db1,db2 dbname=shop user=eventgate\n"
            "live = orders, stock\n"
            "durable = order/**, audit\n");
    begin_section("SEE ALSO");
    printf("\\fBpg_eventgate\\fR(1)\n");
}

/* --- the sample -------------------------------------------------------------------------------------------------- */

static void put_comment(const char *text)
{
    size_t column = 0;
    while (*text) {
        size_t length = strcspn(text, " ");
        if (column == 0 || column + 1 + length > SAMPLE_WIDTH) {
            fputs(column ? "\n#" : "#", stdout);
            column = 1;
        }
        printf(" %.*s", (int)length, text);
        column += 1 + length;
        text += length + (text[length] == ' ');
    }
    putchar('\n');
}

/* For options whose default serves nothing: what it may look like. */
static const char *sample_value(const struct eg_option *option)
{
    static const char *const samples[][2] = {
        {"postgres", "dbname=shop user=eventgate"}, {"live", "orders, chat/*"}, {"durable", "order/**, audit"}};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(samples); i++)
        if (option->scope == EG_OPTION_SET && strcmp(option->name, samples[i][0]) == 0)
            return samples[i][1];
    return option->initial;
}

static void put_samples(enum eg_option_scope scope)
{
    for (size_t i = 0; i < eg_option_count; i++) {
        if (eg_options[i].scope != scope)
            continue;
        const char *value = sample_value(&eg_options[i]);
        putchar('\n');
        put_comment(eg_options[i].help);
        printf("#%s =%s%s\n", eg_options[i].name, value[0] ? " " : "", value);
    }
}

static void print_sample(void)
{
    put_comment("Configuration of pg_eventgate: pg_eventgate.conf(5). Every option is here, commented out, with its "
                "default. At least one set of channels has to be given. Try it out: pg_eventgate --check-config "
                "--config FILE");
    printf("\n[gateway]\n");
    put_samples(EG_OPTION_GATEWAY);
    putchar('\n');
    put_comment("A set of channels, served by one connection that LISTENs. There may be several, each with a name of "
                "its own; postgres, live and durable are examples here.");
    printf("#[set shop]\n");
    put_samples(EG_OPTION_SET);
}

int main(int argc, char **argv)
{
    const char *page = argc == 3 ? argv[1] : "";
    if (argc == 3 && !freopen(argv[2], "we", stdout))
        return EXIT_FAILURE;
    if (strcmp(page, "1") == 0)
        print_program();
    else if (strcmp(page, "5") == 0)
        print_configuration();
    else if (strcmp(page, "sample") == 0)
        print_sample();
    else
        return 2;
    return fflush(stdout) == 0 && !ferror(stdout) ? EXIT_SUCCESS : EXIT_FAILURE;
}

/*
 * The command that looks after schema `eventgate`: which database it is, what is there, what is to be done, and saying
 * so.
 */
#include "eventgate/schema_command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/config.h"
#include "eventgate/connection.h"
#include "eventgate/connection_admin.h"
#include "eventgate/schema_script.h"
#include "eventgate/schema_situation.h"
#include "eventgate/usage.h"

enum { EXIT_USAGE = 2 };

enum action { INSTALL, UPGRADE, CHECK, UNINSTALL, HELP };

struct command {
    enum action action;
    const char *postgres, *file, *set;
    bool yes;
};

static int complain(const char *format, ...) EG_PRINTF(1, 2);

static int complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("pg_eventgate: ", stderr);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    va_end(arguments);
    return EXIT_USAGE;
}

/* --- the command line -------------------------------------------------------------------------------------------- */

static int read_action(const char *word, enum action *ret_action)
{
    static const char *const words[] = {"install", "upgrade", "check", "uninstall", "help"};
    for (size_t i = 0; word && i < EG_ARRAY_LENGTH(words); i++)
        if (strcmp(word, words[i]) == 0) {
            *ret_action = (enum action)i;
            return 0;
        }
    if (word && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
        *ret_action = HELP;
        return 0;
    }
    return word ? complain("schema %s: there is install, upgrade, check and uninstall.", word)
                : complain("schema: what is to be done? install, upgrade, check or uninstall.");
}

/* Takes the flag at `*at` with its value, if it is one that has one. */
static const char **value_of(struct command *command, const char *flag, size_t length)
{
    static const struct {
        const char *name;
        size_t offset;
    } flags[] = {{"--postgres", offsetof(struct command, postgres)},
                 {"--config", offsetof(struct command, file)},
                 {"-c", offsetof(struct command, file)},
                 {"--set", offsetof(struct command, set)}};
    for (size_t i = 0; i < EG_ARRAY_LENGTH(flags); i++)
        if (strlen(flags[i].name) == length && strncmp(flags[i].name, flag, length) == 0)
            return (const char **)(void *)((char *)command + flags[i].offset);
    return NULL;
}

static int read_command(int argc, char *const *argv, struct command *ret_command)
{
    struct command command = {0};
    int result = read_action(argc > 2 ? argv[2] : NULL, &command.action);
    for (int i = 3; !result && i < argc; i++) {
        const char *equals = strchr(argv[i], '=');
        const char **value = value_of(&command, argv[i], equals ? (size_t)(equals - argv[i]) : strlen(argv[i]));
        if (strcmp(argv[i], "--yes") == 0)
            command.yes = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            command.action = HELP;
        else if (!value)
            result = complain("%s: schema takes --postgres, --config, --set and --yes.", argv[i]);
        else if (!equals && i + 1 == argc)
            result = complain("%s: needs a value.", argv[i]);
        else
            *value = equals ? equals + 1 : argv[++i];
    }
    if (!result && command.postgres && (command.file || command.set))
        result = complain("--postgres names the database; --config and --set would, too: give one or the other.");
    *ret_command = command;
    return result;
}

/* --- the database ------------------------------------------------------------------------------------------------ */

/* The set that is named, else the only one, else the only one that has durable channels. */
static int choose_set(const struct eg_config *config, const char *name, const struct eg_config_set **ret_set)
{
    const struct eg_config_set *chosen = NULL;
    size_t count = 0;
    for (size_t i = 0; i < config->set_count; i++) {
        const struct eg_config_set *set = &config->sets[i];
        if (name ? strcmp(set->name, name) != 0 : config->set_count > 1 && set->durable_count == 0)
            continue;
        chosen = set;
        count++;
    }
    *ret_set = chosen;
    if (count == 1)
        return 0;
    if (name)
        return complain("--set %s: the configuration has no such set.", name);
    return complain(count == 0 ? "no set of the configuration has durable channels: name one with --set."
                               : "several sets of the configuration have durable channels: name one with --set.");
}

/* The connection string, to be freed. */
static int find_database(const struct command *command, char *const *environment, char **ret_conninfo)
{
    const char *conninfo = command->postgres, *file = command->file ? command->file : getenv("EVENTGATE_CONFIG");
    struct eg_config *config = NULL;
    const struct eg_config_set *set = NULL;
    int result = 0;
    if (!conninfo && file) {
        char *flags[] = {(char *)(uintptr_t) "pg_eventgate", (char *)(uintptr_t) "--config", (char *)(uintptr_t)file};
        enum eg_config_action action;
        struct eg_error error;
        if (eg_config_load(EG_ARRAY_LENGTH(flags), flags, environment, &config, &action, &error) != 0)
            return complain("%s", error.sentence);
        result = choose_set(config, command->set, &set);
        if (set)
            conninfo = set->postgres;
    } else if (!conninfo && command->set) {
        return complain("--set: there is no configuration to look it up in; give one with --config.");
    }
    if (!conninfo && !(conninfo = getenv("EVENTGATE_POSTGRES")) && !(conninfo = getenv("DATABASE_URL")))
        conninfo = "";
    *ret_conninfo = result ? NULL : strdup(conninfo);
    if (!result && !*ret_conninfo)
        result = complain("out of memory");
    eg_config_free(config);
    return result;
}

/* --- what is done ------------------------------------------------------------------------------------------------ */

static int install(struct eg_admin *admin, const struct eg_schema_situation *before, struct eg_error *error)
{
    struct eg_schema_situation after = {0};
    if (before->is_extension && before->version == eg_schema_version) {
        printf("Database %s: schema eventgate is there in version %d, as the extension pg_eventgate. Nothing to do.\n",
               before->database, before->version);
        return 0;
    }
    int result = eg_admin_run(admin, eg_schema_script, error);
    if (!result)
        result = eg_schema_look(admin, &after, error);
    if (result)
        return result;
    if (before->version == 0)
        printf("Database %s: schema eventgate is installed, version %d.\n", after.database, after.version);
    else if (before->version == after.version)
        printf("Database %s: schema eventgate was there in version %d already; its functions and rights are made "
               "anew.\n",
               after.database, after.version);
    else
        printf("Database %s: schema eventgate is upgraded from version %d to version %d.\n", after.database,
               before->version, after.version);
    if (before->version == 0)
        printf("Next: GRANT eventgate_gateway TO the gateway's user, and eventgate_publish to those who publish.\n");
    return 0;
}

static int upgrade(struct eg_admin *admin, const struct eg_schema_situation *before, struct eg_error *error)
{
    if (before->is_ours)
        return install(admin, before, error);
    snprintf(error->sentence, sizeof(error->sentence),
             "Database %s has no schema eventgate of pg_eventgate: there is nothing to upgrade. Run: pg_eventgate "
             "schema install",
             before->database);
    return -ENOENT;
}

static int uninstall(struct eg_admin *admin, const struct eg_schema_situation *before, struct eg_error *error)
{
    if (!before->has_schema) {
        printf("Database %s has no schema eventgate. Nothing to do.\n", before->database);
        return 0;
    }
    if (!before->is_ours) {
        snprintf(error->sentence, sizeof(error->sentence),
                 "The schema eventgate in database %s is not pg_eventgate's; nothing was dropped.", before->database);
        return -EEXIST;
    }
    int result = eg_admin_run(admin,
                              "SET client_min_messages = warning; SET lock_timeout = '30s'; BEGIN;"
                              "DROP EXTENSION IF EXISTS pg_eventgate CASCADE;"
                              "DROP SCHEMA IF EXISTS eventgate, eventgate_watch CASCADE; COMMIT",
                              error);
    if (!result)
        printf("Database %s: schema eventgate is dropped, with all its events. Its roles are left, since other "
               "databases may use them.\n",
               before->database);
    return result;
}

static void print_right(const char *what, bool may, const char *role, const struct eg_schema_situation *situation,
                        bool *well)
{
    if (may)
        printf("%s: yes\n", what);
    else
        printf("%s: no. Run: GRANT %s TO %s;\n", what, role, situation->quoted_user);
    *well = *well && may;
}

/* True if a gateway of this version works with it. */
static bool print_version(const struct eg_schema_situation *situation)
{
    const char *how = situation->is_extension ? " (extension pg_eventgate)" : "",
               *upgrade =
                   situation->is_extension ? "ALTER EXTENSION pg_eventgate UPDATE;" : "pg_eventgate schema upgrade";
    char lacks[200];
    if (!situation->is_ours) {
        printf("Schema eventgate: %s. Run: pg_eventgate schema install\n",
               situation->has_schema ? "there, but not pg_eventgate's" : "none");
        return false;
    }
    if (situation->version < 0) {
        printf("Schema eventgate: there, but user %s may not ask for its version\n", situation->user);
        return false;
    }
    enum eg_schema_fit fit = eg_schema_fit_of(situation);
    printf("Schema eventgate: version %d", situation->version);
    switch (fit) {
    case EG_SCHEMA_TOO_OLD:
        printf("%s, too old for this program, whose own is %d. Run: %s\n", how, eg_schema_version, upgrade);
        break;
    case EG_SCHEMA_OLDER:
        eg_schema_lacks(situation->version, lacks, sizeof(lacks));
        printf("%s, older than this program's %d. Gateways work with it; it lacks %s. Run: %s\n", how,
               eg_schema_version, lacks, upgrade);
        break;
    case EG_SCHEMA_OWN:
        printf(", this program's own%s\n", how);
        break;
    case EG_SCHEMA_NEWER:
        printf("%s, newer than this program's %d. Gateways work with it.\n", how, eg_schema_version);
        break;
    case EG_SCHEMA_TOO_NEW:
        printf("%s, newer than this program's %d, and too new for it. Use a newer pg_eventgate.\n", how,
               eg_schema_version);
        break;
    }
    return fit != EG_SCHEMA_TOO_OLD && fit != EG_SCHEMA_TOO_NEW;
}

/* True if a gateway of this version can serve durable channels as this user. */
static bool check(const struct eg_schema_situation *situation)
{
    printf("Database %s, PostgreSQL %s, user %s\n", situation->database, situation->server, situation->user);
    bool well = print_version(situation), publishing = true;
    if (!situation->is_ours)
        return false;
    printf("Roles: %s%s\n", situation->missing_roles[0] ? "missing are " : "all there", situation->missing_roles);
    print_right("Reading the log", situation->may_read, "eventgate_gateway", situation, &well);
    print_right("Appending for HTTP", situation->may_append, "eventgate_gateway", situation, &well);
    print_right("Publishing by SQL (a gateway needn't)", situation->may_publish, "eventgate_publish", situation,
                &publishing);
    return well && !situation->missing_roles[0];
}

static int perform(const struct command *command, struct eg_admin *admin)
{
    struct eg_schema_situation situation = {0};
    struct eg_error error;
    int result = eg_schema_look(admin, &situation, &error);
    bool well = true;
    if (!result && command->action == INSTALL)
        result = install(admin, &situation, &error);
    else if (!result && command->action == UPGRADE)
        result = upgrade(admin, &situation, &error);
    else if (!result && command->action == UNINSTALL)
        result = uninstall(admin, &situation, &error);
    else if (!result)
        well = check(&situation);
    if (result)
        complain("%s", error.sentence);
    return result || !well || fflush(stdout) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int eg_schema_command(int argc, char *const *argv, char *const *environment)
{
    struct command command;
    struct eg_error error;
    char *conninfo = NULL;
    int result = read_command(argc, argv, &command);
    if (result)
        return result;
    if (command.action == HELP)
        return eg_usage_print("schema");
    if (command.action == UNINSTALL && !command.yes)
        return complain("uninstall drops schema eventgate with all its events: say --yes if that is meant.");
    result = find_database(&command, environment, &conninfo);
    if (result)
        return result;
    if (eg_connection_check_conninfo(conninfo, &error) != 0) {
        free(conninfo);
        return complain("%s", error.sentence);
    }
    struct eg_admin *admin = eg_admin_connect(conninfo, &error);
    if (admin) {
        result = perform(&command, admin);
    } else {
        complain("%s", error.sentence);
        result = EXIT_FAILURE;
    }
    eg_admin_close(admin);
    free(conninfo);
    return result;
}

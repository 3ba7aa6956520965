/*
 * Flags of serving that are no options, signals, exit status, environment, files.
 */
#include "eventgate/usage.h"

#include <stddef.h>

const struct eg_usage eg_usage_flags[] = {
    {"-c, --config FILE", "INI file with [gateway] and [set NAME] (also EVENTGATE_CONFIG)."},
    {"    --check-config", "Says whether the configuration is valid, and ends."},
    {"-h, --help", "Shows this, and ends."},
    {"-V, --version", "Shows the version, and ends."},
    {NULL, NULL},
};

const struct eg_usage eg_usage_signals[] = {
    {"SIGTERM, SIGINT", "Drains: not ready any more, requests are answered, streams end with a jittered retry:. A "
                        "second one exits at once."},
    {"SIGHUP",
     "Reloads the configuration, sets and channels too, keys and certificates. A bad one changes nothing; the log says "
     "why."},
    {"SIGUSR2", "Upgrades: starts the program anew, hands it the listening sockets as soon as it is ready, drains and "
                "ends. If it doesn't become ready, nothing changes; the log says why."},
    {NULL, NULL},
};

const struct eg_usage eg_usage_exits[] = {
    {"0", "Drained."},
    {"1", "It cannot start or run; the log says why."},
    {"2", "Usage, or a configuration that is not valid."},
    {"143", "A second SIGTERM."},
    {NULL, NULL},
};

const struct eg_usage eg_usage_variables[] = {
    {"EVENTGATE_CONFIG", "The configuration file, unless --config is given."},
    {"DATABASE_URL", "Connection string of the sets that have no postgres of their own."},
    {"PGHOST, PGUSER, PGPASSFILE, ...", "What libpq knows: for all that a connection string leaves open."},
    {"EVENTGATE_URL, EVENTGATE_TOKEN", "For the commands that talk to a gateway: where it is, and their token."},
    {"LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES", "Sockets that are handed over (systemd.socket(5)): the gateway serves "
                                               "on those; one named tls is served with TLS."},
    {"NOTIFY_SOCKET", "A service manager that is told when the gateway serves, reloads and drains, and, in words, "
                      "what each set lacks (sd_notify(3))."},
    {"WATCHDOG_USEC, WATCHDOG_PID", "How often it is told that all threads are turning (sd_watchdog_enabled(3))."},
    {NULL, NULL},
};

const struct eg_usage eg_usage_files[] = {
    {"/etc/pg_eventgate/pg_eventgate.conf", "The configuration of the systemd unit (pg_eventgate.conf(5)). As "
                                            "installed it has every option, commented out, with its default."},
    {"/usr/lib/systemd/system/pg_eventgate.service", "The unit. Change it by: systemctl edit pg_eventgate"},
    {"/usr/lib/systemd/system/pg_eventgate.socket", "The sockets that systemd keeps open for it, where it is enabled."},
    {"/usr/share/pg_eventgate/eventgate.sql", "Schema eventgate for durable channels, as a script for psql; the "
                                              "program has it, too (pg_eventgate schema install)."},
    {"/usr/share/pg_eventgate/extension", "The same as the extension pg_eventgate."},
    {"~/.pgpass", "Passwords (PGPASSFILE)."},
    {NULL, NULL},
};

/*
 * The commands, and what each one's --help says.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/usage.h"

/* The flags of all that talk to a gateway (EG_CLIENT_FLAGS). */
#define CLIENT_FLAGS                                                                                                   \
    "  -u, --url URL          the gateway, with a proxy's prefix if it has one (also EVENTGATE_URL;\n"                 \
    "                         default: " EG_DEFAULT_URL ")\n"                                                          \
    "      --token-file FILE  the token is in this file, which is read anew for each request; else\n"                  \
    "                         EVENTGATE_TOKEN is the token\n"                                                          \
    "      --cacert FILE      PEM file with the authorities that may have signed the server's certificate\n"           \
    "      --no-verify        doesn't check the server's certificate\n"

static const char schema_text[] =
    "Usage: pg_eventgate schema install|upgrade|check|uninstall [--postgres CONNINFO | --config FILE [--set NAME]]\n"
    "\n"
    "  install      makes schema eventgate, which durable channels need; may be run again, and upgrades an older one\n"
    "  upgrade      brings the one that is there to this program's version\n"
    "  check        says which version there is, and whether this user may read and append\n"
    "  uninstall    drops the schema with all its events, and the triggers that need it; asks for --yes\n"
    "\n"
    "  --postgres CONNINFO   the database. Default: EVENTGATE_POSTGRES, DATABASE_URL, else PGHOST and so on\n"
    "  -c, --config FILE     the one of a set of this file (also EVENTGATE_CONFIG)\n"
    "  --set NAME            which set; needed if several have durable channels\n"
    "\n"
    "Examples:\n"
    "  pg_eventgate schema install --postgres 'host=db1 dbname=shop user=owner'\n"
    "  pg_eventgate schema check --config gateway.conf --set orders\n"
    "  pg_eventgate schema uninstall --yes --postgres dbname=shop\n"
    "\n"
    "Exit status: 0 done (check: gateways of this version work with it, as this user), 1 not done, 2 usage or\n"
    "configuration.\n";

static const char tail_text[] =
    "Usage: pg_eventgate tail [FLAG...] CHANNEL...\n"
    "\n"
    "Prints the events of channels and patterns of one set, one JSON event a line, as they come. When the connection\n"
    "breaks it comes back by itself, and goes on exactly there; where events may be missing, it says so on standard\n"
    "error.\n"
    "\n" CLIENT_FLAGS
    "      --after PLACE      begins behind a cursor or an event's id, at the earliest that is kept, or now (default)\n"
    "      --cursor-file FILE begins behind the cursor in this file, if it has one, and keeps it there, about once a\n"
    "                         second and at the end: of the last line that is written, in a pipe of the last that its\n"
    "                         reader has taken\n"
    "  -n, --limit N          ends after so many events\n"
    "      --format FORMAT    event (default), raw, or cloudevents\n"
    "      --raw              the payloads alone, each with a line break behind it: --format raw\n"
    "      --progress         shows how far a replay has come even if standard error is no terminal\n"
    "      --idle SECONDS     the connection counts as lost if for so long not even a heartbeat comes (default: 60)\n"
    "  -q, --quiet            says nothing of connections that are lost and made again; of gaps it does\n"
    "  -h, --help             shows this\n"
    "\n"
    "Examples:\n"
    "  pg_eventgate tail orders\n"
    "  pg_eventgate tail 'order/**' --after earliest -n 1000 > orders.ndjson\n"
    "  pg_eventgate tail 'order/**' --cursor-file orders.cursor |\n"
    "      while read -r event; do ship \"$event\"; done\n"
    "  pg_eventgate tail --url https://events.example.org \\\n"
    "      --token-file token chat/lobby --raw\n"
    "\n"
    "Exit status: 0 the limit is reached, or nobody reads the output any more; 1 refused for good (no such channel, "
    "no\n"
    "grant, no token), or the output cannot be written; 2 usage; 130 Ctrl-C, 143 SIGTERM.\n";

static const char publish_text[] =
    "Usage: pg_eventgate publish [FLAG...] CHANNEL [DATA]\n"
    "       pg_eventgate publish --lines [FLAG...] CHANNEL < FILE\n"
    "\n"
    "Publishes DATA, or what comes from standard input (without one line break at its end), as one event; with "
    "--lines\n"
    "each line of it that isn't empty, in order and in batches. Prints the ids of durable events, one a line. What "
    "was\n"
    "not published is sent again for a while. So is a durable event of which it isn't known: it has a key, by which\n"
    "the gateway recognises the repeat.\n"
    "\n" CLIENT_FLAGS "      --type TYPE        the events' type (durable channels)\n"
    "      --key KEY          the event's key instead of one that is made: what was published with it within a day is\n"
    "                         not published again (durable channels). With --lines, line N has the key KEY:N, so that\n"
    "                         the same file can be sent again\n"
    "      --lines            an event for each line of standard input\n"
    "      --json             the data has to be JSON\n"
    "      --text             the data is text, even if it looks like JSON\n"
    "      --timeout SECONDS  how long to go on sending what doesn't get through (default: 60)\n"
    "      --progress         shows how far --lines has come even if standard error is no terminal\n"
    "  -h, --help             shows this\n"
    "\n"
    "Examples:\n"
    "  pg_eventgate publish chat/lobby 'good morning'\n"
    "  pg_eventgate publish order/42 '{\"amount\":3}' --type changed\n"
    "  pg_eventgate publish order/import --lines --key 31 < orders.ndjson\n"
    "  tail -F log.json | pg_eventgate publish logs --lines \\\n"
    "      --url https://events.example.org --token-file token\n"
    "\n"
    "Exit status: 0 all is committed; 1 something was refused or not published, as standard error says, with the\n"
    "number of its line; 2 usage; 3 of something it isn't known whether it was published (live channels; durable ones\n"
    "if the time is over), where --lines ends; 130 Ctrl-C, 143 SIGTERM.\n";

static const char healthcheck_text[] =
    "Usage: pg_eventgate healthcheck [FLAG...]\n"
    "\n"
    "Asks a gateway whether it is ready: every set listens, reads its log, and can publish. For HEALTHCHECK in a\n"
    "Dockerfile, and for scripts that wait for a gateway.\n"
    "\n" CLIENT_FLAGS "      --live             asks whether it is alive instead, whatever its database does\n"
    "      --timeout SECONDS  default: 3\n"
    "  -h, --help             shows this\n"
    "\n"
    "Examples:\n"
    "  pg_eventgate healthcheck\n"
    "  pg_eventgate healthcheck -u https://localhost:8443 --no-verify\n"
    "  HEALTHCHECK --interval=10s CMD [\"pg_eventgate\", \"healthcheck\"]\n"
    "\n"
    "Exit status: 0 yes, 1 no, 2 usage. One line says which, and why not where the gateway tells it.\n";

static const char doctor_text[] =
    "Usage: pg_eventgate doctor [--config FILE] [FLAG...]\n"
    "\n"
    "Looks at everything that a gateway needs, and says for each thing whether it is well, and if not, what to do:\n"
    "configuration, keys, certificate, addresses to listen on, open files, clocks; for each set its hosts, whether "
    "they\n"
    "can be reached and are let in, TLS, a pooler in between, standbys, schema, role and rights, retention, settings,\n"
    "room for connections, who LISTENs, the queue of notifications; with --url also what stands before the gateway:\n"
    "certificate, buffering, headers, idle timeout, CORS. It changes nothing. Give it what the gateway is given: the\n"
    "same file, flags and environment (pg_eventgate --help), as the same user.\n"
    "\n"
    "  -c, --config FILE      the gateway's; all its other flags are understood, too\n"
    "  -u, --url URL          opens a stream by the gateway's public URL, and waits for a heartbeat\n"
    "      --channel NAME     of that stream; default: one of the configuration's\n"
    "      --origin ORIGIN    may pages of this origin use the URL?\n"
    "      --quick            doesn't wait for the heartbeat\n"
    "      --long-poll        waits for a long-poll of 60 s, too\n"
    "      --token-file FILE  a token for the URL is in this file; else EVENTGATE_TOKEN is the token\n"
    "      --cacert FILE      PEM file with the authorities that may have signed the URL's certificate\n"
    "      --no-verify        doesn't check that certificate\n"
    "      --json             prints one JSON document instead of lines\n"
    "  -h, --help             shows this\n"
    "\n"
    "Examples:\n"
    "  pg_eventgate doctor --config /etc/pg_eventgate/pg_eventgate.conf\n"
    "  pg_eventgate doctor --postgres 'host=db1,db2 dbname=shop user=gateway' \\\n"
    "      --durable 'order/**'\n"
    "  pg_eventgate doctor -c gateway.conf --url https://events.example.org \\\n"
    "      --origin https://app.example.org\n"
    "  pg_eventgate doctor --url https://events.example.org --channel orders\n"
    "\n"
    "Exit status: 0 no errors (there may be warnings), 1 errors, 2 usage.\n";

const struct eg_usage_command eg_usage_commands[] = {
    {"schema", "install|upgrade|check|uninstall",
     "Looks after schema eventgate, which durable channels need in the database.", schema_text},
    {"doctor", "[--config FILE] [--url URL]",
     "Looks at everything that a gateway needs, and says in words what is amiss and what to do.", doctor_text},
    {"tail", "CHANNEL...", "Prints the events of channels as they come, and goes on exactly where it was.", tail_text},
    {"publish", "CHANNEL [DATA]", "Publishes an event, or one for each line of its input.", publish_text},
    {"healthcheck", "[--url URL]", "Asks a gateway whether it is ready: in its exit status, and a line.",
     healthcheck_text},
    {NULL, NULL, NULL, NULL},
};

int eg_usage_print(const char *name)
{
    for (const struct eg_usage_command *command = eg_usage_commands; command->name; command++)
        if (strcmp(command->name, name) == 0)
            return fputs(command->text, stdout) >= 0 && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    return EXIT_FAILURE;
}

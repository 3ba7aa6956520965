#include "settings.h"

#include <err.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "Usage: bench_load WORK [OPTION...]\n"
    "\n"
    "  saturate   publishes as fast as every stream takes the events, at most WINDOW ahead of the slowest\n"
    "  one        publishes an event when the one before has arrived everywhere and is acknowledged\n"
    "  pace       publishes RATE events a second and measures how old they are when they arrive\n"
    "  watch      the same, by the kernel's time of arrival instead of the reader's; for each line of its input it "
    "prints\n"
    "             what has arrived since the one before\n"
    "  idle       opens the streams, prints a line, and holds them until its input ends\n"
    "  drain      opens streams on the targets of AIMS, and ends when each has had its events\n"
    "  post       POSTs events over CONNECTIONS connections, each in turn\n"
    "\n"
    "  insert     by libpq alone, as the two below: CONNECTIONS that INSERT and NOTIFY, each in turn, and one LISTEN\n"
    "  listen     INSERTs and NOTIFYs when the one before has been heard, and measures how old it then is\n"
    "  append     appends to the log, BATCH events at a time\n"
    "\n"
    "  --server ADDRESS:PORT/TARGET   all but those by libpq need it\n"
    "  --publish HOW      postgres:CONNINFO, http:ADDRESS:PORT/TARGET (`%s`: channel), lines:ADDRESS:PORT\n"
    "  --channel NAME     published to; `%u` in it, and in the server's TARGET, is the number of a channel\n"
    "  --channels N       how many (1)           --streams N       (1000)\n"
    "  --payload BYTES    (128)                  --per-address N   streams from one address (1000)\n"
    "  --window N         (16)                   --rate N          events a second (100)\n"
    "  --connections N    (32)                   --batch N         (64)\n"
    "  --aims FILE        lines `EVENTS TARGET`  --seconds S       measured (5), after --warm-up S (1)\n";

static const struct setting {
    struct option option;
    size_t offset;
} texts[] = {{{"server", 1, NULL, 0}, offsetof(struct settings, server)},
             {{"publish", 1, NULL, 0}, offsetof(struct settings, publish)},
             {{"channel", 1, NULL, 0}, offsetof(struct settings, channel)},
             {{"aims", 1, NULL, 0}, offsetof(struct settings, aims)}},
  numbers[] = {{{"streams", 1, NULL, 0}, offsetof(struct settings, streams)},
               {{"channels", 1, NULL, 0}, offsetof(struct settings, channels)},
               {{"payload", 1, NULL, 0}, offsetof(struct settings, payload)},
               {{"per-address", 1, NULL, 0}, offsetof(struct settings, per_address)},
               {{"window", 1, NULL, 0}, offsetof(struct settings, window)},
               {{"rate", 1, NULL, 0}, offsetof(struct settings, rate)},
               {{"connections", 1, NULL, 0}, offsetof(struct settings, connections)},
               {{"batch", 1, NULL, 0}, offsetof(struct settings, batch)},
               {{"seconds", 1, NULL, 0}, offsetof(struct settings, seconds)},
               {{"warm-up", 1, NULL, 0}, offsetof(struct settings, warm_up)}};

#define TEXTS (sizeof(texts) / sizeof(texts[0]))
#define NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

static unsigned number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end || value == 0 || value > 100000000)
        errx(2, "not a number: %s", text);
    return (unsigned)value;
}

static void set(struct settings *settings, size_t which, const char *text)
{
    char *base = (char *)settings;
    if (which < TEXTS)
        *(const char **)(void *)(base + texts[which].offset) = text;
    else
        *(unsigned *)(void *)(base + numbers[which - TEXTS].offset) = number(text);
}

void settings_read(int count, char **arguments, struct settings *ret_settings)
{
    struct option options[TEXTS + NUMBERS + 1] = {{0}};
    int which = 0, found;
    for (size_t i = 0; i < TEXTS; i++)
        options[i] = texts[i].option;
    for (size_t i = 0; i < NUMBERS; i++)
        options[TEXTS + i] = numbers[i].option;
    *ret_settings = (struct settings){.channel = "bench",
                                      .streams = 1000,
                                      .channels = 1,
                                      .payload = 128,
                                      .per_address = 1000,
                                      .window = 16,
                                      .rate = 100,
                                      .connections = 32,
                                      .batch = 64,
                                      .seconds = 5,
                                      .warm_up = 1};
    while ((found = getopt_long(count, arguments, "", options, &which)) == 0)
        set(ret_settings, (size_t)which, optarg);
    if (found != -1 || optind + 1 != count) {
        fputs(usage, stderr);
        exit(2);
    }
    ret_settings->work = arguments[optind];
}

/*
 * Flags, by getopt_long().
 */
#include "eventgate/flags.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_USAGE = 2, HELP = 256, FIRST_FLAG };

#define DAY_MS 86400000.0

int eg_complain(const char *command, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "pg_eventgate %s: ", command);
    vfprintf(stderr, format, arguments);
    fputs("\n", stderr);
    va_end(arguments);
    return EXIT_USAGE;
}

static int bad(const char *command, const struct eg_flag *flag, const char *what)
{
    eg_complain(command, "--%s: %s", flag->name, what);
    return -EINVAL;
}

static int take_number(const char *command, const struct eg_flag *flag, const char *text)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || number == 0)
        return bad(command, flag, "needs a whole number from 1 on.");
    *(uint64_t *)flag->target = number;
    return 0;
}

static int take_time(const char *command, const struct eg_flag *flag, const char *text)
{
    char *end;
    double seconds = strtod(text, &end);
    if (end != text && strcmp(end, "s") == 0)
        end++;
    if (end == text || *end || !isfinite(seconds) || seconds * 1000 < 1 || seconds * 1000 > DAY_MS)
        return bad(command, flag, "needs a time in seconds, as 10 or 0.5.");
    *(uint32_t *)flag->target = (uint32_t)(seconds * 1000);
    return 0;
}

static int take(const char *command, const struct eg_flag *flag, const char *text)
{
    switch (flag->kind) {
    case EG_FLAG_YES:
        *(bool *)flag->target = true;
        return 0;
    case EG_FLAG_TEXT:
        *(const char **)flag->target = text;
        return 0;
    case EG_FLAG_NUMBER:
        return take_number(command, flag, text);
    case EG_FLAG_TIME:
        return take_time(command, flag, text);
    }
    return -EINVAL;
}

/* What getopt_long() wants to have. Returns the end of `letters`. */
static void prepare(const struct eg_flag *flags, size_t count, struct option *options, char *letters)
{
    *letters++ = ':'; /* tells a missing value from an unknown flag */
    *letters++ = 'h';
    for (size_t i = 0; i < count; i++) {
        int has_value = flags[i].kind == EG_FLAG_YES ? no_argument : required_argument;
        options[i] = (struct option){flags[i].name, has_value, NULL, FIRST_FLAG + (int)i};
        if (flags[i].letter)
            *letters++ = flags[i].letter;
        if (flags[i].letter && has_value)
            *letters++ = ':';
    }
    options[count] = (struct option){"help", no_argument, NULL, HELP};
    options[count + 1] = (struct option){NULL, 0, NULL, 0};
    *letters = '\0';
}

static const struct eg_flag *find(const struct eg_flag *flags, size_t count, int found)
{
    if (found >= FIRST_FLAG)
        return &flags[found - FIRST_FLAG];
    for (size_t i = 0; i < count; i++)
        if (flags[i].letter == found)
            return &flags[i];
    return NULL;
}

int eg_flags_read(int argc, char *const *argv, const struct eg_flag *flags, size_t count, char *const **ret_words,
                  size_t *ret_word_count, bool *ret_help)
{
    const char *command = argv[1];
    struct option options[EG_FLAGS_MAX + 2];
    char letters[2 * EG_FLAGS_MAX + 3];
    bool help = false;
    int found, result = 0;
    if (count > EG_FLAGS_MAX)
        return -EINVAL;
    prepare(flags, count, options, letters);
    optind = 0; /* begins anew, as glibc has it */
    opterr = 0;
    while (!result && (found = getopt_long(argc - 1, argv + 1, letters, options, NULL)) != -1) {
        const struct eg_flag *flag = find(flags, count, found);
        const char *given = argv[optind]; /* behind the command's name the flag itself: argv + 1 + optind - 1 */
        if (found == 'h' || found == HELP) {
            help = true;
        } else if (found == ':' || found == '?') {
            eg_complain(command, found == ':' ? "%s needs a value." : "%s: there is no such flag; --help shows them.",
                        given);
            result = -EINVAL;
        } else if (flag) {
            result = take(command, flag, optarg);
        }
    }
    if (result)
        return result;
    *ret_words = argv + 1 + optind;
    *ret_word_count = (size_t)(argc - 1 - optind);
    *ret_help = help;
    return 0;
}

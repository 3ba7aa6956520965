/*
 * `pg_eventgate publish`: its command line, and where the events come from.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "eventgate/backoff.h"
#include "eventgate/client_commands.h"
#include "eventgate/client_options.h"
#include "eventgate/input_lines.h"
#include "eventgate/json.h"
#include "eventgate/progress.h"
#include "eventgate/sending.h"
#include "eventgate/utf8.h"

#define COMMAND "publish"
#define PATIENCE_MS 60000
#define BATCH_LINES 500
#define BATCH_BYTES (256u << 10)
#define DATA_MAX_BYTES (1u << 30)

enum { EXIT_USAGE = 2, EXIT_UNKNOWN = 3 };

struct publishing {
    struct eg_sending sending;
    struct eg_sending_sum sum;
    struct eg_input input;
    struct eg_progress progress;
    bool forced;
    uint64_t end_line; /* nothing behind it was sent */
    char made_key[27];
};

static void make_key(char ret_key[27])
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char random[26];
    eg_random_bytes(random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        ret_key[i] = digits[random[i] % 32];
    ret_key[sizeof(random)] = '\0';
}

/* Bytes of standard input, if it is a file; 0: nobody knows. */
static uint64_t input_size(void)
{
    struct stat about;
    return fstat(STDIN_FILENO, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0 ? (uint64_t)about.st_size
                                                                                           : 0;
}

/* Why a line can't be published however it is sent; NULL: it can. */
static const char *fault_of(const struct publishing *publishing, const struct eg_sending_item *item)
{
    if (!eg_utf8_valid(item->data.data, item->data.length))
        return "it isn't UTF-8.";
    if (publishing->sending.form == EG_SENDING_JSON && eg_json_check(item->data.data, item->data.length) != 0)
        return "it isn't JSON.";
    return NULL;
}

/* Leaves out the lines that are refused here. Returns how many are left. */
static size_t sift(struct publishing *publishing, struct eg_sending_item *items, size_t count)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        const char *fault = fault_of(publishing, &items[i]);
        if (fault)
            eg_complain(COMMAND, "line %" PRIu64 " was refused: %s", items[i].line, fault);
        else
            items[kept++] = items[i];
    }
    publishing->sum.refused += count - kept;
    return kept;
}

static uint64_t settled(const struct eg_sending_sum *sum)
{
    return sum->committed + sum->refused + sum->unknown;
}

static void send_lines(struct publishing *publishing, struct eg_sending_item *items, size_t count)
{
    struct eg_sending_sum *sum = &publishing->sum;
    size_t first = 0;
    count = sift(publishing, items, count);
    uint64_t all = settled(sum) + count;
    /* One by one, until it is known what kind of channel it is. */
    while (first < count && !publishing->sending.is_known && !sum->ended)
        eg_sending_one(&publishing->sending, &items[first++], sum);
    if (first < count && !sum->ended)
        eg_sending_batch(&publishing->sending, items + first, count - first, sum);
    size_t unsent = (size_t)(all - settled(sum)); /* the last ones, when it ended before them */
    publishing->end_line = unsent > 0 ? items[count - unsent].line - 1 : publishing->input.line;
}

static int publish_lines(struct publishing *publishing)
{
    struct eg_sending_item items[BATCH_LINES];
    struct eg_sending_sum *sum = &publishing->sum;
    uint64_t all = input_size();
    size_t count = 1;
    int result = 0;
    eg_progress_begin(&publishing->progress, publishing->forced);
    while (!sum->ended && !eg_client_stopped) {
        result = eg_input_lines(&publishing->input, BATCH_LINES, BATCH_BYTES, items, &count);
        if (result || count == 0)
            break;
        eg_progress_clear(&publishing->progress);
        send_lines(publishing, items, count);
        if (fflush(stdout) != 0) {
            result = -errno;
            break;
        }
        uint64_t done = publishing->input.read_bytes;
        eg_progress_tell(&publishing->progress, sum->committed, "events", done < all ? done : all, all, NULL);
    }
    eg_progress_end(&publishing->progress, sum->committed, "events",
                    sum->committed > 0 && sum->refused + sum->unknown == 0 && !sum->ended ? "all committed" : NULL);
    if (result && result != -EINTR)
        eg_complain(COMMAND,
                    result == -EMSGSIZE ? "line %" PRIu64 " is longer than 64 MiB" : "behind line %" PRIu64 ": %s",
                    publishing->input.line + (result == -EMSGSIZE), strerror(-result));
    return result;
}

static int publish_one(struct publishing *publishing, const char *data)
{
    struct eg_sending_item item = {.line = 0};
    int result = 0;
    if (data)
        item.data = (struct eg_bytes){data, strlen(data)};
    else
        result = eg_input_whole(&publishing->input, DATA_MAX_BYTES, &item.data);
    if (result == 0)
        eg_sending_one(&publishing->sending, &item, &publishing->sum);
    else if (result != -EINTR)
        eg_complain(COMMAND, "standard input: %s", strerror(-result));
    return result;
}

static int finish(const struct publishing *publishing, int result)
{
    const struct eg_sending_sum *sum = &publishing->sum;
    bool printed = fflush(stdout) == 0;
    if (sum->ended && publishing->input.line > 0)
        eg_complain(COMMAND,
                    "ended behind line %" PRIu64 " of the input: %" PRIu64 " committed, %" PRIu64 " not, %" PRIu64
                    " unknown.",
                    publishing->end_line, sum->committed, sum->refused, sum->unknown);
    if (sum->unknown > 0)
        return EXIT_UNKNOWN;
    return result || sum->refused > 0 || sum->ended || !printed ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(struct publishing *publishing, const struct eg_call_target *target, const char *data, bool lines)
{
    make_key(publishing->made_key);
    publishing->sending.has_made_key = !publishing->sending.key;
    if (!publishing->sending.key)
        publishing->sending.key = publishing->made_key;
    publishing->sending.caller = eg_caller_new(target);
    if (!publishing->sending.caller) {
        eg_complain(COMMAND, "out of memory");
        return EXIT_FAILURE;
    }
    eg_client_catch_signals();
    int result = finish(publishing, lines ? publish_lines(publishing) : publish_one(publishing, data));
    eg_input_done(&publishing->input);
    eg_caller_free(publishing->sending.caller);
    return eg_client_exit(result);
}

static int check(const struct publishing *publishing, size_t words, bool lines, bool json, bool text)
{
    if (words == 0)
        return eg_complain(COMMAND, "which channel? As in: pg_eventgate publish chat/lobby hello");
    if (words > (lines ? 1 : 2))
        return eg_complain(COMMAND, lines ? "with --lines the data comes from standard input."
                                          : "the data is one word: put it in quotes.");
    if (json && text)
        return eg_complain(COMMAND, "--json and --text: give one or the other.");
    if (publishing->sending.key && (!publishing->sending.key[0] || strlen(publishing->sending.key) > 230))
        return eg_complain(COMMAND, "--key: needs 1 to 230 bytes.");
    return 0;
}

int eg_publish_command(int argc, char *const *argv, char *const *environment)
{
    struct eg_call_target target;
    struct publishing publishing = {.sending = {.patience_ms = PATIENCE_MS}, .input = {.fd = STDIN_FILENO}};
    bool help, lines = false, json = false, text = false;
    char *const *words;
    size_t word_count;
    eg_client_defaults(environment, &target);
    const struct eg_flag flags[] = {EG_CLIENT_FLAGS(target),
                                    {"type", 0, EG_FLAG_TEXT, &publishing.sending.type},
                                    {"key", 0, EG_FLAG_TEXT, &publishing.sending.key},
                                    {"lines", 0, EG_FLAG_YES, &lines},
                                    {"json", 0, EG_FLAG_YES, &json},
                                    {"text", 0, EG_FLAG_YES, &text},
                                    {"timeout", 0, EG_FLAG_TIME, &publishing.sending.patience_ms},
                                    {"progress", 0, EG_FLAG_YES, &publishing.forced}};
    if (eg_flags_read(argc, argv, flags, EG_ARRAY_LENGTH(flags), &words, &word_count, &help) != 0)
        return EXIT_USAGE;
    if (help)
        return eg_usage_print(COMMAND);
    int result = check(&publishing, word_count, lines, json, text);
    if (result || !eg_client_check(COMMAND, &target))
        return EXIT_USAGE;
    publishing.sending.channel = words[0];
    publishing.sending.form = json ? EG_SENDING_JSON : text ? EG_SENDING_TEXT : EG_SENDING_SEEN;
    return run(&publishing, &target, word_count > 1 ? words[1] : NULL, lines);
}

/*
 * The configuration's INI file, by inih.
 *
 * inih asks our reader for each line, and calls our handler with what it made of it. The reader counts the lines and
 * refuses those that inih would not read whole; it also enters the sections, so that an error in one has its line.
 * An option is set when all its lines have been gathered: with the next option, section, or the end.
 * Invariant: `option` is set if and only if inih would take an indented line for a continuation.
 */
#include "eventgate/config_file.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eventgate/file.h"
#include "eventgate/options.h"

#define SET_NAME_MAX 32
#define SPACES " \t\r\n\v\f" /* isspace(), as inih has it */
#define BYTE_ORDER_MARK "\xef\xbb\xbf"

struct file {
    struct eg_config *config;
    struct eg_error *error;
    const char *name;
    const char *at, *end; /* what is left of the text */
    int line;             /* the last that has been read */
    bool indented;        /* it begins with a space */
    int result;
    char section[64];
    const struct eg_option *option; /* whose lines are being gathered, or NULL */
    int option_line;
    void *target;           /* where the option belongs: the config or a set */
    struct eg_buffer value; /* its lines */
    uint64_t seen_gateway;  /* a bit for each option; sets have theirs in seen_sets */
    uint64_t *seen_sets;
    size_t seen_set_count;
};

/* Refuses the line; the first refusal counts. */
static void refuse(struct file *file, int line, const char *key, const char *sentence)
{
    const char *section = file->section;
    if (file->result)
        return;
    file->error->sqlstate[0] = '\0';
    snprintf(file->error->sentence, sizeof(file->error->sentence), "%.120s:%d: %s%s%s%s%s%.260s", file->name, line,
             section[0] ? "[" : "", section, section[0] ? "] " : "", key, key[0] ? ": " : "", sentence);
    file->result = -EINVAL;
}

static void no_memory(struct file *file)
{
    file->error->sqlstate[0] = '\0';
    snprintf(file->error->sentence, sizeof(file->error->sentence), "out of memory");
    file->result = -ENOMEM;
}

/* --- options ----------------------------------------------------------------------------------------------------- */

/* The option whose lines have been gathered is complete. */
static void finish_option(struct file *file)
{
    struct eg_error inner;
    const struct eg_option *option = file->option;
    if (!option)
        return;
    file->option = NULL;
    eg_buffer_add(&file->value, "", 1);
    int result = file->value.failed ? -ENOMEM : eg_option_set(option, file->target, file->value.data, &inner);
    if (result == -EINVAL)
        refuse(file, file->option_line, option->name, inner.sentence);
    else if (result)
        no_memory(file);
}

/* The options already seen in the section; NULL: out of memory. */
static uint64_t *seen_in(struct file *file, enum eg_option_scope scope)
{
    if (scope == EG_OPTION_GATEWAY)
        return &file->seen_gateway;
    size_t index = (size_t)((struct eg_config_set *)file->target - file->config->sets);
    if (index >= file->seen_set_count) {
        uint64_t *grown = reallocarray(file->seen_sets, index + 1, sizeof(*grown));
        if (!grown)
            return NULL;
        memset(grown + file->seen_set_count, 0, (index + 1 - file->seen_set_count) * sizeof(*grown));
        file->seen_sets = grown;
        file->seen_set_count = index + 1;
    }
    return &file->seen_sets[index];
}

static void refuse_key(struct file *file, enum eg_option_scope scope, const char *key)
{
    char text[200];
    const struct eg_option *nearest = eg_option_nearest(scope, key);
    if (eg_option_find(!scope, key, strlen(key)))
        snprintf(text, sizeof(text), "\"%.60s\" belongs in %s.", key,
                 scope == EG_OPTION_GATEWAY ? "a section [set NAME]" : "the section [gateway]");
    else if (nearest)
        snprintf(text, sizeof(text), "there is no option \"%.60s\"; did you mean \"%s\"?", key, nearest->name);
    else
        snprintf(text, sizeof(text), "there is no option \"%.60s\"; pg_eventgate --help shows them all.", key);
    refuse(file, file->line, "", text);
}

static void begin_option(struct file *file, const char *key, const char *value)
{
    enum eg_option_scope scope = file->target == file->config ? EG_OPTION_GATEWAY : EG_OPTION_SET;
    if (!file->target) {
        refuse(file, file->line, "", "an option belongs in a section: [gateway] or [set NAME].");
        return;
    }
    const struct eg_option *option = eg_option_find(scope, key, strlen(key));
    if (!option) {
        refuse_key(file, scope, key);
        return;
    }
    uint64_t *seen = seen_in(file, scope), bit = UINT64_C(1) << (option - eg_options);
    if (!seen) {
        no_memory(file);
        return;
    }
    if (*seen & bit) {
        refuse(file, file->line, option->name,
               "is given a second time; continue a long value on the next line, which begins with a space.");
        return;
    }
    *seen |= bit;
    file->option = option;
    file->option_line = file->line;
    eg_buffer_clear(&file->value);
    eg_buffer_add_string(&file->value, value);
}

/*
 * Without the comma, "orders" and an indented "chat" would become one channel with a space in its name, and so would
 * an indented option.
 */
static void continue_option(struct file *file, const char *value)
{
    struct eg_buffer *gathered = &file->value;
    if (eg_option_is_list(file->option) && gathered->length > 0 && gathered->data[gathered->length - 1] != ',' &&
        value[0] != ',') {
        refuse(file, file->line, file->option->name,
               "a list goes on only behind a comma; options and sections begin at the start of their line.");
        return;
    }
    if (gathered->length > 0)
        eg_buffer_add_string(gathered, " ");
    eg_buffer_add_string(gathered, value);
}

/* inih's handler: called for each `key = value`, and for each continuation with the key above it. */
static int take_value(void *context, const char *section, const char *key, const char *value)
{
    struct file *file = context;
    (void)section; /* enter_section() knows it */
    if (file->option && file->indented) {
        continue_option(file, value);
        return file->result == 0;
    }
    finish_option(file);
    if (!file->result)
        begin_option(file, key, value);
    return file->result == 0;
}

/* --- lines ------------------------------------------------------------------------------------------------------- */

static bool valid_set_name(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");
    return length > 0 && length <= SET_NAME_MAX && name[length] == '\0';
}

/* Sets `target` to where the section's options go. */
static void find_target(struct file *file)
{
    struct eg_config_set *set;
    if (strcmp(file->section, "gateway") == 0) {
        file->target = file->config;
        return;
    }
    if (strncmp(file->section, "set ", 4) != 0) {
        refuse(file, file->line, "", "sections are [gateway] and [set NAME].");
        return;
    }
    const char *name = file->section + 4 + strspn(file->section + 4, " ");
    if (!valid_set_name(name)) {
        refuse(file, file->line, "", "the name of a set is 1 to 32 of a-z, 0-9, _ and -.");
        return;
    }
    file->result = eg_config_make_set(file->config, name, &set, file->error);
    if (!file->result)
        file->target = set;
}

/* A line that begins a section. */
static void enter_section(struct file *file, const char *line)
{
    const char *end = strchr(line, ']');
    finish_option(file);
    file->section[0] = '\0';
    if (!end || end[1 + strspn(end + 1, SPACES)] != '\0') {
        refuse(file, file->line, "", "a section is \"[gateway]\" or \"[set NAME]\", with nothing behind it.");
        return;
    }
    size_t length = (size_t)(end - line) - 1;
    snprintf(file->section, sizeof(file->section), "%.*s", (int)(length < 60 ? length : 60), line + 1);
    if (!file->result)
        find_target(file);
}

/* Would inih end the line there? (A semicolon behind a space.) */
static bool has_inline_comment(const char *line)
{
    for (const char *at = strchr(line, ';'); at; at = strchr(at + 1, ';'))
        if (at > line && strchr(SPACES, at[-1]))
            return true;
    return false;
}

static void look_at_line(struct file *file, const char *text)
{
    const char *start = text + strspn(text, SPACES);
    file->indented = start > text;
    if (*start == ';' || *start == '#')
        return;
    if (has_inline_comment(start))
        refuse(file, file->line, "", "\" ;\" would cut the value there; put comments on lines of their own.");
    else if (*start == '[' && !(file->indented && file->option))
        enter_section(file, start);
}

/* inih's reader: like fgets(). */
static char *read_line(char *text, int size, void *stream)
{
    struct file *file = stream;
    size_t left = (size_t)(file->end - file->at);
    if (file->result || left == 0)
        return NULL;
    const char *line_feed = memchr(file->at, '\n', left);
    size_t length = line_feed ? (size_t)(line_feed - file->at) + 1 : left;
    file->line++;
    if (length >= (size_t)size) {
        char sentence[160];
        snprintf(sentence, sizeof(sentence),
                 "the line is longer than %d bytes; continue a long value on the next line, which begins with a space.",
                 size - 2);
        refuse(file, file->line, "", sentence);
        return NULL;
    }
    memcpy(text, file->at, length);
    text[length] = '\0';
    file->at += length;
    if (strlen(text) < length)
        refuse(file, file->line, "", "there is a zero byte in the line: it isn't a text file.");
    else
        look_at_line(file, text);
    return file->result ? NULL : text;
}

/* --- the whole --------------------------------------------------------------------------------------------------- */

int eg_config_file_parse(struct eg_config *config, const char *name, const char *text, size_t length,
                         struct eg_error *ret_error)
{
    size_t mark = length >= 3 && memcmp(text, BYTE_ORDER_MARK, 3) == 0 ? 3 : 0;
    struct file file = {.config = config, .error = ret_error, .name = name, .value = EG_BUFFER_INIT};
    file.at = text + mark;
    file.end = text + length;
    int line = ini_parse_stream(read_line, &file, take_value, &file);
    if (!file.result && line > 0)
        refuse(&file, line, "", "neither \"[section]\" nor \"key = value\".");
    finish_option(&file);
    if (!file.result && line < 0)
        no_memory(&file);
    eg_buffer_done(&file.value);
    free(file.seen_sets);
    return file.result;
}

int eg_config_file_read(struct eg_config *config, const char *name, struct eg_error *ret_error)
{
    struct eg_buffer text = EG_BUFFER_INIT;
    int result = eg_file_read(name, EG_CONFIG_FILE_MAX_BYTES, &text);
    if (!result && !(config->file = strdup(name)))
        result = -ENOMEM;
    if (result) {
        ret_error->sqlstate[0] = '\0';
        snprintf(ret_error->sentence, sizeof(ret_error->sentence), "%.300s: cannot be read: %s", name,
                 strerror(-result));
        result = result == -ENOMEM ? -ENOMEM : -EINVAL;
    } else {
        result = eg_config_file_parse(config, name, text.data, text.length, ret_error);
    }
    eg_buffer_done(&text);
    return result;
}

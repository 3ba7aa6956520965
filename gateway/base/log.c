/*
 * Structured logging with a writing thread of its own.
 *
 * Lines stand one after the other in a ring of bytes. Whoever logs copies its line in under the lock, or counts it as
 * dropped when there is no room; the thread copies out what there is, and writes it without the lock.
 */
#include "eventgate/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "eventgate/buffer.h"
#include "eventgate/quiet_thread.h"
#include "eventgate/utf8.h"

#define QUEUE_BYTES (1u << 20)
#define STOP_WAIT_MS 1000

static _Atomic uint32_t log_level = EG_LOG_INFO;
static _Atomic uint32_t log_format = EG_LOG_TEXT;
static _Atomic uint64_t dropped;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static char queue[QUEUE_BYTES]; /* guarded by lock, like all below */
static size_t queue_length;
static uint64_t dropped_told;
static bool running, stopping;
static pthread_t writer;

static const char *const level_names[] = {"ERROR", "WARN", "INFO", "DEBUG"};
static const char *const level_words[] = {"error", "warn", "info", "debug"};

/* --- making a line ----------------------------------------------------------------------------------------------- */

static void add_time(struct eg_buffer *line)
{
    struct timespec now;
    struct tm calendar;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &calendar);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &calendar);
    eg_buffer_add_format(line, "%s.%03ldZ", text, now.tv_nsec / 1000000);
}

/* The character here if it is one that JSON leaves as it is, but that a terminal or a viewer acts upon: DEL, the C1
 * controls (an escape sequence may begin with U+009B), line and paragraph separators, and what turns the direction of
 * text; `ret_length` bytes of UTF-8. Else 0. */
static unsigned acting_character(const char *at, size_t *ret_length)
{
    const unsigned char *byte = (const unsigned char *)at;
    if (byte[0] == 0x7f) {
        *ret_length = 1;
        return 0x7f;
    }
    if (byte[0] == 0xc2 && byte[1] >= 0x80 && byte[1] <= 0x9f) {
        *ret_length = 2;
        return byte[1];
    }
    *ret_length = 3;
    if (byte[0] == 0xe2 && byte[1] == 0x80 && byte[2] >= 0xa8 && byte[2] <= 0xae)
        return 0x2000u + (byte[2] - 0x80u);
    return byte[0] == 0xe2 && byte[1] == 0x81 && byte[2] >= 0xa6 && byte[2] <= 0xa9 ? 0x2040u + (byte[2] - 0x80u) : 0;
}

/* A JSON string without any character that does something. */
static void add_string(struct eg_buffer *line, const char *value)
{
    struct eg_buffer quoted = EG_BUFFER_INIT;
    size_t length, plain = 0;
    eg_buffer_add_json_string(&quoted, value, strlen(value));
    eg_buffer_add(&quoted, "", 1);
    line->failed = line->failed || quoted.failed;
    for (size_t at = 0; !quoted.failed && at < quoted.length; at++) {
        unsigned character = acting_character(quoted.data + at, &length);
        if (!character && quoted.data[at])
            continue;
        eg_buffer_add(line, quoted.data + plain, at - plain);
        if (character)
            eg_buffer_add_format(line, "\\u%04x", character);
        plain = at + length;
    }
    eg_buffer_done(&quoted);
}

/* A value that could be mistaken for several, or break the line, is written as a JSON string. */
static void add_value(struct eg_buffer *line, const char *value)
{
    const char *at = value;
    size_t length;
    while ((unsigned char)*at > ' ' && !strchr("\"=\\", *at) && !acting_character(at, &length))
        at++;
    if (*value && !*at && eg_utf8_valid(value, strlen(value)))
        eg_buffer_add_string(line, value);
    else
        add_string(line, value);
}

static void add_text(struct eg_buffer *line, enum eg_log_level level, const char *message,
                     const struct eg_log_field *fields)
{
    add_time(line);
    eg_buffer_add_format(line, " %-5s %s", level_names[level], message);
    for (; fields->key; fields++) {
        if (fields->kind == EG_LOG_FIELD_INTEGER) {
            eg_buffer_add_format(line, " %s=%" PRId64, fields->key, fields->integer);
        } else if (fields->string) {
            eg_buffer_add_format(line, " %s=", fields->key);
            add_value(line, fields->string);
        }
    }
}

static void add_json(struct eg_buffer *line, enum eg_log_level level, const char *message,
                     const struct eg_log_field *fields)
{
    eg_buffer_add_string(line, "{\"time\":\"");
    add_time(line);
    eg_buffer_add_format(line, "\",\"level\":\"%s\",\"message\":", level_words[level]);
    add_string(line, message);
    for (; fields->key; fields++) {
        if (fields->kind == EG_LOG_FIELD_STRING && !fields->string)
            continue;
        eg_buffer_add_string(line, ",");
        add_string(line, fields->key);
        eg_buffer_add_string(line, ":");
        if (fields->kind == EG_LOG_FIELD_INTEGER)
            eg_buffer_add_format(line, "%" PRId64, fields->integer);
        else
            add_string(line, fields->string);
    }
    eg_buffer_add_string(line, "}");
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

static void write_all(const char *data, size_t length)
{
    while (length > 0) {
        ssize_t written = write(STDERR_FILENO, data, length);
        if (written < 0 && errno == EAGAIN) {
            struct pollfd wait = {.fd = STDERR_FILENO, .events = POLLOUT};
            poll(&wait, 1, -1);
        } else if (written < 0 && errno != EINTR) {
            return; /* nobody reads: there is nowhere to say so */
        } else if (written > 0) {
            data += written;
            length -= (size_t)written;
        }
    }
}

/* Puts a line into the queue; false if there is no room. With the lock. */
static bool enqueue(const char *data, size_t length)
{
    if (length > QUEUE_BYTES - queue_length)
        return false;
    memcpy(queue + queue_length, data, length);
    queue_length += length;
    pthread_cond_signal(&filled);
    return true;
}

/* With the lock: says how many lines are missing, once there is room to say so. */
static void tell_dropped(void)
{
    uint64_t count = atomic_load_explicit(&dropped, memory_order_relaxed);
    if (count == dropped_told)
        return;
    struct eg_buffer line = EG_BUFFER_INIT;
    const struct eg_log_field fields[] = {EG_LOG_INT("lines", count - dropped_told), EG_LOG_END};
    if (atomic_load(&log_format) == EG_LOG_JSON)
        add_json(&line, EG_LOG_WARN, "log lines dropped: standard error is read too slowly", fields);
    else
        add_text(&line, EG_LOG_WARN, "log lines dropped: standard error is read too slowly", fields);
    eg_buffer_add_string(&line, "\n");
    if (!line.failed && enqueue(line.data, line.length))
        dropped_told = count;
    eg_buffer_done(&line);
}

static void *write_queue(void *context)
{
    static char out[QUEUE_BYTES];
    (void)context;
    pthread_mutex_lock(&lock);
    while (!stopping || queue_length > 0) {
        if (queue_length == 0) {
            pthread_cond_wait(&filled, &lock);
            continue;
        }
        size_t length = queue_length;
        memcpy(out, queue, length);
        queue_length = 0;
        tell_dropped();
        pthread_mutex_unlock(&lock);
        write_all(out, length);
        pthread_mutex_lock(&lock);
    }
    running = false;
    pthread_cond_broadcast(&filled);
    pthread_mutex_unlock(&lock);
    return NULL;
}

bool eg_log_has(enum eg_log_level level)
{
    return level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

void eg_log_fields(enum eg_log_level level, const char *message, const struct eg_log_field *fields)
{
    if (!eg_log_has(level))
        return;
    struct eg_buffer line = EG_BUFFER_INIT;
    if (atomic_load_explicit(&log_format, memory_order_relaxed) == EG_LOG_JSON)
        add_json(&line, level, message, fields);
    else
        add_text(&line, level, message, fields);
    eg_buffer_add_string(&line, "\n");
    pthread_mutex_lock(&lock);
    bool direct = !running;
    if (!direct && (line.failed || !enqueue(line.data, line.length)))
        atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
    pthread_mutex_unlock(&lock);
    if (direct && !line.failed)
        write_all(line.data, line.length);
    eg_buffer_done(&line);
}

void eg_log_configure(enum eg_log_level level, enum eg_log_format format)
{
    atomic_store(&log_level, level);
    atomic_store(&log_format, format);
}

int eg_log_start(void)
{
    running = true;
    stopping = false;
    int error = eg_quiet_thread_start(&writer, NULL, write_queue, NULL);
    if (error)
        running = false;
    return error;
}

void eg_log_stop(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_WAIT_MS / 1000;
    pthread_mutex_lock(&lock);
    if (!running) {
        pthread_mutex_unlock(&lock);
        return;
    }
    stopping = true;
    pthread_cond_broadcast(&filled);
    int error = 0;
    while (running && error != ETIMEDOUT)
        error = pthread_cond_timedwait(&filled, &lock, &until);
    bool ended = !running;
    pthread_mutex_unlock(&lock);
    if (ended)
        pthread_join(writer, NULL);
    else
        pthread_detach(writer); /* stuck in write(): the process is about to exit */
}

uint64_t eg_log_dropped(void)
{
    return atomic_load_explicit(&dropped, memory_order_relaxed);
}

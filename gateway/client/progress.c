/*
 * The line of progress.
 */
#include "eventgate/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define TERMINAL_EVERY_MS 200
#define LINES_EVERY_MS 2000

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void eg_progress_begin(struct eg_progress *progress, bool forced)
{
    progress->terminal = isatty(STDERR_FILENO) == 1;
    progress->shares_screen = isatty(STDOUT_FILENO) == 1;
    progress->shown = progress->terminal || forced;
    progress->began_ms = now_ms();
    /* A moment for it to be over before anything is said. */
    progress->told_ms = progress->began_ms;
}

/* 1234567: "1,234,567" */
static const char *grouped(uint64_t number, char text[32])
{
    char plain[32];
    int length = snprintf(plain, sizeof(plain), "%" PRIu64, number), at = 0;
    for (int i = 0; i < length; i++) {
        text[at++] = plain[i];
        if (i + 1 < length && (length - i - 1) % 3 == 0)
            text[at++] = ',';
    }
    text[at] = '\0';
    return text;
}

static void write_line(struct eg_progress *progress, const char *text, bool last)
{
    if (progress->terminal)
        fprintf(stderr, "\r\033[K%s%s", text, last ? "\n" : "");
    else
        fprintf(stderr, "%s\n", text);
    fflush(stderr);
    progress->drawn = progress->terminal && !last;
}

/* "  41 %, 0:13 left" */
static void add_share(const struct eg_progress *progress, uint64_t done, uint64_t all, int64_t passed_ms, char *text,
                      size_t size)
{
    uint64_t since = done - progress->begun_at, left = all - done, whole = all - progress->begun_at;
    double seconds = since > 0 ? (double)left * (double)passed_ms / 1000 / (double)since : -1;
    int length = snprintf(text, size, "  %d %%", whole > 0 ? (int)((double)since * 100 / (double)whole) : 100);
    if (seconds >= 0 && seconds < 360000 && length > 0 && (size_t)length < size)
        snprintf(text + length, size - (size_t)length, ", %d:%02d left", (int)seconds / 60, (int)seconds % 60);
}

void eg_progress_tell(struct eg_progress *progress, uint64_t count, const char *what, uint64_t done, uint64_t all,
                      const char *note)
{
    int64_t now = now_ms(), passed = now - progress->began_ms;
    char line[200], share[64] = "", counted[32], rate[32];
    if (all > 0 && !progress->has_begun_at) {
        progress->begun_at = done;
        progress->has_begun_at = true;
    }
    if (!progress->shown || now - progress->told_ms < (progress->terminal ? TERMINAL_EVERY_MS : LINES_EVERY_MS))
        return;
    progress->told_ms = now;
    if (all > 0 && done >= progress->begun_at && all >= done)
        add_share(progress, done, all, passed, share, sizeof(share));
    snprintf(line, sizeof(line), "%s %s  %s/s%s%s%s", grouped(count, counted), what,
             grouped(passed > 0 ? (uint64_t)((double)count * 1000 / (double)passed) : 0, rate), share, note ? "  " : "",
             note ? note : "");
    write_line(progress, line, false);
}

void eg_progress_clear(struct eg_progress *progress)
{
    if (!progress->drawn)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    progress->drawn = false;
}

void eg_progress_end(struct eg_progress *progress, uint64_t count, const char *what, const char *note)
{
    char line[200], counted[32];
    int64_t passed = now_ms() - progress->began_ms;
    if (!progress->shown)
        return;
    snprintf(line, sizeof(line), "%s %s in %.1f s%s%s", grouped(count, counted), what, (double)passed / 1000,
             note ? ": " : "", note ? note : "");
    write_line(progress, line, true);
    progress->shown = false;
}

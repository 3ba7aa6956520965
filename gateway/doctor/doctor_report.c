/*
 * Findings, as lines or as JSON.
 */
#include "eventgate/doctor_report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {"ok", "warning", "error"};
static const char *const colours[] = {"\033[32m", "\033[33m", "\033[31m"};

void eg_report_begin(struct eg_report *report, bool json)
{
    report->json = json;
    report->colours = !json && isatty(STDOUT_FILENO) == 1 && !getenv("NO_COLOR"); /* no-color.org */
}

static void clear_note(struct eg_report *report)
{
    if (report->has_note)
        fputs("\r\033[K", stderr);
    report->has_note = false;
}

void eg_report_wait(struct eg_report *report, const char *what)
{
    if (isatty(STDERR_FILENO) != 1)
        return;
    clear_note(report);
    fprintf(stderr, "%s ...", what);
    fflush(stderr);
    report->has_note = true;
}

static void print(const struct eg_report *report, enum eg_verdict verdict, const char *subject, const char *advice,
                  const char *found)
{
    printf("%s%-7s%s  %s%s%s\n", report->colours ? colours[verdict] : "", names[verdict],
           report->colours ? "\033[0m" : "", subject ? subject : "", subject ? ": " : "", found);
    if (advice)
        printf("         %s\n", advice);
    fflush(stdout);
}

static void add_member(struct eg_buffer *json, const char *name, const char *value)
{
    eg_buffer_add_format(json, ",\"%s\":", name);
    if (value)
        eg_buffer_add_json_string(json, value, strlen(value));
    else
        eg_buffer_add_string(json, "null");
}

void eg_report_add(struct eg_report *report, enum eg_verdict verdict, const char *check, const char *subject,
                   const char *advice, const char *format, ...)
{
    char found[1200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(found, sizeof(found), format, arguments);
    va_end(arguments);
    report->counts[verdict]++;
    clear_note(report);
    if (!report->json) {
        print(report, verdict, subject, advice, found);
        return;
    }
    eg_buffer_add_format(&report->findings, "%s\n  {\"result\":\"%s\"", report->findings.length > 0 ? "," : "",
                         names[verdict]);
    add_member(&report->findings, "check", check);
    add_member(&report->findings, "subject", subject);
    add_member(&report->findings, "found", found);
    add_member(&report->findings, "advice", advice);
    eg_buffer_add_string(&report->findings, "}");
}

static const char *plural(unsigned count)
{
    return count == 1 ? "" : "s";
}

bool eg_report_end(struct eg_report *report)
{
    const unsigned *counts = report->counts;
    bool failed = report->findings.failed;
    clear_note(report);
    if (!report->json)
        printf("\n%u error%s, %u warning%s, %u ok%s\n", counts[EG_ERROR], plural(counts[EG_ERROR]), counts[EG_WARNING],
               plural(counts[EG_WARNING]), counts[EG_FINE],
               counts[EG_ERROR] > 0     ? ": the errors keep it from doing what it is for."
               : counts[EG_WARNING] > 0 ? ": it works; the warnings are worth a look."
                                        : ": all is well.");
    else if (!failed)
        printf("{\"errors\":%u,\"warnings\":%u,\"ok\":%u,\"checks\":[%.*s\n]}\n", counts[EG_ERROR], counts[EG_WARNING],
               counts[EG_FINE], (int)report->findings.length, report->findings.data ? report->findings.data : "");
    eg_buffer_done(&report->findings);
    return fflush(stdout) == 0 && !failed;
}

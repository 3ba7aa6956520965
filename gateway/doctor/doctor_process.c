/*
 * This machine: open files and the clock.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/timex.h>

#include "eventgate/doctor.h"

const char *eg_doctor_age(double seconds, char ret_text[32])
{
    static const struct {
        double seconds;
        const char *unit;
    } units[] = {{86400 * 2, "days"}, {3600, "h"}, {60, "min"}, {1, "s"}};
    static const double sizes[] = {86400, 3600, 60, 1};
    size_t i = 0;
    while (i + 1 < EG_ARRAY_LENGTH(units) && seconds < units[i].seconds)
        i++;
    snprintf(ret_text, 32, "%.0f %s", seconds / sizes[i], units[i].unit);
    return ret_text;
}

static void check_files(struct eg_report *report, const struct eg_config *config, const struct eg_doctor_files *files)
{
    static const char raise[] = "Raise it where the gateway is started: LimitNOFILE= in its systemd unit, --ulimit "
                                "nofile= of a container, ulimit -Hn in a shell. Or lower max_connections.";
    const char *who = files->of_running ? "the gateway that runs here" : "a process started from here";
    uint64_t wanted = config->settings.max_connections;
    if (files->room >= wanted)
        eg_report_add(report, EG_FINE, "files", "open files", NULL,
                      "%s may have enough of them for max_connections = %" PRIu64, who, wanted);
    else if (files->room == 0)
        eg_report_add(report, EG_ERROR, "files", "open files", raise,
                      "%s may have %" PRIu64 ", which leaves none for clients: it doesn't start with that", who,
                      files->open_files);
    else
        eg_report_add(report, EG_WARNING, "files", "open files", raise,
                      "%s may have %" PRIu64 ": enough for %" PRIu64 " clients, while max_connections is %" PRIu64, who,
                      files->open_files, files->room, wanted);
}

static void check_clock(struct eg_report *report)
{
    struct timex about = {.modes = 0};
    int state = adjtimex(&about);
    if (state < 0)
        return;
    if (state == TIME_ERROR || (about.status & STA_UNSYNC))
        eg_report_add(report, EG_WARNING, "clock", "clock of this machine",
                      "Run a time service (systemd-timesyncd, chrony, ntpd), or see what timedatectl says. In a "
                      "container it is the host's, and this may be said though it is right.",
                      "the kernel knows of nothing that keeps it right; tokens are judged by it");
    else
        eg_report_add(report, EG_FINE, "clock", "clock of this machine", NULL,
                      "kept right by a time service, to within %.3f s at the worst", (double)about.maxerror / 1e6);
}

void eg_doctor_process(struct eg_report *report, const struct eg_config *config, const struct eg_doctor_files *files)
{
    check_files(report, config, files);
    check_clock(report);
}

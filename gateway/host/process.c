/*
 * Standard descriptors, /proc/self, getrlimit() and the processor's clock.
 */
#include "eventgate/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* What /proc/self/status has (proc(5)). */
struct status {
    int64_t virtual_kib, resident_kib;
    int descriptor_slots;
};

static struct status read_status(void)
{
    struct status status = {0};
    char line[256];
    FILE *file = fopen("/proc/self/status", "re");
    if (!file)
        return status;
    while (fgets(line, sizeof(line), file)) {
        sscanf(line, "VmSize: %" SCNd64, &status.virtual_kib);
        sscanf(line, "VmRSS: %" SCNd64, &status.resident_kib);
        sscanf(line, "FDSize: %d", &status.descriptor_slots);
    }
    fclose(file);
    return status;
}

int64_t eg_process_count_descriptors(int slots)
{
    enum { BLOCK = 64 }; /* no more than there may be (RLIMIT_NOFILE): the gateway needs more itself */
    struct pollfd block[BLOCK];
    int64_t count = 0;
    for (int first = 0; first < slots; first += BLOCK) {
        nfds_t asked = 0;
        for (int fd = first; fd < slots && asked < BLOCK; fd++)
            block[asked++] = (struct pollfd){.fd = fd};
        if (poll(block, asked, 0) < 0)
            return 0;
        for (nfds_t i = 0; i < asked; i++)
            count += !(block[i].revents & POLLNVAL);
    }
    return count;
}

/* The size of the directory is their number from Linux 6.2 on, 0 before. Reading it would take a microsecond for each.
 */
static int64_t open_descriptors(int slots)
{
    struct stat directory;
    if (stat("/proc/self/fd", &directory) == 0 && directory.st_size > 0)
        return directory.st_size;
    return eg_process_count_descriptors(slots);
}

static int64_t processor_us(void)
{
    struct timespec used;
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) != 0)
        return 0;
    return (int64_t)used.tv_sec * 1000000 + used.tv_nsec / 1000;
}

void eg_process_measure(struct eg_metrics *metrics, int64_t started_us)
{
    struct status status = read_status();
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NOFILE, &limit);
    eg_metrics_set_total(metrics, EG_METRIC_BUILD, 1);
    eg_metrics_set_total(metrics, EG_METRIC_MEMORY, status.resident_kib * 1024);
    eg_metrics_set_total(metrics, EG_METRIC_VIRTUAL_MEMORY, status.virtual_kib * 1024);
    eg_metrics_set_total(metrics, EG_METRIC_OPEN_FDS, open_descriptors(status.descriptor_slots));
    eg_metrics_set_total(metrics, EG_METRIC_MAX_FDS, (int64_t)limit.rlim_cur);
    eg_metrics_set_total(metrics, EG_METRIC_CPU, processor_us());
    eg_metrics_set_total(metrics, EG_METRIC_START_TIME, started_us);
}

int eg_process_fill_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        int unusable = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
        /* The lowest one that is free: this one. It is inherited, as any other would be in its place. */
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", unusable) < 0)
            return -errno;
    }
    return 0;
}

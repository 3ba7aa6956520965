/*
 * The load generator: opens streams, publishes events, and prints what arrived as one line of JSON.
 */
#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "address.h"
#include "aims.h"
#include "crowd.h"
#include "plain.h"
#include "posters.h"
#include "publisher.h"
#include "settings.h"

enum filling { PACED, SATURATED, ALONE }; /* when the next event is published */

struct bench {
    struct settings settings;
    enum filling filling;
    struct sockaddr_in server;
    const char *target;
    struct crowd_aim *aims;
    uint32_t aim_count;
    int epoll, ticks; /* `ticks`: timerfd of the paced publisher */
    struct crowd *crowd;
    struct publisher *publisher;
    struct posters *posters;
    uint64_t published;
    uint64_t pace_begin_ns, paced;
};

static void open_crowd(struct bench *bench)
{
    const struct settings *settings = &bench->settings;
    const struct crowd_options options = {.server = bench->server,
                                          .target = bench->target,
                                          .aims = bench->aims,
                                          .aim_count = bench->aim_count,
                                          .streams = settings->streams,
                                          .channels = settings->channels,
                                          .per_address = settings->per_address,
                                          .by_kernel = strcmp(settings->work, "watch") == 0};
    bench->crowd = crowd_new(&options, bench->epoll);
    double seconds = crowd_open(bench->crowd);
    printf("{\"streams\":%u,\"opened_per_s\":%.0f", settings->streams, settings->streams / seconds);
}

static void open_publisher(struct bench *bench)
{
    const struct settings *settings = &bench->settings;
    if (!settings->publish)
        errx(2, "--publish is missing");
    bench->publisher = publisher_new(settings->publish, settings->channel, settings->payload, bench->epoll);
}

static void publish(struct bench *bench, uint32_t count)
{
    publisher_send(bench->publisher, count, (uint32_t)(bench->published % bench->settings.channels),
                   bench->settings.channels);
    bench->published += count;
}

/* --- the works --------------------------------------------------------------------------------------------------- */

/* Keeps up to `window` events on their way, half a window at a time. */
static void refill(struct bench *bench)
{
    uint64_t under_way = bench->published - crowd_complete(bench->crowd);
    uint32_t window = bench->settings.window, room = under_way < window ? window - (uint32_t)under_way : 0;
    if (room >= (window + 1) / 2)
        publish(bench, room);
}

/* Publishes what is due by the clock. */
static void keep_pace(struct bench *bench)
{
    uint64_t expirations;
    if (read(bench->ticks, &expirations, sizeof(expirations)) < 0)
        return;
    uint64_t due = (now_ns() - bench->pace_begin_ns) * bench->settings.rate / 1000000000u;
    for (; bench->paced < due; bench->paced++)
        publish(bench, 1); /* a transaction each */
}

static void start_pace(struct bench *bench)
{
    uint64_t every_ns = 1000000000u / bench->settings.rate;
    struct itimerspec spec = {
        .it_interval = {.tv_nsec = (long)(every_ns % 1000000000u), .tv_sec = (time_t)(every_ns / 1000000000u)}};
    spec.it_value = spec.it_interval;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &bench->ticks};
    bench->ticks = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (bench->ticks < 0 || timerfd_settime(bench->ticks, 0, &spec, NULL) != 0 ||
        epoll_ctl(bench->epoll, EPOLL_CTL_ADD, bench->ticks, &event) != 0)
        err(1, "timer");
    bench->pace_begin_ns = now_ns();
}

/* The next event when nothing at all is under way. */
static void publish_alone(struct bench *bench)
{
    if (bench->published == crowd_complete(bench->crowd) && publisher_pending(bench->publisher) == 0)
        publish(bench, 1);
}

static void wait_and_work(struct bench *bench, int timeout_ms)
{
    struct epoll_event events[256];
    int count = epoll_wait(bench->epoll, events, 256, timeout_ms);
    for (int i = 0; i < count; i++) {
        void *who = events[i].data.ptr;
        if (who == &bench->ticks)
            keep_pace(bench);
        else if (who == bench->publisher)
            publisher_ready(bench->publisher);
        else if (bench->posters)
            posters_ready(bench->posters, who);
        else
            crowd_read(bench->crowd, who);
    }
}

static void run_until(struct bench *bench, uint64_t end_ns)
{
    for (uint64_t now = now_ns(); now < end_ns; now = now_ns()) {
        if (bench->filling == SATURATED)
            refill(bench);
        else if (bench->filling == ALONE)
            publish_alone(bench);
        wait_and_work(bench, (int)((end_ns - now) / 1000000) + 1);
    }
}

static void print_ages(const struct ages *ages)
{
    printf(",\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f", (double)ages_quantile(ages, 0.5) / 1e6,
           (double)ages_quantile(ages, 0.99) / 1e6, (double)ages_quantile(ages, 1) / 1e6);
}

/* The orchestrator looks at the servers' processor time at these two moments. */
static void announce(const char *moment)
{
    fprintf(stderr, "%s\n", moment);
}

static void measure_streams(struct bench *bench, enum filling filling)
{
    open_crowd(bench);
    open_publisher(bench);
    bench->filling = filling;
    if (filling == PACED)
        start_pace(bench);
    run_until(bench, now_ns() + bench->settings.warm_up * 1000000000ull);
    struct crowd *crowd = bench->crowd;
    ages_clear(crowd_ages(crowd));
    announce("begin");
    uint64_t begin_ns = now_ns(), deliveries = crowd_deliveries(crowd), bytes = crowd_bytes(crowd),
             published = bench->published;
    run_until(bench, begin_ns + bench->settings.seconds * 1000000000ull);
    announce("end");
    double seconds = (double)(now_ns() - begin_ns) / 1e9;
    deliveries = crowd_deliveries(crowd) - deliveries;
    printf(",\"seconds\":%.3f,\"events_per_s\":%.1f,\"deliveries\":%llu,\"deliveries_per_s\":%.0f,\"bytes\":%llu,"
           "\"gaps\":%llu,\"unacknowledged\":%llu",
           seconds, (double)(bench->published - published) / seconds, (unsigned long long)deliveries,
           (double)deliveries / seconds, (unsigned long long)(crowd_bytes(crowd) - bytes),
           (unsigned long long)crowd_gaps(crowd), (unsigned long long)publisher_pending(bench->publisher));
    print_ages(crowd_ages(crowd));
    puts("}");
}

/* Prints a line when the crowd is open, and one for each line of its input. */
static void watch_streams(struct bench *bench)
{
    struct epoll_event input = {.events = EPOLLIN, .data.ptr = stdin};
    char scrap[64];
    open_crowd(bench);
    open_publisher(bench);
    start_pace(bench);
    puts("}");
    fflush(stdout);
    int input_epoll = epoll_create1(EPOLL_CLOEXEC);
    if (input_epoll < 0 || epoll_ctl(input_epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0)
        err(1, "epoll");
    for (;;) {
        wait_and_work(bench, 5);
        if (epoll_wait(input_epoll, &input, 1, 0) == 0)
            continue;
        if (read(STDIN_FILENO, scrap, sizeof(scrap)) <= 0)
            return;
        printf("{\"deliveries\":%llu,\"gaps\":%llu", (unsigned long long)crowd_ages(bench->crowd)->count,
               (unsigned long long)crowd_gaps(bench->crowd));
        print_ages(crowd_ages(bench->crowd));
        puts("}");
        fflush(stdout);
        ages_clear(crowd_ages(bench->crowd));
    }
}

static void measure_drain(struct bench *bench)
{
    if (!bench->settings.aims)
        errx(2, "--aims is missing");
    bench->aims = aims_read(bench->settings.aims, &bench->aim_count);
    announce("begin");
    uint64_t begin_ns = now_ns(), moved_ns = begin_ns, deliveries = 0;
    open_crowd(bench);
    while (crowd_satisfied(bench->crowd) < bench->settings.streams) {
        wait_and_work(bench, 1000);
        if (crowd_deliveries(bench->crowd) > deliveries)
            moved_ns = now_ns();
        else if (now_ns() - moved_ns > 30000000000ull)
            errx(1, "only %u streams have had all their events", crowd_satisfied(bench->crowd));
        deliveries = crowd_deliveries(bench->crowd);
    }
    double seconds = (double)(now_ns() - begin_ns) / 1e9;
    announce("end");
    printf(",\"seconds\":%.3f,\"deliveries\":%llu,\"deliveries_per_s\":%.0f,\"gaps\":%llu}\n", seconds,
           (unsigned long long)deliveries, (double)deliveries / seconds, (unsigned long long)crowd_gaps(bench->crowd));
}

static void hold_idle(struct bench *bench)
{
    open_crowd(bench);
    puts("}");
    fflush(stdout);
    while (getchar() != EOF) {
    }
}

static void measure_posts(struct bench *bench)
{
    const struct settings *settings = &bench->settings;
    bench->posters = posters_new(bench->server, bench->target, settings->connections, settings->payload, bench->epoll);
    posters_begin(bench->posters);
    run_until(bench, now_ns() + settings->warm_up * 1000000000ull);
    ages_clear(posters_ages(bench->posters));
    announce("begin");
    uint64_t begin_ns = now_ns(), answered = posters_answered(bench->posters);
    run_until(bench, begin_ns + settings->seconds * 1000000000ull);
    announce("end");
    double seconds = (double)(now_ns() - begin_ns) / 1e9;
    printf("{\"connections\":%u,\"posts_per_s\":%.0f", settings->connections,
           (double)(posters_answered(bench->posters) - answered) / seconds);
    print_ages(posters_ages(bench->posters));
    puts("}");
}

/* False: it isn't one by libpq alone. */
static bool measure_plain(const struct settings *settings)
{
    static const struct {
        const char *work;
        void (*run)(const struct plain_options *options);
    } works[] = {{"insert", plain_insert}, {"listen", plain_listen}, {"append", plain_append}};
    const struct plain_options options = {.conninfo = settings->publish ? settings->publish : "",
                                          .channel = settings->channel,
                                          .channels = settings->channels,
                                          .connections = settings->connections,
                                          .payload = settings->payload,
                                          .batch = settings->batch,
                                          .seconds = settings->seconds,
                                          .warm_up = settings->warm_up};
    for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
        if (strcmp(settings->work, works[i].work) != 0)
            continue;
        works[i].run(&options);
        return true;
    }
    return false;
}

static void measure(struct bench *bench)
{
    const char *work = bench->settings.work;
    if (strcmp(work, "saturate") == 0)
        measure_streams(bench, SATURATED);
    else if (strcmp(work, "one") == 0)
        measure_streams(bench, ALONE);
    else if (strcmp(work, "pace") == 0)
        measure_streams(bench, PACED);
    else if (strcmp(work, "watch") == 0)
        watch_streams(bench);
    else if (strcmp(work, "idle") == 0)
        hold_idle(bench);
    else if (strcmp(work, "drain") == 0)
        measure_drain(bench);
    else if (strcmp(work, "post") == 0)
        measure_posts(bench);
    else
        errx(2, "no such work: %s", work);
}

static void clean_up(struct bench *bench)
{
    if (bench->posters)
        posters_free(bench->posters);
    if (bench->publisher)
        publisher_free(bench->publisher);
    if (bench->crowd)
        crowd_free(bench->crowd);
    aims_free(bench->aims, bench->aim_count);
}

int main(int count, char **arguments)
{
    static struct bench bench;
    struct rlimit limit;
    settings_read(count, arguments, &bench.settings);
    if (measure_plain(&bench.settings))
        return 0;
    if (!bench.settings.server)
        errx(2, "--server is missing");
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    bench.server = address_read(bench.settings.server, &bench.target);
    bench.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (bench.epoll < 0)
        err(1, "epoll");
    measure(&bench);
    clean_up(&bench);
    return 0;
}

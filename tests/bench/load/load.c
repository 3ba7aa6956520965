/*
 * The load generator: opens streams, publishes events, and prints what arrived as one line of JSON.
 */
#include <err.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "address.h"
#include "crowd.h"
#include "posters.h"
#include "publisher.h"

static const char usage[] =
    "Usage: bench_load WORK --server ADDRESS:PORT/TARGET [OPTION...]\n"
    "\n"
    "  saturate   publishes as fast as every stream takes the events, at most WINDOW ahead of the slowest\n"
    "  pace       publishes RATE events a second and measures how old they are when they arrive\n"
    "  idle       opens the streams, prints a line, and holds them until its input ends\n"
    "  post       POSTs events over CONNECTIONS connections, each in turn\n"
    "\n"
    "  --publish HOW      postgres:CONNINFO, http:ADDRESS:PORT/TARGET (`%s`: channel), lines:ADDRESS:PORT\n"
    "  --channel NAME     published to; `%u` in it, and in the server's TARGET, is the number of a channel\n"
    "  --channels N       how many (1)           --streams N       (1000)\n"
    "  --payload BYTES    (128)                  --per-address N   streams from one address (1000)\n"
    "  --window N         (16)                   --rate N          events a second (100)\n"
    "  --connections N    (32)                   --seconds S       measured (5), after --warm-up S (1)\n";

struct options {
    const char *server, *publish, *channel;
    unsigned streams, channels, payload, per_address, window, rate, connections, seconds, warm_up;
};

struct bench {
    struct options options;
    struct sockaddr_in server;
    const char *target;
    int epoll, ticks; /* `ticks`: timerfd of the paced publisher */
    struct crowd *crowd;
    struct publisher *publisher;
    struct posters *posters;
    uint64_t published;
    uint64_t pace_begin_ns, paced;
};

static unsigned number(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end || value == 0 || value > 100000000)
        errx(2, "not a number: %s", text);
    return (unsigned)value;
}

static void read_options(int count, char **arguments, struct options *options)
{
    static const struct option names[] = {
        {"server", 1, NULL, 's'},  {"publish", 1, NULL, 'p'},     {"channel", 1, NULL, 'c'},
        {"streams", 1, NULL, 'n'}, {"channels", 1, NULL, 'C'},    {"payload", 1, NULL, 'b'},
        {"window", 1, NULL, 'w'},  {"per-address", 1, NULL, 'a'}, {"rate", 1, NULL, 'r'},
        {"seconds", 1, NULL, 'S'}, {"connections", 1, NULL, 'k'}, {"warm-up", 1, NULL, 'W'},
        {NULL, 0, NULL, 0}};
    int name;
    *options = (struct options){.channel = "bench",
                                .streams = 1000,
                                .channels = 1,
                                .payload = 128,
                                .per_address = 1000,
                                .window = 16,
                                .rate = 100,
                                .connections = 32,
                                .seconds = 5,
                                .warm_up = 1};
    while ((name = getopt_long(count, arguments, "", names, NULL)) != -1) {
        switch (name) {
        case 's':
            options->server = optarg;
            break;
        case 'p':
            options->publish = optarg;
            break;
        case 'c':
            options->channel = optarg;
            break;
        case 'n':
            options->streams = number(optarg);
            break;
        case 'C':
            options->channels = number(optarg);
            break;
        case 'b':
            options->payload = number(optarg);
            break;
        case 'w':
            options->window = number(optarg);
            break;
        case 'a':
            options->per_address = number(optarg);
            break;
        case 'r':
            options->rate = number(optarg);
            break;
        case 'S':
            options->seconds = number(optarg);
            break;
        case 'k':
            options->connections = number(optarg);
            break;
        case 'W':
            options->warm_up = number(optarg);
            break;
        default:
            fputs(usage, stderr);
            exit(2);
        }
    }
    if (!options->server || optind + 1 != count) {
        fputs(usage, stderr);
        exit(2);
    }
}

static void open_crowd(struct bench *bench)
{
    const struct options *options = &bench->options;
    bench->crowd = crowd_new(&(struct crowd_options){bench->server, bench->target, options->streams, options->channels,
                                                     options->per_address},
                             bench->epoll);
    double seconds = crowd_open(bench->crowd);
    printf("{\"streams\":%u,\"opened_per_s\":%.0f", options->streams, options->streams / seconds);
}

static void open_publisher(struct bench *bench)
{
    const struct options *options = &bench->options;
    if (!options->publish)
        errx(2, "--publish is missing");
    bench->publisher = publisher_new(options->publish, options->channel, options->payload, bench->epoll);
}

static void publish(struct bench *bench, uint32_t count)
{
    publisher_send(bench->publisher, count, (uint32_t)(bench->published % bench->options.channels),
                   bench->options.channels);
    bench->published += count;
}

/* --- the works --------------------------------------------------------------------------------------------------- */

/* Keeps up to `window` events on their way, half a window at a time. */
static void refill(struct bench *bench)
{
    uint64_t under_way = bench->published - crowd_complete(bench->crowd);
    uint32_t window = bench->options.window, room = under_way < window ? window - (uint32_t)under_way : 0;
    if (room >= (window + 1) / 2)
        publish(bench, room);
}

/* Publishes what is due by the clock. */
static void keep_pace(struct bench *bench)
{
    uint64_t expirations;
    if (read(bench->ticks, &expirations, sizeof(expirations)) < 0)
        return;
    uint64_t due = (now_ns() - bench->pace_begin_ns) * bench->options.rate / 1000000000u;
    for (; bench->paced < due; bench->paced++)
        publish(bench, 1); /* a transaction each */
}

static void start_pace(struct bench *bench)
{
    uint64_t every_ns = 1000000000u / bench->options.rate;
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

static void run_until(struct bench *bench, uint64_t end_ns, bool saturate)
{
    struct epoll_event events[256];
    for (uint64_t now = now_ns(); now < end_ns; now = now_ns()) {
        if (saturate)
            refill(bench);
        int count = epoll_wait(bench->epoll, events, 256, (int)((end_ns - now) / 1000000) + 1);
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

static void measure_streams(struct bench *bench, bool saturate)
{
    open_crowd(bench);
    open_publisher(bench);
    if (!saturate)
        start_pace(bench);
    run_until(bench, now_ns() + bench->options.warm_up * 1000000000ull, saturate);
    struct crowd *crowd = bench->crowd;
    ages_clear(crowd_ages(crowd));
    announce("begin");
    uint64_t begin_ns = now_ns(), deliveries = crowd_deliveries(crowd), bytes = crowd_bytes(crowd),
             published = bench->published;
    run_until(bench, begin_ns + bench->options.seconds * 1000000000ull, saturate);
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
    const struct options *options = &bench->options;
    bench->posters = posters_new(bench->server, bench->target, options->connections, options->payload, bench->epoll);
    posters_begin(bench->posters);
    run_until(bench, now_ns() + options->warm_up * 1000000000ull, false);
    ages_clear(posters_ages(bench->posters));
    announce("begin");
    uint64_t begin_ns = now_ns(), answered = posters_answered(bench->posters);
    run_until(bench, begin_ns + options->seconds * 1000000000ull, false);
    announce("end");
    double seconds = (double)(now_ns() - begin_ns) / 1e9;
    printf("{\"connections\":%u,\"posts_per_s\":%.0f", options->connections,
           (double)(posters_answered(bench->posters) - answered) / seconds);
    print_ages(posters_ages(bench->posters));
    puts("}");
}

int main(int count, char **arguments)
{
    static struct bench bench;
    struct rlimit limit;
    read_options(count, arguments, &bench.options);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    bench.server = address_read(bench.options.server, &bench.target);
    bench.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (bench.epoll < 0)
        err(1, "epoll");
    const char *work = arguments[optind];
    if (strcmp(work, "saturate") == 0)
        measure_streams(&bench, true);
    else if (strcmp(work, "pace") == 0)
        measure_streams(&bench, false);
    else if (strcmp(work, "idle") == 0)
        hold_idle(&bench);
    else if (strcmp(work, "post") == 0)
        measure_posts(&bench);
    else
        errx(2, "no such work: %s", work);
    if (bench.posters)
        posters_free(bench.posters);
    if (bench.publisher)
        publisher_free(bench.publisher);
    if (bench.crowd)
        crowd_free(bench.crowd);
    return 0;
}

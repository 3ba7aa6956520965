#include "plain.h"

#include <arpa/inet.h>
#include <err.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "ages.h"
#include "payload.h"

#define TEXT_ARRAY 25 /* the oid of text */
#define INSERT                                                                                                         \
    "WITH row AS (INSERT INTO bench_plain (channel, data) VALUES ($1, $2::json) RETURNING data) "                      \
    "SELECT pg_notify('bench_plain', data::text) FROM row"

static void fail(PGconn *database)
{
    errx(1, "PostgreSQL: %s", PQerrorMessage(database));
}

static PGconn *connect_database(const struct plain_options *options)
{
    PGconn *database = PQconnectdb(options->conninfo + (strncmp(options->conninfo, "postgres:", 9) == 0 ? 9 : 0));
    if (PQstatus(database) != CONNECTION_OK)
        fail(database);
    return database;
}

static void run(PGconn *database, PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        fail(database);
    PQclear(result);
}

static PGconn *connect_listener(const struct plain_options *options)
{
    PGconn *listener = connect_database(options);
    run(listener, PQexec(listener, "LISTEN bench_plain"));
    return listener;
}

static PGconn *connect_publisher(const struct plain_options *options)
{
    PGconn *database = connect_database(options);
    run(database, PQprepare(database, "insert", INSERT, 2, NULL));
    return database;
}

static void send_insert(PGconn *database, const struct plain_options *options, uint64_t number)
{
    char payload[PAYLOAD_BYTES];
    payload_write(payload, options->payload, number);
    const char *values[] = {options->channel, payload};
    if (!PQsendQueryPrepared(database, "insert", 2, values, NULL, NULL, 0))
        fail(database);
}

/* How long ago the payloads of what has been notified were written. */
static unsigned take_notifications(PGconn *listener, struct ages *ages)
{
    unsigned count = 0;
    PGnotify *notify;
    if (!PQconsumeInput(listener))
        fail(listener);
    for (; (notify = PQnotifies(listener)); count++) {
        ages_add(ages, now_ns() - payload_stamp(notify->extra));
        PQfreemem(notify);
    }
    return count;
}

static void announce(const char *moment)
{
    fprintf(stderr, "%s\n", moment);
}

static void print_ages(const struct ages *ages)
{
    printf(",\"p50_ms\":%.3f,\"p99_ms\":%.3f}\n", (double)ages_quantile(ages, 0.5) / 1e6,
           (double)ages_quantile(ages, 0.99) / 1e6);
}

/* --- one by one -------------------------------------------------------------------------------------------------- */

struct inserter {
    PGconn *database;
    uint64_t asked_ns;
};

struct inserters {
    const struct plain_options *options;
    struct inserter *inserters;
    PGconn *listener;
    int epoll;
    uint64_t number, answered;
    struct ages ages, arrivals;
};

static void ask(struct inserters *all, struct inserter *inserter)
{
    inserter->asked_ns = now_ns();
    send_insert(inserter->database, all->options, all->number++);
}

static void take_answer(struct inserters *all, struct inserter *inserter)
{
    if (!PQconsumeInput(inserter->database))
        fail(inserter->database);
    while (!PQisBusy(inserter->database)) {
        PGresult *result = PQgetResult(inserter->database);
        if (!result) {
            ages_add(&all->ages, now_ns() - inserter->asked_ns);
            all->answered++;
            ask(all, inserter);
            return;
        }
        run(inserter->database, result);
    }
}

static void run_inserters(struct inserters *all, unsigned seconds)
{
    struct epoll_event events[64];
    uint64_t end_ns = now_ns() + seconds * 1000000000ull;
    for (uint64_t now = now_ns(); now < end_ns; now = now_ns()) {
        int count = epoll_wait(all->epoll, events, 64, (int)((end_ns - now) / 1000000) + 1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                take_answer(all, events[i].data.ptr);
            else
                take_notifications(all->listener, &all->arrivals);
        }
    }
}

static void watch(const struct inserters *all, PGconn *database, void *who)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = who};
    if (epoll_ctl(all->epoll, EPOLL_CTL_ADD, PQsocket(database), &event) != 0)
        err(1, "epoll_ctl");
}

static void connect_inserters(struct inserters *all, const struct plain_options *options)
{
    all->options = options;
    all->epoll = epoll_create1(EPOLL_CLOEXEC);
    all->inserters = calloc(options->connections, sizeof(*all->inserters));
    if (all->epoll < 0 || !all->inserters)
        errx(1, "out of memory");
    all->listener = connect_listener(options);
    watch(all, all->listener, NULL);
    for (unsigned i = 0; i < options->connections; i++) {
        all->inserters[i].database = connect_publisher(options);
        watch(all, all->inserters[i].database, &all->inserters[i]);
    }
}

void plain_insert(const struct plain_options *options)
{
    static struct inserters all;
    connect_inserters(&all, options);
    for (unsigned i = 0; i < options->connections; i++)
        ask(&all, &all.inserters[i]);
    run_inserters(&all, options->warm_up);
    ages_clear(&all.ages);
    announce("begin");
    uint64_t begin_ns = now_ns(), answered = all.answered;
    run_inserters(&all, options->seconds);
    announce("end");
    printf("{\"connections\":%u,\"posts_per_s\":%.0f", options->connections,
           (double)(all.answered - answered) / ((double)(now_ns() - begin_ns) / 1e9));
    print_ages(&all.ages);
    for (unsigned i = 0; i < options->connections; i++)
        PQfinish(all.inserters[i].database);
    PQfinish(all.listener);
    free(all.inserters);
}

/* --- batches ----------------------------------------------------------------------------------------------------- */

static size_t add_number(char *to, uint32_t number)
{
    number = htonl(number);
    memcpy(to, &number, sizeof(number));
    return sizeof(number);
}

static size_t begin_array(char *to, unsigned count)
{
    const uint32_t head[] = {1, 0, TEXT_ARRAY, count, 1};
    size_t length = 0;
    for (unsigned i = 0; i < sizeof(head) / sizeof(head[0]); i++)
        length += add_number(to + length, head[i]);
    return length;
}

static size_t add_element(char *to, const char *text)
{
    size_t length = strlen(text), head = add_number(to, (uint32_t)length);
    memcpy(to + head, text, length);
    return head + length;
}

/* Each batch has its arrays in PostgreSQL's binary form, as a program that wants to be fast sends them. */
static void append(PGconn *database, const struct plain_options *options, uint64_t first, char *channels, char *datas)
{
    size_t channels_length = begin_array(channels, options->batch), datas_length = begin_array(datas, options->batch);
    char channel[256], payload[PAYLOAD_BYTES];
    for (uint64_t i = first; i < first + options->batch; i++) {
        snprintf(channel, sizeof(channel), options->channel, (unsigned)(i % options->channels));
        payload_write(payload, options->payload, i);
        channels_length += add_element(channels + channels_length, channel);
        datas_length += add_element(datas + datas_length, payload);
    }
    const char *values[] = {channels, datas};
    const int lengths[] = {(int)channels_length, (int)datas_length}, formats[] = {1, 1};
    run(database, PQexecPrepared(database, "append", 2, values, lengths, formats, 1));
}

void plain_append(const struct plain_options *options)
{
    PGconn *database = connect_database(options);
    char *channels = malloc(32 + options->batch * 260ull),
         *datas = malloc(32 + options->batch * (PAYLOAD_BYTES + 4ull));
    uint64_t number = 0, begin_ns = now_ns(), warm_ns = begin_ns + options->warm_up * 1000000000ull;
    if (!channels || !datas)
        errx(1, "out of memory");
    run(database,
        PQprepare(database, "append",
                  "SELECT item, pos, outcome FROM eventgate.append('bench', NULL, $1, NULL, $2, NULL, NULL)", 2, NULL));
    for (; now_ns() < warm_ns; number += options->batch)
        append(database, options, number, channels, datas);
    announce("begin");
    uint64_t before = number;
    begin_ns = now_ns();
    for (uint64_t end_ns = begin_ns + options->seconds * 1000000000ull; now_ns() < end_ns; number += options->batch)
        append(database, options, number, channels, datas);
    announce("end");
    printf("{\"batch\":%u,\"posts_per_s\":%.0f}\n", options->batch,
           (double)(number - before) / ((double)(now_ns() - begin_ns) / 1e9));
    PQfinish(database);
    free(channels);
    free(datas);
}

/* --- end to end -------------------------------------------------------------------------------------------------- */

/* Both connections are waited for together, as a program that publishes and hears would. */
static void publish_and_hear(PGconn *publisher, PGconn *listener, struct ages *ages)
{
    bool heard = false, answered = false;
    while (!heard || !answered) {
        struct pollfd sockets[] = {{PQsocket(listener), POLLIN, 0}, {PQsocket(publisher), POLLIN, 0}};
        if (poll(sockets, 2, 30000) <= 0)
            errx(1, "no notification in 30 s");
        if (sockets[0].revents)
            heard = take_notifications(listener, ages) > 0 || heard;
        if (sockets[1].revents && !PQconsumeInput(publisher))
            fail(publisher);
        while (!answered && !PQisBusy(publisher)) {
            PGresult *result = PQgetResult(publisher);
            answered = !result;
            if (result)
                run(publisher, result);
        }
    }
}

void plain_listen(const struct plain_options *options)
{
    static struct ages ages;
    PGconn *listener = connect_listener(options), *publisher = connect_publisher(options);
    uint64_t number = 0, warm_ns = now_ns() + options->warm_up * 1000000000ull,
             end_ns = warm_ns + options->seconds * 1000000000ull;
    bool warm = false;
    for (uint64_t now = now_ns(); now < end_ns; now = now_ns()) {
        if (!warm && now >= warm_ns) {
            warm = true;
            ages_clear(&ages);
        }
        send_insert(publisher, options, number++);
        publish_and_hear(publisher, listener, &ages);
    }
    printf("{\"events\":%llu", (unsigned long long)ages.count);
    print_ages(&ages);
    PQfinish(publisher);
    PQfinish(listener);
}

/*
 * From settings to token buckets.
 */
#include "eventgate/rates.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "eventgate/grants.h"
#include "eventgate/token.h"

#define SECONDS_PER_HOUR 3600u

/* Whose bucket it is. The kind keeps a subject from being spelt like an address. */
struct owner {
    enum { SUBJECT, ADDRESS } kind;
    char bytes[EG_SUBJECT_MAX_BYTES];
};

/* Returns the length of the owner's key. */
static size_t find_owner(const struct eg_exchange *exchange, struct owner *ret_owner)
{
    const char *subject = eg_grants_subject(exchange->grants);
    struct eg_address_key address = eg_address_key(&exchange->address);
    size_t length = subject[0] ? strnlen(subject, sizeof(ret_owner->bytes)) : sizeof(address.bytes);
    ret_owner->kind = subject[0] ? SUBJECT : ADDRESS;
    memcpy(ret_owner->bytes, subject[0] ? (const void *)subject : address.bytes, length);
    return offsetof(struct owner, bytes) + length;
}

static struct eg_rate rate_of(const struct eg_settings *settings, enum eg_rate_kind kind)
{
    struct eg_rate rate = kind == EG_RATE_PUBLISH
                              ? (struct eg_rate){settings->publish_rate, settings->publish_burst}
                              : (struct eg_rate){settings->subscribe_rate, settings->subscribe_burst};
    if (rate.burst == 0)
        rate.burst = rate.per_hour > SECONDS_PER_HOUR ? rate.per_hour / SECONDS_PER_HOUR : 1;
    return rate;
}

int eg_rates_take(struct eg_worker *worker, const struct eg_exchange *exchange, enum eg_rate_kind kind, uint32_t amount,
                  uint32_t whole, uint64_t *ret_wait_ms, uint32_t *ret_most)
{
    static const enum eg_metric metrics[] = {EG_METRIC_LIMIT_PUBLISH_RATE, EG_METRIC_LIMIT_SUBSCRIBE_RATE};
    struct eg_rate rate = rate_of(&worker->settings, kind);
    if (rate.per_hour == 0)
        return 0;
    struct owner owner;
    int result = -E2BIG;
    if (whole <= rate.burst)
        result = eg_rate_limits_take(worker->shared->rates[kind], rate, &owner, find_owner(exchange, &owner), amount,
                                     eg_loop_now_ms(worker->loop), ret_wait_ms);
    if (result)
        eg_metrics_add(worker->metrics, metrics[kind], 1);
    *ret_most = rate.burst;
    return result;
}

void eg_rates_refuse(struct eg_exchange *exchange, const char *detail, uint64_t wait_ms)
{
    char seconds[24];
    snprintf(seconds, sizeof(seconds), "%" PRIu64, (wait_ms + 999) / 1000);
    eg_exchange_problem(exchange, EG_PROBLEM_TOO_MANY, detail,
                        (struct eg_header[]){{"Retry-After", seconds}, {NULL, NULL}});
}

/*
 * How much a client may publish and subscribe to: the rates of the settings, by the request's subject or address. The
 * worker's thread.
 */
#ifndef EG_RATES_H
#define EG_RATES_H

#include "eventgate/worker.h"

enum eg_rate_kind { EG_RATE_PUBLISH, EG_RATE_SUBSCRIBE };

/*
 * Takes `amount` from what the client of the exchange may still do; it is a part of `whole`, which the request asks for
 * in all. 0; -EAGAIN: in `ret_wait_ms` it fits; -E2BIG: the whole is more than may ever come at once (`ret_most`). A
 * refusal is counted.
 */
int eg_rates_take(struct eg_worker *worker, const struct eg_exchange *exchange, enum eg_rate_kind kind, uint32_t amount,
                  uint32_t whole, uint64_t *ret_wait_ms, uint32_t *ret_most) EG_MUST_CHECK;

/* Answers 429 with Retry-After. */
void eg_rates_refuse(struct eg_exchange *exchange, const char *detail, uint64_t wait_ms);

#endif

/*
 * A POST on its way: from rows that have been checked, through the publishers of their sets, to the answer.
 * Everything here is for the worker's own thread.
 */
#ifndef EG_POSTING_H
#define EG_POSTING_H

#include "eventgate/server.h"
#include "eventgate/worker.h"

/* One event, in the order of the request. Its bytes are borrowed until the posting is submitted. */
struct eg_posting_row {
    uint32_t set;
    bool durable;
    struct eg_bytes channel;
    struct eg_bytes data; /* live: the payload; durable: JSON */
    struct eg_bytes type; /* durable; "" for none */
    struct eg_bytes key;  /* the same */
    struct eg_bytes trace;
    /* The outcome. */
    enum eg_outcome outcome;
    uint64_t position;
    struct eg_error *error; /* owned */
};

struct eg_posting;

/* `batch`: the answer has a row for each. `rows`: at least one. NULL: out of memory. Free with eg_posting_free(),
 * unless it was submitted. */
struct eg_posting *eg_posting_new(struct eg_worker *worker, bool batch, size_t rows);
struct eg_posting_row *eg_posting_row(struct eg_posting *posting, size_t index);
void eg_posting_free(struct eg_posting *posting);

/*
 * Takes the posting, whose rows are good and whose durable rows are of one set: publishes it and answers, now or later.
 * Durable rows are appended together or not at all; live ones follow when that has been committed.
 */
void eg_posting_submit(struct eg_posting *posting, struct eg_exchange *exchange);

/* Answers that there is no memory for it. */
void eg_posting_no_memory(struct eg_exchange *exchange);

#endif

/*
 * A publish on its way: from a POST handler through the publisher to PostgreSQL, and its outcome back.
 * One object, handed from thread to thread through mailboxes; who holds it, owns it.
 */
#ifndef EG_PUBLICATION_H
#define EG_PUBLICATION_H

#include <stdbool.h>

#include "eventgate/common.h"
#include "eventgate/cursor.h"

enum eg_outcome {
    EG_OUTCOME_PENDING,
    EG_OUTCOME_COMMITTED,   /* PostgreSQL has committed it */
    EG_OUTCOME_REPLAYED,    /* durable: its key is known with the same body; `position` is the first one's */
    EG_OUTCOME_CONFLICT,    /* durable: its key is known with another body; nothing of its unit was appended */
    EG_OUTCOME_WITHHELD,    /* durable: another item of its unit is in conflict */
    EG_OUTCOME_REFUSED,     /* PostgreSQL refused it; nothing was published; see `error` (durable: SQLSTATE 54000 stands
                               for data that is larger than the log's max_bytes) */
    EG_OUTCOME_UNAVAILABLE, /* nothing was published: the database is away */
    EG_OUTCOME_UNKNOWN,     /* the connection was lost before the answer to COMMIT: it may have been published */
};

struct eg_publication_item {
    struct eg_bytes channel; /* valid name; live: of at most 63 bytes */
    struct eg_bytes payload; /* valid UTF-8 without NUL; live: at most 7,999 bytes; durable: JSON */
    struct eg_bytes type;    /* durable; "" for none; no control characters */
    struct eg_bytes key;     /* the same */
    struct eg_bytes trace;   /* the same; W3C traceparent */
    uint64_t position;       /* durable: with COMMITTED and REPLAYED */
    int64_t appended_us;     /* durable: with COMMITTED, where it is known: wall clock, since 1970; else 0 */
    enum eg_outcome outcome;
    uint32_t row;           /* free for the caller: the row of the batch that this item answers */
    struct eg_error *error; /* owned, set with REFUSED, else NULL */
};

struct eg_publication {
    struct eg_publication *next;                      /* for the holder */
    void (*done)(struct eg_publication *publication); /* called once on the Postgres thread when no item is PENDING */
    void *context;                                    /* for `done` */
    const char *request; /* the id of the request that it came with, for the log; borrowed till `done` is called */
    uint32_t set;
    bool durable;                    /* appended to the log; else notified */
    bool whole;                      /* durable: a unit, all of it or nothing */
    char tag[EG_CURSOR_TAG_MAX + 1]; /* durable: of the log, with positions */
    uint32_t unfinished;             /* items; the publisher's */
    size_t bytes;                    /* of all payloads and channels; counted against the queue */
    size_t count;
    struct eg_publication_item items[]; /* the bytes they point to live in the same allocation */
};

/* Room for `count` items and `bytes` of text behind them, at `ret_text`; zeroed. Free with eg_publication_free(). NULL:
 * out of memory. */
struct eg_publication *eg_publication_new(size_t count, size_t bytes, char **ret_text);
void eg_publication_free(struct eg_publication *publication);

#endif

/*
 * A publish on its way: from a POST handler through the publisher to PostgreSQL, and its outcome back.
 * One object, handed from thread to thread through mailboxes; who holds it, owns it.
 */
#ifndef EG_PUBLICATION_H
#define EG_PUBLICATION_H

#include "eventgate/common.h"

enum eg_outcome {
    EG_OUTCOME_PENDING,
    EG_OUTCOME_COMMITTED,   /* PostgreSQL has committed it */
    EG_OUTCOME_REFUSED,     /* PostgreSQL refused it; nothing was published; see `error` */
    EG_OUTCOME_UNAVAILABLE, /* nothing was published: the database is away */
    EG_OUTCOME_UNKNOWN,     /* the connection was lost before the answer to COMMIT: it may have been published */
};

struct eg_publication_item {
    struct eg_bytes channel; /* valid name of at most 63 bytes */
    struct eg_bytes payload; /* valid UTF-8 without NUL, at most 7,999 bytes */
    enum eg_outcome outcome;
    uint32_t row;           /* free for the caller: the row of the batch that this item answers */
    struct eg_error *error; /* owned, set with REFUSED, else NULL */
};

struct eg_publication {
    struct eg_publication *next;                      /* for the holder */
    void (*done)(struct eg_publication *publication); /* called once on the Postgres thread when no item is PENDING */
    void *context;                                    /* for `done` */
    uint32_t set;
    uint32_t unfinished; /* items; the publisher's */
    size_t bytes;        /* of all payloads and channels; counted against the queue */
    size_t count;
    struct eg_publication_item items[]; /* the bytes they point to live in the same allocation */
};

/* Room for `count` items and `bytes` of text behind them, at `ret_text`; zeroed. Free with eg_publication_free(). NULL:
 * out of memory. */
struct eg_publication *eg_publication_new(size_t count, size_t bytes, char **ret_text);
void eg_publication_free(struct eg_publication *publication);

#endif

/*
 * Publishing through a gateway until it is known what became of each event: repeats what was not published, and what
 * may have been only where a key makes sure that it is published once.
 */
#ifndef EG_SENDING_H
#define EG_SENDING_H

#include "eventgate/call.h"

enum eg_sending_form {
    EG_SENDING_SEEN, /* JSON where it is JSON, else text */
    EG_SENDING_JSON, /* JSON, else it is refused */
    EG_SENDING_TEXT,
};

/* All borrowed. */
struct eg_sending {
    struct eg_caller *caller;
    const char *channel;
    const char *type;  /* NULL: none */
    const char *key;   /* of one event; of lines, what stands before each one's number */
    bool has_made_key; /* `key` wasn't asked for: a live channel does without */
    enum eg_sending_form form;
    uint32_t patience_ms;   /* how long one request is repeated */
    bool is_known, is_live; /* the kind of the channel, which the first event finds out */
};

struct eg_sending_item {
    struct eg_bytes data;
    uint64_t line; /* of the input, from 1 on; 0: there are no lines */
};

/* What became of events. */
struct eg_sending_sum {
    uint64_t committed, refused, unknown;
    bool ended; /* what follows would fare no better: no token, no such channel, no patience any more, a signal */
};

/* Publishes one event by itself, and learns what kind of channel it is. Prints its id to standard output, and what went
 * wrong to standard error; adds to `sum`. Blocks. */
void eg_sending_one(struct eg_sending *sending, const struct eg_sending_item *item, struct eg_sending_sum *sum);

/* Publishes several, in order, as a batch; where one of them is refused, all the others. The kind is known. */
void eg_sending_batch(struct eg_sending *sending, const struct eg_sending_item *items, size_t count,
                      struct eg_sending_sum *sum);

#endif

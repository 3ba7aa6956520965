/*
 * HTTP requests to a gateway, as a client: one after the other, each of which blocks. The only module that knows
 * libcurl. For the commands; never in the gateway itself.
 */
#ifndef EG_CALL_H
#define EG_CALL_H

#include <signal.h>
#include <stdbool.h>

#include "eventgate/buffer.h"

/* What an answer that isn't passed on may have of a body. */
#define EG_CALL_BODY_MAX (16u << 20)

/* Whom to call, and how. Borrowed by the caller while it lives. */
struct eg_call_target {
    const char *url;        /* "https://events.example.org/prefix"; slashes at its end don't matter */
    const char *token_file; /* read again for each call; NULL: `token` */
    const char *token;      /* NULL: none */
    const char *cacert;     /* PEM file with the authorities that count; NULL: the system's */
    bool no_verify;         /* the server's certificate isn't checked */
    bool direct;            /* not through the proxies that http_proxy and its like name */
    uint32_t connect_timeout_ms;
    const volatile sig_atomic_t *stopped; /* NULL, or what ends a call when it is set: by a signal's handler */
};

struct eg_call_request {
    const char *method;         /* "GET" */
    const char *path;           /* behind the URL: "/events?channel=a" */
    const char *const *headers; /* "Name: value", NULL-terminated; NULL: none */
    struct eg_bytes body;       /* data NULL: none */
    bool fresh;                 /* over a connection of its own: a request on a kept one may be repeated unseen */
    uint32_t timeout_ms;        /* for all of it; 0: none */
    uint32_t idle_ms;           /* without a byte of the answer; 0: no limit */
    /* Gets the body of an answer of status 200 as it comes, instead of the answer; false ends the call. */
    bool (*received)(void *context, const char *data, size_t length);
    /* Called at least once a second while the call lasts; false ends it. May be NULL. */
    bool (*ticked)(void *context);
    void *context;
};

enum eg_call_outcome {
    EG_CALL_ANSWERED,
    EG_CALL_IMPOSSIBLE, /* it cannot be made, and the next one could not: a file that cannot be read, a certificate that
                           isn't believed */
    EG_CALL_NOT_SENT,   /* the server can't have seen it */
    EG_CALL_BROKEN,     /* it may have seen it; the answer is not whole */
    EG_CALL_IDLE,       /* the same: nothing came for idle_ms */
    EG_CALL_ENDED,      /* by `received`, `ticked` or `stopped` */
};

struct eg_call_answer {
    enum eg_call_outcome outcome;
    char problem[320];     /* unless it was answered: what happened, the end of a sentence; "" else */
    unsigned status;       /* 0: no head came */
    unsigned http_version; /* 10, 11, 20, 30; 0: none */
    struct eg_buffer head; /* "name: value" lines of the answer, names in lower case, NUL-terminated */
    struct eg_buffer body; /* of what wasn't passed on */
    uint32_t connected_ms, first_byte_ms, total_ms; /* since its start; 0: it didn't come to that */
    char peer[64];                                  /* address and port that it was connected to */
    char certificate_until[64];                     /* end of the server's certificate, as libcurl tells it; "" */
};

struct eg_caller;

/* NULL: out of memory. */
struct eg_caller *eg_caller_new(const struct eg_call_target *target);
void eg_caller_free(struct eg_caller *caller);

/* Calls. `ret_answer` is the caller's to end with eg_call_answer_done(), whatever came of it. */
void eg_caller_call(struct eg_caller *caller, const struct eg_call_request *request, struct eg_call_answer *ret_answer);
void eg_call_answer_done(struct eg_call_answer *answer);

/* The value of a header, its name in lower case: of the last one if there are several. Copied to `ret_value`; false and
 * "" if there is none. */
bool eg_call_header(const struct eg_call_answer *answer, const char *name, char *ret_value, size_t size);

/* The sentence of a problem document (RFC 9457) and the last part of its type, else "" and what the status says. */
void eg_call_problem(const struct eg_call_answer *answer, char *ret_sentence, size_t size, char ret_type[40]);

/* Seconds of Retry-After (RFC 9110 section 10.2.3; a date is not understood), or 0. */
uint32_t eg_call_retry_after(const struct eg_call_answer *answer);

/* Appends a name as a part of a URL: what isn't unreserved (RFC 3986 section 2.3) is escaped, `/` only if asked for. */
void eg_call_add_escaped(struct eg_buffer *buffer, const char *text, bool slashes);

/* libcurl's version, "7.88.1". */
const char *eg_call_library_version(void);

#endif

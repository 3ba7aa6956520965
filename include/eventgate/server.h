/*
 * The only module that knows libmicrohttpd: one daemon for each worker, driven by the worker's loop, and requests as
 * exchanges.
 *
 * libmicrohttpd parses a request, and sends the head of every answer and the body of all that have an end. The body of
 * a stream is not its business: when the head is out, the socket is taken (see eg_exchange_stream()). Everything here
 * is for the worker's own thread.
 */
#ifndef EG_SERVER_H
#define EG_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "eventgate/buffer.h"
#include "eventgate/intake.h"
#include "eventgate/request.h"
#include "eventgate/trace.h"

struct MHD_Connection;
struct MHD_Response;
struct eg_server;
struct eg_policy;
struct eg_grants;
struct eg_metrics;

enum eg_method { EG_METHOD_GET, EG_METHOD_HEAD, EG_METHOD_POST, EG_METHOD_OPTIONS, EG_METHOD_OTHER };

/* Where the token of a request stands. */
enum eg_token_source { EG_TOKEN_NOWHERE, EG_TOKEN_IN_HEADER, EG_TOKEN_IN_COOKIE, EG_TOKEN_IN_QUERY };

/* Of a request id: our own have 16 hexadecimal digits, those that a proxy gives up to so many characters. */
#define EG_EXCHANGE_ID_MAX 64

/* One request and its answer. Owned by the server; lives from the request line until the answer is out. */
struct eg_exchange {
    struct eg_server *server;
    struct eg_client *client;
    union eg_address address;              /* whose request it is: the peer's, or as a trusted proxy gives it */
    char id[EG_EXCHANGE_ID_MAX + 1];       /* request id */
    char trace[EG_TRACEPARENT_LENGTH + 1]; /* its traceparent; "" for none that is valid */
    uint64_t began_us;                     /* eg_loop_now_us() */
    bool crowded;                          /* that address has as many connections and requests as it may have */
    bool http_1_0;
    enum eg_method method;
    enum eg_route route;
    struct eg_bytes channel; /* with EG_ROUTE_CHANNEL; not checked yet */
    struct eg_target target;
    struct eg_buffer body;

    /* Who asks; see identity.h. */
    struct eg_policy *policy; /* a reference; NULL: everything is allowed */
    struct eg_grants *grants; /* the same */
    enum eg_token_source token_source;

    /* For whoever answers later: `gone` is called once if the exchange ends (client gone, server stops) while suspended
     * or before its stream was taken; afterwards the exchange must not be touched. */
    void *state;
    void (*gone)(struct eg_exchange *exchange);

    /* The server's own. */
    char *raw_target;    /* as it came */
    const char *options; /* with OPTIONS: the methods of the URL */
    struct MHD_Connection *connection;
    struct MHD_Response *response; /* ready, to be queued when the suspended connection runs again */
    unsigned status;
    const char *problem; /* of the answer: its name; NULL for none */
    void (*taken)(struct eg_exchange *exchange, struct eg_wire wire);
    void (*hung_up)(struct eg_exchange *exchange);
    struct eg_watch hangup; /* watches a suspended connection's socket, hangup_fd */
    int hangup_fd;
    size_t reserved_bytes; /* of the budget for bodies */
    bool event_stream;     /* what EventSource reads */
    bool may_be_done;      /* what it asked for: so it is told when there is no memory for the answer itself */
    bool started;
    bool suspended; /* or held: answered later */
    bool held;
    bool answered;
    LIST_ENTRY(eg_exchange) entry;
};

/* A budget in bytes that all workers share. */
struct eg_budget {
    _Atomic uint64_t used;
};

struct eg_server_hooks {
    /* A complete, well-formed request. Must answer it, or suspend it. */
    void (*handle)(void *context, struct eg_exchange *exchange);
    void *context;
};

struct eg_server_options {
    struct eg_loop *loop;
    const struct eg_settings *settings; /* borrowed; read at each use */
    struct eg_policy *const *policy;    /* the same; NULL: everything is allowed */
    struct eg_tls *tls;                 /* what TLS begins with at first; NULL: none */
    struct eg_intake_counts *counts;
    struct eg_budget *bodies;
    struct eg_metrics *metrics;
    struct eg_server_hooks hooks;
};

/* NULL: could not be started; the reason has been logged. */
struct eg_server *eg_server_new(const struct eg_server_options *options);

/* Answers what is still open by closing it (calling `gone`), and frees. */
void eg_server_free(struct eg_server *server);

/* Connections of TLS begin with this from now on; those that there are keep what they have. The reference is taken
 * over. */
void eg_server_use_tls(struct eg_server *server, struct eg_tls *tls);

/* Accepts from a listening socket. */
int eg_server_listen(struct eg_server *server, const struct eg_listening_socket *socket) EG_MUST_CHECK;

/* From now on every answer says that it closes its connection, and does. */
void eg_server_close_behind_answers(struct eg_server *server);
/* That, and idle connections are closed. */
void eg_server_drain(struct eg_server *server);
/* That without the latter: another process accepts the connections now, and this one no more. */
void eg_server_hand_over(struct eg_server *server);
/* Is there any connection left, be it a stream's? */
bool eg_server_has_clients(const struct eg_server *server);

/* Closes the listening sockets' watch. */
void eg_server_stop_accepting(struct eg_server *server);

/* Requests under way. */
size_t eg_server_exchanges(const struct eg_server *server);

/* To be called at the end of each turn of the loop: lets libmicrohttpd run if there is anything for it. */
void eg_server_turn(struct eg_server *server);

/* A header of the request (the first of that name), or NULL. */
const char *eg_exchange_header(struct eg_exchange *exchange, const char *name);

/* Appends all of that name, in their order, joined by commas (RFC 9110 section 5.3). Returns whether there is any. */
bool eg_exchange_header_list(struct eg_exchange *exchange, const char *name, struct eg_buffer *list);

/* The loop that it belongs to. */
struct eg_loop *eg_exchange_loop(const struct eg_exchange *exchange);

/* Where to count what becomes of it. */
struct eg_metrics *eg_exchange_metrics(const struct eg_exchange *exchange);

/* The policy that is in force now, where `policy` is the one that the request's head was judged by: for what goes with
 * the sets that there are now. Borrowed, until the worker's turn is over. */
const struct eg_policy *eg_exchange_policy_now(const struct eg_exchange *exchange);

/* What is configured, as of now. */
const struct eg_settings *eg_exchange_settings(const struct eg_exchange *exchange);

/* How many headers of that name there are. */
size_t eg_exchange_header_count(struct eg_exchange *exchange, const char *name);

struct eg_header {
    const char *name; /* NULL ends a list */
    const char *value;
};

/* Answers. `body` is taken over and left empty. `headers` may be NULL. */
void eg_exchange_reply(struct eg_exchange *exchange, unsigned status, const char *content_type, struct eg_buffer *body,
                       const struct eg_header *headers);

/* Answers with bytes that stay where they are, and may be kept as `headers` say; with 304 the client gets none of them.
 */
void eg_exchange_reply_constant(struct eg_exchange *exchange, unsigned status, const char *content_type,
                                const void *data, size_t length, const struct eg_header *headers);

/* Answers with application/problem+json; 503 and 429 carry Retry-After (of `headers`, else 1). */
void eg_exchange_problem(struct eg_exchange *exchange, enum eg_problem problem, const char *detail,
                         const struct eg_header *headers);

/*
 * Answers 200 with a head for a stream; when it is out, `taken` is called with the client's wire, on a descriptor of
 * the same socket: both are its own from then on (the client has been taken as well: exchange->client, to be freed by
 * the stream).
 * HTTP/1.1: the head says chunked, what is sent must be chunks; HTTP/1.0: plain bytes up to the close. The exchange
 * ends when `taken` returns; its fields are still there during the call. Without a descriptor for it `taken` isn't
 * called, but `gone` is; the client sees the end, and EventSource a `retry:` before it. HEAD: the head alone, `taken`
 * isn't called, but `gone` is.
 */
void eg_exchange_stream(struct eg_exchange *exchange, const char *content_type,
                        void (*taken)(struct eg_exchange *exchange, struct eg_wire wire));

/*
 * Leaves the request unanswered until one of the answering functions above is called. First called from `handle`.
 * Suspended, a connection costs nothing while it waits, but two epoll_ctl() and a failing recv(): for a wait that may
 * be long. Held, it stays where it is, and libmicrohttpd passes it each time it runs: for a commit's time.
 */
void eg_exchange_suspend(struct eg_exchange *exchange);
void eg_exchange_hold(struct eg_exchange *exchange);

/* Calls `hung_up`, once, when the client of a suspended exchange closes its side: an answer is due at once. A later
 * call replaces the function. */
void eg_exchange_on_hangup(struct eg_exchange *exchange, void (*hung_up)(struct eg_exchange *exchange));

/*
 * Proves, against the libmicrohttpd that is loaded, that a taken socket is left alone (not shut down), that every byte
 * goes through the intake's check, and, with `tls` (NULL: none), that all of it goes through TLS: sends requests over
 * connections to itself. 0, or -ENOTSUP with a sentence. Main thread, before the workers.
 */
int eg_server_self_check(struct eg_tls *tls, struct eg_error *ret_error) EG_MUST_CHECK;

/* "0.9.75" */
const char *eg_server_library_version(void);

#endif

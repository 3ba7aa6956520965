/*
 * The raw bytes of a connection, checked before libmicrohttpd reads them: where each request begins and ends, and that
 * its head is one that every HTTP implementation reads the same way (RFC 9112). No I/O; any thread.
 *
 * The checker sees each byte once, in pieces of any size, keep-alive and pipelined requests included.
 */
#ifndef EG_HEAD_H
#define EG_HEAD_H

#include <stdbool.h>

#include "eventgate/common.h"
#include "eventgate/problem.h"

/* Header fields of one request. libmicrohttpd keeps a structure for each, in the memory pool of its connection. */
#define EG_HEAD_MAX_FIELDS 100u

struct eg_head_limits {
    uint32_t max_head_bytes; /* request line and fields of one head */
    uint64_t max_body_bytes; /* Content-Length above it is TOO_LARGE */
};

enum eg_head_stage {
    EG_HEAD_IDLE,    /* between requests: nothing of a head has arrived */
    EG_HEAD_READING, /* in a head */
    EG_HEAD_BODY,    /* in a body */
    EG_HEAD_BAD,     /* refused: no byte passes any more */
};

/* Zero-initialise. Fixed size: keeps no copy of the head. */
struct eg_head {
    enum eg_head_stage stage;
    uint32_t requests;       /* completed, with their bodies */
    uint32_t head_bytes;     /* of the head being read */
    enum eg_problem problem; /* with EG_HEAD_BAD */
    const char *detail;      /* with EG_HEAD_BAD: static sentence */
    uint64_t body_left;      /* of a body with Content-Length */
    /* The checker's own state. */
    uint8_t state;
    uint8_t matched; /* how much of an expected word has been seen; in a chunk size: its digits */
    uint8_t fields;  /* header fields so far */
    uint8_t level;   /* in a target: what its last level is so far */
    uint8_t escape;  /* in a target: which part of %XX has been seen */
    bool http_1_0;
    bool is_options;
    uint16_t field; /* while in a name: bit set of the known fields that it may still be; in a value: which one it is */
    uint16_t seen;  /* bit set of the known fields that there are */
    uint32_t extension_bytes; /* of all chunks of the body */
    uint64_t length;          /* Content-Length; in a chunked body: bytes of it so far */
    uint64_t chunk_left;
};

/*
 * Checks `data`, moves the stage, and returns how many bytes are good: all of them, or fewer when what follows is bad
 * (the stage is then EG_HEAD_BAD, and what was good ends before the bad request's head or with the good part of it).
 * Nothing of a request whose head is bad may take effect: good bytes never contain the end of a bad head.
 *
 * `kept` (of `length` bytes, or `data` itself) gets what is to be passed on: the good bytes without chunk extensions,
 * which mean nothing here (RFC 9112 has them ignored), and which libmicrohttpd 1.0.1 miscounts.
 *
 * Bad: bare CR or LF; a fold; space before `:`; a control byte or NUL in the head; an empty or non-token method or
 * field name; a request target that is not origin-form (`*` only with OPTIONS); a fragment, a `%` without two
 * hexadecimal digits or for a control byte, a level `.` or `..` in the path, escaped or not; a version other than
 * HTTP/1.0 and HTTP/1.1 (505); none or several Host with 1.1, several with 1.0; a Host with other bytes than those of a
 * name, an address and a port; several of a field that has one value only (Content-Length, Transfer-Encoding, Expect,
 * Content-Type, Content-Encoding, Authorization, Cookie, Origin, Idempotency-Key, Last-Event-ID); a Content-Length that
 * is not digits alone; Content-Length with Transfer-Encoding; Transfer-Encoding in 1.0, or other than exactly `chunked`
 * (501); more than EG_HEAD_MAX_FIELDS fields, or a head over max_head_bytes (431; 414 while still in the request line);
 * Content-Length over max_body_bytes (413); Expect other than 100-continue (417); a chunk size that is not 1 to 16
 * hexadecimal digits or over 2^32, more than 256 bytes of chunk extensions in a body, trailer fields. A chunked body is
 * counted too: over max_body_bytes is 413. Empty lines before a request line are refused (RFC 9112 allows one), and so
 * are spaces behind a Content-Length, Transfer-Encoding, Expect and chunk size, since libmicrohttpd takes them for a
 * part of the value.
 */
size_t eg_head_check(struct eg_head *head, const struct eg_head_limits *limits, const char *data, size_t length,
                     char *kept, size_t *ret_kept_length);

#endif

/*
 * The raw check of requests: a state machine that sees each byte once.
 *
 * States come in three groups: the request line, the fields, and the body. What a head needs to be judged as a whole
 * (how often Host, Content-Length and Transfer-Encoding came, and their values) is gathered on the way; nothing is
 * copied. The verdict on a head falls at its last byte, before that byte is passed on.
 */
#include "eventgate/head.h"

#include <string.h>

#define EXTENSION_MAX_BYTES 256u
#define CHUNK_SIZE_MAX_DIGITS 16u
#define CHUNK_MAX_BYTES (UINT64_C(1) << 32)

enum state {
    METHOD_START,
    METHOD,
    TARGET_START,
    ASTERISK,
    TARGET,
    VERSION,
    LINE_LF,
    FIELD_START,
    NAME,
    VALUE_START,
    VALUE,
    VALUE_LF,
    HEAD_LF,
    LENGTH_BODY,
    CHUNK_SIZE_START,
    CHUNK_SIZE,
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    LAST_CR,
    LAST_LF,
};

/* Fields of which there may be one. The first ones decide about the framing. */
enum field { HOST, CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT, FIELD_COUNT = 11, OTHER = FIELD_COUNT };

static const struct {
    const char *name;
    const char *value; /* the only one that it may have, or NULL */
    const char *twice;
} known[FIELD_COUNT] = {
    [HOST] = {"host", NULL, "There are several Host headers."},
    [CONTENT_LENGTH] = {"content-length", NULL, "There are several Content-Length headers."},
    [TRANSFER_ENCODING] = {"transfer-encoding", "chunked", "There are several Transfer-Encoding headers."},
    [EXPECT] = {"expect", "100-continue", "There are several Expect headers."},
    {"content-type", NULL, "There are several Content-Type headers."},
    {"content-encoding", NULL, "There are several Content-Encoding headers."},
    {"authorization", NULL, "There are several Authorization headers."},
    {"cookie", NULL, "There are several Cookie headers; send one, with semicolons."},
    {"origin", NULL, "There are several Origin headers."},
    {"idempotency-key", NULL, "There are several Idempotency-Key headers."},
    {"last-event-id", NULL, "There are several Last-Event-ID headers."},
};

enum { MISMATCH = UINT8_MAX };
/* What the last level of a target's path is so far, in `level`; IN_QUERY: the path is over. */
enum { LEVEL_EMPTY, LEVEL_DOT, LEVEL_DOTS, LEVEL_OTHER, IN_QUERY };
/* In `escape`: nothing, the % of an escape, or its first digit, added to this. */
enum { ESCAPE_NONE, ESCAPE_BEGUN, ESCAPE_DIGIT };
/* What there is of a Content-Length value, in `matched`. */
enum { LENGTH_NONE, LENGTH_DIGITS };

/* --- characters -------------------------------------------------------------------------------------------------- */

static bool is_token(unsigned char byte)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
           (byte && strchr(others, byte));
}

/* Of a name, an IPv4 or IPv6 address, and a port (RFC 3986 section 3.2, without what nobody calls a host by). */
static bool is_host(unsigned char byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
           (byte && strchr("-._~%:[]", byte));
}

static unsigned char lower(unsigned char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (unsigned char)(byte + 'a' - 'A') : byte;
}

static bool is_control(unsigned char byte)
{
    return byte < 0x20 || byte == 0x7f;
}

static int hex_digit(unsigned char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte = lower(byte);
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* --- verdicts ---------------------------------------------------------------------------------------------------- */

static bool refuse(struct eg_head *head, enum eg_problem problem, const char *detail)
{
    head->stage = EG_HEAD_BAD;
    head->problem = problem;
    head->detail = detail;
    return false;
}

static bool bad(struct eg_head *head, const char *detail)
{
    return refuse(head, EG_PROBLEM_BAD_REQUEST, detail);
}

static bool go(struct eg_head *head, enum state state)
{
    head->state = (uint8_t)state;
    return true;
}

static bool request_is_over(struct eg_head *head)
{
    uint32_t requests = head->requests + 1;
    memset(head, 0, sizeof(*head));
    head->requests = requests;
    return true;
}

static bool has(const struct eg_head *head, enum field field)
{
    return head->seen & (1u << field);
}

/* The head is complete: is it one, and what follows it? */
static bool judge(struct eg_head *head, const struct eg_head_limits *limits)
{
    bool chunked = has(head, TRANSFER_ENCODING);
    if (!has(head, HOST) && !head->http_1_0)
        return bad(head, "HTTP/1.1 needs a Host header.");
    if (chunked && has(head, CONTENT_LENGTH))
        return bad(head, "Content-Length and Transfer-Encoding exclude each other.");
    if (chunked && head->http_1_0)
        return bad(head, "HTTP/1.0 has no Transfer-Encoding.");
    if (head->length > limits->max_body_bytes)
        return refuse(head, EG_PROBLEM_TOO_LARGE, "The body is larger than this gateway takes (max_body).");
    if (chunked) {
        head->stage = EG_HEAD_BODY;
        head->length = 0;
        return go(head, CHUNK_SIZE_START);
    }
    if (head->length > 0) {
        head->stage = EG_HEAD_BODY;
        head->body_left = head->length;
        return go(head, LENGTH_BODY);
    }
    return request_is_over(head);
}

/* --- the request line -------------------------------------------------------------------------------------------- */

static bool in_method(struct eg_head *head, unsigned char byte)
{
    static const char options[] = "OPTIONS";
    if (byte == ' ') {
        head->is_options = head->matched == sizeof(options) - 1;
        return go(head, TARGET_START);
    }
    if (!is_token(byte))
        return bad(head, "The request line does not begin with a method.");
    if (head->matched < sizeof(options) - 1 && byte == (unsigned char)options[head->matched])
        head->matched++;
    else
        head->matched = MISMATCH;
    return go(head, METHOD);
}

/* A byte of the target as it is meant, that is behind an escape if it is one. */
static bool target_byte(struct eg_head *head, unsigned char byte)
{
    if (is_control(byte))
        return bad(head, "The request target has an escaped control byte.");
    if (head->level == IN_QUERY)
        return true;
    if (byte == '/' && (head->level == LEVEL_DOT || head->level == LEVEL_DOTS))
        return bad(head, "The path has a level \".\" or \"..\".");
    if (byte == '/')
        head->level = LEVEL_EMPTY;
    else if (byte == '.' && head->level < LEVEL_DOTS)
        head->level++;
    else
        head->level = LEVEL_OTHER;
    return true;
}

static bool in_escape(struct eg_head *head, unsigned char byte)
{
    int digit = hex_digit(byte), high = head->escape - ESCAPE_DIGIT;
    if (digit < 0)
        return bad(head, "The request target has a % that is not followed by two hexadecimal digits.");
    head->escape = head->escape == ESCAPE_BEGUN ? (uint8_t)(ESCAPE_DIGIT + digit) : ESCAPE_NONE;
    return head->escape != ESCAPE_NONE || target_byte(head, (unsigned char)(high * 16 + digit));
}

static bool path_is_over(struct eg_head *head)
{
    if (head->level == LEVEL_DOT || head->level == LEVEL_DOTS)
        return bad(head, "The path has a level \".\" or \"..\".");
    head->level = IN_QUERY;
    return true;
}

static bool in_target(struct eg_head *head, unsigned char byte)
{
    if (head->escape != ESCAPE_NONE)
        return in_escape(head, byte);
    if (byte == ' ') {
        head->matched = 0;
        return path_is_over(head) && go(head, VERSION);
    }
    if (is_control(byte))
        return bad(head, "The request target has a control byte or no HTTP version behind it.");
    if (byte == '#')
        return bad(head, "A request target has no fragment (#).");
    if (byte == '%')
        head->escape = ESCAPE_BEGUN;
    else if (byte == '?' && head->level != IN_QUERY)
        return path_is_over(head);
    else
        return target_byte(head, byte);
    return true;
}

static bool in_version(struct eg_head *head, unsigned char byte)
{
    static const char version[] = "HTTP/1.";
    if (head->matched < sizeof(version) - 1) {
        if (byte == (unsigned char)version[head->matched++])
            return true;
        if (head->matched > sizeof("HTTP/") - 1)
            return refuse(head, EG_PROBLEM_HTTP_VERSION, "This server speaks HTTP/1.1 and HTTP/1.0.");
        return bad(head, "The request line does not end with an HTTP version.");
    }
    if (head->matched == sizeof(version) - 1) {
        head->matched++;
        head->http_1_0 = byte == '0';
        if (byte == '0' || byte == '1')
            return true;
        return refuse(head, EG_PROBLEM_HTTP_VERSION, "This server speaks HTTP/1.1 and HTTP/1.0.");
    }
    return byte == '\r' ? go(head, LINE_LF) : bad(head, "The request line does not end with CR LF.");
}

/* --- fields ------------------------------------------------------------------------------------------------------ */

static bool field_begins(struct eg_head *head, unsigned char byte)
{
    if (byte == '\r')
        return go(head, HEAD_LF);
    if (byte == ' ' || byte == '\t')
        return bad(head, "A header is folded over several lines.");
    if (++head->fields > EG_HEAD_MAX_FIELDS)
        return refuse(head, EG_PROBLEM_HEADER_TOO_LARGE, "The request has more than 100 headers.");
    head->field = (1u << FIELD_COUNT) - 1;
    head->matched = 0;
    return go(head, NAME);
}

static void match_name(struct eg_head *head, unsigned char byte)
{
    if (!head->field) /* none of them, as most */
        return;
    for (unsigned i = 0; i < FIELD_COUNT; i++)
        if ((head->field & (1u << i)) && (unsigned char)known[i].name[head->matched] != lower(byte))
            head->field &= (uint16_t) ~(1u << i);
    if (head->field)
        head->matched++;
}

static bool name_ends(struct eg_head *head)
{
    unsigned candidates = head->field;
    head->field = OTHER;
    for (unsigned i = 0; i < FIELD_COUNT; i++)
        if ((candidates & (1u << i)) && known[i].name[head->matched] == '\0')
            head->field = (uint16_t)i;
    head->matched = 0;
    if (head->field != OTHER && has(head, (enum field)head->field))
        return bad(head, known[head->field].twice);
    head->seen |= (uint16_t)(1u << head->field);
    return go(head, VALUE_START);
}

static bool in_name(struct eg_head *head, unsigned char byte)
{
    if (byte == ':')
        return name_ends(head);
    if (!is_token(byte))
        return bad(head, "A header's name is not a name, or has a space before its colon.");
    match_name(head, byte);
    return true;
}

static bool in_length(struct eg_head *head, unsigned char byte)
{
    if (byte < '0' || byte > '9')
        return bad(head, "Content-Length is not a number.");
    head->matched = LENGTH_DIGITS;
    if (head->length > UINT64_MAX / 100)
        return bad(head, "Content-Length is too large to be a number of bytes.");
    head->length = head->length * 10 + (uint64_t)(byte - '0');
    return true;
}

/* A value of which there is just one. */
static void in_word(struct eg_head *head, unsigned char byte)
{
    const char *word = known[head->field].value;
    if (head->matched != MISMATCH)
        head->matched = lower(byte) == (unsigned char)word[head->matched] ? (uint8_t)(head->matched + 1) : MISMATCH;
}

static bool value_ends(struct eg_head *head)
{
    if (head->field == CONTENT_LENGTH && head->matched == LENGTH_NONE)
        return bad(head, "Content-Length is empty.");
    bool has_word = head->field == TRANSFER_ENCODING || head->field == EXPECT;
    bool is_word = has_word && head->matched != MISMATCH && known[head->field].value[head->matched] == '\0';
    if (head->field == TRANSFER_ENCODING && !is_word)
        return refuse(head, EG_PROBLEM_NOT_IMPLEMENTED, "The only Transfer-Encoding is \"chunked\".");
    if (head->field == EXPECT && !is_word)
        return refuse(head, EG_PROBLEM_EXPECTATION_FAILED, "The only expectation that can be met is \"100-continue\".");
    return go(head, VALUE_LF);
}

static bool in_value(struct eg_head *head, unsigned char byte)
{
    if (byte == '\r')
        return value_ends(head);
    if (is_control(byte) && byte != '\t')
        return bad(head, "A header's value has a control byte, or a line that does not end with CR LF.");
    if (head->state == VALUE_START && (byte == ' ' || byte == '\t'))
        return true;
    head->state = VALUE;
    if (head->field == CONTENT_LENGTH)
        return in_length(head, byte);
    if (head->field == HOST && !is_host(byte))
        return bad(head, "The Host header is not a name or an address with an optional port.");
    if (head->field == TRANSFER_ENCODING || head->field == EXPECT)
        in_word(head, byte);
    return true;
}

/* --- chunked bodies ---------------------------------------------------------------------------------------------- */

static bool in_chunk_size(struct eg_head *head, unsigned char byte)
{
    int digit = hex_digit(byte);
    if (digit >= 0) {
        head->matched = head->state == CHUNK_SIZE_START ? 1 : (uint8_t)(head->matched + 1);
        head->chunk_left = head->chunk_left * 16 + (uint64_t)digit;
        if (head->chunk_left > CHUNK_MAX_BYTES || head->matched > CHUNK_SIZE_MAX_DIGITS)
            return bad(head, "A chunk of the body is too large.");
        return go(head, CHUNK_SIZE);
    }
    if (head->state == CHUNK_SIZE_START)
        return bad(head, "A chunk of the body does not begin with its size.");
    if (byte == '\r')
        return go(head, CHUNK_SIZE_LF);
    return byte == ';' ? go(head, CHUNK_EXTENSION) : bad(head, "The size of a chunk of the body is not hexadecimal.");
}

static bool in_extension(struct eg_head *head, unsigned char byte)
{
    if (byte == '\r')
        return go(head, CHUNK_SIZE_LF);
    if (is_control(byte) && byte != '\t')
        return bad(head, "A chunk extension has a control byte.");
    return ++head->extension_bytes <= EXTENSION_MAX_BYTES ||
           bad(head, "The chunk extensions of the body are too long.");
}

static bool chunk_begins(struct eg_head *head, const struct eg_head_limits *limits)
{
    if (head->chunk_left == 0)
        return go(head, LAST_CR);
    head->length += head->chunk_left;
    if (head->length > limits->max_body_bytes)
        return refuse(head, EG_PROBLEM_TOO_LARGE, "The body is larger than this gateway takes (max_body).");
    return go(head, CHUNK_DATA);
}

/* --- the machine ------------------------------------------------------------------------------------------------- */

static bool expect(struct eg_head *head, unsigned char byte, unsigned char expected, enum state next,
                   const char *detail)
{
    return byte == expected ? go(head, next) : bad(head, detail);
}

/* One byte of a request line or a field. */
static bool head_step(struct eg_head *head, const struct eg_head_limits *limits, unsigned char byte)
{
    switch ((enum state)head->state) {
    case METHOD_START:
        head->stage = EG_HEAD_READING;
        return byte == ' ' ? bad(head, "The request line does not begin with a method.") : in_method(head, byte);
    case METHOD:
        return in_method(head, byte);
    case TARGET_START:
        if (byte == '*' && head->is_options)
            return go(head, ASTERISK);
        return expect(head, byte, '/', TARGET, "The request target must be a path that begins with a slash.");
    case ASTERISK:
        head->matched = 0;
        return expect(head, byte, ' ', VERSION, "Nothing may follow the asterisk.");
    case TARGET:
        return in_target(head, byte);
    case VERSION:
        return in_version(head, byte);
    case LINE_LF:
    case VALUE_LF:
        return expect(head, byte, '\n', FIELD_START, "A line does not end with CR LF.");
    case FIELD_START:
        return field_begins(head, byte) && (head->state != NAME || in_name(head, byte == ':' ? ' ' : byte));
    case NAME:
        return in_name(head, byte);
    case VALUE_START:
    case VALUE:
        return in_value(head, byte);
    default:
        return byte == '\n' ? judge(head, limits) : bad(head, "The head does not end with CR LF.");
    }
}

/* One byte of a chunked body's framing. */
static bool chunk_step(struct eg_head *head, const struct eg_head_limits *limits, unsigned char byte)
{
    switch ((enum state)head->state) {
    case CHUNK_SIZE_START:
    case CHUNK_SIZE:
        return in_chunk_size(head, byte);
    case CHUNK_EXTENSION:
        return in_extension(head, byte);
    case CHUNK_SIZE_LF:
        return byte == '\n' ? chunk_begins(head, limits) : bad(head, "The size of a chunk does not end with CR LF.");
    case CHUNK_DATA_CR:
        return expect(head, byte, '\r', CHUNK_DATA_LF, "A chunk is longer than its size.");
    case CHUNK_DATA_LF:
        return expect(head, byte, '\n', CHUNK_SIZE_START, "A chunk does not end with CR LF.");
    case LAST_CR:
        return expect(head, byte, '\r', LAST_LF, "Trailer fields are not taken.");
    default:
        return byte == '\n' ? request_is_over(head) : bad(head, "The body does not end with CR LF.");
    }
}

/* Bytes of a body are skipped together; returns how many. */
static size_t skip_body(struct eg_head *head, size_t available)
{
    uint64_t *left = head->state == LENGTH_BODY ? &head->body_left : &head->chunk_left;
    size_t skipped = *left < available ? (size_t)*left : available;
    *left -= skipped;
    if (*left > 0)
        return skipped;
    if (head->state == LENGTH_BODY)
        request_is_over(head);
    else
        head->state = CHUNK_DATA_CR;
    return skipped;
}

static bool step(struct eg_head *head, const struct eg_head_limits *limits, unsigned char byte)
{
    if (head->state > HEAD_LF)
        return chunk_step(head, limits, byte);
    if (++head->head_bytes > limits->max_head_bytes) {
        if (head->state <= VERSION)
            return refuse(head, EG_PROBLEM_URI_TOO_LONG,
                          "The request line is longer than this gateway takes (max_header).");
        return refuse(head, EG_PROBLEM_HEADER_TOO_LARGE, "The head is larger than this gateway takes (max_header).");
    }
    return head_step(head, limits, byte);
}

size_t eg_head_check(struct eg_head *head, const struct eg_head_limits *limits, const char *data, size_t length,
                     char *kept, size_t *ret_kept_length)
{
    size_t at = 0, kept_length = 0;
    while (at < length && head->stage != EG_HEAD_BAD) {
        size_t begin = at;
        if (head->state == LENGTH_BODY || head->state == CHUNK_DATA)
            at += skip_body(head, length - at);
        else if (step(head, limits, (unsigned char)data[at]))
            at++;
        if (head->state == CHUNK_EXTENSION)
            continue;
        if (kept + kept_length != data + begin)
            memmove(kept + kept_length, data + begin, at - begin);
        kept_length += at - begin;
    }
    *ret_kept_length = kept_length;
    return at;
}

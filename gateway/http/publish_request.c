/*
 * Type, idempotency key and trace of an event.
 */
#include "eventgate/publish_request.h"

#include <stdio.h>
#include <string.h>

#include "eventgate/utf8.h"

/* Does a control character begin here (Unicode's Cc: below U+0020, U+007F to U+009F)? Separators of lines and
 * paragraphs (U+2028, U+2029) are none: nothing takes them for the end of a line in JSON, SSE, or a header. */
static bool is_control(struct eg_bytes text, size_t at)
{
    unsigned char byte = (unsigned char)text.data[at];
    unsigned char next = at + 1 < text.length ? (unsigned char)text.data[at + 1] : 0;
    return byte < 0x20 || byte == 0x7f || (byte == 0xc2 && next >= 0x80 && next <= 0x9f);
}

static int check_text(struct eg_bytes text, const char *what, size_t most, struct eg_refusal *refusal)
{
    if (text.length == 0)
        return eg_refuse(refusal, EG_PROBLEM_BAD_PARAMETER, "The %s is empty: leave it out, or give 1 to %zu bytes.",
                         what, most);
    if (text.length > most)
        return eg_refuse(refusal, EG_PROBLEM_BAD_PARAMETER, "The %s is longer than %zu bytes.", what, most);
    for (size_t i = 0; i < text.length; i++)
        if (is_control(text, i))
            return eg_refuse(refusal, EG_PROBLEM_BAD_PARAMETER, "The %s has a control character.", what);
    if (!eg_utf8_valid(text.data, text.length))
        return eg_refuse(refusal, EG_PROBLEM_BAD_PARAMETER, "The %s is not UTF-8.", what);
    return 0;
}

int eg_event_type_check(struct eg_bytes type, struct eg_refusal *ret_refusal)
{
    return check_text(type, "type", EG_EVENT_TYPE_MAX_BYTES, ret_refusal);
}

int eg_event_key_check(struct eg_bytes key, struct eg_refusal *ret_refusal)
{
    return check_text(key, "key", EG_EVENT_KEY_MAX_BYTES, ret_refusal);
}

/*
 * Takes the content out of a quoted string; false if the text as a whole isn't one. Of what is too long, the length is
 * told and the rest left out.
 */
static bool unquote(struct eg_bytes text, char key[EG_EVENT_KEY_MAX_BYTES], size_t *ret_length)
{
    size_t length = 0, at = 1;
    if (text.length < 2 || text.data[0] != '"' || text.data[text.length - 1] != '"')
        return false;
    for (; at < text.length - 1; at++) {
        char byte = text.data[at];
        if (byte == '"')
            return false;
        if (byte == '\\' && (byte = text.data[++at]) != '"' && byte != '\\')
            return false;
        if (length < EG_EVENT_KEY_MAX_BYTES)
            key[length] = byte;
        length++;
    }
    *ret_length = length;
    return at == text.length - 1; /* else the last quote was an escaped one */
}

int eg_idempotency_key_read(const char *header, char ret_key[EG_EVENT_KEY_MAX_BYTES + 1],
                            struct eg_refusal *ret_refusal)
{
    char unquoted[EG_EVENT_KEY_MAX_BYTES];
    struct eg_bytes key = {header + strspn(header, " \t"), 0};
    key.length = strlen(key.data);
    while (key.length > 0 && strchr(" \t", key.data[key.length - 1]))
        key.length--;
    size_t length;
    if (unquote(key, unquoted, &length))
        key = (struct eg_bytes){unquoted, length};
    int result = eg_event_key_check(key, ret_refusal);
    if (result)
        return result;
    memcpy(ret_key, key.data, key.length);
    ret_key[key.length] = '\0';
    return 0;
}

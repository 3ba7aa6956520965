/*
 * What is reached, as text: ";NAME:REACHED" for each set, the name's bytes and the number in hexadecimal.
 */
#include "eventgate/reach.h"

#include <errno.h>
#include <string.h>

unsigned eg_reached_by(const struct eg_set_facts *facts)
{
    return (facts->listening ? EG_REACHED_LISTENER : 0U) | (facts->publishing ? EG_REACHED_PUBLISHER : 0U) |
           (facts->reading ? EG_REACHED_READER : 0U) | (facts->appending ? EG_REACHED_APPENDER : 0U);
}

unsigned eg_reach_unneeded(const struct eg_config_set *set)
{
    return (set->live_count == 0 ? EG_REACHED_LISTENER | EG_REACHED_PUBLISHER : 0U) |
           (set->durable_count == 0 ? EG_REACHED_READER | EG_REACHED_APPENDER : 0U);
}

static void add_name(struct eg_buffer *text, const char *name)
{
    eg_buffer_add_string(text, ";");
    for (; *name; name++)
        eg_buffer_add_format(text, "%02x", (unsigned char)*name);
    eg_buffer_add_string(text, ":");
}

void eg_reach_add(struct eg_buffer *text, const char *name, unsigned reached)
{
    add_name(text, name);
    eg_buffer_add_format(text, "%x", reached);
}

int eg_reach_find(const struct eg_buffer *text, const char *name)
{
    struct eg_buffer wanted = EG_BUFFER_INIT;
    int result = -1;
    add_name(&wanted, name);
    const char *found =
        text->length > 0 && !wanted.failed ? memmem(text->data, text->length, wanted.data, wanted.length) : NULL;
    const char *digit = found ? found + wanted.length : NULL;
    if (digit && digit < text->data + text->length)
        result = *digit <= '9' ? *digit - '0' : *digit - 'a' + 10;
    if (wanted.failed)
        result = -ENOMEM;
    eg_buffer_done(&wanted);
    return result;
}

/*
 * Which of its sets' connections a process has, as the new process of an upgrade tells the old one (successor.h), which
 * goes by it when the time is up: a text of the bytes 0-9 a-f : ; alone, so that it can be told from messages. Pure.
 */
#ifndef EG_REACH_H
#define EG_REACH_H

#include "eventgate/buffer.h"
#include "eventgate/set_status.h"

/* Some of these together. */
enum eg_reached {
    EG_REACHED_LISTENER = 1,
    EG_REACHED_PUBLISHER = 2,
    EG_REACHED_READER = 4,
    EG_REACHED_APPENDER = 8,
};

unsigned eg_reached_by(const struct eg_set_facts *facts);

/* Adds what is reached of the set of this name. */
void eg_reach_add(struct eg_buffer *text, const char *name, unsigned reached);

/* What the text says of the set; -1: nothing. -ENOMEM. */
int eg_reach_find(const struct eg_buffer *text, const char *name);

#endif

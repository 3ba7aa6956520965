/*
 * Which of its sets' connections a process has, and whether it has read what is revoked, as the new process of an
 * upgrade tells the old one (successor.h), which goes by it when the time is up: a text of the bytes 0-9 a-f : ; alone,
 * so that it can be told from messages. Pure.
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

/* As the name of a set: 1 if revocations are known, else 0. */
#define EG_REACH_REVOCATIONS ""

unsigned eg_reached_by(const struct eg_set_facts *facts);

/* The connections that the set can be ready without (eg_set_facts_ready()): nothing is lacked of them. */
unsigned eg_reach_unneeded(const struct eg_config_set *set);

/* Adds what is reached of the set of this name. */
void eg_reach_add(struct eg_buffer *text, const char *name, unsigned reached);

/* What the text says of the set; -1: nothing. -ENOMEM. */
int eg_reach_find(const struct eg_buffer *text, const char *name);

#endif

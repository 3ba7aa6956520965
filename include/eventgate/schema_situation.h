/*
 * What there is of schema `eventgate` in a database, and what this user may do with it. For commands: blocks.
 */
#ifndef EG_SCHEMA_SITUATION_H
#define EG_SCHEMA_SITUATION_H

#include <stdbool.h>

#include "eventgate/connection_admin.h"

struct eg_schema_situation {
    char database[200], user[200], server[80]; /* `server`: its version */
    char missing_roles[200];                   /* of ours, with commas; "" none */
    char quoted_user[200];                     /* as an identifier */
    bool has_schema, is_ours, is_extension;
    bool may_read, may_append, may_publish;
    int version; /* 0 none, -1 one that this user may not ask for */
};

/* 0, or -EIO with what PostgreSQL says. */
int eg_schema_look(struct eg_admin *admin, struct eg_schema_situation *ret_situation,
                   struct eg_error *error) EG_MUST_CHECK;

#endif

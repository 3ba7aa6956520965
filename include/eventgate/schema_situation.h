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
    int version;         /* 0 none, -1 one that this user may not ask for */
    int gateway_version; /* the least that a gateway has to know, of a schema whose version is known */
};

/* 0, or -EIO with what PostgreSQL says. */
int eg_schema_look(struct eg_admin *admin, struct eg_schema_situation *ret_situation,
                   struct eg_error *error) EG_MUST_CHECK;

/* How a schema whose version is known and this program's gateways go together. */
enum eg_schema_fit {
    EG_SCHEMA_TOO_OLD, /* not at all */
    EG_SCHEMA_OLDER,   /* they work, and it lacks what came later: eg_schema_lacks() */
    EG_SCHEMA_OWN,
    EG_SCHEMA_NEWER,  /* they work */
    EG_SCHEMA_TOO_NEW /* not at all */
};
enum eg_schema_fit eg_schema_fit_of(const struct eg_schema_situation *situation);

/* The first version that has revocations, which gateways with keys wait for. */
#define EG_SCHEMA_REVOCATIONS 2
/* Names what users have in the newest version and lack in this one. */
void eg_schema_lacks(int version, char *ret_text, size_t size);

#endif

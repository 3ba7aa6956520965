/*
 * What the doctor looks at, each as findings of a report. All of it blocks; for the command alone, on the main thread.
 */
#ifndef EG_DOCTOR_H
#define EG_DOCTOR_H

#include "eventgate/call.h"
#include "eventgate/config.h"
#include "eventgate/connection_admin.h"
#include "eventgate/doctor_report.h"

/* Keys of tokens, the certificate, and the addresses to listen on: free, or a gateway serves there already. Returns how
 * many files that gateway may open, 0: that isn't known. */
uint64_t eg_doctor_access(struct eg_report *report, const struct eg_config *config,
                          const struct eg_call_target *target);

/* Open files, and what they are enough for. */
struct eg_doctor_files {
    bool of_running;     /* of the gateway that runs; else of one that would be started from here */
    uint64_t open_files; /* how many it may have */
    uint64_t room;       /* for how many clients that is enough */
};

/* This machine: open files, and whether the clock is kept right. */
void eg_doctor_process(struct eg_report *report, const struct eg_config *config, const struct eg_doctor_files *files);

/* A database, with what all sets that have the same connection string want of it. */
struct eg_doctor_database {
    const char *conninfo;
    char subject[200]; /* "set shop", "set shop, orders" */
    bool durable;      /* one of them has durable channels */
    bool revocations;  /* one of them reads revocations */
    unsigned sets;     /* how many they are */
    unsigned needed;   /* connections of a gateway */
    uint32_t connect_timeout_ms, query_timeout_ms;
};

/* Each host that its connection string names, and what matters there. */
void eg_doctor_look_at_database(struct eg_report *report, const struct eg_doctor_database *database);

/* For that: what a session with the primary tells. */
void eg_doctor_settings(struct eg_report *report, struct eg_admin *admin, const struct eg_doctor_database *database);
void eg_doctor_sessions(struct eg_report *report, struct eg_admin *admin, const struct eg_doctor_database *database);
void eg_doctor_queue(struct eg_report *report, struct eg_admin *admin, const char *subject);
void eg_doctor_log(struct eg_report *report, struct eg_admin *admin, const struct eg_doctor_database *database);

/* A gateway by its public URL, through what stands before it. */
struct eg_doctor_url {
    const struct eg_call_target *target;
    const char *channel;   /* to subscribe to */
    const char *origin;    /* whose pages use it; NULL: nobody asks */
    uint32_t heartbeat_ms; /* of the gateway */
    bool quick;            /* doesn't wait for a heartbeat */
    bool long_poll;        /* waits for the longest long-poll */
    bool trusts_a_proxy;   /* trusted_proxies is set */
};
void eg_doctor_proxy(struct eg_report *report, const struct eg_doctor_url *url);

/* "2 h", "35 s" */
const char *eg_doctor_age(double seconds, char ret_text[32]);

#endif

/*
 * What the files of the intake module share: intake.c (clients, deadlines, refusals), intake_accept.c (new
 * connections). For nobody else.
 */
#ifndef EG_INTAKE_INTERNAL_H
#define EG_INTAKE_INTERNAL_H

#include "eventgate/intake.h"
#include "eventgate/tls.h"

#define WAIT_KINDS EG_CLIENT_WAITS_NOT

struct intake_socket {
    struct eg_watch watch;
    struct eg_intake *intake;
    int fd;
    bool admin;
    uint32_t events;
    bool tls;
    LIST_ENTRY(intake_socket) entry;
};

TAILQ_HEAD(wait_list, eg_client);

struct eg_intake {
    struct eg_loop *loop;
    const struct eg_settings *settings;
    struct eg_intake_counts *counts;
    struct eg_metrics *metrics;
    struct eg_intake_hooks hooks;
    LIST_HEAD(, intake_socket) sockets;
    LIST_HEAD(, eg_client) clients;
    struct wait_list waiting[WAIT_KINDS];
    struct eg_timer timer;
    struct eg_timer rest; /* runs while the listening sockets are left alone */
    struct eg_timer look; /* runs while there are shared ones */
    struct eg_tls *tls;   /* what TLS begins with; NULL: none */
    unsigned handshakes;  /* steps of them in this turn */
    uint64_t turned_us;   /* the last turn */
    int reserve_fd;       /* given up for a moment to accept and refuse when there are no descriptors left */
    bool draining;
};

/* intake.c */

/* What the client has to deliver next decides which deadline runs. */
void eg_intake_update_wait(struct eg_client *client);
void eg_intake_count_refusal(struct eg_metrics *metrics, unsigned status);
/* Writes a whole answer as far as the client takes it, and ends our side. */
void eg_intake_write_refusal(struct eg_wire *wire, enum eg_problem problem, const char *detail);

/* intake_accept.c */

/* The listening sockets are watched again. */
void eg_intake_rest_is_over(struct eg_timer *timer);
/* Looks at shared sockets unasked: EPOLLEXCLUSIVE wakes one of those who share it, and who ends before accepting, as a
 * process that is killed, leaves the connection to nobody. */
void eg_intake_look(struct eg_timer *timer);

#endif

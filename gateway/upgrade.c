/*
 * SIGUSR2: the program is started anew, from the path that this one was started by, with the same arguments and
 * environment, and all listening sockets. This process serves on until the new one is ready; then that one accepts the
 * connections, and this one drains. Whatever goes wrong before, this one goes on as if nothing had happened.
 *
 * Ready means that all its sets are, and that it knows what is revoked. Where it isn't by the deadline, but this
 * process is, the upgrade has failed. Where neither is, it is enough that it has each connection that this process has,
 * and knows what is revoked if this one does: a database that is away keeps nobody from a new version. One that has
 * just come back, to this process first, is given a moment more.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "eventgate/gateway_internal.h"
#include "eventgate/log.h"
#include "eventgate/reach.h"

/* The longest time in which a process that lives says something, and in which it reaches what another one does. */
#define MOMENT_MAX_MS 2000u
#define LOOK_AGAIN_MS 50u

/* --- which program ------------------------------------------------------------------------------------------------ */

/* The path that the kernel was given for it, made absolute; symbolic links stay, as they may lead elsewhere by then. */
void eg_upgrade_init(struct eg_upgrade *upgrade, const char *name)
{
    const char *path = (const char *)(uintptr_t)getauxval(AT_EXECFN);
    if (!path || strncmp(path, "/dev/fd/", 8) == 0) /* by its descriptor (fexecve) */
        path = strchr(name, '/') ? name : NULL;
    if (!path)
        return;
    char *folder = path[0] == '/' ? NULL : getcwd(NULL, 0);
    struct eg_buffer whole = EG_BUFFER_INIT;
    if (folder)
        eg_buffer_add_format(&whole, "%s/", folder);
    eg_buffer_add_string(&whole, path);
    eg_buffer_add(&whole, "", 1);
    upgrade->program = whole.failed ? NULL : strdup(whole.data);
    eg_buffer_done(&whole);
    free(folder);
}

void eg_upgrade_done(struct eg_upgrade *upgrade)
{
    eg_successor_kill(&upgrade->successor);
    if (upgrade->loop)
        eg_timer_cancel(upgrade->loop, &upgrade->deadline);
    free(upgrade->program);
    upgrade->program = NULL;
}

/* --- how it ends -------------------------------------------------------------------------------------------------- */

static struct eg_gateway *gateway_of(struct eg_upgrade *upgrade)
{
    return EG_CONTAINER_OF(upgrade, struct eg_gateway, upgrade);
}

/* It has come to nothing. */
static void fail(struct eg_upgrade *upgrade, const char *sentence)
{
    eg_timer_cancel(upgrade->loop, &upgrade->deadline);
    eg_log(EG_LOG_ERROR, "the upgrade has failed: this process goes on", EG_LOG_STR("error", sentence));
    if (upgrade->to_reload)
        eg_gateway_reload(gateway_of(upgrade));
    upgrade->to_reload = false;
}

static void give_up(struct eg_upgrade *upgrade, const char *sentence)
{
    eg_successor_kill(&upgrade->successor);
    fail(upgrade, sentence);
}

void eg_upgrade_cancel(struct eg_upgrade *upgrade)
{
    if (upgrade->successor.pid == 0)
        return;
    eg_log(EG_LOG_WARN, "the upgrade is given up", EG_LOG_INT("pid", (uint64_t)upgrade->successor.pid));
    eg_successor_kill(&upgrade->successor);
    eg_timer_cancel(upgrade->loop, &upgrade->deadline);
}

static void ended(struct eg_successor *successor, const char *sentence)
{
    fail(EG_CONTAINER_OF(successor, struct eg_upgrade, successor), sentence);
}

static void hand_over(struct eg_upgrade *upgrade)
{
    struct eg_gateway *gateway = gateway_of(upgrade);
    pid_t pid = upgrade->successor.pid;
    /* First, so that what the new process has to say to the service manager comes behind it. */
    eg_supervision_hand_over(gateway->supervision, pid);
    if (eg_successor_serve(&upgrade->successor) != 0) { /* it has just ended, as we will hear */
        eg_supervision_hand_over(gateway->supervision, getpid());
        eg_supervision_ready(gateway->supervision);
        return;
    }
    eg_timer_cancel(upgrade->loop, &upgrade->deadline);
    eg_log(EG_LOG_INFO, "upgraded: the new process serves, draining", EG_LOG_INT("pid", (uint64_t)pid),
           EG_LOG_INT("timeout_ms", gateway->config->settings.drain_timeout_ms));
    if (upgrade->to_reload)
        kill(pid, SIGHUP);
    eg_gateway_drain(gateway, true);
}

/* --- when the time is up ----------------------------------------------------------------------------------------- */

static bool lacks_set(const struct eg_upgrade *upgrade, const char *name, const struct eg_set_facts *facts)
{
    int reached = upgrade->tells ? eg_reach_find(&upgrade->successor.reach, name) : 0;
    if (reached == -1) /* it has no such set */
        return false;
    return reached < 0 || (eg_reached_by(facts) & ~(unsigned)reached);
}

/* The first set of which this process has a connection that the new one, which has that set, too, lacks; NULL: none. */
static const char *lacked_set(struct eg_upgrade *upgrade)
{
    struct eg_gateway *gateway = gateway_of(upgrade);
    for (uint32_t i = 0; i < gateway->shared.place_count; i++) {
        const struct eg_place *place = &gateway->places[i];
        if (place->state != EG_PLACE_RUNNING)
            continue;
        struct eg_set_facts facts = eg_set_status_read(&gateway->shared.statuses[i]);
        if (lacks_set(upgrade, place->row->name, &facts))
            return place->row->name;
    }
    return NULL;
}

/* Would tokens that this process takes be answered with 503 by the new one? */
static bool lacks_revocations(struct eg_upgrade *upgrade)
{
    struct eg_gateway *gateway = gateway_of(upgrade);
    bool reads = false;
    for (uint32_t i = 0; i < gateway->shared.place_count; i++)
        reads = reads || (gateway->places[i].state == EG_PLACE_RUNNING && gateway->places[i].revoking >= 0);
    return reads && eg_revocations_known(gateway->shared.revocations) &&
           eg_reach_find(&upgrade->successor.reach, EG_REACH_REVOCATIONS) <= 0;
}

/* The new process isn't ready. */
static void note_lack(struct eg_upgrade *upgrade)
{
    if (!eg_gateway_is_ready(gateway_of(upgrade)) && !lacked_set(upgrade) && !lacks_revocations(upgrade))
        upgrade->lacks_since_ms = 0;
    else if (upgrade->lacks_since_ms == 0)
        upgrade->lacks_since_ms = eg_loop_now_ms(upgrade->loop);
}

static void told(struct eg_successor *successor, char message)
{
    struct eg_upgrade *upgrade = EG_CONTAINER_OF(successor, struct eg_upgrade, successor);
    upgrade->heard_ms = eg_loop_now_ms(upgrade->loop);
    upgrade->started = upgrade->started || message == EG_SUCCESSOR_STARTED;
    upgrade->tells = upgrade->tells || message == EG_SUCCESSOR_REACH;
    if (message == EG_SUCCESSOR_READY)
        hand_over(upgrade);
    else
        note_lack(upgrade);
}

static void give_up_lacking(struct eg_upgrade *upgrade)
{
    char sentence[300] = "the new process is not ready, though this one is (upgrade_timeout)";
    const char *set = lacked_set(upgrade);
    if (!upgrade->tells)
        snprintf(sentence, sizeof(sentence), "the new process was not ready in time (upgrade_timeout)");
    else if (set)
        snprintf(sentence, sizeof(sentence),
                 "the new process does not reach the database of set %s as this one does (upgrade_timeout)", set);
    else if (lacks_revocations(upgrade))
        snprintf(sentence, sizeof(sentence),
                 "the new process has not read which tokens are revoked, though this one has (upgrade_timeout)");
    give_up(upgrade, sentence);
}

static void time_is_up(struct eg_timer *timer)
{
    struct eg_upgrade *upgrade = EG_CONTAINER_OF(timer, struct eg_upgrade, deadline);
    uint64_t now_ms = eg_loop_now_ms(upgrade->loop), moment_ms = upgrade->moment_ms;
    note_lack(upgrade);
    if (!upgrade->started)
        give_up(upgrade, "the new process did not start in time (upgrade_timeout)");
    else if (upgrade->tells && now_ms - upgrade->heard_ms > moment_ms)
        give_up(upgrade, "the new process has started, but no longer answers (upgrade_timeout)");
    else if (upgrade->lacks_since_ms == 0)
        hand_over(upgrade);
    else if (now_ms - upgrade->lacks_since_ms >= moment_ms)
        give_up_lacking(upgrade);
    else if (eg_timer_set(upgrade->loop, timer, now_ms + LOOK_AGAIN_MS) != 0)
        give_up(upgrade, "out of memory");
}

/* --- how it begins ------------------------------------------------------------------------------------------------ */

/* NULL: it may begin. */
static const char *obstacle(const struct eg_gateway *gateway)
{
    if (atomic_load(&gateway->shared.draining))
        return "this process is draining";
    if (gateway->takeover.waiting)
        return "this process does not serve yet itself";
    if (gateway->upgrade.successor.pid != 0)
        return "one is under way";
    if (getpid() == 1)
        return "process 1 of a container is not replaced: its end is the container's. Start a new container";
    if (!gateway->upgrade.program)
        return "the path of the program is not known";
    return NULL;
}

void eg_gateway_upgrade(struct eg_gateway *gateway)
{
    struct eg_upgrade *upgrade = &gateway->upgrade;
    struct eg_error error;
    const char *why_not = obstacle(gateway);
    if (why_not) {
        eg_log(EG_LOG_WARN, "no upgrade now", EG_LOG_STR("reason", why_not));
        return;
    }
    upgrade->loop = gateway->loop;
    uint64_t timeout_ms = gateway->config->settings.upgrade_timeout_ms;
    upgrade->started = upgrade->tells = false;
    upgrade->lacks_since_ms = 0;
    upgrade->moment_ms = timeout_ms / 2 < MOMENT_MAX_MS ? timeout_ms / 2 : MOMENT_MAX_MS;
    upgrade->deadline.fire = time_is_up;
    upgrade->successor.told = told;
    upgrade->successor.ended = ended;
    if (eg_successor_start(&upgrade->successor, gateway->loop, upgrade->program, gateway->argv, gateway->environment,
                           &gateway->listening, &error) != 0) {
        fail(upgrade, error.sentence);
        return;
    }
    eg_log(EG_LOG_INFO, "upgrade: a new process is starting", EG_LOG_STR("program", upgrade->program),
           EG_LOG_INT("pid", (uint64_t)upgrade->successor.pid));
    if (eg_timer_set(gateway->loop, &upgrade->deadline, eg_monotonic_ms() + timeout_ms) != 0)
        give_up(upgrade, "out of memory");
}

bool eg_upgrade_defers_reload(struct eg_upgrade *upgrade)
{
    if (upgrade->successor.pid == 0)
        return false;
    upgrade->to_reload = true;
    eg_log(EG_LOG_INFO, "an upgrade is under way: the configuration is loaded anew after it");
    return true;
}

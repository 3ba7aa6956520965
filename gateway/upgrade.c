/*
 * SIGUSR2: the program is started anew, from the path that this one was started by, with the same arguments and
 * environment, and all listening sockets. This process serves on until the new one is ready; then that one accepts the
 * connections, and this one drains. Whatever goes wrong before, this one goes on as if nothing had happened.
 *
 * Ready means that all its sets are. Where they aren't by the deadline, it is enough that it could serve, if this
 * process isn't ready either: a database that is away keeps nobody from a new version.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "eventgate/gateway_internal.h"
#include "eventgate/log.h"

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

static void told(struct eg_successor *successor, char message)
{
    struct eg_upgrade *upgrade = EG_CONTAINER_OF(successor, struct eg_upgrade, successor);
    if (message == EG_SUCCESSOR_STARTED)
        upgrade->started = true;
    else if (message == EG_SUCCESSOR_READY)
        hand_over(upgrade);
}

static void time_is_up(struct eg_timer *timer)
{
    struct eg_upgrade *upgrade = EG_CONTAINER_OF(timer, struct eg_upgrade, deadline);
    if (!upgrade->started)
        give_up(upgrade, "the new process did not start in time (upgrade_timeout)");
    else if (eg_gateway_is_ready(gateway_of(upgrade)))
        give_up(upgrade, "the new process does not reach its databases as this one does (upgrade_timeout)");
    else
        hand_over(upgrade);
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
    upgrade->started = false;
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
    if (eg_timer_set(gateway->loop, &upgrade->deadline,
                     eg_monotonic_ms() + gateway->config->settings.upgrade_timeout_ms) != 0)
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

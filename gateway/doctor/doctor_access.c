/*
 * Keys, the certificate, and the addresses to listen on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "eventgate/doctor.h"
#include "eventgate/json_value.h"
#include "eventgate/listening.h"
#include "eventgate/policy.h"
#include "eventgate/tls.h"

#define SOON_S (INT64_C(14) * 24 * 3600)
#define TIMEOUT_MS 3000

/* --- keys --------------------------------------------------------------------------------------------------------- */

/* May others on this machine read a file that is a secret? */
static void check_secret(struct eg_report *report, const char *path)
{
    struct stat about;
    char advice[400];
    if (stat(path, &about) != 0 || !(about.st_mode & S_IROTH))
        return;
    snprintf(advice, sizeof(advice), "chmod o-rwx '%.300s', and let the gateway's user read it as its owner or group.",
             path);
    eg_report_add(report, EG_WARNING, "keys", path, advice,
                  "it is a secret, and every user of this machine may read it");
}

static void check_keys(struct eg_report *report, const struct eg_config *config)
{
    const struct eg_config_list *keys = &config->access.keys;
    struct eg_policy *policy;
    struct eg_error error;
    if (eg_policy_load(config, config, &policy, &error) != 0) {
        eg_report_add(report, EG_ERROR, "keys", "keys of tokens",
                      "The gateway doesn't start with them. Each file has PEM public keys, a JWK, a JWKS, or, with an "
                      "algorithm in front (HS256:FILE), a secret.",
                      "%s", error.sentence);
        return;
    }
    if (policy->has_keys)
        eg_report_add(report, EG_FINE, "keys", "keys of tokens", NULL, "%zu can be read, from %zu file%s",
                      eg_keyring_count(policy->keyring), keys->count, keys->count == 1 ? "" : "s");
    else if (config->insecure)
        eg_report_add(report, EG_WARNING, "keys", "keys of tokens",
                      "Give it keys (keys = FILE), unless something before it decides who may do what.",
                      "there are none, and insecure is set: whoever reaches it may do everything");
    else
        eg_report_add(report, EG_FINE, "keys", "keys of tokens", NULL,
                      "there are none: everybody on this machine may do everything, and nobody else reaches it");
    for (size_t i = 0; i < keys->count; i++)
        if (strncmp(keys->items[i], "HS", 2) == 0 && strchr(keys->items[i], ':'))
            check_secret(report, strchr(keys->items[i], ':') + 1);
    eg_policy_unref(policy);
}

/* --- the certificate ---------------------------------------------------------------------------------------------- */

static void check_certificate(struct eg_report *report, const struct eg_config *config)
{
    struct eg_tls *tls;
    struct eg_error error;
    char until[32] = "", left[32];
    struct tm date;
    if (!config->tls_certificate[0] || !config->tls_key[0])
        return;
    if (eg_tls_load(config->tls_certificate, config->tls_key, &tls, &error) != 0) {
        eg_report_add(report, EG_ERROR, "certificate", config->tls_certificate,
                      "The gateway doesn't start with it. It takes PEM files: the certificate with its chain behind "
                      "it, and its key without a passphrase.",
                      "%s", error.sentence);
        return;
    }
    int64_t now = (int64_t)time(NULL);
    time_t end = (time_t)eg_tls_valid_until(tls);
    if (gmtime_r(&end, &date))
        strftime(until, sizeof(until), "%Y-%m-%d %H:%M UTC", &date);
    if (eg_tls_valid_from(tls) > now)
        eg_report_add(report, EG_ERROR, "certificate", config->tls_certificate,
                      "Is the clock of this machine right? Clients refuse the certificate until then.",
                      "it isn't valid yet");
    else if (end <= now)
        eg_report_add(report, EG_ERROR, "certificate", config->tls_certificate,
                      "Clients refuse it. Put a new one in its place, and send SIGHUP to the gateway.",
                      "it has expired on %s", until);
    else if (end - now < SOON_S)
        eg_report_add(report, EG_WARNING, "certificate", config->tls_certificate,
                      "Put a new one in its place, and send SIGHUP to the gateway.", "it expires in %s, on %s",
                      eg_doctor_age((double)(end - now), left), until);
    else
        eg_report_add(report, EG_FINE, "certificate", config->tls_certificate, NULL,
                      "it can be read, and is valid until %s", until);
    check_secret(report, config->tls_key);
    eg_tls_unref(tls);
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

static void read_status(void *context, const struct eg_json_value *value)
{
    *(bool *)context = strcmp(eg_json_string(eg_json_member(value, "status")), "alive") == 0;
}

/* The URL by which this machine reaches an address of the configuration. */
static void url_of(const char *address, char *ret_url, size_t size)
{
    static const struct {
        const char *any, *here;
    } rows[] = {{":", "127.0.0.1:"}, {"0.0.0.0:", "127.0.0.1:"}, {"[::]:", "[::1]:"}, {"", ""}};
    bool tls = eg_listening_is_tls(address);
    size_t i = 0;
    address += tls ? 4 : 0;
    while (strncmp(address, rows[i].any, strlen(rows[i].any)) != 0)
        i++;
    snprintf(ret_url, size, "%s://%s%s", tls ? "https" : "http", rows[i].here, address + strlen(rows[i].any));
}

static void get(struct eg_caller *caller, const char *path, struct eg_call_answer *ret_answer)
{
    const struct eg_call_request request = {.method = "GET", .path = path, .timeout_ms = TIMEOUT_MS};
    eg_caller_call(caller, &request, ret_answer);
}

/* How many files a running gateway may open, by its metrics, where they need no token; else 0. */
static uint64_t open_files_of(struct eg_caller *caller)
{
    static const char name[] = "\nprocess_max_fds ";
    struct eg_call_answer answer;
    uint64_t count = 0;
    get(caller, "/metrics", &answer);
    eg_buffer_add(&answer.body, "", 1);
    const char *found = answer.status == 200 && !answer.body.failed ? strstr(answer.body.data, name) : NULL;
    if (found)
        count = strtoull(found + sizeof(name) - 1, NULL, 10);
    eg_call_answer_done(&answer);
    return count;
}

/* Does a gateway answer there? */
static bool is_ours(const char *address, const struct eg_call_target *asker, uint64_t *open_files)
{
    bool alive = false;
    char url[160];
    struct eg_call_target target = *asker;
    struct eg_call_answer answer;
    url_of(address, url, sizeof(url));
    target.url = url;
    target.no_verify = target.direct = true;
    target.token = target.token_file = NULL; /* it isn't known yet who listens there */
    struct eg_caller *caller = eg_caller_new(&target);
    if (!caller)
        return false;
    get(caller, "/livez", &answer);
    if (answer.status == 200 && answer.body.length > 0 &&
        eg_json_read(answer.body.data, answer.body.length, read_status, &alive) != 0)
        alive = false;
    eg_call_answer_done(&answer);
    if (alive && *open_files == 0)
        *open_files = open_files_of(caller);
    eg_caller_free(caller);
    return alive;
}

static void check_address(struct eg_report *report, char *address, const struct eg_call_target *asker,
                          uint64_t *open_files)
{
    struct eg_listening listening = {.count = 0};
    struct eg_error error;
    char *const addresses[] = {address};
    int result = eg_listening_open_admin(addresses, 1, 1, &listening, &error);
    eg_listening_close(&listening);
    if (result == 0)
        eg_report_add(report, EG_FINE, "listen", address, NULL, "free to listen on");
    else if (result == -EADDRINUSE && is_ours(address, asker, open_files))
        eg_report_add(report, EG_FINE, "listen", address, NULL, "a gateway serves there already");
    else
        eg_report_add(report, EG_ERROR, "listen", address,
                      result == -EADDRINUSE
                          ? "Something that is no gateway, or one that doesn't answer, listens there (ss -ltnp shows "
                            "what): end it, or choose another address (listen)."
                      : result == -EACCES
                          ? "Ports below 1024 need a right: AmbientCapabilities=CAP_NET_BIND_SERVICE in a systemd "
                            "unit, a socket that systemd hands over, or a port above."
                      : result == -EADDRNOTAVAIL ? "No interface of this machine has this address (ip address shows "
                                                   "them); :PORT listens on all."
                                                 : NULL,
                      "%s", error.sentence);
}

uint64_t eg_doctor_access(struct eg_report *report, const struct eg_config *config, const struct eg_call_target *target)
{
    uint64_t open_files = 0;
    check_keys(report, config);
    check_certificate(report, config);
    for (size_t i = 0; i < config->listen.count; i++)
        check_address(report, config->listen.items[i], target, &open_files);
    for (size_t i = 0; i < config->admin_listen.count; i++)
        check_address(report, config->admin_listen.items[i], target, &open_files);
    return open_files;
}

/* What the service manager hears of a loop and of those that it watches. */
#include "eventgate/supervision.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define WATCHDOG_MS 200
#define DEADLINE_MS 10000

struct scene {
    int manager;
    struct eg_loop *loop;
    struct eg_loop *other;
    struct eg_supervision *supervision;
    const char *words;
};

static void describe(void *context, struct eg_buffer *text)
{
    eg_buffer_add_string(text, ((const struct scene *)context)->words);
}

static void begin(struct scene *scene, bool watchdog)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char name[64], number[32];
    snprintf(name, sizeof(name), "@test_supervision.%ld", (long)getpid());
    scene->manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    strcpy(address.sun_path + 1, name + 1);
    assert_int_equal(bind(scene->manager, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
                     0);
    setenv("NOTIFY_SOCKET", name, 1);
    snprintf(number, sizeof(number), "%d", WATCHDOG_MS * 1000);
    setenv("WATCHDOG_USEC", watchdog ? number : "0", 1);
    unsetenv("WATCHDOG_PID");
    scene->words = "all is well";
    scene->loop = eg_loop_new();
    scene->other = eg_loop_new();
    scene->supervision = eg_supervision_new(scene->loop, describe, scene);
    assert_non_null(scene->supervision);
    assert_int_equal(eg_supervision_watch(scene->supervision, scene->other, "other"), 0);
}

static void end(struct scene *scene)
{
    eg_supervision_free(scene->supervision);
    eg_loop_free(scene->loop);
    eg_loop_free(scene->other);
    close(scene->manager);
}

/* The next datagram, "" if there is none; static. */
static const char *hear(const struct scene *scene)
{
    static char heard[1024];
    ssize_t length = recv(scene->manager, heard, sizeof(heard) - 1, 0);
    heard[length < 0 ? 0 : length] = '\0';
    return heard;
}

/* Turns the main loop, and the other if it is to turn, for so long or until WATCHDOG=1 was heard `enough` times (0:
 * just for so long); how often it was. */
static unsigned alive(const struct scene *scene, bool both, uint64_t for_ms, unsigned enough)
{
    uint64_t until_ms = eg_monotonic_ms() + for_ms;
    unsigned count = 0;
    while (eg_monotonic_ms() < until_ms && (enough == 0 || count < enough)) {
        eg_loop_turn(scene->loop, 5);
        if (both)
            eg_loop_turn(scene->other, 0);
        for (const char *heard = hear(scene); *heard; heard = hear(scene))
            count += strcmp(heard, "WATCHDOG=1") == 0;
    }
    return count;
}

static void hears_nothing_before_it_serves(void **state)
{
    struct scene scene;
    (void)state;
    begin(&scene, true);
    assert_int_equal(alive(&scene, true, 100, 0), 0);
    end(&scene);
}

static void a_life(void **state)
{
    struct scene scene;
    unsigned long long us = 0;
    (void)state;
    begin(&scene, false);
    eg_supervision_ready(scene.supervision);
    assert_string_equal(hear(&scene), "READY=1");
    assert_string_equal(hear(&scene), "STATUS=all is well");
    assert_string_equal(hear(&scene), "");
    uint64_t before_us = eg_monotonic_us();
    eg_supervision_reloading(scene.supervision);
    assert_int_equal(sscanf(hear(&scene), "RELOADING=1\nMONOTONIC_USEC=%llu", &us), 1);
    assert_true(us >= before_us && us <= eg_monotonic_us());
    eg_supervision_reloaded(scene.supervision);
    assert_string_equal(hear(&scene), "READY=1");
    scene.words = "draining";
    eg_supervision_stopping(scene.supervision, 5000);
    assert_string_equal(hear(&scene), "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000");
    assert_string_equal(hear(&scene), "STATUS=draining");
    eg_supervision_reloading(scene.supervision); /* it ends all the same */
    eg_supervision_reloaded(scene.supervision);
    assert_string_equal(hear(&scene), "");
    end(&scene);
}

static void it_says_no_more_when_it_has_handed_over(void **state)
{
    struct scene scene;
    (void)state;
    begin(&scene, true);
    eg_supervision_ready(scene.supervision);
    while (*hear(&scene))
        ;
    eg_supervision_hand_over(scene.supervision, 42);
    assert_string_equal(hear(&scene), "MAINPID=42");
    scene.words = "draining";
    eg_supervision_reloading(scene.supervision);
    eg_supervision_reloaded(scene.supervision);
    assert_int_equal(alive(&scene, true, 2 * WATCHDOG_MS, 0), 0);
    assert_string_equal(hear(&scene), "");
    end(&scene);
}

static void the_status_is_told_when_it_changes_and_is_one_line(void **state)
{
    struct scene scene;
    (void)state;
    begin(&scene, true); /* ticks are short */
    eg_supervision_ready(scene.supervision);
    while (*hear(&scene))
        ;
    scene.words = "set a: no\nWATCHDOG=1";
    uint64_t until_ms = eg_monotonic_ms() + DEADLINE_MS;
    const char *heard = "";
    while (strncmp(heard, "STATUS=", 7) != 0 && eg_monotonic_ms() < until_ms) {
        eg_loop_turn(scene.loop, 5);
        heard = hear(&scene);
    }
    assert_string_equal(heard, "STATUS=set a: no WATCHDOG=1");
    end(&scene);
}

static void what_the_manager_had_no_room_for_is_told_later(void **state)
{
    struct scene scene;
    struct eg_notify other;
    bool ready = false;
    (void)state;
    begin(&scene, true);
    assert_int_equal(eg_notify_open(&other), 0);
    while (eg_notify_send(&other, "X=1") == 0)
        ;
    eg_notify_close(&other);
    eg_supervision_ready(scene.supervision);
    while (*hear(&scene))
        ;
    uint64_t until_ms = eg_monotonic_ms() + DEADLINE_MS;
    while (!ready && eg_monotonic_ms() < until_ms) {
        eg_loop_turn(scene.loop, 5);
        ready = strcmp(hear(&scene), "READY=1") == 0;
    }
    assert_true(ready);
    end(&scene);
}

static void alive_while_all_loops_turn(void **state)
{
    struct scene scene;
    (void)state;
    begin(&scene, true);
    eg_supervision_ready(scene.supervision);
    assert_int_equal(alive(&scene, true, DEADLINE_MS, 5), 5);
    end(&scene);
}

static void not_while_one_hangs_and_again_when_it_turns(void **state)
{
    struct scene scene;
    (void)state;
    begin(&scene, true);
    eg_supervision_ready(scene.supervision);
    assert_int_equal(alive(&scene, true, DEADLINE_MS, 2), 2);
    alive(&scene, false, WATCHDOG_MS / 2, 0); /* the last that it answers for */
    assert_int_equal(alive(&scene, false, 2 * WATCHDOG_MS, 0), 0);
    assert_int_equal(alive(&scene, true, DEADLINE_MS, 2), 2);
    end(&scene);
}

static void one_that_has_been_stopped_is_not_waited_for(void **state)
{
    struct scene scene;
    (void)state;
    begin(&scene, true);
    eg_supervision_ready(scene.supervision);
    eg_loop_stop(scene.other);
    assert_int_equal(alive(&scene, false, DEADLINE_MS, 5), 5);
    end(&scene);
}

static void without_a_manager_no_timer_runs(void **state)
{
    struct scene scene = {.words = ""};
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    setenv("WATCHDOG_USEC", "1000", 1);
    scene.loop = eg_loop_new();
    scene.supervision = eg_supervision_new(scene.loop, describe, &scene);
    eg_supervision_ready(scene.supervision);
    eg_supervision_reloading(scene.supervision);
    eg_supervision_reloaded(scene.supervision);
    uint64_t turns = eg_loop_turns(scene.loop), began_ms = eg_monotonic_ms();
    eg_loop_turn(scene.loop, 50);
    assert_true(eg_monotonic_ms() - began_ms >= 49); /* nothing woke it */
    assert_int_equal(eg_loop_turns(scene.loop), turns + 1);
    eg_supervision_stopping(scene.supervision, 1);
    eg_supervision_free(scene.supervision);
    eg_loop_free(scene.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hears_nothing_before_it_serves),
        cmocka_unit_test(a_life),
        cmocka_unit_test(it_says_no_more_when_it_has_handed_over),
        cmocka_unit_test(the_status_is_told_when_it_changes_and_is_one_line),
        cmocka_unit_test(what_the_manager_had_no_room_for_is_told_later),
        cmocka_unit_test(alive_while_all_loops_turn),
        cmocka_unit_test(not_while_one_hangs_and_again_when_it_turns),
        cmocka_unit_test(one_that_has_been_stopped_is_not_waited_for),
        cmocka_unit_test(without_a_manager_no_timer_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Shows with real processes that a guest is followed from its first process to
 * its last, however it forks, and that nobody else's is ever touched. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "hypervisor/hypervisor.h"
#include "hypervisor/proctree.h"
#include "tests/unit/hardware/tree.h"

#define PATIENCE (30 * NSEC_PER_SEC)
#define NOBODY 65534

struct fixture {
    struct tree state;
    int proc_dirfd;
    struct option_values options;
    struct hypervisor_guest guest;
    struct hypervisor_env env;
    struct hypervisor *hv;
    struct vm_sample sample; /* The last. */
    int n;                   /* Samples in it, 0 or 1. */
    nsec_t skipped;          /* Added to the time. */
    char why[256];
};

static const struct hypervisor_class *
driver(void)
{
    return hypervisor_find("process");
}

static nsec_t
now_of(const struct fixture *f)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec * NSEC_PER_SEC + t.tv_nsec + f->skipped;
}

static void
open_it(struct fixture *f)
{
    assert_int_equal(driver()->open(&f->hv, &f->env, f->why, sizeof f->why), 0);
}

static void
reopen(struct fixture *f)
{
    driver()->close(f->hv);
    f->hv = NULL;
    open_it(f);
}

static int
set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    tree_make(&f->state);
    f->proc_dirfd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    options_init(&f->options, driver()->options);
    f->guest = (struct hypervisor_guest){.name = "web", .n_vcpus = 0};
    f->guest.uuid.byte[0] = 1;
    f->env = (struct hypervisor_env){
        .proc_dirfd = f->proc_dirfd,
        .state_dirfd = f->state.dirfd,
        .guests = &f->guest,
        .n_guests = 1,
        .options = &f->options,
    };
    *state = f;
    return 0;
}

static void
look(struct fixture *f)
{
    f->n = driver()->sample(f->hv, now_of(f), &f->sample, 1);
    assert_true(f->n >= 0);
}

static int
control(struct fixture *f, enum vm_op op)
{
    return driver()->control(f->hv, &f->guest.uuid, op, now_of(f), f->why,
                             sizeof f->why);
}

static void
nap(void)
{
    usleep(5000);
}

/* Samples until the guest is in a state; -1 is "not there". */
static void
await(struct fixture *f, int wanted)
{
    nsec_t end = now_of(f) + PATIENCE;

    do {
        look(f);
        if ((f->n ? (int)f->sample.state : -1) == wanted) {
            return;
        }
        nap();
    } while (now_of(f) < end);
    fail_msg("the guest did not come to state %d", wanted);
}

static void
await_file(struct fixture *f, const char *name)
{
    nsec_t end = now_of(f) + PATIENCE;

    while (faccessat(f->state.dirfd, name, F_OK, 0)) {
        assert_true(now_of(f) < end);
        look(f);
        nap();
    }
}

static void
start(struct fixture *f, const char *command)
{
    static char full[2048];

    snprintf(full, sizeof full, "cd %s; %s", f->state.path, command);
    f->guest.command = full;
    open_it(f);
    assert_int_equal(control(f, VM_OP_START), 0);
    await(f, VM_RUNNING);
}

/* Ends the guest at once, without waiting for its grace. */
static void
end_now(struct fixture *f)
{
    int error = control(f, VM_OP_END);
    assert_true(error == 0 || error == -EALREADY);
    f->skipped += 3 * NSEC_PER_SEC;
    await(f, VM_ENDED);
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    if (f->hv) {
        look(f);
        /* Only what we started: a failed test may have adopted anything. */
        if (f->guest.command && f->n && f->sample.state != VM_ENDED) {
            end_now(f);
        }
        driver()->close(f->hv);
    }
    close(f->proc_dirfd);
    tree_remove(&f->state);
    free(f);
    return 0;
}

static pid_t
number_in(struct fixture *f, const char *name)
{
    await_file(f, name);
    return (pid_t)atoi(tree_get(&f->state, name));
}

static char
state_of(struct fixture *f, pid_t pid)
{
    struct process p;

    return process_read(f->proc_dirfd, pid, &p) ? '-' : p.state;
}

static bool
lives(struct fixture *f, pid_t pid)
{
    return !strchr("-ZX", state_of(f, pid));
}

/* A process of the test's own. */
static pid_t
bystander(void)
{
    pid_t pid = fork();

    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            pause();
        }
    }
    return pid;
}

static void
dismiss(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* Starting. */

static void
opening_starts_nothing(void **state)
{
    struct fixture *f = *state;

    f->guest.command = "sleep 1000";
    open_it(f);
    look(f);
    assert_int_equal(f->n, 0);
    assert_string_equal(tree_get(&f->state, "web.pid"), "(absent)");
}

static void
started_guest_is_shown(void **state)
{
    struct fixture *f = *state;

    f->guest.n_vcpus = 1;
    start(f, "sleep 1000");
    assert_string_equal(f->sample.name, "web");
    assert_true(uuid_equal(&f->sample.uuid, &f->guest.uuid));
    assert_int_equal(f->sample.n_vcpus, 1);
    assert_int_equal(f->sample.vcpu_cpu[0], 0);
}

static void
starting_twice_is_refused(void **state)
{
    struct fixture *f = *state;

    start(f, "sleep 1000");
    assert_int_equal(control(f, VM_OP_START), -EALREADY);
    assert_non_null(strstr(f->why, "web"));
}

static void
guest_that_ends_is_told_once(void **state)
{
    struct fixture *f = *state;

    start(f, "while [ ! -e go ]; do sleep 0.01; done");
    tree_put(&f->state, "go", " ");
    await(f, VM_ENDED);
    look(f);
    assert_int_equal(f->n, 0);
    assert_string_equal(tree_get(&f->state, "web.pid"), "(absent)");
}

static void
guest_that_ends_before_we_look_is_told_once(void **state)
{
    struct fixture *f = *state;

    f->guest.command = "exit 3";
    open_it(f);
    assert_int_equal(control(f, VM_OP_START), 0);
    await(f, VM_ENDED);
    look(f);
    assert_int_equal(f->n, 0);
}

static void
ended_guest_starts_again(void **state)
{
    struct fixture *f = *state;

    start(f, "echo $$ >>pids; sleep 1000");
    await_file(f, "pids");
    end_now(f);
    assert_int_equal(control(f, VM_OP_START), 0);
    await(f, VM_RUNNING);
}

static void
instance_is_told_since_its_first_process_began(void **state)
{
    struct fixture *f = *state;
    struct timespec before, after;

    clock_gettime(CLOCK_BOOTTIME, &before);
    start(f, "sleep 1000");
    clock_gettime(CLOCK_BOOTTIME, &after);
    nsec_t since = f->sample.instance_since;
    assert_true(f->sample.instance != 0);
    /* The kernel counts in ticks. */
    assert_true(since >= before.tv_sec * NSEC_PER_SEC + before.tv_nsec -
                             20 * NSEC_PER_MSEC);
    assert_true(since <= after.tv_sec * NSEC_PER_SEC + after.tv_nsec);
}

static void
guest_without_command_is_not_started(void **state)
{
    struct fixture *f = *state;

    open_it(f);
    assert_int_equal(control(f, VM_OP_START), -ENOTSUP);
    assert_non_null(strstr(f->why, "command"));
}

static void
unknown_guest_is_refused(void **state)
{
    struct fixture *f = *state;
    struct uuid other = {.byte = {9}};

    open_it(f);
    for (int op = VM_OP_START; op <= VM_OP_END; op++) {
        assert_int_equal(driver()->control(f->hv, &other, op, now_of(f), f->why,
                                           sizeof f->why),
                         -ENOENT);
    }
}

static void
guest_on_an_absent_cpu_ends_and_says_why(void **state)
{
    struct fixture *f = *state;

    f->guest.command = "sleep 1000";
    f->guest.n_vcpus = 1;
    f->guest.vcpu_cpu[0] = 1000;
    open_it(f);
    assert_int_equal(control(f, VM_OP_START), 0);
    await(f, VM_ENDED);
    assert_non_null(strstr(tree_get(&f->state, "web.log"), "CPUs"));
}

static void
guest_inherits_no_descriptors(void **state)
{
    struct fixture *f = *state;
    int leak = open("/dev/null", O_RDONLY); /* Not close-on-exec. */

    start(f, "ls /proc/self/fd >fds; touch done; sleep 1000");
    close(leak);
    await_file(f, "done");
    char text[256];
    snprintf(text, sizeof text, "%s/fds", f->state.path);
    FILE *in = fopen(text, "r");
    int n = 0;
    while (fgets(text, sizeof text, in)) {
        n++;
    }
    fclose(in);
    assert_int_equal(n, 4); /* 0, 1, 2, and ls's own. */
}

static void
guest_inherits_no_environment(void **state)
{
    struct fixture *f = *state;

    setenv("MBROKER_TEST_SECRET", "x", 1);
    start(f, "env | grep -c SECRET >found; echo $MBROKER_GUEST >name;"
             "touch done; sleep 1000");
    unsetenv("MBROKER_TEST_SECRET");
    await_file(f, "done");
    assert_string_equal(tree_get(&f->state, "found"), "0");
    assert_string_equal(tree_get(&f->state, "name"), "web");
}

static void
guests_init_is_called_what_it_is(void **state)
{
    struct fixture *f = *state;
    char path[64], title[64] = "";

    start(f, "sleep 1000");
    snprintf(path, sizeof path, "/proc/%d/cmdline", number_in(f, "web.pid"));
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    size_t got = fread(title, 1, sizeof title - 1, in);
    fclose(in);
    assert_true(got > 0);
    assert_string_equal(title, "mbroker-guest web");
}

static void
guests_output_goes_to_its_log(void **state)
{
    struct fixture *f = *state;

    start(f, "echo hello; touch done; sleep 1000");
    await_file(f, "done");
    assert_string_equal(tree_get(&f->state, "web.log"), "hello");
}

/* Its disk is the journal's, too. */
static void
guest_that_prints_for_ever_fills_no_disk(void **state)
{
    struct fixture *f = *state;
    struct stat log;
    off_t most = 0;

    start(f,
          "i=0; while [ $i -lt 40 ]; do head -c 100000 /dev/zero; "
          "i=$((i + 1)); sleep 0.02; done; echo end; touch done; sleep 1000");
    while (faccessat(f->state.dirfd, "done", F_OK, 0)) {
        look(f);
        if (!fstatat(f->state.dirfd, "web.log", &log, 0) &&
            log.st_size > most) {
            most = log.st_size;
        }
    }
    assert_true(most > 100000);
    look(f);
    assert_int_equal(fstatat(f->state.dirfd, "web.log", &log, 0), 0);
    assert_true(log.st_size <= 1 << 20); /* Of 4 MB. */
}

static void
without_log_there_is_none(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(
        options_set(&f->options, "log", "false", f->why, sizeof f->why), 0);
    start(f, "echo hello; touch done; sleep 1000");
    await_file(f, "done");
    assert_string_equal(tree_get(&f->state, "web.log"), "(absent)");
}

static void
name_that_would_leave_the_directory_is_refused(void **state)
{
    struct fixture *f = *state;

    strcpy(f->guest.name, "../web");
    assert_int_equal(driver()->open(&f->hv, &f->env, f->why, sizeof f->why),
                     -EINVAL);
    assert_null(f->hv);
    assert_non_null(strstr(f->why, "../web"));
}

/* The tree. */

static void
double_forked_daemon_stays_in_its_guest(void **state)
{
    struct fixture *f = *state;

    start(f, "(setsid sh -c 'echo $$ >d.new; mv d.new daemon;"
             " exec sleep 1000' &); exit 0");
    pid_t daemon = number_in(f, "daemon");
    for (int i = 0; i < 20; i++) {
        look(f);
        nap();
    }
    assert_int_equal(f->n, 1);
    assert_int_equal(f->sample.state, VM_RUNNING);
    end_now(f);
    assert_false(lives(f, daemon));
}

static void
bystanders_are_left_alone(void **state)
{
    struct fixture *f = *state;
    pid_t other = bystander();

    start(f, "sleep 1000");
    assert_int_equal(control(f, VM_OP_FREEZE), 0);
    await(f, VM_FROZEN);
    assert_true(strchr("SR", state_of(f, other)));
    end_now(f);
    assert_true(lives(f, other));
    dismiss(other);
}

static void
many_processes_are_all_ended(void **state)
{
    struct fixture *f = *state;

    start(f, "i=0; while [ $i -lt 50 ]; do"
             " (trap '' TERM; while :; do sleep 0.02; done) &"
             " echo $! >>pids; i=$((i+1)); done; touch done; wait");
    await_file(f, "done");
    end_now(f);

    char line[256];
    int n = 0;
    snprintf(line, sizeof line, "%s/pids", f->state.path);
    FILE *in = fopen(line, "r");
    while (fgets(line, sizeof line, in)) {
        assert_false(lives(f, atoi(line)));
        n++;
    }
    fclose(in);
    assert_int_equal(n, 50);
}

/* Each process makes the next and dies: nobody lives long enough to be hit by a
 * look and a signal, unless it is stopped first. */
static void
chain_of_forks_is_caught(void **state)
{
    struct fixture *f = *state;

    tree_put(&f->state, "chain",
             "trap '' TERM; [ -e stop ] || sh ./chain & exit 0\n");
    start(f, "sh ./chain");
    end_now(f);
    tree_put(&f->state, "stop", " "); /* For whoever escaped all the same. */
    look(f);
    assert_int_equal(f->n, 0);
}

static void
orphans_of_a_killed_init_are_kept(void **state)
{
    struct fixture *f = *state;

    start(f, "sh -c 'echo $$ >c.new; mv c.new child; exec sleep 1000' & wait");
    pid_t child = number_in(f, "child");
    look(f);
    kill(number_in(f, "web.pid"), SIGKILL);
    for (int i = 0; i < 20; i++) {
        look(f);
        nap();
    }
    assert_int_equal(f->n, 1);
    assert_int_equal(f->sample.state, VM_RUNNING);
    end_now(f);
    assert_false(lives(f, child));
}

/* Busy time. */

static void
busy_time_grows_with_work(void **state)
{
    struct fixture *f = *state;

    start(f, "while :; do :; done");
    nsec_t end = now_of(f) + PATIENCE;
    while (f->sample.busy_ns < 200 * (uint64_t)NSEC_PER_MSEC) {
        assert_true(now_of(f) < end);
        look(f);
        nap();
    }
}

static void
busy_time_stands_still_without_work(void **state)
{
    struct fixture *f = *state;

    start(f, "touch done; exec sleep 1000");
    await_file(f, "done");
    usleep(100000);
    look(f);
    uint64_t before = f->sample.busy_ns;
    usleep(300000);
    look(f);
    assert_true(f->sample.busy_ns - before <= 20 * (uint64_t)NSEC_PER_MSEC);
}

/* Programs of a millisecond, none of which lives to see two samples. */
static void
short_lived_programs_are_counted(void **state)
{
    struct fixture *f = *state;
    uint64_t used_ns = 0, before = 0;

    start(f, "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done;"
             " times >times; touch done; sleep 1000");
    while (faccessat(f->state.dirfd, "done", F_OK, 0)) {
        look(f);
        assert_true(f->sample.busy_ns >= before);
        before = f->sample.busy_ns;
        usleep(50000);
    }
    look(f);

    char path[256];
    snprintf(path, sizeof path, "%s/times", f->state.path);
    FILE *in = fopen(path, "r");
    int minutes;
    double seconds;
    while (fscanf(in, "%dm%lfs", &minutes, &seconds) == 2) {
        used_ns += (uint64_t)((minutes * 60 + seconds) * 1e9);
    }
    fclose(in);
    print_message("# busy %llu ms, by the shell's own count %llu ms\n",
                  (unsigned long long)(f->sample.busy_ns / 1000000),
                  (unsigned long long)(used_ns / 1000000));
    assert_true(f->sample.busy_ns + 60 * 1000000 > used_ns * 7 / 10);
    assert_true(f->sample.busy_ns < used_ns * 13 / 10 + 60 * 1000000);
}

static void
busy_time_never_falls_when_children_end(void **state)
{
    struct fixture *f = *state;
    uint64_t before = 0;

    start(f, "i=0; while [ $i -lt 5 ]; do"
             " sh -c 'j=0; while [ $j -lt 20000 ]; do j=$((j+1)); done';"
             " i=$((i+1)); done; touch done; sleep 1000");
    while (faccessat(f->state.dirfd, "done", F_OK, 0)) {
        look(f);
        assert_true(f->sample.busy_ns >= before);
        before = f->sample.busy_ns;
    }
    assert_true(before > 0);
}

/* Freezing. */

static void
frozen_guest_stands_still_until_thawed(void **state)
{
    struct fixture *f = *state;

    start(f, "while :; do :; done & while :; do sleep 0.01; done");
    assert_int_equal(control(f, VM_OP_FREEZE), 0);
    await(f, VM_FROZEN);
    uint64_t before = f->sample.busy_ns;
    usleep(200000);
    look(f);
    assert_int_equal(f->sample.state, VM_FROZEN);
    assert_true(f->sample.busy_ns - before <= 20 * (uint64_t)NSEC_PER_MSEC);
    assert_int_equal(control(f, VM_OP_FREEZE), -EALREADY);

    assert_int_equal(control(f, VM_OP_THAW), 0);
    look(f);
    assert_int_equal(f->sample.state, VM_RUNNING);
    assert_int_equal(control(f, VM_OP_THAW), -EALREADY);
    nsec_t end = now_of(f) + PATIENCE;
    while (f->sample.busy_ns < before + 50 * (uint64_t)NSEC_PER_MSEC) {
        assert_true(now_of(f) < end);
        look(f);
        nap();
    }
}

/* While it waits in vfork(), a parent can't be stopped, nor can it run. */
static void
parent_in_vfork_does_not_hold_up_freezing(void **state)
{
    struct fixture *f = *state;

    start(f, "while :; do /bin/true; done"); /* dash forks by vfork(). */
    for (int i = 0; i < 50; i++) {
        assert_int_equal(control(f, VM_OP_FREEZE), 0);
        await(f, VM_FROZEN);
        assert_int_equal(control(f, VM_OP_THAW), 0);
        await(f, VM_RUNNING);
        usleep(700);
    }
}

static void
process_continued_by_somebody_else_is_frozen_again(void **state)
{
    struct fixture *f = *state;

    start(f, "echo $$ >p.new; mv p.new pid; while :; do :; done");
    pid_t pid = number_in(f, "pid");
    assert_int_equal(control(f, VM_OP_FREEZE), 0);
    await(f, VM_FROZEN);
    kill(pid, SIGCONT);
    await(f, VM_FROZEN);
    nsec_t end = now_of(f) + PATIENCE;
    while (state_of(f, pid) != 'T') {
        assert_true(now_of(f) < end);
        look(f);
        nap();
    }
}

static void
frozen_guest_can_be_ended(void **state)
{
    struct fixture *f = *state;

    start(f, "sleep 1000");
    assert_int_equal(control(f, VM_OP_FREEZE), 0);
    await(f, VM_FROZEN);
    assert_int_equal(control(f, VM_OP_END), 0);
    await(f, VM_ENDED);
}

static void
guest_that_is_not_there_cannot_be_frozen(void **state)
{
    struct fixture *f = *state;

    open_it(f);
    assert_int_equal(control(f, VM_OP_FREEZE), -ENOENT);
    assert_int_equal(control(f, VM_OP_THAW), -ENOENT);
    assert_int_equal(control(f, VM_OP_END), -ENOENT);
}

/* Ending. */

static void
ending_asks_first(void **state)
{
    struct fixture *f = *state;

    start(f, "trap 'echo bye >last; exit 0' TERM; touch done;"
             " while :; do sleep 0.01; done");
    await_file(f, "done");
    assert_int_equal(control(f, VM_OP_END), 0);
    assert_int_equal(control(f, VM_OP_END), -EALREADY);
    await(f, VM_ENDED);
    assert_string_equal(tree_get(&f->state, "last"), "bye");
}

static void
stubborn_guest_is_killed_after_its_grace(void **state)
{
    struct fixture *f = *state;

    start(f, "trap '' TERM; touch done; while :; do sleep 0.01; done");
    await_file(f, "done");
    assert_int_equal(control(f, VM_OP_END), 0);
    f->skipped += NSEC_PER_SEC;
    for (int i = 0; i < 20; i++) {
        look(f);
        assert_int_equal(f->n, 1);
        assert_int_equal(f->sample.state, VM_RUNNING);
        nap();
    }
    f->skipped += 2 * NSEC_PER_SEC;
    await(f, VM_ENDED);
}

/* A broker that comes back. */

static void
closing_leaves_guests_running_and_opening_finds_them(void **state)
{
    struct fixture *f = *state;

    start(f, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; touch done;"
             " sleep 1000");
    await_file(f, "done");
    look(f);
    uint64_t before = f->sample.busy_ns;
    reopen(f);
    look(f);
    assert_int_equal(f->n, 1);
    assert_int_equal(f->sample.state, VM_RUNNING);
    assert_true(f->sample.busy_ns + 50 * (uint64_t)NSEC_PER_MSEC >= before);
    assert_int_equal(control(f, VM_OP_START), -EALREADY);
    end_now(f);
}

static void
frozen_guest_is_found_frozen(void **state)
{
    struct fixture *f = *state;

    start(f, "sleep 1000");
    assert_int_equal(control(f, VM_OP_FREEZE), 0);
    await(f, VM_FROZEN);
    reopen(f);
    look(f);
    assert_int_equal(f->sample.state, VM_FROZEN);
    assert_int_equal(control(f, VM_OP_THAW), 0);
    look(f);
    assert_int_equal(f->sample.state, VM_RUNNING);
}

static void
put_own_file(struct fixture *f, pid_t pid, long start_off, const char *boot)
{
    struct process p;
    char text[64];

    assert_int_equal(process_read(f->proc_dirfd, pid, &p), 0);
    FILE *in = fopen("/proc/sys/kernel/random/boot_id", "r");
    assert_non_null(in);
    assert_non_null(fgets(text, sizeof text, in));
    fclose(in);
    text[strcspn(text, "\n")] = '\0';
    tree_put(&f->state, "web.pid", "%d %ld %s\n", pid,
             (long)p.id.start + start_off, boot ? boot : text);
}

static void
number_used_anew_is_not_our_guest(void **state)
{
    struct fixture *f = *state;
    pid_t other = bystander();

    put_own_file(f, other, -1, NULL);
    open_it(f);
    look(f);
    assert_int_equal(f->n, 0);
    assert_int_equal(control(f, VM_OP_END), -ENOENT);
    driver()->close(f->hv);

    /* The same file with the right time is believed: the test can fail. */
    put_own_file(f, other, 0, NULL);
    open_it(f);
    look(f);
    assert_int_equal(f->n, 1);
    driver()->close(f->hv);
    f->hv = NULL;
    dismiss(other);
}

static void
file_of_another_boot_is_not_believed(void **state)
{
    struct fixture *f = *state;
    pid_t other = bystander();

    put_own_file(f, other, 0, "00000000-0000-0000-0000-000000000000");
    open_it(f);
    look(f);
    assert_int_equal(f->n, 0);
    dismiss(other);
}

static void
garbage_in_the_state_directory_is_no_guest(void **state)
{
    static const char *const garbage[] = {
        "",
        " ",
        "x",
        "1",
        "1 1",
        "-5 7 unknown",
        "99999999999999999999 1 x",
        "1 2 3 4 5",
        "\n\n\n",
        "0 0 0",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        tree_put(&f->state, "web.pid", "%s", garbage[i]);
        tree_put(&f->state, "foreign.pid", "%s", garbage[i]);
        f->guest.pid_file = "foreign.pid";
        open_it(f);
        look(f);
        assert_int_equal(f->n, 0);
        driver()->close(f->hv);
        f->hv = NULL;
    }
}

/* Guests that somebody else starts. */

static void
guest_is_adopted_by_its_pid_file(void **state)
{
    struct fixture *f = *state;
    pid_t other = bystander();

    f->guest.pid_file = "foreign.pid";
    open_it(f);
    look(f);
    assert_int_equal(f->n, 0);
    tree_put(&f->state, "foreign.pid", "%d\n", other);
    look(f);
    assert_int_equal(f->n, 1);
    assert_int_equal(control(f, VM_OP_FREEZE), 0);
    await(f, VM_FROZEN);
    assert_int_equal(state_of(f, other), 'T');
    assert_int_equal(control(f, VM_OP_END), 0);
    await(f, VM_ENDED);
    waitpid(other, NULL, 0);
    assert_int_equal(faccessat(f->state.dirfd, "foreign.pid", F_OK, 0), 0);
}

static void
stale_pid_file_is_not_believed(void **state)
{
    struct fixture *f = *state;
    pid_t other = bystander();

    f->guest.pid_file = "foreign.pid";
    tree_put(&f->state, "foreign.pid", "%d\n", other);
    struct timespec old[2] = {{.tv_sec = time(NULL) - 3600},
                              {.tv_sec = time(NULL) - 3600}};
    assert_int_equal(utimensat(f->state.dirfd, "foreign.pid", old, 0), 0);
    open_it(f);
    look(f);
    assert_int_equal(f->n, 0);
    assert_int_equal(control(f, VM_OP_END), -ENOENT);
    assert_true(lives(f, other));
    dismiss(other);
}

/* Or a user could have us kill what he could not. */
static void
pid_file_names_only_what_its_writer_may_stop(void **state)
{
    struct fixture *f = *state;
    pid_t other = bystander();

    f->guest.pid_file = "foreign.pid";
    tree_put(&f->state, "foreign.pid", "%d\n", other);
    assert_int_equal(fchmodat(f->state.dirfd, "foreign.pid", 0666, 0), 0);
    open_it(f);
    look(f);
    assert_int_equal(f->n, 0); /* Anybody's. */
    assert_int_equal(fchmodat(f->state.dirfd, "foreign.pid", 0644, 0), 0);
    assert_int_equal(
        renameat(f->state.dirfd, "foreign.pid", f->state.dirfd, "true.pid"), 0);
    assert_int_equal(symlinkat("true.pid", f->state.dirfd, "foreign.pid"), 0);
    look(f);
    assert_int_equal(f->n, 0); /* A link to somebody's. */
    assert_int_equal(
        renameat(f->state.dirfd, "true.pid", f->state.dirfd, "foreign.pid"), 0);
    if (geteuid() == 0) {
        assert_int_equal(
            fchownat(f->state.dirfd, "foreign.pid", NOBODY, NOBODY, 0), 0);
        look(f);
        assert_int_equal(f->n, 0); /* Somebody else's than the process. */
        assert_int_equal(control(f, VM_OP_END), -ENOENT);
        assert_true(lives(f, other));
        assert_int_equal(fchownat(f->state.dirfd, "foreign.pid", 0, 0, 0), 0);
    }
    look(f);
    assert_int_equal(f->n, 1);
    dismiss(other);
}

static void
user_may_name_his_own_process_as_a_guest(void **state)
{
    struct fixture *f = *state;
    int pair[2];
    char byte;

    if (geteuid() != 0) {
        skip();
    }
    assert_int_equal(pipe(pair), 0);
    pid_t his = fork();
    if (!his) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (setgid(NOBODY) || setuid(NOBODY)) {
            _exit(1);
        }
        prctl(PR_SET_DUMPABLE,
              1); /* As exec() would; or it looks like root's. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (write(pair[1], "", 1) == 1) {
            for (;;) {
                pause();
            }
        }
        _exit(1);
    }
    assert_int_equal(read(pair[0], &byte, 1), 1);
    close(pair[0]);
    close(pair[1]);
    f->guest.pid_file = "foreign.pid";
    tree_put(&f->state, "foreign.pid", "%d\n", his);
    assert_int_equal(fchownat(f->state.dirfd, "foreign.pid", NOBODY, NOBODY, 0),
                     0);
    open_it(f);
    look(f);
    assert_int_equal(f->n, 1);
    dismiss(his);
}

static void
broker_and_its_ancestors_are_never_guests(void **state)
{
    struct fixture *f = *state;
    pid_t never[] = {getpid(), getppid(), 1};

    f->guest.pid_file = "foreign.pid";
    for (int i = 0; i < 3; i++) {
        tree_put(&f->state, "foreign.pid", "%d\n", never[i]);
        open_it(f);
        look(f);
        assert_int_equal(f->n, 0);
        driver()->close(f->hv);
        f->hv = NULL;
    }
}

/* Pinning. */

static uint32_t
some_cpu(void)
{
    cpu_set_t set;

    sched_getaffinity(0, sizeof set, &set);
    for (uint32_t i = CPU_SETSIZE; i-- > 0;) {
        if (CPU_ISSET(i, &set)) {
            return i;
        }
    }
    return 0;
}

static bool
runs_only_on(pid_t pid, uint32_t cpu)
{
    cpu_set_t set;

    return !sched_getaffinity(pid, sizeof set, &set) && CPU_COUNT(&set) == 1 &&
           CPU_ISSET(cpu, &set);
}

static void
started_guest_runs_on_its_cpus(void **state)
{
    struct fixture *f = *state;

    f->guest.n_vcpus = 1;
    f->guest.vcpu_cpu[0] = some_cpu();
    start(f, "sh -c 'echo $$ >c.new; mv c.new child; exec sleep 1000' & wait");
    assert_true(runs_only_on(number_in(f, "child"), f->guest.vcpu_cpu[0]));
}

static void
adopted_guest_is_brought_to_its_cpus(void **state)
{
    struct fixture *f = *state;
    pid_t other = bystander();

    f->guest.n_vcpus = 1;
    f->guest.vcpu_cpu[0] = some_cpu();
    f->guest.pid_file = "foreign.pid";
    tree_put(&f->state, "foreign.pid", "%d\n", other);
    open_it(f);
    nsec_t end = now_of(f) + PATIENCE;
    while (!runs_only_on(other, f->guest.vcpu_cpu[0])) {
        assert_true(now_of(f) < end);
        look(f);
    }
    driver()->close(f->hv);
    f->hv = NULL;
    dismiss(other);
}

static void
without_pin_an_adopted_guest_is_left_where_it_is(void **state)
{
    struct fixture *f = *state;
    pid_t other = bystander();
    cpu_set_t before, after;

    f->guest.n_vcpus = 1;
    f->guest.vcpu_cpu[0] = some_cpu();
    f->guest.pid_file = "foreign.pid";
    tree_put(&f->state, "foreign.pid", "%d\n", other);
    assert_int_equal(
        options_set(&f->options, "pin", "false", f->why, sizeof f->why), 0);
    sched_getaffinity(other, sizeof before, &before);
    open_it(f);
    for (int i = 0; i < 20; i++) {
        look(f);
    }
    sched_getaffinity(other, sizeof after, &after);
    assert_true(CPU_EQUAL(&before, &after));
    driver()->close(f->hv);
    f->hv = NULL;
    dismiss(other);
}

static int
set_guests(struct fixture *f, const struct hypervisor_guest *guests, uint32_t n)
{
    return driver()->set_guests(f->hv, guests, n, f->why, sizeof f->why);
}

/* A reload: who is in both is the same guest, frozen as it was, at another
 * place; one that is named no more runs on and is found again. */
static void
other_guests_leave_those_that_stay_as_they_are(void **state)
{
    struct fixture *f = *state;
    pid_t other = bystander();
    struct hypervisor_guest two[2], bad[2];

    f->guest.pid_file = "foreign.pid";
    tree_put(&f->state, "foreign.pid", "%d\n", other);
    open_it(f);
    await(f, VM_RUNNING);
    assert_int_equal(control(f, VM_OP_FREEZE), 0);
    await(f, VM_FROZEN);
    two[0] = (struct hypervisor_guest){.name = "new", .uuid.byte[0] = 9};
    two[1] = f->guest;
    memcpy(bad, two, sizeof bad);
    snprintf(bad[0].name, sizeof bad[0].name, "no name/");
    assert_int_equal(set_guests(f, bad, 2), -EINVAL);
    assert_non_null(strstr(f->why, "no name/"));
    await(f, VM_FROZEN); /* Nothing changed. */
    assert_int_equal(set_guests(f, two, 2), 0);
    look(f);
    assert_int_equal(f->n, 1);
    assert_int_equal(f->sample.state, VM_FROZEN);
    assert_int_equal(control(f, VM_OP_FREEZE), -EALREADY);
    assert_int_equal(control(f, VM_OP_THAW), 0);
    await(f, VM_RUNNING);
    assert_int_equal(set_guests(f, two, 1), 0);
    look(f);
    assert_int_equal(f->n, 0); /* Not even as ended. */
    assert_int_equal(control(f, VM_OP_END), -ENOENT);
    assert_int_equal(kill(other, 0), 0);
    assert_int_equal(set_guests(f, two, 2), 0);
    await(f, VM_RUNNING);
    driver()->close(f->hv);
    f->hv = NULL;
    dismiss(other);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        T(opening_starts_nothing),
        T(started_guest_is_shown),
        T(starting_twice_is_refused),
        T(guest_that_ends_is_told_once),
        T(guest_that_ends_before_we_look_is_told_once),
        T(ended_guest_starts_again),
        T(instance_is_told_since_its_first_process_began),
        T(guest_without_command_is_not_started),
        T(unknown_guest_is_refused),
        T(guest_on_an_absent_cpu_ends_and_says_why),
        T(guest_inherits_no_descriptors),
        T(guest_inherits_no_environment),
        T(guests_init_is_called_what_it_is),
        T(guests_output_goes_to_its_log),
        T(guest_that_prints_for_ever_fills_no_disk),
        T(without_log_there_is_none),
        T(name_that_would_leave_the_directory_is_refused),
        T(double_forked_daemon_stays_in_its_guest),
        T(bystanders_are_left_alone),
        T(many_processes_are_all_ended),
        T(chain_of_forks_is_caught),
        T(orphans_of_a_killed_init_are_kept),
        T(busy_time_grows_with_work),
        T(busy_time_stands_still_without_work),
        T(short_lived_programs_are_counted),
        T(busy_time_never_falls_when_children_end),
        T(frozen_guest_stands_still_until_thawed),
        T(parent_in_vfork_does_not_hold_up_freezing),
        T(process_continued_by_somebody_else_is_frozen_again),
        T(frozen_guest_can_be_ended),
        T(guest_that_is_not_there_cannot_be_frozen),
        T(ending_asks_first),
        T(stubborn_guest_is_killed_after_its_grace),
        T(closing_leaves_guests_running_and_opening_finds_them),
        T(frozen_guest_is_found_frozen),
        T(number_used_anew_is_not_our_guest),
        T(file_of_another_boot_is_not_believed),
        T(garbage_in_the_state_directory_is_no_guest),
        T(guest_is_adopted_by_its_pid_file),
        T(stale_pid_file_is_not_believed),
        T(pid_file_names_only_what_its_writer_may_stop),
        T(user_may_name_his_own_process_as_a_guest),
        T(broker_and_its_ancestors_are_never_guests),
        T(started_guest_runs_on_its_cpus),
        T(adopted_guest_is_brought_to_its_cpus),
        T(without_pin_an_adopted_guest_is_left_where_it_is),
        T(other_guests_leave_those_that_stay_as_they_are),
    };

    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}

# SPDX-License-Identifier: Apache-2.0
"""The processes of mbrokerd: started, stopped, killed one by one and together.
Whatever happens, who did what is said, the p-states are as they were found, and
no process, socket or lock is left behind."""
import os
import pathlib
import signal
import socket
import stat
import subprocess
import time

import pytest

from harness import (MBROKERD, MCTL, PATIENCE, TOP, Broker, began, children, command_of,
                     is_alive, make_cpufreq, max_freq, n_fds, stat_of, wait_until)

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)

FULL_KHZ = 2400000
ROLES = ["back", "engine", "platform", "steward"]


def on_cpufreq(directory, cpus="0", extra="", **more):
    """A broker whose p-states are files of a made tree, and whose one guest
    sleeps, so that the policy lowers its CPU."""
    broker = Broker(guests=["web1"], pstate="cpufreq", cpus=cpus,
                    commands={"web1": "exec sleep 1000"},
                    extra='sys_dir = "%s"; %s' % (directory / "sys", extra), **more)
    if not (directory / "sys").exists():
        make_cpufreq(directory / "sys", cpus=range(4))
    return broker


def start_lowered(broker, directory, cpu=0):
    """Starts it and waits until it has changed something."""
    broker.start()
    broker.agent("web1")
    wait_until(lambda: 0 < max_freq(directory / "sys", cpu) < FULL_KHZ,
               "the policy lowers CPU %d" % cpu)


def processes(broker):
    """All of the broker's own processes that live, as (pid, start); the inits
    of guests, forked from one, are not."""
    parent = broker.process.pid
    own = [parent] + [pid for pid in children(parent)
                      if stat_of(pid)[1:2] == [str(parent)]]
    return [(pid, began(pid)) for pid in own if is_alive(pid)]


def alive(those):
    return [pid for pid, start in those if is_alive(pid) and began(pid) == start]


def kill_all_at_once(broker):
    """As when the machine's memory runs out: no process sees another die."""
    those = processes(broker)
    for signum in (signal.SIGSTOP, signal.SIGKILL):
        for pid, _ in those:
            os.kill(pid, signum)
    broker.process.wait()
    wait_until(lambda: not alive(those), "all are gone")


def sockets(directory):
    return [str(p) for p in pathlib.Path(directory).rglob("*") if p.is_socket()]


def assert_nothing_left(broker, those):
    wait_until(lambda: not alive(those), "no process of the broker is left")
    assert sockets(broker.run_dir) == []
    assert list((broker.run_dir / "saved").iterdir()) == []


def run(*arguments):
    return subprocess.run([str(MBROKERD), *map(str, arguments)], capture_output=True,
                          text=True, timeout=60, stdin=subprocess.DEVNULL)


# Starting and stopping.


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_orderly_stop_restores_and_leaves_nothing(tmp_path, signum):
    with on_cpufreq(tmp_path) as broker:
        start_lowered(broker, tmp_path)
        those = processes(broker)
        assert len(those) == 5
        assert broker.stop(signum) == 0
        assert max_freq(tmp_path / "sys") == FULL_KHZ
        assert_nothing_left(broker, those)
        assert list((broker.dir / "locks").iterdir()) == []
        assert not (broker.run_dir / "lock").exists()
        assert "error" not in broker.said()


def test_a_signal_to_all_processes_is_an_orderly_stop_too(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        start_lowered(broker, tmp_path)
        those = processes(broker)
        for pid, _ in those[1:] + those[:1]:
            os.kill(pid, signal.SIGTERM)
        assert broker.process.wait(30) == 0
        assert max_freq(tmp_path / "sys") == FULL_KHZ
        assert_nothing_left(broker, those)


def test_each_process_has_a_name_of_its_own():
    with Broker() as broker:
        broker.start()
        roles = broker.roles()
        assert sorted(roles) == ROLES
        for role, pid in roles.items():
            comm = pathlib.Path("/proc/%d/comm" % pid).read_text().strip()
            assert comm == ("mbrokerd-" + role)[:15]


def test_starting_and_stopping_many_times_leaves_nothing():
    with Broker(guests=["web1"], hypervisor="sim", power="") as broker:
        for _ in range(10):
            broker.start()
            those = processes(broker)
            assert broker.stop() == 0
            assert_nothing_left(broker, those)


def test_a_stop_during_the_start_is_orderly():
    with Broker() as broker:
        for delay in (0.0, 0.005, 0.01, 0.02, 0.04):
            broker.launch()
            time.sleep(delay)
            those = processes(broker)
            broker.process.terminate()
            # Before the handler stands the signal itself ends it.
            assert broker.process.wait(30) in (0, -signal.SIGTERM)
            wait_until(lambda: not alive(those), "no process is left")


def test_without_a_configuration_it_observes_and_changes_nothing(tmp_path):
    run_dir = tmp_path / "run"
    log = tmp_path / "log"
    with open(log, "wb") as out:
        process = subprocess.Popen(
            [str(MBROKERD), "--config", str(empty_config(tmp_path)), "--run-dir",
             str(run_dir), "--state-dir", str(tmp_path / "state")], stderr=out)
    try:
        wait_until(lambda: "ready in" in log.read_text(), "it is ready")
        assert subprocess.run([str(MCTL), "--run-dir", str(run_dir), "status"],
                              capture_output=True).returncode == 0
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert "0 CPUs managed, 0 guests, policy none" in log.read_text()


def test_a_back_that_hangs_is_killed_and_the_rest_stops_in_order(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        start_lowered(broker, tmp_path)
        those = processes(broker)
        os.kill(broker.roles()["back"], signal.SIGSTOP)
        assert broker.stop() == 1
        assert "does not leave; killing it" in broker.said()
        assert "back (process" in broker.said()
        assert max_freq(tmp_path / "sys") == FULL_KHZ
        assert_nothing_left(broker, those)


# Dying.


@pytest.mark.parametrize("role", ROLES)
def test_a_killed_process_takes_all_down_and_is_named(tmp_path, role):
    with on_cpufreq(tmp_path) as broker:
        start_lowered(broker, tmp_path)
        those = processes(broker)
        pid = broker.roles()[role]
        os.kill(pid, signal.SIGKILL)
        assert broker.process.wait(30) == 1
        assert "%s (process %d) was killed by signal 9" % (role, pid) in broker.said()
        assert max_freq(tmp_path / "sys") == FULL_KHZ
        assert_nothing_left(broker, those)
        broker.start()
        assert broker.stop() == 0


@pytest.mark.parametrize("role", ROLES)
def test_no_process_is_restarted(tmp_path, role):
    with Broker() as broker:
        broker.start()
        before = broker.roles()
        os.kill(before[role], signal.SIGKILL)
        broker.process.wait(30)
        assert broker.said().count("ready in") == 1
        assert not any(is_alive(pid) for pid in before.values())


def test_a_killed_parent_leaves_nothing_and_p_states_restored(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        start_lowered(broker, tmp_path)
        those = processes(broker)
        broker.process.kill()
        broker.process.wait()
        assert_nothing_left(broker, those)
        assert max_freq(tmp_path / "sys") == FULL_KHZ


def test_a_parent_killed_while_it_starts_leaves_no_process():
    """Whatever the lines to its children were then."""
    with Broker(guests=["web1"], hypervisor="sim") as broker:
        for delay_ms in range(0, 60, 3):
            broker.launch()
            time.sleep(delay_ms / 1000)
            broker.process.kill()
            broker.process.wait()
            wait_until(lambda: not [
                pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
                if is_alive(pid) and "--config=%s" % broker.conf in command_of(pid)],
                "no process is left, %d ms after the start" % delay_ms)


def test_after_a_killed_parent_a_new_broker_starts_at_once(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        start_lowered(broker, tmp_path)
        broker.process.kill()
        broker.process.wait()
        start_lowered(broker, tmp_path)
        assert broker.stop() == 0
        assert max_freq(tmp_path / "sys") == FULL_KHZ


def test_restore_puts_back_what_a_broker_killed_whole_left(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        start_lowered(broker, tmp_path)
        kill_all_at_once(broker)
        assert max_freq(tmp_path / "sys") < FULL_KHZ
        arguments = ["--restore", "--config", broker.conf,
                     "--lock-dir", broker.dir / "locks"]
        done = run(*arguments)
        assert done.returncode == 0, done.stderr
        assert "put back what was found: 1 frequency domains" in done.stderr
        assert max_freq(tmp_path / "sys") == FULL_KHZ
        assert sockets(broker.run_dir) == []
        done = run(*arguments)
        assert done.returncode == 0
        assert "put back" not in done.stderr


def test_a_start_first_puts_back_what_a_broker_killed_whole_left(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        start_lowered(broker, tmp_path)
        kill_all_at_once(broker)
        text = broker.conf.read_text()
        broker.conf.write_text(text.replace('"basic"', '"none"').replace(
            "util_period_ms = 300;", ""))
        broker.start()
        assert max_freq(tmp_path / "sys") == FULL_KHZ
        assert "put back what was found" in broker.said()
        assert broker.stop() == 0


def test_restore_says_what_it_could_not_put_back_and_keeps_it(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        start_lowered(broker, tmp_path)
        kill_all_at_once(broker)
        saved = broker.run_dir / "saved" / "pstate-cpu0"
        saved.write_text("rubbish")
        done = run("--restore", "--config", broker.conf,
                   "--lock-dir", broker.dir / "locks")
        assert done.returncode == 1
        assert "pstate-cpu0 is kept" in done.stderr
        assert saved.exists()
        saved.unlink()


def test_restore_with_nothing_to_do_is_fine(tmp_path):
    done = run("--restore", "--run-dir", tmp_path / "none", "--config",
               empty_config(tmp_path))
    assert done.returncode == 0
    assert not (tmp_path / "none").exists()


def test_restore_beside_a_running_broker_is_refused(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        start_lowered(broker, tmp_path)
        done = run("--restore", "--config", broker.conf,
                   "--lock-dir", broker.dir / "locks")
        assert done.returncode == 1
        assert "another broker (pid %d)" % broker.process.pid in done.stderr
        assert max_freq(tmp_path / "sys") < FULL_KHZ


# Two brokers.


def test_a_second_broker_in_the_same_run_directory_is_refused_by_name():
    with Broker() as broker:
        broker.start()
        second = run("--config", broker.conf, "--lock-dir", broker.dir / "locks")
        assert second.returncode == 1
        assert "another broker (pid %d) runs in %s" % (
            broker.process.pid, broker.run_dir) in second.stderr
        assert len(processes(broker)) == 5
        assert broker.ctl("status")["platform_ready"]


def test_overlapping_cpus_are_refused_naming_the_other(tmp_path):
    with on_cpufreq(tmp_path, cpus="0-1") as first, \
            on_cpufreq(tmp_path, cpus="1-2") as second:
        first.start()
        second.arguments = ["--lock-dir", str(first.dir / "locks")]
        second.launch()
        assert second.process.wait(30) == 1
        assert "CPU 1 is managed by another broker (pid %d, run directory %s;" % (
            first.process.pid, first.run_dir) in second.said()
        assert sockets(second.run_dir) == []
        assert len(processes(first)) == 5
        first.stop()
        second.start()
        assert second.stop() == 0


@pytest.mark.skipif(os.cpu_count() < 2, reason="needs two CPUs to pin guests to")
def test_brokers_with_their_own_cpus_and_directories_both_run(tmp_path):
    with on_cpufreq(tmp_path, cpus="0") as first, \
            on_cpufreq(tmp_path, cpus="1,2") as second:
        second.arguments = ["--lock-dir", str(first.dir / "locks")]
        start_lowered(first, tmp_path, 0)
        start_lowered(second, tmp_path, 1)
        assert first.stop() == 0
        assert max_freq(tmp_path / "sys", 0) == FULL_KHZ
        assert 0 < max_freq(tmp_path / "sys", 1) < FULL_KHZ
        assert second.ctl("status")["platform_ready"]
        assert second.stop() == 0
        assert max_freq(tmp_path / "sys", 1) == FULL_KHZ


def test_cpus_stay_locked_until_the_platform_process_is_gone(tmp_path):
    """A platform process that can't be seen to have restored keeps its CPUs."""
    with on_cpufreq(tmp_path) as first, on_cpufreq(tmp_path) as second:
        first.start()
        platform = first.roles()["platform"]
        os.kill(platform, signal.SIGSTOP)
        first.process.kill()
        first.process.wait()
        second.arguments = ["--lock-dir", str(first.dir / "locks")]
        second.launch()
        try:
            assert second.process.wait(60) == 1
            assert "CPU 0 is managed by another broker" in second.said()
        finally:
            os.kill(platform, signal.SIGCONT)
        wait_until(lambda: not is_alive(platform), "platform leaves")
        second.start()
        assert second.stop() == 0


# What is in the way.


def test_sockets_of_a_dead_broker_are_replaced():
    with Broker() as broker:
        broker.start()
        kill_all_at_once(broker)
        assert len(sockets(broker.run_dir)) == 3
        broker.start()
        assert broker.stop() == 0
        assert sockets(broker.run_dir) == []


def test_a_file_in_a_sockets_place_is_refused_and_kept():
    with Broker() as broker:
        broker.run_dir.mkdir()
        precious = broker.run_dir / "web1.chan"
        precious.write_text("precious")
        broker.launch()
        assert broker.process.wait(30) == 1
        assert "guest web1: %s" % precious in broker.said()
        assert precious.read_text() == "precious"


def test_a_socket_somebody_answers_at_is_refused(tmp_path):
    path = tmp_path / "taken"
    with Broker(guests=["web1"], extra="") as broker, \
            socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        text = broker.conf.read_text()
        broker.conf.write_text(text.replace(broker.channel("web1"), "unix:%s" % path))
        broker.launch()
        assert broker.process.wait(30) == 1
        assert "guest web1: %s: somebody else is there" % path in broker.said()
        assert path.is_socket()


def test_a_run_directory_others_may_write_is_refused():
    with Broker() as broker:
        broker.run_dir.mkdir()
        broker.run_dir.chmod(0o777)
        broker.launch()
        assert broker.process.wait(30) == 1
        assert "writable by nobody else" in broker.said()


def test_a_link_in_the_locks_place_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    with on_cpufreq(tmp_path) as broker:
        (broker.dir / "locks" / "mbroker-cpu0").symlink_to(victim)
        broker.launch()
        assert broker.process.wait(30) == 1
        assert "can't be locked" in broker.said()
        assert victim.read_text() == "precious"


def test_a_state_directory_that_can_not_be_is_named():
    with Broker() as broker:
        broker.state_dir.write_text("a file")
        broker.launch()
        assert broker.process.wait(30) == 1
        assert str(broker.state_dir) in broker.said()


def test_a_journal_that_can_not_be_opened_stops_the_start(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        (broker.state_dir / "journal" / "journal.db").mkdir(parents=True)
        (broker.state_dir / "journal").chmod(0o700)
        broker.state_dir.chmod(0o750)
        broker.launch()
        assert broker.process.wait(30) == 1
        assert "journal.db can't be opened" in broker.said()
        assert "engine (process" in broker.said()
        assert sockets(broker.run_dir) == []


# Guests.


def test_guests_go_on_after_a_stop_and_are_found_again():
    with Broker(guests=["web1"], commands={"web1": "exec sleep 1000"}) as broker:
        broker.start()
        guests = wait_until(broker.guest_pids, "the guest runs")
        assert broker.stop() == 0
        assert all(is_alive(pid) for pid in guests)
        broker.start()
        wait_until(lambda: broker.vm("web1")["state"] == "running", "it is found")
        assert broker.guest_pids() == guests


def test_guests_go_on_after_a_crash():
    with Broker(guests=["web1"], commands={"web1": "exec sleep 1000"},
                extra="end_guests = true;") as broker:
        broker.start()
        guests = wait_until(broker.guest_pids, "the guest runs")
        os.kill(broker.roles()["platform"], signal.SIGKILL)
        broker.process.wait(30)
        assert all(is_alive(pid) for pid in guests)


def test_guests_are_ended_if_the_configuration_says_so():
    with Broker(guests=["web1", "web2"],
                commands={"web1": "exec sleep 1000",
                          "web2": "trap '' TERM; while true; do sleep 1; done"},
                extra="end_guests = true;") as broker:
        broker.start()
        guests = wait_until(lambda: len(broker.guest_pids()) >= 4
                            and broker.guest_pids(), "the guests run")
        those = [(pid, began(pid)) for pid in guests]
        assert broker.stop() == 0
        wait_until(lambda: not alive(those), "the guests are ended: %s" % [
            (pid, command_of(pid), stat_of(pid)[:2]) for pid in alive(those)])


def test_a_guest_gets_none_of_the_brokers_descriptors():
    with Broker(guests=["web1"], commands={"web1": "exec sleep 1000"}) as broker:
        broker.start()
        guests = wait_until(
            lambda: [p for p in broker.guest_pids() if "sleep" in command_of(p)],
            "the guest runs")
        for fd in os.listdir("/proc/%d/fd" % guests[0]):
            assert int(fd) <= 2


def test_agents_sockets_are_for_the_brokers_user_only():
    with Broker(guests=["web1"]) as broker:
        broker.start()
        mode = stat.S_IMODE((broker.run_dir / "web1.chan").stat().st_mode)
        assert mode == 0o600


# The descriptors and the service manager.


def test_idle_processes_gain_no_descriptors():
    with Broker() as broker:
        broker.start()
        before = {pid: n_fds(pid) for pid, _ in processes(broker)}
        for _ in range(50):
            broker.ctl("status")
        time.sleep(1)
        # A client that just left may not have been noticed yet.
        wait_until(lambda: all(n_fds(pid) <= n for pid, n in before.items()),
                   "descriptors are as many as before")


def test_the_service_manager_is_told(tmp_path):
    path = tmp_path / "notify"
    with Broker() as broker, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(30)
        os.environ.update(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="200000")
        try:
            broker.start()
        finally:
            del os.environ["NOTIFY_SOCKET"], os.environ["WATCHDOG_USEC"]
        assert manager.recv(4096).startswith(b"READY=1\n")
        assert manager.recv(4096) == b"WATCHDOG=1"
        assert manager.recv(4096) == b"WATCHDOG=1"
        assert broker.stop() == 0
        said = manager.recv(4096)
        while said == b"WATCHDOG=1":
            said = manager.recv(4096)
        assert said.startswith(b"STOPPING=1")


@pytest.mark.parametrize("role", ROLES)
def test_a_process_that_hangs_is_killed_and_named(tmp_path, role):
    """A watchdog makes the broker less patient, down to 5 seconds."""
    with on_cpufreq(tmp_path) as broker:
        os.environ.update(WATCHDOG_USEC="1000000")
        try:
            start_lowered(broker, tmp_path)
        finally:
            del os.environ["WATCHDOG_USEC"]
        those = processes(broker)
        pid = broker.roles()[role]
        os.kill(pid, signal.SIGSTOP)
        assert broker.process.wait(60) == 1
        assert "%s (process %d) did not turn for" % (role, pid) in broker.said()
        assert max_freq(tmp_path / "sys") == FULL_KHZ
        assert_nothing_left(broker, those)


def test_another_users_watchdog_is_not_ours(tmp_path):
    path = tmp_path / "notify"
    with Broker() as broker, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        os.environ.update(NOTIFY_SOCKET=str(path), WATCHDOG_USEC="50000",
                          WATCHDOG_PID="1")
        try:
            broker.start()
        finally:
            for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
                del os.environ[name]
        time.sleep(0.5)
        broker.stop()
        manager.settimeout(1)
        assert manager.recv(4096).startswith(b"READY=1")
        assert manager.recv(4096).startswith(b"STOPPING=1")


# Without root.


def test_without_root_it_runs_as_one_user(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("is not root to begin with")
    nobody = 65534
    with Broker(power="", guests=["web1"]) as broker:
        os.chown(broker.dir, nobody, nobody)
        os.chown(broker.dir / "locks", nobody, nobody)
        if subprocess.run([str(MBROKERD), "--version"], user=nobody, group=nobody,
                          extra_groups=[], capture_output=True).returncode:
            pytest.skip("another user can't run %s" % MBROKERD)
        with open(broker.log, "ab") as log:
            broker.process = subprocess.Popen(
                [str(MBROKERD), "--config", str(broker.conf), "--lock-dir",
                 str(broker.dir / "locks")], user=nobody, group=nobody,
                extra_groups=[], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(broker.is_ready, "it is ready")
        those = processes(broker)
        assert {os.stat("/proc/%d" % pid).st_uid for pid, _ in those} == {nobody}
        assert broker.stop() == 0
        assert_nothing_left(broker, those)


# The command line.


def empty_config(directory):
    path = directory / "empty.conf"
    path.write_text("")
    return path


def checked(directory, text):
    path = directory / "some.conf"
    path.write_text(text)
    return path, run("--check", path)


def test_check_says_ok_and_what_it_is(tmp_path):
    path, done = checked(tmp_path, 'cpus = [0];\npstate = { driver = "sim"; };\n')
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("%s: ok (1 CPUs, 0 guests, policy none" % path)
    assert done.stderr == ""


@pytest.mark.parametrize("text, line", [
    ("cpus = [0\n", 1),
    ("domain = \"a\";\nno_such = 1;\n", 2),
    ("\n\npolicy = { name = \"nonesuch\"; };\n", 3),
    ("epoch_ms = 1;\n", 1),
    ("cpus = [0, 0];\n", 1),
    ("cpus = [0];\npstate = { driver = \"softpstate\"; colour = 1; };\n", 2),
    ("limits = {\n pstate_min = 5;\n pstate_max = 2;\n};\n", None),
    ("@include \"/etc/passwd\"\n", 1),
    ("control = { group = \"no-such-group-here\"; };\n", None),
])
def test_check_names_line_and_reason(tmp_path, text, line):
    path, done = checked(tmp_path, text)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("%s:%s" % (path, "%d: " % line if line else ""))


def test_a_bad_configuration_stops_the_start_before_anything_is_made(tmp_path):
    path = tmp_path / "bad.conf"
    path.write_text('run_dir = "%s";\nwrong = 1;\n' % (tmp_path / "run"))
    done = run("--config", path)
    assert done.returncode == 1
    assert "%s:2: " % path in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_missing_configuration_is_named(tmp_path):
    done = run("--config", tmp_path / "nowhere.conf")
    assert done.returncode == 1
    assert "nowhere.conf" in done.stderr


def test_the_example_configuration_is_right():
    done = run("--check", TOP / "broker" / "mbroker.conf.example")
    assert done.returncode == 0, done.stderr
    assert "note: " not in done.stdout


def test_check_notes_a_guest_that_nobody_can_see(tmp_path):
    _, done = checked(tmp_path, 'cpus = [0];\nhypervisor = { driver = "process"; };\n'
                                'guests = ( { name = "web1"; vcpus = [0]; } );\n')
    assert done.returncode == 0, done.stderr
    assert "note: guest web1 has neither command nor pid_file" in done.stdout


def test_what_was_installed_finds_its_data(tmp_path):
    """Below a DESTDIR as well, and without data_dir in the configuration."""
    subprocess.run(["meson", "install", "-C", MBROKERD.parent.parent, "--no-rebuild",
                    "--quiet", "--destdir", tmp_path / "dest"], check=True,
                   capture_output=True, timeout=PATIENCE)
    installed = next((tmp_path / "dest").rglob("bin/mbrokerd"))
    conf, run_dir = tmp_path / "mbroker.conf", tmp_path / "run"
    conf.write_text('cpus = [0];\npower = { driver = "powermodel"; };\n'
                    'pstate = { driver = "sim"; };\n')
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [installed, "--config", conf, "--run-dir", run_dir, "--state-dir",
             tmp_path / "state", "--lock-dir", tmp_path], stderr=log)

    def power():
        done = subprocess.run([MCTL, "--run-dir", run_dir, "power"], text=True,
                              capture_output=True, timeout=PATIENCE)
        return "W (model" in done.stdout

    try:
        wait_until(power, "the model's data was found")
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_directories_that_cannot_be_are_refused_with_advice(tmp_path):
    done = run("--run-dir", "here", "--config", empty_config(tmp_path))
    assert done.returncode == 1
    assert "--run-dir here: give an absolute path" in done.stderr
    done = run("--run-dir", tmp_path / "no" / "run", "--lock-dir", tmp_path,
               "--config", empty_config(tmp_path))
    assert done.returncode == 1
    assert "make the directory above it first" in done.stderr


def test_restore_says_that_nothing_is_left_to_do(tmp_path):
    (tmp_path / "run").mkdir(mode=0o755)
    done = run("--restore", "--run-dir", tmp_path / "run", "--lock-dir", tmp_path,
               "--config", empty_config(tmp_path))
    assert done.returncode == 0
    assert "is as it was found" in done.stderr


def test_plugins_are_listed():
    done = run("--plugins")
    assert done.returncode == 0
    for plugin in ("policy none: ", "policy basic: ", "hypervisor process: ",
                   "hardware sim: ", "hardware cpufreq: "):
        assert plugin in done.stdout


def test_help_names_every_option():
    done = run("--help")
    assert done.returncode == 0
    for option in ("config", "run-dir", "state-dir", "lock-dir", "log-level", "check",
                   "restore", "plugins", "foreground", "help", "version"):
        assert "--" + option in done.stdout


@pytest.mark.parametrize("arguments, status", [
    (["--no-such-option"], 2), (["stray"], 2), (["--log-level", "loud"], 2),
    (["--run-dir", "here"], 1), (["--run-dir", "/" + 200 * "x"], 1),
    (["--role=platform"], 1), (["--role=nonesuch"], 1),
    (["--role=engine", "--config=x", "--rights=a,b,c"], 1),
])
def test_wrong_options_are_refused_in_words(arguments, status):
    done = run(*arguments)
    assert done.returncode == status
    assert done.stderr.strip()

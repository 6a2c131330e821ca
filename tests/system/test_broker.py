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

from brokers import (FULL_KHZ, alive, assert_nothing_left, empty_config,
                     kill_all_at_once, on_cpufreq, processes, run, sockets, start_lowered)
from harness import (MBROKERD, MCTL, PATIENCE, Broker, began, command_of, is_alive,
                     max_freq, n_fds, stat_of, wait_until)

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)

ROLES = ["back", "engine", "platform", "steward"]


# Starting and stopping.


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
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


def test_a_vm_that_was_reset_begins_a_new_session():
    """Told from the hypervisor to its channel; what follows is left alone."""
    with Broker(guests=["web1"], hypervisor="sim", commands={"web1": "true"},
                hypervisor_options="reset_after_ms = 1500;") as broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        broker.ctl("vms", "start", "web1")

        def named(name):
            return [row for row in broker.ctl("events", "-n", "500")["rows"]
                    if row["name"] == name]

        wait_until(lambda: len(named("GUEST_UP")) == 2, "its agent greets anew")
        broker.wait_agents("web1")
        time.sleep(1)
        renewed, lost, ups = map(named, ("VM_RENEWED", "GUEST_LOST", "GUEST_UP"))
        assert (len(renewed), len(lost), len(ups)) == (1, 1, 2)
        assert lost[0]["detail"]["reason"] == "the session is over"
        assert broker.stop() == 0


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

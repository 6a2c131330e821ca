# SPDX-License-Identifier: Apache-2.0
"""Faults of the whole system: a full disk, garbage from guests, agents that die,
logs that lie.  Each time the others go on undisturbed, nothing leaks, the reason
is said, and p-states are as they were found in the end."""
import os
import random
import signal
import socket
import subprocess
import time

import pytest

from harness import (MBROKERD, Broker, is_alive, make_cpufreq, max_freq, n_fds,
                     wait_until)

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)

FULL_KHZ = 2400000


def slept(guests):
    return {guest: "exec sleep 1000" for guest in guests}


def on_cpufreq(directory, **more):
    """A broker whose p-states are files of a made tree."""
    guests = more.pop("guests", ["web1", "web2"])
    broker = Broker(guests=guests, pstate="cpufreq", commands=slept(guests),
                    extra='sys_dir = "%s"; end_guests = true;' % (directory / "sys")
                    + more.pop("extra", ""), **more)
    make_cpufreq(directory / "sys")
    return broker


def counted(broker, guest):
    return broker.vm(guest)["requests"]


def assert_undisturbed(broker, guest="web1"):
    """The guest's agent is there and what it reports arrives."""
    before = counted(broker, guest)
    broker.requests(guest, 10)
    wait_until(lambda: counted(broker, guest) >= before + 10,
               "%s's requests are counted" % guest)
    assert broker.vm(guest)["agent"]


# A full disk under the journal.


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB at tmp_path/disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "mbroker-test",
                           str(disk)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("no tmpfs can be mounted here: " + done.stderr.strip())
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_full_disk_stops_changes_is_told_and_heals(small_disk, tmp_path):
    with on_cpufreq(tmp_path) as broker:
        broker.conf.write_text(broker.conf.read_text().replace(
            'state_dir = "%s"' % broker.state_dir, 'state_dir = "%s/state"' % small_disk))
        broker.state_dir = small_disk / "state"
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        wait_until(lambda: max_freq(tmp_path / "sys") < FULL_KHZ, "the idle VM is lowered")
        filler = small_disk / "filler"
        with open(filler, "wb", buffering=0) as out:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        out.write(b"\0" * size)
                except OSError:
                    pass

        def read_only():
            broker.requests("web1", 20, 0.050)  # Something to write down.
            return broker.ctl("status")["read_only"]
        wait_until(read_only, "the broker goes read-only")
        status = broker.ctl("status")
        assert status["journal"]["failing"] and status["journal"]["reason"]
        assert "READ-ONLY" in broker.run_ctl("status").stdout
        # Nothing is changed that could not be written down, and what was goes
        # back: docs/decisions/0002.
        wait_until(lambda: max_freq(tmp_path / "sys") == FULL_KHZ, "wishes are released")
        time.sleep(1.5)
        assert max_freq(tmp_path / "sys") == FULL_KHZ
        assert_undisturbed(broker)

        filler.unlink()
        wait_until(lambda: not broker.ctl("status")["read_only"], "it heals")
        wait_until(lambda: max_freq(tmp_path / "sys") < FULL_KHZ, "the policy goes on")
        assert not broker.ctl("status")["journal"]["failing"]
        assert_undisturbed(broker)
        broker.stop()
        assert max_freq(tmp_path / "sys") == FULL_KHZ


# Garbage from guests.


def channel_socket(broker, guest):
    return str(broker.run_dir / (guest + ".chan"))


def send_garbage(path, noise):
    with socket.socket(socket.AF_UNIX) as conn:
        conn.settimeout(5)
        try:
            conn.connect(path)
            conn.sendall(noise)
            conn.recv(1000)
        except OSError:
            pass  # Refused, closed or never answered: all good answers.


@pytest.mark.parametrize("scheme", ["shm", "unix"])
def test_random_bytes_on_a_guests_channel_disturb_no_other(tmp_path, scheme):
    chance = random.Random(1)
    with on_cpufreq(tmp_path, scheme=scheme) as broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        back = broker.roles()["back"]
        assert_undisturbed(broker)
        before = n_fds(back)
        for size in (1, 7, 16, 64, 300, 4096, 70000, 200000):
            send_garbage(channel_socket(broker, "web2"), chance.randbytes(size))
            send_garbage(channel_socket(broker, "web2"), b"\0" * size)
            send_garbage(channel_socket(broker, "web2"), b"\xff" * size)
        assert_undisturbed(broker)
        assert broker.roles()["back"] == back
        wait_until(lambda: n_fds(back) <= before, "the descriptors are closed")
        # The one who was attacked can still be served.
        broker.agent("web2")
        broker.wait_agents("web2")
        broker.stop()
        assert max_freq(tmp_path / "sys") == FULL_KHZ


def test_garbage_on_a_channel_in_use_does_not_reach_its_agent(tmp_path):
    chance = random.Random(2)
    with on_cpufreq(tmp_path) as broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        for size in (1, 100, 5000):
            send_garbage(channel_socket(broker, "web1"), chance.randbytes(size))
        # It may have been taken for a new peer; then the agent comes again.
        wait_until(lambda: broker.vm("web1")["agent"], "the agent is here")
        assert_undisturbed(broker)


# Agents that die.


def test_agents_killed_in_mid_message_leave_nothing_behind(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        back = broker.roles()["back"]
        before = None
        for _ in range(8):
            agent = broker.agent("web2", epoch_ms=10)
            broker.wait_agents("web2")
            broker.requests("web2", 50, 0.050)
            time.sleep(0.03)  # It reports every 10 ms: now, too.
            agent.kill()
            agent.wait()
            wait_until(lambda: not broker.vm("web2")["agent"], "the agent is lost")
            if before is None:
                before = n_fds(back)  # With what a first attachment leaves ready.
        wait_until(lambda: n_fds(back) <= before, "the descriptors are closed")
        assert broker.roles()["back"] == back
        assert broker.said().count("its agent is lost") >= 8
        assert_undisturbed(broker)
        broker.stop()
        assert max_freq(tmp_path / "sys") == FULL_KHZ


def test_an_agent_that_stops_beating_is_lost_and_comes_back(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        broker.start()
        agent = broker.agent("web1")
        broker.agent("web2")
        broker.wait_agents()
        agent.send_signal(signal.SIGSTOP)
        wait_until(lambda: not broker.vm("web1")["agent"], "three beats are missed")
        assert_undisturbed(broker, "web2")
        agent.send_signal(signal.SIGCONT)
        broker.wait_agents("web1")
        assert_undisturbed(broker, "web1")


def test_a_lost_agents_pstate_goes_back_to_the_found_one(tmp_path):
    with on_cpufreq(tmp_path, guests=["web1"]) as broker:
        broker.start()
        agent = broker.agent("web1")
        broker.wait_agents("web1")
        wait_until(lambda: max_freq(tmp_path / "sys") < FULL_KHZ, "the idle VM is lowered")
        agent.kill()
        agent.wait()
        wait_until(lambda: max_freq(tmp_path / "sys") == FULL_KHZ,
                   "its p-state is as it was found")


def test_an_agent_that_claims_another_vm_is_refused_and_told(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        broker.agent("web2", "--claim", "web1")
        wait_until(lambda: broker.ctl("status")["counts"]["alarms"] > 0
                   or "refused" in broker.agent_said("web2").lower(), "it is refused")
        assert not broker.vm("web2")["agent"]
        assert_undisturbed(broker, "web1")


# Logs that lie.


def garbage_lines(chance):
    yield b"\n" * 100
    yield b"GET / HTTP/1.1\n"
    yield b"1700000000.000 -5 200\n"
    yield b"1700000000.000 nan 200\n"
    yield b"1700000000.000 1e999 200\n"
    yield b"99999999999999999999999.0 0.001 200\n"
    yield b"\0\0\0\n"
    yield b"x" * (1 << 20) + b"\n"
    yield chance.randbytes(100000) + b"\n"
    yield b'"' * 5000 + b"\n"
    yield b"%s%n%d 0.001 200\n"


def test_broken_and_gigantic_log_lines_are_passed_over(tmp_path):
    chance = random.Random(3)
    with on_cpufreq(tmp_path) as broker:
        broker.start()
        agent = broker.agent("web1")
        broker.agent("web2")
        broker.wait_agents()
        n_good = 0
        for line in garbage_lines(chance):
            with open(broker.access_log("web1"), "ab") as log:
                log.write(line)
            broker.requests("web1", 5)
            n_good += 5
        wait_until(lambda: counted(broker, "web1") >= n_good, "the good lines are counted")
        assert agent.poll() is None
        # Nothing broken was taken for slow: the good ones took 1 ms.
        assert broker.vm("web1")["violations"] <= broker.vm("web1")["requests"] - n_good
        assert_undisturbed(broker, "web1")
        assert_undisturbed(broker, "web2")


def test_a_line_cut_in_two_is_one_request(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        broker.requests("web1", 1)
        wait_until(lambda: counted(broker, "web1") == 1, "the first is counted")
        with open(broker.access_log("web1"), "ab", buffering=0) as log:
            log.write(b"%.3f 0.0" % time.time())
            time.sleep(0.5)
            log.write(b"02 200\n")
        wait_until(lambda: counted(broker, "web1") == 2, "the second is counted")
        assert broker.vm("web1")["violations"] == 0


def test_lines_of_another_time_do_no_harm(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        broker.start()
        agent = broker.agent("web1")
        broker.wait_agents("web1")
        now = time.time()
        for when in (0, now - 86400, now + 86400, now + 3e8, now - 0.3, now + 0.3):
            with open(broker.access_log("web1"), "a") as log:
                log.write("%.3f 0.050 200\n" % when)
            broker.requests("web1", 2)
        wait_until(lambda: counted(broker, "web1") >= 12, "the good lines are counted")
        assert agent.poll() is None
        assert broker.vm("web1")["agent"]
        assert_undisturbed(broker)
        # No hop of a trace lies in the future or in another year.
        for row in broker.ctl("events", "-n", "500")["rows"]:
            if row["name"] == "GUEST_NOTICE":
                hops = broker.ctl("trace", row["cause"])["hops"]
                times = [h["at_ns"] for h in hops if h["at_ns"] is not None]
                assert max(times) - min(times) < 120e9


def test_a_log_that_is_rotated_and_cut_is_followed(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        log = broker.access_log("web1")
        for i in range(3):
            assert_undisturbed(broker)
            os.rename(log, str(log) + ".%d" % i)
        assert_undisturbed(broker)
        with open(log, "w"):
            pass
        time.sleep(0.5)  # Cut and grown to the same size unseen is the same file.
        assert_undisturbed(broker)
        # Not one twice: 4 and 1 times 10.
        assert counted(broker, "web1") == 50


# A broker that doesn't answer.


def test_a_broker_that_hangs_is_told_from_one_that_is_not_there(tmp_path):
    with on_cpufreq(tmp_path, guests=["web1"]) as broker:
        broker.start()
        engine = broker.roles()["engine"]
        os.kill(engine, signal.SIGSTOP)
        try:
            done = broker.run_ctl("status")
        finally:
            os.kill(engine, signal.SIGCONT)
        assert done.returncode == 3
        assert "10 s passed" in done.stderr
        wait_until(lambda: broker.run_ctl("status").returncode == 0, "it answers again")


# The end.


def test_everything_that_was_started_is_gone_in_the_end(tmp_path):
    with on_cpufreq(tmp_path) as broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        wait_until(lambda: max_freq(tmp_path / "sys") < FULL_KHZ, "the idle VM is lowered")
        pids = list(broker.roles().values()) + broker.guest_pids()
        assert len(pids) >= 3
        assert broker.stop() == 0
        wait_until(lambda: not any(map(is_alive, pids)), "all processes are gone")
        assert max_freq(tmp_path / "sys") == FULL_KHZ
        assert not list(broker.run_dir.glob("*.sock"))

# SPDX-License-Identifier: Apache-2.0
"""What may be in a broker's way when it starts: another broker, which has its run
directory, its CPUs or its sockets; files and links in the place of its own;
directories that others may write.  It is refused by name, and nothing is lost."""
import os
import signal
import socket

import pytest

from brokers import (FULL_KHZ, kill_all_at_once, on_cpufreq, processes, run, sockets,
                     start_lowered)
from harness import MBROKERD, Broker, is_alive, max_freq, wait_until

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)


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

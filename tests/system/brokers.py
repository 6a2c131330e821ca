# SPDX-License-Identifier: Apache-2.0
"""What tests of a broker's processes share: one whose p-states are files of a made
tree, its processes listed and killed, and what may be left of it."""
import os
import pathlib
import signal
import subprocess

from harness import (MBROKERD, Broker, began, children, is_alive, make_cpufreq, max_freq,
                     stat_of, wait_until)

FULL_KHZ = 2400000


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


def empty_config(directory):
    path = directory / "empty.conf"
    path.write_text("")
    return path

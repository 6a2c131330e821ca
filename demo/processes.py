# SPDX-License-Identifier: Apache-2.0
"""Processes that came from us: all of them are found, though their parents may
have ended, their CPU time is summed, and none is left.
"""
import ctypes
import os
import pathlib
import signal
import time

PR_SET_CHILD_SUBREAPER = 36
END_S = 3
TICKS = os.sysconf("SC_CLK_TCK")


def become_subreaper():
    """What mbrokerd leaves behind, should it die, becomes our child."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def stat_fields(pid):
    """Those of /proc/PID/stat after the name, or None: [0] state, [1] parent,
    [11] and [12] its CPU time, [13] and [14] that of children it has waited for."""
    try:
        return pathlib.Path("/proc", str(pid), "stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None


def descendants():
    parents = {}
    for entry in os.listdir("/proc"):
        fields = stat_fields(entry) if entry.isdigit() else None
        if fields:
            parents[int(entry)] = int(fields[1])
    found, more = set(), {os.getpid()}
    while more:
        more = {pid for pid, parent in parents.items() if parent in more} - found
        found |= more
    return found


def our_cpu_s():
    """CPU time that we and all our descendants, who live on, have used."""
    total = 0
    for pid in descendants() | {os.getpid()}:
        fields = stat_fields(pid)
        if fields:
            total += sum(map(int, fields[11:15]))
    return total / TICKS


def busy_cpu_s(cpus):
    """Time that these CPUs were busy, whoever kept them so."""
    total = 0
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cpus:
            user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[:7])
            total += user + nice + system + irq + softirq
    return total / TICKS


def end_descendants():
    """Ends all that came from us and is still there, asking first."""
    for number, seconds in ((signal.SIGTERM, END_S), (signal.SIGKILL, END_S)):
        deadline = time.monotonic() + seconds
        while True:
            reap()
            left = descendants()
            if not left:
                return
            for pid in left:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass

# SPDX-License-Identifier: Apache-2.0
"""What disturbed a measurement: other processes, and the host under a virtual
machine. Read from /proc/stat around it; told, never a reason to fail.
"""
import os
import resource

OTHERS_NOISY = 5.0  # Per cent of all CPUs.
STEAL_NOISY = 1.0


def cpu_times():
    """(busy, stolen) seconds of all CPUs since the start."""
    with open("/proc/stat") as file:
        fields = [int(word) for word in file.readline().split()[1:9]]
    tick = os.sysconf("SC_CLK_TCK")
    user, nice, system, _, _, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq) / tick, steal / tick


def own_times():
    return sum(usage.ru_utime + usage.ru_stime for usage in (
        resource.getrusage(resource.RUSAGE_SELF),
        resource.getrusage(resource.RUSAGE_CHILDREN)))


class Watch:
    """Adds up what happened in the stretches between start() and stop()."""

    def __init__(self):
        self.wall = self.others = self.stolen = 0.0
        self.since = None

    def start(self, now):
        self.since = now, cpu_times(), own_times()

    def stop(self, now):
        began, (busy, stolen), own = self.since
        busy_now, stolen_now = cpu_times()
        self.wall += now - began
        self.others += busy_now - busy - (own_times() - own)
        self.stolen += stolen_now - stolen

    def shares(self):
        """Per cent of all CPUs that went to others, and that were stolen."""
        total = self.wall * (os.cpu_count() or 1)
        if not total:
            return 0.0, 0.0
        return max(0.0, self.others) / total * 100, self.stolen / total * 100

    def complaints(self):
        others, stolen = self.shares()
        found = []
        if others > OTHERS_NOISY:
            found.append("others took %.0f %% of the CPUs" % others)
        if stolen > STEAL_NOISY:
            found.append("the host took %.1f %%" % stolen)
        return found

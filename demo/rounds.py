# SPDX-License-Identifier: Apache-2.0
"""The measuring part of the demo: rounds of the same load under different
policies, a live line a second, and sums of what was seen.
"""
import json
import os
import selectors
import subprocess
import time

import guests as guest_files
from host import LOAD_PRIORITY, Trouble
from processes import busy_cpu_s, our_cpu_s

CURVE = "0.25 0.35 0.6 1 1 0.7 0.4 0.25"   # It rises and falls in each round.
PEAK_RATE = 60          # Requests per second to each guest at the curve's top.
THRESHOLD_MS = 6        # The SLA's; see README.md in this directory.
# nginx logs whole milliseconds, the difference of two clocks that were cut off:
# 6.2 ms stand there as 6 or 7.  Half a millisecond less, and the agents count
# on average what took over 6.
AGENT_THRESHOLD_US = THRESHOLD_MS * 1000 - 500
UTIL_PERIOD_MS = 1000   # Basic's look at utilization; the paper's is 2 s.
LAG_S = 0.6             # An agent's report is up to an epoch (0.5 s) late.
SAMPLE_S = 0.25
SETTLE_MAX_S = 3
OVERHEAD_S = 9          # Of starting, stopping and telling.
PAUSE_S = 1.2           # Between rounds.
ROUND_MIN_S = 4


def plan(seconds):
    """[(policy, seed)], length of a round, of which settling."""
    pairs = 1 if seconds < 40 else 2 if seconds < 80 else 3 if seconds < 160 else 4
    each = (seconds - OVERHEAD_S) / (2 * pairs) - PAUSE_S
    if each < ROUND_MIN_S:
        raise Trouble("DEMO_SECONDS=%g is too short; 20 is the least that shows anything"
                      % seconds)
    order = [(policy, pair + 1) for pair in range(pairs) for policy in ("none", "basic")]
    return order, each, min(SETTLE_MAX_S, each / 4)


class Sums:
    """What was seen under one policy, all its rounds together."""

    def __init__(self):
        self.requests = self.over = self.errors = 0
        self.agent_requests = self.agent_over = 0
        self.power_w_s = self.power_s = 0.0
        self.raises = self.lowerings = 0
        self.pstate_s = {}
        self.p99_us = []
        self.foreign_cpu_s = self.foreign_s = 0.0

    def add_load(self, total):
        self.requests += total["done"] + total["unanswered"]
        self.over += total["over"]
        self.errors += total["errors"] + total["unanswered"]
        self.p99_us.append(total["p99_us"])

    def add_agents(self, before, after):
        self.agent_requests += after[0] - before[0]
        self.agent_over += after[1] - before[1]

    def add_pstates(self, before, after):
        for key, seconds in after.items():
            self.pstate_s[key] = self.pstate_s.get(key, 0) + seconds - before.get(key, 0)

    def add_counts(self, before, after):
        self.raises += after["raises"] - before["raises"]
        self.lowerings += after["lowerings"] - before["lowerings"]

    def add_power(self, watts, seconds):
        self.power_w_s += watts * seconds
        self.power_s += seconds

    def foreign_cpus(self):
        """How many CPUs the rest of the machine kept busy meanwhile."""
        return max(0, self.foreign_cpu_s) / self.foreign_s if self.foreign_s else 0.0

    def mean_power_w(self):
        return self.power_w_s / self.power_s if self.power_s else 0.0

    def client_percent(self):
        return 100 * self.over / self.requests if self.requests else 0.0

    def agent_percent(self):
        return 100 * self.agent_over / self.agent_requests if self.agent_requests else 0.0

    def shares(self):
        total = sum(self.pstate_s.values())
        return {key: seconds / total for key, seconds in sorted(self.pstate_s.items(),
                                                                reverse=True)} \
            if total else {}


def agents_counts(broker):
    vms = broker.ask("vms")["vms"]
    return sum(vm["requests"] for vm in vms), sum(vm["violations"] for vm in vms)


def pstate_seconds(broker):
    """{"2.4": seconds}, all CPUs together, since the policy was put in force."""
    seconds = {}
    for cpu in broker.ask("cpus")["cpus"]:
        for mhz, spent in zip(cpu["freqs_mhz"], cpu["time_s"]):
            key = "%.1f" % (mhz / 1000)
            seconds[key] = seconds.get(key, 0) + spent
    return seconds


class Round:
    """One run of the load under one policy."""

    def __init__(self, demo, policy, seed, length, settle, sums):
        self.demo, self.broker, self.sums = demo, demo.broker, sums
        self.policy, self.seed = policy, seed
        self.length, self.settle = length, settle
        self.marks = [(settle, self.begin), (settle + LAG_S, self.begin_agents),
                      (length, self.end)]
        self.power = self.shown_agents = None
        self.power_time = None

    def run(self):
        words = ["util_period_ms=%d" % UTIL_PERIOD_MS] if self.policy == "basic" else []
        self.broker.mctl("policy", "set", self.policy, *words)
        self.start = time.monotonic()
        load = subprocess.Popen(self.command(), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self.demo.children.append(load)
        try:
            self.follow(load)
        finally:
            self.demo.end_child(load)
        if load.returncode:
            raise Trouble("the load generator failed: %s" % load.stderr.read().decode())
        while self.marks:
            self.pass_mark()
        time.sleep(LAG_S)
        self.sums.add_agents(self.agents_before, agents_counts(self.broker))

    def command(self):
        command = [self.demo.build / "demo" / "load", "--path", "/" + guest_files.PAGE,
                   "--rate", str(PEAK_RATE), "--curve", CURVE,
                   "--seconds", "%.2f" % self.length, "--settle", "%.2f" % self.settle,
                   "--seed", str(self.seed), "--threshold-us", str(THRESHOLD_MS * 1000)]
        for guest in self.demo.guests:
            command += ["--target", "127.0.0.1:%d" % guest.port]
        if self.demo.machine.real_time:
            command += ["--fifo", str(LOAD_PRIORITY)]
        return command

    def follow(self, load):
        """Samples until the load generator is done, telling what it says."""
        waiter = selectors.DefaultSelector()
        waiter.register(load.stdout, selectors.EVENT_READ)
        rest = b""
        deadline = self.start + self.length + 10
        while True:
            if waiter.select(SAMPLE_S):
                data = os.read(load.stdout.fileno(), 65536)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self.on_line(json.loads(line))
            self.sample()
            if time.monotonic() > deadline:
                raise Trouble("the load generator hangs")
        load.wait(5)

    def elapsed(self):
        return time.monotonic() - self.start

    def pass_mark(self):
        self.marks.pop(0)[1]()

    def sample(self):
        while self.marks and self.elapsed() >= self.marks[0][0]:
            self.pass_mark()
        now = time.monotonic()
        power = self.broker.ask("power")
        if self.settle <= self.elapsed() <= self.length and power["power_w"] is not None \
                and self.power_time is not None:
            self.sums.add_power(power["power_w"], now - self.power_time)
        self.power, self.power_time = power, now

    def begin(self):
        self.counts_before = self.broker.ask("status")["counts"]
        self.pstates_before = pstate_seconds(self.broker)
        self.foreign_before = self.foreign()

    def foreign(self):
        """Moment, and CPU time that was not ours."""
        return time.monotonic(), busy_cpu_s(self.demo.machine.cpus) - our_cpu_s()

    def begin_agents(self):
        self.agents_before = agents_counts(self.broker)

    def end(self):
        self.sums.add_counts(self.counts_before, self.broker.ask("status")["counts"])
        self.sums.add_pstates(self.pstates_before, pstate_seconds(self.broker))
        now, busy_s = self.foreign()
        self.sums.foreign_s += now - self.foreign_before[0]
        self.sums.foreign_cpu_s += busy_s - self.foreign_before[1]

    def on_line(self, line):
        if line.get("total"):
            self.sums.add_load(line)
            return
        cpus = self.broker.ask("cpus")["cpus"]
        agents = agents_counts(self.broker)
        before = self.shown_agents or agents
        self.shown_agents = agents
        self.demo.say_second(self, line, cpus, (agents[0] - before[0],
                                                agents[1] - before[1]))

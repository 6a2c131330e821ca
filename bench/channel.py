# SPDX-License-Identifier: Apache-2.0
"""Our channel beside its peers and the hardware's limits: bench-channel runs
each carrier between two processes, in short slices. A round runs every carrier
of every figure once, in an order that turns from round to round.

Ends are pinned to two CPUs, in the figures called _unpinned they are not. Both
ends look all the time where the carrier can (ours, bare rings, the kernel's);
libqb, ZeroMQ and NNG have threads or loops of their own and sleep. In the
figures called _sleeping nobody looks.

A virtual machine's CPUs may be moved, near to each other or far apart, and then
everything is several times slower or faster. So the floor is measured between
the figures: what was measured on a machine unlike that of most rounds is
measured again, for a while.
"""
import json
import os
import statistics
import subprocess
import time

import figures
import noise

SLICE_S, SLICE_QUICK_S = 0.3, 0.03
ROUNDS_MIN = 5
FLOOR_S = 0.03
MOVED = 1.3  # A floor so many times another's is another machine's.
AGAIN_MAX_S = 240  # For what has to be measured again.
PAUSE_S = 0.03  # Between slices: the others' turn when we go first.
OURS = ("shm", "unix")

KERNEL = ["pipe", "unix_seqpacket", "unix_stream", "tcp"]
SINGLE = "shm_single"  # Ours, without mchan_send_many().
UNCHECKED = "unchecked"  # Ours, built to believe everything.
LIBRARIES = ["libqb", "zeromq", "nng"]
PEERS = LIBRARIES + KERNEL
SAYS = {"floor": "floor: a cache line", "bare": "bare ring",
        "bare_futex": "bare ring + futex", "shm": "ours, shm:",
        "unix": "ours, unix:", "shm_single": "ours, a call each",
        "unchecked": "ours without checks", "libqb": "libqb", "zeromq": "ZeroMQ ipc",
        "nng": "NNG ipc", "pipe": "pipe", "unix_seqpacket": "unix SEQPACKET",
        "unix_stream": "unix stream", "tcp": "TCP loopback"}


class Row:
    """A figure to be: what is run, beside whom, and what it should come to."""

    def __init__(self, name, title, what, size, others, ours="shm", wait="poll",
                 pinned=True, every=0, targets=(), targets_p99=(), group=None):
        self.name, self.title, self.what = name, title, what
        self.size, self.ours, self.wait = size, ours, wait
        self.carriers = [ours] + others
        self.pinned, self.every = pinned, every
        self.targets, self.targets_p99 = targets, targets_p99
        self.group = group or name
        self.at_least = what != "rtt"

    def arguments(self, carrier):
        """How a carrier waits: as asked for, or as it can."""
        wait = self.wait
        if carrier in LIBRARIES or (carrier in KERNEL and wait == "spin"):
            wait = "sleep"
        elif carrier == "bare_futex" and wait == "poll":
            wait = "spin"
        made = ["--carrier", "shm" if carrier == UNCHECKED else carrier, "--what", self.what, "--wait", wait,
                "--size", str(self.size)]
        return made + (["--every", str(self.every)] if self.every else [])


def rows():
    there = "64 bytes there and back"
    yield Row("shm_rtt_64", there + ", both ends looking", "rtt", 64,
              ["floor", "bare", "bare_futex", UNCHECKED] + PEERS,
              targets=[("floor", 1.25)], targets_p99=[("floor", 2.5)])
    yield Row("unix_rtt_64", there + ", both ends looking, our unix:", "rtt", 64,
              ["unix_stream", "unix_seqpacket"], ours="unix")
    yield Row("shm_rtt_4096", "4 KiB there and back, both ends looking", "rtt",
              4096, ["bare"] + PEERS, targets=[("bare", 1.10)])
    yield Row("shm_rate_64", "64 bytes, as many as go, rings of 1 MiB", "rate",
              64, [SINGLE, "bare", "bare_futex", UNCHECKED] + PEERS,
              targets=[("bare", 0.65), ("zeromq", 7), ("libqb", 30)])
    yield Row("shm_copy_65536", "64 KiB copied in and out, rings of 1 MiB",
              "rate", 65536, ["bare", UNCHECKED] + PEERS, targets=[("bare", 0.90)])
    for size in (4096, 65536, 1 << 20):
        yield Row("shm_ref_%d" % size, "%d KiB by reference" % (size >> 10),
                  "ref", size, ["bare"],
                  targets=[(None, 5e6)] + (
                      [] if size == 65536 else [("shm_ref_65536", 0.8)]))
    yield Row("shm_rtt_64_sleeping", there + ", nobody looks", "rtt", 64,
              ["bare_futex"] + PEERS, wait="sleep",
              targets=[("bare_futex", 1.10), ("libqb", 1),
                       ("unix_seqpacket", 1)])
    yield Row("unix_rtt_64_sleeping", there + ", nobody looks, our unix:",
              "rtt", 64, ["unix_stream", "unix_seqpacket"], ours="unix",
              wait="sleep")
    yield Row("shm_rtt_64_every_5us",
              there + ", 5 us after each answer, looking at most a while",
              "rtt", 64, ["bare_futex"] + PEERS, wait="spin", every=5,
              targets=[(None, 500)])
    yield Row("shm_rtt_64_unpinned", there + ", looking, not pinned", "rtt", 64,
              ["floor", "bare"] + PEERS, pinned=False)
    yield Row("shm_rate_64_unpinned", "64 bytes, as many as go, not pinned",
              "rate", 64, [SINGLE, "bare"] + PEERS, pinned=False)
    yield Row("shm_rtt_64_sleeping_unpinned",
              there + ", nobody looks, not pinned", "rtt", 64,
              ["bare_futex"] + PEERS, wait="sleep", pinned=False)


# What our checks cost, of figures that were measured without them too.
HARDENING = {"shm_rtt_64": "hardening_rtt_64",
             "shm_rate_64": "hardening_rate_64",
             "shm_copy_65536": "hardening_copy_65536"}
HARDENING_MAX = 5.0  # Per cent.
FIGURES = [row.name for row in rows()] + ["shm_idle_cpu", "channel_rss"] \
    + list(HARDENING.values())


class Runner:
    """Runs slices and keeps what they say."""

    def __init__(self, bed):
        self.bed = bed
        self.program = bed.program("bench/channel/bench-channel")
        self.trusting = bed.program("bench/channel/bench-channel-trusting")
        self.carriers, self.left_out = self.list()
        self.carriers.append(UNCHECKED)
        cpus = sorted(os.sched_getaffinity(0))
        self.cpus = cpus[:2] if len(cpus) > 1 else None
        self.slice_s = SLICE_QUICK_S if bed.quick else SLICE_S
        self.failures = {}

    def list(self):
        text = subprocess.run([self.program, "--list"], check=True, text=True,
                              capture_output=True).stdout
        carriers, left_out = [], {}
        for line in text.splitlines():
            name, _, rest = line.partition(" ")
            if rest.strip().startswith("left out:"):
                left_out[name] = rest.strip()[len("left out:"):].strip()
            else:
                carriers.append(name)
        return carriers, left_out

    def run(self, arguments, seconds, pinned, program=None):
        """One run's result. Others may have had the CPUs all the time; then
        it is tried once more, ten times as long."""
        for length_s in (seconds, 10 * seconds):
            result = self.run_once(arguments, length_s, pinned, program)
            if result["n"]:
                return result
        raise RuntimeError("nothing was counted in %g s" % length_s)

    def run_once(self, arguments, seconds, pinned, program):
        command = [program or self.program, "--json", "--seconds", str(seconds)] + arguments
        if pinned:
            command += ["--cpus", "%d,%d" % tuple(self.cpus)]
        if self.bed.shield:
            command.append("--fifo")
        time.sleep(PAUSE_S)
        done = subprocess.run(command, capture_output=True, text=True,
                              timeout=120, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip() or "exit status %d"
                               % done.returncode)
        return json.loads(done.stdout)

    def floor(self):
        """What the machine takes now, or null without two CPUs."""
        if not self.cpus:
            return None
        try:
            return self.run(["--carrier", "floor"], FLOOR_S, True)["value"]
        except (RuntimeError, subprocess.TimeoutExpired):
            return None

    def round_of(self, row, turn):
        """Every carrier of the row once; {carrier: result} of those that ran."""
        here = [c for c in row.carriers if c in self.carriers]
        turn %= len(here)
        results = {}
        for carrier in here[turn:] + here[:turn]:
            try:
                results[carrier] = self.run(
                    row.arguments(carrier), self.slice_s, row.pinned,
                    self.trusting if carrier == UNCHECKED else None)
            except (RuntimeError, subprocess.TimeoutExpired) as why:
                self.failures.setdefault((row.name, carrier), str(why))
        return results


class Rounds:
    """All rounds of one row: what they measured, and on what machine."""

    def __init__(self, row):
        self.row = row
        self.watch = noise.Watch()
        self.all = []  # (floor before, floor after, {carrier: result}).

    def kept(self, middle):
        """Those measured on the machine of most rounds; all if there is no
        telling."""
        fit = [results for before, after, results in self.all
               if middle and before and after
               and max(before, after, middle)
               <= MOVED * min(before, after, middle)]
        return fit or [results for _, _, results in self.all]

    def n_moved(self, middle):
        return len(self.all) - len(self.kept(middle))


def measure(runner, wanted, rounds):
    """{row name: Rounds}, and the floor of most."""
    made = {row.name: Rounds(row) for row in wanted}
    floors = []

    def one(row, turn, before):
        data = made[row.name]
        data.watch.start(time.monotonic())
        results = runner.round_of(row, turn)
        data.watch.stop(time.monotonic())
        after = runner.floor()
        data.all.append((before, after, results))
        floors.append(after)
        return after

    for turn in range(rounds):
        floor = runner.floor()
        floors.append(floor)
        for row in wanted:
            floor = one(row, turn, floor)
        print("round %d of %d" % (turn + 1, rounds), flush=True)
    middle = middle_of(floors)
    again_until = time.monotonic() + (0 if runner.bed.quick else AGAIN_MAX_S)
    for turn in range(rounds):
        late = [row for row in wanted
                if len(made[row.name].all) - made[row.name].n_moved(middle)
                < rounds or not_fit(made[row.name], middle)]
        if not late or time.monotonic() > again_until or not middle:
            break
        print("again, since the machine was another: %d figures" % len(late),
              flush=True)
        for row in late:
            if time.monotonic() < again_until:
                one(row, turn, runner.floor())
    return made, middle


def not_fit(data, middle):
    return middle and not any(
        before and after and max(before, after, middle)
        <= MOVED * min(before, after, middle) for before, after, _ in data.all)


def middle_of(floors):
    known = [floor for floor in floors if floor]
    return statistics.median_low(known) if known else None


def figure_of(data, middle, medians):
    """The figure, and {carrier: (value, p99)} for the table."""
    row, kept = data.row, data.kept(middle)
    table = {}
    for carrier in row.carriers:
        mine = [results[carrier] for results in kept if carrier in results]
        if mine:
            table[carrier] = (figures.median_of(mine),
                              figures.median_of(mine, "p99"))
    if row.ours not in table:
        return None, table
    value, p99 = table[row.ours]
    theirs = {carrier: v[0] for carrier, v in table.items()
              if carrier not in OURS}
    known = dict(medians, **theirs)
    complaints = data.watch.complaints()
    for carrier in (row.ours, row.carriers[1]):
        mine = [results[carrier] for results in kept if carrier in results]
        if len(mine) > 1 and figures.spread_of(mine) > figures.SPREAD_NOISY:
            complaints.append("rounds of %s differ by %.0f %%" % (
                SAYS[carrier].rstrip(":"), 100 * figures.spread_of(mine)))
    if data.n_moved(middle):
        complaints.append("%d of %d rounds were another machine's and do not "
                          "count" % (data.n_moved(middle), len(data.all)))
    made = figures.figure(
        row.name, value, "messages/s" if row.at_least else "ns",
        figures.strictest(row.targets, known, row.at_least), p99,
        figures.strictest(row.targets_p99, known, False),
        at_least=row.at_least, ratio=figures.ratios(value, theirs),
        rounds=len(kept))
    if row.targets:
        made["target_ratio"] = {key: factor for key, factor in row.targets
                                if key and key in known}
    if complaints:
        made["noise"] = complaints
    return made, table


def show_row(runner, row, made, table):
    """The table of one figure, at most 100 columns wide."""
    print("\n%s: %s" % (row.name, row.title))
    print("  %-20s %9s %9s %14s  %s" % (
        "", "rate" if row.at_least else "p50", "99 of 100", "ours ÷ theirs",
        "target"))
    wanted = dict(row.targets)
    for carrier in row.carriers:
        if carrier not in table:
            why = runner.left_out.get(carrier) or runner.failures.get(
                (row.name, carrier), "did not run")
            print("  %-20s left out: %s" % (SAYS[carrier], why[:70]))
            continue
        value, p99 = table[carrier]
        ratio = target = ""
        if made and carrier in made["ratio"]:
            ratio = figures.shown_ratio(made["ratio"][carrier])
        if carrier in wanted:
            target = ("≥ " if row.at_least else "≤ ") + "%g" % wanted[carrier]
            if made:
                met = made["ratio"][carrier] - wanted[carrier]
                target += " met" if (met >= 0) == row.at_least or not met \
                    else " MISSED"
        elif made and carrier == row.ours and made["target"] is not None:
            target = "%s %s" % (figures.shown_target(made),
                                figures.verdict(made))
            if "target_p99" in made:
                target += ", p99 ≤ %s %s" % (
                    figures.shown(made["target_p99"], made["unit"]),
                    "met" if p99 <= made["target_p99"] else "MISSED")
        unit = "messages/s" if row.at_least else "ns"
        print("  %-20s %9s %9s %14s  %s" % (
            SAYS[carrier], figures.shown(value, unit),
            figures.shown(p99, unit), ratio, target))
    for complaint in (made or {}).get("noise", []):
        figures.say("  noisy: " + complaint)


def crowd(runner, what, seconds, rounds):
    """Median over rounds of what a hundred channels of ours cost."""
    return statistics.median(
        runner.run(["--carrier", "shm", "--what", what, "--channels", "100"],
                   seconds, False)["value"] for _ in range(rounds))


def crowd_figures(runner):
    quick = runner.bed.quick
    rounds = 1 if quick else 3
    cpu = crowd(runner, "idle", 0.2 if quick else 3, rounds)
    rss = crowd(runner, "rss", 0.1, rounds)
    made = [figures.figure("shm_idle_cpu", cpu, "%", 0.0),
            figures.figure("channel_rss", rss, "KiB", 16.0)]
    print("\n100 open channels with nothing to do, each a ring of 64 KiB both "
          "ways")
    print("  CPU time of an end       %10s %s %s" % (
        figures.shown(cpu, "% "), figures.shown_target(made[0]),
        figures.verdict(made[0])))
    print("  memory of each more      %10s %s %s, beside its rings" % (
        figures.shown(rss, "KiB"), figures.shown_target(made[1]),
        figures.verdict(made[1])))
    return made


def hardening(made):
    """Per cent that a figure is worse for our checks; below 0 it is noise."""
    for f in made:
        if f["name"] in HARDENING and UNCHECKED in f["ratio"]:
            ratio = f["ratio"][UNCHECKED]
            worse = (1 / ratio if f.get("at_least") else ratio) - 1
            yield figures.figure(HARDENING[f["name"]], worse * 100, "%",
                                 HARDENING_MAX, ratio={UNCHECKED: ratio},
                                 **({"noise": f["noise"]} if "noise" in f
                                    else {}))


def possible(runner):
    """The rows that this machine can run; says what it can't."""
    wanted = list(rows())
    if runner.bed.only:
        wanted = [row for row in wanted if row.name in runner.bed.only
                  or HARDENING.get(row.name) in runner.bed.only]
    if not runner.cpus:
        print("this machine has one CPU: left out is all where ends are pinned "
              "or look all the time")
        wanted = [row for row in wanted
                  if not row.pinned and row.wait != "poll"]
    for carrier, why in runner.left_out.items():
        figures.say("left out: %s: %s" % (SAYS.get(carrier, carrier), why))
    return wanted


def run(bed):
    runner = Runner(bed)
    wanted = possible(runner)
    rounds = 1 if bed.quick else max(ROUNDS_MIN, bed.rounds)
    print("%d rounds, %g s of each carrier in each%s" % (
        rounds, runner.slice_s,
        ", before all other processes" if bed.shield else ""), flush=True)
    measured, middle = measure(runner, wanted, rounds)
    made, medians = [], {}
    # 64 KiB by reference is what the other sizes are held against.
    for row in sorted(wanted, key=lambda row: row.name != "shm_ref_65536"):
        one, _ = figure_of(measured[row.name], middle, {})
        if one:
            medians[row.name] = one["value"]
    for row in wanted:
        one, table = figure_of(measured[row.name], middle, medians)
        show_row(runner, row, one, table)
        if one:
            made.append(one)
    made += list(hardening(made))
    if not bed.only or {"shm_idle_cpu", "channel_rss"} & set(bed.only):
        made += crowd_figures(runner)
    if middle:
        print("\nthe floor of most rounds was %.0f ns" % middle)
    bed.failed |= any(key[1] in OURS for key in runner.failures)
    for (name, carrier), why in runner.failures.items():
        figures.say("%s: %s failed: %s" % (name, SAYS[carrier], why))
    return made

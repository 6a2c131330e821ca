#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make demo: one host, four guests that serve real requests, a load that rises
and falls, and the policies No PM and Basic in turn under it.

usage: demo/run.py [--build DIR]

  DEMO_SECONDS=N  how long all of it may take (90)
  DEMO_REAL=1     set the CPUs' real p-states, where the machine lets us

Everything it starts or makes is gone when it ends, also after Ctrl-C: processes
by their numbers, files with its one directory in /tmp.  The result is printed
and, for programs, in DIR/demo/summary.json.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
sys.dont_write_bytecode = True
import guests as guest_files  # noqa: E402
import judge  # noqa: E402
from host import Broker, Machine, Trouble, configuration  # noqa: E402
from processes import END_S, become_subreaper, end_descendants  # noqa: E402
from rounds import (AGENT_THRESHOLD_US, CURVE, PEAK_RATE, Round, Sums,  # noqa: E402
                    THRESHOLD_MS, UTIL_PERIOD_MS, plan)

TOP = pathlib.Path(__file__).resolve().parent.parent
NAMES = {"none": "No PM", "basic": "Basic"}


class Demo:
    def __init__(self, build, seconds, want_real):
        self.build, self.seconds = build, seconds
        self.began = time.monotonic()
        self.machine = Machine(want_real)
        self.order, self.round_s, self.settle_s = plan(seconds)
        self.sums = {"none": Sums(), "basic": Sums()}
        self.dir = self.broker = None
        self.children, self.guests = [], []

    def run(self):
        self.prepare()
        self.broker.start(len(self.guests))
        self.introduce()
        for number, (policy, seed) in enumerate(self.order):
            self.say_round(number, policy)
            Round(self, policy, seed, self.round_s, self.settle_s,
                  self.sums[policy]).run()
        return self.summary()

    # Getting ready.

    def prepare(self):
        nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not nginx:
            raise Trouble("nginx is missing; tools/bootstrap --demo installs it")
        for program in ("broker/mbrokerd", "agent/magentd", "ctl/mctl", "demo/load"):
            if not (self.build / program).exists():
                raise Trouble("%s is not built; run make" % (self.build / program))
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mbroker-demo-"))
        self.dir.chmod(0o755)
        www = self.dir / "www"
        self.page_size, self.work_ms = guest_files.write_page(www)
        cpus = self.machine.cpus
        self.guests = [guest_files.Guest(self.dir, i, cpus[i * len(cpus) // guest_files.COUNT])
                       for i in range(guest_files.COUNT)]
        commands = [guest.write(nginx, self.build / "agent" / "magentd", www,
                                AGENT_THRESHOLD_US, port)
                    for guest, port in zip(self.guests, free_ports(len(self.guests)))]
        config = self.dir / "mbroker.conf"
        config.write_text(configuration(self.machine, self.dir, TOP / "data", self.guests,
                                        commands))
        self.broker = Broker(self.build, config)

    # Telling.

    def introduce(self):
        m = self.machine
        say("One host with CPUs %s, four guests: in each an nginx that compresses %.0f KB\n"
            "per request, an nginx as its front, and an agent that reads its log.\n"
            "SLA: a response within %d ms (agents count from %.1f, because nginx logs\n"
            "whole milliseconds)."
            % (", ".join(map(str, m.cpus)), self.page_size / 1024, THRESHOLD_MS,
               AGENT_THRESHOLD_US / 1000))
        say("  real       every request and its response time (a page takes %.1f ms of CPU)"
            % self.work_ms)
        say("  %-10s p-states (%s)%s" % (m.pstate_is, m.pstate, {
            "emulated": ": a thread takes what a slower CPU would lack",
            "simulated": ": they slow nothing down", "real": ""}[m.pstate_is]))
        say("  %-10s power (%s)%s" % (m.power_is, m.power,
                                      ": computed, not measured" if m.power_is == "model"
                                      else ""))
        if m.root:
            say("  note       servers and clients run ahead of this machine's other programs")
        for note in m.notes:
            say(textwrap.fill(note, 79, initial_indent="  note       ",
                              subsequent_indent=" " * 13))
        say("Try meanwhile, in another terminal:")
        mctl = "%s --run-dir %s" % (os.path.relpath(self.build / "ctl" / "mctl"),
                                    self.broker.run_dir)
        say("  %s why cpu%d" % (mctl, m.cpus[0]))
        say("  %s watch" % mctl)
        say("")

    def say_round(self, number, policy):
        say("Round %d of %d: %s, %.0f s, the first %.1f to settle (marked ~)"
            % (number + 1, len(self.order), NAMES[policy], self.round_s, self.settle_s))
        say("    time   load  p-state in GHz      power        violations: agents  clients")

    def say_second(self, this, line, cpus, agents):
        ghz = " ".join("%.1f" % (cpu["freq_mhz"] / 1000) if cpu["freq_mhz"] else "?"
                       for cpu in cpus)
        power = this.power["power_w"] if this.power else None
        say("  %s%5.0f s %4d/s  %-16s %8s %-7s %16s %8s"
            % ("~" if line["second"] <= this.settle else " ",
               time.monotonic() - self.began, line["done"], ghz,
               "%.1f W" % power if power is not None else "unknown",
               this.power["quality"] if this.power else "",
               percent(agents[1], agents[0]), percent(line["over"], line["done"])))

    def table(self, summary):
        none, basic = (summary["policies"][name] for name in ("none", "basic"))
        rows = [("", NAMES["none"], NAMES["basic"]),
                ("mean power, %s" % self.machine.power_is,
                 "%.1f W" % none["mean_power_w"], "%.1f W" % basic["mean_power_w"]),
                ("saving", "", "%.1f %%" % basic["saving_percent"]),
                ("requests, real", none["requests"], basic["requests"]),
                ("violations as agents see them", "%.2f %%" % none["agent_violation_percent"],
                 "%.2f %%" % basic["agent_violation_percent"]),
                ("violations as clients see them", "%.2f %%" % none["client_violation_percent"],
                 "%.2f %%" % basic["client_violation_percent"]),
                ("raises, lowerings", "",
                 "%d, %d" % (basic["raises"], basic["lowerings"]))]
        shares = self.sums["none"].shares()
        for key, share in basic["pstate_share"].items():
            rows.append(("time at %s GHz, %s" % (key, self.machine.pstate_is),
                         "%.0f %%" % (100 * shares.get(key, 0)), "%.0f %%" % (100 * share)))
        rows.append(("CPUs that other programs kept busy",
                     "%.2f" % self.sums["none"].foreign_cpus(),
                     "%.2f" % self.sums["basic"].foreign_cpus()))
        say("")
        for row in rows:
            say("  %-34s %12s %12s" % row)
        say("")

    def trace(self):
        """A real path from a guest's requests to a p-state."""
        causes = {}
        for row in self.broker.ask("events", n=500)["rows"]:
            causes.setdefault(row["cause"], []).append(row)
        for cause, rows in reversed(list(causes.items())):
            names = {row["name"] for row in rows}
            if "GUEST_NOTICE" in names and any(row["kind"] == "outcome" for row in rows):
                say("One of the raises, hop by hop (mctl trace %s):" % cause)
                self.broker.show("trace", cause)
                say("")
                return
        say("The last events hold no notice that changed a p-state, so no trace is shown.")

    # The result.

    def summary(self):
        policies = {}
        for name, sums in self.sums.items():
            policies[name] = {
                "mean_power_w": round(sums.mean_power_w(), 2), "requests": sums.requests,
                "agent_violation_percent": round(sums.agent_percent(), 3),
                "client_violation_percent": round(sums.client_percent(), 3)}
        none_w = self.sums["none"].mean_power_w()
        basic = self.sums["basic"]
        policies["basic"].update(
            saving_percent=round(100 * (1 - basic.mean_power_w() / none_w), 2) if none_w
            else 0.0, raises=basic.raises, lowerings=basic.lowerings,
            pstate_share={key: round(share, 4) for key, share in basic.shares().items()})
        platform = self.machine.summary()
        platform.update(
            seconds=self.seconds, rounds=len(self.order), round_s=round(self.round_s, 2),
            settle_s=round(self.settle_s, 2), guests=len(self.guests),
            sla_threshold_ms=THRESHOLD_MS, util_period_ms=UTIL_PERIOD_MS,
            page_bytes=self.page_size, page_cpu_ms=round(self.work_ms, 3),
            peak_rate_per_guest=PEAK_RATE, curve=CURVE,
            other_programs_cpus={name: round(sums.foreign_cpus(), 2)
                                 for name, sums in self.sums.items()},
            p99_ms={name: [round(us / 1000, 2) for us in sums.p99_us]
                    for name, sums in self.sums.items()})
        return {"platform": platform, "policies": policies}

    # The end.

    def end_child(self, child):
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(END_S)
            except Exception:  # noqa: BLE001 - it must go, whatever is the matter
                child.kill()
                child.wait()
        if child in self.children:
            self.children.remove(child)

    def clean_up(self):
        """Each step is done whatever became of the one before."""
        try:
            for child in list(self.children):
                self.end_child(child)
        finally:
            try:
                if self.broker:
                    self.end_broker()
            finally:
                end_descendants()
                if self.dir:
                    shutil.rmtree(self.dir, ignore_errors=True)

    def end_broker(self):
        if not self.broker.stop():
            say("mbrokerd had to be killed")
        if self.machine.pstate_is == "real":
            self.broker.restore()


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def percent(part, whole):
    return "%.1f %%" % (100 * part / whole) if whole else "-"


def say(text):
    print(text, flush=True)


def read_seconds():
    text = os.environ.get("DEMO_SECONDS", "90")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 < seconds <= 86400:
        raise Trouble("DEMO_SECONDS=%s is no number of seconds" % text)
    return seconds


def finish(demo, summary):
    demo.table(summary)
    demo.trace()
    say("What a run of a minute or more on a quiet machine shows, and this one:")
    expectations = judge.expectations(summary)
    for text, held in expectations:
        say("  %s %s" % ("yes" if held else "NO ", text))
    if not all(held for _, held in expectations):
        say("A shorter run, a busy machine (see CPUs above) or a note above may be why.")
    path = demo.build / "demo" / "summary.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(summary, indent=2) + "\n")
    except OSError as error:
        raise Trouble("%s can't be written: %s" % (path, error.strerror)) from error
    say("\n%s has the figures." % os.path.relpath(path))


def on_signal(number, frame):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=TOP / "build", type=pathlib.Path)
    arguments = parser.parse_args()
    demo = None
    become_subreaper()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    try:
        demo = Demo(arguments.build.resolve(), read_seconds(),
                    os.environ.get("DEMO_REAL") == "1")
        summary = demo.run()
        finish(demo, summary)
        return 0
    except (Trouble, OSError, subprocess.SubprocessError) as trouble:
        print("demo: %s" % trouble, file=sys.stderr)
        for line in [line for guest in demo.guests for line in guest.troubles()][:8] \
                if demo else []:
            print("      " + line, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped; cleaning up", file=sys.stderr)
        return 130
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if demo:
            demo.clean_up()


if __name__ == "__main__":
    sys.exit(main())

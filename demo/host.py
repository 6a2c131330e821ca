# SPDX-License-Identifier: Apache-2.0
"""The demo's host: mbrokerd with a configuration made for this machine, and a
client of its control socket.  What this machine can't do is said in 'notes'.
"""
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

GUESTS_PER_CPU_MIN = 2
CPUS_MAX = 4
THIEF_PRIORITY = 10     # hardware/softpstate.c's.
LOAD_PRIORITY = 40      # Above it: our clients are not slowed.
START_S, STOP_S = 15, 8
ANSWER_S = 5


class Trouble(Exception):
    """Something a user can be told in one line."""


class Machine:
    """What is here, and so what will be real."""

    def __init__(self, want_real):
        self.cpus = sorted(os.sched_getaffinity(0))[:CPUS_MAX]
        self.root = os.getuid() == 0
        self.real_time = can_be_real_time(LOAD_PRIORITY)
        self.notes = []
        self.pick_pstate(want_real)
        self.pick_power(want_real)
        if not self.real_time:
            self.notes.append("no real-time priority: the load generator shares the "
                              "CPUs with the guests, so its own delays count as theirs")

    def pick_pstate(self, want_real):
        cpufreq = all(pathlib.Path("/sys/devices/system/cpu/cpu%d/cpufreq/scaling_setspeed"
                                   % cpu).exists() for cpu in self.cpus)
        if want_real and cpufreq and self.root:
            self.pstate, self.pstate_is = "cpufreq", "real"
        elif self.real_time:
            self.pstate, self.pstate_is = "softpstate", "emulated"
            if want_real:
                self.notes.append("DEMO_REAL=1: no CPU frequency here that can be set%s; "
                                  "p-states are emulated" % ("" if self.root else " by you"))
        else:
            self.pstate, self.pstate_is = "sim", "simulated"
            self.notes.append("p-states are made up and slow nothing down: emulating them "
                              "needs real-time priority (root, or CAP_SYS_NICE)")

    def pick_power(self, want_real):
        rapl = pathlib.Path("/sys/class/powercap/intel-rapl:0/energy_uj")
        if want_real and self.pstate_is == "real" and os.access(rapl, os.R_OK):
            self.power, self.power_is = "rapl", "measured"
        else:
            self.power, self.power_is = "powermodel", "model"

    def summary(self):
        return {"cpus": self.cpus, "pstates": self.pstate_is, "pstate_driver": self.pstate,
                "power": self.power_is, "power_driver": self.power, "root": self.root,
                "load_real_time": self.real_time, "requests": "real", "notes": self.notes}


def can_be_real_time(priority):
    """Tried in a child, so that nothing of it stays with us."""
    pid = os.fork()
    if pid == 0:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def quote(text):
    return '"%s"' % str(text).replace("\\", "\\\\").replace('"', '\\"')


def configuration(machine, top, data_dir, guests, commands):
    blocks = ",\n".join(
        "    { name = %s; vcpus = [%d];\n      channel = %s;\n      command = %s; }"
        % (quote(g.name), g.cpu, quote(g.channel), quote(c))
        for g, c in zip(guests, commands))
    return """\
# Made by make demo.
host_id = "demo";
run_dir = %s; state_dir = %s;
data_dir = %s;
cpus = %s;
policy = { name = "none"; };
hypervisor = { driver = "process"; };
pstate = { driver = "%s"; };
power = { driver = "%s"; };
sample_ms = 250;
end_guests = true;
guests = (
%s
);
""" % (quote(top / "run"), quote(top / "state"), quote(data_dir), machine.cpus,
       machine.pstate, machine.power, blocks)


class Broker:
    """A running mbrokerd."""

    def __init__(self, build, config):
        self.build, self.config = pathlib.Path(build), config
        self.run_dir = config.parent / "run"
        self.log = config.parent / "mbrokerd.log"
        self.process = self.socket = self.lines = None

    def start(self, n_guests):
        program = self.build / "broker" / "mbrokerd"
        check = subprocess.run([program, "--check", self.config], capture_output=True,
                               text=True, timeout=START_S)
        if check.returncode:
            raise Trouble("the configuration is refused: %s" % (check.stderr + check.stdout))
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([program, "--config", self.config], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL,
                                            start_new_session=True)
        deadline = time.monotonic() + START_S
        while True:
            try:
                status = self.ask("status")
                if status["platform_ready"] and status["agents"] == n_guests:
                    return status
            except (OSError, Trouble):
                self.close()
            if self.process.poll() is not None:
                busy = "managed by another broker" in self.said()
                raise Trouble("mbrokerd ended: %s%s" % (self.said(), "\n"
                              "      another demo, perhaps: run it again when that one is "
                              "done" if busy else ""))
            if time.monotonic() > deadline:
                raise Trouble("the guests' agents did not all come: %s" % self.said())
            time.sleep(0.1)

    def said(self):
        lines = self.log.read_text(errors="replace").splitlines()
        return " | ".join(lines[-6:]) or "it said nothing"

    def ask(self, verb, **fields):
        if not self.socket:
            self.connect()
        try:
            self.socket.sendall(json.dumps(dict(verb=verb, **fields)).encode() + b"\n")
            line = self.lines.readline()
        except OSError:
            line = b""
        if not line:
            self.close()
            raise Trouble("mbrokerd does not answer any more: %s" % self.said())
        answer = json.loads(line)
        if not answer.get("ok"):
            error = answer.get("error", {})
            raise Trouble("%s: %s; %s" % (error.get("what"), error.get("why"),
                                          error.get("next")))
        return answer["data"]

    def connect(self):
        fresh = socket.socket(socket.AF_UNIX)
        try:
            fresh.settimeout(ANSWER_S)
            fresh.connect(str(self.run_dir / "control.sock"))
        except OSError:
            fresh.close()
            raise
        self.socket, self.lines = fresh, fresh.makefile("rb")

    def mctl(self, *words):
        """What a user would type; returns its output."""
        done = subprocess.run([self.build / "ctl" / "mctl", "--run-dir", self.run_dir,
                               *words], capture_output=True, text=True, timeout=ANSWER_S * 2)
        if done.returncode:
            raise Trouble("mctl %s: %s" % (" ".join(words), done.stderr.strip()))
        return done.stdout.rstrip()

    def show(self, *words):
        """The same, for whoever reads our output: mctl knows how wide it is."""
        sys.stdout.flush()
        done = subprocess.run([self.build / "ctl" / "mctl", "--run-dir", self.run_dir,
                               *words], timeout=ANSWER_S * 2)
        if done.returncode:
            raise Trouble("mctl %s failed" % " ".join(words))

    def close(self):
        if self.socket:
            self.lines.close()
            self.socket.close()
        self.socket = self.lines = None

    def stop(self):
        """Ends it, and with it the guests.  True if it left by itself."""
        self.close()
        if not self.process or self.process.poll() is not None:
            return True
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S)
            return True
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False

    def restore(self):
        """Puts real p-states back if mbrokerd could not."""
        subprocess.run([self.build / "broker" / "mbrokerd", "--restore", "--config",
                        self.config], capture_output=True, timeout=START_S, check=False)

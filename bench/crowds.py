# SPDX-License-Identifier: Apache-2.0
"""A real mbrokerd with many guests, and crowds of agents (bench/crowd) at their
channels, for benches and load tests.

    with crowds.Broker(build, n_guests=100) as broker:
        crowd = broker.crowd(1, 99, rate=10, seconds=5)
        crowd.finish()["rtt_p99_us"]

Whatever happens, leaving the block ends every process that was started, by its
number, and takes the directory away.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

START_S = 60
TOP = pathlib.Path(__file__).resolve().parent.parent

CONF = """
host_id = "crowd";
run_dir = "{dir}/run"; state_dir = "{dir}/state"; data_dir = "{data}";
cpus = [{cpu}];
policy = {{ name = "none"; }};
{extra}
guests = (
{guests}
);
"""


class Crowd:
    """A started bench/crowd; its agents were welcomed."""

    def __init__(self, words):
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if line != "ready\n":
            self.end()
            raise RuntimeError("a crowd was not let in")

    def counts(self):
        """What it counted, once it is through; its agents stay."""
        return json.loads(self.process.stdout.readline())

    def end(self):
        """Its agents leave."""
        try:
            self.process.stdin.close()
            self.process.wait(30)
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self.process.kill()
            self.process.wait()

    def finish(self):
        found = self.counts()
        self.end()
        return found


class Broker:
    def __init__(self, build, n_guests, scheme="shm", extra=""):
        self.build = pathlib.Path(build)
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mbroker-crowd-"))
        self.dir.chmod(0o755)  # Its processes are users of their own.
        self.scheme, self.process, self.crowds = scheme, None, []
        cpu = min(os.sched_getaffinity(0))
        guests = ",\n".join(
            '  { name = "g%d"; vcpus = [%d]; channel = "%s"; }'
            % (n, cpu, self.uri() % n) for n in range(n_guests))
        (self.dir / "mbroker.conf").write_text(CONF.format(
            dir=self.dir, data=TOP / "data", cpu=cpu, guests=guests, extra=extra))
        (self.dir / "locks").mkdir()

    def uri(self):
        return "%s:%s/run/g%%d" % (self.scheme, self.dir)

    def __enter__(self):
        with open(self.dir / "mbrokerd.log", "w") as log:
            self.process = subprocess.Popen(
                [self.build / "broker/mbrokerd", "--config",
                 self.dir / "mbroker.conf", "--lock-dir", self.dir / "locks"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + START_S
        try:
            while not self.is_ready():
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("mbrokerd did not start:\n" + self.said())
                time.sleep(0.1)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        for crowd in self.crowds:
            if crowd.process.poll() is None:
                crowd.process.kill()
                crowd.process.wait()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if kind:
            print(self.said()[-2000:])
        shutil.rmtree(self.dir, ignore_errors=True)

    def said(self):
        return (self.dir / "mbrokerd.log").read_text(errors="replace")

    def is_ready(self):
        try:
            return self.ctl("status")["platform_ready"] and "ready in" in self.said()
        except RuntimeError:
            return False

    def ctl(self, *words):
        done = subprocess.run(
            [self.build / "ctl/mctl", "--run-dir", self.dir / "run", *words, "--json"],
            capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr or done.stdout)
        return json.loads(done.stdout)

    def crowd(self, first, last, rate, seconds, pushy=False, beat_each=5,
              warm_up=0):
        """Starts a crowd of the guests from 'first' to 'last'."""
        found = Crowd([self.build / "bench/crowd", "--uri", self.uri().replace("%d", "%u"),
                       "--guests", "%d-%d" % (first, last), "--rate", str(rate),
                       "--seconds", str(seconds), "--beat-each",
                       str(beat_each), "--warm-up", str(warm_up)] + (["--pushy"] if pushy else []))
        self.crowds.append(found)
        return found

    def usage(self):
        """What each guest used, by number; once the broker told all of it."""
        found, before = None, None
        while found is None or found != before:
            before = found
            found = {int(vm["name"][1:]): vm["usage"]
                     for vm in self.ctl("vms")["vms"]}
            time.sleep(1.2)
        return found

    def processes(self):
        """{"parent": pid, "back": pid, …}"""
        found = {"parent": self.process.pid}
        path = "/proc/%d/task/%d/children" % ((self.process.pid,) * 2)
        for pid in map(int, pathlib.Path(path).read_text().split()):
            words = pathlib.Path("/proc/%d/cmdline" % pid).read_bytes().decode()
            role = re.search(r"--role=(\w+)", words)
            if role:
                found[role.group(1)] = pid
        return found

    def rss_kb(self):
        """Resident memory of each process."""
        return {role: int(re.search(
            r"VmRSS:\s+(\d+) kB",
            pathlib.Path("/proc/%d/status" % pid).read_text()).group(1))
                for role, pid in self.processes().items()}

    def cpu_s(self):
        """CPU time of each process so far."""
        tick = os.sysconf("SC_CLK_TCK")
        found = {}
        for role, pid in self.processes().items():
            stat = pathlib.Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2]
            found[role] = sum(map(int, stat.split()[11:13])) / tick
        return found

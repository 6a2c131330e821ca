# SPDX-License-Identifier: Apache-2.0
"""A whole mbrokerd in a temporary directory, for the tests here.

    with Broker(guests=["web1"]) as broker:
        broker.start()
        broker.ctl("status")["policy"]

Whatever happens, leaving the block ends every process that was started, by its
number, and takes the directory away.  Nothing outside that directory is
touched: p-states are the sim driver's unless a test asks for others.

MBROKER_BUILD names the build directory; by default ./build.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("MBROKER_BUILD") or TOP / "build").resolve()
MBROKERD = BUILD / "broker" / "mbrokerd"
MAGENTD = BUILD / "agent" / "magentd"
MCTL = BUILD / "ctl" / "mctl"

PATIENCE = 30.0  # Seconds; the machine may be busy with other things.


def wait_until(condition, what, seconds=PATIENCE):
    """Waits until condition() is true and returns what it returned."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %d s in vain until %s" % (seconds, what))
        time.sleep(0.05)


def children(pid):
    """All processes below 'pid', deepest last."""
    found = []
    try:
        for task in os.listdir("/proc/%d/task" % pid):
            text = pathlib.Path("/proc/%d/task/%s/children" % (pid, task)).read_text()
            for child in map(int, text.split()):
                found += [child] + children(child)
    except OSError:
        pass
    return found


def command_of(pid):
    try:
        return pathlib.Path("/proc/%d/cmdline" % pid).read_bytes().decode(
            errors="replace").split("\0")[:-1]
    except OSError:
        return []


def stat_of(pid):
    """The fields of /proc/PID/stat from the state on; [] if it is gone."""
    try:
        stat = pathlib.Path("/proc/%d/stat" % pid).read_text()
    except OSError:
        return []
    return stat.rpartition(")")[2].split()


def is_alive(pid):
    stat = stat_of(pid)
    return bool(stat) and stat[0] != "Z"


def began(pid):
    """When it was started; with its number that names a process for ever."""
    stat = stat_of(pid)
    return stat[19] if stat else None


class Broker:
    def __init__(self, guests=("web1", "web2"), policy="basic",
                 policy_options="util_period_ms = 300;", pstate="sim",
                 pstate_options="", power="powermodel", power_options="",
                 hypervisor="process", hypervisor_options="", cpus="0", extra="",
                 commands=None, scheme="shm"):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mbroker-test-"))
        self.dir.chmod(0o755)
        self.scheme = scheme
        self.run_dir = self.dir / "run"
        (self.dir / "locks").mkdir()
        self.state_dir = self.dir / "state"
        self.conf = self.dir / "mbroker.conf"
        self.log = self.dir / "mbrokerd.log"
        self.guests = list(guests)
        self.arguments = []
        self.process = None
        self.n_ready = 0
        self.others = []
        commands = commands or {}
        lines = [
            'run_dir = "%s";' % self.run_dir,
            'state_dir = "%s";' % self.state_dir,
            'data_dir = "%s";' % (TOP / "data"),
            'host_id = "test";',
            'cpus = "%s";' % cpus,
            'policy = { name = "%s"; %s };' % (policy, policy_options),
            "sample_ms = 100;",
            "beat_ms = 300;",
        ]
        for key, name, options in (("pstate", pstate, pstate_options),
                                   ("power", power, power_options),
                                   ("hypervisor", hypervisor, hypervisor_options)):
            if name:
                lines.append('%s = { driver = "%s"; %s };' % (key, name, options))
        members = []
        for guest in self.guests:
            command = commands.get(guest, "")
            members.append('{ name = "%s"; vcpus = [%s]; channel = "%s";%s }' % (
                guest, cpus.split("-")[0].split(",")[0], self.channel(guest),
                ' command = "%s";' % command if command else ""))
        lines.append("guests = ( %s );" % ", ".join(members))
        lines.append(extra)
        # In an empty root nothing can be written, also not what tools/coverage
        # counts.
        if os.environ.get("MBROKER_NO_SANDBOX") and "sandbox" not in extra:
            lines.append("sandbox = { users = false; root = false; seccomp = false; };")
        self.conf.write_text("\n".join(lines) + "\n")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            print("--- %s\n%s" % (self.log, self.said()))
        self.close()

    # The daemon.

    def launch(self):
        """Starts mbrokerd and returns at once."""
        self.n_ready = self.said().count(": ready in ")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(MBROKERD), "--config", str(self.conf), "--lock-dir",
                 str(self.dir / "locks"), *self.arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        return self

    def start(self):
        """Starts mbrokerd and waits until it is ready."""
        self.launch()
        wait_until(self.is_ready, "mbrokerd is ready")
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError("mbrokerd ended with %s:\n%s"
                                 % (self.process.returncode, self.said()))
        done = self.run_ctl("status", "--json")
        if done.returncode or not json.loads(done.stdout)["platform_ready"]:
            return False
        # Engine and platform are; back may not be, yet.
        quiet = any("--log-level" in word for word in self.arguments)
        return quiet or self.said().count(": ready in ") > self.n_ready

    def stop(self, signum=signal.SIGTERM):
        """Asks mbrokerd to stop, waits, and returns its exit status."""
        self.process.send_signal(signum)
        return self.process.wait(PATIENCE)

    def said(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def roles(self):
        """{"back": pid, …} of the processes that run."""
        found = {}
        for pid in children(self.process.pid):
            words = command_of(pid)
            for role in ("back", "engine", "platform", "steward"):
                if words and "mbrokerd" in words[0] and any(role in w for w in words[:3]):
                    found.setdefault(role, pid)
        return found

    # Clients.

    def run_ctl(self, *arguments, **more):
        return subprocess.run([str(MCTL), "--run-dir", str(self.run_dir), *arguments],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE, **more)

    def ctl(self, *arguments):
        """mctl … --json, as data; must succeed."""
        done = self.run_ctl(*arguments, "--json")
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def dial(self):
        """A connection to the control socket."""
        conn = socket.socket(socket.AF_UNIX)
        conn.settimeout(PATIENCE)
        conn.connect(str(self.run_dir / "control.sock"))
        return conn

    def vm(self, name):
        return next(v for v in self.ctl("vms")["vms"] if v["name"] == name)

    def cpu(self, number=0):
        return next(c for c in self.ctl("cpus")["cpus"] if c["cpu"] == number)

    # Guests.

    def channel(self, guest):
        return "%s:%s" % (self.scheme, self.run_dir / (guest + ".chan"))

    def access_log(self, guest):
        return self.dir / (guest + ".access.log")

    def agent(self, guest, *arguments, threshold_us=3000, epoch_ms=200, probe=None):
        """Starts a magentd for a guest, following its access log."""
        probe = probe or "httplog:path=%s,period_ms=20" % self.access_log(guest)
        with open(self.dir / (guest + ".agent.log"), "ab") as log:
            process = subprocess.Popen(
                [str(MAGENTD), "--channel", self.channel(guest),
                 "--probe", probe, "--threshold-us", str(threshold_us),
                 "--epoch-ms", str(epoch_ms), *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        self.others.append(process)
        return process

    def agent_said(self, guest):
        path = self.dir / (guest + ".agent.log")
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_agents(self, *guests):
        for guest in guests or self.guests:
            wait_until(lambda: self.vm(guest)["agent"], "%s's agent is here" % guest)

    def requests(self, guest, n=20, seconds=0.001):
        """Writes n requests of that length to a guest's access log."""
        with open(self.access_log(guest), "a") as log:
            for _ in range(n):
                log.write("%.3f %.3f 200\n" % (time.time(), seconds))

    # The end.

    def close(self):
        """Ends all that was started here, by number, and removes the directory."""
        mine = ([self.process] if self.process else []) + self.others
        left = [pid for process in mine for pid in children(process.pid)]
        left = [(pid, began(pid)) for pid in left + self.guest_pids()]
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for process in self.others:
            if process.poll() is None:
                process.kill()
            process.wait()
        for pid, start in left:
            if is_alive(pid) and began(pid) == start:
                os.kill(pid, signal.SIGKILL)
        self.unmount()
        shutil.rmtree(self.dir, ignore_errors=True)

    def guest_pids(self):
        """What the process driver started and wrote down, and what is below."""
        pids = []
        for path in self.state_dir.glob("*.pid"):
            try:
                pid, start = path.read_text().split()[:2]
                if began(int(pid)) == start:
                    pids += [int(pid)] + children(int(pid))
            except (OSError, ValueError):
                pass
        return pids

    def unmount(self):
        mounts = pathlib.Path("/proc/self/mounts").read_text()
        for line in mounts.splitlines():
            where = line.split()[1]
            if where.startswith(str(self.dir) + "/"):
                subprocess.run(["umount", "-l", where], check=False)


def make_cpufreq(root, cpus=(0,), min_khz=1000000, max_khz=2400000):
    """A tree that stands for /sys, with cpufreq files of CPUs that have a domain
    each; what the driver writes can be read back from it."""
    for cpu in cpus:
        at = pathlib.Path(root) / "devices/system/cpu" / ("cpu%d" % cpu) / "cpufreq"
        at.mkdir(parents=True)
        for name, text in (("related_cpus", cpu), ("affected_cpus", cpu),
                           ("scaling_driver", "made-up"),
                           ("scaling_governor", "powersave"),
                           ("scaling_available_governors", "performance powersave"),
                           ("cpuinfo_min_freq", min_khz), ("cpuinfo_max_freq", max_khz),
                           ("scaling_min_freq", min_khz), ("scaling_max_freq", max_khz)):
            (at / name).write_text("%s\n" % text)
    return pathlib.Path(root)


def max_freq(root, cpu=0):
    path = pathlib.Path(root) / "devices/system/cpu" / ("cpu%d" % cpu)
    # Unlike sysfs, a file is empty for a moment while it is written.
    return int(wait_until((path / "cpufreq/scaling_max_freq").read_text,
                          "the frequency is written"))


def n_fds(pid):
    return len(os.listdir("/proc/%d/fd" % pid))

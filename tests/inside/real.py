#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Faults from inside real processes: in each process of mbrokerd, in magentd and
in mctl the N-th allocation fails, or the N-th write, or the N-th other call that the
kernel may refuse, once or with all after it: while they start, and while they work
and are asked.

    real.py --build DIR [--all] [--some N] [--kind KIND] [NAME...]

None may be ended by a signal or hang; what does not start says why; nothing is
left of it, the journal stays whole, and the next start is as any.  Without --all
each list of calls is tried at some places (N) only.  libfailing.so (preload.c) makes
the calls fail; it is told which through memory that is shared with it."""
import argparse
import itertools
import mmap
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
ROLES = ["parent", "restore", "steward", "platform", "engine", "back", "mctl", "magentd"]
KINDS = {"allocations": 1, "writes": 2, "calls": 3}
WAYS = {"once": (0, 28), "and all after": (1, 5)}  # ENOSPC, EIO
STEP = 128
SLOW = 5
PATIENCE = 90  # The broker's own, for a start, is 60.
BAD_SIGNAL = re.compile(r"killed by signal (?!9 )\d+ \([^)]*\)")


class Board:
    """What libfailing.so reads and writes, as struct fail_state has it."""

    def __init__(self, path):
        path.write_bytes(bytes(STEP * (len(ROLES) + 1)))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)

    def clear(self):
        self.map[:] = bytes(len(self.map))

    def arm(self, role, kind, n, way):
        on, error = WAYS[way]
        at = ROLES.index(role) * STEP
        struct.pack_into("=IQII", self.map, at + 4, on, n, 0, error)
        struct.pack_into("=I", self.map, at, KINDS[kind])

    def disarm(self, role):
        """Whether any call failed."""
        at = ROLES.index(role) * STEP
        struct.pack_into("=I", self.map, at, 0)
        return struct.unpack_from("=I", self.map, at + 16)[0] != 0

    def n_calls(self, role, kind):
        at = ROLES.index(role) * STEP + 32 + 8 * KINDS[kind]
        return struct.unpack_from("=Q", self.map, at)[0]


class House:
    """One broker's directories, and the broker if it runs."""

    def __init__(self, build, board_dir):
        self.build = build
        self.dir = board_dir
        self.board = Board(board_dir / "board")
        self.run_dir = board_dir / "run"
        self.conf = board_dir / "mbroker.conf"
        self.log = board_dir / "log"
        self.process = None
        self.env = dict(os.environ, LD_PRELOAD=str(build / "tests/inside/libfailing.so"),
                        MBROKER_FAIL_BOARD=str(board_dir / "board"))
        (board_dir / "locks").mkdir()
        (board_dir / "web.log").touch()
        self.conf.write_text("""
            run_dir = "%s"; state_dir = "%s"; data_dir = "%s"; host_id = "test";
            cpus = [0]; pstate = { driver = "sim"; }; cap = { driver = "sim"; };
            budget = { max_w = 300; safe_w = 100; }; hypervisor = { driver = "process"; };
            policy = { name = "basic"; }; sample_ms = 100; beat_ms = 300;
            guests = ( { name = "web"; vcpus = [0]; channel = "shm:%s/web.chan"; } );
            """ % (self.run_dir, board_dir / "state", TOP / "data", self.run_dir))

    def launch(self):
        self.log.write_text("")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.build / "broker/mbrokerd", "--config", self.conf, "--lock-dir",
                 self.dir / "locks"], env=self.env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True)

    def said(self):
        return self.log.read_text(errors="replace")

    def wait(self):
        """Until it is ready or has ended; what is wrong with that, or None."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            if ": ready in " in self.said():
                return None
            if time.monotonic() > end:
                return "it neither starts nor ends"
            time.sleep(0.003)
        return None

    def stop(self):
        """What is wrong with how it ends or ended, or None."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return "it does not end"
        if status < 0:
            return "mbrokerd was ended by signal %d" % -status
        said = self.said()
        bad = BAD_SIGNAL.search(said)
        if bad:
            return "a process was " + bad.group(0)
        if status and not said.strip():
            return "it failed without a word"
        return None

    def end(self):
        """Ends all there is, whatever state it is in."""
        for pid in self.left():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        if self.process:
            self.process.wait()

    def left(self):
        """Processes of its session."""
        found = []
        for name in os.listdir("/proc"):
            try:
                if name.isdigit() and self.process and \
                        os.getsid(int(name)) == self.process.pid:
                    stat = pathlib.Path("/proc/%s/stat" % name).read_text()
                    if stat.rpartition(")")[2].split()[0] != "Z":
                        found.append(int(name))
            except OSError:
                pass
        return found

    def what_is_left(self, files=True):
        end = time.monotonic() + 5
        while self.left() and time.monotonic() < end:
            time.sleep(0.01)
        if self.left():
            return "processes are left"
        if not files:
            return None
        left = sorted(p.name for p in self.run_dir.glob("*")) if self.run_dir.exists() else []
        left = [name for name in left if name not in ("saved", "lock")]
        saved = self.run_dir / "saved"
        if saved.exists():
            left += sorted(p.name for p in saved.glob("*"))
        return "left in its directory: " + " ".join(left) if left else None

    def journal(self):
        journal = self.dir / "state/journal/journal.db"
        if not journal.exists():
            return None
        done = subprocess.run([self.build / "broker/mjournal", "verify", journal],
                              capture_output=True, text=True, timeout=PATIENCE)
        return None if done.returncode == 0 and '"proved":true' in done.stdout else \
            "the journal is not whole: " + done.stdout + done.stderr

    def mctl(self, *words, env=None):
        return subprocess.run([self.build / "ctl/mctl", "--run-dir", self.run_dir, *words],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=PATIENCE, env=env or os.environ)

    def agent(self):
        return subprocess.Popen(
            [self.build / "agent/magentd", "--channel", "shm:%s/web.chan" % self.run_dir,
             "--probe", "httplog:path=%s,period_ms=20" % (self.dir / "web.log"),
             "--threshold-us", "3000", "--epoch-ms", "200",
             "--notes", "unix:%s" % (self.dir / "notes.sock")],
            env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True)


def places(n_calls, everything, some):
    """Which calls are tried: all, or the first ones and some of the others."""
    if everything or n_calls <= some:
        return list(range(1, n_calls + 1))
    first = list(range(1, some // 2 + 1))
    step = max(1, (n_calls - len(first)) // (some - len(first)))
    return first + list(range(len(first) + step, n_calls + 1, step))


class Tester:
    def __init__(self, house, everything, some, kinds):
        self.house, self.everything, self.some = house, everything, some
        self.kinds = kinds
        self.number = self.n_failed = 0

    def tell(self, what, n_tries, n_calls, troubles):
        self.number += 1
        self.n_failed += bool(troubles)
        print("# %s: %d tries of %d calls" % (what, n_tries, n_calls))
        for trouble in troubles[:20]:
            print("# " + trouble)
        print("%sok %d - %s" % ("not " if troubles else "", self.number, what), flush=True)

    def each(self, what, role, kind, n_calls, one):
        """one(way, n) does it and says what is wrong, or None."""
        troubles, n_tries = [], 0
        for way in WAYS:
            for n in places(n_calls, self.everything, self.some):
                n_tries += 1
                begin = time.monotonic()
                wrong = one(way, n)
                if time.monotonic() - begin > SLOW:
                    print("# call %d fails %s: takes %.0f s" % (
                        n, way, time.monotonic() - begin), flush=True)
                if wrong:
                    troubles.append("call %d fails %s: %s" % (n, way, wrong))
        self.tell("%s: %s of %s" % (what, kind, role), n_tries, n_calls, troubles)

    # Start.

    def start_well(self):
        house = self.house
        house.board.clear()
        house.launch()
        wrong = house.wait()
        if wrong or house.process.poll() is not None:
            raise SystemExit("mbrokerd does not start: %s\n%s" % (wrong, house.said()))

    def try_start(self, role, kind, way, n):
        house = self.house
        house.board.clear()
        house.board.arm(role, kind, n, way)
        house.launch()
        wrong = house.wait()
        if not wrong and house.process.poll() is None:
            house.board.disarm(role)  # The start is over.
        wrong = wrong or house.stop()
        house.board.disarm(role)
        # Who is refused everything can't clean up; the next start can.
        files = kind != "calls" or way == "once"
        wrong = wrong or house.what_is_left(files)
        if wrong:
            print("# " + house.said().strip().replace("\n", "\n#   "))
            house.end()
        return wrong or house.journal()

    def starts(self, roles=tuple(ROLES[:6])):
        for role in roles:
            for kind in self.kinds:
                self.start_well()
                n_calls = self.house.board.n_calls(role, kind)
                wrong = self.house.stop()
                assert not wrong, wrong
                self.each("start", role, kind, n_calls,
                          lambda way, n: self.try_start(role, kind, way, n))

    # Work.

    ASKED = (["status"], ["vms"], ["cpus"], ["power"], ["cap"], ["policy", "show"],
             ["plugins"], ["events", "-n", "20"], ["notes"], ["policy", "set", "none"],
             ["policy", "set", "basic"], ["cap", "set", "200"])

    def ask_all(self, env=None):
        begin = time.monotonic()
        for words in self.ASKED:
            if time.monotonic() - begin > SLOW:
                return None  # Nobody answers any more, and that was said.
            done = self.house.mctl(*words, "--json", env=env)
            if done.returncode < 0:
                return "mctl %s was ended by signal %d" % (" ".join(words), -done.returncode)
            if done.returncode and not done.stderr.strip():
                return "mctl %s failed without a word" % " ".join(words)
            if not done.returncode and not done.stdout.strip().endswith(("}", "]")):
                return "mctl %s gave half an answer: %s" % (" ".join(words), done.stdout)
        return None

    def again(self):
        """The broker runs and answers, started anew if it had to leave."""
        house = self.house
        time.sleep(0.01)
        if house.process.poll() is None and house.mctl("status").returncode == 0:
            return None
        wrong = house.stop() or house.what_is_left()
        house.end()
        self.start_well()
        return wrong

    def try_asking(self, role, kind, way, n):
        self.house.board.arm(role, kind, n, way)
        wrong = self.ask_all()
        self.house.board.disarm(role)
        return wrong or self.again()

    def asking(self):
        self.start_well()
        agent = self.house.agent()
        for role in ("parent", "steward", "platform", "engine", "back"):
            for kind in self.kinds:
                before = self.house.board.n_calls(role, kind)
                wrong = self.ask_all()
                assert not wrong, wrong
                n_calls = self.house.board.n_calls(role, kind) - before
                self.each("work", role, kind, n_calls,
                          lambda way, n: self.try_asking(role, kind, way, n))
        agent.terminate()
        agent.communicate()
        wrong = self.house.stop() or self.house.what_is_left() or self.house.journal()
        self.house.end()
        self.tell("work: all ends well", 1, 1, [wrong] if wrong else [])

    # Those who ask.

    def try_mctl(self, words, kind, way, n):
        self.house.board.arm("mctl", kind, n, way)
        done = self.house.mctl(*words, "--json", env=self.house.env)
        self.house.board.disarm("mctl")
        if done.returncode < 0:
            return "ended by signal %d" % -done.returncode
        if done.returncode and not (done.stderr + done.stdout).strip():
            return "failed without a word"
        if not done.returncode and not done.stdout.strip().endswith(("}", "]")):
            return "half an answer: " + done.stdout[-80:]
        return None

    def mctls(self):
        self.start_well()
        asked = self.ASKED + (["doctor"], ["check", str(self.house.conf)], ["replay"])
        for words, kind in itertools.product(asked, self.kinds):
            if kind == "writes":
                continue  # What is said goes to a pipe; a full one is tried below.
            self.house.board.clear()
            self.house.mctl(*words, "--json", env=self.house.env)
            n_calls = self.house.board.n_calls("mctl", kind)
            self.each(" ".join(("mctl",) + tuple(word for word in words if "/" not in word)),
                      "mctl", kind, n_calls,
                      lambda way, n: self.try_mctl(words, kind, way, n))
        full = [words for words in self.ASKED if subprocess.run(
            [self.house.build / "ctl/mctl", "--run-dir", self.house.run_dir, *words],
            stdout=open("/dev/full", "w"), stderr=subprocess.DEVNULL).returncode == 0]
        self.tell("mctl says when its output is full", len(self.ASKED), len(self.ASKED),
                  ["mctl %s does not" % " ".join(words) for words in full])
        self.house.stop()
        self.house.end()

    def try_agent(self, kind, way, n):
        house = self.house
        house.board.arm("magentd", kind, n, way)
        agent = house.agent()
        end = time.monotonic() + 0.5
        while agent.poll() is None and time.monotonic() < end and \
                not house.board.map[ROLES.index("magentd") * STEP + 16]:
            time.sleep(0.003)
        time.sleep(0.01)
        house.board.disarm("magentd")
        agent.terminate()
        try:
            said, _ = agent.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            agent.kill()
            agent.communicate()
            return "it does not end"
        if agent.returncode < 0 and agent.returncode != -signal.SIGTERM:
            return "ended by signal %d" % -agent.returncode
        if agent.returncode > 0 and not said.strip():
            return "failed without a word"
        return self.again()

    def agents(self):
        self.start_well()
        for kind in self.kinds:
            self.house.board.clear()
            agent = self.house.agent()
            time.sleep(0.6)
            n_calls = self.house.board.n_calls("magentd", kind)
            agent.terminate()
            agent.communicate()
            self.each("start and work", "magentd", kind, n_calls,
                      lambda way, n: self.try_agent(kind, way, n))
        self.house.stop()
        self.house.end()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--some", type=int, default=6)
    parser.add_argument("--kind", choices=list(KINDS), help="these only")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    signal.alarm(4 * 3600 if args.all else 900)
    with tempfile.TemporaryDirectory(prefix="mbroker-inside-") as name:
        os.chmod(name, 0o755)
        house = House(args.build.resolve(), pathlib.Path(name))
        kinds = [args.kind] if args.kind else list(KINDS)
        tester = Tester(house, args.all, args.some, kinds)
        try:
            for part in (tester.starts, tester.asking, tester.mctls, tester.agents):
                if not args.names or part.__name__ in args.names:
                    part()
            named = [role for role in ROLES[:6] if role in args.names]
            if named:
                tester.starts(named)
        finally:
            house.end()
    print("1..%d" % tester.number)
    return tester.n_failed != 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""The fail-safe table's rows that need a machine to break: a disk that gives
errors (EIO, a failed fsync) under the journal, and a wall clock that jumps.  Both
by a library that is preloaded into the real processes (fault.c)."""
import mmap
import os
import shutil
import struct
import subprocess
import time

import pytest

from harness import MBROKERD, TOP, is_alive, max_freq, wait_until
from test_failsafe import FULL_KHZ, Capped

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)
if not shutil.which("cc"):
    pytest.skip("cc is not here", allow_module_level=True)

EIO, ENOSPC = 5, 28
YEAR_S = 365 * 86400


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    out = tmp_path_factory.mktemp("fault") / "fault.so"
    subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror",
                    "-fno-builtin", "-shared", "-fPIC",
                    "-o", str(out), str(TOP / "tests/system/fault.c"), "-ldl"], check=True)
    out.parent.chmod(0o755)
    out.chmod(0o755)
    return out


def sanitizer():
    """Its library has to come before others."""
    needs = subprocess.run(["ldd", str(MBROKERD)], text=True, capture_output=True).stdout
    return " ".join(line.split()[2] for line in needs.splitlines() if "libasan" in line)


class Faulty(Capped):
    """A broker whose disk and wall clock do as a test says."""

    def __init__(self, directory, library, **more):
        super().__init__(directory, **more)
        path = directory / "fault"
        path.write_bytes(b"\0" * 4096)
        path.chmod(0o666)
        file = open(path, "r+b")
        self.map = mmap.mmap(file.fileno(), 4096)
        self.variables = {"LD_PRELOAD": "%s %s" % (sanitizer(), library),
                          "MBROKER_TEST_FAULT": str(path)}

    def launch(self):
        before = {name: os.environ.get(name) for name in self.variables}
        os.environ.update(self.variables)
        try:
            return super().launch()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def fail_disk(self, writes=0, syncs=0):
        self.map[8:16] = struct.pack("ii", writes, syncs)

    def n_failed(self):
        return struct.unpack("q", self.map[16:24])[0]

    def set_wall(self, ahead_s):
        self.map[0:8] = struct.pack("q", ahead_s)


@pytest.mark.parametrize("how", [{"writes": EIO}, {"syncs": EIO}, {"writes": ENOSPC},
                                 {"writes": EIO, "syncs": EIO}],
                         ids=["write", "fsync", "full", "both"])
def test_nothing_is_done_that_a_broken_disk_did_not_take(tmp_path, library, how):
    with Faulty(tmp_path, library) as broker:
        broker.start()
        broker.wait_cap("confirmed", 120)
        broker.agent("web1")
        broker.wait_agents("web1")
        wait_until(lambda: max_freq(broker.sys) < FULL_KHZ, "the idle VM is lowered")
        sets, orders = broker.sets(), len(broker.rows("SET_CAP"))
        broker.fail_disk(**how)
        # The very first thing after it broke: it would have to be on disk first.
        done = broker.order(250)
        assert done.returncode == 1, done.stdout
        assert broker.n_failed() > 0
        assert broker.sets() == sets and broker.watts() == 120

        # It says so, stops acting, and goes on hearing.
        wait_until(lambda: broker.ctl("status")["read_only"], "it is read-only")
        status = broker.ctl("status")
        assert status["journal"]["failing"] and status["journal"]["reason"]
        assert "READ-ONLY" in broker.run_ctl("status").stdout
        wait_until(lambda: max_freq(broker.sys) == FULL_KHZ, "wishes are released")
        refused = broker.order(260)
        assert refused.returncode == 1 and "journal" in refused.stdout + refused.stderr
        assert broker.run_ctl("vms", "freeze", "web1").returncode == 1
        assert broker.run_ctl("reload").returncode == 1
        before = broker.vm("web1")["requests"]
        broker.requests("web1", 20, 0.050)
        wait_until(lambda: broker.vm("web1")["requests"] >= before + 20, "it still hears")
        time.sleep(1)
        assert max_freq(broker.sys) == FULL_KHZ
        assert broker.sets() == sets and broker.watts() == 120
        assert broker.vm("web1")["state"] == "running"

        # Once the disk takes rows again, all goes on; what was refused stays so.
        broker.fail_disk()
        wait_until(lambda: not broker.ctl("status")["read_only"], "it heals")
        # Its row may have been on its way; then its outcome says that it was not sent.
        for row in broker.rows("SET_CAP")[orders:]:
            outcome, = [r for r in broker.rows("OUTCOME") if r["command"] == row["command"]]
            assert outcome["detail"]["error"] and "journal" in outcome["detail"]["reason"]
        assert broker.watts() == 120 and broker.sets() == sets
        wait_until(lambda: broker.order(250).returncode == 0, "an order is taken")
        broker.wait_cap("confirmed", 250)
        assert broker.stop() == 0
        journal = subprocess.run([str(MBROKERD.parent.parent / "broker/mjournal"), "check",
                                  str(broker.state_dir / "journal/journal.db")],
                                 capture_output=True, text=True)
        assert journal.returncode in (0, 2), journal.stdout + journal.stderr


def test_a_disk_that_breaks_at_the_start_is_said_and_nothing_is_touched(tmp_path, library):
    with Faulty(tmp_path, library) as broker:
        broker.fail_disk(writes=EIO, syncs=EIO)
        broker.launch()
        assert broker.process.wait(30) != 0
        assert "journal" in broker.said()
        assert broker.sets() == 0 or broker.watts() == 120
        assert max_freq(broker.sys) == FULL_KHZ
        broker.fail_disk()
        broker.start()
        broker.wait_cap("confirmed", 120)


@pytest.mark.parametrize("jump_s", [10 * YEAR_S, -10 * YEAR_S, 3600, -3600])
def test_no_lease_beat_or_wish_follows_the_wall_clock(tmp_path, library, jump_s):
    with Faulty(tmp_path, library) as broker:
        broker.start()
        broker.wait_cap("confirmed", 120)
        broker.agent("web1")
        broker.wait_agents("web1")
        wait_until(lambda: max_freq(broker.sys) < FULL_KHZ, "the idle VM is lowered")
        began = time.monotonic()
        assert broker.order(250, "lease_ms=6000").returncode == 0
        broker.wait_cap("confirmed", 250)
        broker.set_wall(jump_s)
        wall = wait_until(lambda: broker.ctl("events", "-n", "1")["rows"], "there is a row")
        assert wall
        # Neither over at once nor later than it said, and nobody is lost.
        while time.monotonic() - began < 5.0:
            assert broker.watts() == 250
            assert broker.vm("web1")["agent"] and max_freq(broker.sys) < FULL_KHZ
            time.sleep(0.2)
        broker.wait_cap("confirmed", 120)
        assert time.monotonic() - began > 6.0
        assert broker.cap()["safe"]
        # What is new works as before: orders, violations, silence.
        assert broker.order(200, "within_ms=3000").returncode == 0
        broker.wait_cap("confirmed", 200)
        assert not broker.rows("GUEST_LOST")
        last = broker.rows("SET_CAP")[-1]
        assert abs(last["wall_ns"] / 1e9 - time.time() - jump_s) < 60  # It did jump.


def test_a_lease_that_ends_while_the_broker_is_away_ends_by_boot_time(tmp_path, library):
    with Faulty(tmp_path, library) as broker:
        broker.start()
        broker.wait_cap("confirmed", 120)
        broker.order(250, "lease_ms=3600000")
        broker.wait_cap("confirmed", 250)
        assert broker.stop() == 0
        broker.set_wall(10 * YEAR_S)
        broker.start()
        broker.wait_cap("confirmed", 250)
        lease_s = broker.cap()["lease_s"]
        assert 3400 < lease_s <= 3600
        assert broker.stop() == 0
        broker.set_wall(-10 * YEAR_S)
        broker.start()
        broker.wait_cap("confirmed", 250)
        assert broker.cap()["lease_s"] <= lease_s


# Within a beat (300 ms here), and what a busy machine may add to it.
BEAT_S, TOLERANCE_S = 0.3, 3.0


def seconds_until(condition, what):
    began = time.monotonic()
    wait_until(condition, what)
    return time.monotonic() - began


def test_a_vm_that_is_gone_is_noticed_within_a_beat(tmp_path, library):
    with Faulty(tmp_path, library) as broker:
        broker.start()
        broker.wait_cap("confirmed", 120)
        broker.agent("web1")
        broker.wait_agents("web1")
        wait_until(lambda: max_freq(broker.sys) < FULL_KHZ, "the idle VM is lowered")
        pids = broker.guest_pids()
        for pid in pids:
            os.kill(pid, 9)
        took = seconds_until(lambda: max_freq(broker.sys) == FULL_KHZ, "its CPU is released")
        assert took < BEAT_S + TOLERANCE_S
        assert broker.vm("web1")["state"] == "ended" and broker.rows("VM_GONE")
        assert pids and not any(map(is_alive, pids))


def test_an_agent_that_is_killed_is_noticed_within_a_beat(tmp_path, library):
    with Faulty(tmp_path, library) as broker:
        broker.start()
        agent = broker.agent("web1")
        broker.wait_agents("web1")
        wait_until(lambda: max_freq(broker.sys) < FULL_KHZ, "the idle VM is lowered")
        agent.kill()
        took = seconds_until(lambda: not broker.vm("web1")["agent"], "its agent is lost")
        assert took < BEAT_S + TOLERANCE_S
        wait_until(lambda: max_freq(broker.sys) == FULL_KHZ, "its CPU is released")

# SPDX-License-Identifier: Apache-2.0
"""make demo: a short run on real servers gives a summary of the right shape
within loose bounds, agents that are not blind, and leaves nothing behind,
whatever ends it.  How a summary is judged is tested on made-up ones."""
import copy
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MBROKER_BUILD") or TOP / "build").resolve()
sys.path.insert(0, str(TOP / "demo"))
import judge  # noqa: E402
import rounds  # noqa: E402

PATIENCE = 60    # Seconds until something is taken for never.
BUSY_WAIT = 180  # For another broker on these CPUs to end.
NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
needs_all = pytest.mark.skipif(
    not NGINX or not (BUILD / "broker/mbrokerd").exists(),
    reason="the demo needs nginx and a build")

GOOD = {
    "platform": {"cpus": [0, 1]},
    "policies": {
        "none": {"mean_power_w": 205.1, "requests": 2900, "agent_violation_percent": 0.4,
                 "client_violation_percent": 0.5},
        "basic": {"mean_power_w": 180.2, "requests": 2900, "agent_violation_percent": 3.1,
                  "client_violation_percent": 4.0, "saving_percent": 12.1, "raises": 12,
                  "lowerings": 20, "pstate_share": {"2.4": 0.1, "1.8": 0.6, "1.0": 0.3}}}}


class Run:
    """One run of the demo, with a directory of its own for what it makes."""

    def __init__(self, seconds, **more):
        self.tmp = tempfile.mkdtemp(prefix="mbd-")
        os.chmod(self.tmp, 0o755)
        self.output = open(os.path.join(self.tmp, "output"), "w+b")
        env = dict(os.environ, DEMO_SECONDS=str(seconds), **more)
        self.inner = os.path.join(self.tmp, "t")
        os.mkdir(self.inner, 0o755)
        env["TMPDIR"] = self.inner
        self.process = subprocess.Popen(
            [sys.executable, str(TOP / "demo/run.py"), "--build", str(BUILD)],
            env=env, stdout=self.output, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True)

    def said(self):
        return pathlib.Path(self.output.name).read_text(errors="replace")

    def wait_said(self, pattern):
        end = time.monotonic() + PATIENCE
        while not re.search(pattern, self.said(), re.M):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, "never said %s: %s" % (pattern, self.said())
            time.sleep(0.05)

    def end(self, patience=PATIENCE):
        code = self.process.wait(patience)
        return code

    def processes(self):
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid():
                try:
                    words = pathlib.Path("/proc", entry, "cmdline").read_bytes()
                except OSError:
                    continue
                if self.inner.encode() in words:
                    found.append((int(entry), words.replace(b"\0", b" ").decode()))
        return found

    def assert_nothing_left(self):
        assert self.processes() == []
        assert os.listdir(self.inner) == []
        assert self.inner not in pathlib.Path("/proc/net/unix").read_text()

    def clean(self):
        """Ends what a failed test would leave."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid, _ in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.output.close()
        shutil.rmtree(self.tmp, ignore_errors=True)


def is_refused(run):
    """CPUs belong to one broker at a time; somebody else's test may have them."""
    return "is managed by another broker" in run.said()


def begin(seconds, pattern, **more):
    """A run that has said 'pattern'."""
    end = time.monotonic() + BUSY_WAIT
    while True:
        run = Run(seconds, **more)
        try:
            run.wait_said(pattern)
            return run
        except AssertionError:
            busy = is_refused(run)
            run.clean()
            if not busy or time.monotonic() > end:
                raise
            time.sleep(3)


# A real run.


@pytest.fixture(scope="module")
def short_run():
    """Its summary and what it printed; it left nothing."""
    run = begin(25, r"^Round 1 of 2")
    try:
        code = run.end()
        said = run.said()
        assert code == 0, said
        run.assert_nothing_left()
    finally:
        run.clean()
    return json.loads((BUILD / "demo/summary.json").read_text()), said


@needs_all
def test_summary_has_its_shape(short_run):
    assert judge.shape_faults(short_run[0]) == []


@needs_all
def test_summary_is_within_loose_bounds(short_run):
    summary = short_run[0]
    none, basic = summary["policies"]["none"], summary["policies"]["basic"]
    assert none["requests"] == basic["requests"]  # The same seed.
    assert none["requests"] > 400
    assert 50 < basic["mean_power_w"] < 1000
    assert basic["lowerings"] > 0
    assert len([s for s in basic["pstate_share"].values() if s > 0]) >= 2


@needs_all
def test_agents_are_not_blind(short_run):
    if not short_run[0]["platform"]["load_real_time"]:
        pytest.skip("without a real-time priority clients count their own delays too")
    assert judge.blind_policies(short_run[0]) == []


@needs_all
def test_platform_says_what_was_real(short_run):
    platform = short_run[0]["platform"]
    assert platform["pstates"] in ("real", "emulated", "simulated")
    assert platform["power"] in ("measured", "model")
    assert platform["requests"] == "real"
    assert platform["pstates"] in short_run[1] and platform["power"] in short_run[1]


@needs_all
def test_live_lines_and_table_are_shown(short_run):
    said = short_run[1]
    assert len(re.findall(r"^ [ ~] +\d+ s +\d+/s .* W (model|measured)", said, re.M)) >= 10
    for row in ("mean power", "saving", "violations as agents", "violations as clients",
                "raises, lowerings", "time at"):
        assert row in said


@needs_all
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_a_signal_in_the_middle(signum):
    run = begin(30, r"^ [ ~] +\d+ s +\d+/s")
    try:
        assert run.processes() != []
        run.process.send_signal(signum)
        assert run.end() == 130
        run.assert_nothing_left()
    finally:
        run.clean()


@needs_all
def test_nothing_is_left_after_a_signal_at_the_start():
    run = Run(30)
    try:
        time.sleep(0.8)
        run.process.send_signal(signal.SIGINT)
        assert run.end() in (130, 1)
        run.assert_nothing_left()
    finally:
        run.clean()


@needs_all
def test_dead_broker_is_said_and_nothing_is_left():
    run = begin(30, r"^ [ ~] +\d+ s +\d+/s")
    try:
        victims = [pid for pid, words in run.processes()
                   if words.startswith(str(BUILD / "broker/mbrokerd"))]
        assert victims
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        assert run.end() == 1
        assert "demo: " in run.said()
        assert "Traceback" not in run.said()
        run.assert_nothing_left()
    finally:
        run.clean()


@needs_all
@pytest.mark.parametrize("seconds, said", [("abc", "no number of seconds"),
                                           ("-3", "no number of seconds"),
                                           ("5", "too short")])
def test_impossible_lengths_are_refused(seconds, said):
    run = Run(seconds)
    try:
        assert run.end() == 1
        assert said in run.said()
        run.assert_nothing_left()
    finally:
        run.clean()


# The plan.


@pytest.mark.parametrize("seconds", [20, 25, 39, 40, 60, 90, 119, 120, 600])
def test_plan_stays_within_its_time(seconds):
    order, each, settle = rounds.plan(seconds)
    assert [policy for policy, _ in order] == ["none", "basic"] * (len(order) // 2)
    assert all(order[i][1] == order[i + 1][1] for i in range(0, len(order), 2))
    assert len(order) * (each + rounds.PAUSE_S) + rounds.OVERHEAD_S <= seconds + 0.001
    assert 0 < settle <= each / 2


# How a summary is judged.


def changed(policy, **values):
    summary = copy.deepcopy(GOOD)
    summary["policies"][policy].update(values)
    return summary


def test_good_summary_passes():
    assert judge.shape_faults(GOOD) == []
    assert judge.blind_policies(GOOD) == []
    assert all(held for _, held in judge.expectations(GOOD))


@pytest.mark.parametrize("policy", ["none", "basic"])
@pytest.mark.parametrize("clients, agents, blind", [
    (8.0, 1.9, True), (8.0, 2.1, False), (2.1, 0.0, True), (2.0, 0.0, False),
    (0.0, 0.0, False), (40.0, 0.0, True), (40.0, 40.0, False), (3.0, 9.0, False)])
def test_blind_agents_are_told_from_seeing_ones(policy, clients, agents, blind):
    summary = changed(policy, client_violation_percent=clients,
                      agent_violation_percent=agents)
    assert judge.blind_policies(summary) == ([policy] if blind else [])
    if blind:
        assert not dict(judge.expectations(summary))[judge.AGENTS_SEE]


@pytest.mark.parametrize("policy, values, expectation", [
    ("basic", {"saving_percent": 4.9}, "Basic saves at least 5 %"),
    ("none", {"requests": 999}, "1,000 requests or more under each policy"),
    ("basic", {"raises": 0}, "p-states were both raised and lowered"),
    ("basic", {"lowerings": 0}, "p-states were both raised and lowered"),
    ("basic", {"pstate_share": {"2.4": 1.0, "1.0": 0.0}},
     "at least two p-states were used"),
    ("basic", {"client_violation_percent": 8.6},
     "clients see at most 8 points more violations than under No PM")])
def test_each_expectation_can_fail(policy, values, expectation):
    held = dict(judge.expectations(changed(policy, **values)))
    assert not held.pop(expectation)
    assert all(held.values())


@pytest.mark.parametrize("policy, values", [
    ("none", {"requests": "2900"}), ("none", {"mean_power_w": float("nan")}),
    ("none", {"requests": -1}), ("none", {"saving_percent": 3}),
    ("basic", {"raises": True}), ("basic", {"client_violation_percent": 101}),
    ("basic", {"pstate_share": {}}), ("basic", {"pstate_share": {"2.4": 0.5}}),
    ("basic", {"pstate_share": {"2.4": 1.5, "1.0": -0.5}})])
def test_misshapen_summaries_are_found(policy, values):
    assert judge.shape_faults(changed(policy, **values)) != []


def test_missing_parts_are_found():
    for policy in ("none", "basic"):
        for key in GOOD["policies"][policy]:
            summary = copy.deepcopy(GOOD)
            del summary["policies"][policy][key]
            assert judge.shape_faults(summary) != []
    assert judge.shape_faults({"policies": GOOD["policies"]}) != []
    assert judge.shape_faults({"platform": {}, "policies": {"none": {}}}) != []

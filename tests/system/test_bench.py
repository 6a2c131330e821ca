# SPDX-License-Identifier: Apache-2.0
"""The channel's bench: every carrier carries what it is given and leaves
nothing behind, bench.json is made of rounds as it says, noise is noticed, and
nothing here depends on how fast anything is."""
import glob
import json
import os
import pathlib
import subprocess
import sys

import pytest

from harness import BUILD, TOP

sys.path.insert(0, str(TOP / "bench"))
import channel  # noqa: E402
import figures  # noqa: E402
import noise  # noqa: E402
import run as driver  # noqa: E402

PROGRAM = BUILD / "bench/channel/bench-channel"
ALL = ["floor", "bare", "bare_futex", "shm", "shm_single", "unix", "pipe", "unix_seqpacket",
       "unix_stream", "tcp", "libqb", "zeromq", "nng"]
MUST = ["shm_rtt_64", "shm_rtt_4096", "shm_rate_64", "shm_copy_65536",
        "shm_ref_65536", "shm_rtt_64_sleeping", "shm_rtt_64_every_5us",
        "shm_idle_cpu", "channel_rss", "unix_rtt_64"]


def bench(*arguments):
    return subprocess.run([str(PROGRAM)] + [str(word) for word in arguments],
                          capture_output=True, text=True, timeout=120,
                          check=False)


def carriers():
    """{name: null, or why it was left out}"""
    found = {}
    for line in bench("--list").stdout.splitlines():
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        found[name] = rest[9:].strip() if rest.startswith("left out:") else None
    return found


def run_carrier(name, *arguments):
    why = carriers()[name]
    if why:
        pytest.skip(why)
    done = bench("--carrier", name, "--seconds", "0.02", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_carrier_is_there_or_said_to_be_missing():
    found = carriers()
    assert sorted(found) == sorted(ALL)
    for name, why in found.items():
        assert why is None or "is not installed" in why, name


@pytest.mark.parametrize("size", [16, 64, 1000, 4096, 65536])
@pytest.mark.parametrize("name", [c for c in ALL if c != "floor"])
def test_a_carrier_brings_back_what_was_sent(name, size):
    result = run_carrier(name, "--size", size)
    assert result["n"] > 0 and result["unit"] == "ns"
    assert 0 < result["value"] <= result["p99"]


@pytest.mark.parametrize("size", [64, 65536])
@pytest.mark.parametrize("name", [c for c in ALL if c != "floor"])
def test_a_carrier_takes_as_much_as_it_can(name, size):
    result = run_carrier(name, "--what", "rate", "--size", size,
                         "--seconds", "0.1")
    assert result["unit"] == "messages/s"


@pytest.mark.parametrize("name", ["bare_futex", "shm", "unix", "pipe",
                                  "unix_seqpacket", "unix_stream", "tcp"])
def test_a_carrier_can_sleep_while_it_waits(name):
    assert run_carrier(name, "--wait", "sleep", "--every", 5)["n"] > 0


@pytest.mark.parametrize("size", [4096, 65536, 1 << 20])
@pytest.mark.parametrize("name", ["bare", "shm"])
def test_large_data_goes_by_reference(name, size):
    run_carrier(name, "--what", "ref", "--size", size)


@pytest.mark.parametrize("what", ["idle", "rss"])
@pytest.mark.parametrize("name", ["shm", "unix"])
def test_many_channels_can_be_counted(name, what):
    result = run_carrier(name, "--what", what, "--channels", 20)
    assert result["n"] == 20 and result["value"] >= 0


def test_the_floor_is_a_floor():
    assert run_carrier("floor")["n"] > 0
    assert bench("--carrier", "floor", "--what", "rate").returncode == 2


@pytest.mark.parametrize("wrong", [
    ["--carrier", "pigeon"], [], ["--carrier", "pipe", "--size", "8"],
    ["--carrier", "pipe", "--size", "65537"], ["--carrier", "bare", "--wait", "sleep"],
    ["--carrier", "pipe", "--what", "ref"], ["--carrier", "pipe", "--cpus", "0"],
    ["--carrier", "pipe", "--seconds", "-1"], ["--carrier", "shm", "--ring", "5000"],
    ["--carrier", "bare", "--ring", "65536", "--size", "10000"],
    ["--carrier", "pipe", "more"], ["--fast"]])
def test_what_makes_no_sense_is_refused_in_a_line(wrong):
    done = bench(*wrong)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) <= 2


def test_a_run_that_is_killed_leaves_nothing_of_libqb():
    if carriers()["libqb"]:
        pytest.skip(carriers()["libqb"])
    mine = subprocess.Popen([str(PROGRAM), "--carrier", "libqb",
                             "--seconds", "30"], stderr=subprocess.PIPE)
    kids = []

    def ends():
        kids[:] = [int(word) for word in pathlib.Path(
            "/proc/%d/task/%d/children" % (mine.pid, mine.pid)).read_text().split()]
        return len(kids) == 2 and glob.glob(
            "/dev/shm/qb-%d-%d-*" % (kids[1], kids[0]))
    from harness import wait_until
    wait_until(ends, "libqb's rings in /dev/shm")
    os.kill(kids[1], 9)
    mine.communicate(timeout=60)
    assert mine.returncode == 1
    assert not glob.glob("/dev/shm/qb-%d-%d-*" % (kids[1], kids[0]))


# What is made of rounds.

def rounds(*values, p99=None):
    return [{"value": v, "p99": p99 or v} for v in values]


def test_a_figure_is_the_median_of_its_rounds():
    assert figures.median_of(rounds(1.0, 100.0, 2.0)) == 2.0
    assert figures.median_of(rounds(1.0, 2.0, p99=7.0), "p99") == 7.0
    assert figures.spread_of(rounds(9.0, 10.0, 11.0)) == pytest.approx(0.2)


def test_a_ratio_is_ours_by_theirs_also_where_more_is_better():
    assert figures.ratios(10.0, {"bare": 20.0, "libqb": 0.5, "nng": 0}) == {
        "bare": 0.5, "libqb": 20.0}


@pytest.mark.parametrize("at_least, value, target, met", [
    (False, 10.0, 10.0, True), (False, 10.1, 10.0, False),
    (True, 10.0, 10.0, True), (True, 9.9, 10.0, False)])
def test_a_target_is_met_from_the_side_that_is_better(at_least, value, target,
                                                      met):
    made = figures.figure("x", value, "ns", target, at_least=at_least)
    assert made["met"] is met


def test_a_target_is_met_only_with_its_p99():
    assert figures.figure("x", 1.0, "ns", 2.0, 3.0, 3.0)["met"] is True
    assert figures.figure("x", 1.0, "ns", 2.0, 3.1, 3.0)["met"] is False
    assert figures.figure("x", 1.0, "ns", 2.0, None, 3.0)["met"] is False


def test_without_a_target_nothing_is_met_or_missed():
    made = figures.figure("x", 1.0, "ns")
    assert made["target"] is None and made["met"] is None


def test_of_several_targets_the_strictest_counts():
    clauses = [("bare", 0.65), ("zeromq", 7), ("libqb", 30), (None, 5.0)]
    values = {"bare": 40.0, "zeromq": 4.0}
    assert figures.strictest(clauses, values, True) == 28.0
    assert figures.strictest(clauses, values, False) == 5.0
    assert figures.strictest([("bare", 1)], {}, True) is None


def test_new_figures_replace_those_of_their_bench_and_no_others():
    old = [{"name": "mine", "value": 1}, {"name": "gone", "value": 1},
           {"name": "other", "value": 1}]
    merged = figures.merge(old, ["mine", "gone"], [{"name": "mine", "value": 2}])
    assert [(f["name"], f["value"]) for f in merged] == [("other", 1), ("mine", 2)]


ROW = channel.Row("shm_rtt_64", "t", "rtt", 64, ["floor", "libqb"],
                  targets=[("floor", 1.25), ("libqb", 1)],
                  targets_p99=[("floor", 2.5)])


def measured(*floors_and_ours):
    """Rounds in which the floor was so much before and after, and ours."""
    data = channel.Rounds(ROW)
    for floor, ours in floors_and_ours:
        data.all.append((floor, floor, {
            "shm": {"value": ours, "p99": ours * 2},
            "floor": {"value": floor, "p99": floor}}))
    return data


def test_a_figure_of_the_channel_says_what_its_target_came_to():
    made, table = channel.figure_of(
        measured((100.0, 120.0), (100.0, 121.0), (100.0, 122.0)), 100.0, {})
    assert made["value"] == 121.0 and made["p99"] == 242.0
    assert made["target"] == 125.0 and made["target_p99"] == 250.0
    assert made["target_ratio"] == {"floor": 1.25}  # libqb did not run.
    assert made["ratio"] == {"floor": 1.21}
    assert made["met"] is True and made["rounds"] == 3
    assert table["floor"] == (100.0, 100.0)
    assert not made.get("noise")


def test_rounds_that_disagree_are_told():
    made, _ = channel.figure_of(
        measured((100.0, 120.0), (100.0, 121.0), (100.0, 190.0)), 100.0, {})
    assert any("differ by" in text for text in made["noise"])


def test_rounds_of_a_machine_that_moved_do_not_count_and_are_told():
    made, _ = channel.figure_of(
        measured((100.0, 120.0), (400.0, 500.0), (101.0, 121.0)), 100.0, {})
    assert made["value"] == 120.5 and made["rounds"] == 2
    assert any("another machine" in text for text in made["noise"])


def test_if_no_round_fits_all_count():
    made, _ = channel.figure_of(measured((400.0, 500.0)), 100.0, {})
    assert made["value"] == 500.0


def test_without_ours_there_is_no_figure():
    data = channel.Rounds(ROW)
    data.all.append((1.0, 1.0, {"floor": {"value": 1.0, "p99": 1.0}}))
    assert channel.figure_of(data, 1.0, {})[0] is None


@pytest.mark.parametrize("at_least, ratio, percent", [
    (False, 1.04, 4.0), (False, 0.99, -1.0), (True, 0.8, 25.0)])
def test_what_checks_cost_is_how_much_worse_the_figure_is(at_least, ratio, percent):
    made = figures.figure("shm_rtt_64", 1.0, "ns", at_least=at_least,
                          ratio={"unchecked": ratio})
    cost, = channel.hardening([made, figures.figure("other", 1.0, "ns")])
    assert cost["name"] == "hardening_rtt_64"
    assert cost["value"] == pytest.approx(percent)
    assert cost["met"] is (percent <= 5)


def test_others_and_a_stealing_host_are_noise():
    watch = noise.Watch()
    watch.wall, cpus = 10.0, os.cpu_count()
    assert watch.complaints() == []
    watch.others, watch.stolen = 1.0 * cpus, 0.5 * cpus
    assert watch.shares() == (pytest.approx(10.0), pytest.approx(5.0))
    assert len(watch.complaints()) == 2


def test_the_promised_figures_have_the_promised_peers():
    rows = {row.name: row for row in channel.rows()}
    assert set(MUST) <= set(channel.FIGURES)
    wanted = {"shm_rtt_64": ["floor"], "shm_rtt_4096": ["bare"],
              "shm_copy_65536": ["bare"],
              "shm_rate_64": ["bare", "libqb", "zeromq"],
              "shm_rtt_64_sleeping": ["bare_futex", "libqb", "unix_seqpacket"]}
    for name, peers in wanted.items():
        assert set(peers) <= set(rows[name].carriers), name
    for row in rows.values():
        assert set(row.carriers) <= set(ALL + ["unchecked"]), row.name


def test_the_table_fits_into_a_hundred_columns(capsys):
    made = [figures.figure("shm_rtt_64_sleeping_unpinned", 123456.789, "ns",
                           23456.0, 45678.9, ratio={"bare_futex": 1234.5,
                                                    "unix_seqpacket": 0.001}),
            figures.figure("shm_rate_64", 8.1e7, "messages/s", 5e7,
                           at_least=True, ratio={"bare": 0.97, "libqb": 91.0}),
            figures.figure("left_after_kills", 0, "files, fds and mappings", 0)]
    figures.show(made)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert "MISSED" in lines[1] and "met" in lines[2] and "≥ 50 M/s" in lines[2]


def test_a_short_run_writes_bench_json(tmp_path):
    out = tmp_path / "bench.json"
    out.write_text(json.dumps([{"name": "kept", "value": 1, "unit": "%", "p99": None,
                                "ratio": {}, "target": None, "met": None}]))
    done = subprocess.run(
        [sys.executable, str(TOP / "bench/run.py"), "--build", str(BUILD),
         "--json", str(out), "--quick", "shm_rtt_64", "shm_rate_64",
         "channel_rss", "shm_idle_cpu"],
        capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {f["name"]: f for f in json.loads(out.read_text())}
    wanted = {"kept", "shm_idle_cpu", "channel_rss"}
    if len(os.sched_getaffinity(0)) > 1:
        wanted |= {"shm_rtt_64", "shm_rate_64", "hardening_rtt_64",
                   "hardening_rate_64"}
        assert found["shm_rtt_64"]["ratio"]["floor"] > 0
        assert found["shm_rate_64"]["at_least"] is True
    assert set(found) == wanted
    for f in found.values():
        assert {"name", "value", "unit", "p99", "ratio", "target", "met"} <= set(f)
    assert not [line for line in done.stdout.splitlines() if len(line) > 100]


def test_a_name_that_is_no_bench_is_refused():
    done = subprocess.run([sys.executable, str(TOP / "bench/run.py"), "speed"],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "no bench speed" in done.stderr


def test_a_round_that_counted_nothing_is_tried_once_more_and_longer(monkeypatch):
    tried = []

    def once(_self, _arguments, seconds, _pinned, _program):
        tried.append(seconds)
        return {"n": counts.pop(0)}

    monkeypatch.setattr(channel.Runner, "run_once", once)
    runner = object.__new__(channel.Runner)
    counts = [0, 7]
    assert runner.run([], 0.5, True) == {"n": 7}
    assert tried == [0.5, 5.0]
    counts = [0, 0]
    with pytest.raises(RuntimeError, match="nothing was counted in 5 s"):
        runner.run([], 0.5, True)


def test_a_table_without_ours_says_why_and_shows_the_others(capsys):
    class Ran:
        left_out = {}
        failures = {("shm_rate_64", "shm"): "nothing was counted in 0.3 s"}

    row = next(row for row in channel.rows() if row.name == "shm_rate_64")
    channel.show_row(Ran, row, None, {"bare": (5e7, 5e7), "zeromq": (4e6, 4e6)})
    shown = capsys.readouterr().out
    assert "left out: nothing was counted in 0.3 s" in shown
    assert "50 M/s" in shown and "met" not in shown.lower()


def test_benches_name_the_figures_they_replace():
    import importlib
    seen = set()
    for name in driver.BENCHES:
        names = set(importlib.import_module(name).FIGURES)
        assert names and not names & seen
        seen |= names

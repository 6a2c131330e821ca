# SPDX-License-Identifier: Apache-2.0
"""What msim promises beyond its scenarios: runs repeat, failures say what to do,
bad files are refused by line.

usage: msim.py MSIM SCENARIO...      (speaks TAP)
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile

MSIM, SCENARIOS = sys.argv[1], sys.argv[2:]
GOOD = """about = "x";
duration_s = 2;
host = { cpus = [0]; };
guests = ( { name = "web"; cpu = 0; load = ( { at_s = 0; rate = 9; } ); } );
expect = ( { at_s = 1; cpu = 0; pstate = %s; } );
"""


def msim(*args):
    return subprocess.run([MSIM, *map(str, args)], capture_output=True, text=True)


def write(folder, text, name="made.scn"):
    path = pathlib.Path(folder) / name
    path.write_text(text)
    return path


def hashes(*args):
    return [r["trace"] for r in json.loads(msim("--json", *args, *SCENARIOS).stdout)]


def every_scenario_is_listed(folder):
    here = pathlib.Path(__file__).parent
    listed = {os.path.basename(path) for path in SCENARIOS}
    assert {p.name for p in here.glob("*.scn")} == listed


def the_same_seed_gives_the_same_trace(folder):
    first = hashes()
    assert len(first) == len(SCENARIOS) and first == hashes()


def another_seed_gives_another_trace(folder):
    # Where nothing is left to chance, no seed matters.
    pairs = list(zip(hashes("--seed", 98), hashes("--seed", 99)))
    assert sum(a != b for a, b in pairs) > len(pairs) / 4


def a_trace_is_the_same_written_or_not(folder):
    path = SCENARIOS[0]
    quiet, loud = msim(path), msim("--trace", path)
    assert quiet.stdout == loud.stdout
    assert "HELLO" in loud.stderr or "GUEST_UP" in loud.stderr


def a_failure_says_expected_seen_and_how_to_repeat(folder):
    path = write(folder, GOOD % "3")
    result = msim(path)
    assert result.returncode == 1
    assert "expected pstate of cpu 0 is 3 at 1 s" in result.stdout
    assert "seen 0 at 1 s" in result.stdout
    assert "%s:5:" % path in result.stdout
    command = result.stdout.split("to repeat: ")[1].strip()
    again = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert again.stdout == result.stdout


def a_failure_is_not_ok_in_tap(folder):
    good = write(folder, GOOD % "0", "good.scn")
    bad = write(folder, GOOD % "[2, 4]", "bad.scn")
    result = msim("--tap", good, bad)
    lines = result.stdout.splitlines()
    assert lines[:3] == ["1..2", "ok 1 - good", "not ok 2 - bad"]
    assert all(line.startswith("#") for line in lines[3:]) and result.returncode == 1


def json_has_each_expectation(folder):
    result = json.loads(msim("--json", write(folder, GOOD % "0")).stdout)[0]
    assert result["passed"] and result["name"] == "made" and result["requests"] > 0
    assert result["expect"] == [{"line": 5, "expected": "pstate of cpu 0 is 0 at 1 s",
                                 "met": True, "seen": "0", "at_s": 1.0}]


def a_broken_file_does_not_stop_the_next(folder):
    bad = write(folder, "about = ;\n", "bad.scn")
    good = write(folder, GOOD % "0", "good.scn")
    result = msim(bad, good)
    assert result.returncode == 2
    assert "%s:1:" % bad in result.stderr and result.stdout.startswith("ok   good")


def a_missing_file_and_a_folder_are_named(folder):
    missing = pathlib.Path(folder) / "none.scn"
    result = msim(missing)
    assert result.returncode == 2 and "No such file" in result.stderr
    assert msim(folder).returncode == 2


def what_is_no_text_is_refused(folder):
    path = pathlib.Path(folder) / "raw.scn"
    path.write_bytes(b"about = \"x\";\0\0")
    assert "has NUL bytes" in msim(path).stderr
    path.write_bytes(b"#" * (1 << 21))
    assert "longer than 1 MiB" in msim(path).stderr


def wrong_arguments_are_refused(folder):
    assert msim().returncode == 2
    assert msim("--seed", "many", SCENARIOS[0]).returncode == 2
    assert msim("--no-such-option").returncode == 2


def tables_name_every_gauge_and_fault_of_the_manual(folder):
    page = (pathlib.Path(__file__).parents[2] / "sim/msim.1").read_text()
    for option in ("--gauges", "--faults"):
        names = [line.split()[0] for line in msim(option).stdout.splitlines()]
        missing = [name for name in names if ".It Ic %s" % name not in page]
        assert names and not missing, missing


def the_example_of_the_manual_holds(folder):
    page = (pathlib.Path(__file__).parents[2] / "sim/msim.1").read_text()
    example = page.split(".Bd -literal\n")[1].split(".Ed")[0]
    result = msim(write(folder, example))
    assert result.returncode == 0, result.stdout + result.stderr


def seeds_are_explored_and_counted(folder):
    result = msim("--seeds", 8, "--first", 3)
    assert result.returncode == 0, result.stdout
    assert result.stdout.startswith("8 seeds run, 0 violations")
    found = json.loads(msim("--seeds", 3, "--json").stdout)
    assert found["seeds"] == 3 and found["violations"] == 0 and found["faults"] > 0
    assert msim("--seeds", 3, "--first", "x").returncode == 2


def what_is_drawn_is_a_scenario_that_runs_the_same(folder):
    text = msim("--draw", 12).stdout
    path = write(folder, text)
    first, second = [json.loads(msim("--json", path).stdout)[0] for _ in range(2)]
    assert first["passed"] and first["trace"] == second["trace"]
    assert text == msim("--draw", 12).stdout != msim("--draw", 13).stdout
    assert msim("--draw", "x").returncode == 2


TESTS = [seeds_are_explored_and_counted, what_is_drawn_is_a_scenario_that_runs_the_same,
         every_scenario_is_listed, the_same_seed_gives_the_same_trace,
         another_seed_gives_another_trace, a_trace_is_the_same_written_or_not,
         a_failure_says_expected_seen_and_how_to_repeat, a_failure_is_not_ok_in_tap,
         json_has_each_expectation, a_broken_file_does_not_stop_the_next,
         a_missing_file_and_a_folder_are_named, what_is_no_text_is_refused,
         wrong_arguments_are_refused, the_example_of_the_manual_holds,
         tables_name_every_gauge_and_fault_of_the_manual]

print("1..%d" % len(TESTS))
for number, test in enumerate(TESTS, 1):
    with tempfile.TemporaryDirectory() as folder:
        try:
            test(folder)
            print("ok %d - %s" % (number, test.__name__), flush=True)
        except Exception as error:
            print("not ok %d - %s\n# %r" % (number, test.__name__, error), flush=True)

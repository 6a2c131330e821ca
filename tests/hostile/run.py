#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The long attack: as many writes as were asked for, of random and of plausible
values, into what a channel shares; frames that are nearly right, over a socket;
then the first attack on libqb, and all in one table.

usage: run.py [--build DIR] [--writes N] [--frames N] [--minutes N] [--seed N]

Writes BUILD/hostile.json; if that is of a run of the very same program that ended
before its time was enough, goes on from there. The exit status is 1 if the channel was harmed or the
writes did not fit into the time; what becomes of libqb does not matter to it.
"""
import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile


def version(program):
    """What tells one version of attacker and victim from another."""
    return hashlib.sha256(program.read_bytes()).hexdigest()


def done_before(args, build, program):
    """What an earlier run of this program left unfinished, or None."""
    try:
        before = json.loads((build / "hostile.json").read_text())
    except (OSError, ValueError):
        return None
    unfinished = before["writes"] < args.writes and not before["failures"]
    same = before.get("seed") == args.seed \
        and before.get("program") == version(program)
    return before if unfinished and same else None


def add(before, now):
    """Both runs in one: counts add up, what is worst stays the worst."""
    for key, value in before.items():
        if key == "reasons":
            for reason, n in value.items():
                now[key][reason] = now[key].get(reason, 0) + n
        elif key == "growth_kib":
            now[key] = max(now[key], value)
        elif key not in ("seed", "libqb", "program", "streams") and isinstance(value, (int, float)):
            now[key] += value


def attack_us(args, build):
    program = build / "tests/hostile/hostile"
    before = done_before(args, build, program)
    writes, first = args.writes, 0
    if before:
        writes, first = writes - before["writes"], before["stages"]
        print("going on behind stage %d and %d writes" % (
            first, before["writes"]))
    with tempfile.TemporaryDirectory() as place:
        path = pathlib.Path(place) / "json"
        subprocess.run([program, "--writes", str(writes),
                        "--stage", str(max(args.writes // 100, 1000)),
                        "--minutes", str(args.minutes), "--first", str(first),
                        "--seed", str(args.seed), "--json", path])
        ours = json.loads(path.read_text())
    ours["seed"] = args.seed
    ours["program"] = version(program)
    if before:
        add(before, ours)
    return ours


def attack_streams(args, build):
    """The same victim over a socket, by frames."""
    with tempfile.TemporaryDirectory() as place:
        path = pathlib.Path(place) / "json"
        subprocess.run([build / "tests/hostile/hostile", "--streams",
                        "--writes", str(args.frames),
                        "--stage", str(max(args.frames // 10, 1000)),
                        "--minutes", str(args.minutes),
                        "--seed", str(args.seed), "--json", path])
        return json.loads(path.read_text())


def attack_libqb(build):
    """Its figures, or why there are none."""
    program = build / "tests/hostile/hostile_libqb"
    if not os.access(program, os.X_OK):
        return None, "libqb is left out: libqb-dev was not there at build time"
    done = subprocess.run([program], capture_output=True, text=True)
    if done.returncode:
        return None, "libqb is left out: " + done.stderr.strip()
    return json.loads(done.stdout), None


def deaths(libqb, key):
    """Of libqb's servers, what became of those attacked in one way."""
    of = libqb[key]
    if not of["died"]:
        return "0 of %d (%d writes)" % (of["servers"], of["writes_survived"])
    return "%d of %d (SIG%s, after %d to %d writes, %.0f on average)" % (
        of["died"], of["servers"], of["signal"],
        of["writes_until_death"]["least"], of["writes_until_death"]["most"],
        of["writes_until_death"]["mean"])


def table(ours, libqb):
    """Our attacker mixes plausible and random values; libqb is told apart."""
    rows = [("", "M-channel", "libqb")]
    rows.append(("writes, random and plausible mixed", "%d" % ours["writes"], ""))
    rows.append(("died, of values half of them plausible", str(ours["crashes"]),
                 deaths(libqb, "half_plausible") if libqb else "-"))
    rows.append(("died, of wholly random values", "(among the above)",
                 deaths(libqb, "random") if libqb else "-"))
    rows.append(("died, of %d frames over a socket" % ours["streams"]["writes"],
                 str(ours["streams"]["crashes"]), "-"))
    rows.append(("hangs", str(ours["hangs"] + ours["streams"]["hangs"]), "-"))
    rows.append(("peers thrown out for a named reason",
                 str(ours["violations"] + ours["streams"]["violations"]), "-"))
    rows.append(("left in /dev/shm by killed servers", "0 (make test-death)",
                 "%d of %d, %.1f MiB each" % (
                     libqb["left_in_dev_shm"], libqb["killed"],
                     libqb["bytes_left"] / libqb["killed"] / 2**20)
                 if libqb else "-"))
    return "\n".join("%-39s %-20s %s" % row for row in rows)


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("\n\n")[1][7:])
    parser.add_argument("--build", default="build")
    parser.add_argument("--writes", type=int, default=100_000_000)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    build = pathlib.Path(args.build).resolve()
    ours = attack_us(args, build)
    ours["streams"] = attack_streams(args, build)
    ours["libqb"], missing = attack_libqb(build)
    (build / "hostile.json").write_text(json.dumps(ours, indent=2) + "\n")
    print()
    print(table(ours, ours["libqb"]))
    if missing:
        print(missing)
    short = ours["writes"] < args.writes and not ours["failures"]
    if short:
        print("only %d of %d writes fitted into %d minutes: MISSED; "
              "the same command goes on" % (
                  ours["writes"], args.writes, args.minutes))
    failures = ours["failures"] + ours["streams"]["failures"]
    sys.exit(1 if failures or short else 0)


main()

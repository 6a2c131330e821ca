#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the benches and keeps their figures in BUILD/bench.json.

usage: run.py [--build DIR] [--rounds N] [--seconds N] [NAME...]

A bench is a file NAME.py here with

    def run(bed) -> list of figures made by bed.figure()

which prints its own table. Where what it needs is missing it raises
bed.Missing with the reason; that is said aloud and its old figures are taken
out, so that bench.json never shows what was not measured. The exit status is 1
if a bench failed or could not run, and 0 also if a target was missed: the
machine may be busy, and the figure says so itself.
"""
import argparse
import importlib
import json
import os
import sys
import tempfile

BENCHES = ["agent_cost", "notice_to_pstate"]


class Missing(Exception):
    """What a bench needs is not here."""


class Bed:
    """What a bench is given."""

    Missing = Missing

    def __init__(self, args):
        self.build = os.path.abspath(args.build)
        self.rounds = args.rounds
        self.seconds = args.seconds

    def program(self, path):
        """The path of a program that the build made."""
        full = os.path.join(self.build, path)
        if not os.access(full, os.X_OK):
            raise Missing("%s is not built" % path)
        return full

    @staticmethod
    def figure(name, value, unit, target, p99=None, target_p99=None):
        """A figure as bench.json has it; smaller is better."""
        met = value <= target
        if target_p99 is not None:
            met = met and p99 is not None and p99 <= target_p99
        return {"name": name, "value": round(value, 4), "unit": unit,
                "p99": None if p99 is None else round(p99, 4),
                "target": round(target, 4), "met": met}


def load(path):
    try:
        with open(path) as file:
            return json.load(file)
    except FileNotFoundError:
        return []


def store(path, figures):
    """Writes the file whole or not at all."""
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    with os.fdopen(fd, "w") as file:
        file.write("[\n" + ",\n".join("  " + json.dumps(f) for f in figures)
                   + "\n]\n")
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)


def merge(old, bench_names, new):
    """The old figures of other benches, then the new ones."""
    names = {figure["name"] for figure in new} | bench_names
    return [f for f in old if f["name"] not in names] + new


def show(figures):
    print("%-20s %12s %12s %12s  %s" % ("figure", "value", "p99", "target",
                                        ""))
    for f in figures:
        p99 = "-" if f["p99"] is None else "%.4g %s" % (f["p99"], f["unit"])
        print("%-20s %12s %12s %12s  %s" % (
            f["name"], "%.4g %s" % (f["value"], f["unit"]), p99,
            "%.4g %s" % (f["target"], f["unit"]),
            "met" if f["met"] else "MISSED"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help="one of: " + " ".join(BENCHES))
    args = parser.parse_args()
    for name in args.names:
        if name not in BENCHES:
            parser.error("no bench %s; there are: %s"
                         % (name, " ".join(BENCHES)))
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    bed = Bed(args)
    path = os.path.join(bed.build, "bench.json")
    figures, failed = load(path), False
    for name in args.names or BENCHES:
        module = importlib.import_module(name)
        new = []
        print("== %s" % name, flush=True)
        try:
            new = module.run(bed)
        except Missing as why:
            print("%s: left out: %s" % (name, why))
            failed = True
        except Exception as why:  # pylint: disable=broad-except
            print("%s: failed: %s: %s" % (name, type(why).__name__, why))
            failed = True
        figures = merge(figures, set(module.FIGURES), new)
        store(path, figures)
        print(flush=True)
    show(figures)
    print("written to %s" % path)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

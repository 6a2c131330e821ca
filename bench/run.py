#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the benches and keeps their figures in BUILD/bench.json (or FILE).

usage: run.py [--build DIR] [--json FILE] [--rounds N] [--seconds N]
              [--quick] [--shield] [NAME...]

NAME is a bench, or a figure of the channel's. A bench is a file NAME.py here
with

    FIGURES, the names of its figures
    def run(bed) -> list of figures made by figures.figure()

which prints its own table. Where what it needs is missing it raises
bed.Missing with the reason; that is said aloud and its old figures are taken
out, so that bench.json never shows what was not measured. The exit status is 1
if a bench failed or could not run, and 0 also if a target was missed: the
machine may be busy, and the figure says so itself.
"""
import argparse
import importlib
import os
import sys

import figures

BENCHES = ["channel", "peer_death", "agent_cost", "notice_to_pstate",
           "noisy_neighbour"]


class Missing(Exception):
    """What a bench needs is not here."""


class Bed:
    """What a bench is given."""

    Missing = Missing

    def __init__(self, args):
        self.build = os.path.abspath(args.build)
        self.rounds = args.rounds
        self.seconds = args.seconds
        self.quick = args.quick
        self.shield = args.shield
        self.only = []  # Figures of the channel's, if not all.
        self.failed = False

    def program(self, path):
        """The path of a program that the build made."""
        full = os.path.join(self.build, path)
        if not os.access(full, os.X_OK):
            raise Missing("%s is not built" % path)
        return full


def parse(channel_figures):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--json", help="instead of BUILD/bench.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10,
                        help="of each round of the agents' benches")
    parser.add_argument("--quick", action="store_true",
                        help="a short look, for figures that are not kept for "
                        "long")
    parser.add_argument("--shield", action="store_true",
                        help="on a busy machine, as root: run the channels' "
                        "ends before all other processes")
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help="one of: " + " ".join(BENCHES)
                        + ", or a figure of the channel's")
    args = parser.parse_args()
    for name in args.names:
        if name not in BENCHES and name not in channel_figures:
            parser.error("no bench %s; there are: %s"
                         % (name, " ".join(BENCHES + channel_figures)))
    if args.quick:
        args.rounds, args.seconds = 1, min(args.seconds, 2)
    return args


def run_one(bed, name):
    """The figures of a bench, and whether it was all well."""
    module = importlib.import_module(name)
    print("== %s" % name, flush=True)
    made, failed = [], True
    try:
        made = module.run(bed)
        failed = bed.failed
    except Missing as why:
        print("%s: left out: %s" % (name, why))
    except Exception as why:  # pylint: disable=broad-except
        print("%s: failed: %s: %s" % (name, type(why).__name__, why))
    print(flush=True)
    return made, failed


def main():
    channel_figures = importlib.import_module("channel").FIGURES
    args = parse(channel_figures)
    bed = Bed(args)
    bed.only = [name for name in args.names if name in channel_figures]
    wanted = [name for name in BENCHES
              if name in args.names or not args.names
              or (name == "channel" and bed.only)]
    if "channel" in args.names:
        bed.only = []
    path = args.json or os.path.join(bed.build, "bench.json")
    kept, failed = figures.load(path), False
    for name in wanted:
        made, wrong = run_one(bed, name)
        failed |= wrong
        names = importlib.import_module(name).FIGURES
        if name == "channel" and bed.only:
            names = bed.only  # And what came along is replaced by name.
        kept = figures.merge(kept, names, made)
        figures.store(path, kept)
    figures.show(kept)
    noisy = [f["name"] for f in kept if f.get("noise")]
    if noisy:
        print("the machine was noisy, or CPUs were moved: %d of %d figures say "
              "so" % (len(noisy), len(kept)))
    print("written to %s" % path)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

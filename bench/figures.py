# SPDX-License-Identifier: Apache-2.0
"""Figures as bench.json has them: how they are made of rounds, held against
targets, kept and shown. Measures nothing itself; run.py and the benches call it.

A figure is a dict with at least name, value, unit, p99, ratio, target and met.
Of what is measured in rounds the value is their median. "ratio" says ours ÷
theirs for each limit or peer measured in the same rounds, also where more is
better. Where a target is a ratio, "target" is what it came to in this run, and
"target_ratio" the ratio itself. Without a target both it and met are null.
"""
import json
import os
import statistics
import tempfile
import textwrap

SPREAD_NOISY = 0.15  # (most - least) / median of the rounds.

WIDTH = 100  # Of what is printed.

# Per unit: from which value on it is shown as what, divided by what.
SHOWN = {
    "ns": [(1e6, "ms", 1e6), (1e3, "us", 1e3), (0, "ns", 1)],
    "us": [(1e3, "ms", 1e3), (0, "us", 1)],
    "messages/s": [(1e6, "M/s", 1e6), (1e3, "k/s", 1e3), (0, "/s", 1)],
}


def rounded(value):
    return None if value is None else float("%.6g" % value)


def figure(name, value, unit, target=None, p99=None, target_p99=None, *,
           at_least=False, ratio=None, **more):
    """Smaller is better, unless 'at_least'. 'more' goes along as it is."""
    met = None
    if target is not None:
        met = value >= target if at_least else value <= target
    if met is not None and target_p99 is not None:
        met = met and p99 is not None and p99 <= target_p99
    made = {"name": name, "value": rounded(value), "unit": unit,
            "p99": rounded(p99),
            "ratio": {key: rounded(r) for key, r in (ratio or {}).items()},
            "target": rounded(target), "met": met}
    if at_least:
        made["at_least"] = True
    if target_p99 is not None:
        made["target_p99"] = rounded(target_p99)
    made.update(more)
    return made


def median_of(rounds, key="value"):
    return statistics.median(r[key] for r in rounds)


def spread_of(rounds):
    """How far the rounds are apart, as a share of their median."""
    values = [r["value"] for r in rounds]
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def ratios(ours, theirs):
    """Of medians: ours ÷ theirs, for each of 'theirs' that was measured."""
    return {key: ours / value for key, value in theirs.items() if value}


def strictest(clauses, values, at_least):
    """The target that factors of what others measured come to. 'clauses' are
    pairs of a key (null: the factor is the target) and a factor; what was not
    measured asks for nothing."""
    wanted = [factor if key is None else factor * values[key]
              for key, factor in clauses if key is None or key in values]
    if not wanted:
        return None
    return max(wanted) if at_least else min(wanted)


# Keeping.

def load(path):
    try:
        with open(path) as file:
            return json.load(file)
    except FileNotFoundError:
        return []


def store(path, figures):
    """Writes the file whole or not at all."""
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".")
    with os.fdopen(fd, "w") as file:
        file.write("[\n" + ",\n".join("  " + json.dumps(f) for f in figures)
                   + "\n]\n")
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)


def merge(old, bench_names, new):
    """The old figures of other benches, then the new ones."""
    names = {f["name"] for f in new} | set(bench_names)
    return [f for f in old if f["name"] not in names] + new


# Showing.

def shown(value, unit):
    if value is None:
        return "-"
    if len(unit) > 10:
        unit = ""  # Too long for a table; the bench said it.
    for least, name, divisor in SHOWN.get(unit, []):
        if abs(value) >= least:
            return "%.3g %s" % (value / divisor, name)
    return ("%.3g %s" % (value, unit)).rstrip()


def shown_ratio(ratio):
    return "%.2f" % ratio if ratio < 9.995 else "%.0f" % ratio \
        if ratio < 1e5 else "%.2g" % ratio


def shown_target(f):
    if f["target"] is None:
        return ""
    text = ("≥ " if f.get("at_least") else "≤ ") + shown(f["target"], f["unit"])
    return text


def verdict(f):
    return {True: "met", False: "MISSED", None: ""}[f["met"]]


def say(text):
    """Prints a sentence of any length."""
    print(textwrap.fill(text, WIDTH, subsequent_indent="  ",
                        break_long_words=False), flush=True)


def show(figures):
    """The summary, with as many ratios as there is room for."""
    print("%-29s %9s %9s %11s %-6s  %s" % ("figure", "value", "p99",
                                             "target", "", "ours ÷ theirs"))
    for f in figures:
        limits = ["floor", "bare", "bare_futex"]
        keys = [k for k in limits if k in f["ratio"]] \
            + [k for k in f["ratio"] if k not in limits]
        line = "%-29s %9s %9s %11s %-6s " % (
            f["name"], shown(f["value"], f["unit"]),
            shown(f["p99"], f["unit"]), shown_target(f), verdict(f))
        for key in keys:
            about = " %s %s" % (shown_ratio(f["ratio"][key]), key)
            if len(line) + len(about) > WIDTH:
                break
            line += about
        print(line.rstrip())

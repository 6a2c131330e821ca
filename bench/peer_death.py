# SPDX-License-Identifier: Apache-2.0
"""What a channel's user sees of its peer's death: how long until PEER_LOST, how
long until messages flow with the peer's replacement, and what is left of the
dead. tests/death/kills kills and looks; `make test-death` is its long run. The
figures are those of the worst of: client or listener killed, and the survivor
polling or asleep, over shared memory.
"""
import json
import os
import subprocess
import tempfile

import figures

FIGURES = ["peer_lost", "traffic_again", "left_after_kills"]
KILLS, KILLS_QUICK = 200, 20


def run(bed):
    program = bed.program("tests/death/kills")
    kills = KILLS_QUICK if bed.quick else KILLS
    with tempfile.TemporaryDirectory(prefix="mbroker-bench-") as work:
        path = os.path.join(work, "death.json")
        # It fails when something is left, which is a figure here.
        done = subprocess.run(
            [program, "--kills", str(kills), "--only", "shm", "--json", path],
            capture_output=True, text=True, timeout=900, check=False)
        if not os.path.exists(path):
            raise RuntimeError(done.stderr.strip()[-500:] or "no figures")
        with open(path) as file:
            reports = json.load(file)
    print(done.stdout.rstrip())
    broken = [report["failure"] for report in reports if report["failure"]]
    if broken:
        raise RuntimeError("; ".join(broken))
    made = []
    for name, target in (("peer_lost", 1.0), ("traffic_again", 5.0)):
        cases = [case for report in reports
                 for case in report[name + "_ms"].values() if case["n"]]
        worst = max(cases, key=lambda case: case["p50"])
        made.append(figures.figure(name, worst["p50"], "ms", target,
                                   max(case["p99"] for case in cases)))
    left = sum(count for report in reports
               for what, count in report["left"].items() if what != "rss_kib")
    made.append(figures.figure("left_after_kills", left,
                               "files, fds and mappings", 0))
    return made

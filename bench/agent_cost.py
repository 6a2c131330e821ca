# SPDX-License-Identifier: Apache-2.0
"""What magentd costs beside collectd's tail plug-in, on the same kind of log in
the same run: 2,000 lines a second, in interleaved rounds, medians.

Both read '$msec $request_time $status'. magentd counts violations of 3 ms in
epochs of 500 ms and tells a broker's end of a real channel; collectd's tail
averages the response times with a regular expression each second and writes
them to a CSV file. A round that did not see its lines is no round.
"""
import glob
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time

import figures

FIGURES = ["agent_cpu", "agent_rss"]

LINES_PER_SECOND = 2000
WARM_UP = 2.0  # Seconds before the measurement starts.
SEEN_MIN = 0.9  # Of the lines that were written.

COLLECTD_CONF = """
Hostname "bench"
FQDNLookup false
Interval 1
BaseDir "{dir}"
PIDFile "{dir}/collectd.pid"
TypesDB "/usr/share/collectd/types.db"
LoadPlugin tail
LoadPlugin csv
<Plugin csv>
  DataDir "{dir}/csv"
</Plugin>
<Plugin tail>
  <File "{dir}/access.log">
    Instance "web"
    Interval 1
    <Match>
      Regex "^[0-9.]+ ([0-9.]+) [0-9]+"
      DSType "GaugeAverage"
      Type "response_time"
      Instance "all"
    </Match>
  </File>
</Plugin>
"""


def cpu_seconds(pid):
    """CPU time of all threads, from the scheduler's nanoseconds."""
    total = 0
    for path in glob.glob("/proc/%d/task/*/schedstat" % pid):
        with open(path) as file:
            total += int(file.read().split()[0])
    return total / 1e9


def rss_mb(pid):
    with open("/proc/%d/status" % pid) as file:
        return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) / 1e3


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measure(pid, seconds):
    """(CPU in percent of a core, RSS in MB) over the time."""
    time.sleep(WARM_UP)
    began, before = time.monotonic(), cpu_seconds(pid)
    time.sleep(seconds)
    after, ended = cpu_seconds(pid), time.monotonic()
    return (after - before) / (ended - began) * 100, rss_mb(pid)


def start_bed(bed, work, seconds):
    """The log's writer and the broker's end of the channel."""
    return subprocess.Popen(
        [bed.program("bench/agent_bed"), "unix:%s/channel" % work,
         work + "/access.log", str(LINES_PER_SECOND), str(int(seconds))],
        stdout=subprocess.PIPE, text=True)


def wait_for_log(work):
    for _ in range(100):
        if os.path.exists(work + "/access.log"):
            return
        time.sleep(0.05)
    raise RuntimeError("the log's writer did not start")


def round_of(bed, command, check):
    """One round: the program on a log of its own; check() tells the lines it
    saw, given the writer's counts."""
    work = tempfile.mkdtemp(prefix="mbroker-bench-")
    writer = program = None
    try:
        writer = start_bed(bed, work, WARM_UP + bed.seconds + 2)
        wait_for_log(work)
        program = subprocess.Popen(command(work), stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
        cost = measure(program.pid, bed.seconds)
        if program.poll() is not None:
            raise RuntimeError("%s ended with %d" % (program.args[0],
                                                     program.returncode))
        counts = json.loads(writer.communicate()[0].splitlines()[-1])
        end(program)
        seen = check(work, counts)
        if seen < SEEN_MIN * LINES_PER_SECOND * bed.seconds:
            raise RuntimeError("%s saw %d of %d lines" % (
                program.args[0], seen, counts["lines"]))
        return cost
    finally:
        for process in (program, writer):
            if process:
                end(process)
        shutil.rmtree(work, ignore_errors=True)


def magentd(bed):
    def command(work):
        return [bed.program("agent/magentd"), "--log-level", "error",
                "--channel", "unix:%s/channel" % work, "--probe",
                "httplog:path=%s/access.log,format=nginx" % work]
    return round_of(bed, command, lambda work, counts: counts["requests"])


def collectd(bed):
    program = shutil.which("collectd", path=os.environ["PATH"] + ":/usr/sbin")
    if not program:
        raise bed.Missing("collectd is not installed (tools/bootstrap --all)")

    def command(work):
        with open(work + "/collectd.conf", "w") as file:
            file.write(COLLECTD_CONF.format(dir=work))
        return [program, "-f", "-C", work + "/collectd.conf"]

    def lines(work, _):
        """It writes one average a second; each stands for a second's lines."""
        n_averages = 0
        for path in glob.glob(work + "/csv/bench/tail-web/response_time-*"):
            with open(path) as file:
                values = [row.partition(",")[2].strip() for row in file][1:]
            n_averages += sum(1 for value in values if value != "nan")
        return n_averages * LINES_PER_SECOND
    return round_of(bed, command, lines)


def run(bed):
    rows = {"magentd": [], "collectd tail": []}
    for _ in range(max(3, bed.rounds)):
        rows["magentd"].append(magentd(bed))
        rows["collectd tail"].append(collectd(bed))
    median = {name: [statistics.median(column) for column in zip(*costs)]
              for name, costs in rows.items()}
    print("%d lines/s, %d rounds of %g s each, interleaved" % (
        LINES_PER_SECOND, len(rows["magentd"]), bed.seconds))
    print("%-14s %10s %10s   %s" % ("", "% of core", "RSS MB",
                                    "each round's % of core"))
    for name, (cpu, rss) in median.items():
        print("%-14s %10.3f %10.2f   %s" % (
            name, cpu, rss, " ".join("%.3f" % cost[0] for cost in rows[name])))
    ours, theirs = median["magentd"], median["collectd tail"]
    return [figures.figure("agent_cpu", ours[0], "%", theirs[0] / 2,
                           ratio={"collectd": ours[0] / theirs[0]},
                           target_ratio={"collectd": 0.5}),
            figures.figure("agent_rss", ours[1], "MB", theirs[1],
                           ratio={"collectd": ours[1] / theirs[1]},
                           target_ratio={"collectd": 1})]

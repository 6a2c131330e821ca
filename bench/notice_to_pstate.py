# SPDX-License-Identifier: Apache-2.0
"""From the moment an agent sends its notice to the moment the p-state is
written: through a real mbrokerd (back, engine, platform), real channels and real
magentds that follow real files, onto p-states of the made-up hardware (`sim`),
so that no driver's own time is in it.

A guest for each CPU, up to four, is a magentd with epochs of 100 ms, whose log
gets nothing but requests that violate; Basic raises on each notice, and lowers in
between, since the guests' CPUs are idle. Agent and broker read the same clock here, so the
times need no conversion. What is counted is what the journal says of each
cause: the notice's sent_ns and the outcome's written_ns.
"""
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time

import figures

FIGURES = ["notice_to_pstate"]

N_GUESTS = min(4, len(os.sched_getaffinity(0)))
ACTION, OUTCOME = 2, 3  # The journal's kinds of rows.
TARGET_US, TARGET_P99_US = 300, 2000
SAMPLES_MIN = 200
START_S = 20

CONF = """
host_id = "bench";
run_dir = "{dir}/run"; state_dir = "{dir}/state";
cpus = [{cpus}];
policy = {{ name = "basic"; util_period_ms = 50; util_low_percent = 100.0; }};
hypervisor = {{ driver = "process"; pin = false; }};
pstate = {{ driver = "sim"; }};
epoch_ms = 100; sample_ms = 25;
guests = (
{guests}
);
"""

GUEST = """  {{ name = "web{n}"; vcpus = [{cpu}];
     channel = "unix:{dir}/web{n}.sock"; pid_file = "{dir}/web{n}.pid"; }}"""


def write_lines(stop, paths):
    """Slow requests in every log, several in each epoch."""
    files = [open(path, "a", buffering=1) for path in paths]
    while not stop.is_set():
        for file in files:
            file.write("%.3f 0.009 200\n" % time.time())
        time.sleep(0.02)
    for file in files:
        file.close()


def start_agents(bed, work):
    agents = []
    for n in range(N_GUESTS):
        agent = subprocess.Popen(
            [bed.program("agent/magentd"), "--channel",
             "unix:%s/web%d.sock" % (work, n), "--epoch-ms", "100",
             "--log-level", "error", "--probe",
             "httplog:path=%s/web%d.log,period_ms=25" % (work, n)])
        agents.append(agent)
        with open("%s/web%d.pid" % (work, n), "w") as file:
            file.write("%d\n" % agent.pid)
    return agents


def start_broker(bed, work):
    cpus = sorted(os.sched_getaffinity(0))
    guests = ",\n".join(GUEST.format(n=n, cpu=cpus[n], dir=work)
                        for n in range(N_GUESTS))
    with open(work + "/mbroker.conf", "w") as file:
        file.write(CONF.format(dir=work, guests=guests,
                               cpus=", ".join(map(str, cpus[:N_GUESTS]))))
    program = bed.program("broker/mbrokerd")
    check = subprocess.run([program, "--check", work + "/mbroker.conf"],
                           capture_output=True, text=True, check=False)
    if check.returncode:
        raise RuntimeError(check.stderr.strip() or check.stdout.strip())
    log = open(work + "/mbrokerd.log", "w")
    return subprocess.Popen(
        [program, "--config", work + "/mbroker.conf", "--lock-dir",
         work + "/lock"], stdout=log, stderr=log)


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(START_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_journal(path):
    """The hops of each cause that a notice began: dicts of times in ns."""
    hops = {}
    base = sqlite3.connect("file:%s?mode=ro" % path, uri=True)
    for cause, kind, name, detail in base.execute(
            "SELECT cause, kind, name, detail FROM row ORDER BY id"):
        row = hops.setdefault(cause, {})
        detail = json.loads(detail or "{}")
        if name == "GUEST_NOTICE":
            row.update(sent=detail["sent_ns"], back=detail["received_ns"])
        elif kind == ACTION and name == "SET_PSTATE":
            row.setdefault("decided", detail["decided_ns"])
        elif kind == OUTCOME and not detail["error"]:
            row.setdefault("platform", detail["received_ns"])
            row.setdefault("written", detail["written_ns"])
    base.close()
    names = ("sent", "back", "decided", "platform", "written")
    return [row for row in hops.values() if all(row.get(n) for n in names)]


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def one_round(bed):
    work = tempfile.mkdtemp(prefix="mbroker-bench-")
    agents, broker, stop = [], None, threading.Event()
    writer = threading.Thread(target=write_lines, args=(
        stop, ["%s/web%d.log" % (work, n) for n in range(N_GUESTS)]))
    try:
        os.mkdir(work + "/lock")
        writer.start()
        agents = start_agents(bed, work)
        broker = start_broker(bed, work)
        time.sleep(2 + bed.seconds)
        if broker.poll() is not None:
            with open(work + "/mbrokerd.log") as file:
                raise RuntimeError("mbrokerd ended: " + file.read()[-500:])
        end(broker)
        return read_journal(work + "/state/journal/journal.db")
    finally:
        stop.set()
        if writer.ident:
            writer.join()
        for process in agents + ([broker] if broker else []):
            end(process)
        shutil.rmtree(work, ignore_errors=True)


def run(bed):
    rows = []
    n_rounds = max(3, bed.rounds)
    for n in range(3 * n_rounds):  # More where the machine is busy.
        if n >= n_rounds and len(rows) >= SAMPLES_MIN:
            break
        rows += one_round(bed)
    if len(rows) < SAMPLES_MIN:
        raise RuntimeError("only %d notices led to a written p-state"
                           % len(rows))
    hops = [("agent -> back", "sent", "back"),
            ("back -> decided", "back", "decided"),
            ("decided -> platform", "decided", "platform"),
            ("platform -> written", "platform", "written"),
            ("notice -> p-state", "sent", "written")]
    print("%d notices of %d agents, us" % (len(rows), N_GUESTS))
    print("%-20s %10s %10s" % ("", "median", "p99"))
    for name, first, last in hops:
        times = [(row[last] - row[first]) / 1e3 for row in rows]
        median, p99 = statistics.median(times), percentile(times, 0.99)
        print("%-20s %10.1f %10.1f" % (name, median, p99))
    return [figures.figure("notice_to_pstate", median, "us", TARGET_US, p99,
                       TARGET_P99_US)]

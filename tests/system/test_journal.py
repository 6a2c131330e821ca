# SPDX-License-Identifier: Apache-2.0
"""The journal of a real broker: asked for by time, VM and type, followed, read
from its file without a broker, and verified."""
import json
import shutil
import signal
import subprocess
import time

import pytest

from harness import MBROKERD, MCTL, Broker, wait_until

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)


@pytest.fixture(scope="module")
def broker():
    with Broker(guests=["web1", "web2"], extra="end_guests = true;",
                commands={"web1": "exec sleep 1000", "web2": "exec sleep 1000"}) as broker:
        broker.start()
        broker.agent("web1")
        broker.agent("web2")
        broker.wait_agents("web1", "web2")

        def noticed():
            broker.requests("web1", 20, 0.050)
            return broker.ctl("events", "--type", "GUEST_NOTICE")["rows"]
        wait_until(noticed, "a notice is in the journal")
        yield broker


def journal_of(broker):
    return broker.state_dir / "journal" / "journal.db"


def mctl(*arguments):
    return subprocess.run([MCTL, *map(str, arguments)], text=True, capture_output=True,
                          timeout=60)


def test_events_of_a_type_are_of_that_type(broker):
    rows = broker.ctl("events", "--type", "GUEST_NOTICE", "-n", "500")["rows"]
    assert rows and {r["name"] for r in rows} == {"GUEST_NOTICE"}
    rows = broker.ctl("events", "--type", "decision", "-n", "500")["rows"]
    assert rows and {r["kind"] for r in rows} == {"decision"}


def test_events_of_a_vm_are_those_that_have_to_do_with_it(broker):
    uuids = {vm["name"]: vm["uuid"] for vm in broker.ctl("vms")["vms"]}
    rows = broker.ctl("events", "--vm", "web1", "-n", "500")["rows"]
    causes = {r["cause"] for r in rows if uuids["web1"] in r["subject"]}
    assert {"GUEST_UP", "GUEST_NOTICE"} <= {r["name"] for r in rows}
    assert not any(uuids["web2"] in r["subject"] for r in rows)
    assert all(r["cause"] in causes or uuids["web1"] in json.dumps(r) for r in rows)
    done = broker.run_ctl("events", "--vm", "web9")
    assert done.returncode == 1 and "web1" in done.stderr


def test_events_between_two_moments_are_all_and_no_others(broker):
    rows = broker.ctl("events", "-n", "500")["rows"]
    seconds = sorted({r["wall_ns"] // 10**9 for r in rows})
    since, until = seconds[0] + 1, seconds[-1]
    got = broker.ctl("events", "--since", "@%d" % since, "--until", "@%d" % until)["rows"]
    assert got == [r for r in rows
                   if since * 10**9 <= r["wall_ns"] < until * 10**9]
    assert broker.ctl("events", "--since", "1h")["rows"]
    done = broker.run_ctl("events", "--since", "teatime")
    assert done.returncode == 2 and "HH:MM" in done.stderr


def test_following_shows_each_row_once(broker):
    process = subprocess.Popen([MCTL, "--run-dir", broker.run_dir, "events", "--json",
                                "--follow", "-n", "1"], text=True,
                               stdout=subprocess.PIPE)
    try:
        first = json.loads(process.stdout.readline())
        end = time.monotonic() + 30
        seen = [first]
        while len(seen) < 8 and time.monotonic() < end:
            broker.requests("web1", 20, 0.050)
            seen.append(json.loads(process.stdout.readline()))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    rows = [r for r in broker.ctl("events", "--since", "1h")["rows"]
            if first["id"] <= r["id"] <= seen[-1]["id"]]
    assert seen == rows


def test_a_live_journal_and_a_copy_are_proved_without_a_broker(broker, tmp_path):
    path = journal_of(broker)
    done = mctl("journal", "verify", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "unbroken" in done.stdout
    for name in ("journal.db", "journal.db-wal", "journal.db.head"):
        if (path.parent / name).exists():
            shutil.copy(path.parent / name, tmp_path / name)
    report = json.loads(mctl("journal", "verify", tmp_path / "journal.db", "--json").stdout)
    assert report["proved"] and report["rows"] > 3 and report["broken"] is None
    rows = json.loads(mctl("events", tmp_path / "journal.db", "--json", "--since",
                           "1h").stdout)["rows"]
    live = broker.ctl("events", "--since", "1h")["rows"]
    assert rows == live[:len(rows)] and len(rows) == report["rows"]
    named = json.loads(mctl("events", tmp_path / "journal.db", "--json", "--vm",
                            "web1").stdout)["rows"]
    assert named and all(row in live for row in named)
    again = json.loads(mctl("journal", "verify", path, "--json", "--link",
                            report["link"]).stdout)
    assert again["proved"] and again["link_row"] == report["last"]


def test_a_changed_row_is_named_and_what_comes_before_is_shown(broker, tmp_path):
    path = tmp_path / "journal.db"
    for name in ("journal.db", "journal.db-wal", "journal.db.head"):
        source = journal_of(broker).parent / name
        if source.exists():
            shutil.copy(source, tmp_path / name)
    rows = json.loads(mctl("events", path, "--json", "--since", "1h").stdout)["rows"]
    victim = rows[len(rows) // 2]
    # As somebody with sqlite3 would.
    import sqlite3
    with sqlite3.connect(path) as db:
        db.execute("UPDATE row SET wall_ns = wall_ns + 1 WHERE id = ?", [victim["id"]])
    db.close()
    done = mctl("events", path, "--json", "--since", "1h")
    assert done.returncode == 1
    data = json.loads(done.stdout)
    assert data["rows"] == rows[:len(rows) // 2]
    start, n = victim["id"] >> 40, victim["id"] & (1 << 40) - 1
    assert "%d.%d" % (start, n) in data["journal"]["broken"]
    done = mctl("journal", "verify", path)
    assert done.returncode == 1 and "does not follow" in done.stdout


@pytest.mark.parametrize("arguments,code", [
    (["journal"], 2), (["journal", "verify"], 2), (["journal", "mend", "x"], 2),
    (["journal", "verify", "/nonexistent/x"], 1), (["events", "/nonexistent/x"], 1),
    (["events", "x", "--follow"], 2), (["status", "--since", "1h"], 2),
    (["journal", "verify", "/etc/passwd"], 1)])
def test_what_makes_no_sense_is_told(arguments, code):
    done = mctl(*arguments)
    assert done.returncode == code and done.stderr

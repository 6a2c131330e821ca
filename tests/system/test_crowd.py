# SPDX-License-Identifier: Apache-2.0
"""Crowds of agents at a real mbrokerd: what all say is heard or counted, and who
says a hundred times too much costs the others none of it. `make test-load` is
the same for long, `make bench` prints what the others' round trip becomes."""
import json
import os
import pathlib
import resource
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MBROKER_BUILD") or TOP / "build").resolve()
sys.path.insert(0, str(TOP / "bench"))
import crowds  # pylint: disable=wrong-import-position

if not (BUILD / "bench/crowd").exists():
    pytest.skip("bench/crowd is not built", allow_module_level=True)

QUOTA = 100
NOISY = 99


def sums(usage, key, but=None):
    return sum(u[key] for n, u in usage.items() if n != but)


@pytest.mark.parametrize("scheme", ["shm", "unix"])
def test_a_guest_at_100_times_its_quota_costs_99_others_nothing(scheme):
    with crowds.Broker(BUILD, 100, scheme,
                       "quota = { messages_per_second = %d; };" % QUOTA) as broker:
        noisy = broker.crowd(NOISY, NOISY, 100 * QUOTA, 8, pushy=True)
        good = broker.crowd(0, 98, 10, 5)
        said, offered = good.counts(), noisy.counts()
        usage = broker.usage()
        # None of theirs is lost, late or unanswered.
        assert said["sent"] >= 99 * 10 * 5 * 0.9
        assert said["acked"] == said["sent"]
        assert sums(usage, "messages", NOISY) == said["sent"]
        for lost in ("dropped", "denied", "refused"):
            assert sums(usage, lost, NOISY) == 0
        assert said["replies"] == said["beats"]
        assert said["words"] == said["lost_channels"] == 0
        # The noisy one had its quota, a second's at once, and all is counted.
        of_noisy = usage[NOISY]
        n_beyond = of_noisy["dropped"] + of_noisy["denied"]
        assert offered["sent"] + offered["not_taken"] > 90 * QUOTA * 8
        assert of_noisy["messages"] + n_beyond == offered["sent"]
        # It goes on to be heard after it stopped, until nothing waits.
        n_waiting = of_noisy["memory_bytes_max"] // 70
        assert of_noisy["messages"] <= QUOTA * (offered["seconds"] + 4) + n_waiting
        assert of_noisy["messages"] >= QUOTA * 8
        assert n_beyond > 10 * QUOTA * 8
        assert offered["lost_channels"] == 0 and 1 <= offered["words"] <= 15
        assert of_noisy["memory_bytes"] <= of_noisy["memory_bytes_max"] + (1 << 19)
        # People can see it.
        assert broker.ctl("status")["usage"]["dropped"] == of_noisy["dropped"]
        rows = broker.ctl("events", "-n", "500")["rows"]
        assert any(row["name"] == "GUEST_ALARM"
                   and "more than 100 messages" in row["detail"]["reason"]
                   for row in rows)
        good.end()
        noisy.end()


def test_many_guests_need_no_greater_limit_of_descriptors():
    few = (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, few)
    try:
        with crowds.Broker(BUILD, 300) as broker:
            crowd = broker.crowd(0, 299, 5, 1)
            said = crowd.counts()
            assert said["acked"] == said["sent"] and said["welcomed"] == 300
            crowd.end()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_rows_of_a_flood_are_bounded():
    with crowds.Broker(BUILD, 2, "unix", "quota = { rows_per_second = 1; };") as broker:
        for _ in range(12):
            broker.crowd(0, 0, 10, 1).finish()  # Comes and goes.
        crowd = broker.crowd(1, 1, 10, 2)
        crowd.counts()
        usage = broker.usage()
        assert usage[0]["rows_withheld"] > 0 and usage[1]["rows_withheld"] == 0
        crowd.end()


def test_a_crowd_is_heard_to_the_last_message(tmp_path):
    out = tmp_path / "load.json"
    done = subprocess.run(
        [sys.executable, str(TOP / "tests/load/run.py"), "--build", str(BUILD),
         "--json", str(out), "--channels", "300", "--seconds", "8", "--warm-up", "100"],
        capture_output=True, text=True, timeout=300, check=False)
    found = json.loads(out.read_text())
    # In so short a time rings are still used for the first time: they grow.
    assert not [f for f in found["faults"] if "grew" not in f], done.stdout
    assert found["missing"] == 0 and found["sent"] > 300 * 10 * 8 * 0.9
    assert found["dropped"] == 0
    assert found["rss_kb"]["parent"]["growth"] < 0.05
    assert found["rss_kb"]["platform"]["growth"] < 0.05
    assert "sent %d = received" % found["sent"] in done.stdout

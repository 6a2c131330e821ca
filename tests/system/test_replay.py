# SPDX-License-Identifier: Apache-2.0
"""mctl replay on the journal of a real broker: the policy that was in force
decides the same again; another, or other options, are shown where they differ."""
import json
import subprocess
import time

import pytest

from harness import MBROKERD, MCTL, Broker, wait_until

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)


def mctl(*arguments):
    return subprocess.run([MCTL, *map(str, arguments)], text=True, capture_output=True,
                          timeout=120)


def replay(path, *arguments):
    done = mctl("replay", path, "--json", *arguments)
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def run():
    """Two starts of a broker: violations, idle times, an agent lost, and options
    that an operator changed; stopped."""
    with Broker(guests=["web1", "web2"], cpus="0-1", extra="end_guests = true;",
                policy_options="util_period_ms = 300; start_pstate = 2;",
                commands={"web1": "exec sleep 1000", "web2": "exec sleep 1000"}) as broker:
        for start in range(2):
            broker.start()
            agent = broker.agent("web1")
            broker.agent("web2")
            broker.wait_agents("web1", "web2")

            def raised(n):
                broker.requests("web1", 20, 0.050)
                rows = broker.ctl("events", "--type", "basic/raise", "-n", "500")["rows"]
                return len([r for r in rows if r["id"] >> 40 == start + 1]) >= n
            wait_until(lambda: raised(2), "violations raise p-states")
            time.sleep(1)
            if start == 0:
                assert broker.run_ctl("policy", "set", "basic", "util_period_ms=400",
                                      "util_low_percent=90").returncode == 0
                wait_until(lambda: raised(4), "violations raise p-states again")
                agent.kill()
                wait_until(lambda: [r for r in broker.ctl("events", "--type",
                                                          "GUEST_LOST")["rows"]],
                           "the agent is lost")
                time.sleep(1)
            broker.stop()
        yield broker.state_dir / "journal" / "journal.db"


def test_the_same_policies_decide_the_same_again(run):
    code, data = replay(run)
    assert data["differences"] == [], data["differences"][:3]
    summary = data["replay"]
    assert code == 0 and summary["stopped"] is None
    assert summary["differences"] == 0
    assert summary["same"] == summary["decisions_then"] == summary["decisions_now"] > 8
    assert summary["limits"] == []


def test_every_decision_of_the_journal_is_compared(run):
    rows = json.loads(mctl("events", run, "--json", "--since", "1h", "--type",
                           "decision").stdout)["rows"]
    assert replay(run)[1]["replay"]["decisions_then"] == len(rows)


def test_another_option_differs_where_it_matters_and_nowhere_else(run):
    """Utilizations below 80 % lowered; with a limit of 0 % nothing is lowered, and
    what differs is that and what comes of it."""
    code, data = replay(run, "--policy",
                        "basic:util_period_ms=300,start_pstate=2,util_low_percent=0")
    assert code == 4
    assert not [d for d in data["differences"]
                if d["now"] and d["now"]["rule"] == "basic/lower"]
    then = [d for d in data["differences"] if d["then"]]
    lowered = [d for d in then if d["then"]["rule"] == "basic/lower"]
    rows = json.loads(mctl("events", run, "--json", "--since", "1h", "--type",
                           "basic/lower").stdout)["rows"]
    assert lowered and len(lowered) == len(rows)
    assert {d["event"] for d in lowered} == {"UTILIZATION"}
    first = data["differences"][0]
    assert first["then"]["rule"] == "basic/lower" and first["now"] is None
    assert any("load" in words for words in data["replay"]["limits"])


def test_a_policy_that_wants_nothing_decides_nothing(run):
    code, data = replay(run, "--policy", "none")
    assert code == 4 and data["replay"]["decisions_now"] == 0
    assert data["replay"]["differences"] == data["replay"]["decisions_then"]
    assert all(d["now"] is None for d in data["differences"])
    raised = [d for d in data["differences"] if d["then"]["rule"] == "basic/raise"]
    assert raised and {d["event"] for d in raised} == {"GUEST_NOTICE"}


def test_people_read_event_then_and_now(run):
    done = mctl("replay", run, "--policy", "none")
    assert done.returncode == 4
    assert "GUEST_NOTICE" in done.stdout and "basic/raise: " in done.stdout
    assert "nothing" in done.stdout and "differences" in done.stdout


def test_a_configurations_policy_is_taken(run, tmp_path):
    conf = tmp_path / "today.conf"
    conf.write_text('policy = { name = "none"; };\n')
    code, data = replay(run, "--config", conf)
    assert code == 4 and data["replay"]["policy_now"] == "none"


@pytest.mark.parametrize("arguments,word", [
    (["--policy", "best"], "no policy"), (["--policy", "basic:speed=9"], "speed"),
    (["--policy", "basic:tie"], "KEY=VALUE"), (["--config", "/nonexistent"], "nonexistent")])
def test_what_can_not_be_replayed_is_said(run, arguments, word):
    done = mctl("replay", run, *arguments)
    assert done.returncode == 1 and word in done.stderr


def test_a_journal_without_inputs_says_so():
    with Broker(guests=["web1"], extra="journal = { inputs_mb = 0; };") as broker:
        broker.start()
        broker.stop()
        done = mctl("replay", broker.state_dir / "journal" / "journal.db")
        assert done.returncode == 1 and "inputs_mb" in done.stderr

# SPDX-License-Identifier: Apache-2.0
"""mctl against a real mbrokerd, and against none: every verb for people and for
programs, wrong usage, who may do what, and the trace of a real decision."""
import json
import os
import pty
import re
import signal
import subprocess
import time

import pytest

from harness import BUILD, MBROKERD, MCTL, PATIENCE, Broker, wait_until

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)

LOOKING = ("status", "vms", "cpus", "power", "policy", "plugins", "events")
NOBODY = 65534


def mctl(*arguments, **more):
    return subprocess.run([str(MCTL), *arguments], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=PATIENCE, **more)


@pytest.fixture(scope="module")
def broker():
    """One broker with an agent, for the tests that leave it as it was."""
    with Broker(guests=["web1", "web2"], extra="end_guests = true;",
                commands={"web1": "exec sleep 1000", "web2": "exec sleep 1000"}) as broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        broker.requests("web1")
        yield broker


# Without a broker.


def test_no_broker_says_what_to_do_and_exits_3(tmp_path):
    done = mctl("--run-dir", str(tmp_path), "status")
    assert done.returncode == 3
    assert done.stdout == ""
    assert "no broker answers at %s/control.sock" % tmp_path in done.stderr
    assert "is mbrokerd running?" in done.stderr


def test_no_broker_is_json_for_programs(tmp_path):
    done = mctl("--run-dir", str(tmp_path), "status", "--json")
    assert done.returncode == 3
    error = json.loads(done.stdout)["error"]
    assert set(error) == {"what", "why", "next"}


@pytest.mark.parametrize("arguments", [
    [], ["dance"], ["status", "now"], ["why"], ["why", "cpu0", "cpu1"], ["trace"],
    ["policy", "get"], ["policy", "set"], ["policy", "set", "basic", "period"],
    ["policy", "set", "basic", "=3"], ["vms", "end"], ["vms", "reboot", "web1"],
    ["events", "-n", "0"], ["events", "-n", "x"], ["check"], ["--colour", "status"],
    ["status", "--run-dir"], ["status", "--vm", "web1"], ["status", "--type", "x"],
    ["vms", "-f"], ["notes", "--since", "1h"], ["status", "--until", "1h"],
    ["events", "--since", "yesterday"], ["events", "--until", "25:00"],
    ["events", "--since", "@0"], ["events", "-n", "501"], ["status", "--link", "x"],
    ["status", "--policy", "none"], ["events", "--config", "x"],
], ids=" ".join)
def test_wrong_usage_exits_2_and_says_how_it_is_right(arguments, tmp_path):
    if "--run-dir" not in arguments:
        arguments = arguments + ["--run-dir", str(tmp_path)]
    done = mctl(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "mctl" in done.stderr


def test_help_lists_every_verb_and_each_has_its_own():
    done = mctl("--help")
    assert done.returncode == 0 and done.stderr == ""
    verbs = re.findall(r"^  ([a-z]+)  ", done.stdout, re.M)
    assert set(verbs) == {"status", "vms", "cpus", "power", "policy", "why", "trace",
                          "events", "watch", "plugins", "check", "notes", "journal", "doctor",
                          "cap", "replay", "reload"}
    manual = (BUILD.parent / "ctl" / "mctl.1")
    for verb in verbs:
        done = mctl(verb, "--help")
        assert done.returncode == 0
        assert done.stdout.startswith("usage: mctl %s" % verb)
        if manual.exists():
            assert ".It Cm %s" % verb in manual.read_text()


def test_version_is_said():
    done = mctl("--version")
    assert done.returncode == 0
    assert re.fullmatch(r"mctl \d+\.\d+\.\d+\n", done.stdout)


def test_a_run_dir_too_long_for_a_socket_is_named():
    done = mctl("--run-dir", "/x" * 100, "status")
    assert done.returncode == 2
    assert "too long" in done.stderr


def test_a_full_output_is_an_error(broker):
    with open("/dev/full", "w") as full:
        done = subprocess.run([str(MCTL), "--run-dir", str(broker.run_dir), "status"],
                              stdout=full, stderr=subprocess.PIPE, text=True,
                              timeout=PATIENCE)
    assert done.returncode == 1
    assert "can't be written" in done.stderr


# Checking a file needs no broker.


def test_check_takes_a_good_file_and_names_the_line_of_a_bad_one(tmp_path):
    good = tmp_path / "good.conf"
    good.write_text('domain = "local";\n')
    done = mctl("check", str(good))
    assert done.returncode == 0, done.stderr
    bad = tmp_path / "bad.conf"
    bad.write_text('domain = "local";\n\npolicy = { name = "magic"; };\n')
    done = mctl("check", str(bad))
    assert done.returncode == 1
    assert "%s:3" % bad in done.stderr
    done = mctl("check", str(bad), "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert said["ok"] is False and "%s:3" % bad in said["said"]


def test_check_of_no_file_fails(tmp_path):
    done = mctl("check", str(tmp_path / "none.conf"))
    assert done.returncode == 1
    assert "none.conf" in done.stderr


# Looking.


@pytest.mark.parametrize("verb", LOOKING)
def test_every_verb_that_looks_speaks_to_people_and_to_programs(broker, verb):
    done = broker.run_ctl(verb)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() and done.stderr == ""
    assert "\033" not in done.stdout  # No colour but on a terminal.
    data = broker.ctl(verb)
    assert isinstance(data, dict) and data


def on_a_terminal(broker, *arguments, **environ):
    """What mctl writes to a terminal."""
    ours, theirs = pty.openpty()
    try:
        env = dict(os.environ, TERM="xterm", **environ)
        done = subprocess.run([str(MCTL), "--run-dir", str(broker.run_dir), *arguments],
                              stdin=subprocess.DEVNULL, stdout=theirs, env=env,
                              timeout=PATIENCE)
        assert done.returncode == 0
        return os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def test_heads_are_bold_on_a_terminal_unless_no_color_is_set(broker):
    assert "\033[1m" in on_a_terminal(broker, "cpus", NO_COLOR="")
    assert "\033" not in on_a_terminal(broker, "cpus", NO_COLOR="1")
    assert "\033" not in on_a_terminal(broker, "cpus", "--json", NO_COLOR="")


def test_lines_for_people_have_no_trailing_spaces(broker):
    for verb in ("vms", "cpus", "plugins", "events"):
        for line in broker.run_ctl(verb).stdout.splitlines():
            assert line == line.rstrip()


def test_status_is_true_to_the_configuration(broker):
    status = broker.ctl("status")
    assert status["host"] == "test"
    assert status["policy"] == "basic"
    assert status["vms"] == 2 and status["agents"] == 1
    assert status["cpus"] == 1 and status["domains"] == 1
    assert status["pstate_driver"] == "sim"
    assert status["platform_ready"] and not status["read_only"]
    assert status["journal"]["failing"] is False
    assert status["up_s"] > 0


def test_modelled_power_is_marked(broker):
    wait_until(lambda: broker.ctl("power")["power_w"], "power is known")
    assert broker.ctl("power")["quality"] == "model"
    assert "(model" in broker.run_ctl("power").stdout


def test_vms_show_their_agents_and_counts(broker):
    broker.requests("web1", 30)
    wait_until(lambda: broker.vm("web1")["requests"] >= 30, "requests are counted")
    one, two = broker.vm("web1"), broker.vm("web2")
    assert one["agent"] and one["state"] == "running"
    assert one["probes"] == ["httplog"]
    assert one["last_epoch"]["threshold_ms"] == 3.0
    assert not two["agent"] and two["violation_percent"] is None
    people = broker.run_ctl("vms").stdout
    assert re.search(r"^web2 .*unknown", people, re.M)


def test_emulated_pstates_are_marked(broker):
    assert broker.cpu()["emulated"] is True
    assert "emulated" in broker.run_ctl("cpus").stdout


def test_plugins_name_what_is_used_and_the_agents_probes(broker):
    plugins = broker.ctl("plugins")
    used = {(p["room"], p["name"]) for p in plugins["plugins"] if p["used"]}
    assert used == {("policy", "basic"), ("hypervisor", "process"), ("hardware", "sim"),
                    ("hardware", "powermodel")}
    assert plugins["probes"] == {"httplog": ["web1"]}


def test_events_are_as_many_as_asked(broker):
    assert len(broker.ctl("events", "-n", "2")["rows"]) == 2
    rows = broker.ctl("events", "-n", "100")["rows"]
    assert [r["id"] for r in rows] == sorted(r["id"] for r in rows)
    assert "GUEST_UP" in {r["name"] for r in rows}


@pytest.mark.parametrize("knob", ["cpu7", "domain9", "fan0", "mgmt://local/host/x/power"])
def test_why_of_no_knob_says_which_there_are(broker, knob):
    done = broker.run_ctl("why", knob)
    assert done.returncode == 1
    assert knob in done.stderr and "mctl cpus" in done.stderr


@pytest.mark.parametrize("cause", ["nonsense", "0.0", "1.", "99.1", "-1"])
def test_trace_of_no_cause_is_refused(broker, cause):
    done = broker.run_ctl("trace", "--", cause)
    assert done.returncode == 1
    assert "mctl events" in done.stderr


# The straight path.


def slow_until(broker, rule, vm="web1"):
    """Violates web1's SLA until a decision by 'rule' is in the journal, and
    returns its row."""
    def decided():
        broker.requests(vm, 20, 0.050)
        rows = broker.ctl("events", "-n", "200")["rows"]
        outcomes = {r["cause"] for r in rows if r["kind"] == "outcome"
                    and r["detail"].get("error") == 0}
        for row in rows:
            if (row["kind"] == "decision" and row["name"] == rule
                    and row["cause"] in outcomes and "pstate" in row["detail"]):
                return row
        return None
    return wait_until(decided, "%s is decided and done" % rule)


@pytest.fixture(scope="module")
def raised(broker):
    """The decision that a violation led to."""
    wait_until(lambda: (broker.cpu()["pstate"] or 0) > 0, "the idle VM is lowered")
    return slow_until(broker, "basic/raise")


def test_trace_prints_the_path_from_the_request_to_the_pstate(broker, raised):
    trace = broker.ctl("trace", raised["cause"])
    hops = [h["hop"] for h in trace["hops"]]
    assert hops[:5] == ["request_ended", "probe_read", "agent_sent", "back_received",
                        "engine_noted"]
    for hop in ("decided", "arbiter_chose", "action_sent", "platform_received",
                "limits_checked", "driver_wrote", "read_back"):
        assert hop in hops
    times = [h["at_ns"] for h in trace["hops"]]
    assert all(isinstance(t, int) for t in times)
    # The MVM's own hops are in order; the guest's may be off by their error.
    own = [h["at_ns"] for h in trace["hops"] if h["where"] != "guest"]
    assert own == sorted(own)
    for hop in trace["hops"]:
        assert (hop["error_ns"] > 0) == (hop["where"] == "guest")
    guest = [h for h in trace["hops"] if h["where"] == "guest"]
    received = times[3]
    for hop in guest:
        assert hop["at_ns"] - hop["error_ns"] <= received
    # The request ended when the log says, to the guest's clock's word.
    assert received - guest[0]["at_ns"] < 10e9


def test_trace_for_people_lines_up_and_has_units(broker, raised):
    done = broker.run_ctl("trace", raised["cause"])
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("cause %s, from 20" % raised["cause"])
    table = lines[2:]
    assert table[0].split() == ["AT", "AFTER", "ERROR", "WHERE", "WHAT"]
    column = table[0].index("WHERE")
    for line in table[1:]:
        # Two more bytes than characters would move a column: "±" counts as one.
        assert line[column:].split()[0] in ("guest", "back", "engine", "platform")
        assert " ms" in line
    assert "rule basic/raise" in done.stdout


def test_the_last_part_of_a_cause_is_enough(broker, raised):
    short = raised["cause"].split(".")[1]
    assert broker.ctl("trace", short)["cause"] == raised["cause"]


def test_why_says_who_wanted_it_and_for_what_reason(broker, raised):
    why = broker.ctl("why", "cpu0")
    assert why["knob"] == "mgmt://local/host/test/cpu/0/pstate"
    assert why["winner"]["rule"].startswith("basic/")
    assert why["winner"]["vm_name"] in ("web1", "web2")
    assert broker.ctl("why", "domain0")["knob"] == why["knob"]
    assert broker.ctl("why", why["knob"])["knob"] == why["knob"]
    people = broker.run_ctl("why", "cpu0").stdout
    assert re.search(r"^winner .* wants p-state \d", people, re.M)
    assert "rule basic/" in people


# Changing.


def test_a_policy_is_set_and_set_back(broker):
    done = broker.run_ctl("policy", "set", "none")
    assert done.returncode == 0, done.stderr
    assert broker.ctl("policy")["name"] == "none"
    done = broker.run_ctl("policy", "set", "basic", "util_period_ms=300",
                          "util_low_percent=70")
    assert done.returncode == 0, done.stderr
    options = {o["name"]: o for o in broker.ctl("policy")["options"]}
    assert options["util_low_percent"]["value"] == 70
    assert options["util_period_ms"]["given"] is True


@pytest.mark.parametrize("arguments,word", [
    (["magic"], "choose one of"),
    (["basic", "no_such=1"], "no_such"),
    (["basic", "util_low_percent=101"], "100"),
    (["basic", "util_period_ms=soon"], "util_period_ms"),
])
def test_a_bad_policy_is_refused_and_the_old_one_stays(broker, arguments, word):
    before = broker.ctl("policy")
    done = broker.run_ctl("policy", "set", *arguments)
    assert done.returncode == 1
    assert word in done.stderr
    assert broker.ctl("policy") == before


def test_a_vm_is_frozen_and_thawed(broker):
    assert broker.run_ctl("vms", "freeze", "web2").returncode == 0
    wait_until(lambda: broker.vm("web2")["state"] == "frozen", "web2 is frozen")
    assert broker.vm("web1")["state"] == "running"
    done = broker.run_ctl("vms", "thaw", "web2")
    assert done.returncode == 0 and "thaw" in done.stdout
    wait_until(lambda: broker.vm("web2")["state"] == "running", "web2 runs again")


def test_no_such_vm_is_told_with_those_there_are(broker):
    done = broker.run_ctl("vms", "end", "web9")
    assert done.returncode == 1
    assert "web1 web2" in done.stderr


# Watching.


def test_watch_streams_until_interrupted(broker):
    watch = subprocess.Popen([str(MCTL), "--run-dir", str(broker.run_dir), "watch",
                              "--json"], stdout=subprocess.PIPE, text=True)
    try:
        first = json.loads(watch.stdout.readline())
        assert first["policy"] == broker.ctl("status")["policy"]
        lines = [json.loads(watch.stdout.readline()) for _ in range(40)]
        epochs = [line for line in lines if line.get("type") == "epoch"]
        assert epochs and all("power_w" in e and "cpus" in e for e in epochs)
        watch.send_signal(signal.SIGINT)
        assert watch.wait(PATIENCE) == 0
    finally:
        watch.kill()
        watch.wait()
        watch.stdout.close()


def test_watch_for_people_has_columns(broker):
    watch = subprocess.Popen([str(MCTL), "--run-dir", str(broker.run_dir), "watch"],
                             stdout=subprocess.PIPE, text=True)
    try:
        lines = [watch.stdout.readline() for _ in range(40)]
        assert lines[0].startswith("mgmt://local/host/test, policy ")
        assert lines[1].split() == ["TIME", "WHAT", "DETAIL"]
        assert any(re.search(r" s  epoch .* W \(model\).*requests", x) for x in lines)
    finally:
        watch.terminate()
        assert watch.wait(PATIENCE) == 0
        watch.stdout.close()


def test_a_watcher_that_reads_nothing_does_not_hold_the_broker_up(broker):
    with broker.dial() as conn:
        conn.sendall(b'{"verb":"watch"}\n')
        before = broker.ctl("status")["counts"]["turns"]
        wait_until(lambda: broker.ctl("status")["counts"]["turns"] > before + 5,
                   "the engine turns on")


# Rights.


def as_nobody(*arguments):
    def become():
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    return dict(preexec_fn=become)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("verb", [["status"], ["policy", "set", "none"],
                                  ["vms", "end", "web1"], ["watch"]], ids=" ".join)
def test_a_stranger_is_not_let_in(broker, verb):
    before = broker.ctl("policy")["name"]
    done = broker.run_ctl(*verb, **as_nobody())
    assert done.returncode == 1
    assert "not permitted" in done.stderr and "control.group" in done.stderr
    assert broker.ctl("policy")["name"] == before
    # Told at most once a second.
    wait_until(lambda: [r for r in broker.ctl("events", "-n", "500")["rows"]
                        if r["name"] == "CONTROL_DENIED"
                        and r["detail"]["uid"] == NOBODY], "it is journalled")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_member_of_the_group_may_look_and_not_change():
    group = "nogroup"
    with Broker(guests=["web1"], extra='control = { group = "%s"; };' % group) as broker:
        broker.start()
        done = broker.run_ctl("status", **as_nobody())
        assert done.returncode == 0, done.stderr
        done = broker.run_ctl("policy", "set", "none", **as_nobody())
        assert done.returncode == 1
        assert "may read, but not change" in done.stderr
        assert broker.ctl("policy")["name"] == "basic"


# Bad callers beside a good one.


def test_garbage_on_the_socket_disturbs_nobody(broker):
    for noise in (b"\0" * 10000, b"GET / HTTP/1.1\r\n\r\n", b"{" * 5000, os.urandom(20000),
                  b'{"verb":"status"', b'{"verb":"status","verb":"vms"}\n'):
        with broker.dial() as conn:
            try:
                conn.sendall(noise)
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert broker.run_ctl("status").returncode == 0


def test_a_request_begun_and_not_ended_is_closed(broker):
    with broker.dial() as conn:
        conn.sendall(b'{"verb":')
        start = time.monotonic()
        said = conn.makefile().readlines()
        assert time.monotonic() - start > 5
        assert "begun and not ended" in said[-1]


def test_a_broker_that_stopped_is_told_from_one_that_never_was():
    with Broker(guests=[]) as broker:
        broker.start()
        broker.stop()
        done = broker.run_ctl("status")
        assert done.returncode == 3
        assert "is mbrokerd running?" in done.stderr

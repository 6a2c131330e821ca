# SPDX-License-Identifier: Apache-2.0
"""Applications' own messages, from a program in a guest to the policy and the
programs that asked for them, through a magentd and an mbrokerd as they are."""
import base64
import json
import os
import socket
import subprocess
import zlib

import pytest

from harness import MAGENTD, MBROKERD, MCTL, PATIENCE, Broker, wait_until

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)

AT_ONCE = "org.mbroker.sim.pstate/1"
SIZE_MAX = 3840


@pytest.fixture
def broker():
    with Broker(guests=["web1", "web2"], policy="sim", policy_options="",
                hypervisor="") as broker:
        broker.start()
        for guest in broker.guests:
            broker.agent(guest, "--notes", "unix:%s" % door(broker, guest))
        broker.wait_agents()
        yield broker


def door(broker, guest):
    return broker.dir / (guest + ".notes")


def dial(broker, guest):
    conn = socket.socket(socket.AF_UNIX)
    conn.settimeout(PATIENCE)
    conn.connect(str(door(broker, guest)))
    return conn


def ask(conn, line):
    conn.sendall(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
    return answer(conn)


def answer(conn):
    said = b""
    while not said.endswith(b"\n"):
        more = conn.recv(4096)
        assert more, "closed after %r" % said
        said += more
    return json.loads(said)


def hand_in(broker, guest, type, data, latest=False):
    with dial(broker, guest) as conn:
        said = ask(conn, {"type": type, "base64": base64.b64encode(data).decode(),
                          "latest": latest})
    assert said["ok"], said
    return said["data"]["number"]


def notes(broker, *arguments):
    return broker.ctl("notes", *arguments)["notes"]


def send_note(broker, guest, type, data, *more):
    return subprocess.run([str(MAGENTD), "--send-note", type, "--notes",
                           "unix:%s" % door(broker, guest), *more],
                          input=data, capture_output=True, timeout=PATIENCE)


def test_the_very_bytes_arrive(broker):
    data = bytes(range(256)) * 15
    assert len(data) == SIZE_MAX
    hand_in(broker, "web1", "org.example.blob/1", data)
    note = wait_until(lambda: notes(broker), "the note is kept")[0]
    assert base64.b64decode(note["base64"]) == data
    assert note["crc32"] == "%08x" % zlib.crc32(data)
    assert (note["vm"], note["type"], note["size"]) == ("web1", "org.example.blob/1", SIZE_MAX)
    assert note["text"] is None and not note["asked"] and note["cause"] is None


def test_a_note_moves_the_policy_and_can_be_traced(broker):
    hand_in(broker, "web1", AT_ONCE, b"3")
    wait_until(lambda: broker.cpu()["pstate"] == 3, "the policy did what was asked")
    note = notes(broker, "--type", AT_ONCE)[0]
    assert note["asked"] and note["text"] == "3"
    rows = broker.ctl("trace", note["cause"])["rows"]
    event = next(r for r in rows if r["name"] == "GUEST_NOTE")
    assert event["detail"]["type"] == AT_ONCE
    assert event["detail"]["size"] == 1
    assert event["detail"]["crc32"] == "%08x" % zlib.crc32(b"3")
    hops = [h["hop"] for h in broker.ctl("trace", note["cause"])["hops"]]
    for hop in ("note_made", "agent_sent", "back_received", "engine_noted", "decided",
                "arbiter_chose", "action_sent", "driver_wrote", "outcome"):
        assert hop in hops, hops
    assert hops.index("note_made") < hops.index("back_received") < hops.index("decided")
    why = broker.ctl("why", "cpu0")
    assert why["winner"]["rule"] == "sim/asked"
    assert why["winner"]["cause"] == note["cause"]
    assert why["winner"]["event"]["detail"]["type"] == AT_ONCE
    assert "event GUEST_NOTE: %s, 1 B" % AT_ONCE in broker.run_ctl("why", "cpu0").stdout


def test_a_shell_can_say_something(broker):
    done = send_note(broker, "web2", "org.example.backup/1", b"disk is idle\n")
    assert (done.returncode, done.stderr) == (0, b"")
    note = wait_until(lambda: notes(broker, "--vm", "web2"), "it came")[0]
    assert note["text"] == "disk is idle\n"
    shown = broker.run_ctl("notes").stdout
    assert "web2" in shown and "org.example.backup/1" in shown and "disk is idle" in shown


def test_what_a_note_says_can_not_drive_a_terminal(broker):
    hand_in(broker, "web1", "org.example/1", b"\x1b[2J\x07oops")
    wait_until(lambda: notes(broker), "it came")
    assert "\x1b" not in broker.run_ctl("notes").stdout


def test_who_follows_sees_each_of_his_type(broker):
    follower = subprocess.Popen(
        [str(MCTL), "--run-dir", str(broker.run_dir), "notes", "--follow", "--json",
         "--type", "org.example.seen/1", "--vm", "web1"],
        stdout=subprocess.PIPE, text=True)
    try:
        first = json.loads(follower.stdout.readline())
        assert first["notes"] == [] and first["policy"] == "sim"
        assert {"type": AT_ONCE, "urgent": True} in first["asked"]
        hand_in(broker, "web1", "org.example.other/1", b"no")
        hand_in(broker, "web2", "org.example.seen/1", b"no")
        for i in range(20):
            hand_in(broker, "web1", "org.example.seen/1", b"%d" % i)
        for i in range(20):
            line = json.loads(follower.stdout.readline())
            assert (line["type"], line["vm"]) == ("org.example.seen/1", "web1")
            assert line["text"] == str(i)
    finally:
        follower.terminate()
        follower.wait(PATIENCE)
        follower.stdout.close()


def test_following_a_vm_that_is_not_here_is_refused(broker):
    done = broker.run_ctl("notes", "--vm", "nobody", "--follow")
    assert done.returncode == 1 and 'there is no VM "nobody"' in done.stderr
    done = broker.run_ctl("notes", "--type", "no type")
    assert done.returncode == 1 and "no type of a note" in done.stderr
    assert broker.run_ctl("vms", "--follow").returncode == 2


REFUSED = [
    (b"hello\n", "the line is not JSON"),
    (b"[1]\n", "the line is no note"),
    (b"{}\n", "a field is missing"),
    (b'{"type":"a/1"}\n', "what the note says is not clear"),
    (b'{"type":"a/1","text":"x","base64":"eA=="}\n', "what the note says is not clear"),
    (b'{"type":"../etc","text":"x"}\n', "the type's name is none"),
    (b'{"type":"a\\u0000b","text":"x"}\n', "the type's name is none"),
    (b'{"type":"a//b","text":"x"}\n', "the type's name is none"),
    (b'{"type":"caf\xc3\xa9","text":"x"}\n', "the type's name is none"),
    (b'{"type":"a/1","text":7}\n', "a field has the wrong type"),
    (b'{"type":"a/1","text":"x","latest":1}\n', "a field has the wrong type"),
    (b'{"type":"a/1","text":"x","colour":"red"}\n', "a field is unknown"),
    (b'{"type":"a/1","text":"x","text":"y"}\n', "the line is not JSON"),
    (b'{"type":"a/1","base64":"eA="}\n', "the note is not base64"),
    (b'{"type":"a/1","base64":"e\\nA="}\n', "the note is not base64"),
    (b'{"type":"a/1","text":"%s"}\n' % (b"x" * (SIZE_MAX + 1)), "the note is too large"),
    (b'{"type":"a/1","base64":"%s"}\n' % (b"eHh4" * 1281), "the note is too large"),
    (b"[" * 40 + b"\n", "the line is nested too deeply"),
    (b"x" * 20000 + b"\n", "the line is too long"),
]


def test_nonsense_at_the_door_is_refused_in_words_and_the_next_note_taken(broker):
    with dial(broker, "web1") as conn:
        for line, what in REFUSED:
            said = ask(conn, line)
            assert not said["ok"] and said["error"]["what"] == what, (line[:60], said)
            assert said["error"]["why"] and said["error"]["next"]
            good = ask(conn, {"type": "org.example/1", "text": "still here"})
            assert good["ok"], (line[:60], good)
    wait_until(lambda: notes(broker)[0]["came"] == len(REFUSED), "all good ones came")
    assert broker.ctl("status")["counts"]["alarms"] == 0


def test_a_note_may_hold_a_null_and_be_empty(broker):
    with dial(broker, "web1") as conn:
        assert ask(conn, b'{"type":"a/1","text":"x\\u0000y"}\n')["ok"]
        assert ask(conn, b'{"type":"b/1","text":""}\n')["ok"]
    found = wait_until(lambda: len(notes(broker)) == 2 and notes(broker), "both came")
    said = {n["type"]: n for n in found}
    assert base64.b64decode(said["a/1"]["base64"]) == b"x\0y"
    assert (said["b/1"]["size"], said["b/1"]["base64"], said["b/1"]["text"]) == (0, "", "")


def test_who_sends_too_much_is_told_and_hurts_nobody(broker):
    refused = 0
    with dial(broker, "web1") as conn:
        for i in range(400):
            said = ask(conn, {"type": "org.example.loud/1", "text": "x" * SIZE_MAX})
            refused += not said["ok"]
            if not said["ok"]:
                assert "wait already" in said["error"]["why"]
        # Of telemetry only the newest counts, so there is always room for it
        # once one waits, or has been sent.
        latest = [ask(conn, {"type": "t/1", "text": str(i), "latest": True})["ok"]
                  for i in range(50)]
    assert refused > 100
    hand_in(broker, "web2", AT_ONCE, b"2")
    wait_until(lambda: broker.cpu()["pstate"] == 2, "the other guest is served")
    assert broker.vm("web1")["agent"] and broker.vm("web2")["agent"]
    assert broker.ctl("status")["counts"]["alarms"] == 0
    if all(latest):
        wait_until(lambda: [n["text"] for n in notes(broker, "--type", "t/1")] == ["49"],
                   "the newest came")


def test_many_programs_come_and_go(broker):
    conns = [dial(broker, "web1") for _ in range(40)]
    for conn in conns[:20]:
        conn.close()
    with dial(broker, "web1") as conn:
        assert ask(conn, {"type": "a/1", "text": "x"})["ok"]
    for conn in conns:
        conn.close()
    with dial(broker, "web1") as conn:
        conn.sendall(b'{"type":"a/1","text":"never ended')
    hand_in(broker, "web1", "b/1", b"y")
    wait_until(lambda: len(notes(broker)) == 2, "both came")


def test_notes_wait_for_a_broker(broker):
    broker.stop()
    for text in (b"1", b"2", b"4"):
        hand_in(broker, "web1", AT_ONCE, text)
    hand_in(broker, "web1", "org.example/1", b"also")
    broker.start()
    wait_until(lambda: broker.cpu()["pstate"] == 4, "the last one holds")
    wait_until(lambda: len(notes(broker, "--vm", "web1")) == 2, "the other came")


def test_a_new_broker_is_told_what_holds(broker):
    hand_in(broker, "web1", AT_ONCE, b"2")
    hand_in(broker, "web1", AT_ONCE, b"3")
    number = hand_in(broker, "web1", "org.example/1", bytes(range(256)))
    wait_until(lambda: broker.cpu()["pstate"] == 3, "the policy did what was asked")
    broker.stop()
    broker.start()
    wait_until(lambda: broker.cpu()["pstate"] == 3, "it did so again")
    note = wait_until(lambda: notes(broker, "--type", "org.example/1"), "it came again")[0]
    assert base64.b64decode(note["base64"]) == bytes(range(256))
    assert note["number"] == number and not note["stale"]
    assert note["made_age_s"] > note["age_s"]


def test_notes_are_stale_when_their_agent_is_gone(broker):
    hand_in(broker, "web1", "org.example/1", b"x")
    wait_until(lambda: notes(broker), "it came")
    broker.others[0].kill()
    wait_until(lambda: not broker.vm("web1")["agent"], "the agent is lost")
    assert notes(broker)[0]["stale"]
    assert "stale" in broker.run_ctl("notes").stdout


def test_sending_says_what_is_wrong(broker):
    done = send_note(broker, "web1", "no type", b"x")
    assert done.returncode == 2 and b'"no type" is no type' in done.stderr
    done = send_note(broker, "web1", "a/1", b"x" * (SIZE_MAX + 1))
    assert done.returncode == 1 and b"at most 3840 bytes" in done.stderr
    done = send_note(broker, "nobody", "a/1", b"x")
    assert done.returncode == 1 and b"does magentd run with --notes?" in done.stderr
    done = subprocess.run([str(MAGENTD), "--send-note", "a/1"], input=b"",
                          capture_output=True, timeout=PATIENCE)
    assert done.returncode == 2 and b"where to?" in done.stderr


def test_a_door_is_not_taken_from_another(broker):
    done = subprocess.run(
        [str(MAGENTD), "--channel", broker.channel("web1"), "--notes",
         "unix:%s" % door(broker, "web1")],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 1 and b"another program answers there" in done.stderr
    # But what nobody answers at is, and is taken away in the end.
    broker.others[1].kill()
    broker.others[1].wait()
    assert os.path.exists(door(broker, "web2"))
    again = broker.agent("web2", "--notes", "unix:%s" % door(broker, "web2"))
    wait_until(lambda: send_note(broker, "web2", "a/1", b"x").returncode == 0,
               "the new one takes notes")
    again.terminate()
    again.wait(PATIENCE)
    assert not os.path.exists(door(broker, "web2"))

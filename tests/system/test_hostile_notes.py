# SPDX-License-Identifier: Apache-2.0
"""A guest with root says notes that are none, lies in those that are, and never
stops: nobody else notices, the journal and the memory stay bounded, and what its
applications really said is still there."""
import random
import time

from harness import wait_until
from stranger import (BEAT, BEAT_REPLY, BYE, I64_MAX, NOTE, U64_MAX, WELCOME, beat,
                      cbor, note)
from test_hostile import SCHEMES, scene

AT_ONCE = "org.mbroker.sim.pstate/1"
NOTES = {"policy": "sim", "policy_options": ""}


def fields(**changed):
    """A note's map by hand, with what is changed."""
    plain = {1: "org.example/1", 2: b"x", 3: 1, 4: 1, 5: 1}
    plain.update({int(key[1:]): value for key, value in changed.items()})
    return plain


def without(key):
    plain = fields()
    del plain[key]
    return plain


NONSENSE = [
    (fields(k1="../../etc/passwd"), "is no type name"),
    (fields(k1="org.example/1\n"), "is not printable"),
    (fields(k1="a\0b"), "is not printable"),
    (fields(k1="\x1b[2J"), "is not printable"),
    (fields(k1=""), "is no type name"),
    (fields(k1="/"), "is no type name"),
    (fields(k1="a//b"), "is no type name"),
    (fields(k1="caf\u00e9"), "is no type name"),
    (fields(k1="\u202eorg"), "is not printable"),
    (fields(k1="x" * 65), "has 65 bytes, at most 64"),
    (fields(k1=b"org.example/1"), "is bytes, wanted text"),
    (fields(k2="text"), "is text, wanted bytes"),
    (fields(k2=b"x" * 3841), "has 3841 bytes, at most 3840"),
    (fields(k2=[b"x"]), "is a list, wanted bytes"),
    (fields(k3=0), "is 0, allowed 1"),
    (fields(k3=-1), "is a number below 0"),
    (fields(k4=1 << 63), "needs more than 64 bits"),
    (without(1), "is missing"),
    (without(2), "is missing"),
    (without(5), "is missing"),
]


def served(guest):
    """Waits until all that was said so far was heard."""
    guest.send(BEAT, beat(4711))
    while guest.wait_for(BEAT_REPLY)[1:5] != cbor({1: 4711})[1:5]:
        pass


def of_web2(s, *arguments):
    return s.broker.ctl("notes", "--vm", "web2", *arguments)["notes"]


@SCHEMES
def test_notes_that_are_none_are_refused_and_the_next_one_kept(tmp_path, scheme):
    with scene(tmp_path, scheme, **NOTES) as s:
        with s.stranger().greet(version_max=2) as guest:
            guest.wait_for(WELCOME)
            for i, (what, why) in enumerate(NONSENSE):
                guest.send(NOTE, cbor(what))
                guest.send(NOTE, note(data=b"%d" % i))
                served(guest)
                assert of_web2(s)[0]["text"] == str(i), why
            # One that is cut anywhere is none, too.
            whole = note(data=b"cut")
            for size in range(len(whole)):
                guest.send(NOTE, whole[:size])
            # Nor is one behind which something stands, or that is too long.
            guest.send(NOTE, whole + b"\0")
            guest.send(NOTE, note(data=b"x" * 5000))
            served(guest)
            assert of_web2(s)[0]["text"] == str(len(NONSENSE) - 1)
            assert len(of_web2(s)) == 1
            s.wait_alarm("NOTE")
            guest.send(BYE, cbor({1: "done"}))


def test_who_speaks_version_1_has_no_notes(tmp_path):
    with scene(tmp_path, "unix", **NOTES) as s:
        with s.stranger().greet() as guest:
            guest.wait_for(WELCOME)
            guest.send(NOTE, note())
            served(guest)
            s.wait_alarm("NOTE came with version 2, and 1 is spoken")
            assert of_web2(s) == []


def test_a_note_before_hello_is_nobodys(tmp_path):
    with scene(tmp_path, "unix", **NOTES) as s:
        with s.stranger() as guest:
            guest.send(NOTE, note())
            s.wait_alarm("came before HELLO")
        assert of_web2(s) == []
        s.assert_still_served()


@SCHEMES
def test_lies_about_number_and_times_do_no_harm(tmp_path, scheme):
    edges = (0, 1, I64_MAX - 1, I64_MAX)
    with scene(tmp_path, scheme, **NOTES) as s:
        with s.stranger().greet(version_max=2) as guest:
            guest.wait_for(WELCOME)
            for made in edges:
                for sent in edges:
                    guest.send(NOTE, note(AT_ONCE, b"0", U64_MAX, made, sent))
                    served(guest)
                    found = of_web2(s)[0]
                    assert found["made_age_s"] is None or found["made_age_s"] < 1e18
            for _ in range(20):
                s.broker.run_ctl("notes")
                time.sleep(0.05)
        rows = [row for row in s.broker.ctl("events", "-n", "500")["rows"]
                if row["name"] == "GUEST_NOTE"]
        assert rows
        for row in rows:
            for hop in s.broker.ctl("trace", row["cause"])["hops"]:
                assert hop["at_ns"] is None or 0 <= hop["at_ns"] < 1 << 62
            assert s.broker.run_ctl("trace", row["cause"]).returncode == 0


@SCHEMES
def test_a_flood_of_large_notes_costs_the_others_nothing(tmp_path, scheme):
    chance = random.Random(5)
    large = chance.randbytes(3840)
    with scene(tmp_path, scheme, **NOTES) as s:
        rows = s.broker.ctl("status")["journal"]["rows"]
        with s.stranger().greet(version_max=2) as guest:
            guest.wait_for(WELCOME)
            guest.send(NOTE, note(AT_ONCE, b"2"))
            served(guest)
            began = time.monotonic()
            sent = 0
            while time.monotonic() - began < 4:
                for _ in range(20):
                    guest.send(NOTE, note("t/%d" % chance.randrange(1000), large,
                                          sent + 1))
                    sent += 1
                if sent % 400 == 0:
                    s.ask(5)
        passed = time.monotonic() - began
        assert sent > 300
        found = of_web2(s)
        assert len(found) == 16
        # What the policy asked for was not pushed out.
        assert [n["text"] for n in found if n["type"] == AT_ONCE] == ["2"]
        # Notes that nobody asked for leave no row.
        grown = s.broker.ctl("status")["journal"]["rows"] - rows
        assert grown < (passed + 2) * 2 * 8
        wait_until(lambda: not s.broker.vm("web2")["agent"], "it is gone")


def test_a_flood_of_urgent_notes_moves_pstates_a_bounded_number_of_times(tmp_path):
    with scene(tmp_path, "shm", **NOTES) as s:
        before = s.broker.ctl("status")["counts"]
        with s.stranger().greet(version_max=2) as guest:
            guest.wait_for(WELCOME)
            began = time.monotonic()
            n = 0
            while time.monotonic() - began < 4:
                for _ in range(50):
                    guest.send(NOTE, note(AT_ONCE, b"%d" % (n % 5), n + 1))
                    n += 1
        passed = time.monotonic() - began
        after = s.broker.ctl("status")["counts"]
        moved = sum(after[k] - before[k] for k in ("raises", "lowerings"))
        # Four an epoch of 500 ms as they come, and one at its end.
        assert 0 < moved < (passed + 2) * 2 * 5


def test_who_follows_a_flood_without_reading_costs_the_others_nothing(tmp_path):
    with scene(tmp_path, "unix", **NOTES) as s:
        with s.broker.dial() as lazy:
            lazy.sendall(b'{"verb":"notes","follow":true}\n')
            with s.stranger().greet(version_max=2) as guest:
                guest.wait_for(WELCOME)
                for i in range(600):
                    guest.send(NOTE, note("t/%d" % (i % 20), b"x" * 3840, i + 1))
                served(guest)
            said = b""
            lazy.settimeout(2)
            try:
                while more := lazy.recv(65536):
                    said += more
            except TimeoutError:
                pass
            assert b'"lost":' in said or said.count(b"\n") >= 600

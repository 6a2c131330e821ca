# SPDX-License-Identifier: Apache-2.0
"""A guest with root, and a local user without, do their worst to a whole
mbrokerd.  Each time the broker lives, another guest's agent is heard as before
and loses nothing, nothing grows or leaks, the attack is named where people
look, and p-states are as they were found in the end."""
import contextlib
import fcntl
import json
import multiprocessing
import os
import random
import socket
import stat
import struct
import time

import pytest

from harness import (MBROKERD, Broker, make_cpufreq, max_freq, n_fds, stat_of,
                     wait_until)
from stranger import (BEAT, BEAT_REPLY, BYE, HELLO, I64_MAX, I64_MIN, KIND_ACK,
                      KIND_PAD, KIND_RELIABLE, NOTICE, REFUSED, REPORT, U64_MAX,
                      WELCOME, Lost, Stranger, beat, cbor, frame, hello, notice,
                      report)

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)

FULL_KHZ = 2400000
NOBODY = 65534
F_ADD_SEALS, F_SEAL_WRITE = 1033, 8
SCHEMES = pytest.mark.parametrize("scheme", ["shm", "unix"])
PAGES_MAX = 16 << 20  # Bytes by which a process may grow while attacked.


def resident(pid):
    return int(stat_of(pid)[21]) * os.sysconf("SC_PAGESIZE")


class Scene:
    """A broker with a good guest, web1, and a bad one, web2."""

    def __init__(self, broker, sys_dir):
        self.broker = broker
        self.sys_dir = sys_dir
        self.roles = broker.roles()
        self.n_asked = broker.vm("web1")["requests"]
        self.ask()
        self.fds = {role: n_fds(pid) for role, pid in self.roles.items()}
        self.pages = {role: resident(pid) for role, pid in self.roles.items()}

    @property
    def path(self):
        return self.broker.run_dir / "web2.chan"

    def stranger(self, **more):
        """Attached; a broker that was just attacked makes one wait."""
        end = time.monotonic() + 30
        while True:
            try:
                return Stranger(self.path, self.broker.scheme, **more)
            except (OSError, Lost):
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def ask(self, n=10):
        """web1 has more requests; all of them are to be counted."""
        self.broker.requests("web1", n)
        self.n_asked += n
        wait_until(lambda: self.broker.vm("web1")["requests"] >= self.n_asked,
                   "web1's requests are counted")

    def alarms(self):
        """What was said of web2, in the journal."""
        rows = self.broker.ctl("events", "-n", "500")["rows"]
        uuid = self.broker.vm("web2")["uuid"]
        return [row["detail"]["reason"] for row in rows
                if row["name"] == "GUEST_ALARM" and uuid in row["subject"]]

    def wait_alarm(self, word):
        wait_until(lambda: any(word in said for said in self.alarms()),
                   "\"%s\" is alarmed" % word)

    def assert_unhurt(self):
        self.ask()
        assert self.broker.vm("web1")["agent"]
        assert self.broker.vm("web1")["requests"] == self.n_asked
        assert self.broker.roles() == self.roles
        lost = [row for row in self.broker.ctl("events", "-n", "500")["rows"]
                if row["name"] == "GUEST_LOST"
                and self.broker.vm("web1")["uuid"] in row["subject"]]
        assert not lost
        wait_until(lambda: all(n_fds(pid) <= self.fds[role] + 2
                               for role, pid in self.roles.items()),
                   "the descriptors are closed")
        for role, pid in self.roles.items():
            assert (resident(pid) < self.pages[role] + PAGES_MAX
                    or "libasan" in open("/proc/%d/maps" % pid).read())

    def assert_still_served(self):
        """The bad guest may be good again."""
        agent = self.broker.agent("web2")
        self.broker.wait_agents("web2")
        agent.kill()


@contextlib.contextmanager
def scene(tmp_path, scheme="shm", **more):
    broker = Broker(guests=["web1", "web2"], pstate="cpufreq", scheme=scheme,
                    commands={g: "exec sleep 1000" for g in ("web1", "web2")},
                    extra='sys_dir = "%s"; end_guests = true;' % (tmp_path / "sys"),
                    **more)
    make_cpufreq(tmp_path / "sys")
    with broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        found = Scene(broker, tmp_path / "sys")
        yield found
        found.assert_unhurt()
        assert broker.stop() == 0
        assert max_freq(tmp_path / "sys") == FULL_KHZ
        assert "AddressSanitizer" not in broker.said()
        assert "runtime error" not in broker.said()


# What is said.


@SCHEMES
def test_a_guest_that_comes_and_goes_moves_pstates_a_bounded_number_of_times(
        tmp_path, scheme):
    with scene(tmp_path, scheme) as s:
        before = s.broker.ctl("status")["counts"]
        end = time.monotonic() + 5
        while time.monotonic() < end:
            try:
                with s.stranger() as guest:
                    for _ in range(200):
                        guest.send(HELLO, hello())
                        guest.send(NOTICE, notice())
                        guest.send(BYE, cbor({1: "gone"}))
                    guest.wait_for(REFUSED, 1)
            except (OSError, Lost):
                pass
        after = s.broker.ctl("status")["counts"]
        moved = sum(after[k] - before[k] for k in ("raises", "lowerings"))
        assert moved < 60  # It was some hundred a second.
        s.wait_alarm("too often")


def lies():
    """(tag, message): in range and well-formed, and never true."""
    edges = (0, 1, I64_MAX - 1, I64_MAX)
    for at in edges:
        yield REPORT, report(at_ns=at)
        yield NOTICE, notice(at_ns=at)
    for start, end in ((0, I64_MAX), (I64_MAX, I64_MAX), (0, 0), (I64_MAX, 0)):
        yield REPORT, report(start_ns=start, end_ns=end)
        yield NOTICE, notice(start_ns=start, end_ns=end)
    for offset in (I64_MIN, -1, 0, I64_MAX):
        for error in (0, I64_MAX, U64_MAX):
            yield BEAT, beat(U64_MAX, 0, offset, error)
            yield NOTICE, notice(epoch=U64_MAX, at_ns=I64_MAX)
            yield NOTICE, notice(epoch=0, at_ns=1)
            yield REPORT, report(epoch=U64_MAX, start_ns=0, end_ns=I64_MAX)
    for n in (0, 1, 10**9):
        yield REPORT, report(n_requests=10**9, n_violations=n, worst_us=3600000000)
        yield NOTICE, notice(n_requests=n, n_violations=10**9)
    for epoch in (5, 3, U64_MAX, 0):
        yield REPORT, report(epoch=epoch, threshold_us=3600000000)


@SCHEMES
def test_numbers_at_the_edges_of_what_may_be_said_do_no_harm(tmp_path, scheme):
    with scene(tmp_path, scheme) as s:
        with s.stranger().greet() as guest:
            guest.wait_for(WELCOME)
            for tag, message in lies():
                guest.send(tag, message)
                time.sleep(0.05)  # So that most are written down.
            guest.send(BEAT, beat(77))
            while guest.wait_for(BEAT_REPLY)[1:4] != cbor({1: 77})[1:4]:
                pass
        # Whoever looks at what it said sees no time that can't be.
        rows = s.broker.ctl("events", "-n", "500")["rows"]
        notices = [row for row in rows if row["name"] == "GUEST_NOTICE"]
        assert len(notices) >= 8
        for row in notices:
            for hop in s.broker.ctl("trace", row["cause"])["hops"]:
                assert hop["at_ns"] is None or 0 <= hop["at_ns"] < 1 << 62
            assert s.broker.run_ctl("trace", row["cause"]).returncode == 0
        for verb in ("vms", "cpus", "power", "policy", "status"):
            s.broker.ctl(verb)
        s.assert_still_served()


@SCHEMES
def test_random_messages_are_refused_and_the_next_good_one_is_served(tmp_path, scheme):
    chance = random.Random(7)
    good = [hello(), beat(), report(), notice(), cbor({1: "bye"})]
    with scene(tmp_path, scheme) as s:
        with s.stranger().greet() as guest:
            for _ in range(600):
                data = bytearray(chance.choice(good))
                for _ in range(chance.randrange(1, 4)):
                    data[chance.randrange(len(data))] = chance.randrange(256)
                if chance.random() < 0.3:
                    data = chance.randbytes(chance.randrange(1, 8000))
                guest.send(chance.choice((1, 3, 5, 6, 7, 8, 32, 50, 60, 65535)),
                           bytes(data))
                if guest.is_over():
                    break
        wait_until(s.alarms, "it is alarmed")
        s.assert_still_served()


@SCHEMES
def test_a_flood_of_good_messages_costs_the_others_nothing(tmp_path, scheme):
    with scene(tmp_path, scheme) as s:
        rows = s.broker.ctl("status")["journal"]["rows"]
        began = time.monotonic()
        with s.stranger().greet() as guest:
            sent = 0
            while time.monotonic() - began < 4:
                for _ in range(50):
                    guest.send(*((NOTICE, notice()) if sent % 2 else (BEAT, beat())))
                    sent += 1
                if sent % 1000 == 0:
                    s.ask(5)
        passed = time.monotonic() - began
        assert sent > 1000
        # Eight an epoch, and what they lead to.
        grown = s.broker.ctl("status")["journal"]["rows"] - rows
        assert grown < (passed + 2) * 2 * 8 * 5


def test_who_never_reads_is_not_waited_for(tmp_path):
    with scene(tmp_path, "unix") as s:
        with s.stranger().greet() as guest:
            for i in range(1500):
                guest.send(BEAT, beat(i))
            s.ask(50)


# How it is said.


def test_a_flood_of_acknowledgements_is_ended_and_named(tmp_path):
    with scene(tmp_path, "unix") as s:
        with s.stranger().greet() as guest:
            guest.wait_for(WELCOME)
            acks = frame(guest.SYNC, KIND_ACK, struct.pack("<QQ", 1, 1)) * 100
            with pytest.raises(OSError):
                for _ in range(100000):
                    guest.socket.sendall(acks)
        s.wait_alarm("ACK of nothing new")
        s.assert_still_served()


def test_a_byte_at_a_time_is_a_message_in_the_end(tmp_path):
    with scene(tmp_path, "unix") as s:
        with s.stranger().greet() as guest:
            guest.wait_for(WELCOME)
            for _ in range(20):
                guest.sequence += 1
                for byte in frame(guest.SYNC, KIND_RELIABLE, beat(5), BEAT,
                                  guest.sequence, guest.attachment):
                    guest.socket.sendall(bytes([byte]))
            for _ in range(20):
                guest.wait_for(BEAT_REPLY)


def scribble(guest, chance):
    """Writes anything anywhere in the memory that it shares with the broker."""
    values = (0, 1, 63, 64, 0xffffffff, 1 << 32, 1 << 63, U64_MAX, guest.ring,
              guest.ring - 1, guest.head, guest.head + 64, guest.tail)
    for _ in range(3000):
        at = chance.choice((0, 8, 16, 24, 128, 136, 144, 152, 4096,
                            4096 + guest.ring + guest.head % guest.ring))
        if chance.random() < 0.5:
            at = chance.randrange(0, len(guest.memory) - 8) & ~7
        value = chance.choice(values)
        if chance.random() < 0.3:
            value = chance.getrandbits(64)
        guest.set_word(at, value)
        if chance.random() < 0.1:
            guest.wake()


def test_any_value_anywhere_in_shared_memory_hurts_nobody_else(tmp_path):
    chance = random.Random(11)
    with scene(tmp_path, "shm") as s:
        for _ in range(25):
            with s.stranger() as guest, contextlib.suppress(Lost, OSError):
                guest.greet()
                scribble(guest, chance)
        for size, kind in ((1 << 31, 1), (U64_MAX >> 32, 1), (65520, KIND_PAD),
                           (100, KIND_PAD), (0, 200), (8193, 1)):
            with s.stranger() as guest, contextlib.suppress(Lost):
                guest.put(kind, b"", size=size, sequence=1,
                          attachment=guest.attachment)
                wait_until(guest.is_over, "it is let go")
        s.wait_alarm("it broke the channel")
        s.assert_still_served()


def test_shared_memory_can_be_neither_cut_nor_grown(tmp_path):
    with scene(tmp_path, "shm") as s:
        with s.stranger().greet() as guest:
            guest.wait_for(WELCOME)
            for size in (0, 4096, 1 << 30):
                with pytest.raises(OSError):
                    os.ftruncate(guest.memfd, size)
            with pytest.raises(OSError):
                fcntl.fcntl(guest.memfd, F_ADD_SEALS, F_SEAL_WRITE)
            guest.send(BEAT, beat(1))
            guest.wait_for(BEAT_REPLY)


# Sockets and descriptors.


@SCHEMES
def test_descriptors_that_nobody_asked_for_are_not_kept(tmp_path, scheme):
    with scene(tmp_path, scheme) as s:
        for attach in (False, True):
            with s.stranger(attach=attach) as guest:
                fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(100)]
                with contextlib.suppress(OSError):
                    guest.socket.setblocking(False)
                    for _ in range(50):
                        socket.send_fds(guest.socket, [b"\0"], fds)
                for fd in fds:
                    os.close(fd)
                s.ask()
                assert n_fds(s.roles["back"]) <= s.fds["back"] + 4
        s.assert_still_served()


@SCHEMES
def test_thousands_who_connect_and_say_nothing_are_let_go(tmp_path, scheme):
    with scene(tmp_path, scheme) as s:
        held = []
        for i in range(3000):
            conn = socket.socket(socket.AF_UNIX)
            conn.setblocking(False)
            try:
                conn.connect(str(s.path))
                if len(held) < 100:
                    held.append(conn)
                    continue
            except OSError:
                pass
            conn.close()
            if i % 500 == 0:
                s.ask(5)
        s.ask()
        assert n_fds(s.roles["back"]) <= s.fds["back"] + 4
        for conn in held:
            conn.close()
        s.assert_still_served()


@SCHEMES
def test_attaching_again_and_again_costs_the_guest_itself(tmp_path, scheme):
    with scene(tmp_path, scheme) as s:
        n = 0
        end = time.monotonic() + 4
        while time.monotonic() < end:
            with contextlib.suppress(OSError, Lost):
                with Stranger(s.path, scheme, patience=1) as guest:
                    guest.greet()
                    n += 1
        assert 5 < n < 400  # 20 at once, then 20 a second at most.


# Who may do what.


def as_nobody(work):
    """Runs 'work' in a process of another user; what it returns."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    ours, theirs = multiprocessing.Pipe()

    def run():
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        theirs.send(work())

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    assert ours.poll(60)
    answer = ours.recv()
    child.join()
    return answer


def can_connect(path):
    with socket.socket(socket.AF_UNIX) as conn:
        try:
            conn.connect(str(path))
        except OSError as error:
            return error.errno
        return 0


def test_sockets_and_journal_are_the_brokers_users_own(tmp_path):
    with scene(tmp_path) as s:
        broker = s.broker
        for guest in ("web1", "web2"):
            mode = os.stat(broker.run_dir / (guest + ".chan")).st_mode
            assert stat.S_ISSOCK(mode) and not mode & 0o077
        assert not os.stat(broker.run_dir).st_mode & 0o022
        # The engine's group may enter it, nobody else.
        assert not os.stat(broker.state_dir).st_mode & 0o027
        for path in broker.state_dir.iterdir():
            assert not path.stat().st_mode & 0o022, path
        assert not os.stat(broker.run_dir / "saved").st_mode & 0o077
        assert as_nobody(lambda: can_connect(s.path)) == 13  # EACCES
        assert as_nobody(lambda: os.access(broker.state_dir, os.R_OK)) is False


def test_strangers_without_end_at_the_control_socket_are_turned_away(tmp_path):
    def flood(path):
        n, end = 0, time.monotonic() + 3
        while time.monotonic() < end:
            with socket.socket(socket.AF_UNIX) as conn:
                conn.setblocking(False)
                with contextlib.suppress(OSError):
                    conn.connect(path)
                    n += 1
        return n

    with scene(tmp_path) as s:
        turns = s.broker.ctl("status")["counts"]["turns"]
        path = str(s.broker.run_dir / "control.sock")
        began = time.monotonic()
        assert as_nobody(lambda: flood(path)) > 10
        passed = time.monotonic() - began
        # At most one in 10 ms for them; it was 8000 a second.
        assert s.broker.ctl("status")["counts"]["turns"] - turns < 400 * (passed + 2)
        rows = s.broker.ctl("events", "-n", "500")["rows"]
        denied = [row for row in rows if row["name"] == "CONTROL_DENIED"]
        assert 1 <= len(denied) <= passed + 3
        assert denied[0]["detail"]["uid"] == NOBODY


def test_bad_clients_of_the_control_socket_leave_it_to_the_good_ones(tmp_path):
    chance = random.Random(5)
    bad = [b"\0" * 70000, b"[" * 100000, b"{\"verb\":" * 10000, b"\xff" * 999 + b"\n",
           b'{"verb":"' + b"x" * 200000 + b'"}\n', chance.randbytes(50000) + b"\n",
           b'{"verb":"trace","cause":"' + b"9" * 300 + b'"}\n',
           b'{"verb":"events","n":500}\n' * 500, b'{"verb":"watch"}\n', b'{"verb"']
    with scene(tmp_path) as s:
        conns = []
        for i in range(60):
            try:
                conn = s.broker.dial()
            except BlockingIOError:
                time.sleep(0.05)  # More came at once than may wait.
                continue
            conns.append(conn)
            conn.setblocking(False)
            with contextlib.suppress(OSError):
                conn.send(bad[i % len(bad)])
            if len(conns) > 24:
                conns.pop(0).close()
        s.ask()
        with contextlib.closing(s.broker.dial()) as conn:
            conn.sendall(b'{"verb":"status"}\n')
            assert json.loads(conn.makefile().readline())["ok"]
        for conn in conns:
            conn.close()


def prepared(tmp_path):
    broker = Broker(guests=["web1"], scheme="unix")
    broker.run_dir.mkdir(mode=0o755)
    return broker


@pytest.mark.parametrize("name", ["web1.chan", "control.sock", "lock"])
def test_links_and_files_in_the_place_of_ours_are_not_followed(tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("precious\n")
    victim.chmod(0o600)
    for make in (lambda at: at.symlink_to(victim), lambda at: at.hardlink_to(victim)):
        with prepared(tmp_path) as broker:
            make(broker.run_dir / name)
            broker.launch()
            with contextlib.suppress(AssertionError):
                wait_until(lambda: broker.process.poll() is not None, "it ends", 3)
            if broker.process.poll() is not None:
                assert broker.process.returncode == 1
                assert str(broker.run_dir) in broker.said()
            else:
                assert broker.stop() == 0
        assert victim.read_text() == "precious\n"
        assert victim.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("which", ["run_dir", "state_dir"])
def test_a_directory_that_others_may_write_is_refused(tmp_path, which):
    with Broker(guests=["web1"]) as broker:
        getattr(broker, which).mkdir()
        getattr(broker, which).chmod(0o777)
        broker.launch()
        assert broker.process.wait(30) == 1
        assert "writable by nobody else" in broker.said()


def test_a_cpus_lock_that_a_user_holds_is_named_as_his(tmp_path):
    with Broker(guests=["web1"], pstate="cpufreq",
                extra='sys_dir = "%s";' % (tmp_path / "sys")) as broker:
        make_cpufreq(tmp_path / "sys")
        lock = broker.dir / "locks" / "mbroker-cpu0"
        lock.write_text("%d /run/mbroker\x1b[2J\n" % os.getpid())
        if os.geteuid() == 0:
            os.chown(lock, NOBODY, NOBODY)
        with open(lock) as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            broker.launch()
            assert broker.process.wait(30) == 1
        assert "uid %d has %s" % (os.stat(lock).st_uid, lock) in broker.said()
        assert "\x1b" not in broker.said()
        assert lock.read_text().startswith("%d " % os.getpid())
        broker.start()

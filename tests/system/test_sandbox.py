# SPDX-License-Identifier: Apache-2.0
"""What the processes of a running mbrokerd may do, as /proc and mctl doctor have
it: as root and as a user who isn't, with what was left out said aloud.  What they
may not is tried in tests/unit/broker/sandbox.c."""
import errno
import json
import os
import pathlib
import stat
import subprocess

import pytest

from harness import (MBROKERD, MCTL, PATIENCE, TOP, Broker,
                     make_cpufreq, max_freq, wait_until)

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)
SANITIZED = b"__asan_init" in MBROKERD.read_bytes() or b"__tsan_init" in MBROKERD.read_bytes()
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has users to give")
has_walls = pytest.mark.skipif(SANITIZED, reason="sanitizers need /proc and more calls")
# What counts branches writes its counts into files, and has no walls at all.
has_users = pytest.mark.skipif("MBROKER_NO_SANDBOX" in os.environ, reason="no sandbox is wanted")
NOBODY = 65534
STRANGER = 54321
CONFINED = ("back", "engine", "platform")


def status_of(pid):
    lines = pathlib.Path("/proc/%d/status" % pid).read_text().splitlines()
    return {key: value.split() for key, _, value in (l.partition(":") for l in lines)}


def doctor(broker, **more):
    done = broker.run_ctl("doctor", "--json", **more)
    data = json.loads(done.stdout)
    return done.returncode, {p["process"]: p for p in data["processes"]}


def starts_of(broker):
    """How often a broker began on this journal: a cause is START.NUMBER."""
    broker.run_ctl("policy", "set", "none")
    rows = broker.ctl("events", "-n", "5")["rows"]
    return int(rows[-1]["cause"].split(".")[0])


def mounts_of(process):
    return {m["path"]: m["writable"] for m in process["root"]["mounts"]}


class Unprivileged(Broker):
    """A broker that nobody started."""

    def launch(self):
        for path in (self.dir, self.dir / "locks"):
            os.chown(path, NOBODY, NOBODY)
        self.n_ready = self.said().count(": ready in ")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(MBROKERD), "--config", str(self.conf), "--lock-dir",
                 str(self.dir / "locks")], user=NOBODY, group=NOBODY, extra_groups=[],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        return self


def nobody_can_run():
    return not subprocess.run([str(MBROKERD), "--version"], user=NOBODY, group=NOBODY,
                              extra_groups=[], capture_output=True).returncode


# As root.


@as_root
@has_users
def test_each_process_has_a_user_of_its_own_and_no_way_to_another():
    with Broker(guests=["web1"]) as broker:
        broker.start()
        uids = set()
        for role, pid in broker.roles().items():
            status = status_of(pid)
            if role == "steward":
                assert status["Uid"] == ["0"] * 4
                continue
            assert len(set(status["Uid"] + status["Gid"])) == 1
            assert status["Groups"] == []
            uids.add(status["Uid"][0])
            assert status["NoNewPrivs"] == ["1"]
            assert int(status["CapBnd"][0], 16) == 0
            assert int(status["CapInh"][0], 16) == int(status["CapAmb"][0], 16) == 0
            kept = int(status["CapPrm"][0], 16)
            # CAP_KILL and CAP_SYS_NICE, for guests; nothing else.
            assert kept == (1 << 5 | 1 << 23 if role == "platform" else 0)
        assert len(uids) == 3 and "0" not in uids


@as_root
@has_users
@has_walls
def test_each_process_sees_nothing_but_its_directories():
    with Broker(guests=["web1"]) as broker:
        broker.start()
        for role, pid in broker.roles().items():
            root = pathlib.Path("/proc/%d/root" % pid)
            if role == "steward":
                continue
            seen = {path.name for path in root.iterdir()}
            if role == "back":
                assert seen == set()
            assert not seen & {"etc", "bin", "usr", "home", "root", "dev"}
            with pytest.raises(OSError):
                (root / "made-here").write_text("")
        engine = pathlib.Path("/proc/%d/root" % broker.roles()["engine"])
        journal = broker.state_dir / "journal"
        inside = engine / str(journal)[1:]
        assert inside.stat().st_ino == journal.stat().st_ino
        assert list(inside.parent.iterdir()) == [inside]


@as_root
@has_walls
def test_no_descriptor_of_a_directory_leads_outside():
    """Each is on a mount of its process's own namespace."""
    with Broker(guests=["web1"]) as broker:
        broker.start()
        for role in CONFINED:
            pid = broker.roles()[role]
            mounts = {line.split()[0] for line in pathlib.Path(
                "/proc/%d/mountinfo" % pid).read_text().splitlines()}
            for fd in os.listdir("/proc/%d/fd" % pid):
                if not os.path.isdir("/proc/%d/fd/%s" % (pid, fd)):
                    continue
                info = pathlib.Path("/proc/%d/fdinfo/%s" % (pid, fd)).read_text()
                mount = next(l.split()[1] for l in info.splitlines() if "mnt_id" in l)
                assert mount in mounts, (role, fd)


@as_root
@has_users
@has_walls
def test_doctor_reads_it_all_and_is_content():
    with Broker(guests=["web1"]) as broker:
        broker.start()
        code, found = doctor(broker)
        assert code == 0
        assert [found[role]["lacks"] for role in found] == [[]] * 5
        for role in CONFINED:
            process = found[role]
            assert process["pid"] == broker.roles()[role]
            assert process["uids"] == [int(u) for u in status_of(process["pid"])["Uid"]]
            assert process["no_new_privs"] is True
            assert {"mnt", "net", "ipc", "uts"} <= set(process["own_namespaces"])
            assert process["root"]["own"] is True
            assert process["descriptors"]["all"] == len(
                os.listdir("/proc/%d/fd" % process["pid"]))
            assert process["limits"]["core_bytes"] == 0
            assert process["seccomp"]["mode"] == "filter"
            if process["seccomp"]["allowed"] is not None:
                assert "%d system calls" % process["seccomp"]["allowed"] in broker.said()
        assert mounts_of(found["back"]) == {"/": False}
        assert mounts_of(found["engine"]) == {
            "/": False, str(broker.state_dir / "journal"): True}
        writable = [p for p, w in mounts_of(found["platform"]).items() if w]
        assert sorted(writable) == [str(broker.run_dir / "saved"),
                                    str(broker.state_dir / "cap")]
        assert found["back"]["limits"]["tasks"] == 0
        said = broker.run_ctl("doctor").stdout
        assert "All processes are in their sandboxes." in said
        assert "root            its own, empty" in said


@as_root
def test_doctor_interrupts_nobody():
    with Broker(guests=["web1"]) as broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        for _ in range(20):
            assert doctor(broker)[0] in (0, 1)
        assert broker.vm("web1")["agent"]
        assert broker.stop() == 0


@as_root
@has_users
@has_walls
def test_doctor_says_less_to_others_and_nothing_wrong():
    with Broker(guests=["web1"]) as broker:
        broker.start()
        code, found = doctor(broker, user=STRANGER, group=STRANGER, extra_groups=[])
        assert code == 0
        assert found["back"]["root"] is None
        assert found["back"]["own_namespaces"] is None
        assert found["back"]["no_new_privs"] is True
        assert found["back"]["seccomp"]["mode"] == "filter"


def test_doctor_without_a_broker_says_so(tmp_path):
    done = subprocess.run([str(MCTL), "--run-dir", str(tmp_path), "doctor"],
                          capture_output=True, text=True)
    assert done.returncode == 3 and "no broker runs here" in done.stderr


def test_doctor_is_not_taken_in_by_another_process(tmp_path):
    (tmp_path / "lock").write_text("%d %s\n" % (os.getpid(), tmp_path))
    done = subprocess.run([str(MCTL), "--run-dir", str(tmp_path), "doctor"],
                          capture_output=True, text=True)
    assert done.returncode == 3


@as_root
@has_users
@has_walls
def test_with_real_p_states_only_files_of_managed_cpus_can_be_written(tmp_path):
    tmp_path.chmod(0o755)
    make_cpufreq(tmp_path / "sys", cpus=(0, 1))  # 1 is not ours.
    (tmp_path / "sys" / "power").mkdir()
    with Broker(guests=["web1"], pstate="cpufreq", commands={"web1": "exec sleep 1000"},
                extra='sys_dir = "%s";' % (tmp_path / "sys")) as broker:
        broker.start()
        broker.agent("web1")
        wait_until(lambda: 0 < max_freq(tmp_path / "sys") < 2400000, "it is lowered")
        code, found = doctor(broker)
        assert code == 0
        mounts = mounts_of(found["platform"])
        assert mounts[str(tmp_path / "sys")] is False
        at = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
        assert {path for path, writable in mounts.items()
                if writable and path.startswith(str(tmp_path / "sys"))} == {
                    str(at / name) for name in ("scaling_max_freq", "scaling_min_freq",
                                                "scaling_governor")}
        inside = pathlib.Path("/proc/%d/root" % found["platform"]["pid"])
        for name, error in (("cpu0/cpufreq/scaling_max_freq", None),
                            ("cpu0/cpufreq/scaling_driver", errno.EROFS),
                            ("cpu1/cpufreq/scaling_max_freq", errno.EROFS)):
            try:
                os.close(os.open(str(inside / str(at.parent.parent)[1:] / name), os.O_WRONLY))
                assert error is None, name
            except OSError as refused:
                assert refused.errno == error, name
        assert "CAP_DAC_OVERRIDE" in found["platform"]["capabilities"]
        assert broker.stop() == 0
        assert max_freq(tmp_path / "sys") == 2400000


@as_root
def test_emulated_p_states_work_in_the_sandbox():
    with Broker(guests=["web1"], pstate="softpstate") as broker:
        broker.start()
        if "softpstate" not in broker.said().split("p-states: ")[1].split(",")[0]:
            pytest.skip("this machine lets nobody run real-time threads")
        pid = broker.roles()["platform"]
        wait_until(lambda: "thief/0" in {
            (path / "comm").read_text().strip()
            for path in pathlib.Path("/proc/%d/task" % pid).iterdir()}, "its thief runs")
        assert broker.stop() == 0


@as_root
def test_guests_are_not_in_the_sandbox():
    with Broker(guests=["web1"], commands={"web1": "exec sleep 1000"}) as broker:
        broker.start()
        wait_until(broker.guest_pids, "the guest runs")
        for pid in broker.guest_pids():
            status = status_of(pid)
            assert status["Uid"] == ["0"] * 4
            assert status["NoNewPrivs"] == status_of(os.getpid())["NoNewPrivs"]
            assert status["Seccomp"] == status_of(os.getpid())["Seccomp"]
            assert os.readlink("/proc/%d/ns/mnt" % pid) == os.readlink("/proc/self/ns/mnt")
            fds = [os.readlink("/proc/%d/fd/%s" % (pid, fd))
                   for fd in os.listdir("/proc/%d/fd" % pid)]
            assert not [f for f in fds if "socket" in f or str(broker.run_dir) in f]


@as_root
@pytest.mark.parametrize("setting, lacks", [
    ("root = false;", "an empty root"), ("seccomp = false;", "a filter of system calls"),
    ("users = false;", "a user of its own")])
def test_what_the_configuration_leaves_out_is_seen(setting, lacks):
    with Broker(guests=["web1"], extra="sandbox = { %s };" % setting) as broker:
        broker.start()
        code, found = doctor(broker)
        assert code == 1
        for role in CONFINED:
            assert any(l.startswith(lacks) for l in found[role]["lacks"]), found[role]
        assert broker.stop() == 0


# Users.


def check(tmp_path, text):
    path = tmp_path / "some.conf"
    path.write_text(text)
    return subprocess.run([str(MBROKERD), "--check", str(path)], capture_output=True,
                          text=True)


@as_root
@pytest.mark.parametrize("text, why", [
    ('sandbox = { back = "no-such-user"; };', "sandbox.back: there is no user"),
    ('sandbox = { back = "root"; };', "root is nobody to run it as"),
    ('sandbox = { back = "777"; engine = "777"; };', "are the same user"),
    ('sandbox = { colour = "red"; };', "colour"),
    ('guests = ( { name = "a"; vcpus = [0]; owner = "no-such-user"; } ); cpus = [0];',
     "there is no user"),
    ('guests = ( { name = "a"; vcpus = [0]; group = "no-such-group"; } ); cpus = [0];',
     "there is no group"),
    ('guests = ( { name = "a"; vcpus = [0]; mode = "777"; } ); cpus = [0];', "octal"),
    ('guests = ( { name = "a"; vcpus = [0]; mode = "060"; } ); cpus = [0];', "octal"),
    ('guests = ( { name = "a"; vcpus = [0]; mode = "rw"; } ); cpus = [0];', "octal"),
])
def test_users_that_make_no_sense_are_refused(tmp_path, text, why):
    done = check(tmp_path, text)
    assert done.returncode == 1 and why in done.stderr


@as_root
@has_users
def test_users_may_be_numbers():
    with Broker(guests=["web1"], extra='sandbox = { back = "60101"; engine = "60102"; '
                'platform = "60103"; };') as broker:
        broker.start()
        for role, uid in zip(CONFINED, ("60101", "60102", "60103")):
            assert status_of(broker.roles()[role])["Uid"] == [uid] * 4
        assert (broker.state_dir / "journal").stat().st_uid == 60102
        assert (broker.run_dir / "saved").stat().st_uid == 60103


@as_root
def test_a_journal_changes_hands_with_its_user():
    with Broker(guests=["web1"], extra="sandbox = { users = false; };") as broker:
        for uid, users in ((0, "users = false"), (60201, 'engine = "60201"'),
                           (60202, 'engine = "60202"'), (0, "users = false")):
            text = broker.conf.read_text()
            start = text.index("sandbox = {")
            broker.conf.write_text(text[:start] + "sandbox = { %s; };\n" % users)
            broker.start()
            n_starts = starts_of(broker)
            assert broker.stop() == 0
            for path in [broker.state_dir / "journal", *(broker.state_dir / "journal").iterdir()]:
                assert path.stat().st_uid == uid, path
        # It is one journal: four starts were counted.
        assert n_starts == 4


@as_root
def test_a_link_in_the_journals_directory_gives_nothing_away(tmp_path):
    """Who was the engine's user must not get a file of root's by a restart."""
    with Broker(guests=["web1"], extra="sandbox = { users = false; };") as broker:
        broker.start()
        broker.stop()
        secret = broker.dir / "secret"
        secret.write_text("root's")
        os.link(secret, broker.state_dir / "journal" / "hard")
        os.symlink(secret, broker.state_dir / "journal" / "soft")
        broker.conf.write_text(broker.conf.read_text().replace("users = false", "users = true"))
        broker.start()
        assert secret.stat().st_uid == 0
        assert broker.stop() == 0


@as_root
def test_a_journal_of_before_is_found_in_its_new_place():
    with Broker(guests=["web1"]) as broker:
        broker.start()
        broker.stop()
        for path in (broker.state_dir / "journal").iterdir():
            os.chown(path, 0, 0)
            path.rename(broker.state_dir / path.name)
        broker.start()
        assert starts_of(broker) == 2
        assert broker.stop() == 0
        assert not list(broker.state_dir.glob("journal.db*"))


@as_root
@has_walls
def test_a_state_directory_behind_a_link_will_do(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "there").mkdir(mode=0o750)
    with Broker(guests=["web1"]) as broker:
        broker.state_dir.symlink_to(tmp_path / "there")
        broker.start()
        assert doctor(broker)[1]["engine"]["lacks"] in ([], doctor(broker)[1]["back"]["lacks"])
        assert broker.stop() == 0
        assert (tmp_path / "there" / "journal" / "journal.db").exists()


# Guests' sockets.


@as_root
def test_an_agent_may_be_another_user():
    guest = '{ name = "web1"; vcpus = [0]; channel = "%s"; owner = "%d"; }'
    with Broker(guests=["web1"]) as broker:
        text = broker.conf.read_text()
        start, end = text.index("guests = ("), text.index(");", text.index("guests = ("))
        broker.conf.write_text(text[:start] + "guests = ( " + guest % (
            broker.channel("web1"), STRANGER) + " " + text[end:])
        broker.start()
        path = broker.run_dir / "web1.chan"
        assert path.stat().st_uid == STRANGER
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        reach = "import socket; socket.socket(socket.AF_UNIX).connect(%r)" % str(path)
        for uid, may in ((STRANGER, True), (NOBODY, False)):
            done = subprocess.run(["/usr/bin/python3", "-c", reach], user=uid, group=uid,
                                  extra_groups=[], capture_output=True)
            assert (done.returncode == 0) == may


@as_root
def test_a_socket_may_be_a_groups():
    with Broker(guests=["web1"]) as broker:
        broker.conf.write_text(broker.conf.read_text().replace(
            'name = "web1";', 'name = "web1"; group = "%d"; mode = "0660";' % STRANGER))
        broker.start()
        status = (broker.run_dir / "web1.chan").stat()
        assert (status.st_uid, status.st_gid) == (0, STRANGER)
        assert stat.S_IMODE(status.st_mode) == 0o660


# Without root.


@as_root
@has_users
@has_walls
def test_without_root_walls_stand_that_need_none():
    if not nobody_can_run():
        pytest.skip("another user can't run %s" % MBROKERD)
    with Unprivileged(guests=["web1"]) as broker:
        broker.start()
        code, found = doctor(broker)
        assert code == 1
        for role in CONFINED:
            process = found[role]
            assert process["uids"] == [NOBODY] * 4
            assert process["no_new_privs"] is True
            assert process["seccomp"]["mode"] == "filter"
            assert process["capabilities"] == []
            assert any(l.startswith("a user of its own") for l in process["lacks"])
        if "empty root (user namespace)" in broker.said():
            assert "user" in found["back"]["own_namespaces"]
            assert mounts_of(found["back"]) == {"/": False}
            assert "user" in found["platform"]["own_namespaces"]
        # Who asks at the control socket must not be a stranger by number.
        assert "user" not in found["engine"]["own_namespaces"]
        assert broker.stop() == 0


@as_root
def test_without_root_the_engine_still_knows_who_asks():
    if not nobody_can_run():
        pytest.skip("another user can't run %s" % MBROKERD)
    with Unprivileged(guests=["web1"]) as broker:
        broker.start()
        assert broker.run_ctl("policy", "set", "none").returncode == 0  # Root.
        for uid, may in ((NOBODY, True), (STRANGER, False)):
            done = broker.run_ctl("status", user=uid, group=uid, extra_groups=[])
            assert (done.returncode == 0) == may, (uid, done.stderr)


@as_root
def test_without_root_agents_and_guests_work():
    if not nobody_can_run():
        pytest.skip("another user can't run %s" % MBROKERD)
    with Unprivileged(guests=["web1"], power="",
                      commands={"web1": "exec sleep 1000"}) as broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        wait_until(lambda: broker.vm("web1")["state"] == "running", "the guest is seen")
        assert broker.run_ctl("vms", "freeze", "web1").returncode in (0, 2)
        assert broker.stop() == 0


@as_root
def test_who_requires_walls_does_without_none():
    if not nobody_can_run():
        pytest.skip("another user can't run %s" % MBROKERD)
    with Unprivileged(guests=["web1"], extra="sandbox = { required = true; };") as broker:
        # As nobody it has no users to give, and that alone is not its fault.
        broker.launch()
        wait_until(lambda: "ready in" in broker.said() or broker.process.poll() is not None,
                   "it decides")
        if "lacks" in broker.said():
            assert broker.process.wait(PATIENCE) == 1
            assert "sandbox.required" in broker.said()


@as_root
@has_walls
def test_a_root_that_has_all_may_require_it():
    with Broker(guests=["web1"], extra="sandbox = { required = true; };") as broker:
        broker.start()
        assert broker.stop() == 0


# The build.


def test_without_libseccomp_it_builds_and_says_so(tmp_path):
    done = subprocess.run(
        ["cc", "-D_GNU_SOURCE", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I", str(TOP),
         "-c", str(TOP / "broker/sandbox/calls.c"), "-o", str(tmp_path / "calls.o")],
        capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert b"libseccomp was missing" in (tmp_path / "calls.o").read_bytes()


def test_plugins_say_whether_filters_were_built():
    done = subprocess.run([str(MBROKERD), "--plugins"], capture_output=True, text=True)
    assert [l for l in done.stdout.splitlines() if l.startswith("sandbox seccomp: ")]

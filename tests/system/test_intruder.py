# SPDX-License-Identifier: Apache-2.0
"""A process of a running mbrokerd that somebody took over makes a system call
which only an intruder would: it dies of it, that is told with its name in the
log and in the journal, the others leave in good order, the hardware is as it was
found, and the next broker starts.  What else a process may not is tried in
tests/unit/broker."""
import json
import os
import signal
import subprocess

import pytest

import intruder
from harness import (MBROKERD, MCTL, PATIENCE, Broker, is_alive, make_cpufreq, max_freq,
                     wait_until)

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)
if os.geteuid() != 0 or not intruder.WORKS_HERE:
    pytest.skip("only root, on x86-64, can take a process over", allow_module_level=True)
if b"__asan_init" in MBROKERD.read_bytes() or b"__tsan_init" in MBROKERD.read_bytes():
    pytest.skip("sanitizers have no filter", allow_module_level=True)
if os.environ.get("MBROKER_NO_SANDBOX"):
    pytest.skip("there are no sandboxes", allow_module_level=True)
AF_INET, SOCK_STREAM = 2, 1


def died(broker):
    """What the journal says of who died, once the broker is gone."""
    done = subprocess.run(
        [str(MCTL), "events", str(broker.state_dir / "journal" / "journal.db"),
         "--type", "PROCESS_DIED", "--json"], capture_output=True, text=True)
    return [r["detail"]["reason"] for r in json.loads(done.stdout)["rows"]]


def real(tmp_path, **more):
    """A broker that has changed what stands for the hardware."""
    tmp_path.chmod(0o755)
    root = make_cpufreq(tmp_path / "sys")
    return root, Broker(guests=["web1"], pstate="cpufreq", hypervisor="process",
                        commands={"web1": "exec sleep 1000"},
                        extra='sys_dir = "%s";' % root, **more)


@pytest.mark.parametrize("role, call, arguments", [
    ("back", "execve", ()), ("back", "socket", (AF_INET, SOCK_STREAM)),
    ("back", "process_vm_readv", (1,)), ("engine", "socket", (AF_INET, SOCK_STREAM)),
    ("engine", "ptrace", (16, 1)), ("platform", "mount", ()), ("platform", "kill", (1, 0)),
])
def test_a_forbidden_call_ends_the_broker_in_good_order(tmp_path, role, call, arguments):
    root, broker = real(tmp_path)
    with broker:
        broker.start()
        broker.agent("web1")
        wait_until(lambda: 0 < max_freq(root) < 2400000, "it is lowered")
        pids = broker.roles()
        said = "%s (process %d) was killed by signal %d" % (role, pids[role], signal.SIGSYS)
        which = "it made the system call %s (%d), which only an intruder would" % (
            call, intruder.NUMBERS[call])
        intruder.inject(pids[role], call, *arguments)
        assert broker.process.wait(PATIENCE) == 1
        assert said in broker.said() and which in broker.said()
        assert not [pid for pid in pids.values() if is_alive(pid)]
        assert max_freq(root) == 2400000
        # Who writes the journal can't write of his own death; the next one does.
        assert len(died(broker)) == (0 if role == "engine" else 1)
        broker.start()
        assert broker.stop() == 0
        rows = died(broker)
        assert len(rows) == 1 and said in rows[0] and which in rows[0]
        broker.start()
        assert broker.stop() == 0
        assert len(died(broker)) == 1


def test_another_death_is_in_the_journal_too():
    with Broker(guests=["web1"]) as broker:
        broker.start()
        pid = broker.roles()["back"]
        os.kill(pid, signal.SIGKILL)
        assert broker.process.wait(PATIENCE) == 1
        assert died(broker) == ["back (process %d) was killed by signal 9 (Killed)" % pid]


def test_a_good_end_is_no_death():
    with Broker(guests=["web1"]) as broker:
        broker.start()
        assert broker.stop() == 0
        assert died(broker) == []
        assert not (broker.state_dir / "ended").exists()


@pytest.mark.parametrize("role", ["back", "engine", "platform"])
def test_who_would_not_be_caught_is_killed_without_a_word(role):
    with Broker(guests=["web1"]) as broker:
        broker.start()
        intruder.inject(broker.roles()[role], "rt_sigaction", signal.SIGSYS, 0, 0, 8)
        assert broker.process.wait(PATIENCE) == 1
        assert "it made a system call that only an intruder would" in broker.said()

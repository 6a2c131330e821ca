# SPDX-License-Identifier: Apache-2.0
"""Another configuration for a broker that runs: SIGHUP and mctl reload, taken by
all of its processes or by none, and what does not notice."""
import re
import signal
import subprocess
import time
import zlib

import pytest

from harness import MBROKERD, Broker, is_alive, wait_until

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)


def add_guest(broker, name, more=""):
    text = broker.conf.read_text()
    guest = '{ name = "%s"; vcpus = [0]; channel = "%s";%s }, ' % (
        name, broker.channel(name), more)
    broker.conf.write_text(text.replace("guests = ( ", "guests = ( " + guest))


def change(broker, old, new):
    text = broker.conf.read_text()
    assert old in text
    broker.conf.write_text(text.replace(old, new))


def names(broker):
    return sorted(vm["name"] for vm in broker.ctl("vms")["vms"])


def rows(broker, name):
    return [row for row in broker.ctl("events", "-n", "500")["rows"] if row["name"] == name]


def hang_up(broker):
    """SIGHUP, and what was in the log's next words about it."""
    before = len(re.findall("configuration .* is in force|is refused", broker.said()))
    broker.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(re.findall("configuration .* is in force|is refused",
                                      broker.said())) > before, "it was read again")


def test_guests_come_and_go_and_nobody_else_notices(tmp_path):
    with Broker(guests=["web1", "web2"]) as broker:
        broker.start()
        agents = [broker.agent("web1"), broker.agent("web2")]
        broker.wait_agents("web1", "web2")
        roles = broker.roles()
        add_guest(broker, "web3")
        assert broker.run_ctl("reload").stdout.strip() == "guest web3 added"
        assert names(broker) == ["web1", "web2", "web3"]
        broker.agent("web3")
        broker.wait_agents("web1", "web2", "web3")
        text = broker.conf.read_text()
        broker.conf.write_text(re.sub(r'\{ name = "web1".*?\}, ', "", text))
        assert broker.run_ctl("reload").stdout.strip() == "guest web1 removed"
        assert names(broker) == ["web2", "web3"]
        assert not (broker.run_dir / "web1.chan").exists()
        broker.wait_agents("web2", "web3")
        # The same processes, the same sessions: nobody came anew or was lost.
        assert broker.roles() == roles and agents[1].poll() is None
        assert broker.vm("web2")["agent"] and not rows(broker, "GUEST_LOST")
        ups = [row for row in rows(broker, "GUEST_UP") if row["detail"]["name"] == "web2"]
        assert len(ups) == 1
        # One that was taken out may come back.
        broker.conf.write_text(text)
        assert broker.run_ctl("reload").stdout.strip() == "guest web1 added"
        broker.wait_agents("web1", "web2", "web3")
        assert broker.stop() == 0


def test_no_message_is_lost_over_fifty_reloads(tmp_path):
    with Broker(guests=["web1", "web2"], extra="epoch_ms = 200;") as broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        text = broker.conf.read_text()
        for i in range(50):
            broker.requests("web1", 10, 0.0001)
            broker.conf.write_text(text.replace("epoch_ms = 200", "epoch_ms = %d" % (201 + i % 2)))
            if i % 2:
                add_guest(broker, "more%d" % (i % 4))
            done = broker.run_ctl("reload")
            assert done.returncode == 0, done.stderr
        wait_until(lambda: broker.vm("web1")["requests"] == 500, "all were heard of")
        assert not rows(broker, "GUEST_LOST") and broker.ctl("status")["counts"]["alarms"] == 0
        assert len(rows(broker, "CONFIG_SET")) == 50


@pytest.mark.parametrize("wrong, line, word", [
    ("nonsense = 1;", None, "nonsense"),
    ("guests_max = 1;", None, "guests_max"),
    ("epoch_ms = 5;", None, "epoch_ms"),
    ('state_dir = "', 2, "state_dir"),
    ('cpus = "0', 5, "cpus"),
    ("beat_ms = 300", 8, "beat_ms"),
    ('driver = "powermodel"', 10, "power"),
])
def test_a_bad_one_is_refused_by_line_and_the_last_good_stays(tmp_path, wrong, line, word):
    with Broker(guests=["web1", "web2"], cpus="0") as broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        before = broker.ctl("status")["reload"]["hash"]
        text = broker.conf.read_text()
        new = {'state_dir = "': 'state_dir = "/elsewhere', 'cpus = "0': 'cpus = "0-1',
               "beat_ms = 300": "beat_ms = 400",
               'driver = "powermodel"': 'driver = "sim"'}.get(wrong)
        broker.conf.write_text(text.replace(wrong, new) if new else text + wrong + "\n")
        if not line:
            line = next(i for i, t in enumerate(broker.conf.read_text().split("\n"), 1)
                        if (wrong if not new else new) in t)
        add_guest(broker, "web3")  # Nothing of it is taken.
        done = broker.run_ctl("reload")
        assert done.returncode == 1
        assert "%s:%d: " % (broker.conf, line) in done.stderr and word in done.stderr
        status = broker.ctl("status")
        assert status["reload"]["refused"] and status["reload"]["hash"] == before
        assert names(broker) == ["web1", "web2"]
        assert not (broker.run_dir / "web3.chan").exists()
        assert word in rows(broker, "CONFIG_REFUSED")[-1]["detail"]["reason"]
        # The last good one again, and then a new one that is.
        broker.conf.write_text(text)
        assert broker.run_ctl("reload").stdout.strip() == "nothing changed"
        assert not broker.ctl("status")["reload"]["refused"]
        assert broker.vm("web1")["agent"]


def test_status_says_which_configuration_is_in_force(tmp_path):
    with Broker() as broker:
        broker.start()
        was = broker.ctl("status")["reload"]
        assert was["hash"] == "%08x" % zlib.crc32(broker.conf.read_bytes())
        change(broker, "sample_ms = 100", "sample_ms = 110")
        hang_up(broker)
        now = broker.ctl("status")["reload"]
        assert now["hash"] == "%08x" % zlib.crc32(broker.conf.read_bytes())
        assert now["since_ns"] > was["since_ns"] and now["path"] == str(broker.conf)
        assert now["reason"] == "sample_ms"
        assert now["hash"] in broker.run_ctl("status").stdout


def test_what_an_operator_did_stays_unless_the_file_says_otherwise(tmp_path):
    with Broker(policy="basic") as broker:
        broker.start()
        assert broker.run_ctl("policy", "set", "none").returncode == 0
        change(broker, "sample_ms = 100", "sample_ms = 110")
        assert broker.run_ctl("reload").returncode == 0
        assert broker.ctl("status")["policy"] == "none"
        change(broker, "util_period_ms = 300", "util_period_ms = 400")
        assert broker.run_ctl("reload").stdout.strip() == "policy basic"
        assert broker.ctl("status")["policy"] == "basic"


def test_a_guest_with_a_command_is_started_and_runs_on_when_taken_out(tmp_path):
    with Broker(guests=["web1"]) as broker:
        broker.start()
        pid_file = broker.dir / "pid"
        text = broker.conf.read_text()
        add_guest(broker, "web3", ' command = "echo $$ > %s; exec sleep 600";' % pid_file)
        pid_file.touch()
        pid_file.chmod(0o666)
        assert broker.run_ctl("reload").returncode == 0
        wait_until(lambda: broker.vm("web3")["state"] == "running", "it was started")
        pid = int(wait_until(pid_file.read_text, "it said who it is"))
        with_it = broker.conf.read_text()
        broker.conf.write_text(text)
        assert broker.run_ctl("reload").returncode == 0
        assert names(broker) == ["web1"] and is_alive(pid)
        broker.conf.write_text(with_it)
        assert broker.run_ctl("reload").returncode == 0
        wait_until(lambda: broker.vm("web3")["state"] == "running", "it is found again")
        assert is_alive(pid) and pid_file.read_text().split() == [str(pid)]
        assert broker.run_ctl("vms", "end", "web3").returncode == 0
        wait_until(lambda: not is_alive(pid), "it ended")


def test_requests_that_wait_and_watchers_go_on(tmp_path):
    with Broker() as broker:
        broker.start()
        from harness import MCTL
        watcher = subprocess.Popen([str(MCTL), "--run-dir", str(broker.run_dir), "watch", "--json"],
                                   stdout=subprocess.PIPE, text=True)
        broker.others.append(watcher)
        watcher.stdout.readline()
        for i in range(3):
            change(broker, "sample_ms = %d" % (100 + i), "sample_ms = %d" % (101 + i))
            hang_up(broker)
        seen = ""
        for _ in range(200):
            seen += watcher.stdout.readline()
            if seen.count("CONFIG_SET") == 3:
                break
        assert seen.count("CONFIG_SET") == 3 and watcher.poll() is None


def test_who_may_only_look_may_not_reload(tmp_path):
    with Broker() as broker:
        broker.start()
        outsider = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--",
             str(broker.dir / "nothing")], capture_output=True)
        if outsider.returncode != 127:
            pytest.skip("not root")
        from harness import MCTL
        done = subprocess.run(
            ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--",
             str(MCTL), "--run-dir", str(broker.run_dir), "reload"],
            capture_output=True, text=True)
        assert done.returncode != 0
        time.sleep(0.3)
        assert not rows(broker, "CONFIG_SET") and rows(broker, "CONTROL_DENIED")


def test_many_hang_ups_at_once_end_in_the_last_file(tmp_path):
    with Broker() as broker:
        broker.start()
        for i in range(30):
            change(broker, "sample_ms = %d;" % (100 + i), "sample_ms = %d;" % (101 + i))
            broker.process.send_signal(signal.SIGHUP)
        wanted = "%08x" % zlib.crc32(broker.conf.read_bytes())
        wait_until(lambda: broker.ctl("status")["reload"]["hash"] == wanted, "the last holds")
        assert broker.stop() == 0


def test_replay_goes_on_over_a_reload_and_decides_the_same(tmp_path):
    with Broker(guests=["web1"], commands={"web1": "exec sleep 1000"},
                extra="end_guests = true;") as broker:
        broker.start()
        broker.agent("web1")
        broker.wait_agents("web1")
        add_guest(broker, "web9", ' command = "exec sleep 1000";')
        assert broker.run_ctl("reload").returncode == 0
        broker.agent("web9")
        broker.wait_agents("web9")
        broker.requests("web9", 50, 0.05)
        wait_until(lambda: broker.vm("web9")["violations"], "it was heard of")
        time.sleep(1)
        assert broker.stop() == 0
        done = broker.run_ctl("replay", str(broker.state_dir / "journal/journal.db"))
        assert done.returncode == 0, done.stdout + done.stderr
        assert " 0 differences" in done.stdout or "no difference" in done.stdout.lower()

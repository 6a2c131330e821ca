# SPDX-License-Identifier: Apache-2.0
"""The fail-safe table between real processes: each row of what must hold when
something fails, with a made-up register for the power cap that a test reads and
breaks from outside, and with files that stand for cpufreq."""
import os
import signal
import time

import pytest

from harness import (MBROKERD, Broker, is_alive, make_cpufreq, max_freq,
                     wait_until)

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)

FULL_KHZ, SLOWEST_KHZ = 2400000, 1000000


class Capped(Broker):
    """A broker that caps a made-up host; its register is the file 'cap'."""

    def __init__(self, directory, **more):
        self.sys = directory / "sys"
        guests = more.pop("guests", ["web1"])
        budget = more.pop("budget", "max_w = 300; safe_w = 120;")
        super().__init__(
            guests=guests, pstate="cpufreq",
            commands={guest: "exec sleep 1000" for guest in guests},
            extra='sys_dir = "%s"; end_guests = true; budget = { %s };'
            'cap = { driver = "sim"; cap_file = "devices/system/cpu/cap"; };%s'
            % (self.sys, budget, more.pop("extra", "")), **more)
        make_cpufreq(self.sys)
        self.register = self.sys / "devices/system/cpu/cap"
        self.register.write_text("mw 0000000000\nsets 0000000000\n")
        self.register.chmod(0o666)
        self.break_cap("none")

    def break_cap(self, how):
        aside = self.register.with_suffix(".fault.new")
        aside.write_text(how + "\n")
        aside.rename(self.register.with_suffix(".fault"))

    def watts(self):
        return int(self.register.read_text().split()[1]) // 1000

    def sets(self):
        return int(self.register.read_text().split()[3])

    def cap(self):
        return self.ctl("cap")

    def order(self, watts, *terms):
        return self.run_ctl("cap", "set", str(watts), *terms, "--json")

    def wait_cap(self, phase, watts=None):
        def is_there():
            cap = self.cap()
            return cap["phase"] == phase and (watts is None or cap["cap_w"] == watts)
        wait_until(is_there, "the cap is %s" % phase)

    def rows(self, name, kind=None):
        return [row for row in self.ctl("events", "-n", "500")["rows"]
                if row["name"] == name and (kind is None or row["kind"] == kind)]


def test_a_host_is_never_without_a_cap_and_an_order_is_confirmed(tmp_path):
    with Capped(tmp_path) as broker:
        broker.start()
        broker.wait_cap("confirmed", 120)
        assert broker.watts() == 120 and broker.cap()["safe"]
        done = broker.order(200)
        assert done.returncode == 0, done.stderr
        broker.wait_cap("confirmed", 200)
        assert broker.watts() == 200 and broker.sets() == 2
        # Written down, with who ordered what, before it was sent.
        action, = broker.rows("SET_CAP")
        outcome = [r for r in broker.rows("OUTCOME") if r["command"] == action["command"]]
        assert outcome[0]["detail"]["error"] == 0 and action["detail"]["mw"] == 200000
        assert outcome[0]["id"] > action["id"]
        # The broker leaves; the cap stays.
        assert broker.stop() == 0
        assert broker.watts() == 200


def test_a_lost_guest_keeps_the_cap_and_gives_back_its_pstate(tmp_path):
    with Capped(tmp_path) as broker:
        broker.start()
        broker.order(200)
        broker.wait_cap("confirmed", 200)
        agent = broker.agent("web1")
        broker.wait_agents("web1")
        wait_until(lambda: max_freq(broker.sys) < FULL_KHZ, "the idle VM is lowered")
        agent.send_signal(signal.SIGSTOP)  # Three beats are missed.
        wait_until(lambda: not broker.vm("web1")["agent"], "the agent is lost")
        wait_until(lambda: max_freq(broker.sys) == FULL_KHZ, "its p-state is as found")
        assert broker.watts() == 200 and broker.cap()["phase"] == "confirmed"
        agent.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("victims", [("back",), ("engine",), ("platform",),
                                     ("parent", "back", "engine", "platform")])
def test_a_crash_leaves_the_cap_and_the_next_broker_takes_it_up(tmp_path, victims):
    with Capped(tmp_path) as broker:
        broker.start()
        broker.order(200, "term=3", "order=5")
        broker.wait_cap("confirmed", 200)
        broker.agent("web1")
        broker.wait_agents("web1")
        wait_until(lambda: max_freq(broker.sys) < FULL_KHZ, "the idle VM is lowered")
        roles = dict(broker.roles(), parent=broker.process.pid)
        for victim in victims:
            os.kill(roles[victim], signal.SIGKILL)
        broker.process.wait(30)
        wait_until(lambda: not any(map(is_alive, roles.values())), "all are gone")
        assert broker.watts() == 200
        n_sets = broker.sets()
        broker.start()
        broker.wait_cap("confirmed", 200)
        cap = broker.cap()
        assert (cap["term"], cap["order"], cap["safe"]) == (3, 5, False)
        assert broker.sets() == n_sets  # Read back, not written again.
        # The old decider is still fenced, the next order is taken.
        assert broker.order(250, "term=2", "order=9").returncode == 1
        assert broker.order(250, "term=3", "order=5").returncode == 1
        assert broker.order(250).returncode == 0
        broker.wait_cap("confirmed", 250)


def test_a_crash_between_writing_down_and_acting_is_made_good(tmp_path):
    with Capped(tmp_path) as broker:
        broker.start()
        broker.order(200)
        broker.wait_cap("confirmed", 200)
        platform = broker.roles()["platform"]
        broker.break_cap("sticks")  # It is written down, and does not come.
        done = broker.order(250)
        assert done.returncode == 0
        wait_until(lambda: broker.sets() >= 3, "it was tried")
        for pid in [broker.process.pid, *broker.roles().values()]:
            os.kill(pid, signal.SIGKILL)
        broker.process.wait(30)
        wait_until(lambda: not is_alive(platform), "all are gone")
        broker.break_cap("none")
        assert broker.watts() == 200
        broker.start()
        broker.wait_cap("confirmed", 250)
        # What the dead one never heard of is said of its order, once.
        last = broker.rows("SET_CAP")[-1]
        outcomes = [r for r in broker.rows("OUTCOME") if r["command"] == last["command"]]
        assert len(outcomes) == 1 and outcomes[0]["detail"]["reconciled"]
        assert outcomes[0]["detail"]["error"] == 0


@pytest.mark.parametrize("fault", ["fails", "sticks", "gone"])
def test_a_cap_that_can_not_be_confirmed_clamps_pstates_and_alarms(tmp_path, fault):
    with Capped(tmp_path) as broker:
        broker.start()
        broker.wait_cap("confirmed", 120)
        broker.agent("web1", threshold_us=500)
        broker.wait_agents("web1")
        broker.break_cap(fault)
        before = broker.ctl("status")["counts"]["alarms"]
        assert broker.order(200).returncode == 0
        broker.wait_cap("clamped")
        assert broker.watts() == 120
        assert max_freq(broker.sys) == SLOWEST_KHZ
        assert broker.ctl("status")["counts"]["alarms"] > before
        assert broker.rows("CAP_CLAMPED")
        assert broker.ctl("why", "cpu0")["winner"]["rule"] == "arbiter/clamp"
        # Whoever violates now is not raised.
        broker.requests("web1", 50, 0.050)
        time.sleep(1)
        assert max_freq(broker.sys) == SLOWEST_KHZ
        broker.break_cap("none")
        broker.wait_cap("confirmed", 200)
        broker.requests("web1", 50, 0.050)
        wait_until(lambda: max_freq(broker.sys) > SLOWEST_KHZ, "p-states are free again")
        assert broker.watts() == 200


def test_pstates_that_stand_in_for_a_cap_outlive_the_broker(tmp_path):
    with Capped(tmp_path) as broker:
        broker.start()
        broker.wait_cap("confirmed", 120)
        broker.break_cap("sticks")
        broker.order(200)
        broker.wait_cap("clamped")
        assert broker.stop() == 0
        assert max_freq(broker.sys) == SLOWEST_KHZ
        broker.start()
        assert broker.cap()["phase"] == "clamped"
        assert max_freq(broker.sys) == SLOWEST_KHZ
        broker.break_cap("none")
        broker.wait_cap("confirmed")
        wait_until(lambda: max_freq(broker.sys) == FULL_KHZ, "they are as found")
        assert broker.stop() == 0
        assert max_freq(broker.sys) == FULL_KHZ


def test_a_late_cap_is_waited_for(tmp_path):
    with Capped(tmp_path) as broker:
        broker.start()
        broker.wait_cap("confirmed", 120)
        broker.break_cap("late")
        broker.order(200)
        broker.wait_cap("confirmed", 200)
        assert broker.watts() == 200 and broker.sets() == 2
        assert not broker.rows("CAP_CLAMPED")


def test_an_order_that_nobody_renews_ends_in_the_safe_cap(tmp_path):
    with Capped(tmp_path) as broker:
        broker.start()
        broker.wait_cap("confirmed", 120)
        broker.order(250, "lease_ms=1500")
        broker.wait_cap("confirmed", 250)
        broker.wait_cap("confirmed", 120)
        assert broker.watts() == 120 and broker.cap()["safe"]


def test_a_lease_of_another_boot_is_over(tmp_path):
    with Capped(tmp_path) as broker:
        broker.start()
        broker.wait_cap("confirmed", 120)
        broker.order(250, "lease_ms=3600000")
        broker.wait_cap("confirmed", 250)
        broker.stop()
        record = broker.state_dir / "cap" / "record"
        assert " 250000 " in record.read_text()
        # A record that somebody wrote in is no record: safe cap, and said.
        record.write_text(record.read_text().replace(" 250000 ", " 290000 "))
        broker.start()
        broker.wait_cap("confirmed", 120)
        assert "can't be read" in broker.said()
        # The journal still fences.
        assert broker.order(200, "term=0", "order=1").returncode == 1


def test_two_deciders_are_told_apart(tmp_path):
    with Capped(tmp_path) as broker:
        broker.start()
        broker.wait_cap("confirmed", 120)
        assert broker.order(200, "term=7", "order=1").returncode == 0
        broker.wait_cap("confirmed", 200)
        old = broker.order(290, "term=6", "order=50")
        assert old.returncode == 1 and "term 6 is over" in old.stdout + old.stderr
        twice = broker.order(290, "term=7", "order=1")
        assert twice.returncode == 1 and "taken already" in twice.stdout + twice.stderr
        beyond = broker.order(301, "term=8", "order=1")
        assert beyond.returncode == 1
        assert broker.watts() == 200 and broker.sets() == 2


def test_a_sensor_that_is_lost_leaves_the_budget(tmp_path):
    with Capped(tmp_path, power="rapl") as broker:
        zone = broker.sys / "class/powercap/intel-rapl:0"
        zone.mkdir(parents=True)
        (zone / "name").write_text("package-0\n")
        (zone / "energy_uj").write_text("1000\n")
        (zone / "max_energy_range_uj").write_text("262143328850\n")
        broker.start()
        broker.wait_cap("confirmed", 120)
        wait_until(lambda: broker.ctl("power")["quality"] == "measured", "it measures")
        (zone / "energy_uj").rename(zone / "energy_uj.away")
        wait_until(lambda: broker.ctl("power")["quality"] == "assumed", "it is lost")
        assert broker.ctl("power")["power_w"] == 120
        broker.break_cap("gone")
        broker.order(200)
        broker.wait_cap("clamped")
        assert broker.ctl("power")["power_w"] == 300
        (zone / "energy_uj.away").rename(zone / "energy_uj")
        wait_until(lambda: broker.ctl("power")["quality"] == "measured", "it is back")


def test_a_vm_that_may_run_elsewhere_is_left_alone():
    commands = {"web1": "-", "web2": "-"}
    with Broker(hypervisor="sim", commands=commands) as broker:
        broker.start()

        def state(name):
            return [vm["state"] for vm in broker.ctl("vms")["vms"] if vm["name"] == name]

        def refused():
            return [row["detail"]["reason"] for row in broker.ctl("events", "-n", "500")["rows"]
                    if row["name"] == "OUTCOME" and "reason" in row["detail"]]

        for guest, to in (("web1", "silent"), ("web2", "dead")):
            wait_until(lambda name=guest: state(name) == ["running"], "%s runs" % guest)
            assert broker.run_ctl("vms", "migrate", guest, to).returncode == 0
        wait_until(lambda: state("web1") == state("web2") == ["unsure"], "nobody knows")
        for op in ("thaw", "end", "start"):
            broker.run_ctl("vms", op, "web1")
        wait_until(lambda: len(refused()) >= 3, "they are refused")
        assert all("stays stopped here" in reason for reason in refused())
        assert state("web1") == ["unsure"]
        wait_until(lambda: state("web1") == ["ended"], "web1 is proved to run there")
        wait_until(lambda: state("web2") == ["running"], "web2 is proved not to")
        gone = [row["detail"]["reason"] for row in broker.ctl("events", "-n", "500")["rows"]
                if row["name"] == "VM_GONE"]
        assert gone == ["it runs on another host now"]
        assert broker.run_ctl("vms", "migrate", "web2").returncode == 2

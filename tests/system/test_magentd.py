# SPDX-License-Identifier: Apache-2.0
"""magentd as a program, on real log files, with a real broker's end of a channel
(bench/agent_bed, which writes no lines of its own here)."""
import http.server
import json
import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request

import pytest

BUILD = pathlib.Path(os.environ.get("MBROKER_BUILD", "build"))
MAGENTD = BUILD / "agent/magentd"
PATIENCE = 30  # Seconds until something is taken for never.


class Program:
    """A process whose lines can be waited for."""

    def __init__(self, command, stream):
        pipe = {stream: subprocess.PIPE}
        self.process = subprocess.Popen([str(word) for word in command],
                                        text=True, **pipe)
        self.lines, self.seen = queue.Queue(), []
        source = getattr(self.process, stream)
        self.reader = threading.Thread(target=self.read, args=(source,),
                                       daemon=True)
        self.reader.start()

    def read(self, source):
        for line in source:
            self.lines.put(line)

    def wait_for(self, wanted):
        """The first line not yet looked at that wanted() likes."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                line = self.lines.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError("never said: " + "".join(self.seen[-20:]))
            self.seen.append(line)
            if wanted(line):
                return line

    def end(self, signum=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(signum)
        return self.process.wait(PATIENCE)


class Scene:
    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "access.log"
        self.uri = "unix:%s" % (folder / "channel")
        self.programs = []

    def start(self, command, stream):
        program = Program(command, stream)
        self.programs.append(program)
        return program

    def broker(self):
        broker = self.start([BUILD / "bench/agent_bed", self.uri,
                             self.folder / "unused", 0, 600], "stdout")
        while not (self.folder / "channel").exists():
            assert broker.process.poll() is None
            time.sleep(0.01)
        return broker

    def agent(self, *options, probe=""):
        agent = self.start([MAGENTD, "--channel", self.uri, "--probe",
                            "httplog:path=%s%s" % (self.log, probe),
                            "--epoch-ms", "100", *options], "stderr")
        agent.wait_for(lambda line: "measures for the broker" in line)
        return agent

    def write(self, *times, path=None):
        with open(path or self.log, "a") as file:
            for seconds in times:
                file.write("%.3f %.3f 200\n" % (time.time(), seconds))


@pytest.fixture
def scene(tmp_path):
    scene = Scene(tmp_path)
    yield scene
    for program in scene.programs:
        program.end(signal.SIGKILL)


def welcomed(agent):
    agent.wait_for(lambda line: "welcomed as" in line)


def reports(broker, n_requests):
    """Waits for reports of so many requests; returns their violations."""
    sums = {"requests": 0, "violations": 0}

    def add(line):
        message = json.loads(line)
        if message.get("message") == "REPORT":
            for name in sums:
                sums[name] += message[name]
        return sums["requests"] >= n_requests
    broker.wait_for(add)
    assert sums["requests"] == n_requests
    return sums["violations"]


def test_requests_of_a_real_log_are_reported(scene):
    broker, agent = scene.broker(), scene.agent()
    welcomed(agent)
    scene.write(*[0.001] * 50 + [0.004] * 7)
    assert reports(broker, 57) == 7


def test_violation_is_noticed_before_it_is_reported(scene):
    broker, agent = scene.broker(), scene.agent()
    welcomed(agent)
    scene.write(0.009)
    first = json.loads(broker.wait_for(lambda line: '"violations": 1' in line))
    assert first["message"] == "NOTICE"
    second = json.loads(broker.wait_for(lambda line: '"violations": 1' in line))
    assert second["message"] == "REPORT"
    assert second["epoch"] == first["epoch"]


def test_tolerated_violations_raise_no_notice(scene):
    broker, agent = scene.broker(), scene.agent("--tolerated-percent", "50")
    welcomed(agent)
    scene.write(0.001, 0.009)
    assert reports(broker, 2) == 1
    assert not any("NOTICE" in line for line in broker.seen)


def test_log_rotated_by_renaming_loses_no_request(scene):
    scene.write(0.001)
    broker, agent = scene.broker(), scene.agent()
    welcomed(agent)
    for _ in range(5):
        scene.write(*[0.001] * 20)
        old = scene.log.with_suffix(".1")
        scene.log.rename(old)
        scene.write(0.002, path=old)
        scene.write(0.005)
        reports(broker, 22)


def test_log_cut_under_the_agent_is_read_on(scene):
    broker, agent = scene.broker(), scene.agent()
    welcomed(agent)
    scene.write(*[0.001] * 20)
    reports(broker, 20)
    os.truncate(scene.log, 0)
    scene.write(0.005, 0.005)
    assert reports(broker, 2) == 2


def test_agent_waits_for_a_broker_and_tells_it_what_it_saw(scene):
    agent = scene.agent()
    scene.write(*[0.001] * 10)
    time.sleep(0.3)
    broker = scene.broker()
    welcomed(agent)
    reports(broker, 10)


def test_agent_without_a_broker_says_so_once(scene):
    agent = scene.agent()
    line = agent.wait_for(lambda line: "no broker has answered" in line)
    assert str(scene.folder / "channel") in line
    broker = scene.broker()
    welcomed(agent)
    scene.write(0.001)
    reports(broker, 1)


def test_agent_outlives_a_killed_broker(scene):
    broker, agent = scene.broker(), scene.agent()
    welcomed(agent)
    broker.end(signal.SIGKILL)
    agent.wait_for(lambda line: "lost the broker" in line)
    (scene.folder / "channel").unlink()
    scene.write(0.001)
    broker = scene.broker()
    welcomed(agent)
    reports(broker, 1)
    assert agent.process.poll() is None


def test_sigterm_says_goodbye_and_exits_with_0(scene):
    broker, agent = scene.broker(), scene.agent()
    welcomed(agent)
    assert agent.end() == 0
    broker.wait_for(lambda line: '"BYE"' in line)


def test_sighup_changes_nothing(scene):
    broker, agent = scene.broker(), scene.agent()
    welcomed(agent)
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_for(lambda line: "SIGHUP" in line)
    scene.write(0.001)
    reports(broker, 1)


def test_nonsense_in_the_log_is_refused_and_told(scene):
    broker, agent = scene.broker(), scene.agent()
    welcomed(agent)
    with open(scene.log, "wb") as file:
        file.write(b"\0\1\2 binary\n" + b"x" * 100000 + b"\n-1 -1 -1\n")
    scene.write(0.001)
    reports(broker, 1)
    line = agent.wait_for(lambda line: "refused 3" in line)
    assert str(scene.log)[:40] in line


def test_log_that_is_a_directory_is_told_and_survived(scene):
    scene.log.mkdir()
    broker, agent = scene.broker(), scene.agent()
    line = agent.wait_for(lambda line: "can't measure" in line)
    assert "%s: " % scene.log in line
    scene.log.rmdir()
    scene.write(0.001)
    agent.wait_for(lambda line: "measures again" in line)
    reports(broker, 1)


class Worker(http.server.BaseHTTPRequestHandler):
    """What stands behind nginx: needs 6 ms for each request."""

    def do_GET(self):
        time.sleep(0.006)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


NGINX = """
{user}
daemon off; master_process on; worker_processes 1;
pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 64; }}
http {{
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2;
  fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4;
  scgi_temp_path {dir}/t5;
  log_format wanted '{format}';
  access_log {dir}/access.log wanted;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{worker}; }}
  }}
}}
"""

OURS = "$msec $request_time $status"
COMBINED = ("$remote_addr - $remote_user [$time_local] \"$request\" $status "
            "$body_bytes_sent \"$http_referer\" \"$http_user_agent\" "
            "$request_time")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def nginx(scene, log_format):
    """A real nginx as front of a worker; returns it and how to ask it."""
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if not program:
        pytest.skip("nginx is not installed (tools/bootstrap --test)")
    worker = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Worker)
    threading.Thread(target=worker.serve_forever, daemon=True).start()
    port = free_port()
    conf = scene.folder / "nginx.conf"
    conf.write_text(NGINX.format(
        dir=scene.folder, port=port, worker=worker.server_port,
        format=log_format, user="user root;" if os.getuid() == 0 else ""))
    front = scene.start([program, "-p", scene.folder, "-c", conf, "-e",
                         scene.folder / "error.log"], "stderr")

    def ask(n):
        for _ in range(n):
            url = "http://127.0.0.1:%d/" % port
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                assert answer.read() == b"ok"
    end = time.monotonic() + PATIENCE
    while True:
        try:
            ask(1)
            return front, worker, ask
        except OSError:
            assert time.monotonic() < end, "nginx does not answer"
            time.sleep(0.05)


@pytest.mark.parametrize("log_format", [OURS, COMBINED],
                         ids=["ours", "combined"])
def test_real_nginx_is_seen_through_its_rotation(scene, log_format):
    front, worker, ask = nginx(scene, log_format)
    try:
        broker, agent = scene.broker(), scene.agent(probe=",format=nginx")
        welcomed(agent)
        ask(20)
        scene.log.rename(scene.folder / "access.log.1")
        ask(10)  # Into the renamed file.
        front.process.send_signal(signal.SIGUSR1)
        while not scene.log.exists():
            time.sleep(0.01)
        ask(20)
        # Slower than 3 ms, each of them: an agent that sees 0 ms is blind.
        assert reports(broker, 50) == 50
    finally:
        front.end(signal.SIGQUIT)
        worker.shutdown()
        worker.server_close()


def run(*options):
    return subprocess.run([str(MAGENTD), *map(str, options)], text=True,
                          capture_output=True, timeout=PATIENCE)


@pytest.mark.parametrize("options, words", [
    (["--no-such"], "no such option"),
    (["--epoch-ms"], "needs a value"),
    (["--epoch-ms", "0"], "epoch_ms"),
    (["--epoch-ms", "5oo"], "epoch_ms"),
    (["--tolerated-percent", "101"], "tolerated_percent"),
    (["--probe", "gpu"], "gpu"),
    (["--probe", "httplog:colour=red"], "colour"),
    (["--probe", "httplog"], "path"),
    (["--probe", "sim"], "msim"),
    (["--check", "--probe", "httplog"], "path"),
    (["--claim", "a/b"], "claim"),
    (["--config", "/nonexistent.conf"], "/nonexistent.conf"),
    (["--channel", "pigeon:post"], "pigeon:post"),
    (["--check", "--channel", "pigeon:post"], "pigeon:post"),
    (["stray"], "stray"),
])
def test_wrong_options_are_named_and_exit_with_2(options, words):
    done = run(*options)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_check_names_file_and_line(tmp_path):
    conf = tmp_path / "magentd.conf"
    conf.write_text('epoch_ms = 500;\nprobs = ();\n')
    done = run("--config", conf, "--check")
    assert done.returncode == 2
    assert "%s:2: " % conf in done.stderr and "probs" in done.stderr
    told = json.loads(run("--config", conf, "--check", "--json").stdout)
    assert told["ok"] is False and "probs" in told["reason"]


def test_check_accepts_what_is_right(tmp_path):
    conf = tmp_path / "magentd.conf"
    conf.write_text('threshold_us = 6000;\n'
                    'probes = ( { name = "httplog"; path = "/x"; } );\n')
    done = run("--config", conf, "--check", "--epoch-ms", "250")
    assert (done.returncode, done.stdout) == (0, "ok\n")


def test_it_says_what_it_is_to_people_and_programs():
    assert run("--version").stdout.startswith("magentd ")
    assert json.loads(run("--version", "--json").stdout)["protocol_max"] >= 1
    names = [p["name"] for p in json.loads(run("--probes", "--json").stdout)]
    assert "httplog" in names and "cpu" in names
    text = run("--help").stdout
    assert "--tolerated-percent" in text and "--probe" in text
    assert "httplog" in run("--probes").stdout

# SPDX-License-Identifier: Apache-2.0
"""demo/load against servers that stall, fail, lie and hang: it counts from each
request's due moment, and always ends in time."""
import json
import os
import pathlib
import socket
import subprocess
import threading
import time

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
LOAD = pathlib.Path(os.environ.get("MBROKER_BUILD") or TOP / "build").resolve() / "demo/load"
PATIENCE = 30

if not LOAD.exists():
    pytest.skip("%s is not built" % LOAD, allow_module_level=True)

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Server:
    """Answers each request by what 'behave' gives; None: hangs up."""

    def __init__(self, behave):
        self.behave, self.n = behave, 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            try:
                while self.answer(connection):
                    pass
            except OSError:
                pass

    def answer(self, connection):
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            more = connection.recv(65536)
            if not more:
                return False
            data += more
        with self.lock:
            self.n += 1
            n = self.n
        reply = self.behave(n)
        if reply is None:
            return False
        connection.sendall(reply)
        return True

    def close(self):
        self.listener.close()


@pytest.fixture
def serve():
    servers = []

    def start(behave):
        servers.append(Server(behave))
        return servers[-1]
    yield start
    for server in servers:
        server.close()


def load(servers, *words):
    command = [str(LOAD), *words]
    for server in servers:
        command += ["--target", "127.0.0.1:%d" % server.port]
    begin = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[:-1], lines[-1], time.monotonic() - begin


def test_every_request_is_counted_for_its_target(serve):
    servers = [serve(lambda n: REPLY) for _ in range(3)]
    seconds, total, _ = load(servers, "--rate", "100", "--seconds", "2.2", "--seed", "3")
    assert total["sent"] == total["done"] == sum(server.n for server in servers)
    assert [t["done"] for t in total["targets"]] == [server.n for server in servers]
    assert total["errors"] == total["unanswered"] == 0
    assert len(seconds) == 2
    assert 0 < total["p50_us"] <= total["p99_us"] <= total["max_us"]


def test_same_seed_sends_the_same_load(serve):
    words = ("--rate", "200", "--curve", "0.2 1 0.2", "--seconds", "1", "--seed", "5")
    counts = [load([serve(lambda n: REPLY)], *words)[1]["sent"] for _ in range(2)]
    assert counts[0] == counts[1]


def test_stall_counts_for_all_that_were_due_meanwhile(serve):
    """A client that waits for answers before it sends would see one slow
    request; here all that were due during the stall are slow."""
    stalled = threading.Lock()

    def behave(n):
        with stalled:
            if n == 50:
                time.sleep(1)
        return REPLY
    _, total, _ = load([serve(behave)], "--rate", "100", "--seconds", "3",
                       "--threshold-us", "200000", "--connections", "4")
    assert total["over"] >= 50
    assert total["max_us"] >= 900000


def test_settling_time_is_not_in_the_total(serve):
    seconds, total, _ = load([serve(lambda n: REPLY)], "--rate", "100", "--seconds", "3",
                             "--settle", "2")
    assert total["sent"] < sum(line["sent"] for line in seconds)
    assert total["sent"] < 200


def test_failures_count_as_too_slow(serve):
    def behave(n):
        return {0: None, 1: b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
                2: b"what?\r\n"}.get(n % 10, REPLY)
    _, total, _ = load([serve(behave)], "--rate", "100", "--seconds", "2",
                       "--threshold-us", "20000000")
    assert total["errors"] > 20
    assert total["over"] == total["errors"]
    assert total["done"] == total["sent"]


def test_hanging_server_does_not_hang_the_load(serve):
    forever = threading.Event()
    server = serve(lambda n: forever.wait(PATIENCE) and None)
    _, total, took = load([server], "--rate", "100", "--seconds", "1",
                          "--connections", "8")
    forever.set()
    assert total["unanswered"] == total["sent"] == total["over"] > 50
    assert total["done"] == 0
    assert took < 15


def test_dead_server_is_said():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    done = subprocess.run([str(LOAD), "--target", "127.0.0.1:%d" % port, "--seconds", "1"],
                          capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "can't connect" in done.stderr


@pytest.mark.parametrize("words", [
    [], ["--target", "x"], ["--target", "127.0.0.1:0"], ["--target", "127.0.0.1:99999"],
    ["--target", "127.0.0.1:80", "--rate", "-1"], ["--target", "127.0.0.1:80", "more"],
    ["--target", "127.0.0.1:80", "--curve", "2"], ["--target", "127.0.0.1:80", "--what"],
    ["--target", "127.0.0.1:80", "--seconds", "nan"]])
def test_wrong_command_lines_are_refused(words):
    done = subprocess.run([str(LOAD), *words], capture_output=True, text=True,
                          timeout=PATIENCE)
    assert done.returncode == 2
    assert "usage: load" in done.stderr

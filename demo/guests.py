# SPDX-License-Identifier: Apache-2.0
"""What the demo's guests are made of: for each an nginx that works (it
compresses a page for every request), an nginx as its front (keep-alive
proxy_pass), and a magentd that reads the front's log.

Why a front: nginx's $request_time stays 0 while all of a request is done within
one turn of its event loop, however long that takes.  As a front it waits for
the worker like any client, and logs what that took, in milliseconds.  As root
both run at a better priority than what else the machine does (nice), so that
response times tell of the p-state more than of the neighbours; and the front
at a better one than the worker, since its log begins when it reads a request,
and a front that waits for a CPU sees less than its clients.
"""
import os
import pathlib
import random
import shlex
import time
import zlib

COUNT = 4
PAGE = "page.txt"
WORK_MS = 0.5           # CPU time that compressing the page shall take.
PAGE_MIN, PAGE_MAX = 4 << 10, 400 << 10
GZIP_LEVEL = 6          # nginx's and ours, for the calibration.
LOG_FORMAT = "$msec $request_time $status"  # probe/httplog's.

COMMON = """\
daemon off; worker_processes 1; worker_rlimit_nofile 1024;{user}
error_log {dir}/{part}.err warn; pid {dir}/{part}.pid;
events {{ worker_connections 512; }}
http {{
    client_body_temp_path {dir}/{part}-1; proxy_temp_path {dir}/{part}-2;
    fastcgi_temp_path {dir}/{part}-3; uwsgi_temp_path {dir}/{part}-4;
    scgi_temp_path {dir}/{part}-5;
    keepalive_requests 1000000000; keepalive_timeout 1h; tcp_nodelay on;
"""

WORKER = COMMON + """\
    access_log off; types {{ text/plain txt; }} open_file_cache max=4;
    gzip on; gzip_comp_level {level}; gzip_types text/plain; gzip_proxied any;
    output_buffers 2 512k;
    server {{ listen unix:{dir}/worker.sock; root {www}; }}
}}
"""

FRONT = COMMON + """\
    log_format mbroker '{log_format}'; access_log {dir}/access.log mbroker;
    upstream worker {{
        server unix:{dir}/worker.sock;
        keepalive 128; keepalive_requests 1000000000; keepalive_time 1d;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://worker; proxy_http_version 1.1;
            proxy_set_header Connection ""; proxy_set_header Accept-Encoding gzip;
        }}
    }}
}}
"""

# The guest's own init: all three live and die together.
COMMAND = """\
#!/bin/sh
cd {dir} || exit 1
trap 'kill $all 2>/dev/null; wait; exit 0' TERM INT HUP
{first}{nginx} -e {dir}/worker.err -c {dir}/worker.conf & all=$!
{foremost}{nginx} -e {dir}/front.err -c {dir}/front.conf & all="$all $!"
{magentd} --channel {channel} --threshold-us {threshold_us} \\
    --probe httplog:path={dir}/access.log,format=nginx,period_ms=50 \\
    --probe cpu --log-level warn & all="$all $!"
wait
"""


class Guest:
    def __init__(self, top, number, cpu):
        self.name = "web%d" % (number + 1)
        self.cpu = cpu
        self.port = 0
        self.dir = pathlib.Path(top) / self.name
        self.channel = "shm:%s/run/%s.chan" % (top, self.name)

    def write(self, nginx, magentd, www, threshold_us, port):
        """Writes its files; returns the command that starts it."""
        self.dir.mkdir(mode=0o755)
        self.port = port
        words = {"dir": self.dir, "www": www, "level": GZIP_LEVEL, "port": port,
                 "log_format": LOG_FORMAT,
                 "user": " user %s;" % unprivileged() if os.getuid() == 0 else ""}
        (self.dir / "worker.conf").write_text(WORKER.format(part="worker", **words))
        (self.dir / "front.conf").write_text(FRONT.format(part="front", **words))
        script = self.dir / "guest.sh"
        script.write_text(COMMAND.format(
            dir=shlex.quote(str(self.dir)), nginx=shlex.quote(nginx),
            first="nice -n -10 " if os.getuid() == 0 else "",
            foremost="nice -n -15 " if os.getuid() == 0 else "",
            magentd=shlex.quote(str(magentd)), channel=shlex.quote(self.channel),
            threshold_us=threshold_us))
        return "exec /bin/sh %s" % shlex.quote(str(script))

    def troubles(self):
        """What its servers complained of."""
        lines = []
        for part in ("worker", "front"):
            path = self.dir / (part + ".err")
            if path.exists():
                lines += ["%s %s: %s" % (self.name, part, line)
                          for line in path.read_text(errors="replace").splitlines()]
        return lines


def unprivileged():
    """The user nginx's workers become when we are root."""
    import grp
    import pwd
    for user in ("www-data", "nobody"):
        try:
            return "%s %s" % (user, grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name)
        except KeyError:
            continue
    return "root"


def text(size):
    """Words, the same every time, that compress about as prose does."""
    chance = random.Random(1)
    words = ["".join(chance.choice("etaoinshrdlucmfwyp")
                     for _ in range(chance.randint(2, 9))) for _ in range(2000)]
    parts, length = [], 0
    while length < size:
        word = chance.choice(words)
        parts.append(word)
        length += len(word) + 1
    return " ".join(parts)[:size].encode()


def write_page(www):
    """Writes the page, as large as makes compressing it take WORK_MS on this
    machine.  Returns its size and the milliseconds measured."""
    www.mkdir(mode=0o755)
    sample = text(64 << 10)
    best_s = min(compress_s(sample) for _ in range(15))
    size = int(len(sample) * WORK_MS / (best_s * 1000))
    size = max(PAGE_MIN, min(PAGE_MAX, size))
    page = text(size)
    (www / PAGE).write_bytes(page)
    return size, min(compress_s(page) for _ in range(15)) * 1000


def compress_s(data):
    begin = time.thread_time()
    machine = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)
    machine.compress(data)
    machine.flush()
    return time.thread_time() - begin

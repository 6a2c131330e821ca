#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many channels at a real mbrokerd for long: all that was sent was heard or
counted as dropped, and no process of the broker grows.

usage: run.py [--build DIR] [--json FILE] [--channels N] [--rate N]
              [--seconds N] [--warm-up N] [--scheme shm|unix]

One program (bench/crowd) has all the channels. Each says --rate messages a
second: four reports, then a beat, whose answer tells the round trip. Before that
come --warm-up beats of each, by which each ring was used from end to end, which
else takes ten minutes. Then memory is what /proc says of every process of the
broker, looked at each second. Growth is of the last tenth's mean
over the first tenth's. Exits 1 if anything is missing or grew by 1 % or more.
"""
import argparse
import json
import os
import pathlib
import statistics
import sys
import threading
import time

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "bench"))
import crowds  # pylint: disable=wrong-import-position

GROWTH_MAX = 0.01


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default=str(TOP / "build"))
    parser.add_argument("--json", help="instead of BUILD/load.json")
    parser.add_argument("--channels", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=10, help="each, a second")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--warm-up", type=int, default=1600, help="beats of each")
    parser.add_argument("--scheme", choices=["shm", "unix"], default="shm")
    return parser.parse_args()


class Watch(threading.Thread):
    """Looks at the broker's memory each second until it is told to stop."""

    def __init__(self, broker):
        super().__init__(daemon=True)
        self.broker, self.done, self.seen = broker, threading.Event(), []

    def run(self):
        while not self.done.wait(1):
            self.seen.append(self.broker.rss_kb())

    def growth(self):
        """{process: (first kB, last kB, share)}, and of all together."""
        n = max(1, len(self.seen) // 10)
        roles = self.seen[0]
        found = {}
        for role in list(roles) + ["all"]:
            row = [sum(s.values()) if role == "all" else s[role] for s in self.seen]
            first, last = statistics.mean(row[:n]), statistics.mean(row[-n:])
            found[role] = (first, last, last / first - 1)
        return found


def measure(args):
    with crowds.Broker(args.build, args.channels, args.scheme) as broker:
        crowd = broker.crowd(0, args.channels - 1, args.rate,
                             args.seconds, warm_up=args.warm_up)
        cpu, began = broker.cpu_s(), time.monotonic()
        watch = Watch(broker)
        watch.start()
        made = crowd.counts()
        watch.done.set()
        watch.join()
        passed, after = time.monotonic() - began, broker.cpu_s()
        usage = broker.usage()
        crowd.end()
    total = {key: sum(u[key] for u in usage.values())
             for key in ("messages", "dropped", "denied", "refused", "waits",
                         "memory_bytes")}
    dropped = total["dropped"] + total["denied"] + total["refused"]
    return {
        "channels": args.channels, "rate": args.rate, "scheme": args.scheme,
        "seconds": args.seconds, "warm_up": args.warm_up,
        "sent": made["sent"], "received": total["messages"], "dropped": dropped,
        "missing": made["sent"] - total["messages"] - dropped,
        "acked": made["acked"], "beats": made["beats"], "replies": made["replies"],
        "lost_channels": made["lost_channels"],
        "rtt_p50_us": made["rtt_p50_us"], "rtt_p99_us": made["rtt_p99_us"],
        "cpu_percent": {role: round((after[role] - cpu[role]) / passed * 100, 2)
                        for role in after},
        "rss_kb": {role: {"first": round(first), "last": round(last),
                          "growth": round(share, 5)}
                   for role, (first, last, share) in watch.growth().items()},
    }


def faults(found):
    """What is not as it should be."""
    if found["missing"] or found["acked"] != found["sent"]:
        yield "%d messages are missing, %d not acknowledged" % (
            found["missing"], found["sent"] - found["acked"])
    if found["replies"] != found["beats"]:
        yield "%d beats were not answered" % (found["beats"] - found["replies"])
    if found["sent"] < 0.9 * found["channels"] * found["rate"] * found["seconds"]:
        yield "the crowd said too little: %d messages" % found["sent"]
    if found["lost_channels"]:
        yield "%d channels were lost" % found["lost_channels"]
    for role, rss in found["rss_kb"].items():
        if rss["growth"] >= GROWTH_MAX:
            yield "%s grew by %.2f %%" % (role, rss["growth"] * 100)


def show(found):
    print("%d channels (%s:), %d messages/s each, %d s after %d beats of warm-up each" % (
        found["channels"], found["scheme"], found["rate"], found["seconds"],
        found["warm_up"]))
    print("sent %d = received %d + counted drops %d%s" % (
        found["sent"], found["received"], found["dropped"],
        "" if not found["missing"] else ": MISSING %d" % found["missing"]))
    print("round trip p50 %.0f us, p99 %.0f us" % (found["rtt_p50_us"],
                                                  found["rtt_p99_us"]))
    print("%-10s %12s %12s %10s %8s" % ("process", "RSS kB", "at the end",
                                        "growth", "CPU %"))
    for role, rss in found["rss_kb"].items():
        print("%-10s %12d %12d %9.2f%% %8s" % (
            role, rss["first"], rss["last"], rss["growth"] * 100,
            found["cpu_percent"].get(role, "")))


def main():
    args = parse()
    path = args.json or os.path.join(args.build, "load.json")
    found = measure(args)
    found["faults"] = list(faults(found))
    with open(path, "w") as file:
        json.dump(found, file, indent=1)
        file.write("\n")
    show(found)
    for fault in found["faults"]:
        print("FAULT: " + fault)
    print("written to %s" % path)
    return 1 if found["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""What 99 guests notice of a hundredth that sends at 100 times its quota: their
round trip through a real mbrokerd (a beat to its answer), with the flood and
without it, in turns, over shm channels.

Each of the 99 says ten messages a second, every other one a beat. The noisy one
has the default quota, 1,000 messages a second, and offers 100,000; what its
channel does not take it throws away and goes on. A round counts only if every
message of the 99 was heard: sent = heard, nothing dropped, denied or refused.
"""
import figures
import crowds

FIGURES = ["noisy_neighbour_p99"]

N_GUESTS, NOISY = 100, 99
RATE, QUOTA, TIMES = 10, 1000, 100
RATIO = 2  # p99 with the flood, of that without.


def heard_all(before, after, sent):
    """Raises if of the good guests' messages any was not heard."""
    good = [n for n in after if n != NOISY]
    heard = sum(after[n]["messages"] - before[n]["messages"] for n in good)
    lost = sum(after[n][key] - before[n][key] for n in good
               for key in ("dropped", "denied", "refused"))
    if heard != sent or lost:
        raise RuntimeError("of %d messages of the 99, %d were heard and %d "
                           "counted as lost" % (sent, heard, lost))


def one(broker, seconds, flood):
    before = broker.usage()
    noisy = broker.crowd(NOISY, NOISY, QUOTA * TIMES, seconds + 4, pushy=True) \
        if flood else None
    good = broker.crowd(0, NOISY - 1, RATE, seconds, beat_each=2)
    made = good.counts()
    offered = noisy.counts() if noisy else None
    after = broker.usage()
    heard_all(before, after, made["sent"])
    good.end()
    if noisy:
        noisy.end()
        offered["heard"] = after[NOISY]["messages"] - before[NOISY]["messages"]
        offered["dropped"] = sum(after[NOISY][k] - before[NOISY][k]
                                 for k in ("dropped", "denied"))
    return made, offered


def run(bed):
    rounds, last = {False: [], True: []}, None
    seconds = max(2, int(bed.seconds / 2))
    bed.program("bench/crowd")
    bed.program("broker/mbrokerd")
    with crowds.Broker(bed.build, N_GUESTS) as broker:
        for i in range(2 * max(3, bed.rounds)):
            flood = i % 4 in (1, 2)  # In turns: without, with, with, without.
            made, offered = one(broker, seconds, flood)
            last = offered or last
            rounds[flood].append({"value": made["rtt_p99_us"],
                                  "p50": made["rtt_p50_us"]})
    print("%d guests at %d/s; one at %d times its quota: offered %.0f/s, taken "
          "%.0f/s, heard %.0f/s, the rest dropped and counted" % (
              N_GUESTS - 1, RATE, TIMES,
              (last["sent"] + last["not_taken"]) / last["seconds"],
              last["sent"] / last["seconds"],
              last["heard"] / last["seconds"]))
    print("%-20s %10s %10s   %s" % ("", "p50 us", "p99 us", "each round's p99"))
    for flood, name in ((False, "without the flood"), (True, "with the flood")):
        print("%-20s %10.1f %10.1f   %s" % (
            name, figures.median_of(rounds[flood], "p50"),
            figures.median_of(rounds[flood]),
            " ".join("%.0f" % r["value"] for r in rounds[flood])))
    quiet = figures.median_of(rounds[False])
    loud = figures.median_of(rounds[True])
    return [figures.figure("noisy_neighbour_p99", loud, "us", RATIO * quiet,
                           ratio={"quiet": loud / quiet},
                           target_ratio={"quiet": RATIO})]

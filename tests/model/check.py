# SPDX-License-Identifier: Apache-2.0
"""Has spin check ring.pml, and find the error in each version of it from which
one fence, order or look was taken out.  An error's trail is told in words in
FOLDER/NAME.trail.

usage: check.py [--deep] FOLDER      (speaks TAP)

  --deep   larger bounds, which take some minutes and 4 GB (make test-model)
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
MODEL = TOP / "tests/model/ring.pml"
DEEP = "--deep" in sys.argv
FOLDER = pathlib.Path(sys.argv[-1])

TSO, WEAK, SC = "MEMORY_TSO", "MEMORY_WEAK", "MEMORY_SC"
# What an error looks like in pan's words.
SLEEPS = r"assertion violated (\(?stopped\)?|\(n_received==n_sent\))"
MISREADS = r"assertion violated \(?\(?(memory\[|early)"
OVERWRITES = r"assertion violated .*tail_seen"
GOES_ROUND = r"non-progress cycle"

# name: memory, messages, further macros.  Without an error.
HOLDS = {
    "stores_that_wait_as_on_x86": (TSO, 3, []),
    "stores_in_any_order_as_in_C11": (WEAK, 3, []),
    "no_wish_is_too_much_where_stores_are_seen_at_once":
        (SC, 3, ["NO_FENCE_MUST_WAKE", "NO_FENCE_TX_ARM", "NO_FENCE_RX_RELEASE",
                 "NO_FENCE_RX_ARM"]),
}
HOLDS_DEEP = {
    "stores_that_wait_as_on_x86": (TSO, 5, []),
    "stores_in_any_order_as_in_C11": (WEAK, 5, []),
    "larger_store_buffers": (TSO, 4, ["STORES=8"]),
    "larger_store_buffers_in_any_order": (WEAK, 4, ["STORES=6"]),
    "a_ring_of_eight_slots": (TSO, 5, ["SLOTS=8"]),
    "a_ring_of_eight_slots_in_any_order": (WEAK, 5, ["SLOTS=8"]),
    "another_number_of_wakes_left": (TSO, 4, ["WAKES_LEFT_MAX=1", "SOCKET_SIZE=1"]),
    "a_sleeper_that_fences_for_both": (WEAK, 4, ["MEMBARRIER"]),
}
# Nothing goes round for ever: so whoever may go on gets on.
ENDS = (TSO, 3 if DEEP else 2, [])
# name: memory, messages, macros, what is found.
BREAKS = {
    "without_the_fence_before_looking_who_sleeps":
        (TSO, 3, ["NO_FENCE_MUST_WAKE"], SLEEPS),
    "without_the_fence_after_arming_for_data":
        (TSO, 3, ["NO_FENCE_RX_ARM"], SLEEPS),
    "without_the_fence_before_looking_who_waits_for_room":
        (TSO, 3, ["NO_FENCE_RX_RELEASE"], SLEEPS),
    "without_the_fence_after_arming_for_room":
        (TSO, 3, ["NO_FENCE_TX_ARM"], SLEEPS),
    "without_the_last_look_for_data": (TSO, 3, ["NO_LAST_LOOK_DATA"], SLEEPS),
    "without_the_last_look_for_room": (TSO, 3, ["NO_LAST_LOOK_ROOM"], SLEEPS),
    "when_room_is_kept_while_asleep":
        (TSO, 3, ["NO_RELEASE_BEFORE_SLEEP"], SLEEPS),
    "when_wakes_are_left_until_the_socket_is_full":
        (TSO, 3, ["WAKES_LEFT_MAX=3", "SOCKET_SIZE=2"], SLEEPS),
    "without_zeroing_the_next_header": (TSO, 3, ["NO_ZERO"], MISREADS),
    "when_zeroing_comes_after_the_header":
        (TSO, 3, ["HEADER_BEFORE_ZERO"], MISREADS),
    "when_the_pad_comes_before_its_record":
        (TSO, 3, ["PAD_BEFORE_RECORD"], MISREADS),
    "without_the_spare_slot": (TSO, 3, ["NO_SPARE_SLOT"], OVERWRITES),
    "when_the_commit_does_not_release":
        (WEAK, 3, ["NO_RELEASE_COMMIT"], MISREADS),
    "when_the_pad_does_not_release": (WEAK, 3, ["NO_RELEASE_PAD"], MISREADS),
    "when_the_header_is_not_acquired":
        (WEAK, 3, ["NO_ACQUIRE_COMMIT"], MISREADS),
    "when_room_is_not_released": (WEAK, 3, ["NO_RELEASE_ROOM"], MISREADS),
    "when_a_sleeper_does_not_sleep": (TSO, 2, ["NO_SLEEP"], GOES_ROUND),
}


class Run:
    """One version of the model, made and searched in a folder of its own."""

    def __init__(self, name, memory, messages, macros, ends=False):
        self.folder = FOLDER / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.copy(MODEL, self.folder)
        self.macros = ["-D" + macro for macro in
                       [memory, "MESSAGES=%d" % messages] + macros]
        self.call("spin", "-a", *self.macros, "ring.pml")
        # Most searches are over at once; there the compiler is what takes time.
        options = ["-O0" if name in BREAKS else "-O2", "-w", "-DMEMLIM=8000"]
        options += ["-DNP", "-DNOFAIR"] if ends else ["-DSAFETY"]
        options += ["-DHC4" if DEEP and name not in BREAKS else "-DCOLLAPSE"]
        self.call("gcc", *options, "-o", "pan", "pan.c")
        self.said = self.call("./pan", "-m100000", "-w%d" % (27 if DEEP else 22),
                              *(["-l"] if ends else []))

    def call(self, *command):
        done = subprocess.run(command, cwd=self.folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise AssertionError("%s: %s" % (" ".join(command), done.stdout[-2000:]))
        return done.stdout

    def check_complete(self):
        """A search that gave up shows nothing."""
        for word in ("Search not completed", "max search depth too small",
                     "out of memory", "pan: reached"):
            assert word not in self.said, self.said

    def states(self):
        return float(re.search(r"([\d.e+]+) states, stored", self.said).group(1))

    def error(self):
        found = re.search(r"^pan:1: (.*)$", self.said, re.M)
        return found and found.group(1)

    def keep_trail(self, path):
        said = self.call("spin", "-t", "-T", *self.macros, "ring.pml")
        path.write_text(in_words(said))

    def clear(self):
        shutil.rmtree(self.folder)


def word_name(word, slots=4):
    if word < 2 * slots:
        return "%s of slot %d" % (("header", "payload")[word // slots], word % slots)
    return ("released", "data_event", "space_event")[word - 2 * slots]


def value_name(word, value, slots=4):
    if word >= 2 * slots:
        if word == 2 * slots:
            return str(value)
        return "slot %d" % (value // 2 % slots) if value & 1 else "nobody"
    if word >= slots:
        return "message %d" % value
    return {0: "none", 1: "1 slot", 2: "2 slots", 3: "pad"}.get(
        value, "payload of message %d" % (value >> 2))


def in_words(said):
    """A trail as a table: what the producer does, what reaches memory, what the
    consumer does."""
    lines = ["%-38s%-44s%s" % ("producer", "memory", "consumer")]
    for line in said.splitlines():
        found = re.match(r"\s*(store|reach|look|wake|drop|sleep|fence) ([\d ]+)$", line)
        if not found:
            continue
        verb, numbers = found.group(1), list(map(int, found.group(2).split()))
        who = numbers[0]
        if verb in ("store", "reach", "look"):
            name = word_name(numbers[1])
            value = value_name(*numbers[1:])
            text = "%s %s%s" % (name, ": " if verb == "look" else ":= ", value)
            column = 1 if verb == "reach" else 2 * who
            text = ("sees " if verb == "look" else "") + text.replace(" : ", ": ")
        elif verb in ("wake", "drop"):
            # The one who is woken.
            column, text = 2 * (1 - who), verb == "wake" and "wakes the other" or \
                "wakes the other, but its socket is full"
        else:
            column, text = 2 * who, verb + "s"
        lines.append(" " * (0, 38, 82)[column] + text)
    return "\n".join(lines) + "\n"


def holds(name, memory, messages, macros, ends=False):
    run = Run(name, memory, messages, macros, ends)
    run.check_complete()
    assert run.error() is None, run.error()
    assert "errors: 0" in run.said
    assert run.states() > 1000  # It did look somewhere.
    run.clear()
    return "%.0f states" % run.states()


def breaks(name, memory, messages, macros, expected):
    run = Run(name, memory, messages, macros, expected == GOES_ROUND)
    error = run.error()
    assert error, "no error was found"
    assert re.match(expected, error), error
    trail = FOLDER / (name + ".trail")
    run.keep_trail(trail)
    run.clear()
    return "%s; how it comes to that: %s" % (error, os.path.relpath(trail))


def every_fence_of_the_ring_is_in_the_model():
    """And can be taken out, so that a new one is not forgotten here."""
    source = re.sub(r"/\*.*?\*/", "", (TOP / "transport/ring.c").read_text(), flags=re.S)
    fences, function = [], None
    for line in source.splitlines():
        found = re.match(r"(?:ring_)?([a-z_]+)\(.*", line)
        function = found.group(1) if found else function
        if "atomic_thread_fence(memory_order_seq_cst)" in line:
            fences.append(function.replace("tx_must_wake", "must_wake"))
    modelled = re.findall(r"NO_FENCE_(\w+)\)?(?:\s|$)", MODEL.read_text())
    assert sorted(fences) == sorted({word.lower() for word in modelled}), fences
    tried = {macro for _, _, macros, _ in BREAKS.values() for macro in macros}
    assert {"NO_FENCE_" + fence.upper() for fence in fences} <= tried


def main():
    if not (shutil.which("spin") and shutil.which("gcc")):
        print("1..0 # SKIP spin or gcc is missing (tools/bootstrap --test)")
        return
    tests = [(every_fence_of_the_ring_is_in_the_model.__name__,
              every_fence_of_the_ring_is_in_the_model, ())]
    tests += [(name, holds, (name,) + what)
              for name, what in (HOLDS_DEEP if DEEP else HOLDS).items()]
    tests.append(("nobody_goes_round_for_ever", holds,
                  ("nobody_goes_round_for_ever",) + ENDS + (True,)))
    tests += [("an_error_is_found_" + name, breaks, (name,) + what)
              for name, what in BREAKS.items()]
    print("1..%d" % len(tests), flush=True)
    failed = 0
    for number, (name, test, arguments) in enumerate(tests, 1):
        try:
            note, word = test(*arguments), "ok"
        except AssertionError as error:
            note, word, failed = error, "not ok", failed + 1
        print("%s %d - %s" % (word, number, name))
        for line in str(note or "").splitlines():
            print("# " + line, flush=True)
    sys.exit(1 if failed else 0)


main()

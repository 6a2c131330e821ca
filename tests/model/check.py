# SPDX-License-Identifier: Apache-2.0
"""Has spin check the models here, and find the error in each version of them
from which one fence, barrier, order or look was taken out.  An error's trail is
told in words in FOLDER/NAME.trail.

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
HERE = TOP / "tests/model"
DEEP = "--deep" in sys.argv
FOLDER = pathlib.Path(sys.argv[-1])

# What an error looks like in pan's words.
SLEEPS = r"assertion violated (\(?stopped\)?|\(n_received==n_sent\))"
MISREADS = r"assertion violated \(?\(?(memory\[|early)"
OVERWRITES = r"assertion violated .*(tail_seen|reads)"
GOES_ROUND = r"non-progress cycle"

TSO, WEAK, SC = "MEMORY_TSO", "MEMORY_WEAK", "MEMORY_SC"
ONE_WAKE = ["WAKES_LEFT_MAX=1", "SOCKET_SIZE=1"]
NO_FENCES = ["FENCED", "NO_FENCE_MUST_WAKE", "NO_FENCE_TX_ARM", "NO_FENCE_RX_RELEASE",
             "NO_FENCE_RX_ARM"]


def ring(memory, messages, *macros):
    return "ring.pml", [memory, "MESSAGES=%d" % messages, *macros]


def returns(memory, *macros):
    return "returns.pml", [memory, *macros]


# name: model, macros.  Without an error.
HOLDS = {
    "stores_that_wait_as_on_x86": ring(TSO, 3, *ONE_WAKE),
    "stores_in_any_order_as_in_C11": ring(WEAK, 3, *ONE_WAKE),
    "more_wakes_than_the_socket_holds": ring(TSO, 2, "BATCH"),
    "without_barriers": ring(TSO, 3, "FENCED"),
    "who_sleeps_without_a_turn": ring(TSO, 3, "FENCED", "QUIET"),
    "without_fences_where_stores_are_seen_at_once": ring(SC, 3, *NO_FENCES),
    "wishes_for_less_than_is_needed": ring(TSO, 3, "FENCED", "EARLY_WISH", *ONE_WAKE),
    "what_was_lent_comes_back_as_on_x86": returns(TSO),
    "more_than_one_must_come_back": returns(TSO, "WANT_ALL", "CHUNKS=3", "LOANS=6"),
    "what_was_lent_comes_back_as_in_C11": returns(WEAK, "CHUNKS=3", "LOANS=6"),
}
HOLDS_DEEP = {
    "stores_that_wait_as_on_x86": ring(TSO, 4, *ONE_WAKE),
    "stores_in_any_order_as_in_C11": ring(WEAK, 4, *ONE_WAKE),
    "longer_runs_without_barriers": ring(TSO, 5, "FENCED", *ONE_WAKE),
    "longer_runs_without_barriers_in_any_order": ring(WEAK, 5, "FENCED", *ONE_WAKE),
    "larger_store_buffers": ring(WEAK, 3, "STORES=8"),
    "a_ring_of_eight_slots": ring(TSO, 4, "SLOTS=8", "FENCED", *ONE_WAKE),
    "who_sleeps_without_a_turn": ring(WEAK, 3, "QUIET"),
    "a_wake_for_several_messages": ring(WEAK, 3, "BATCH"),
    "wishes_for_less_than_is_needed": ring(WEAK, 3, "EARLY_WISH", *ONE_WAKE),
    "more_wakes_than_the_socket_holds": ring(TSO, 4, "FENCED"),
    "what_was_lent_comes_back": returns(WEAK, "CHUNKS=4", "LOANS=12", "STORES=8"),
}
# Nothing goes round for ever: so whoever may go on gets on.
ENDS = {"nobody_goes_round_for_ever": ring(TSO, 3 if DEEP else 2, *ONE_WAKE)}
# name: model, macros, what is found.
BREAKS = {
    "without_the_fence_before_looking_who_sleeps":
        (*ring(TSO, 3, "FENCED", "NO_FENCE_MUST_WAKE"), SLEEPS),
    "without_the_fence_after_arming_for_data":
        (*ring(TSO, 3, "FENCED", "NO_FENCE_RX_ARM"), SLEEPS),
    "without_the_fence_before_looking_who_waits_for_room":
        (*ring(TSO, 3, "FENCED", "NO_FENCE_RX_RELEASE"), SLEEPS),
    "without_the_fence_after_arming_for_room":
        (*ring(TSO, 3, "FENCED", "NO_FENCE_TX_ARM"), SLEEPS),
    "when_who_was_awake_sleeps_without_a_barrier":
        (*ring(TSO, 3, "NO_BARRIER"), SLEEPS),
    "without_the_last_look_for_data":
        (*ring(TSO, 3, "FENCED", "NO_LAST_LOOK_DATA"), SLEEPS),
    "without_the_last_look_for_room":
        (*ring(TSO, 3, "FENCED", "NO_LAST_LOOK_ROOM"), SLEEPS),
    "when_room_that_is_not_enough_uses_up_the_wish":
        (*ring(TSO, 3, "FENCED", "EARLY_WISH", "NO_REARM"), SLEEPS),
    "when_what_came_back_is_not_enough_and_uses_up_the_wish":
        (*returns(TSO, "WANT_ALL", "CHUNKS=3", "LOANS=6", "NO_REARM"), SLEEPS),
    "when_room_is_kept_while_asleep":
        (*ring(TSO, 3, "FENCED", "NO_RELEASE_BEFORE_SLEEP"), SLEEPS),
    "when_wakes_are_left_until_the_socket_is_full":
        (*ring(TSO, 3, "FENCED", "WAKES_LEFT_MAX=3", "SOCKET_SIZE=2"), SLEEPS),
    "without_zeroing_the_next_header":
        (*ring(TSO, 3, "FENCED", "NO_ZERO"), MISREADS),
    "when_zeroing_comes_after_the_header":
        (*ring(TSO, 3, "FENCED", "NO_ZERO_AHEAD", "HEADER_BEFORE_ZERO"), MISREADS),
    "when_a_header_is_zeroed_that_was_not_released":
        (*ring(TSO, 3, "FENCED", "ZERO_AHEAD_WITHOUT_ROOM"), OVERWRITES),
    "when_the_pad_comes_before_its_record":
        (*ring(TSO, 3, "FENCED", "PAD_BEFORE_RECORD"), MISREADS),
    "without_the_spare_slot":
        (*ring(TSO, 3, "FENCED", "NO_SPARE_SLOT"), OVERWRITES),
    "when_the_commit_does_not_release":
        (*ring(WEAK, 3, "FENCED", "NO_RELEASE_COMMIT"), MISREADS),
    "when_the_pad_does_not_release":
        (*ring(WEAK, 3, "FENCED", "NO_RELEASE_PAD"), MISREADS),
    "when_the_header_is_not_acquired":
        (*ring(WEAK, 3, "FENCED", "NO_ACQUIRE_COMMIT"), MISREADS),
    "when_room_is_not_released":
        (*ring(WEAK, 3, "FENCED", "NO_RELEASE_ROOM"), MISREADS),
    "when_a_sleeper_does_not_sleep":
        (*ring(TSO, 2, "FENCED", "NO_SLEEP"), GOES_ROUND),
    "without_the_fence_behind_giving_back":
        (*returns(TSO, "NO_FENCE_GIVE"), SLEEPS),
    "without_the_fence_after_arming_for_what_was_lent":
        (*returns(TSO, "NO_FENCE_ARM"), SLEEPS),
    "without_the_last_look_for_what_was_lent":
        (*returns(TSO, "NO_LAST_LOOK"), SLEEPS),
    "when_what_was_lent_is_given_back_before_it_was_read":
        (*returns(WEAK, "NO_RELEASE"), OVERWRITES),
}
# Where the fences stand, and what takes them out: so that none is forgotten here.
FENCES = {
    "transport/ring.c": {"arm": {"NO_FENCE_RX_ARM", "NO_FENCE_TX_ARM"},
                         "ring_rx_release": {"NO_FENCE_RX_RELEASE"}},
    "transport/ringfast.h": {"ring_tx_must_wake": {"NO_FENCE_MUST_WAKE"}},
    "transport/returns.c": {"returns_give": {"NO_FENCE_GIVE"},
                            "returns_arm": {"NO_FENCE_ARM"}},
}


class Run:
    """One version of the model, made and searched in a folder of its own."""

    def __init__(self, name, model, macros, ends=False):
        self.folder = FOLDER / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        for path in HERE.glob("*.pml"):
            shutil.copy(path, self.folder)
        self.arguments = ["-D" + macro for macro in macros] + [model]
        self.call("spin", "-a", *self.arguments)
        # Most searches are over at once; there the compiler is what takes time.
        options = ["-O0" if name in BREAKS else "-O2", "-w", "-DMEMLIM=8000"]
        options += ["-DNP", "-DNOFAIR"] if ends else ["-DSAFETY"]
        # Every state as it is.  Spin's hash compaction (-DHC4) takes some for
        # others: of 3,016,307 of ring.pml it passed over 4,562, and among 0.9
        # million it closed a cycle whose last state was not its first.  It
        # saves 2 of 42 bytes.
        options += ["-DCOLLAPSE"]
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
        """A search that gave up, or took two states for one, shows nothing."""
        for word in ("Search not completed", "max search depth too small",
                     "out of memory", "pan: reached", "Hash-Compact", "Bit statespace"):
            assert word not in self.said, self.said

    def states(self):
        return float(re.search(r"([\d.e+]+) states, stored", self.said).group(1))

    def error(self):
        found = re.search(r"^pan:1: (.*)$", self.said, re.M)
        return found and found.group(1)

    def keep_trail(self, path):
        said = self.call("spin", "-t", "-T", *self.arguments)
        path.write_text(in_words(said, self.arguments[-1]))

    def clear(self):
        shutil.rmtree(self.folder)


SLOTS = 4


def ring_words(word, value):
    """What a word of ring.pml is called, and its value."""
    slot = word % SLOTS
    if word >= 2 * SLOTS:
        name = ("released", "data_event", "space_event")[word - 2 * SLOTS]
        if word == 2 * SLOTS:
            return name, "slot %d" % (value % SLOTS)
        wish = "awake" if value == 2 else "slot %d" % (value // 2 % SLOTS)
        return name, wish if value else "nobody"
    if word >= SLOTS:
        return "payload of slot %d" % slot, "message %d" % value
    return "header of slot %d" % slot, {0: "none", 1: "1 slot", 2: "2 slots", 3: "pad"}.get(
        value, "payload of message %d" % (value >> 2))


def returns_words(word, value):
    if word < 2:
        return ("count", "wanted")[word], "%d" % value
    return "word %d" % (word - 2), "chunk %d" % value


def in_words(said, model):
    """A trail as a table: what side 0 does, what reaches memory, what side 1 does."""
    titles = {"ring.pml": ("producer", "consumer"), "returns.pml": ("lender", "borrower")}
    words = {"ring.pml": ring_words, "returns.pml": returns_words}[model]
    lines = ["%-38s%-44s%s" % (titles[model][0], "memory", titles[model][1])]
    texts = {"wake": "wakes the other", "sleep": "sleeps", "fence": "fences",
             "drop": "wakes the other, but its socket is full",
             "barrier": "has the other fence, too"}
    for line in said.splitlines():
        found = re.match(r"\s*(store|reach|look|wake|drop|sleep|fence|barrier) ([\d ]+)$", line)
        if not found:
            continue
        verb, numbers = found.group(1), list(map(int, found.group(2).split()))
        who = numbers[0]
        if verb in ("wake", "drop"):
            who = 1 - who  # It named who is woken.
        if verb in texts:
            text = texts[verb]
        else:
            text = (": " if verb == "look" else " := ").join(words(*numbers[1:]))
            text = "sees " + text if verb == "look" else text
        lines.append(" " * (0, 38, 82)[1 if verb == "reach" else 2 * who] + text)
    return "\n".join(lines) + "\n"


def holds(name, model, macros, ends=False):
    run = Run(name, model, macros, ends)
    run.check_complete()
    assert run.error() is None, run.error()
    assert "errors: 0" in run.said
    assert run.states() > 1000  # It did look somewhere.
    run.clear()
    return "%.0f states" % run.states()


def breaks(name, model, macros, expected):
    run = Run(name, model, macros, expected == GOES_ROUND)
    error = run.error()
    assert error, "no error was found"
    assert re.match(expected, error), error
    trail = FOLDER / (name + ".trail")
    run.keep_trail(trail)
    run.clear()
    return "%s; how it comes to that: %s" % (error, os.path.relpath(trail))


def every_fence_is_in_the_models():
    found = {}
    for name in FENCES:
        source = re.sub(r"/\*.*?\*/", "", (TOP / name).read_text(), flags=re.S)
        function, found[name] = None, set()
        for line in source.splitlines():
            match = re.match(r"([a-z_]+)\(", line)
            function = match.group(1) if match else function
            if "atomic_thread_fence(" in line:
                found[name].add(function)
    assert found == {name: set(where) for name, where in FENCES.items()}, found
    tried = {macro for _, macros, _ in BREAKS.values() for macro in macros}
    assert {macro for where in FENCES.values() for macros in where.values()
            for macro in macros} <= tried


def no_other_file_has_fences():
    """Of those that other processes share memory with."""
    for room in ("transport", "channel"):
        for path in sorted((TOP / room).glob("*.[ch]")):
            name = "%s/%s" % (room, path.name)
            assert name in FENCES or "atomic_thread_fence(" not in path.read_text(), name


def main():
    if not (shutil.which("spin") and shutil.which("gcc")):
        print("1..0 # SKIP spin or gcc is missing (tools/bootstrap --test)")
        return
    tests = [(test.__name__, test, ())
             for test in (every_fence_is_in_the_models, no_other_file_has_fences)]
    tests += [(name, holds, (name, *what))
              for name, what in (HOLDS_DEEP if DEEP else HOLDS).items()]
    tests += [(name, holds, (name, *what, True)) for name, what in ENDS.items()]
    tests += [("an_error_is_found_" + name, breaks, (name, *what))
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

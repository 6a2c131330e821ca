#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The build fails when a message or a verb has no right, or a right makes no
sense: wire/grant.c is compiled with one thing changed each time.

usage: ungranted.py TOP COMPILER...
"""
import pathlib
import subprocess
import sys
import tempfile

TOP = pathlib.Path(sys.argv[1])
COMPILER = sys.argv[2:]

NEW = 'MSG(99, LONELY, lonely, 1, "agent -> back", "it has no row")\n' \
      'FIELD_U(1, number, 0, 9, 1, "any")\nMSG_END(LONELY)\n'
REPORT = "GRANT(REPORT, AGENT, BACK, 512, 500, 1000, KEEP)\n"
STATUS = "VERB(STATUS, READ, 200, 400)\n"

# What it shows, the file, what is replaced there, by what, what is said.
CASES = [
    ("as it is", None, None, None, None),
    ("a message without rows does not compile", "msg.def", "#undef MSG\n",
     NEW + "#undef MSG\n", "LONELY"),
    ("a message whose rows are empty does not compile", "grant.def", REPORT, "",
     "REPORT has no row in wire/grant.def"),
    ("a row of a message that is none does not compile", "grant.def",
     "GRANTS(REPORT)\n",
     "GRANTS(NOBODY)\nGRANT(NOBODY, AGENT, BACK, 512, 1, 1, DROP)\n"
     "GRANTS_END(NOBODY)\nGRANTS(REPORT)\n", "NOBODY"),
    ("the same row twice does not compile", "grant.def", REPORT, REPORT * 2,
     "GRANT_ROW_REPORT_AGENT_BACK"),
    ("a row larger than messages are does not compile", "grant.def", REPORT,
     REPORT.replace("512", "4097"), "REPORT is no larger than messages are"),
    ("a row without a size does not compile", "grant.def", REPORT,
     REPORT.replace("512", "0"), "REPORT is no larger than messages are"),
    ("a burst below the rate does not compile", "grant.def", REPORT,
     REPORT.replace("1000", "499"), "REPORT has a rate"),
    ("a row that waits does so at no rate", "grant.def", REPORT,
     REPORT.replace("KEEP", "WAIT"), "REPORT has a rate"),
    ("a row without a rate is for those who wait", "grant.def", REPORT,
     REPORT.replace("500, 1000", "0, 0"), "REPORT has a rate"),
    ("a row to oneself does not compile", "grant.def", REPORT,
     REPORT.replace("AGENT", "BACK"), "REPORT has a way"),
    ("a role that is none does not compile", "grant.def", REPORT,
     REPORT.replace("AGENT", "STRANGER"), "GRANT_STRANGER"),
    ("a verb without a right does not compile", "grant.def", STATUS, "",
     "REQUEST_STATUS"),
    ("a new verb without a right does not compile", "request.h",
     "    REQUEST_VERB_N,", "    REQUEST_EXEC,\n    REQUEST_VERB_N,",
     "REQUEST_EXEC"),
    ("a verb's right given twice does not compile", "grant.def", STATUS,
     STATUS * 2, "duplicate"),
]


def compile_with(name, old, new):
    with tempfile.TemporaryDirectory(prefix="mbroker-ungranted-") as work:
        wire = pathlib.Path(work) / "wire"
        wire.mkdir()
        if name:
            text = (TOP / "wire" / name).read_text()
            assert text.count(old) == 1, (name, old)
            (wire / name).write_text(text.replace(old, new))
        # Headers find each other by -I, so that the changed one comes first.
        return subprocess.run(
            COMPILER + ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Werror",
                        "-fsyntax-only", "-I", work, "-I", str(TOP),
                        str(TOP / "wire/grant.c")],
            capture_output=True, text=True, check=False)


print("1..%d" % len(CASES))
for number, (what, name, old, new, said) in enumerate(CASES, 1):
    done = compile_with(name, old, new)
    good = done.returncode == 0 if not name else \
        done.returncode != 0 and said in done.stderr
    print("%s %d - %s" % ("ok" if good else "not ok", number, what))
    if not good:
        print("\n".join("# " + line for line in done.stderr.splitlines()[:20]))

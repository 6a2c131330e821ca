# SPDX-License-Identifier: Apache-2.0
"""What libmchan shows is what mchan.h declares: no function is forgotten in the
map, no other name leaks, and each has the version of the release that brought it.

usage: symbols.py MCHAN_H MCHAN_MAP LIBMCHAN_SO LIBMCHAN_A
"""
import re
import subprocess
import sys

HEADER, MAP, SHARED, STATIC = sys.argv[1:]


def declared():
    text = re.sub(r"/\*.*?\*/", "", open(HEADER).read(), flags=re.S)
    return set(re.findall(r"\b(mchan_\w+)\s*\([^()]*(?:\([^()]*\)[^()]*)*\)\s*;", text))


def nodes():
    """Each node of the map with its names."""
    text = re.sub(r"/\*.*?\*/", "", open(MAP).read(), flags=re.S)
    return {node: set(re.findall(r"\b(mchan_\w+);", body))
            for node, body in re.findall(r"(\S+) \{(.*?)\}", text, re.S)}


def nm(*arguments):
    return subprocess.run(("nm",) + arguments, text=True, check=True,
                          capture_output=True).stdout


def shown(listing):
    """Names that others can see, weak ones of the compiler's own aside."""
    return {line.split()[-1] for line in listing.splitlines()
            if re.match(r"[0-9a-f]+ [A-Z] ", line)}


def every_function_of_the_header_is_in_the_map():
    listed = set().union(*nodes().values())
    assert len(declared()) >= 26
    return declared() ^ listed


def the_shared_library_shows_them_and_nothing_else():
    expected = {"%s@@%s" % (name, node) for node, names in nodes().items()
                for name in names} | set(nodes())
    seen = {name.replace("@@", "@").replace("@", "@@")
            for name in shown(nm("-D", "--defined-only", "--with-symbol-versions", SHARED))}
    return seen ^ expected


def the_static_library_shows_them_and_nothing_else():
    return shown(nm("-g", "--defined-only", STATIC)) ^ declared()


def the_name_to_link_with_is_that_of_the_abi():
    text = subprocess.run(["readelf", "-d", SHARED], text=True, check=True,
                          capture_output=True).stdout
    return set(re.findall(r"SONAME.*\[(.*)\]", text)) ^ {"libmchan.so.0"}


TESTS = [every_function_of_the_header_is_in_the_map,
         the_shared_library_shows_them_and_nothing_else,
         the_static_library_shows_them_and_nothing_else,
         the_name_to_link_with_is_that_of_the_abi]

print("1..%d" % len(TESTS))
failed = 0
for number, test in enumerate(TESTS, 1):
    wrong = test()
    failed += bool(wrong)
    print("%s %d - %s" % ("not ok" if wrong else "ok", number, test.__name__))
    for name in sorted(wrong):
        print("# only on one side: " + name)
sys.exit(1 if failed else 0)

# SPDX-License-Identifier: Apache-2.0
"""libmchan's manual is whole: each function of mchan.h has a page with its
prototype, each error, option, event and counter is in it, and the examples
compile."""
import re
import shutil
import subprocess

import pytest

from harness import TOP

HEADER = (TOP / "include/mchan.h").read_text()
PAGES = {path.stem: path.read_text() for path in sorted((TOP / "channel").glob("*.3"))}
PLAIN = {"int", "unsigned", "size_t", "char", "void", "int64_t"}


def types(parameter):
    """Without the parameter's name, if it has one."""
    parameter = " ".join(parameter.split())
    found = re.match(r"(.*[\s*])(\w+)$", parameter)
    if found and found.group(2) not in PLAIN and not found.group(1).endswith("struct "):
        parameter = found.group(1)
    return parameter.replace(" ", "")


def prototypes():
    """Each function: what it returns and takes, and the comment before it."""
    found, comment = {}, ""
    outside = re.sub(r"^(struct|enum) \w+ \{\n.*?^\};", "/* */", HEADER, flags=re.S | re.M)
    for part in re.finditer(r"/\*(.*?)\*/|^(\w[\w ]*?[ *])(mchan_\w+)\(([^;{}]*)\);",
                            outside, re.S | re.M):
        if part.group(1):
            comment = part.group(1)
        else:
            found[part.group(3)] = (part.group(2).strip(),
                                    [types(p) for p in part.group(4).split(",")], comment)
    return found


FUNCTIONS = prototypes()


def page_of(function):
    found = [name for name, text in PAGES.items()
             if re.search(r"^\.Fn %s " % function, text.split(".Sh DESCRIPTION")[0], re.M)]
    assert len(found) == 1, "%s: %s" % (function, found)
    return PAGES[found[0]]


def members(tag):
    body = re.search(r"^(?:struct|enum) %s \{\n(.*?)^\};" % tag, HEADER, re.S | re.M).group(1)
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
    if "MCHAN_" in body:
        return re.findall(r"MCHAN_\w+", body)
    body = re.sub(r"\(\*(\w+)\)\([^)]*\)", r"\1", body)
    return re.findall(r"(\w+)(?=[,;\[])", body)


def errors_in(text):
    return set(re.findall(r"-(E[A-Z]+)\b", text))


def errors_of(page):
    return set(re.findall(r"^\.It Bq Er (E\w+)", page, re.M))


def test_the_header_is_understood():
    assert len(FUNCTIONS) == len(re.findall(r"\bmchan_\w+\(", re.sub(
        r"/\*.*?\*/", "", HEADER, flags=re.S))) >= 26


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_a_function_has_its_page_and_prototype(function):
    returns, takes, _ = FUNCTIONS[function]
    page = page_of(function)
    found = re.search(r"^\.Ft (.*)\n\.Fn %s (.*)$" % function, page, re.M)
    assert found.group(1) == returns
    assert [types(p) for p in re.findall(r'"([^"]*)"', found.group(2))] == takes
    assert re.search(r"^\.Nm %s\b" % function, page, re.M)
    assert page.count(".Fn %s" % function) >= 2  # Not only in the synopsis.


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_the_errors_that_the_header_promises_are_in_the_page(function):
    page = page_of(function)
    assert errors_in(FUNCTIONS[function][2]) <= errors_of(page)


DOORS = {"mchan.c": ["mchan_open", "mchan_stats", "mchan_event"],
         "message.c": ["mchan_send", "mchan_recv"], "loan.c": ["mchan_loan"],
         "move.c": ["mchan_suspend"], "wait.c": ["mchan_wait"]}


@pytest.mark.parametrize("source", sorted(DOORS))
def test_the_errors_that_the_door_returns_are_in_its_pages(source):
    text = re.sub(r"/\*.*?\*/", "", (TOP / "channel" / source).read_text(), flags=re.S)
    documented = set().union(*(errors_of(PAGES[page]) for page in DOORS[source]))
    returned = set(re.findall(r"(?:return|[?:]) -(E[A-Z]+)\b", text))
    assert returned <= documented


@pytest.mark.parametrize("tag, page", [
    ("mchan_opts", "mchan_open"), ("mchan_class", "mchan_send"),
    ("mchan_info", "mchan_recv"), ("mchan_event_type", "mchan_event"),
    ("mchan_stats", "mchan_stats")])
def test_every_member_is_explained(tag, page):
    names = members(tag)
    assert len(names) >= 3
    listed = set(re.findall(r"\w+", " ".join(re.findall(r"^\.It (.*)$", PAGES[page], re.M))))
    assert set(names) <= listed


def test_the_overview_leads_to_every_page():
    for page in PAGES:
        if page != "mchan":
            assert PAGES["mchan"].count("Xr %s 3" % page) >= 2, page
    for function in FUNCTIONS:
        assert ".Fn %s " % function in PAGES["mchan"], function


def test_meson_installs_a_name_for_every_function():
    text = (TOP / "channel/meson.build").read_text()
    listed = set(re.findall(r"'(mchan\w*)'", text[text.index("pages = {"):]))
    assert listed == set(FUNCTIONS) | set(PAGES)


PREAMBLE = """#include <errno.h>
#include <inttypes.h>
#include <mchan.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#ifndef SOCK_CLOEXEC
#define SOCK_CLOEXEC 0
#endif
"""


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if ".Bd -literal" in text])
@pytest.mark.parametrize("compiler", ["cc -std=gnu11", "clang -std=gnu11"])
def test_a_pages_examples_compile(page, compiler, tmp_path):
    words = compiler.split()
    if not shutil.which(words[0]):
        pytest.skip("%s is missing" % words[0])
    blocks = re.findall(r"^\.Bd -literal\n(.*?)^\.Ed", PAGES[page], re.S | re.M)
    source = tmp_path / "example.c"
    source.write_text(PREAMBLE + "\n".join(blocks).replace("\\e", "\\"))
    done = subprocess.run(words + ["-Wall", "-Wextra", "-pedantic", "-Werror",
                                   "-Wno-unused-function", "-I", str(TOP / "include"),
                                   "-fsyntax-only", str(source)],
                          text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", sorted(PAGES))
def test_a_page_has_the_chapters_one_looks_for(page):
    text = PAGES[page]
    wanted = ["NAME", "LIBRARY", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"]
    if page != "mchan":
        wanted += ["RETURN VALUES"]
    assert set(wanted) <= set(re.findall(r"^\.Sh (.*)$", text, re.M))

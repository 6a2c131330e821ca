# SPDX-License-Identifier: Apache-2.0
"""docs/howto-policy.md, and docs/howto-notes.md after it, followed word for word in
a copy of the tree: one file, one line of meson, and the new policy is built, in
the table, conforming, and does in msim what its scenario expects."""
import pathlib
import re
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
HOWTO = TOP / "docs/howto-policy.md"
NOTES = TOP / "docs/howto-notes.md"
LEFT_OUT = shutil.ignore_patterns("build*", ".git", "__pycache__", "*.o")


def block(kind, page=HOWTO):
    """The how-to's one block of that language."""
    found = re.findall(r"^```%s\n(.*?)^```$" % kind, page.read_text(), re.S | re.M)
    assert len(found) == 1, "%d blocks of %s in %s" % (len(found), kind, page)
    return found[0]


def run(command, cwd):
    done = subprocess.run(command, cwd=cwd, shell=True, text=True, timeout=600,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, "%s\n%s" % (command, done.stdout[-4000:])
    return done.stdout


def follow(copy, page, name):
    """Makes a page's two changes and its scenario; what its commands said."""
    (copy / "policy" / (name + ".c")).write_text(block("c", page))
    (copy / (name + ".scn")).write_text(block("scn", page))
    meson = copy / "policy/meson.build"
    text = meson.read_text()
    assert "policy_plugins = [\n" in text
    meson.write_text(text.replace("policy_plugins = [\n",
                                  "policy_plugins = [\n" + block("meson", page), 1))
    return "".join(run(line, copy) for line in block("sh", page).splitlines())


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The tree with the how-to's two changes, and what its commands said."""
    copy = tmp_path_factory.mktemp("howto") / "mbroker"
    shutil.copytree(TOP, copy, ignore=LEFT_OUT, symlinks=True)
    said = follow(copy, HOWTO, "band")
    yield copy, said
    shutil.rmtree(copy, ignore_errors=True)


def test_policy_is_under_a_hundred_lines():
    code = block("c").splitlines()
    assert len([line for line in code if line.strip()]) < 100


def test_meson_needs_one_line():
    assert len(block("meson").splitlines()) == 1


def test_the_page_names_the_file_it_makes():
    assert "`policy/band.c`" in HOWTO.read_text()
    assert "policy_band" in block("c")


def test_new_policy_conforms(tree):
    _, said = tree
    assert "not ok" not in said and "FAILED" not in said
    # The suite says the name of each policy it tries, once a rule.
    assert said.count("# band") >= 8
    assert said.count("# band") == said.count("# basic")


def test_new_policy_does_in_msim_what_is_expected(tree):
    assert "ok   band: 3 of 3 expectations" in tree[1]


def test_new_policy_is_in_the_table(tree):
    copy, _ = tree
    made = (copy / "build-band/policy/policy_table.c").read_text()
    assert "&policy_band," in made


def test_new_policy_can_be_configured(tree):
    """What the check of a configuration asks a policy: its name, its options,
    and whether they go together."""
    copy, _ = tree
    (copy / "band.c").write_text(CHECK)
    run("cc -std=gnu11 -D_GNU_SOURCE -I. band.c build-band/policy/libpolicy.a "
        "build-band/model/libmodel.a build-band/base/libbase.a "
        "-lcbor -luv -lm -o band-check", copy)
    said = run("./band-check", copy)
    assert said.split("\n")[:3] == [
        "band: Keeps each VM's CPU utilization within a band.",
        "ok",
        "low_percent must be below high_percent",
    ]


def test_a_policy_that_reads_notes_is_made_by_its_page(tree):
    """Last: it goes on in the same tree."""
    copy, _ = tree
    assert len(block("meson", NOTES).splitlines()) == 1
    assert "`policy/queue.c`" in NOTES.read_text()
    said = follow(copy, NOTES, "queue")
    assert "not ok" not in said and "FAILED" not in said
    assert said.count("# queue") == said.count("# basic") >= 8
    assert "ok   queue: 5 of 5 expectations" in said
    assert "&policy_queue," in (copy / "build-band/policy/policy_table.c").read_text()


CHECK = """
#include <stdio.h>
#include "policy/policy.h"
int
main(void)
{
    const struct policy_class *policy = policy_find("band");
    struct option_values values;
    char why[200] = "ok";

    options_init(&values, policy->options);
    policy->check(&values, why, sizeof why);
    printf("%s: %s\\n%s\\n", policy->name, policy->summary, why);
    options_set(&values, "low_percent", "70", why, sizeof why);
    policy->check(&values, why, sizeof why);
    printf("%s\\n", why);
    return 0;
}
"""

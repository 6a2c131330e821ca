# SPDX-License-Identifier: Apache-2.0
"""The house holds: directions are checked, tables come from meson's lists, the
front says what it can't do yet, and what a command needs it can name."""
import os
import pathlib
import shutil
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]


def run(*command, **options):
    return subprocess.run([str(word) for word in command], text=True,
                          capture_output=True, timeout=120, **options)


@pytest.fixture
def house(tmp_path):
    """A copy of the rooms in which a test may do wrong."""
    for room in ("base", "model", "policy", "wire", "broker", "channel", "tools"):
        shutil.copytree(TOP / room, tmp_path / room)
    return tmp_path


def test_the_tree_as_it_stands_has_no_wrong_direction():
    done = run(TOP / "tools/layers")
    assert done.returncode == 0, done.stdout


def test_an_include_against_the_directions_is_named(house):
    (house / "model/wrong.c").write_text('#include "policy/policy.h"\n')
    done = run(house / "tools/layers")
    assert done.returncode == 1
    assert "model/wrong.c:1: model may not look into policy/policy.h" in done.stdout


def test_an_include_without_its_room_is_named(house):
    (house / "base/wrong.c").write_text('\n#include "log.h"\n')
    done = run(house / "tools/layers")
    assert done.returncode == 1
    assert "base/wrong.c:2" in done.stdout


def test_a_core_that_looks_into_another_process_is_named(house):
    (house / "broker/engine/wrong.c").write_text(
        '#include "hardware/hardware.h"\n#include "broker/platform/limits.h"\n')
    done = run(house / "tools/layers")
    assert done.returncode == 1
    assert "broker/engine/wrong.c:1: hardware/ is opened by" in done.stdout
    assert "broker/engine/wrong.c:2: broker/engine may not look into broker/platform/limits.h" in done.stdout


def test_a_room_of_the_channel_that_looks_into_another_is_named(house):
    (house / "channel/replay/wrong.c").write_text(
        '#include "channel/link.h"\n#include "channel/lending/slab.h"\n')
    done = run(house / "tools/layers")
    assert done.returncode == 1
    assert "channel/replay/wrong.c:1" not in done.stdout
    assert ("channel/replay/wrong.c:2: channel/replay may not look into "
            "channel/lending/slab.h") in done.stdout


def test_a_library_room_that_reads_the_time_is_named(house):
    (house / "policy/wrong.c").write_text(
        "/* time() in a comment is fine. */\nint x;\nlong f(void)"
        "\n{\n    return time(0);\n}\n")
    done = run(house / "tools/layers")
    assert done.returncode == 1
    assert "policy/wrong.c:5: time()" in done.stdout


def test_writable_state_in_a_library_is_found_by_nm(tmp_path):
    room = tmp_path / "policy"
    room.mkdir()
    (room / "a.c").write_text(
        "static const char *const names[] = {\"a\", \"b\"};\n"
        "static int calls;\nconst char *f(int i)\n"
        "{\n    calls++;\n    return names[i];\n}\n")
    assert run("gcc", "-fPIC", "-c", room / "a.c", "-o", room / "a.o").returncode == 0
    assert run("ar", "crs", room / "libpolicy.a", room / "a.o").returncode == 0
    done = run(TOP / "tools/layers", "--objects", tmp_path)
    assert "calls is writable" in done.stdout
    assert "names" not in done.stdout


def test_a_table_has_the_listed_files_and_says_what_was_left_out(tmp_path):
    out = tmp_path / "table.c"
    done = run(TOP / "tools/gen-table", "policy", out, "none", "basic",
               "--left-out", "fancy: libfancy is missing")
    assert done.returncode == 0
    text = out.read_text()
    assert "&policy_none," in text and "&policy_basic," in text
    assert '"fancy", "libfancy is missing"' in text


def test_bootstrap_names_what_is_missing_and_installs_nothing_when_dry(tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    shutil.copy(TOP / "tools/bootstrap", tools)
    (tools / "packages").write_text("build dash\ntest no-such-package-mbroker\n")
    assert run(tools / "bootstrap", "--dry-run").returncode == 0
    done = run(tools / "bootstrap", "--all", "--dry-run")
    assert done.returncode == 1
    assert done.stdout.strip() == "bootstrap: missing: no-such-package-mbroker"


def test_the_tree_builds_with_clang_without_a_warning(tmp_path):
    if not shutil.which("clang"):
        pytest.skip("clang is missing (tools/bootstrap --test)")
    built = run("meson", "setup", tmp_path / "build", "-Doptimization=0", cwd=TOP,
                env=dict(os.environ, CC="clang"))
    assert built.returncode == 0, built.stdout
    done = subprocess.run(["ninja", "-C", tmp_path / "build"], text=True,
                          capture_output=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:]


def test_figures_are_said_to_come_later_and_fail():
    done = run("make", "-s", "figures", cwd=TOP)
    assert done.returncode != 0
    assert "no figures yet" in done.stderr


@pytest.mark.parametrize("program", ["mbrokerd", "magentd", "mctl", "msim"])
def test_every_program_has_help_version_and_refuses_nonsense(program):
    room = {"mbrokerd": "broker", "magentd": "agent", "mctl": "ctl", "msim": "sim"}
    path = pathlib.Path(os.environ.get("MBROKER_BUILD", TOP / "build"),
                        room[program], program)
    done = run(path, "--help")
    assert done.returncode == 0 and program in done.stdout and not done.stderr
    done = run(path, "--version")
    assert done.returncode == 0 and done.stdout.startswith(program + " ")
    done = run(path, "--no-such-option")
    assert done.returncode == 2 and done.stderr and not done.stdout


@pytest.mark.parametrize("manual", sorted(
    str(path.relative_to(TOP)) for room in ("broker", "agent", "ctl", "sim", "channel")
    for path in (TOP / room).glob("*.[138]")))
def test_manuals_are_well_formed(manual):
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is missing (tools/bootstrap --test)")
    done = run("mandoc", "-T", "lint", "-W", "warning", TOP / manual)
    assert done.returncode == 0, done.stdout

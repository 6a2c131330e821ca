# SPDX-License-Identifier: Apache-2.0
"""libmchan as other programs have it: installed somewhere, found by pkg-config
alone, from C, C++ and Python.  Each example is built that way without a warning
and run as two processes."""
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from harness import BUILD, PATIENCE, TOP, stat_of, wait_until

EXAMPLES = TOP / "examples"
STRICT = ["-Wall", "-Wextra", "-pedantic", "-Werror", "-O1"]

for tool in ("meson", "pkg-config", "cc"):
    if not shutil.which(tool):
        pytest.skip("%s is missing" % tool, allow_module_level=True)


def built_with(option):
    options = json.loads(subprocess.run(
        ["meson", "introspect", "--buildoptions", str(BUILD)], text=True,
        capture_output=True, check=True).stdout)
    return {entry["name"]: entry["value"] for entry in options}.get(option)


if built_with("b_sanitize") != "none":
    pytest.skip("a sanitizer's library needs a sanitizer's program",
                allow_module_level=True)


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], text=True, timeout=600,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    assert done.returncode == 0, "%s\n%s" % (command, done.stdout[-4000:])
    return done.stdout


class Place:
    """Where the library is, as pkg-config says it."""

    def __init__(self, folder, env, libraries):
        self.folder = folder
        self.env = dict(os.environ, **env)
        self.env["LD_LIBRARY_PATH"] = str(libraries)

    def flags(self, *which):
        return shlex.split(run("pkg-config", *which, "mchan", env=self.env))

    def build(self, source, *flags, out=None):
        program = self.folder / (out or pathlib.Path(source).stem)
        compiler = ["c++", "-std=c++17"] if str(source).endswith(".cpp") else ["cc", "-std=c11"]
        run(*compiler, *STRICT, "-o", program, source,
            *(flags or self.flags("--cflags", "--libs")), env=self.env)
        return program


@pytest.fixture(scope="module")
def installed():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mchan-"))
    run("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet",
        "--destdir", folder / "root")
    [description] = (folder / "root").rglob("mchan.pc")
    env = {"PKG_CONFIG_LIBDIR": str(description.parent),
           "PKG_CONFIG_SYSROOT_DIR": str(folder / "root")}
    yield Place(folder, env, description.parent.parent)
    shutil.rmtree(folder)


@pytest.fixture
def ends(installed):
    """Starts programs that end with the test; 'uri' is fresh for each."""
    running = []
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mchan-"))

    class Ends:
        uri = "shm:%s/met" % folder

        @staticmethod
        def start(*command):
            running.append(subprocess.Popen(
                [str(word) for word in command], env=installed.env, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
            return running[-1]

        @staticmethod
        def says(process, status=0):
            said, _ = process.communicate(timeout=20 * PATIENCE)
            assert process.returncode == status, said
            return said

    yield Ends
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()
    shutil.rmtree(folder)


def test_what_pkg_config_says_leads_into_the_installed_tree(installed):
    flags = installed.flags("--cflags", "--libs")
    assert "-lmchan" in flags
    for flag in flags:
        if flag[:2] in ("-I", "-L"):
            assert pathlib.Path(flag[2:]).is_dir()
    assert not [flag for flag in flags if str(TOP) in flag]


@pytest.mark.parametrize("scheme", ["shm", "unix"])
def test_hello(installed, ends, scheme):
    hello = installed.build(EXAMPLES / "hello.c")
    uri = ends.uri.replace("shm:", scheme + ":")
    pair = ends.start(hello, uri, "listen"), ends.start(hello, uri)
    for end in pair:
        assert ends.says(end) == "hello from the other end\n"


def test_a_program_can_be_built_against_the_tree_as_it_is_built(installed):
    tree = Place(installed.folder, {"PKG_CONFIG_PATH": str(BUILD / "meson-uninstalled")},
                 BUILD / "channel")
    program = tree.build(EXAMPLES / "hello.c", out="uninstalled")
    listed = run("ldd", program, env=tree.env)
    assert str(BUILD / "channel") in listed


OWN_NAMES = """
#include <mchan.h>
/* Names that the library uses inside. */
int session_init(void);
int session_init(void) { return 7; }
int channel_turn(void);
int channel_turn(void) { return 8; }
int main(void)
{
    struct mchan *channel;
    int error = mchan_open(&channel, "nowhere:", 0);
    return error < 0 && session_init() + channel_turn() == 15 ? 0 : 1;
}
"""


@pytest.mark.parametrize("linked", ["shared", "static"])
def test_names_inside_the_library_are_free_for_its_user(installed, linked):
    source = installed.folder / "own_names.c"
    source.write_text(OWN_NAMES)
    flags = installed.flags("--cflags", "--libs")
    if linked == "static":
        flags = installed.flags("--cflags", "--libs", "--static")
        flags = [flag.replace("-lmchan", "-l:libmchan.a") for flag in flags]
        if built_with("b_coverage"):
            flags.append("--coverage")  # The archive's objects count.
    program = installed.build(source, *flags, out="own_names_" + linked)
    run(program, env=installed.env)
    assert ("libmchan" in run("ldd", program, env=installed.env)) == (linked == "shared")


def test_telemetry_shows_the_newest_and_counts_the_rest(installed, ends):
    telemetry = installed.build(EXAMPLES / "telemetry.c")
    reader = ends.start(telemetry, ends.uri)
    sender = ends.start(telemetry, ends.uri, 200000)
    sent, overtaken = map(int, re.fullmatch(
        r"sent (\d+) readings, newer ones overtook (\d+)\n", ends.says(sender)).groups())
    temperature, fan, seen = map(int, re.fullmatch(
        r"temperature (\d+), fan (\d+): saw (\d+) readings\n", ends.says(reader)).groups())
    assert sent == 400000 and fan == 200000 and temperature == 40 + 200000 % 9
    assert 2 <= seen < sent
    assert seen + overtaken == sent


def test_questions_are_answered(installed, ends):
    reqans = installed.build(EXAMPLES / "reqans.c")
    ends.start(reqans, ends.uri)
    assert ends.says(ends.start(reqans, ends.uri, 10000)) == \
        "10000 answers, asked again 0\n"


def test_questions_are_answered_though_who_answers_is_killed(installed, ends):
    reqans = installed.build(EXAMPLES / "reqans.c")
    answerer = ends.start(reqans, ends.uri)
    asker = ends.start(reqans, ends.uri, 3000000)
    for _ in range(3):
        # Stopped first, so that something is under way when it dies.
        wait_until(lambda: int(stat_of(answerer.pid)[11]) >= 3, "it answered a while")
        answerer.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        assert asker.poll() is None
        answerer.kill()
        answerer.wait()
        answerer = ends.start(reqans, ends.uri)
    answers, again = map(int, re.fullmatch(
        r"(\d+) answers, asked again (\d+)\n", ends.says(asker)).groups())
    assert answers == 3000000
    assert 3 <= again <= 3 * 8


def test_pictures_are_looked_at_where_they_were_drawn(installed, ends):
    loan = installed.build(EXAMPLES / "loan.c")
    looks = ends.start(loan, ends.uri)
    assert ends.says(ends.start(loan, ends.uri, 40)) == "drew 40 pictures\n"
    assert ends.says(looks) == "looked at 40 pictures, 0 wrong places\n"


def start_python(installed, ends, *arguments):
    installed.env["MCHAN_LIBRARY"] = "libmchan.so.0"
    return ends.start(sys.executable, EXAMPLES / "mchan.py", *arguments)


def test_cplusplus_and_python_talk_to_each_other(installed, ends):
    echo = installed.build(EXAMPLES / "echo.cpp")
    words = ["one", "two", "three"]
    ends.start(echo, ends.uri)
    assert ends.says(start_python(installed, ends, ends.uri, *words)).split() == words
    other = ends.uri + "-too"
    start_python(installed, ends, other)
    assert ends.says(ends.start(echo, other, *words)).split() == words


def test_cplusplus_reports_errors_as_exceptions(installed, ends):
    echo = installed.build(EXAMPLES / "echo.cpp")
    said = ends.says(ends.start(echo, "nowhere:"), status=1)
    assert "Protocol not supported" in said


def test_man_finds_a_page_for_every_function(installed):
    header = (TOP / "include/mchan.h").read_text()
    [folder] = (installed.folder / "root").rglob("man3")
    names = set(re.findall(r"\b(mchan_\w+)\(", re.sub(r"/\*.*?\*/", "", header, flags=re.S)))
    assert len(names) >= 26
    for name in names:
        page = folder / (name + ".3")
        assert re.search(r"^\.Nm %s\b" % name, page.read_text(), re.M), name


SIZES = """
#include <mchan.h>
#include <stddef.h>
#include <stdio.h>
int main(void)
{
    printf("%zu %zu %zu %zu\\n", sizeof(struct mchan_msg), sizeof(struct mchan_info),
           sizeof(struct mchan_event), offsetof(struct mchan_event, reason));
    return 0;
}
"""


def test_pythons_structs_are_those_of_c(installed):
    source = installed.folder / "sizes.c"
    source.write_text(SIZES)
    program = installed.build(source)
    python = run(sys.executable, "-c", "import mchan, ctypes as c; "
                 "print(c.sizeof(mchan.Msg), c.sizeof(mchan.Info), "
                 "c.sizeof(mchan.Event), mchan.Event.reason.offset)",
                 cwd=EXAMPLES, env=dict(installed.env, PYTHONDONTWRITEBYTECODE="1"))
    assert run(program, env=installed.env) == python


def test_the_readme_shows_the_smallest_example_as_it_is():
    code = (EXAMPLES / "hello.c").read_text()
    code = code[code.index("#include"):]
    readme = (TOP / "README.md").read_text()
    if "mchan_listen" not in readme:
        pytest.skip("README.md has no example")
    indented = "".join("    " + line if line.strip() else line
                       for line in code.splitlines(True))
    assert code in readme or indented in readme


def test_every_example_is_in_the_list_and_was_run_here():
    text = (EXAMPLES / "README.md").read_text()
    here = pathlib.Path(__file__).read_text()
    for path in EXAMPLES.iterdir():
        if path.suffix in (".c", ".cpp", ".py"):
            assert "`%s`" % path.name in text
            assert '"%s"' % path.name in here

# SPDX-License-Identifier: Apache-2.0
"""mbrokerd's command line: --check names what is wrong and where, a start with a
bad configuration makes nothing, and what is asked for wrongly is refused in
words."""
import subprocess

import pytest

from brokers import empty_config, run
from harness import MBROKERD, MCTL, PATIENCE, TOP, wait_until

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)


def checked(directory, text):
    path = directory / "some.conf"
    path.write_text(text)
    return path, run("--check", path)


def test_check_says_ok_and_what_it_is(tmp_path):
    path, done = checked(tmp_path, 'cpus = [0];\npstate = { driver = "sim"; };\n')
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("%s: ok (1 CPUs, 0 guests, policy none" % path)
    assert done.stderr == ""


@pytest.mark.parametrize("text, line", [
    ("cpus = [0\n", 1),
    ("domain = \"a\";\nno_such = 1;\n", 2),
    ("\n\npolicy = { name = \"nonesuch\"; };\n", 3),
    ("epoch_ms = 1;\n", 1),
    ("cpus = [0, 0];\n", 1),
    ("cpus = [0];\npstate = { driver = \"softpstate\"; colour = 1; };\n", 2),
    ("limits = {\n pstate_min = 5;\n pstate_max = 2;\n};\n", None),
    ("@include \"/etc/passwd\"\n", 1),
    ("control = { group = \"no-such-group-here\"; };\n", None),
])
def test_check_names_line_and_reason(tmp_path, text, line):
    path, done = checked(tmp_path, text)
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("%s:%s" % (path, "%d: " % line if line else ""))


def test_a_bad_configuration_stops_the_start_before_anything_is_made(tmp_path):
    path = tmp_path / "bad.conf"
    path.write_text('run_dir = "%s";\nwrong = 1;\n' % (tmp_path / "run"))
    done = run("--config", path)
    assert done.returncode == 1
    assert "%s:2: " % path in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_missing_configuration_is_named(tmp_path):
    done = run("--config", tmp_path / "nowhere.conf")
    assert done.returncode == 1
    assert "nowhere.conf" in done.stderr


def test_the_example_configuration_is_right():
    done = run("--check", TOP / "broker" / "mbroker.conf.example")
    assert done.returncode == 0, done.stderr
    assert "note: " not in done.stdout


def test_check_notes_a_guest_that_nobody_can_see(tmp_path):
    _, done = checked(tmp_path, 'cpus = [0];\nhypervisor = { driver = "process"; };\n'
                                'guests = ( { name = "web1"; vcpus = [0]; } );\n')
    assert done.returncode == 0, done.stderr
    assert "note: guest web1 has neither command nor pid_file" in done.stdout


def test_what_was_installed_finds_its_data(tmp_path):
    """Below a DESTDIR as well, and without data_dir in the configuration."""
    subprocess.run(["meson", "install", "-C", MBROKERD.parent.parent, "--no-rebuild",
                    "--quiet", "--destdir", tmp_path / "dest"], check=True,
                   capture_output=True, timeout=PATIENCE)
    installed = next((tmp_path / "dest").rglob("bin/mbrokerd"))
    conf, run_dir = tmp_path / "mbroker.conf", tmp_path / "run"
    conf.write_text('cpus = [0];\npower = { driver = "powermodel"; };\n'
                    'pstate = { driver = "sim"; };\n')
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [installed, "--config", conf, "--run-dir", run_dir, "--state-dir",
             tmp_path / "state", "--lock-dir", tmp_path], stderr=log)

    def power():
        done = subprocess.run([MCTL, "--run-dir", run_dir, "power"], text=True,
                              capture_output=True, timeout=PATIENCE)
        return "W (model" in done.stdout

    try:
        wait_until(power, "the model's data was found")
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_directories_that_cannot_be_are_refused_with_advice(tmp_path):
    done = run("--run-dir", "here", "--config", empty_config(tmp_path))
    assert done.returncode == 1
    assert "--run-dir here: give an absolute path" in done.stderr
    done = run("--run-dir", tmp_path / "no" / "run", "--lock-dir", tmp_path,
               "--config", empty_config(tmp_path))
    assert done.returncode == 1
    assert "make the directory above it first" in done.stderr


def test_restore_says_that_nothing_is_left_to_do(tmp_path):
    (tmp_path / "run").mkdir(mode=0o755)
    done = run("--restore", "--run-dir", tmp_path / "run", "--lock-dir", tmp_path,
               "--config", empty_config(tmp_path))
    assert done.returncode == 0
    assert "is as it was found" in done.stderr


def test_plugins_are_listed():
    done = run("--plugins")
    assert done.returncode == 0
    for plugin in ("policy none: ", "policy basic: ", "hypervisor process: ",
                   "hardware sim: ", "hardware cpufreq: "):
        assert plugin in done.stdout


def test_help_names_every_option():
    done = run("--help")
    assert done.returncode == 0
    for option in ("config", "run-dir", "state-dir", "lock-dir", "log-level", "check",
                   "restore", "plugins", "help", "version"):
        assert "--" + option in done.stdout


@pytest.mark.parametrize("arguments, status", [
    (["--no-such-option"], 2), (["stray"], 2), (["--log-level", "loud"], 2),
    (["--run-dir", "here"], 1), (["--run-dir", "/" + 200 * "x"], 1),
    (["--role=platform"], 1), (["--role=nonesuch"], 1),
    (["--role=engine", "--config=x", "--rights=a,b,c"], 1),
])
def test_wrong_options_are_refused_in_words(arguments, status):
    done = run(*arguments)
    assert done.returncode == status
    assert done.stderr.strip()
